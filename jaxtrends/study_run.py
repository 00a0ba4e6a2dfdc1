"""What a study does to the world: progress, checkpoints, kept parts, a clean stop on a signal."""

from __future__ import annotations

import math
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from jaxtrends import devices, mesh, record, sweep, timing
from jaxtrends.distributed import Processes
from jaxtrends.errors import Problem
from jaxtrends.rundir import StudyDirectory
from jaxtrends.terminal import Terminal

CHECKPOINT_SECONDS = 20.0
SEGMENT_SECONDS = 1.0


class Interrupted(Exception):
    """A signal or the time limit asked the run to stop; all that was done is saved."""

    def __init__(self, number: int) -> None:
        name = "the time limit" if number == signal.SIGALRM else signal.Signals(number).name
        super().__init__(name)
        self.number = number


class StopSignal:
    """Remembers SIGINT and SIGTERM, in whichever process; a second one here ends this process.

    So it does the end of a time limit, in seconds, which comes as SIGALRM. Of a process that
    belongs to other code (``hosted``) a second signal goes to the handler of before, and a thread
    beside the main one, which Python allows no handlers, leaves signals to that code.

    Raises:
        Problem: a time limit in such a thread.
    """

    def __init__(self, processes: Processes, limit: float = 0.0, *, hosted: bool = False) -> None:
        self._processes, self._limit, self._hosted = processes, limit, hosted
        self._here = 0
        self._before: dict[int, Any] = {}

    @property
    def due(self) -> bool:
        """Whether it is time to save and stop: `check` would raise."""
        return bool(self._processes.asked or self._processes.lost)

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is not threading.main_thread():
            if self._limit:
                raise Problem("A time limit needs the main thread of Python: leave it out.")
            return self
        handled = (signal.SIGINT, signal.SIGTERM, *[signal.SIGALRM] * bool(self._limit))
        self._before = {number: signal.signal(number, self._note) for number in handled}
        if self._limit:
            signal.setitimer(signal.ITIMER_REAL, self._limit)
        return self

    def __exit__(self, *_: object) -> None:
        if signal.SIGALRM in self._before:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: one that is not Python's

    def _note(self, number: int, frame: Any) -> None:
        if self._here and not self._hosted:
            os._exit(128 + number)
        if self._here:
            before = self._before[number]
            signal.signal(number, before or signal.SIG_DFL)
            signal.raise_signal(number)
        self._here = self._processes.asked = number

    def check(self) -> None:
        """Raise Interrupted if a signal has come, Lost if another process has gone."""
        if self._processes.asked:
            raise Interrupted(self._processes.asked)
        self._processes.check()


@dataclass(frozen=True)
class Wiring:
    """What all studies of a run share.

    devices:   of this process.
    mesh:      over which each lane is spread, or None.
    block:     lanes of a block, as --block says it.
    in_flight: blocks at a time, as --blocks-in-flight says it.
    load:      name -> data set.
    methods:   of the user's own, by name.
    """

    devices: list[Any]
    mesh: Any
    block: int | Literal["auto"]
    in_flight: int | None
    terminal: Terminal
    load: Callable[[str], Any]
    methods: Mapping[str, Callable[..., Any]]
    processes: Processes


