"""The training study: its choices and claims against cases worked by hand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from experiments import forward_grad
from experiments.forward_grad import training
from jaxtrends import claims, data
from jaxtrends.errors import Problem
from tests.plain_run import PlainRun

CLAIMS = {claim.id: claim for claim in training.CLAIMS}
SEEDS = 10
NOISE = np.random.default_rng(0).normal(size=SEEDS)


def arm(loss, spread=0.01, noise=NOISE):
    return {"metrics": {"training_loss": list(loss + spread * noise)}, "facts": {}}


def task(backprop, forward, tuned_backprop=0.02, tuned_forward=0.6, size=None):
    """A task's values with the losses given; both shared rates are one."""
    return {
        "task": "mlp" if size is None else "ladder",
        "size": size,
        "initial_loss": [2.3] * SEEDS,
        training.SMALLEST: "shared 0.002",
        training.LARGEST: "shared 0.002",
        "arms": {
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


def test_a_rate_at_which_nothing_is_learned_fails_its_own_claim():
    assert verdict("F4b", {"tasks": {"mlp": task(2.3, 2.3)}}) == "not reproduced"
    assert verdict("F4b", {"tasks": {"mlp": task(2.0, 2.0)}}) == "reproduced"


@pytest.mark.parametrize(
    ("forward", "expected"), [(0.5, "reproduced"), (0.88, "inconclusive"), (1.2, "not reproduced")]
)
def test_ahead_at_the_larger_rate(forward, expected):
    assert verdict("F4c", {"tasks": {"mlp": task(0.88, forward, 0.02)}}) == expected


def test_tuned_backprop_is_far_ahead_by_a_factor_of_four():
    far, near = task(2.0, 2.0), task(2.0, 2.0, tuned_backprop=0.3)
    assert verdict("F7a", {"tasks": {"mlp": far}}) == "reproduced"
    assert verdict("F7a", {"tasks": {"mlp": near}}) == "not reproduced"


def test_the_slope_of_a_ladder_is_that_of_its_power_law():
    rungs = {
        f"width {size}": task(2.0, 2.0, 0.02, 0.02 * size**0.25, size=size)
        for size in (100, 1000, 10000)
    }
    powers = 0.25 + 0.01 * NOISE
    for rung in rungs.values():
        arms = rung["arms"]
        arms["tuned/backprop"]["metrics"]["training_loss"] = [0.02] * SEEDS
        arms["tuned/gaussian"]["metrics"]["training_loss"] = 0.02 * rung["size"] ** powers
    found = CLAIMS["F7b"].evidence({"tasks": rungs})
    np.testing.assert_allclose(found.parts[""]["values"], powers)
    assert verdict("F7b", {"tasks": rungs}) == "reproduced"
    with pytest.raises(KeyError, match="three widths"):
        CLAIMS["F7b"].evidence({"tasks": dict([*rungs.items()][:2])})


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


def test_steps_to_backprop_are_counted_in_the_same_comparison():
    def falling(*curve):
        return np.array([curve])

    network = {"arms": ["shared 0.1/backprop", "shared 0.1/mine", "tuned/mine"], "log_every": 5}
    curves = {
        "shared 0.1/backprop/validation_loss": falling(2.0, 1.0, 1.5),
        "shared 0.1/mine/validation_loss": falling(1.5, 1.2, 0.9),
        "tuned/mine/validation_loss": falling(0.5, 0.4, 0.3),
    }
    found = training.to_backprop(network, curves)["arms"]
    assert {arm: metrics["steps_to_backprop"] for arm, metrics in found.items()} == {
        "shared 0.1/backprop": [10],
        "shared 0.1/mine": [15],
    }


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
    path = Path(__file__).resolve().parents[1] / "results/forward_grad/full/record.json"
    done = json.loads(path.read_text(encoding="utf-8"))
    entries = {
        entry["claim"]["id"]: entry
        for part in ("results", "measurements")
        for entry in done[part]["claims"]
    }
    said = forward_grad.answer(claims.Answers(list(entries.values())))
    for id, digits in (("F4c", 2), ("F5a", 2), ("F7a", 1)):
        verdict = entries[id]["verdict"]
        shown = verdict["parts"][verdict["headline"]]
        ends = (format(float(shown[end]), f".{digits}f") for end in ("estimate", "low", "high"))
        assert "{} [{}, {}]".format(*ends) in said
    assert said.startswith("No: a forward gradient took")
    assert said.endswith("They are unbiased, as claimed.")
    alone = forward_grad.answer(claims.Answers([entries["F5a"]]))
    assert said.startswith(alone)
    assert "training loss" not in alone
    assert forward_grad.answer(claims.Answers([])) == ""
