"""Selection: the rule in batches, what one trend gives, what the test is worth; the mixture."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats as scipy_stats

from experiments import compute_trends
from experiments.compute_trends import fits, mixture, selection, systems
from experiments.compute_trends.rules import Rules, label
from experiments.compute_trends.selection import SelectionConfig
from jaxtrends import stats
from tests.compute_trends_run import Run, values_of, verdicts

PAPER = systems.read()
SMALL = SelectionConfig(simulations=300, data_sets=20)


SCENE = selection.scene(PAPER, Rules())


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"window": 546.0},
        {"deviation": "sample"},
        {"z_scores": "before filter", "end": "2021-06-01"},
        {"z_high": 0.5, "large_from": "2016-03-01"},
    ],
)
def test_the_rule_in_batches_is_the_rule(changed):
    rules = Rules(**changed)
    scene = selection.scene(PAPER, rules)
    generator = np.random.default_rng(0)
    first = len(PAPER.dates) - len(scene.y)
    values = np.tile(PAPER.log_compute, (6, 1))
    values[1:, first:] += generator.normal(size=(5, len(scene.y))) * scene.late
    large, regular = selection.select(scene, values[:, first:])
    for row, value in enumerate(values):
        labels = label(PAPER.dates, value, rules.thresholds())
        late = PAPER.dates > systems.day(rules.large_from)
        assert large[row].tolist() == labels.large[first:].tolist()
        assert regular[row].tolist() == (labels.regular & late)[first:].tolist()


def test_lines_in_batches_are_lines():
    generator = np.random.default_rng(1)
    x, y = np.sort(generator.normal(size=30)), generator.normal(size=(4, 30))
    chosen = generator.random((4, 30)) < 0.6
    found = selection.lines(x, y, chosen)
    for row in range(4):
        one = fits.line(x[chosen[row]], y[row][chosen[row]])
        assert found.slope[row] == pytest.approx(one.slope, rel=1e-9)
        assert found.intercept[row] == pytest.approx(one.intercept, rel=1e-9)
        assert found.r_squared[row] == pytest.approx(one.r_squared, rel=1e-9)
        assert found.residual_sd[row] == pytest.approx(one.residual_sd, rel=1e-9)


def test_what_was_observed_is_the_papers():
    found = selection.measure(SCENE, SCENE.y[None])
    assert found["number"] == [19]
    assert float(found["r_squared"][0]) == pytest.approx(0.665, abs=5e-4)
    months = np.log10(2) / (-found["doubling"][0] / 365.2425) / 30
    assert months == pytest.approx(10.67, abs=5e-3)
    assert float(found["gap"][0]) == pytest.approx(2.1, abs=0.1)


def test_one_trend_gives_the_rule_what_it_gave_others():
    """Of a separate simulation: 18.0 systems, 2.2 [1.8; 2.7], P(as slow) 0.08, P(R²) 0.62."""
    trend = selection.one_trend(SCENE, SCENE.y, "all")
    assert trend.sd == pytest.approx(1.38, abs=5e-3)
    draws = selection.simulate(np.random.default_rng(0), SCENE, trend, "Gaussian", 4000)
    null = selection.measure(SCENE, draws)
    observed = selection.measure(SCENE, SCENE.y[None])
    assert null["number"].mean() == pytest.approx(18, abs=0.5)
    assert np.quantile(null["gap"], (0.025, 0.5, 0.975)) == pytest.approx([1.8, 2.25, 2.8], abs=0.1)
    assert (null["doubling"] >= observed["doubling"]).mean() == pytest.approx(0.09, abs=0.02)
    assert (null["r_squared"] >= observed["r_squared"]).mean() == pytest.approx(0.58, abs=0.06)


@pytest.mark.parametrize("draws", ["resampled", "Gaussian"])
def test_only_late_systems_are_simulated_and_scatter_as_told(draws):
    trend = selection.one_trend(SCENE, SCENE.y, "all")
    y = selection.simulate(np.random.default_rng(3), SCENE, trend, draws, 500)
    assert (y[:, ~SCENE.simulated] == SCENE.y[~SCENE.simulated]).all()
    scatter = (y - trend.mean)[:, SCENE.simulated]
    assert scatter.std() == pytest.approx(trend.sd, rel=0.02)
    assert abs(scatter.mean()) < 0.03


def test_p_values_of_data_from_the_null_are_uniform_and_of_others_not():
    trend = selection.one_trend(SCENE, SCENE.y, "all")
    generator = np.random.default_rng(4)
    null = selection.measure(SCENE, selection.simulate(generator, SCENE, trend, "resampled", 500))
    own = selection.simulate(generator, SCENE, trend, "resampled", 300)
    flat = selection.two_trends(generator, SCENE, 50, slope=0.0)

    def small(y):
        found = [selection.p_values(selection.measure(SCENE, one[None]), null) for one in y]
        return np.mean([p["doubling"] < 0.1 for p in found])

    assert small(own) == pytest.approx(0.1, abs=0.05)
    assert small(flat) > 0.5


def test_the_others_are_corrected_by_holm():
    p = {"doubling": 0.001, "number": 0.01, "gap": 0.04, "r_squared": 0.03}
    assert list(selection.corrected(p).values()) == stats.holm([0.01, 0.04, 0.03])
    assert "doubling" not in selection.corrected(p)


# --- the mixture -------------------------------------------------------------------------------


def late():
    kept = SCENE.simulated
    return SCENE.x[kept], SCENE.y[None, kept]


def test_the_criteria_known_from_a_separate_calculation():
    found = mixture.fit(*late())
    assert found.line_bic[0] == pytest.approx(285.7, abs=0.06)
    assert found.bic[0] == pytest.approx(286.1, abs=0.06)


def test_the_likelihood_is_that_of_its_parameters():
    x, y = late()
    found = mixture.fit(x, y)
    centred = x - x.mean()
    density = sum(
        share * scipy_stats.norm.pdf(y[0], a + b * centred, found.spread[0])
        for share, a, b in zip(
            (1 - found.share[0], found.share[0]), found.intercepts[0], found.slopes[0], strict=True
        )
    )
    expected = -2 * np.log(density).sum() + 6 * np.log(len(x))
    assert found.bic[0] == pytest.approx(expected, abs=1e-3)
    line = scipy_stats.linregress(x, y[0])
    residuals = y[0] - line.intercept - line.slope * x
    logs = scipy_stats.norm.logpdf(residuals, scale=residuals.std())
    assert found.line_bic[0] == pytest.approx(-2 * logs.sum() + 3 * np.log(len(x)), rel=1e-9)


def test_two_lines_are_told_from_one():
    generator = np.random.default_rng(0)
    x = np.linspace(-1, 1, 200)
    upper = generator.random((20, 200)) < 0.3
    scatter = 0.5 * generator.normal(size=(20, 200))
    two = mixture.fit(x, np.where(upper, 3 + 2 * x, -x) + scatter)
    assert (two.bic < two.line_bic - 50).all()
    assert two.share.mean() == pytest.approx(0.3, abs=0.02)
    assert two.slopes.mean(0) == pytest.approx([-1, 2], abs=0.1)
    assert two.intercepts.mean(0) == pytest.approx([0, 3], abs=0.1)
    one = mixture.fit(x, x + scatter)
    assert (one.bic > one.line_bic).mean() > 0.8


# --- the study ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def values():
    return values_of(selection, SMALL)


def test_the_verdict_is_open_since_no_test_is_worth_trusting(values):
    found = verdicts(selection.CLAIMS, values)
    assert found["C6a"].verdict == "inconclusive"
    assert "cannot be decided with 123 systems" in found["C6a"].note
    assert found["C6a"].parts["scatter of all, resampled"].verdict != "reproduced"
    assert found["C6b"].verdict in ("reproduced", "inconclusive")
    assert found["C6c"].verdict == "inconclusive"
    assert found["C6c"].parts[""].estimate < 0


def test_with_a_good_test_the_claim_would_be_decided(values):
    decides = {"tried": {"123": {"power": 0.9, "false": 0.02}}, "needed": 123}
    good = {**values["needed"], selection.DOUBLING["all"]: decides}
    nulls = values["null"]
    for share, verdict in ((0.0, "reproduced"), (0.5, "not reproduced")):
        slow = [1] * int(2000 * share) + [0] * int(2000 * (1 - share))
        null = {
            name: {**made, "at least": {**made["at least"], "doubling": slow}}
            for name, made in nulls.items()
        }
        changed = {**values, "needed": good, "null": null}
        assert verdicts(selection.CLAIMS[:1], changed)["C6a"].verdict == verdict


def test_a_table_without_large_systems_is_not_judged():
    few = dataclasses.replace(
        PAPER,
        **{name: getattr(PAPER, name)[:45] for name in ("names", "dates", "log_compute")},
    )
    result = selection.run(dataclasses.replace(compute_trends.DEFAULT, selection=SMALL), Run(few))
    with pytest.raises(KeyError):
        selection.CLAIMS[0].evidence(result.values)
