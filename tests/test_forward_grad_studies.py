"""The studies of estimators, test functions and scaling, against what is known of them."""

from __future__ import annotations

import dataclasses
import itertools
import math
from types import SimpleNamespace

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from scipy import stats as scipy_stats

from experiments.forward_grad import estimators, scaling
from experiments.forward_grad import test_functions as functions
from jaxtrends import settings
from jaxtrends.claims import INVALID, NOT_REPRODUCED, REPRODUCED, judge
from jaxtrends.errors import Problem
from tests.plain_run import PlainRun

STUDIES = (estimators, functions, scaling)
CLAIMS = {claim.id: claim for study in STUDIES for claim in study.CLAIMS}
KEY = jax.random.key(20220217)


def verdict(identity, values):
    claim = CLAIMS[identity]
    return judge(claim, claim.evidence(values))


@pytest.fixture(scope="module")
def estimators_result():
    part = dataclasses.replace(estimators.SMOKE, draws=2**18)
    return estimators.run(SimpleNamespace(seed=3, estimators=part), PlainRun("estimators"))


@pytest.fixture(scope="module")
def functions_result():
    part = functions.TestFunctions(functions=("beale",), seeds=100, rounds=1, processes=1)
    return functions.run(SimpleNamespace(seed=3, test_functions=part), PlainRun("test_functions"))


@pytest.fixture(scope="module")
def scaling_result():
    return scaling.run(SimpleNamespace(seed=3, scaling=scaling.SMOKE), PlainRun("scaling"))


# --- estimators --------------------------------------------------------------------------------


@pytest.mark.parametrize("law", ["rademacher", "coordinate"])
@pytest.mark.parametrize("tangents", [1, 2])
def test_the_closed_form_of_a_finite_law_is_its_enumeration(law, tangents):
    d, gradient = 3, np.array([0.3, -1.2, 0.5])
    if law == "rademacher":
        law_of_one = np.array(list(itertools.product([-1.0, 1.0], repeat=d)))
    else:
        law_of_one = math.sqrt(d) * np.eye(d)
    errors = [
        np.square(np.mean([v * (v @ gradient) for v in chosen], axis=0) - gradient).sum()
        for chosen in itertools.product(law_of_one, repeat=tangents)
    ]
    expected = np.mean(errors) / np.square(gradient).sum()
    assert estimators.closed_form(law, d, tangents) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("law", "kurtosis"),
    [
        ("gaussian", scipy_stats.norm.stats(moments="k") + 3),
        ("laplace", scipy_stats.laplace.stats(moments="k") + 3),
    ],
)
def test_the_closed_form_of_a_continuous_law_has_its_kurtosis(law, kurtosis):
    # At d = 1 the error is v² - 1 relative to the gradient, whose mean square is E v⁴ - 1.
    assert estimators.closed_form(law, 1, 1) == pytest.approx(kurtosis - 1)


def test_the_gradient_that_errors_are_measured_from_is_the_gradient():
    centre = jax.random.normal(KEY, (5,))
    found = jax.grad(estimators.loss)(jnp.zeros(5), centre)
    np.testing.assert_allclose(found, -np.tanh(centre), rtol=1e-5)


def test_cells_leave_out_what_is_impossible_or_has_no_error():
    config = estimators.Estimators(dimensions=(1, 2, 8), tangents=(1, 2, 4))
    cells = {(c.dimension, c.tangents) for c in estimators.grid(config, "orthogonal")}
    assert cells == {(2, 1), (8, 1), (8, 2), (8, 4)}
    assert (1, 1) not in {(c.dimension, c.tangents) for c in estimators.grid(config, "rademacher")}


def test_the_study_of_estimators_confirms_the_closed_forms(estimators_result):
    for identity in ("F1a", "F1b", "F1c", "F2a", "F2b", "F2c"):
        assert verdict(identity, estimators_result.values).verdict == REPRODUCED, identity


@pytest.mark.parametrize(
    ("identity", "part"), [("F1a", "wrong, along the gradient"), ("F1b", "wrong")]
)
def test_an_estimator_that_is_wrong_by_a_tenth_fails(estimators_result, identity, part):
    values = estimators_result.values
    wrong = {**values, "cells": {"wrong": values["controls"]["10% too long"]}}
    assert verdict(identity, wrong).parts[part].verdict == NOT_REPRODUCED
    (right,) = values["cells"].values()
    spoiled = {**values, "controls": dict.fromkeys(values["controls"], right)}
    assert verdict(identity, spoiled).verdict == INVALID


