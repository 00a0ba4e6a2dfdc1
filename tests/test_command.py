"""The command of a run is the one that was typed, and with --resume it goes on."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from experiments import forward_grad
from jaxtrends import command, record, running
from jaxtrends.flags import PLACES
from tests import toy_experiment

SCRIPT = """
import sys

from tests.toy_experiment import EXPERIMENT, distributed, main, study_run

study_run.CHECKPOINT_SECONDS, study_run.SEGMENT_SECONDS = 0.25, 0.02
sys.exit(main(EXPERIMENT, methods={"mine": print}))
"""


def hint(out):
    """The command below the line that says how to go on."""
    return out.split("To go on with this run:\n")[1].splitlines()[0].strip()


@pytest.mark.parametrize("program", [("my script.py",), ("-m", "mine")])
def test_the_hint_of_a_script_of_ones_own_resumes_it(tmp_path, program):
    folder = tmp_path / "a run"
    (tmp_path / program[-1]).with_suffix(".py").write_text(SCRIPT)
    flags = ("--steps", "40", "--wandb", "disabled", "--output", str(folder))
    run = {"cwd": tmp_path, "text": True, "env": {"PYTHONPATH": str(record.ROOT)}}
    run |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    stopped = subprocess.run(
        [sys.executable, *program, *flags, "--time-limit", "0.001"], check=False, **run
    )
    assert stopped.returncode == 128 + signal.SIGALRM, stopped.stderr
    words = shlex.split(hint(stopped.stdout))
    assert words[: 1 + len(program)] == [sys.executable, *program]
    words = [word for word in words if word not in ("--time-limit", "0.001")]
    assert subprocess.run(words, check=False, **run).returncode == 0
    recorded = record.read(folder)["provenance"]["command"]
    assert shlex.split(recorded) == ["python", *program, "--steps", "40"]


@pytest.fixture
def started(monkeypatch):
    """Let this process look as if it had been started in some way."""

    def started(argv, file=None, spec=None):
        main = types.ModuleType("__main__")
        if file:
            main.__file__ = file
        main.__spec__ = spec and types.SimpleNamespace(name=spec)
        monkeypatch.setitem(sys.modules, "__main__", main)
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.setattr(sys, "orig_argv", ["py", *argv])

    return started


KERNEL = ["/env/ipykernel_launcher.py", "-f", "/home/me/kernel-1.json"]
FLAGS = ["--preset", "smoke"]


@pytest.mark.parametrize(
    ("argv", "file", "spec", "program", "flags"),
    [
        (["mine.py", *FLAGS], "/home/me/mine.py", None, ("py", "mine.py"), FLAGS),
        (
            ["/x/experiments/toy/__main__.py", *FLAGS],
            "/x/experiments/toy/__main__.py",
            "experiments.toy.__main__",
            ("py", "-m", "experiments.toy"),
            FLAGS,
        ),
        # A profiler that runs a script: its own spec is not the script's.
        (["mine.py", *FLAGS], "/lib/cProfile.py", "cProfile", ("py", "mine.py"), FLAGS),
        (["-c", *FLAGS], None, None, (), FLAGS),
        (KERNEL, None, None, (), []),
        (KERNEL, "/home/me/cells.py", None, (), []),  # an editor's window of cells
        (["/usr/bin/ipython", "--pylab"], None, None, (), []),
        ([""], None, None, (), []),
    ],
)
def test_how_this_process_was_started(started, argv, file, spec, program, flags):
    started(argv, file, spec)
    found = command.of("experiments.forward_grad", None)
    assert (found.program, found.flags) == (program, tuple(flags))


def test_main_in_a_notebook_reads_nothing_of_the_kernels(started, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    started(KERNEL)
    ran = []
    monkeypatch.setattr(running, "run", lambda *arguments: ran.append(arguments))
    assert running.main(toy_experiment.EXPERIMENT) == 0
    ((_, config, options, *_),) = ran
    assert config == toy_experiment.EXPERIMENT.presets["default"]
    assert options.preset == "default"


def test_arguments_of_python_code_are_a_command_where_one_does_the_same(tmp_path):
    given = ["--preset", "smoke", "--output=x y", "--studies", "cost"]
    found = command.of("experiments.forward_grad", given)
    assert found.program[1:] == ("-m", "experiments.forward_grad")
    assert found.recorded(PLACES) == (
        "python -m experiments.forward_grad --preset smoke --studies cost"
    )
    for module, own, methods in (
        ("experiments.forward_grad", ("mine",), ", methods={'mine': ...}"),
        ("experiments.toy", (), ""),
    ):
        found = command.of(module, given, own)
        assert found.recorded(PLACES) == (
            f"{module}.main(['--preset', 'smoke', '--studies', 'cost']{methods})"
        )
        assert found.to_resume(Path("run")) == (
            f"{module}.main(['--preset', 'smoke', '--output=x y', '--studies', 'cost', "
            f"'--resume']{methods})"
        )


@pytest.mark.parametrize(
    ("flags", "recorded"),
    [
        (["--data_dir", "/home/me", "--seeds", "3"], "--seeds 3"),
        (["--data_dir=/home/me", "--blocks-in-flight=2"], ""),
        (["--resume", "--seeds", "3"], "--seeds 3"),
        (["--no-resume", "--seeds", "3"], "--seeds 3"),
        (["--table", "my table.csv"], "--table 'my table.csv'"),
    ],
)
def test_a_record_has_the_flags_that_change_a_result(flags, recorded):
    found = command.Command(("/env/bin/python", "/home/me/mine.py"), tuple(flags), "main")
    assert found.recorded(PLACES) == f"python mine.py {recorded}".strip()


def test_to_resume_a_folder_is_named_once():
    found = command.Command(("py", "a.py"), ("--output", "a b", "--resume"), "main")
    assert shlex.split(found.to_resume(Path("a b"))) == [
        *("py", "a.py", "--output", "a b", "--resume")
    ]
    found = command.Command(("py", "a.py"), (), "main")
    assert found.to_resume(Path("a b")) == "py a.py --output 'a b' --resume"


@pytest.mark.parametrize("name", ["", " ", "a/b", "a\nb", "\x1b[2J"])
def test_a_method_of_ones_own_has_a_name_that_a_record_can_hold(name, capsys):
    assert forward_grad.main(FLAGS, methods={name: print}) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: A method cannot be called")
    assert said.count("\n") == 1


def test_a_method_of_ones_own_takes_no_others_name(capsys):
    assert forward_grad.main(FLAGS, methods={"backprop": print}) == 2
    assert "rename yours" in capsys.readouterr().err