class StudyRun:
    """The effects of one study: `jaxtrends.study.Run`, wired to this process.

    Of several processes each trains every so many'th block and hears the metrics of the others;
    all else that a study does it does in each of them alike.
    """

    def __init__(
        self,
        name: str,
        folder: StudyDirectory,
        stop: StopSignal,
        wiring: Wiring,
        known_blocks: Mapping[str, int] | None = None,
    ) -> None:
        self.study, self.methods = name, wiring.methods
        self.blocks: dict[str, int] = {}
        self.lanes: list[dict[str, Any]] = []
        self.tables: list[tuple[str, Sequence[Mapping[str, Any]]]] = []
        self._name, self._folder, self._stop = name, folder, stop
        self._devices, self._mesh, self._load = wiring.devices, wiring.mesh, wiring.load
        self._terminal, self._processes = wiring.terminal, wiring.processes
        self._block, self._in_flight = wiring.block, wiring.in_flight
        self._known = dict(known_blocks or {})
        self._needed: dict[Any, float] = {}
        (self._before, self._peak), self._started = folder.spent(), time.monotonic()
        self._noted = 0.0

    @property
    def seconds(self) -> float:
        """How long the study has been worked on, in runs that were stopped too."""
        return self._before + time.monotonic() - self._started

    @property
    def peak_memory_bytes(self) -> int:
        """The most memory that this process or an earlier one has had during the study."""
        return max(self._peak, _peak_memory_bytes())

    def _note_spent(self) -> None:
        """Keep both now and then; what a run that was killed did after that is not counted."""
        if self._processes.first and (
            self._stop.due or self.seconds - self._noted > CHECKPOINT_SECONDS
        ):
            self._noted = self.seconds
            self._folder.keep_spent(self._noted, self.peak_memory_bytes)

    def dataset(self, name: str) -> Any:
        """Load a data set, once a process."""
        return self._load(name)

    def each(self, label: str, items: Sequence[Any]) -> Iterator[Any]:
        """Iterate with progress; stops between items."""
        for number, item in enumerate(items):
            self._stop.check()
            self._terminal.update(label, number, len(items))
            yield item
        self._stop.check()

    def train(
        self,
        label: str,
        trainer: Any,
        lanes: Any,
        data: Any,
        *,
        steps: int,
        log_every: int,
        test: bool = True,
    ) -> dict[str, np.ndarray]:
        """Train lanes by `sweep.run_blocks`, with what a host does around its segments.

        The lanes are cut into blocks once, for all processes together, so that the same blocks
        give the same bits however many processes there are.
        """
        here, count = self._processes.index, self._processes.count
        size = self._block_size(label, trainer, lanes, data, log_every)
        cut = sweep.blocks_of(lanes, size)
        mine = {number: block for number, block in enumerate(cut) if number % count == here}
        found: dict[int, sweep.Metrics] = {}
        if mine:
            trainer, placed = self._place(trainer, cut[0], data, log_every)
            found = self._train(
                label,
                lambda effects: sweep.run_blocks(
                    trainer,
                    mine,
                    data,
                    steps=steps,
                    log_every=log_every,
                    test=test,
                    devices=placed,
                    effects=effects,
                ),
                {
                    number: {
                        **{"steps": steps, "log_every": log_every, "test": test},
                        "lanes": _digest(lanes),
                    }
                    for number, lanes in mine.items()
                },
            )
        named = {f"{n}/{name}": v for n, metrics in found.items() for name, v in metrics.items()}
        blocks: dict[int, sweep.Metrics] = {}
        for part in self._processes.gather(f"{self._name}, {label}", named, self._stop.check):
            for path, values in part.items():
                number, _, name = path.partition("/")
                blocks.setdefault(int(number), {})[name] = values
        return sweep.joined(blocks, sweep.lane_count(lanes))

    def _block_size(self, label: str, trainer: Any, lanes: Any, data: Any, log_every: int) -> int:
        """Lanes of a block, which the first process decides for all of them.

        They are those of the run that goes on or is made again, those that were asked for, or as
        many as suit the device.
        """
        count = sweep.lane_count(lanes)

        def needed(block: int) -> float:
            return self._bytes(trainer, sweep.blocks_of(lanes, block)[0], data, log_every)

        def chosen() -> int:
            before = {**self._known, **self._folder.block_sizes()}
            if label in before:
                return before[label]
            if self._block != "auto":
                return min(self._block, count)
            if self._mesh is not None:  # it is for a lane that is large by itself
                return 1
            first = self._devices[0]
            return devices.block(count, first.platform, devices.memory(first), needed)

        told = chosen() if self._processes.first else None
        block = self._processes.tell(f"{self._name}, {label}, block", told)
        self._folder.keep_block_size(label, block)
        self.blocks[label] = block
        return block

    def _bytes(self, trainer: Any, lanes: Any, data: Any, log_every: int) -> float:
        """Memory that one block takes; asked once of each program."""
        shapes = tuple(np.shape(leaf) for leaf in jax.tree.leaves((lanes, data)))
        program = (trainer, log_every, shapes)
        if program not in self._needed:
            self._needed[program] = _bytes_of_block(
                trainer, lanes, data, log_every, self._devices[0]
            )
        return self._needed[program]

    def _place(self, trainer: Any, lanes: Any, data: Any, log_every: int) -> tuple[Any, list[Any]]:
        """The trainer, and where its blocks run: each on a device, or all over the mesh."""
        if self._mesh is not None:
            spread = mesh.spread(trainer)
            return spread, [mesh.everywhere(self._mesh)] * (self._in_flight or 1)
        needed = self._bytes(trainer, lanes, data, log_every)
        return trainer, devices.in_flight(self._devices, self._in_flight, needed)

    def _train(
        self,
        label: str,
        run: Callable[[sweep.Effects], dict[int, sweep.Metrics]],
        mine: Mapping[int, Mapping[str, Any]],
    ) -> dict[int, sweep.Metrics]:
        """Run this process's blocks; ``mine`` says of each what it is."""
        here = self._processes.index
        saver = _Saver(self._folder, label, mine, self._terminal)
        pace = _Pace()

        def stop(segment: sweep.Segment, snapshots: Mapping[int, Callable[[], Any]]) -> None:
            pace.ran()
            for number, (points, metrics) in segment.news.items():
                self._folder.log(label, number, points, metrics, here)
            self._terminal.update(label, segment.done, segment.total, "steps")
            saver.save(snapshots, due=self._stop.due)
            self._note_spent()
            if self._stop.due:
                saver.close()
                self._stop.check()

        def finished(number: int, metrics: sweep.Metrics) -> None:
            saver.drop(number)
            self._folder.keep_block(label, number, metrics, mine[number])

        effects = sweep.Effects(
            points=pace.points,
            stop=stop,
            restore=saver.restore,
            finished=finished,
            recall=lambda number: self._folder.block(label, number, mine[number]),
        )
        try:
            with mesh.over(self._mesh):
                return run(effects)
        finally:
            saver.close()

    def step_seconds(
        self,
        label: str,
        programs: Mapping[str, tuple[Any, Any]],
        data: Any,
        *,
        log_every: int,
        processes: int,
    ) -> dict[str, list[float]]:
        """Time a step of each program; see `jaxtrends.study.Run`."""
        return timing.step_seconds(programs, data, log_every, self.each(label, range(processes)))

    def log_lanes(
        self,
        method: str,
        seeds: Sequence[int],
        config: Mapping[str, Any],
        steps: np.ndarray,
        metrics: Mapping[str, np.ndarray],
    ) -> None:
        """Keep reported lanes for the tracker, which gets them when the study ends."""
        for lane, seed in enumerate(seeds):
            mine = {name: np.asarray(values)[lane] for name, values in metrics.items()}
            self.lanes.append(
                {
                    "method": method,
                    "seed": int(seed),
                    "lane": lane,
                    "config": dict(config),
                    "steps": np.asarray(steps),
                    "metrics": mine,
                }
            )

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep a table for the tracker."""
        self.tables.append((name, rows))


def _digest(lanes: Any) -> str:
    """SHA-256 of the arrays of a block's lanes."""
    leaves = jax.tree_util.tree_leaves_with_path(lanes)
    return record.array_digest({jax.tree_util.keystr(path): leaf for path, leaf in leaves})


