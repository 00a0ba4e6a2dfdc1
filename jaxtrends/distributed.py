"""Several processes as one run: membership, communication, and heartbeats.

JAX's distributed engine connects the processes, by flags or by the environment of SLURM or a TPU
pod. They communicate through its coordination service, a key-value store of bytes, and not through
collectives on arrays. A store takes float64 and integers unchanged, needs no lockstep (processes
have different numbers of blocks), and can be polled while watching for signals and lost processes;
a collective would wait for a dead process for ever.

Every process publishes a heartbeat. One that ends with an error says so; one that was killed is
noticed after `LOST_SECONDS`. The others then stop, since their blocks alone give no result.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from jaxtrends import private
from jaxtrends.errors import Problem, choose

CONNECT_SECONDS = 300.0  # jobs of one allocation may start minutes apart
BEAT_SECONDS = 1.0
LOST_SECONDS = 30.0
GRACE_SECONDS = 20.0  # for a process to save its state once another is lost
POLL_SECONDS = 1.0

Check = Callable[[], None]


class Lost(Exception):
    """Another process has ended or is silent, so this one cannot continue."""


class Processes:
    """The processes of one run; without JAX's distributed engine, this process alone.

    index: of this process, from 0; process 0 writes the run's output.
    count: number of processes.
    asked: the signal that asked one of them to stop, or 0; once set in one, it is set in all.
    lost:  why this process cannot continue, or "".
    broken: whether that is because a process died without notice.
    """

    def __init__(self, index: int = 0, count: int = 1, store: private.Store | None = None) -> None:
        self.index, self.count = index, count
        self.asked, self.lost, self.broken = 0, "", False
        self._store, self._told = store, 0
        self._ended = threading.Event()
        if store is not None:
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()

    @property
    def first(self) -> bool:
        """Whether this process writes records, W&B and the terminal."""
        return self.index == 0

    @property
    def name(self) -> str:
        """The prefix of this process's errors; "" in process 0."""
        return "" if self.first else f"process {self.index}: "

    def check(self) -> None:
        """Raise Lost if another process has ended or is silent."""
        if self.lost:
            raise Lost(self.lost)

    def exchange(self, label: str, mine: bytes, check: Check = lambda: None) -> list[bytes]:
        """The messages of all processes under a label, in the order of the processes.

        All processes must call this in the same order with the same labels. It waits for the
        slowest without limit, calling ``check`` meanwhile, which may raise.

        Raises:
            Lost: another process has ended or is silent.
        """
        if self._store is None:
            return [mine]
        turn = self._told
        self._told += 1
        folder = f"jaxtrends/told/{turn}"
        found = []
        try:
            self._store.put(f"{folder}/{self.index}", label.encode() + b"\0" + mine)
        except jax.errors.JaxRuntimeError:
            raise Lost(_gone(0)) from None
        for process in range(self.count):
            head, _, told = self._wait(f"{folder}/{process}", check).partition(b"\0")
            if head != label.encode():
                raise RuntimeError(f"process {process} is at {head!r}, this one at {label!r}")
            found.append(told)
        if turn:  # a process at this turn has received everything of the turn before
            self._store.delete(f"jaxtrends/told/{turn - 1}/{self.index}")
        return found

    def all(self, label: str, mine: Any, check: Check = lambda: None) -> list[Any]:
        """Like `exchange`, for plain data."""
        return [json.loads(told) for told in self.exchange(label, json.dumps(mine).encode(), check)]

    def tell(self, label: str, mine: Any) -> Any:
        """The plain data of process 0; that of the others is ignored."""
        return self.all(label, mine if self.first else None)[0]

    def gather(
        self, label: str, mine: Mapping[str, np.ndarray], check: Check = lambda: None
    ) -> list[dict[str, np.ndarray]]:
        """Like `exchange`, for named NumPy arrays of any dtype, bit for bit."""
        if self._store is None:
            return [dict(mine)]
        buffer = io.BytesIO()
        np.savez(buffer, **mine)
        parts = []
        for told in self.exchange(label, buffer.getvalue(), check):
            with np.load(io.BytesIO(told), allow_pickle=False) as file:
                parts.append({name: file[name] for name in file.files})
        return parts

    def leave(self, reason: str = "") -> None:
        """Leave the run, with the reason if it is an error, and wait until all have left.

        Process 0 must end last, since the store ends with it. If a process is lost nobody waits,
        and the process must end by `os._exit`: on a normal exit JAX would wait for it.
        """
        if self._store is None:
            return
        try:
            if reason:
                self._set(f"failed/{self.index}", reason)
            self._set(f"left/{self.index}", "1")
            while not self.broken:
                if len(self._state("left/")) == self.count:
                    break
                time.sleep(POLL_SECONDS / 10)
        except jax.errors.JaxRuntimeError:
            self.broken = True
        self._ended.set()
        self._watcher.join()
        if not self.broken:
            jax.distributed.shutdown()
        self._store = None

    # --- the store ------------------------------------------------------------------------------

    def _wait(self, key: str, check: Check) -> bytes:
        while True:
            try:  # first of all: a message counts even if its sender has stopped since
                return self._store.wait(key, POLL_SECONDS)
            except jax.errors.JaxRuntimeError as error:
                if not str(error).startswith("DEADLINE_EXCEEDED"):
                    raise Lost(_gone(0)) from None
            check()
            self.check()

    def _set(self, name: str, value: str) -> None:
        self._store.put(f"jaxtrends/state/{name}", value.encode(), anew=True)

    def _state(self, prefix: str = "") -> dict[str, str]:
        found = self._store.below("jaxtrends/state").items()
        return {key: value.decode() for key, value in found if key.startswith(prefix)}

    # --- the watch ------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Publish this process's heartbeat, and watch those of the others."""
        beat, published = 0, 0
        heard = dict.fromkeys(range(self.count), ("", time.monotonic()))
        while not self._ended.wait(BEAT_SECONDS):
            beat += 1
            try:
                self._set(f"beat/{self.index}", str(beat))
                if self.asked and not published:
                    self._set("asked", str(self.asked))
                    published = self.asked
                state = self._state()
            except jax.errors.JaxRuntimeError:
                state, self.lost, self.broken = {}, self.lost or _gone(0), True
            self.asked = self.asked or int(state.get("asked", 0))
            now = time.monotonic()
            for process, (last, since) in heard.items():
                news = state.get(f"beat/{process}", "")
                if news != last:
                    heard[process] = (news, now)
                if process == self.index or self.lost:
                    continue
                if f"failed/{process}" in state:
                    self.lost = f"process {process} has stopped: {state[f'failed/{process}']}"
                elif now - since > LOST_SECONDS and f"left/{process}" not in state:
                    self.lost, self.broken = _gone(process), True
            if self.lost:
                # The main thread saves its state and stops, unless it is in a long computation.
                if not self._ended.wait(GRACE_SECONDS):
                    _end(f"{self.name}error: {self.lost}")
                return


