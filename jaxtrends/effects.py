"""What a study does to the world: progress, checkpoints, kept parts, a clean stop on a signal."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxtrends import sweep
from jaxtrends.rundir import StudyDirectory
from jaxtrends.terminal import Terminal

CHECKPOINT_SECONDS = 20.0
SEGMENT_SECONDS = 1.0


class Interrupted(Exception):
    """A signal asked the run to stop; all that was done is saved."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class StopSignal:
    """Remembers SIGINT and SIGTERM; a second one ends the process at once."""

    def __init__(self) -> None:
        self.number = 0

    def __enter__(self) -> StopSignal:
        handled = (signal.SIGINT, signal.SIGTERM)
        self._before = {number: signal.signal(number, self._note) for number in handled}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: object) -> None:
        if self.number:
            os._exit(128 + number)
        self.number = number

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        if self.number:
            raise Interrupted(self.number)


class StudyRun:
    """The effects of one study: `jaxtrends.study.Run`, wired to this process."""

    def __init__(
        self,
        name: str,
        folder: StudyDirectory,
        used: list[Any],
        terminal: Terminal,
        stop: StopSignal,
        load: Callable[[str], Any],
        methods: Mapping[str, Callable[..., Any]],
    ) -> None:
        self.methods = methods
        self.lanes: list[dict[str, Any]] = []
        self.tables: list[tuple[str, Sequence[Mapping[str, Any]]]] = []
        self._name, self._folder, self._devices = name, folder, used
        self._terminal, self._stop, self._load = terminal, stop, load

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
        block: int,
        test: bool = True,
    ) -> dict[str, np.ndarray]:
        """Train lanes by `sweep.run`, with what a host does around its segments."""
        saver = _Saver(self._folder, label, self._terminal)
        pace = _Pace()

        def stop(segment: sweep.Segment, snapshots: Mapping[int, Callable[[], Any]]) -> None:
            pace.ran()
            for index, (points, metrics) in segment.news.items():
                self._folder.log(label, index, points, metrics)
            text = f"{self._name}, {label}"
            self._terminal.update(text, segment.done, segment.total, "steps")
            saver.save(snapshots, due=bool(self._stop.number))
            if self._stop.number:
                saver.close()
                self._stop.check()

        def finished(index: int, metrics: dict[str, np.ndarray]) -> None:
            saver.drop(index)
            self._folder.keep_block(label, index, metrics)

        effects = sweep.Effects(
            points=pace.points,
            stop=stop,
            restore=saver.restore,
            finished=finished,
            recall=lambda index: self._folder.block(label, index),
        )
        try:
            return sweep.run(
                trainer,
                lanes,
                data,
                steps=steps,
                log_every=log_every,
                block=block,
                test=test,
                devices=self._devices,
                effects=effects,
            )
        finally:
            saver.close()

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

    def __init__(self, folder: StudyDirectory, label: str, terminal: Terminal) -> None:
        self._folder, self._label, self._terminal = folder, label, terminal
        self._open: dict[int, Any] = {}
        self._last = time.monotonic()

    def _checkpoints(self, block: int) -> Any:
        if block not in self._open:
            from jaxtrends.checkpoint import Checkpoints

            path = self._folder.checkpoints(self._label, block)
            self._open[block] = Checkpoints(path, report=self._terminal.warn)
        return self._open[block]

    def restore(self, block: int, like: Any) -> Any:
        if not self._folder.checkpoints(self._label, block).exists():
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
