"""The plan is what a study then trains, call by call, found without training anything."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from jaxtrends import data, design, experiment, plan, running, tuning
from jaxtrends.plan import Machine, Planned
from jaxtrends.settings import Schedule
from tests import toy_comparison
from tests.plain_run import PlainRun
from tests.toy_comparison import FIT

EXPERIMENTS = experiment.discover()
SHORT = Schedule(steps=40, log_every=4, grid=(0.03, 0.1, 0.3), extensions=0, tuning_seeds=2)
CONFIG = toy_comparison.Config(fit=toy_comparison.Fit(schedule=SHORT, widths=(2, 4)))


def dry(config=CONFIG, block=1):
    run = plan.DryRun("fit", {}, lambda name: None, block)
    return run, FIT.run(config, run)


def test_a_dry_run_makes_the_calls_of_the_run():
    run, _ = dry()
    real = PlainRun("fit")
    FIT.run(CONFIG, real)
    planned = [(call.label, call.lanes, call.steps) for call in run.calls]
    calls = [(label, lanes, steps) for label, _, lanes, steps, _ in real.calls]
    assert planned == calls
    assert len({call.program[0] for call in run.calls}) == len({t for _, t, *_ in real.calls})


def test_what_it_answers_has_the_names_shapes_and_kinds_of_the_real_metrics():
    trainer = toy_comparison.trainer(3)
    given = FIT.data(next(iter(FIT.settings(CONFIG, "fit").values())), None)
    given = {n: (np.ones((64, 3), np.float32), labels) for n, (_, labels) in given.items()}
    lanes = tuning.lanes([0.1], [0, 1], {"weight": 1.0})
    how = {"steps": 8, "log_every": 4}
    run = plan.DryRun("fit", {}, lambda name: None)
    made_up = run.train("a", trainer, lanes, given, **how)
    real = PlainRun("fit").train("a", trainer, lanes, given, **how)
    assert {n: (v.shape, v.dtype) for n, v in made_up.items()} == {
        n: (v.shape, v.dtype) for n, v in real.items()
    }
    assert all(np.isfinite(values).all() for values in made_up.values())
    untested = run.train("b", trainer, lanes, given, test=False, **how)
    assert {*made_up} - {*untested} == {name for name in real if name.startswith("test_")}


def test_operations_are_those_of_a_step_and_its_share_of_evaluation():
    run, _ = dry()
    call = next(call for call in run.calls if call.label.startswith("plain, 4 descent"))
    step = 2 * 2 * 8 * 4  # forward, and the gradient of the weights: no gradient of the inputs
    evaluation = 2 * 64 * 4
    assert call.operations == step + evaluation / 4
    assert call.data == 3 * 64 * (4 + 1)
    assert call.numbers >= 4 + 1


def test_no_grid_is_extended_where_an_experiment_is_planned():
    config = toy_comparison.Config()  # which allows one extension
    calls = plan.of(toy_comparison.EXPERIMENT, config)["fit"]
    tuned = [call for call in calls if "tuning" in call.label and "for tuning" not in call.label]
    schedule = config.fit.schedule
    assert {call.lanes for call in tuned} == {len(schedule.grid) * schedule.tuning_seeds}


def test_a_block_holds_what_it_is_told_to():
    assert {call.block for call in dry(block=1)[0].calls} == {1}
    assert all(call.block == call.lanes for call in dry(block=None)[0].calls)
    assert all(call.block == min(3, call.lanes) for call in dry(block=3)[0].calls)


def test_work_that_trains_nothing_ends_a_study():
    def run(config, run):
        list(run.each("work", [1, 2]))
        raise AssertionError("the work was done")

    study = design.Study("works", run, ())
    toy = dataclasses.replace(toy_comparison.EXPERIMENT, studies={"fit": study})
    assert plan.of(toy, CONFIG) == {"fit": []}


def test_parameters_handed_on_take_no_memory():
    large = np.broadcast_to(np.float32(1), (200_000, 1_000_000))  # 800 GB
    lanes = tuning.lanes([0.1, 0.2], [0, 1], {"start": tuning.stacked(large, large)})
    assert lanes["start"].shape == (4, 200_000, 1_000_000)
    one, two = np.arange(3.0), np.arange(3.0) + 1
    np.testing.assert_array_equal(tuning.stacked(one, two), [[0, 1, 2], [1, 2, 3]])
    np.testing.assert_array_equal(tuning.stacked(np.asarray(1.0), np.asarray(2.0)), [1.0, 2.0])


@pytest.mark.parametrize("name", ["digits", "mnist_5k"])
def test_an_outline_has_the_shapes_of_the_data(name):
    def shapes(found):
        return jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype),
            [dataclasses.astuple(part) for part in (found.train, found.validation, found.test)],
        )

    assert shapes(data.outline(name)) == shapes(data.load(name))


CALL = Planned("a", "p", 5, 10, 5, 2, 100.0, 7.0, 50.0)


def test_what_follows_from_a_plan():
    other = dataclasses.replace(CALL, label="b", steps=20)
    assert CALL.blocks == 3
    assert plan.programs([CALL, other]) == 1
    assert plan.programs([CALL, dataclasses.replace(CALL, block=1)]) == 2
    assert plan.operations([CALL, other]) == 6 * 10 * 100.0 + 6 * 20 * 100.0  # padding counts
    assert CALL.bytes == 4 * (1.5 * 7 * 2 + 50)
    machine = Machine("slow", speed=50.0, least=1e-9, compiling=3.0, memory=1.0)
    assert plan.seconds([CALL], machine) == 3.0 + 3 * 10 * 2 * 100 / 50
    assert plan.seconds([CALL], machine, devices=2) == 3.0 + 2 * 10 * 2 * 100 / 50
    idle = dataclasses.replace(machine, least=100.0)
    assert plan.seconds([CALL], idle) == 3.0 + 3 * 10 * 100.0


def test_times_are_those_of_the_committed_record():
    assert plan.measured("forward_grad", "default")["training"] > 0
    assert plan.measured("forward_grad", "smoke") == {}  # of which there is no record
    assert plan.measured("none", "default") == {}


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_explain_prints_the_plan_and_leaves_nothing(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert running.main(EXPERIMENTS[name], ["--preset", "smoke", "--explain"]) == 0
    said = capsys.readouterr().out
    assert "nothing is run" in said
    config = EXPERIMENTS[name].presets["smoke"]
    for study in EXPERIMENTS[name].studies_of(config):
        assert study in said
    assert list(tmp_path.iterdir()) == []


def test_explain_refuses_what_a_run_would_refuse(capsys):
    status = running.main(EXPERIMENTS["forward_grad"], ["--explain", "--seeds", "0"])
    assert status == 2
    assert "--seeds must be" in capsys.readouterr().err
