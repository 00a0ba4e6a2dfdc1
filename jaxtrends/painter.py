"""Figures drawn while other work goes on: a second process takes them one by one."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtrends import figures, record


class Painter:
    """Draws the figures of one folder, in the order in which they come.

    Matplotlib needs most of a second for a figure, and threads do not help it. So a process of its
    own draws, and `finish` lends it a hand. A figure that the process cannot draw is drawn here.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._waiting: deque[Mapping[str, Any]] = deque()
        self._failed: deque[Mapping[str, Any]] = deque()
        self._lock = threading.Lock()
        self._feeder: threading.Thread | None = None
        self._process: subprocess.Popen | None = None

    def order(self, ordered: Sequence[Mapping[str, Any]]) -> None:
        """Have figures drawn (see `figures.draw`); returns at once."""
        with self._lock:
            self._waiting.extend(ordered)
            if self._waiting and self._feeder is None:
                self._feeder = threading.Thread(target=self._feed, daemon=True)
                self._feeder.start()

    def finish(self) -> None:
        """Draw all that was ordered; nothing is being drawn any more when this returns.

        Raises:
            Problem: the folder cannot be written.
        """
        self._draw_here(self._waiting, last=True)
        with self._lock:
            feeder = self._feeder
        if feeder is not None:
            feeder.join()
        self._draw_here(self._failed, last=False)

    def close(self) -> None:
        """End the process, after the figure that it is drawing; what waits stays undrawn."""
        with self._lock:
            self._waiting.clear()
            feeder = self._feeder
        if feeder is not None:
            feeder.join()
        if self._process is not None:
            self._process.kill()  # it has nothing to do, and would take its time to leave
            self._process.wait()
            self._process.stdout.close()
            with contextlib.suppress(BrokenPipeError):  # an order that it did not live to read
                self._process.stdin.close()
            self._process = None

    def __enter__(self) -> Painter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _take(self, left: deque[Mapping[str, Any]], *, last: bool) -> Mapping[str, Any] | None:
        with self._lock:
            if not left:
                return None
            return left.pop() if last else left.popleft()

    def _draw_here(self, left: deque[Mapping[str, Any]], *, last: bool) -> None:
        while (figure := self._take(left, last=last)) is not None:
            try:
                figures.draw(figure, self._directory)
            except OSError as error:
                raise record.unwritten(self._directory, error) from None

    def _feed(self) -> None:
        """What the thread does: hand the process a figure, wait for it, hand it the next."""
        while (figure := self._next()) is not None:
            if not self._drawn_there(figure):
                self._failed.append(figure)

    def _next(self) -> Mapping[str, Any] | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._feeder = None  # in one breath with looking, so that no order is overlooked
            return None

    def _drawn_there(self, figure: Mapping[str, Any]) -> bool:
        order = json.dumps([str(self._directory.absolute()), record.plain(figure)])
        try:
            self._process = self._process or _start()
            self._process.stdin.write(order + "\n")
            self._process.stdin.flush()
            return self._process.stdout.readline() == f"{figure['name']}\n"
        except OSError:  # there is no process, or none any more
            return False


def draw_many(ordered: Sequence[Mapping[str, Any]], directory: Path) -> list[Path]:
    """Draw figures as `figures.draw` does, in two processes; the paths of the files."""
    with Painter(directory) as painter:
        if len(ordered) > 3:  # a process takes as long to start as two figures to draw
            painter.order(ordered)
            painter.finish()
        else:
            for figure in ordered:
                figures.draw(figure, directory)
    return [directory / f"{f['name']}{end}" for f in ordered for end in (".png", ".svg")]


def _start() -> subprocess.Popen:
    before = os.environ.get("PYTHONPATH", "")
    return subprocess.Popen(
        [sys.executable, "-c", "from jaxtrends import painter; painter.serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": f"{record.ROOT}{os.pathsep}{before}"},
        start_new_session=True,  # Ctrl-C is for the run, which then lets this process go
        text=True,
    )


def serve() -> None:
    """What the process does: draw what stands in each line of standard input, and name it."""
    for line in sys.stdin:
        directory, figure = json.loads(line)
        figures.draw(figure, Path(directory))
        print(figure["name"], flush=True)
