"""What a run says while it works: a line a study, and how far it is."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from jaxtrends.progress import Progress

SILENCE = 30.0  # seconds without a line before a study that is not shown says how far it is
LONGEST_SILENCE = 600.0


def duration(seconds: float) -> str:
    """A duration as people say it: "0.4 s", "8 s", "3 min 20 s", "2 h 05 min"."""
    if seconds < 2:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def in_time(given: float) -> str:
    """Seconds as people guess them, to two digits: "0.4 s", "3 min", "2.5 h", "12 days"."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if given >= 2 * size:
            return f"{float(f'{given / size:.2g}'):g} {unit}"
    return f"{float(f'{given:.2g}'):g} s"


def _guessed(seconds: float) -> str:
    return in_time(max(1, round(seconds)))


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
    """What a run says: two bars where there is a terminal, else a line a study.

    A study that takes long says so now and then where there are no bars.
    """

    def __init__(self) -> None:
        from rich.console import Console

        width = None if sys.stdout.isatty() else 110  # in a file, lines as wide as a page
        self.console = Console(highlight=False, soft_wrap=True, width=width)
        self._progress = Progress()
        self._bars: Any = None
        self._part, self._part_left = "", 0.0
        self._started = self._first = 0.0
        self._spoken, self._silence = time.monotonic(), SILENCE

    def say(self, text: str) -> None:
        """Print a line, above the bars if there are any."""
        self.console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """Print a warning to standard error."""
        print(f"warning: {text}", file=sys.stderr, flush=True)

    def begin_run(self, progress: Progress) -> None:
        """A run begins: from now on there is a bar for all of it."""
        self._progress = progress

    def begin(self, study: str, before: float = 0.0) -> None:
        """A study begins, or goes on after so many seconds."""
        self._progress.begin(study, before)
        self._show()

    def kept(self, study: str) -> None:
        """Say that a study was done before."""
        self._progress.skip(study)
        self.say(f"{self._place()} {study}: done before, kept.")

    def end(self, study: str, seconds: float) -> None:
        """Say that the study is done, how long it took and how long the run will take yet."""
        self._progress.end(seconds)
        left = self._progress.left() if self._progress.number < self._progress.count else None
        rest = "" if left is None else f"; about {_guessed(left)} left"
        self.say(f"{self._place()} {study}: done in {duration(seconds)}{rest}.")
        self._spoken, self._silence = time.monotonic(), SILENCE
        self._part, self._part_left = "", 0.0
        self._show(reset=True)

    def _place(self) -> str:
        return f"{self._progress.number}/{self._progress.count}"

    def update(self, part: str, done: float, total: float, unit: str = "") -> None:
        """Show how far a part of the study is, its rate, and the time that it and the run take."""
        now = time.monotonic()
        if part != self._part:
            self._part, self._part_left, self._started, self._first = part, 0.0, now, done
            self._show(reset=True)
        rate = (done - self._first) / max(now - self._started, 1e-9)
        self._part_left = (total - done) / rate if rate > 0 else 0.0
        amount = f"{rate:,.0f} {unit}/s" if unit and rate >= 1 else ""
        left = f"{_guessed(self._part_left)} left" if rate > 0 else ""
        if self._bars is not None:
            self._bars.update(
                self._bars.task_ids[1], completed=done, total=total, rate=amount, left=left
            )
            self._show()
        elif now - self._spoken >= self._silence and rate > 0:
            self._spoken, self._silence = now, min(2 * self._silence, LONGEST_SILENCE)
            run = self._progress.left(self._part_left)
            whole = "" if run is None else f"the run about {_guessed(run)}"
            rest = ", ".join(filter(None, (f"{done / max(total, 1):.0%}", amount, left, whole)))
            self.say(f"{self._place()} {self._progress.study}, {part}: {rest}")

    def wait(self, what: str) -> None:
        """Show that something comes to its end, nobody knows when."""
        self._part = what
        self._show(reset=True)

    def _show(self, *, reset: bool = False) -> None:
        """Draw the bars as things stand, where there is a terminal."""
        if not self.console.is_terminal:
            return
        if self._bars is None:
            self._bars = _bars(self.console)
            self._bars.add_task("", total=1.0, rate="", left="")
            self._bars.add_task("", total=None, rate="", left="")
        run, part = self._bars.task_ids
        left = self._progress.left(self._part_left)
        self._bars.update(
            run,
            description=f"study {self._progress.number} of {self._progress.count}",
            completed=self._progress.share(self._part_left),
            left=f"{_guessed(left)} left" if left else "",
        )
        if reset:
            self._bars.reset(part, total=None, rate="", left="")
        named = ", ".join(filter(None, (self._progress.study, self._part)))
        self._bars.update(part, description=named, visible=bool(self._part))
        self._bars.start()

    def clear(self) -> None:
        """Take the bars away."""
        if self._bars is not None:
            self._bars.stop()
        self._bars, self._part = None, ""


def _bars(console: Any) -> Any:
    """Two bars that fill the width of a terminal, the longer names cut short."""
    from rich import progress
    from rich.table import Column

    def text(field: str) -> progress.TextColumn:
        column = Column(width=14, no_wrap=True, justify="right")
        return progress.TextColumn(field, markup=False, table_column=column)

    return progress.Progress(
        progress.TextColumn(
            "  {task.description}",
            markup=False,
            table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
        ),
        progress.BarColumn(bar_width=min(16, max(4, console.width - 64))),
        progress.TaskProgressColumn(),
        text("{task.fields[rate]}"),
        text("{task.fields[left]}"),
        console=console,
        transient=True,
        expand=True,
        redirect_stderr=sys.stderr.isatty(),
    )


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

    def update(self, part: str, done: float, total: float, unit: str = "") -> None:
        """Leave it to the first process."""

    def _show(self, *, reset: bool = False) -> None:
        """Leave it to the first process."""
