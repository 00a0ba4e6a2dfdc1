"""What a run says as it goes, and streams that are closed or lack a character."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys

import pytest

from jaxtrends import terminal
from jaxtrends.progress import Progress

# Each closed stream is in the shell's command; the file is the next to be opened.
PROGRAM = """
import os, subprocess, sys
from jaxtrends import terminal
from jaxtrends.progress import Progress

terminal.mend_streams()
with open(sys.argv[1], "w") as file:
    assert file.fileno() > 2, file.fileno()
    print("said"), print("said", file=sys.stderr)
    os.write(1, b"by a library")
    sys.stdin.read()
    subprocess.run([sys.executable, "-c", "print(1)"], check=True)
    said = terminal.Terminal()
    said.say("×"), said.warn("×"), said.update("a", 1, 2), said.clear()
    file.write("whole")
"""


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_streams_lead_nowhere_and_into_no_file(tmp_path, closed):
    file = tmp_path / "file"
    command = ["sh", "-c", f'"$@" {closed}', "sh", sys.executable, "-c", PROGRAM, str(file)]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
    assert (done.returncode, file.read_text()) == (0, "whole"), done.stderr


def test_what_an_encoding_lacks_is_escaped(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    terminal.mend_streams()
    terminal.Terminal().say("2 × 3 … \ud800")
    sys.stdout.flush()
    assert written.getvalue() == b"2 \\xd7 3 \\u2026 \\ud800\n"


def test_streams_of_another_kind_are_left_alone(monkeypatch):
    notebook = io.StringIO()
    monkeypatch.setattr(sys, "stdout", notebook)
    terminal.mend_streams()
    assert sys.stdout is notebook


@pytest.mark.parametrize("module", ["experiments", "scripts.cite", "scripts.new_paper"])
def test_a_program_that_nobody_reads_ends_without_a_word(module):
    reader, writer = os.pipe()
    os.close(reader)
    arguments = [] if module == "experiments" else ["--help"]
    with os.fdopen(writer) as output:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments], stdout=output, stderr=subprocess.PIPE
        )
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


# --- a run's progress ----------------------------------------------------------------------------


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(terminal.time, "monotonic", found)
    return found


def work(said, clock, study, seconds, part="lanes"):
    """A study of one part, which says how far it is once a second."""
    said.begin(study)
    for number in range(seconds):
        said.update(part, 100 * number, 100 * seconds, "steps")
        clock.now += 1
    said.end(study, seconds)


EXPECTED = {"first": 20.0, "long": 400.0, "last": 20.0}


def test_in_a_file_a_study_is_a_line_and_a_long_one_says_ever_less_often_how_far_it_is(
    clock, capsys
):
    said = terminal.Terminal()
    said.begin_run(Progress(list(EXPECTED), EXPECTED, clock))
    for name, seconds in EXPECTED.items():
        work(said, clock, name, int(seconds))
    said.clear()
    assert capsys.readouterr().out.splitlines() == [
        "1/3 first: done in 20 s; about 7 min left.",
        "2/3 long, lanes: 8%, 100 steps/s, 6.2 min left, the run about 6.5 min",
        "2/3 long, lanes: 22%, 100 steps/s, 5.2 min left, the run about 5.5 min",
        "2/3 long, lanes: 52%, 100 steps/s, 3.2 min left, the run about 3.5 min",
        "2/3 long: done in 6 min 40 s; about 20 s left.",
        "3/3 last: done in 20 s.",
    ]


def test_of_a_run_that_no_record_knows_no_time_is_guessed(clock, capsys):
    said = terminal.Terminal()
    said.begin_run(Progress(["first", "other"], {}, clock))
    work(said, clock, "first", 40)
    assert capsys.readouterr().out.splitlines() == [
        "1/2 first, lanes: 75%, 100 steps/s, 10 s left",
        "1/2 first: done in 40 s.",
    ]


BARS = """
import sys, time
from jaxtrends import terminal
from jaxtrends.progress import Progress

said = terminal.Terminal()
said.begin_run(Progress(["a", "b"], {"a": 600.0, "b": 600.0}))
said.begin("a", before=300.0)
for done in range(4):
    said.update("a part with a name " + "x" * 100, done, 10, "steps")
    time.sleep(0.1)
said.warn("mind")
said.clear()
said.say("over")
"""


@pytest.mark.parametrize("width", [60, 80, 120])
def test_in_a_terminal_the_run_and_its_part_have_a_bar_each(width):
    ours, theirs = os.openpty()
    environment = os.environ | {"COLUMNS": str(width), "TERM": "xterm", "NO_COLOR": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", BARS],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
    )
    os.close(theirs)
    output = b""
    while True:
        try:
            output += os.read(ours, 10_000)
        except OSError:  # the end of a terminal
            break
    os.close(ours)
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", output.decode()).replace("\r", "\n")
    lines = [line.rstrip() for line in text.split("\n")]
    assert max(map(len, lines)) <= width
    run = next(line for line in reversed(lines) if line.startswith("  study 1 of 2"))
    assert re.search(r" 25%\s+15 min left$", run)
    part = next(line for line in reversed(lines) if line.startswith("  a, a part"))
    assert re.search(r"… .* 30%\s+\d+ steps/s +\d s left$", part)
    assert lines.count("warning: mind") == 1
    assert [line for line in lines if line][-1] == "over"
