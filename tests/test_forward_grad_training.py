"""The training study: its choices and claims against cases worked by hand."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import forward_grad
from experiments.forward_grad import plan, training, training_claims
from jaxtrends import claims, data, flops, losses
from jaxtrends.errors import Problem
from tests.plain_run import PlainRun

CLAIMS = {claim.id: claim for claim in training_claims.CLAIMS}
SEEDS = 10
NOISE = np.random.default_rng(0).normal(size=SEEDS)


def arm(loss, spread=0.01, noise=NOISE, **more):
    return {"metrics": {"training_loss": list(loss + spread * noise)}, "facts": {}, **more}


def task(backprop, forward, tuned_backprop=0.02, tuned_forward=0.6, edge=False, size=None):
    """A task's values with the losses given; both shared rates are one."""
    grid = {"edge": edge}
    return {
        "task": "mlp" if size is None else "ladder",
        "size": size,
        "initial_loss": [2.3] * SEEDS,
        training.SMALLEST: "shared 0.002",
        training.LARGEST: "shared 0.002",
        "arms": {
            "backprop, shared 0.002": arm(backprop),
            "gaussian, shared 0.002": arm(forward, noise=NOISE[::-1]),
            "backprop, tuned": arm(tuned_backprop, 0.001, grid=grid),
            "gaussian, tuned": arm(tuned_forward, grid=grid),
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
    values["arms"]["gaussian, shared 0.002"]["metrics"]["training_loss"] = [math.inf] * SEEDS
    assert verdict("F4c", {"tasks": {"mlp": values}}) == "not reproduced"


def test_tuned_backprop_far_ahead_unless_tuned_to_the_edge():
    far, near = task(2.0, 2.0), task(2.0, 2.0, tuned_backprop=0.3)
    assert verdict("F7a", {"tasks": {"mlp": far}}) == "reproduced"
    assert verdict("F7a", {"tasks": {"mlp": near}}) == "not reproduced"
    edge = task(2.0, 2.0, edge=True)
    assert verdict("F7a", {"tasks": {"mlp": edge}}) == "inconclusive"


def test_the_slope_of_a_ladder_is_that_of_its_power_law():
    rungs = {
        f"width {size}": task(2.0, 2.0, 0.02, 0.02 * size**0.25, size=size)
        for size in (100, 1000, 10000)
    }
    powers = 0.25 + 0.01 * NOISE
    for rung in rungs.values():
        arms = rung["arms"]
        arms["backprop, tuned"]["metrics"]["training_loss"] = [0.02] * SEEDS
        arms["gaussian, tuned"]["metrics"]["training_loss"] = 0.02 * rung["size"] ** powers
    found = CLAIMS["F7b"].evidence({"tasks": rungs})
    np.testing.assert_allclose(found.parts[""]["values"], powers)
    assert verdict("F7b", {"tasks": rungs}) == "reproduced"
    with pytest.raises(KeyError, match="three widths"):
        CLAIMS["F7b"].evidence({"tasks": dict([*rungs.items()][:2])})


def test_a_claim_without_its_arms_is_not_run():
    with pytest.raises(KeyError, match="task mlp or figure4"):
        CLAIMS["F4a"].evidence({"tasks": {}})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"log_every": 7}, "not a multiple"),
        ({"methods": ("backpop",)}, "Did you mean 'backprop'"),
        ({"grid": (-1.0, 0.1)}, "above 0"),
        ({"grid": (0.1, 0.01)}, "from the smallest up"),
        ({"shared_rates": (0.1, 0.1 + 1e-9)}, "first six digits"),
        ({"dataset": "mnist_5"}, "mnist_5k"),
        ({"channels": 2, "hidden": ()}, "dense layer"),
    ],
)
def test_a_task_that_cannot_be_run_is_refused(changes, message):
    smoke = forward_grad.SMOKE
    mlp = dataclasses.replace(smoke.training.mlp, **changes)
    bad = dataclasses.replace(smoke, training=dataclasses.replace(smoke.training, mlp=mlp))
    with pytest.raises(Problem, match=message):
        forward_grad.check(bad)


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
    with pytest.raises(Problem, match="give yours another name"):
        forward_grad.check(config, ("backprop",))


@pytest.mark.parametrize("name", ["logistic", "mlp", "cnn"])
def test_the_operations_of_a_step_are_those_of_its_traced_products(name):
    config = forward_grad.FULL
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

    function = flops.count(loss, params)
    one = flops.count(directional, params, params)
    assert told["backprop"] == flops.count(jax.grad(loss), params)
    assert told["gaussian"] == told["rademacher"] == one
    if name != "cnn":
        assert told["clipped"] == one
        assert told["gaussian-16"] == function + 16 * (one - function)
        assert told["central"] == 2 * function


def test_the_operations_of_a_users_own_method_are_not_made_up():
    told = plan.operations(forward_grad.SMOKE, ("mine",))["training"]
    assert all("mine" not in methods for methods in told.values())
