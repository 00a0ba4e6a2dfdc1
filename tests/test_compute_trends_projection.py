"""Projections: intervals against their closed form, and nothing known before its time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from experiments.compute_trends import projection, segments, systems
from experiments.compute_trends.projection import ProjectionConfig
from experiments.compute_trends.rules import Rules, label
from experiments.compute_trends.segments import Search
from jaxtrends import power
from tests.compute_trends_run import values_of, verdicts

PAPER = systems.read()
RULES = Rules()
HOW = Search(1 / 12, 10)
CONFIG = ProjectionConfig()


def cloud(n=60, seed=0):
    generator = np.random.default_rng(seed)
    x = np.sort(generator.uniform(2000, 2010, n))
    return x, 15 + 0.5 * (x - 2005) + generator.normal(size=n)


def test_a_lines_interval_is_the_textbooks():
    x, y = cloud()
    part = segments.trend("one line", x, y, HOW)
    line = stats.linregress(x, y)
    at = np.array([2012.0, 2020.0])
    middle, error, spread = part.predict(at)
    sd = np.sqrt(((y - line.intercept - line.slope * x) ** 2).sum() / 58)
    leverage = 1 / 60 + (at - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum()
    assert middle == pytest.approx(line.intercept + line.slope * at, rel=1e-9)
    assert error == pytest.approx(sd * np.sqrt(leverage), rel=1e-9)
    assert spread == pytest.approx(sd * np.sqrt(1 + leverage), rel=1e-9)
    low, high = projection.interval([part], at)
    reach = stats.t.ppf(0.975, 58) * spread
    assert low == pytest.approx(middle - reach, rel=1e-6)
    assert high == pytest.approx(middle + reach, rel=1e-6)


def test_two_trends_side_by_side_are_one_density():
    labels = label(PAPER.dates, PAPER.log_compute, RULES.thresholds())
    parts = projection.trends(PAPER, labels, CONFIG)["regular and large-scale"]
    assert [round(part.share, 3) for part in parts] == [0.808, 0.192]
    y = np.linspace(-30, 70, 200_001)
    at = np.full(y.shape, 2024.0)
    density = np.exp(projection.log_density(parts, at, y))
    assert np.trapezoid(density, y) == pytest.approx(1, abs=1e-4)
    low, high = (end[0] for end in projection.interval(parts, np.array([2024.0])))
    inside = (low < y) & (y < high)
    assert np.trapezoid(density[inside], y[inside]) == pytest.approx(0.95, abs=1e-3)
    below = projection.below(parts, at[:1], np.array([low]))
    assert below == pytest.approx([0.025], abs=1e-6)
    mean = np.trapezoid(density * y, y)
    assert projection.mean(parts, np.array([2024.0])) == pytest.approx([mean], abs=1e-2)


def test_intervals_hold_as_often_as_they_say():
    held = []
    for seed in range(300):
        x, y = cloud(31, seed)
        part = segments.trend("one line", x[:-1], y[:-1], HOW)
        held.append(0.025 < projection.below([part], x[-1:], y[-1:])[0] < 0.975)
    assert np.mean(held) == pytest.approx(0.95, abs=0.03)


def test_what_came_later_is_not_known_before():
    """Later compute moves errors by as much, and no forecast; earlier compute moves forecasts."""
    rest = np.array(PAPER.dates >= systems.day("2018-01-01"))
    moved = dataclasses.replace(PAPER, log_compute=PAPER.log_compute + 3.0 * rest)
    before = projection.backtest(PAPER, RULES, "2018-01-01", CONFIG)
    after = projection.backtest(moved, RULES, "2018-01-01", CONFIG)
    earlier = dataclasses.replace(PAPER, log_compute=PAPER.log_compute + 3.0 * ~rest)
    other = projection.backtest(earlier, RULES, "2018-01-01", CONFIG)
    assert before["scored"] == rest.sum() == 65
    for name, found in before["trends"].items():
        errors = np.array(found["errors"])
        assert np.array(after["trends"][name]["errors"]) == pytest.approx(errors + 3.0)
        assert np.array(other["trends"][name]["errors"]) == pytest.approx(errors - 3.0)


def test_trends_that_cannot_be_told_from_so_few_are_left_out():
    found = projection.backtest(PAPER, RULES, "2016-01-01", CONFIG)
    assert "kink" in found["trends"]
    assert "regular and large-scale" not in found["trends"]
    assert projection.backtest(PAPER, RULES, "1958-01-01", CONFIG)["trends"] == {}
    assert segments.trend("kink", *cloud(19), HOW) is None
    assert segments.trend("kink", *cloud(20), HOW) is not None


@pytest.fixture(scope="module")
def values():
    return values_of(projection, CONFIG)


def test_from_2018_on_the_fast_trend_promised_too_much(values):
    found = values["backtest"]["2018-01-01"]["trends"]
    assert np.mean(found["kink"]["errors"]) < -2
    assert abs(np.mean(values["backtest"]["2020-01-01"]["trends"]["kink"]["errors"])) < 0.3


def test_the_verdicts_follow_the_cutoffs(values):
    found = verdicts(projection.CLAIMS, values)
    assert found["P1"].verdict == "partly reproduced"
    assert found["P1"].parts["up to 2018-01-01"].verdict == "not reproduced"
    assert {part.verdict for part in found["P2"].parts.values()} == {"inconclusive"}
    for name in found["P1"].parts:
        assert found["P1"].controls[f"moved line, {name}"].verdict == "not reproduced"
    assert "cannot be decided with 40 later systems" in found["P2"].note


def test_a_backtest_that_can_tell_two_trends_from_one_decides(values):
    able = {key: {"power": 0.9, "false": 0.02} for key in values["told apart"]}
    (claim,) = (claim for claim in projection.CLAIMS if claim.id == "P2")
    found = verdicts([claim], {**values, "told apart": able})["P2"]
    assert found.parts["up to 2018-01-01"].verdict == "reproduced"
    for worth in ({"power": 0.7, "false": 0.02}, {"power": 0.9, "false": 0.2}):
        assert "so few systems" in projection.untold({"told apart": {"c": worth}}, "c")


def test_separate_trends_are_better_where_they_are_far_apart():
    """Eight orders of magnitude between them, and a hundredth of the scatter."""
    systems_ = PAPER
    labels = projection.labels_of(systems_, RULES)
    x = systems.year(systems_.dates)
    y = systems_.log_compute.copy()
    deep = labels.deep
    noise = 0.1 * np.random.default_rng(0).standard_normal(deep.sum())
    y[deep] = 20 + 0.6 * (x[deep] - 2015) + 8 * labels.large[deep] + noise
    assert projection.separate_are_better(systems_.dates, y, RULES, "2020-01-01")
    y[deep] -= 8 * labels.large[deep]
    assert not projection.separate_are_better(systems_.dates, y, RULES, "2020-01-01")


def test_how_many_later_systems_it_would_take():
    some = np.array([1.0, -1.0] * 20) + 0.1
    effect, spread = float(some.mean()), float(some.std(ddof=1))
    enough = power.fewest(effect, spread, (0.0, np.inf))
    assert projection.too_few(some).endswith(f"about {enough:,}")
    assert projection.too_few(np.zeros(7)) == "it cannot be decided with 7 later systems"


def test_without_large_systems_the_comparison_is_not_run(values):
    early = {**values, "backtest": {"2016-01-01": values["backtest"]["2016-01-01"]}}
    with pytest.raises(KeyError):
        projection.CLAIMS[1].evidence(early)


def test_projections_agree_where_the_trends_do(values):
    kink, era = (
        values["trends"][name]["components"][0]["mean"] for name in ("kink", "deep-learning era")
    )
    assert kink == pytest.approx(era, abs=0.05)
    line = values["trends"]["one line"]["components"][0]["mean"]
    assert line[0] < kink[0] - 1.5
