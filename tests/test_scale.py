"""What docs/scale.md says: its commands are run, on CPUs, and its table is what the plans give."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from jaxtrends import flags, plan, record
from jaxtrends.experiment import discover
from scripts import cost_table
from tests import free_port

ROOT = Path(cost_table.__file__).resolve().parents[1]
SMALL = ("--preset", "smoke", "--studies", "training", "--methods", "backprop", "gaussian")

SRUN = """#!/bin/sh
# What srun does for two tasks on this host.
export SLURM_STEP_NODELIST=127.0.0.1 SLURM_STEP_NUM_NODES=1 SLURM_NTASKS=2
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" &
SLURM_PROCID=0 SLURM_LOCALID=0 "$@"
first=$?
wait $! && exit $first
"""


def commands():
    """Every command of the document that runs an experiment, as lists of words."""
    text = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if "python -m experiments." in line]
    assert len(lines) >= 7
    return [
        shlex.split(line[line.index("python -m") :].rstrip("'& "), comments=True) for line in lines
    ]


def results(folder):
    return json.dumps(record.read(folder)["results"])


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """The results of one process with eight devices, by the document's own command."""
    (command,) = [command for command in commands() if command[-2:] == ["--devices", "8"]]
    folder = tmp_path_factory.mktemp("eight") / "run"
    words = [sys.executable, *command[1:], *SMALL[2:], "--output", str(folder)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert record.read(folder)["provenance"]["device"]["count"] == 8
    return results(folder)


@pytest.fixture
def job():
    """A SLURM job's number, of which JAX makes the coordinator's port, that is no one else's."""
    with contextlib.ExitStack() as stack:
        for number in range(4096):
            with contextlib.suppress(OSError):
                stack.enter_context(free_port.held(61440 + number))
                break
        yield number


def test_the_slurm_script_runs_two_processes_to_the_results_of_one(eight, job, tmp_path):
    srun = tmp_path / "srun"
    srun.write_text(SRUN)
    srun.chmod(srun.stat().st_mode | stat.S_IXUSR)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "SLURM_JOB_ID": str(job),
        "RUN": "first",
    }
    done = subprocess.run(
        ["bash", str(ROOT / "docs" / "slurm.sh"), "forward_grad", *SMALL, "--devices", "1"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "forward_grad" / "slurm-first"
    assert record.read(folder)["provenance"]["device"]["processes"] == 2
    assert results(folder) == eight


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_of_the_document_is_understood(command):
    found = discover()[command[2].removeprefix("experiments.")]
    config, options = flags.parse(found, command[3:])
    if not options.mesh:  # whose groups are a setting
        assert config == found.presets[options.preset]


def test_the_committed_table_is_what_the_plans_give():
    """Of full presets, which are quickly planned; `scripts.cost_table --check` is for all."""
    document = cost_table.DOCUMENT.read_text(encoding="utf-8")
    found = list(cost_table.rows(["full"]))
    assert len(found) >= 5
    for row in found:
        assert cost_table.line(row) in document


def test_a_stale_table_is_found(tmp_path, monkeypatch, capsys):
    document = tmp_path / "scale.md"
    document.write_text(cost_table.DOCUMENT.read_text().replace("TPU v5e |", "TPU v4 |"))
    monkeypatch.setattr(cost_table, "DOCUMENT", document)
    monkeypatch.setattr(cost_table, "text", lambda: "| a | table |")
    assert cost_table.main(["--check"]) == 1
    assert "stale" in capsys.readouterr().err
    assert cost_table.main([]) == 0
    assert cost_table.main(["--check"]) == 0


def test_the_table_says_that_nothing_was_measured():
    assert "Computed, not measured" in cost_table.DOCUMENT.read_text(encoding="utf-8")
    assert "10% of peak" in cost_table.assumed(plan.H100)
