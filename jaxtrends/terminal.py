"""What a run says while it works: one line a study, a bar or now and then a line of progress."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any


def duration(seconds: float) -> str:
    """A duration as people say it: "8 s", "3 min 20 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def mend_streams() -> None:
    r"""Make the standard streams fit for whatever is said: call it before anything is printed.

    A stream that was closed (``>&-``) leads nowhere from here on, and keeps its number: the next
    file to be opened would get it, and with it what other programs print. A character that the
    stream's encoding lacks is written as \xd7, say, as Python does on standard error.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None or stream.closed:
            mode = "w" if number else "r"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
        elif number and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def end_with_reader() -> None:
    """Let this process end without a word once nobody reads its output, as under ``| head``.

    For programs that only print, and for the whole process: where ``__main__`` begins.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


class Terminal:
    """Progress for a person: a bar where there is a terminal, else a line every ten seconds."""

    def __init__(self) -> None:
        from rich.console import Console

        width = None if sys.stdout.isatty() else 110  # in a file, lines as wide as a page
        self.console = Console(highlight=False, soft_wrap=True, width=width)
        self._progress: Any = None
        self._task: Any = None
        self._label = ""
        self._started = 0.0
        self._first = 0.0
        self._spoken = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        self.console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """Print a warning to standard error."""
        print(f"warning: {text}", file=sys.stderr, flush=True)

    def update(self, label: str, done: float, total: float, unit: str = "") -> None:
        """Show how far the labelled piece of work is, its rate and the time it has left."""
        now = time.monotonic()
        if label != self._label:
            self.clear()
            self._label, self._started, self._first = label, now, done
            if self.console.is_terminal:
                self._open(label, total)
        rate = (done - self._first) / max(now - self._started, 1e-9)
        left = duration((total - done) / rate) if rate > 0 else "?"
        amount = f"{rate:,.0f} {unit}/s" if unit and rate >= 1 else ""
        if self._progress is not None:
            self._progress.update(
                self._task, completed=done, total=total, rate=amount, left=f"{left} left"
            )
        elif now - self._spoken >= 10 and rate > 0:
            self._spoken = now
            rest = ", ".join(part for part in (amount, f"{left} left") if part)
            self.say(f"  {label}: {done / max(total, 1):.0%}, {rest}")

    def _open(self, label: str, total: float) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self._progress = Progress(
            TextColumn("  {task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TextColumn("{task.fields[left]}", markup=False),
            console=self.console,
            transient=True,
        )
        self._progress.start()
        self._task = self._progress.add_task(label, total=total, rate="", left="")

    def clear(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
        self._progress, self._label = None, ""


class Quiet(Terminal):
    """The terminal of a process beside the first: it says nothing but warnings, with its name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def say(self, text: str) -> None:
        """Leave it to the first process."""

    def warn(self, text: str) -> None:
        """Print a warning to standard error."""
        print(f"{self._name}warning: {text}", file=sys.stderr, flush=True)

    def update(self, label: str, done: float, total: float, unit: str = "") -> None:
        """Leave it to the first process."""
