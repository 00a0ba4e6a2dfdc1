"""The training study: its choices and claims against cases worked by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from experiments import forward_grad
from experiments.forward_grad import training
from jaxtrends import claims, data, record
from jaxtrends.declare import TaskView
from jaxtrends.errors import Problem
from tests.plain_run import PlainRun

CLAIMS = {claim.id: claim for claim in training.CLAIMS}
SEEDS = 10
NOISE = np.random.default_rng(0).normal(size=SEEDS)


def arm(loss, spread=0.01, noise=NOISE, earlier=None):
    losses = list(loss + spread * noise)
    before = losses if earlier is None else list(earlier + spread * noise)
    metrics = {"training_loss": losses, "test_loss": losses, "loss_a_fifth_earlier": before}
    return {"metrics": metrics, "facts": {}}


def task(backprop, forward, tuned_backprop=0.02, tuned_forward=0.6, size=None):
    """A task's values with the losses given; at the smaller rate the loss falls evenly."""
    return {
        "task": "mlp" if size is None else "ladder",
        "size": size,
        "initial_loss": [2.3] * SEEDS,
        training.SMALLEST: "shared 0.0002",
        training.LARGEST: "shared 0.002",
        "arms": {
            "shared 0.0002/backprop": arm(backprop),
            "shared 0.0002/gaussian": arm(
                forward, noise=NOISE[::-1], earlier=2.3 - 0.8 * (2.3 - forward)
            ),
            "shared 0.002/backprop": arm(backprop),
            "shared 0.002/gaussian": arm(forward, noise=NOISE[::-1]),
            "tuned/backprop": arm(tuned_backprop, 0.001),
            "tuned/gaussian": arm(tuned_forward),
        },
    }


def verdict(name, values):
    return claims.judge(CLAIMS[name], CLAIMS[name].evidence(values)).verdict


@pytest.mark.parametrize(
    ("forward", "expected"),
    [(2.005, "reproduced"), (2.2, "not reproduced"), (1.5, "not reproduced")],
)
def test_keeping_up_is_measured_by_backprops_own_progress(forward, expected):
    assert verdict("F4a", {"tasks": {"mlp": task(2.0, forward)}}) == expected


def test_keeping_up_with_a_backprop_that_learns_nothing_is_invalid():
    assert verdict("F4a", {"tasks": {"mlp": task(2.29, 2.29)}}) == "invalid"


def test_an_estimate_that_is_a_fifth_too_short_must_be_told_from_one_that_keeps_up():
    short = task(2.0, 2.0)
    metrics = short["arms"]["shared 0.0002/gaussian"]["metrics"]
    metrics["loss_a_fifth_earlier"] = metrics["training_loss"]  # as if it made no difference
    assert verdict("F4a", {"tasks": {"mlp": short}}) == "invalid"


@pytest.mark.parametrize(
    ("forward", "expected"), [(0.5, "reproduced"), (0.88, "inconclusive"), (1.2, "not reproduced")]
)
def test_ahead_at_the_larger_rate(forward, expected):
    found = task(0.88, forward, 0.02)
    slow = found["arms"]["shared 0.0002/gaussian"]["metrics"]
    slow["training_loss"] = [2.2] * SEEDS
    assert verdict("F4c", {"tasks": {"mlp": found}}) == expected
    slow["training_loss"] = [0.1] * SEEDS  # rates taken for one another
    assert verdict("F4c", {"tasks": {"mlp": found}}) == "invalid"


def test_tuned_backprop_is_far_ahead_by_a_factor_of_four():
    far, near = task(2.0, 2.0), task(2.0, 2.0, tuned_backprop=0.3)
    assert verdict("F7d", {"tasks": {"mlp": far}}) == "reproduced"
    assert verdict("F7d", {"tasks": {"mlp": near}}) == "not reproduced"


def ladder(lead):
    """Rungs on which backprop leads by so many log-odds, which a seed moves a little."""
    rungs = {}
    for place, size in enumerate((100, 1_000, 10_000, 100_000)):
        noise = 0.05 * np.roll(NOISE, place)
        found = task(2.0, 2.0, size=size)
        for method, odds in (("backprop", 3.0 + lead(size)), ("gaussian", 3.0)):
            share = 1 / (1 + np.exp(-(odds + noise * (method == "gaussian"))))
            found["arms"][f"tuned/{method}"]["metrics"]["test_accuracy"] = list(share)
        rungs[f"width {size}"] = found
    return {"tasks": rungs}


