"""An experiment run from Python: its record, its refusals, and a process left as it was."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from experiments import compute_trends
from jaxtrends import flags, record, study_run
from jaxtrends.distributed import Processes
from jaxtrends.errors import Problem
from jaxtrends.experiment import discover
from jaxtrends.study_run import Interrupted
from jaxtrends.terminal import Terminal
from tests.toy_experiment import EXPERIMENT, Config

EXPERIMENTS = discover()


def handlers():
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["a_notebook", "--preset", "default", "--no-such-flag"])


def in_a_thread(run):
    """What a function gives, or raises, in a thread of its own."""
    found = []

    def kept():
        try:
            found.append(run())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=kept)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("run", [lambda run: run(), in_a_thread], ids=["main", "thread"])
def test_a_run_returns_its_record_and_leaves_no_trace(run, capfd):
    before, threads = handlers(), set(threading.enumerate())
    done = run(lambda: EXPERIMENT.run("smoke", output="a run", steps=40))
    assert handlers() == before
    assert set(threading.enumerate()) == threads
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert capfd.readouterr() == ("", "")
    assert done.folder == Path("a run")
    assert done == record.read("a run")
    assert done["preset"] == "smoke"
    assert done["changed"] == {"steps": {"preset": 20, "run": 40}}
    assert list(done.claims().claim) == ["T1", "T2"]
    assert list(done.curves().seed.unique()) == [0]


def test_an_experiment_runs_as_its_command_does():
    made = compute_trends.EXPERIMENT.run("smoke", studies=["tables"], seed=3)
    assert made.folder.parent == Path("runs/compute_trends")
    command = made["provenance"]["command"]
    given = "--preset smoke --seed 3 --studies tables"
    assert command == f"python -m experiments.compute_trends {given}"
    assert compute_trends.main([*given.split(), "--output", "again"]) == 0
    again = record.read("again")
    assert again["results"] == made["results"]
    assert again["provenance"]["command"] == command


def test_a_run_says_how_far_it_is_on_a_terminal(capsys):
    EXPERIMENT.run("smoke", terminal=Terminal(), output="run")
    said = capsys.readouterr().out
    assert "training: done in" in said
    assert "Output: run" in said


def test_a_method_of_ones_own_is_recorded():
    done = EXPERIMENT.run("smoke", methods={"mine": print}, studies=("counting",))
    assert done["own_methods"] == ["mine"]
    assert "methods={'mine': ...}" in done["provenance"]["command"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"preset": "smok"}, "Did you mean 'smoke'"),
        ({"step": 3}, "There is no setting 'step': choose from .*Did you mean 'steps'"),
        ({"steps": "many"}, "steps cannot be 'many'"),
        ({"steps": 2.5}, "steps cannot be 2.5"),
        ({"steps": None}, "steps cannot be None"),
        ({"steps": {"of": 3}}, "steps cannot be {'of': 3}"),
        ({"seeds": 0}, "--seeds must be a finite number above zero"),
        ({"studies": "training"}, "studies cannot be 'training'"),
        ({"studies": ["trainin"]}, "There is no study 'trainin'"),
        ({"studies": [1]}, "studies cannot be"),
        ({"dataset": "\x1b[2J"}, "holds a control character"),
        ({"wandb": "onlin"}, "Did you mean 'online'"),
        ({"output": "/dev/null/x"}, "is not writable"),
        ({"resume": True}, "There is no unfinished smoke run"),
        ({"time_limit": -1}, "--time-limit must lie above 0"),
        ({"explain": True}, "explain is for the command line alone"),
        ({"processes": 2}, "processes is for the command line alone"),
        ({"methods": {"a/b": print}}, "A method cannot be called 'a/b'"),
    ],
)
def test_a_mistake_is_raised_as_a_problem_of_one_sentence(settings, sentence):
    before = handlers()
    with pytest.raises(Problem, match=sentence) as caught:
        EXPERIMENT.run(**{"preset": "smoke", **settings})
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert handlers() == before
    assert not Path("runs").exists()


def test_a_folder_with_a_record_is_not_written_over():
    EXPERIMENT.run("smoke", output="run", studies=["counting"])
    with pytest.raises(Problem, match="already has a run"):
        EXPERIMENT.run("smoke", output="run", studies=["counting"])


def interrupt(number):
    """Send this process a signal once the run has begun to train."""

    def send():
        for _ in range(2000):
            if list(Path("run").glob("studies/training/metrics/*.jsonl")):
                break
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Interrupted)]
)
def test_a_signal_saves_the_state_and_the_run_goes_on(number, error, monkeypatch):
    monkeypatch.setattr(study_run, "SEGMENT_SECONDS", 0.02)
    before = handlers()
    interrupt(number)
    with pytest.raises(error):
        EXPERIMENT.run("smoke", output="run", steps=20_000)
    assert handlers() == before
    assert not Path("run/record.json").exists()
    assert EXPERIMENT.run("smoke", output="run", steps=20_000, resume=True).folder == Path("run")


def test_a_second_ctrl_c_goes_to_the_handler_of_before():
    """It must not end the process, as it ends a command: that would be the user's notebook."""
    started = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & ignores it
    with study_run.StopSignal(Processes(), hosted=True) as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.due
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.signal(signal.SIGINT, started) is signal.default_int_handler


def test_a_time_limit_needs_the_main_thread():
    error = in_a_thread(lambda: EXPERIMENT.run("smoke", output="run", time_limit=5))
    assert isinstance(error, Problem)
    assert "main thread" in str(error)
    with pytest.raises(Interrupted, match="the time limit"):
        EXPERIMENT.run("smoke", output="a run", steps=20_000, time_limit=0.001)


def test_values_are_those_that_flags_would_give():
    settings = {"seeds": np.int64(2), "output": Path("here"), "time_limit": 5}
    config, options = flags.chosen(EXPERIMENT, "smoke", settings)
    assert config == Config(seeds=2, steps=20)
    assert type(config.seeds) is int
    assert (options.output, options.time_limit) == ("here", 5.0)
    assert type(options.time_limit) is float
    nested = {"training": {"mlp": {"grid": [1, np.float32(2)], "steps": 80}}}
    config, _ = flags.chosen(EXPERIMENTS["forward_grad"], "smoke", nested)
    assert config.training.mlp.grid == (1.0, 2.0)
    assert {type(rate) for rate in config.training.mlp.grid} == {float}
    with pytest.raises(Problem, match=r"no setting of training.mlp 'step'.*Did you mean 'steps'"):
        flags.chosen(EXPERIMENTS["forward_grad"], "smoke", {"training": {"mlp": {"step": 1}}})


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_flags_of_a_config_give_it_again(name):
    """Those that a record's command has, whatever was changed."""
    experiment, chance = EXPERIMENTS[name], random.Random(0)
    options = flags.Options(preset="smoke", output="-x y", devices=2, compilation_cache=False)
    ways = list(flags.fields_of(experiment.presets["smoke"]))
    tried = 0
    for _ in range(8):
        config = smoke = experiment.presets["smoke"]
        for way, value in chance.sample(ways, 3):
            if isinstance(value, bool):
                config = flags.changed(config, way, not value)
            elif isinstance(value, int | float):
                config = flags.changed(config, way, type(value)(2 * value))
            elif isinstance(value, tuple):
                config = flags.changed(config, way, value[:-1])
        if not flags.refusal(experiment, config, smoke, ()):
            words = flags.spelled(smoke, config, options)
            assert flags.parse(experiment, words) == (config, options)
            tried += config != smoke
    assert tried > 2
