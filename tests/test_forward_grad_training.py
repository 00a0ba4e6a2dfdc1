"""The training study: its choices and claims against cases worked by hand."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.forward_grad import config as settings
from experiments.forward_grad import cost, plan, training, training_claims, training_figures
from jaxtrends import claims, losses
from jaxtrends.errors import Problem

CLAIMS = {claim.id: claim for claim in training_claims.CLAIMS}
SEEDS = 10
NOISE = np.random.default_rng(0).normal(size=SEEDS)


def arm(loss, spread=0.01):
    return {"final_loss": list(loss + spread * NOISE), "diverged": 0}


def other(loss):
    """An arm whose seeds vary in another way."""
    return {"final_loss": list(loss + 0.01 * NOISE[::-1]), "diverged": 0}


def task(backprop, forward, tuned_backprop=0.02, tuned_forward=0.6, edge=False, parameters=1000):
    """A task's values with the losses given; both shared rates alike."""
    arms = {"backprop": arm(backprop), "gaussian": other(forward)}
    return {
        "initial_loss": [2.3] * SEEDS,
        "parameters": parameters,
        "seeds": list(range(SEEDS)),
        "shared": {"0.0002": arms, "0.002": arms},
        "grid": {m: {"edge": edge} for m in ("backprop", "gaussian")},
        "tuned": {
            "backprop": arm(tuned_backprop, 0.001),
            "gaussian": arm(tuned_forward),
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


def test_a_diverged_forward_gradient_is_behind():
    values = task(0.88, 0.5)
    for arms in values["shared"].values():
        arms["gaussian"]["final_loss"] = [math.inf] * SEEDS
    assert verdict("F4c", {"tasks": {"mlp": values}}) == "not reproduced"


def test_tuned_backprop_far_ahead_unless_tuned_to_the_edge():
    far, near = task(2.0, 2.0), task(2.0, 2.0, tuned_backprop=0.3)
    assert verdict("F7a", {"tasks": {"mlp": far}}) == "reproduced"
    assert verdict("F7a", {"tasks": {"mlp": near}}) == "not reproduced"
    edge = task(2.0, 2.0, edge=True)
    assert verdict("F7a", {"tasks": {"mlp": edge}}) == "inconclusive"


def test_the_slope_of_a_ladder_is_that_of_its_power_law():
    rungs = {
        str(size): task(2.0, 2.0, 0.02, 0.02 * size**0.25, parameters=size)
        for size in (100, 1000, 10000)
    }
    for rung in rungs.values():
        rung["tuned"]["backprop"] = {"final_loss": [0.02] * SEEDS}
        rung["tuned"]["gaussian"] = {"final_loss": [0.02 * rung["parameters"] ** 0.25] * SEEDS}
    np.testing.assert_allclose(training_claims.slopes(rungs), 0.25)
    values = {"tasks": {}, "ladder": rungs}
    for rung in rungs.values():
        rung["tuned"]["gaussian"]["final_loss"] *= 1 + 0.01 * NOISE
    assert verdict("F7b", values) == "reproduced"


def test_a_claim_without_its_arms_is_not_run():
    with pytest.raises(KeyError, match="task mlp or figure4"):
        CLAIMS["F4a"].evidence({"tasks": {}})


def test_final_loss_is_of_the_last_tenth_and_infinite_where_a_lane_diverged():
    curves = np.stack([np.arange(20.0), np.r_[np.zeros(19), np.nan]])
    np.testing.assert_array_equal(training.final_loss(curves), [18.5, np.inf])


def test_the_rate_chosen_has_the_lowest_mean_and_no_diverged_seed():
    rates = (0.1, 0.2, 0.3, 0.4)
    validation = np.array([[3.0, 3.0], [2.0, 2.0], [1.0, np.inf], [2.5, 2.5]])
    assert training.choose_rate(rates, validation) == (1, False)
    assert training.choose_rate(rates, validation[::-1]) == (2, False)
    assert training.choose_rate(rates, np.array([[1.0], [2.0], [3.0], [4.0]])) == (0, True)
    assert training.choose_rate(rates, np.full((4, 2), np.inf))[1]


def test_first_reach_counts_steps_and_never_is_infinite():
    curves = np.array([[3.0, 2.0, 1.0], [3.0, 3.0, 3.0]])
    reached = training.first_reach(curves, np.array([2.0, 2.0]), 10)
    np.testing.assert_array_equal(reached, [20, np.inf])


def test_lanes_pair_every_rate_with_every_seed():
    lanes = training.grid_lanes((0.1, 0.2), (7, 8, 9))
    pairs = set(zip(lanes["learning_rate"].tolist(), lanes["seed"].tolist(), strict=True))
    assert len(pairs) == 6
    assert lanes["seed"][:3].tolist() == [7, 8, 9]


def test_tuning_and_reporting_seeds_are_disjoint():
    for config in settings.PRESETS.values():
        assert config.seed + config.seeds < training.TUNING_SEED_OFFSET


def test_a_curve_ends_where_its_lanes_diverge():
    curve = np.array([[1.0, 1.0, np.inf], [1.0, 2.0, np.nan], [1.0, 3.0, np.inf]])
    drawn = training_figures.band("gaussian", np.arange(1, 4), curve)
    assert len(drawn.x) == 2
    assert drawn.y[1] == 2.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"log_every": 7}, "not a multiple"),
        ({"methods": ("backpop",)}, "Did you mean 'backprop'"),
        ({"grid": (0.1, -1.0)}, "above zero"),
        ({"dataset": "mnist_5"}, "mnist_5k"),
        ({"channels": 2, "hidden": ()}, "dense layer"),
    ],
)
def test_a_task_that_cannot_be_run_is_refused(changes, message):
    import dataclasses

    smoke = settings.SMOKE
    mlp = dataclasses.replace(smoke.training.mlp, **changes)
    bad = dataclasses.replace(smoke, training=dataclasses.replace(smoke.training, mlp=mlp))
    with pytest.raises(Problem, match=message):
        settings.check(bad)


@pytest.mark.parametrize("name", ["logistic", "mlp", "cnn"])
def test_the_operations_of_a_step_are_those_of_its_traced_products(name):
    config = settings.PRESETS["full"]
    told = plan.operations(config)["training"][name]
    task = getattr(config.training, name)
    side = 8 if task.dataset == "digits" else 28
    model = training.make_model(task, np.zeros((1, side, side, 1)), 10)
    images = jnp.zeros((config.training.batch_size, side, side, 1))
    labels = jnp.zeros(config.training.batch_size, jnp.int32)
    params = jax.eval_shape(model.init, jax.random.key(0))

    def loss(params):
        return losses.cross_entropy(model.apply(params, images), labels)

    def directional(params, tangent):
        return jax.jvp(loss, (params,), (tangent,))[1]

    function = cost.product_operations(loss, params)
    one = cost.product_operations(directional, params, params)
    assert told["backprop"] == cost.product_operations(jax.grad(loss), params)
    assert told["gaussian"] == told["rademacher"] == one
    if name != "cnn":
        assert told["clipped"] == one
        assert told["gaussian-16"] == function + 16 * (one - function)
        assert told["central"] == 2 * function


def test_the_operations_of_a_users_own_method_are_not_made_up():
    told = plan.operations(settings.PRESETS["smoke"], ("mine",))["training"]
    assert all("mine" not in methods for methods in told.values())
