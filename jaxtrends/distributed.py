"""Several processes as one run: who is in it, what they tell each other, and that all are alive.

JAX's own distributed engine brings the processes together: by flags, or as SLURM's or a TPU pod's
environment says. What they tell each other goes through its coordination service, a store of keys
and bytes, and not through collectives on arrays: a store takes float64 and integers as they are,
needs no step in common (processes have different numbers of blocks), and can be waited for with an
eye on signals and on the others, where a collective waits for a dead process for ever.

Every process publishes a heartbeat. One that has ended by an error says so; one that was killed is
missed after `LOST_SECONDS`, and the others stop, for their blocks alone make no result.
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
GRACE_SECONDS = 20.0  # for a process to save its state, once another is lost
POLL_SECONDS = 1.0

Check = Callable[[], None]


class Lost(Exception):
    """Another process has ended or is silent, so that this one cannot go on."""


class Processes:
    """The processes of one run; without JAX's distributed engine, this process alone.

    index: of this process, from 0; process 0 writes what the run leaves behind.
    count: of all processes.
    asked: the signal by which one of them was asked to stop, or 0. Set in one, it is set in all.
    lost:  why this process cannot go on, or "".
    broken: whether that is since a process has gone without a word.
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
        """Whether this is the process that writes records, W&B and the terminal."""
        return self.index == 0

    @property
    def name(self) -> str:
        """What an error of this process begins with: "" in the first."""
        return "" if self.first else f"process {self.index}: "

    def check(self) -> None:
        """Raise Lost if another process has ended or is silent."""
        if self.lost:
            raise Lost(self.lost)

    def exchange(self, label: str, mine: bytes, check: Check = lambda: None) -> list[bytes]:
        """What every process says under a label, in the order of the processes.

        All of them call this in the same order with the same labels. It waits for the slowest, as
        long as it takes, and calls ``check`` meanwhile, which may raise.

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
        if turn:  # whoever has come to this turn has heard all of the one before
            self._store.delete(f"jaxtrends/told/{turn - 1}/{self.index}")
        return found

    def all(self, label: str, mine: Any, check: Check = lambda: None) -> list[Any]:
        """Like `exchange`, of plain data."""
        return [json.loads(told) for told in self.exchange(label, json.dumps(mine).encode(), check)]

    def tell(self, label: str, mine: Any) -> Any:
        """What process 0 says, plain data; the others' own is left aside."""
        return self.all(label, mine if self.first else None)[0]

    def gather(
        self, label: str, mine: Mapping[str, np.ndarray], check: Check = lambda: None
    ) -> list[dict[str, np.ndarray]]:
        """Like `exchange`, of named arrays of any type that NumPy has, bit for bit."""
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
        """Take leave of the others, with the reason if it is an error, and wait until all have.

        Only then may the first process end, whose end takes the store away from the others. Where
        one is lost nobody waits, and the process must end by `os._exit`: on an ordinary way out
        JAX would wait for it.
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
            try:  # before anything else: what was told counts, also by a process that has stopped
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
        """Publish that this process is alive, and see that the others are."""
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
                # The main thread saves its state and stops; unless it is in some long computation.
                if not self._ended.wait(GRACE_SECONDS):
                    _end(f"{self.name}error: {self.lost}")
                return


def _gone(process: int) -> str:
    return (
        f"process {process} has gone, and without it there is no result: what is done is kept, "
        "start all of them again with --resume."
    )


def _end(sentence: str) -> None:
    os.write(2, f"{sentence}\n".encode())
    os._exit(1)


# --- start ---------------------------------------------------------------------------------------


def start(
    coordinator: str = "", processes: int | None = None, process: int | None = None, how: str = ""
) -> Processes:
    """Join the processes of a run: as flags say, as the environment says, or not at all.

    Nothing is guessed: a process that no flag makes one of several is alone. Call it before
    anything touches a device.

    Args:
        coordinator: HOST:PORT of process 0, as all of them reach it.
        processes:   how many there are.
        process:     which this is, from 0.
        how:         "auto" to read all three from SLURM, Open MPI, Kubernetes or a TPU pod.

    Raises:
        Problem: flags are missing or do not fit, there is no such environment, or the processes do
            not come together within `CONNECT_SECONDS`.
    """
    by_flags = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    given = [flag for flag, value in by_flags.items() if value not in ("", None)]
    if how:
        choose("way to start several processes", how, ("auto",))
        if given:
            raise Problem(f"--distributed auto reads the environment: leave {given[0]} out.")
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
        f"The processes did not come together ({reason}): start all of them within "
        f"{CONNECT_SECONDS:.0f} s, with one --coordinator that all of them reach."
    )


def _check(coordinator: str, processes: int | None, process: int | None, given: list[str]) -> None:
    if len(given) < 3:
        raise Problem(f"{given[0]} needs --coordinator HOST:PORT, --processes and --process too.")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise Problem(f"--coordinator must be HOST:PORT, not {coordinator!r}.")
    if processes < 1 or not 0 <= process < processes:
        raise Problem(
            f"--process must be from 0 to {max(processes - 1, 0)}, as --processes {processes} "
            f"says, not {process}."
        )


class _LastWords:
    """A sentence to end with where JAX ends the process: process 0 was killed, or never came.

    JAX's client then calls abort(), in a thread of its own, and takes no Python function to call
    instead. A handler of Python's own would not be run.
    """

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence
        self._handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: _end(self.sentence))
        ctypes.CDLL(None).signal(signal.SIGABRT, self._handler)
        _kept.append(self)


_kept: list[_LastWords] = []  # for as long as the process lives, as C knows of them


def agree(processes: Processes, mine: Mapping[str, Any]) -> None:
    """Check that every process is about to run what process 0 runs.

    Raises:
        Problem: one of them differs in ``mine``, plain data; raised in all, with the field.
    """
    first, *others = (dict(_leaves(told)) for told in processes.all("description", mine))
    for process, theirs in enumerate(others, 1):
        for field in {**first, **theirs}:
            one, other = first.get(field), theirs.get(field)
            if one != other:
                raise Problem(
                    f"The processes do not run the same: {field} is {one!r:.80} in process 0 and "
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
    """Return the status; or end here where a process is lost, for which JAX would wait."""
    if processes.broken:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status or 1)
    return status
