"""Standard streams that are closed, or of an encoding that lacks what is said."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys

import pytest

from jaxtrends import terminal

# Each closed stream is in the shell's command; the file is the next to be opened.
PROGRAM = """
import os, subprocess, sys
from jaxtrends import terminal

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
