"""What a study does to the world: progress, checkpoints, kept parts, a clean stop on a signal."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxtrends import devices, mesh, record, sweep, timing, transformer
from jaxtrends.distributed import Processes
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

    So it does the end of a time limit, in seconds, which comes as SIGALRM.
    """

    def __init__(self, processes: Processes, limit: float = 0.0) -> None:
        self._processes, self._limit = processes, limit
        self._here = 0

    @property
    def due(self) -> bool:
        """Whether it is time to save and stop: `check` would raise."""
        return bool(self._processes.asked or self._processes.lost)

    def __enter__(self) -> StopSignal:
        handled = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
        self._before = {number: signal.signal(number, self._note) for number in handled}
        signal.setitimer(signal.ITIMER_REAL, self._limit)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: object) -> None:
        if self._here:
            os._exit(128 + number)
        self._here = self._processes.asked = number

    def check(self) -> None:
        """Raise Interrupted if a signal has come, Lost if another process has gone."""
        if self._processes.asked:
            raise Interrupted(self._processes.asked)
        self._processes.check()


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
        used: list[Any],
        over: Any,
        in_flight: int | None,
        terminal: Terminal,
        load: Callable[[str], Any],
        methods: Mapping[str, Callable[..., Any]],
        processes: Processes,
    ) -> None:
        self.study, self.methods = name, methods
        self.lanes: list[dict[str, Any]] = []
        self.tables: list[tuple[str, Sequence[Mapping[str, Any]]]] = []
        self._name, self._folder, self._devices = name, folder, used
        self._terminal, self._stop, self._load = terminal, stop, load
        self._processes, self._in_flight, self._mesh = processes, in_flight, over

    def dataset(self, name: str) -> Any:
        """Load a data set, once a process."""
        return self._load(name)

    def each(self, label: str, items: Sequence[Any]) -> Iterator[Any]:
        """Iterate with progress; stops between items."""
        for number, item in enumerate(items):
            self._stop.check()
            self._terminal.update(f"{self._name}, {label}", number, len(items))
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
        block: int | None = None,
        test: bool = True,
    ) -> dict[str, np.ndarray]:
        """Train lanes by `sweep.run`, with what a host does around its segments.

        The lanes are cut into blocks once, for all processes together, so that the same blocks
        give the same bits however many processes there are.
        """
        here, count = self._processes.index, self._processes.count
        block = block or 1
        cut = sweep.blocks_of(lanes, block)
        mine = cut[here::count]
        metrics: dict[str, np.ndarray] = {}
        if mine:
            trainer, placed = self._place(trainer, mine[0], data, log_every)
            metrics = self._train(
                label,
                lambda effects: sweep.run(
                    trainer,
                    jax.tree.map(lambda *blocks: np.concatenate(blocks), *mine),
                    data,
                    steps=steps,
                    log_every=log_every,
                    block=block,
                    test=test,
                    devices=placed,
                    effects=effects,
                ),
                [
                    {
                        **{"steps": steps, "log_every": log_every, "test": test},
                        "lanes": _digest(lanes),
                    }
                    for lanes in mine
                ],
            )
        parts = self._processes.gather(f"{self._name}, {label}", metrics, self._stop.check)
        places = [divmod(index, count) for index in range(len(cut))]
        return {
            name: np.concatenate(
                [parts[process][name][at * block : (at + 1) * block] for at, process in places]
            )[: sweep.lane_count(lanes)]
            for name in parts[0]
        }

    def _place(self, trainer: Any, lanes: Any, data: Any, log_every: int) -> tuple[Any, list[Any]]:
        """The trainer, and where its blocks run: each on a device, or all over the mesh."""
        if self._mesh is not None:
            spread = mesh.spread(trainer, transformer.with_experts)
            return spread, [mesh.everywhere(self._mesh)] * (self._in_flight or 1)
        needed = _bytes_of_block(trainer, lanes, data, log_every, self._devices[0])
        return trainer, devices.in_flight(self._devices, self._in_flight, needed)

    def _train(
        self,
        label: str,
        run: Callable[[sweep.Effects], dict[str, np.ndarray]],
        mine: Sequence[Mapping[str, Any]],
    ) -> dict[str, np.ndarray]:
        """Run this process's blocks; on disk each has its number among those of all processes.

        What each block is, ``mine`` says.
        """
        here, count = self._processes.index, self._processes.count

        def number(index: int) -> int:
            return here + index * count

        of = {number(index): what for index, what in enumerate(mine)}
        saver = _Saver(self._folder, label, of, self._terminal)
        pace = _Pace()

        def stop(segment: sweep.Segment, snapshots: Mapping[int, Callable[[], Any]]) -> None:
            pace.ran()
            for index, (points, metrics) in segment.news.items():
                self._folder.log(label, number(index), points, metrics, here)
            text = f"{self._name}, {label}"
            self._terminal.update(text, segment.done, segment.total, "steps")
            numbered = {number(index): taken for index, taken in snapshots.items()}
            saver.save(numbered, due=self._stop.due)
            if self._stop.due:
                saver.close()
                self._stop.check()

        def finished(index: int, metrics: dict[str, np.ndarray]) -> None:
            saver.drop(number(index))
            self._folder.keep_block(label, number(index), metrics, of[number(index)])

        effects = sweep.Effects(
            points=pace.points,
            stop=stop,
            restore=lambda index, like: saver.restore(number(index), like),
            finished=finished,
            recall=lambda index: self._folder.block(label, number(index), of[number(index)]),
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
        rounds: int,
    ) -> dict[str, list[float]]:
        """Time a step of each program; see `jaxtrends.study.Run`."""
        return timing.step_seconds(programs, data, log_every, self.each(label, range(rounds)))

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

    def clear(self) -> None:
        """Take the progress bar away."""
        self._terminal.clear()

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
        with jax.default_device(device):
            found = programs.advance.lower(lanes, state, data).compile().memory_analysis()
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
