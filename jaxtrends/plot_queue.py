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
from typing import Any, NamedTuple

from jaxtrends import plotting, record

DRAWN = "drawn\n"


class Order(NamedTuple):
    """A figure, as plain data, and the folder that its files go to."""

    figure: Mapping[str, Any]
    directory: Path


class PlotQueue:
    """Draws figures in the order in which they come.

    Matplotlib needs most of a second for a figure, and threads do not help it. So a process of its
    own draws, and `finish` lends it a hand. A figure that the process cannot draw is drawn here.
    What cannot be drawn here either, for whatever reason, stands in ``undrawn``: file -> reason.
    """

    def __init__(self) -> None:
        self.undrawn: dict[Path, str] = {}
        self._waiting: deque[Order] = deque()
        self._failed: deque[Order] = deque()
        self._lock = threading.Lock()
        self._feeder: threading.Thread | None = None
        self._process: subprocess.Popen | None = None

    def order(self, ordered: Sequence[Mapping[str, Any]], directory: Path) -> None:
        """Have figures drawn into a folder (see `plotting.draw`); returns at once."""
        with self._lock:
            self._waiting.extend(Order(figure, directory) for figure in ordered)
            if self._waiting and self._feeder is None:
                self._feeder = threading.Thread(target=self._feed, daemon=True)
                self._feeder.start()

    def finish(self) -> None:
        """Draw all that was ordered; nothing is being drawn any more when this returns."""
        self._draw_here(self._waiting, last=True)
        with self._lock:
            feeder = self._feeder
        if feeder is not None:
            feeder.join()
        self._draw_here(self._failed, last=False)

    @property
    def complaint(self) -> str:
        """What was not drawn, and why the first was not, without a full stop; "" if all was."""
        if not self.undrawn:
            return ""
        path, reason = next(iter(self.undrawn.items()))
        more = f" and {len(self.undrawn) - 1} more" if len(self.undrawn) > 1 else ""
        return f"{path}{more} could not be drawn ({reason})"

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

    def __enter__(self) -> PlotQueue:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _take(self, left: deque[Order], *, last: bool) -> Order | None:
        with self._lock:
            if not left:
                return None
            return left.pop() if last else left.popleft()

    def _draw_here(self, left: deque[Order], *, last: bool) -> None:
        while (order := self._take(left, last=last)) is not None:
            try:
                plotting.draw(*order)
            except Exception as error:  # whatever it is: a figure is not worth a run
                path = order.directory / f"{order.figure['name']}.svg"
                self.undrawn[path] = record.first_line(error)

    def _feed(self) -> None:
        """What the thread does: hand the process a figure, wait for it, hand it the next."""
        while (order := self._next()) is not None:
            if not self._drawn_there(order):
                self._failed.append(order)

    def _next(self) -> Order | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._feeder = None  # in one breath with looking, so that no order is overlooked
            return None

    def _drawn_there(self, order: Order) -> bool:
        words = json.dumps([record.plain(order.figure), str(order.directory.absolute())])
        try:
            self._process = self._process or _start()
            self._process.stdin.write(words + "\n")
            self._process.stdin.flush()
            return self._process.stdout.readline() == DRAWN
        except OSError:  # there is no process, or none any more
            return False


def _start() -> subprocess.Popen:
    before = os.environ.get("PYTHONPATH", "")
    return subprocess.Popen(
        [sys.executable, "-c", "from jaxtrends import plot_queue; plot_queue.serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": f"{record.ROOT}{os.pathsep}{before}"},
        start_new_session=True,  # Ctrl-C is for the run, which then lets this process go
    )


def serve() -> None:
    """What the process does: draw what stands in each line of standard input, and say so."""
    for line in sys.stdin:
        figure, directory = json.loads(line)
        plotting.draw(figure, Path(directory))
        print(DRAWN, end="", flush=True)
