"""Growth as later systems are added: a known change is found, and none where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.compute_trends import growth
from jaxtrends import claims
from tests.compute_trends_run import values_of, verdicts

ENDS = np.array([2014.0, 2016.0, 2018.0, 2020.0])


def systems(change, scatter=0.1):
    """Systems whose growth of 0.6 a year changes linearly over ten years, by a share a year."""
    x = np.linspace(2010, 2020, 400, endpoint=False)
    elapsed = x - 2010
    y = 0.6 * (elapsed + change * elapsed**2 / 2)
    return x, y + scatter * np.random.default_rng(1).standard_normal(x.size)


def test_the_growth_up_to_a_date_is_that_of_a_line():
    x, y = systems(0.05)
    found = growth.climb(np.random.default_rng(0), x, y, ENDS, 200)
    lines = [np.polyfit(x[x < end], y[x < end], 1)[0] for end in ENDS]
    np.testing.assert_allclose(found["growth"], lines)
    assert (np.array(found["low"]) < lines).all()
    assert (np.array(found["high"]) > lines).all()


@pytest.mark.parametrize("change", [-0.04, 0.0, 0.06])
def test_a_change_is_found(change):
    """A line up to a date has the mean growth until then, which changes half as fast."""
    x, y = systems(change)
    found = growth.climb(np.random.default_rng(0), x, y, ENDS, 400)
    last = 0.6 * (1 + change * 5)
    low, middle, high = np.quantile(found["change"], growth.TAILS)
    assert middle == pytest.approx(0.6 * change / 2 / last, abs=0.004)
    assert (low < 0 < high) == (change == 0)


def test_the_control_halves_the_growth():
    x = np.linspace(2010, 2020, 50)
    bent = growth.bent(x, 3 + 0.6 * x)
    steps = np.diff(bent) / np.diff(x)
    assert steps[0] == pytest.approx(0.6, abs=0.01)
    assert steps[-1] == pytest.approx(0.3, abs=0.01)


def test_of_the_papers_systems_the_claim_is_judged_and_its_control_fails():
    values = values_of(growth, growth.GrowthConfig())
    (verdict,) = verdicts(growth.CLAIMS, values).values()
    assert verdict.verdict != claims.INVALID
    assert min(values["systems"].values()) >= growth.FEWEST