def test_float64_differences_err_as_rounding_over_their_size_suggests(estimators_result):
    errors = np.array(estimators_result.values["differences"]["float64"]["central_difference"])
    sizes = np.array(estimators.EPSILONS["float64"])
    small = (sizes > 1e-12) & (sizes < 1e-7)
    # u |f| / (e |g·v|) with |f| / |g·v| of order ten: far above 1e-13 at every size.
    assert 1e-16 < np.median(errors[small] * sizes[small]) < 1e-14
    assert errors.min() > 1e-12


# --- test functions ----------------------------------------------------------------------------


def test_the_test_functions_are_what_they_are_called():
    points = np.random.default_rng(0).normal(size=(20, 2))
    for point in points:
        assert float(functions.rosenbrock(point)) == pytest.approx(optimize.rosen(point))
    for function in functions.FUNCTIONS.values():
        best = optimize.minimize(function.loss, np.array(function.optimum) + 0.05, tol=1e-12)
        np.testing.assert_allclose(best.x, function.optimum, atol=1e-3)
        assert float(function.loss(np.array(function.optimum))) == 0
    assert float(functions.beale(np.array([0.0, 0.5]))) == pytest.approx(14.2031, abs=1e-4)
    assert float(functions.rosenbrock(np.array([-1.0, 0.0]))) == 104


def test_backprop_is_plain_gradient_descent(functions_result):
    def slope(point):  # of Beale's function, by hand
        x, y = point
        terms = [c - x + x * y**n for n, c in ((1, 1.5), (2, 2.25), (3, 2.625))]
        return 2 * np.array(
            [
                sum(t * (y**n - 1) for n, t in enumerate(terms, 1)),
                sum(t * n * x * y ** (n - 1) for n, t in enumerate(terms, 1)),
            ]
        )

    point = np.array([0.0, 0.5])
    for _ in range(1000):
        point = point - 0.01 * slope(point)
    final = functions_result.values["beale"]["backprop"]["finals"][0]
    assert final == pytest.approx(float(functions.beale(point)), rel=1e-9)


def test_a_lane_diverges_if_it_is_not_finite_or_ends_above_its_start():
    finals = np.array([0.5, 2.0, 2.1, np.inf, np.nan])
    assert functions.diverged(finals, first=2.0).tolist() == [0, 0, 1, 1, 1]


def test_the_study_of_test_functions_reproduces_figure_2(functions_result):
    assert functions_result.curves["beale/gaussian"].shape == (100, functions.POINTS)
    for identity in ("F3a", "F3b", "F3c"):
        assert verdict(identity, functions_result.values).verdict == REPRODUCED, identity
    verdict("F3d", functions_result.measurements)


def test_forward_gradients_of_half_the_length_fail(functions_result):
    found = functions_result.values["beale"]
    swapped = {**found, "gaussian": found["half as long"], "half as long": found["gaussian"]}
    judged = verdict("F3b", {"beale": swapped})
    assert judged.verdict == INVALID  # since the control now passes
    low = judged.parts["beale"].low
    assert low > 2  # and the claim would not be reproduced either


# --- scaling -----------------------------------------------------------------------------------


def test_the_contraction_is_that_of_an_enumeration():
    d = 3
    step, factor = scaling.contraction("rademacher", d, 1)
    x = np.array([0.3, -1.2, 0.5])
    tangents = np.array(list(itertools.product([-1.0, 1.0], repeat=d)))
    after = [np.square(x - step * v * (v @ x)).sum() for v in tangents]
    assert factor == pytest.approx(np.mean(after) / (x @ x), rel=1e-12)
    assert (step, factor) == pytest.approx((1 / d, 1 - 1 / d))
    assert scaling.contraction("gaussian", 10, 4) == pytest.approx((4 / 15, 11 / 15))


def test_a_random_basis_is_orthonormal_and_turned():
    basis = np.asarray(scaling.random_basis(KEY, 3, 8))
    np.testing.assert_allclose(basis @ basis.T, np.eye(3), atol=1e-6)
    assert np.count_nonzero(np.abs(basis) > 1e-3) > 20


def test_the_best_steps_are_the_best_and_their_risks_are_met():
    sizes, risks = scaling.best_steps(4, 2.0, 3, forward=True)
    spread, d = 6, 4
    for size, before, after in zip(sizes, risks[:-1], risks[1:], strict=True):
        best = optimize.minimize_scalar(
            lambda a, r=before: r * (1 - 2 * a) + a**2 * spread * ((d + 2) * r + d)
        )
        assert (size, after) == pytest.approx((best.x, best.fun), rel=1e-6)


def test_regressions_have_the_risks_of_the_exact_recursion():
    config = scaling.Scaling(
        regression_dimensions=(4,), regression_multiples=(1,), regression_lanes=4000
    )
    for readings in scaling.measure_regression(KEY, config, 4).values():
        for reading in readings.values():
            for method, exact in zip(("forward", "backprop"), reading["exact"], strict=True):
                mean, error = np.mean(reading[method]), scipy_stats.sem(reading[method])
                assert abs(mean - exact) < 4 * error < 0.2 * exact


