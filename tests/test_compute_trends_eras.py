"""Trends in pieces: their fits against plain least squares, and breaks that are known."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from experiments import compute_trends
from experiments.compute_trends import eras, segments, systems
from experiments.compute_trends.eras import ErasConfig
from experiments.compute_trends.rules import Rules, labels_of
from experiments.compute_trends.segments import MODELS, Search
from tests.compute_trends_run import Run, values_of, verdicts

PAPER = systems.read()
KEPT = labels_of(PAPER, Rules()).kept
X, Y = systems.year(PAPER.dates[KEPT]), PAPER.log_compute[KEPT]
MONTHLY = Search(1 / 12, 10)
SMALL = ErasConfig(step=6, coarse_step=24, resamples=200, simulations=20, simulated_resamples=40)


def bic(name, how=MONTHLY):
    found = MODELS[name].fit(X, Y, how)
    return MODELS[name].bic(found.rss, 118)[0], found.breaks[0]


@pytest.mark.parametrize(
    ("name", "value", "breaks"),
    [
        ("one line", 171.8, []),
        ("kink at 2010", 97.0, [2010.0]),
        ("kink", 101.1, [2008.75]),
        ("kink and jump", 105.3, [2010.5]),
        ("two kinks", 109.2, [2010.0, 2017.0]),
    ],
)
def test_the_criteria_known_from_a_separate_calculation(name, value, breaks):
    ours, found = bic(name)
    assert ours == pytest.approx(value, abs=0.06)
    assert found == pytest.approx(breaks, abs=0.1)


def test_small_pieces_are_what_a_third_line_feeds_on():
    wide, _ = bic("three segments")
    narrow, breaks = bic("three segments", Search(1 / 12, 4))
    assert breaks[0] < 1960
    assert narrow < wide - 8


def least_squares(name, x, y, weights, breaks):
    columns = segments.design(name, x, np.asarray(breaks), 0.0) * np.sqrt(weights)[:, None]
    fitted = np.linalg.lstsq(columns, y * np.sqrt(weights), rcond=None)[0]
    return ((y * np.sqrt(weights) - columns @ fitted) ** 2).sum()


@pytest.fixture
def cloud():
    """Forty systems, some of one date, in five resamples."""
    generator = np.random.default_rng(5)
    x = np.sort(generator.integers(0, 60, 40) / 3.0)
    y = np.maximum(x - 8, 0) + generator.normal(size=(5, 40))
    weights = generator.multinomial(40, np.full(40, 1 / 40), 5).astype(float)
    return x, y, weights


def every_break(name, x, how):
    """All breaks that the search may take, one by one."""
    if MODELS[name].joined:
        dates = segments.grid(x, how)
    else:
        dates = np.unique((x[1:] + x[:-1])[x[1:] > x[:-1]] / 2)
    count = 2 if name in ("two kinks", "three segments") else 1
    for breaks in itertools.combinations(dates, count):
        ends = np.searchsorted(x, [-np.inf, *breaks, np.inf], side="right")
        if (np.diff(ends) >= how.fewest).all():
            yield breaks


@pytest.mark.parametrize("name", ["kink", "kink and jump", "two kinks", "three segments"])
def test_no_break_is_better_than_the_one_that_is_found(cloud, name):
    x, y, weights = cloud
    how = Search(1.0, 6)
    found = MODELS[name].search(x, y, weights, how)
    for row in range(len(y)):
        best = min(
            least_squares(name, x, y[row], weights[row], breaks)
            for breaks in every_break(name, x, how)
        )
        assert found.rss[row] == pytest.approx(best, rel=1e-6)
        own = least_squares(name, x, y[row], weights[row], found.breaks[row])
        assert own == pytest.approx(best, rel=1e-6)


def test_a_kinks_slopes_are_those_of_least_squares(cloud):
    x, y, weights = cloud
    found, slopes = segments.kink_and_slopes(x, y, weights, Search(1.0, 6))
    for row in range(len(y)):
        root = np.sqrt(weights[row])
        columns = segments.design("kink", x, found.breaks[row], 0.0) * root[:, None]
        fitted = np.linalg.lstsq(columns, y[row] * root, rcond=None)[0]
        assert slopes[row] == pytest.approx([fitted[1], fitted[1] + fitted[2]], rel=1e-6)
        assert segments.slopes("kink", fitted) == pytest.approx(slopes[row], rel=1e-6)


def test_leaving_one_out_is_fitting_the_others(cloud):
    x, y, _ = cloud
    how = Search(1.0, 6)
    errors, breaks = segments.leave_one_out("kink", x, y[0], how)
    for out in (0, 7, 20, 39):
        rest = np.arange(40) != out
        candidates = segments.grid(x, how)
        losses = [
            least_squares("kink", x[rest], y[0][rest], np.ones(39), [date]) for date in candidates
        ]
        date = candidates[int(np.argmin(losses))]
        assert breaks[out] == pytest.approx([date])
        design = segments.design("kink", x, np.array([date]), 0.0)
        fitted = np.linalg.lstsq(design[rest], y[0][rest], rcond=None)[0]
        assert errors[out] == pytest.approx(y[0][out] - design[out] @ fitted, rel=1e-6)


def simulated(slope_after, break_date=2005.0, spread=0.3):
    generator = np.random.default_rng(2)
    y = 0.1 * X + slope_after * np.maximum(X - break_date, 0)
    return y + spread * generator.normal(size=len(y))


def compared(y, config=SMALL):
    return {name: eras.compare(name, X, y, config, Rules()) for name in MODELS}


def test_a_break_that_was_put_in_is_found_and_none_where_there_is_none():
    config = dataclasses.replace(SMALL, step=1)
    kinked = compared(simulated(0.5), config)
    assert kinked["kink"]["breaks"] == pytest.approx([2005.0], abs=1.0)
    assert kinked["kink"]["bic"] < kinked["one line"]["bic"] - 50
    straight = compared(simulated(0.0), config)
    assert straight["one line"]["bic"] == min(found["bic"] for found in straight.values())


def test_the_interval_narrows_with_the_scatter():
    generator = np.random.default_rng(0)
    spans = []
    for spread in (0.1, 1.0):
        dates, _ = eras.resample_kink(generator, X, simulated(0.5, spread=spread), 300, MONTHLY)
        low, high = np.quantile(dates, (0.025, 0.975))
        assert low < 2005 < high
        spans.append(high - low)
    assert spans[0] < spans[1] / 3


def test_the_date_of_the_kink():
    dates, slopes = eras.resample_kink(np.random.default_rng(0), X, Y, 2000, MONTHLY)
    low, middle, high = np.quantile(dates, (0.025, 0.5, 0.975))
    assert 2004 < low < 2006
    assert 2008 < middle < 2009.5
    assert 2010 < high < systems.year(systems.day("2012-09-30"))
    months = Rules().months_of_yearly(np.median(slopes, axis=0))
    assert months == pytest.approx([21.6, 5.6], abs=0.3)


@pytest.fixture(scope="module")
def values():
    return values_of(eras, SMALL)


def test_two_eras_are_decisive_and_a_third_cannot_be_told(values):
    found = verdicts(eras.CLAIMS, values)
    assert found["C7a"].verdict == "reproduced"
    assert found["C7b"].verdict == "inconclusive"
    assert found["C7b"].parts[""].estimate < 0
    assert "cannot be decided with 118 systems" in found["C7b"].note
    plain, jump = (values["needed"][name]["needed"] for name in eras.ERAS)
    assert f"about {plain:,}" in found["C7b"].note
    assert jump < plain  # a jump is easier to see
    assert found["C7c"].verdict == found["C7d"].verdict == "reproduced"


def test_systems_of_one_trend_do_not_bear_the_claims_out(values):
    straight = {
        **values,
        "models": compared(simulated(0.0)),
        "kink": {**values["kink"], "earlier than": dict.fromkeys(eras.STARTS, 0.5)},
    }
    found = verdicts(eras.CLAIMS[:4], straight)
    assert found["C7a"].verdict == "not reproduced"
    assert found["C7d"].verdict != "reproduced"


def test_a_table_with_few_systems_has_no_eras():
    few = dataclasses.replace(
        PAPER,
        **{name: getattr(PAPER, name)[:25] for name in ("names", "dates", "log_compute")},
    )
    result = eras.run(dataclasses.replace(compute_trends.DEFAULT, eras=SMALL), Run(few))
    assert result.values == {"systems": 25}
    with pytest.raises(KeyError):
        eras.CLAIMS[0].evidence(result.values)