def _bytes_of_block(trainer: Any, lanes: Any, data: Any, log_every: int, device: Any) -> float:
    """Memory that one block takes on a device.

    Asked of the compiled program, which is compiled again for this and so only on an accelerator,
    where memory is short; on a CPU the state, its gradient and the data, twice for good measure.
    """
    programs = sweep.program(trainer, log_every)
    state = jax.eval_shape(programs.start, lanes, data)
    if device.platform != "cpu":
        try:
            with jax.default_device(device):
                found = programs.advance.lower(lanes, state, data).compile().memory_analysis()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" in str(error):  # a TPU's compiler lays out memory itself
                return math.inf
            raise
        held = found.argument_size_in_bytes + found.output_size_in_bytes
        return float(held + found.temp_size_in_bytes - found.alias_size_in_bytes)
    return 2.0 * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((state, data)))


class _Pace:
    """How many log points a segment runs: as many as make about `SEGMENT_SECONDS`."""

    def __init__(self) -> None:
        self._points, self._started = 1, 0.0

    def points(self) -> int:
        self._started = time.monotonic()
        return self._points

    def ran(self) -> None:
        took = time.monotonic() - self._started
        if took < SEGMENT_SECONDS / 2:
            self._points = min(2 * self._points, 1024)
        elif took > 2 * SEGMENT_SECONDS:
            self._points = max(1, self._points // 2)


class _Saver:
    """Checkpoints of the blocks in flight, opened when one is first needed."""

    def __init__(
        self,
        folder: StudyDirectory,
        label: str,
        of: Mapping[int, Mapping[str, Any]],
        terminal: Terminal,
    ) -> None:
        self._folder, self._label, self._of, self._terminal = folder, label, of, terminal
        self._open: dict[int, Any] = {}
        self._last = time.monotonic()

    def _place(self, block: int) -> Path:
        return self._folder.checkpoints(self._label, block, self._of[block])

    def _checkpoints(self, block: int) -> Any:
        if block not in self._open:
            from jaxtrends.checkpoint import Checkpoints

            self._open[block] = Checkpoints(self._place(block), report=self._terminal.warn)
        return self._open[block]

    def restore(self, block: int, like: Any) -> Any:
        if not self._place(block).exists():
            return None
        found = self._checkpoints(block).restore(like)
        return None if found is None else found[1]

    def save(self, snapshots: Mapping[int, Callable[[], Any]], *, due: bool) -> None:
        if not due and time.monotonic() - self._last < CHECKPOINT_SECONDS:
            return
        for block, snapshot in snapshots.items():
            tree = snapshot()
            self._checkpoints(block).save(int(tree["point"]), tree)
        self._last = time.monotonic()

    def drop(self, block: int) -> None:
        if block in self._open:
            self._open.pop(block).close()

    def close(self) -> None:
        for block in list(self._open):
            self.drop(block)


def _peak_memory_bytes() -> int:
    """The most memory that this process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)