def test_a_gap_grows_if_its_log_odds_do():
    growing = ladder(lambda size: 0.2 * np.log2(size))
    assert verdict("F7e", growing) == "reproduced"
    found = CLAIMS["F7e"].evidence(growing)
    np.testing.assert_allclose(found.parts[""]["values"], 0.2, atol=0.03)
    assert verdict("F7e", ladder(lambda size: -0.2 * np.log2(size))) == "not reproduced"


def test_backprop_on_its_floor_is_no_growing_gap():
    """Its loss goes to zero and the ratio of losses to infinity, at the same lead in log-odds."""
    floored = ladder(lambda size: 1.0)
    for rung in floored["tasks"].values():
        rung["arms"]["tuned/backprop"]["metrics"]["test_loss"] = [10 / rung["size"]] * SEEDS
    assert verdict("F7e", floored) != "reproduced"


def test_a_seed_takes_the_time_of_a_process_in_turn():
    view = TaskView(
        "mlp",
        {
            "arms": {
                "mine": {
                    "metrics": {"steps_to_target": [10.0, 10.0, 20.0]},
                    "facts": {"process_seconds": [1.0, 2.0]},
                }
            }
        },
    )
    assert training.time_to_target(view, "mine").tolist() == [10.0, 20.0, 20.0]
    assert training.time_to_target(view, "mine", shift=1).tolist() == [20.0, 10.0, 40.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shared_rates": (0.1, 0.1 + 1e-9)}, "first six digits"),
        ({"channels": 2, "hidden": ()}, "dense layer"),
    ],
)
def test_a_task_that_cannot_be_run_is_refused(changes, message):
    smoke = forward_grad.SMOKE
    mlp = dataclasses.replace(smoke.training.mlp, **changes)
    bad = dataclasses.replace(smoke, training=dataclasses.replace(smoke.training, mlp=mlp))
    with pytest.raises(Problem, match=message):
        forward_grad.check(bad)


def test_readings_are_taken_in_the_same_comparison():
    def falling(*curve):
        return np.array([curve])

    network = {
        "arms": ["shared 0.1/backprop", "shared 0.1/mine", "tuned/mine"],
        "log_every": 5,
        "initial_loss": [3.0],
    }
    validation = {
        "shared 0.1/backprop": falling(2.0, 1.0, 1.5),
        "shared 0.1/mine": falling(1.35, 1.2, 0.9),
        "tuned/mine": falling(0.5, 0.4, 0.3),
    }
    curves = {f"{arm}/validation_loss": values for arm, values in validation.items()}
    curves |= {f"{arm}/training_loss": falling(*range(10, 0, -1)) for arm in validation}
    found = training.readings(network, curves)["arms"]
    shared = found["shared 0.1/backprop"], found["shared 0.1/mine"]
    assert [own["steps_to_backprop"] for own in shared] == [[10], [15]]
    assert [own["steps_to_target"] for own in shared] == [[10], [5]]  # to 3 - 0.8 x 2 = 1.4
    assert {"steps_to_backprop", "steps_to_target"}.isdisjoint(found["tuned/mine"])
    for own in found.values():
        assert own["loss_a_fifth_earlier"] == [3.0]  # the last tenth, two points earlier


def test_a_task_without_the_methods_asked_for_has_no_arms_and_no_figure():
    digits = data.load("digits", None)
    smoke = dataclasses.replace(forward_grad.SMOKE, methods=("central",))
    found = training.run(smoke, PlainRun("training", {"digits": digits}))
    assert found.values["tasks"]["mlp"]["arms"] == {}
    assert (found.figures, found.measurements) == ([], {"step_seconds": {}, "tasks": {}})
    with pytest.raises(KeyError, match="arm"):
        CLAIMS["F4a"].evidence(found.values)


def test_methods_of_ones_own_have_names_of_their_own():
    config = dataclasses.replace(forward_grad.SMOKE, methods=("backprop", "mine"))
    forward_grad.check(config, ("mine",))
    with pytest.raises(Problem, match="There is no method 'mine'"):
        forward_grad.check(config)
    with pytest.raises(Problem, match="rename yours"):
        forward_grad.check(config, ("backprop",))


def test_the_answer_holds_the_records_own_numbers_and_leaves_out_what_did_not_run():
    done = record.read(record.ROOT / "results/forward_grad/default")
    entries = {entry["claim"]["id"]: entry for entry in record.entries(done)}
    said = forward_grad.answer(claims.Answers(list(entries.values())))
    time = claims.Answers([entries["F5a"]])["F5a"]
    assert f"{time:.2f} times its time" in said
    assert said.startswith("Partly: forward gradients are unbiased; ")
    alone = forward_grad.answer(claims.Answers([entries["F5a"]]))
    assert alone.startswith("No: ")
    assert "unbiased" not in alone
    assert "loss" not in alone