def test_the_share_of_the_logarithm_tells_d_from_d_log_d():
    d = np.array([8, 16, 32, 64])
    factors = np.stack([d, d * np.log(d), 7 * d * np.log(d)])
    np.testing.assert_allclose(scaling.log_share(factors.T, d), [0, 1, 1], atol=1e-12)


def growing(power, log_power):
    """A study's values in which everything grows as d^power log(d)^log_power, with 2% noise."""
    rng = np.random.default_rng(1)

    def samples(d):
        center = 100 * d**power * math.log(d) ** log_power
        return (center * np.exp(0.02 * rng.normal(size=scaling.GROUPS))).tolist()

    sizes = (8, 16, 32, 64)
    isotropic = {d: {"dimension": d, "tangents": 1, "steps": None} for d in sizes}
    rng_steps = np.random.default_rng(2)
    for d, cell in isotropic.items():
        cell["steps"] = (7 * d * np.exp(0.01 * rng_steps.normal(size=scaling.GROUPS))).tolist()
    low_rank = {d: {"dimension": d, "tangents": 1, "steps": samples(d)} for d in sizes}
    met = {"samples": 1, "backprop": [1.0] * scaling.GROUPS, "exact": [1.0, 1.0]}
    reading = {d: {"4 d² log d": {**met, "forward": samples(d)}} for d in sizes}
    return {
        "quadratics": {"isotropic": isotropic, "low rank": low_rank},
        "regression": {str(d): {"1": reading[d], "d": reading[d]} for d in sizes},
    }


@pytest.mark.parametrize(
    ("identity", "power", "log_power", "expected"),
    [
        ("F8b", 0, 0, REPRODUCED),
        ("F8b", 0.2, 0, NOT_REPRODUCED),
        ("F10a", 1, 1, REPRODUCED),
        ("F10a", 1, 0, NOT_REPRODUCED),
    ],
)
def test_growth_is_judged_by_its_shape(identity, power, log_power, expected):
    assert verdict(identity, growing(power, log_power)).verdict == expected


def test_the_study_of_scaling_confirms_the_exact_rate(scaling_result):
    assert verdict("F8a", scaling_result.values).verdict == REPRODUCED
    verdict("F10b", scaling_result.values)
    for identity in ("F8b", "F10a"):  # one dimension has no growth: not run
        with pytest.raises(KeyError):
            CLAIMS[identity].evidence(scaling_result.values)


def test_tangents_that_are_too_long_fail_the_exact_rate(scaling_result):
    quadratics = scaling_result.values["quadratics"]
    swapped = {**quadratics, "isotropic": quadratics["too long"]}
    judged = verdict("F8a", {"quadratics": swapped})
    assert [part.verdict for part in judged.parts.values()] == [NOT_REPRODUCED]


# --- all three ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (estimators.Estimators(tangents=(500,)), "below one of the"),
        (scaling.Scaling(rank=100), "smallest dimension"),
        (scaling.Scaling(regression_dimensions=(1, 2)), "at least 2"),
    ],
)
def test_settings_that_cannot_be_run_are_refused(part, message):
    with pytest.raises(Problem, match=message):
        settings.check(part, "study")


def lowers(step, *arguments, **static):
    exported = jax.export.export(step, platforms=("cuda", "tpu"))(*arguments, **static)
    return exported.platforms == ("cuda", "tpu")


def test_every_jitted_step_lowers_for_accelerators():
    vector, one = jnp.ones(4, jnp.float32), jnp.float32(1)
    cells = tuple(estimators.Cell(law, 4, 2, 40) for law in estimators.LAWS)
    keys = jax.random.split(KEY, len(cells))
    assert lowers(estimators.measure, keys, vector, vector, one, cells=cells)
    descent = {"dimension": 4, "law": "gaussian", "tangents": 2, "steps": 3, "lanes": 2}
    for basis in (None, jnp.ones((2, 4), jnp.float32)):
        assert lowers(scaling.descend, KEY, basis, one, **descent)
    assert lowers(scaling.random_basis, KEY, rank=2, dimension=4)
    parameters, sizes = jnp.ones((2, 2, 2, 4), jnp.float32), jnp.ones((5, 2, 2), jnp.float32)
    assert lowers(scaling.regress, KEY, parameters, sizes, jnp.int32(0), jnp.int32(5))
    with jax.enable_x64(True):
        rate = jnp.float64(0.01)
        assert lowers(estimators.largest_error, KEY, vector, law="orthogonal", dimension=4)
        assert lowers(estimators.slopes, keys, vector, vector)
        assert lowers(functions.descend, keys, rate, function="beale", method="gaussian")