def _gone(process: int) -> str:
    return (
        f"process {process} is gone, so the run cannot finish: finished work is kept; start all "
        "processes again with --resume."
    )


def _end(sentence: str) -> None:
    os.write(2, f"{sentence}\n".encode())
    os._exit(1)


# --- start ---------------------------------------------------------------------------------------


def start(
    coordinator: str = "", processes: int | None = None, process: int | None = None, how: str = ""
) -> Processes:
    """Join the processes of a run, by flags or by the environment; or run alone.

    Nothing is guessed: without a flag, a process is alone. Call it before anything touches a
    device.

    Args:
        coordinator: HOST:PORT of process 0, reachable by all.
        processes:   number of processes.
        process:     index of this one, from 0.
        how:         "auto" to read all three from SLURM, Open MPI, Kubernetes or a TPU pod.

    Raises:
        Problem: flags are missing or inconsistent, there is no such environment, or the processes
            do not connect within `CONNECT_SECONDS`.
    """
    by_flags = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    given = [flag for flag, value in by_flags.items() if value not in ("", None)]
    if how:
        choose("way to start several processes", how, ("auto",))
        if given:
            raise Problem(f"--distributed auto reads the environment: leave out {given[0]}.")
        wanted: dict[str, Any] = {}
    elif not given:
        return Processes()
    else:
        _check(coordinator, processes, process, given)
        if processes == 1:
            return Processes()
        wanted = {
            "coordinator_address": coordinator,
            "num_processes": processes,
            "process_id": process,
            "cluster_detection_method": "deactivate",
        }
    # Signals are ours: each process saves its state and stops.
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    last_words = _LastWords(f"error: {_apart('no answer')}")
    try:
        jax.distributed.initialize(initialization_timeout=int(CONNECT_SECONDS), **wanted)
    except (RuntimeError, ValueError, OSError) as error:  # JaxRuntimeError is a RuntimeError
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:200].rstrip(".")
        raise Problem(_apart(reason)) from None
    joined = Processes(*private.joined())
    last_words.sentence = f"{joined.name}error: {_gone(0)}"
    return joined


def _apart(reason: str) -> str:
    return (
        f"The processes did not connect ({reason}): start all of them within "
        f"{CONNECT_SECONDS:.0f} s, with the same --coordinator, reachable by all."
    )


def _check(coordinator: str, processes: int | None, process: int | None, given: list[str]) -> None:
    if len(given) < 3:
        raise Problem(
            f"{given[0]} is not enough: give --coordinator HOST:PORT, --processes and --process."
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise Problem(f"--coordinator must be HOST:PORT, not {coordinator!r}.")
    if processes < 1 or not 0 <= process < processes:
        raise Problem(
            f"--process must be from 0 to {max(processes - 1, 0)} with --processes {processes}, "
            f"not {process}."
        )


class _LastWords:
    """The last message if JAX ends the process: process 0 was killed, or never started.

    JAX's client then calls abort() in its own thread, and offers no Python callback. A Python
    signal handler would not run.
    """

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence
        self._handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: _end(self.sentence))
        ctypes.CDLL(None).signal(signal.SIGABRT, self._handler)
        _kept.append(self)


_kept: list[_LastWords] = []  # kept alive, since C holds pointers to them


def agree(processes: Processes, mine: Mapping[str, Any]) -> None:
    """Check that every process is about to run the same as process 0.

    Raises:
        Problem: one of them differs in ``mine``, plain data; raised in all, with the field.
    """
    first, *others = (dict(_leaves(told)) for told in processes.all("description", mine))
    for process, theirs in enumerate(others, 1):
        for field in {**first, **theirs}:
            one, other = first.get(field), theirs.get(field)
            if one != other:
                raise Problem(
                    f"The processes are not the same: {field} is {one!r:.80} in process 0 but "
                    f"{other!r:.80} in process {process}. Start all of them with the same code, "
                    "flags and data."
                )


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    else:
        yield path, value


def exit_status(processes: Processes, status: int) -> int:
    """Return the status; or exit here if a process is lost, since JAX would wait for it."""
    if processes.broken:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status or 1)
    return status
