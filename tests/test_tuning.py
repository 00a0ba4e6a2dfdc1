"""Steps to a target; a rate, and several numbers at once, chosen on bowls of known minima."""

import math

import numpy as np
import pytest

from jaxtrends import tuning

GRIDS = {"sigma": (0.1, 1.0, 10.0), "learning_rate": (0.01, 0.1, 1.0)}


def bowl(sigma, rate, seeds=2):
    """Scores of points on a bowl in the logs, tilted so that the best rate depends on sigma."""

    def scores_at(points):
        logs = np.log10([[point["sigma"], point["learning_rate"]] for point in points])
        away = logs - np.log10([sigma, rate])
        return np.repeat((away**2).sum(axis=1, keepdims=True) + away.prod(1)[:, None], seeds, 1)

    return scores_at


def test_several_numbers_are_tuned_together():
    found = tuning.tune_all(bowl(1.0, 0.1), GRIDS)
    assert found.best == {"sigma": 1.0, "learning_rate": 0.1}
    assert not found.edge
    scores = bowl(1.0, 0.1)(found.tried)
    assert np.array_equal(found.scores, scores)
    assert found.tried[int(scores.mean(axis=1).argmin())] == found.best


@pytest.mark.parametrize(("sigma", "rate"), [(100.0, 0.1), (1.0, 0.001), (0.01, 10.0)])
def test_each_grid_is_extended_where_its_edge_was_chosen(sigma, rate):
    """The minimum lies off the grid; each end is extended once, and then it is inside or an end."""
    found = tuning.tune_all(bowl(sigma, rate), GRIDS, extensions=2)
    assert found.best == {"sigma": pytest.approx(sigma), "learning_rate": pytest.approx(rate)}
    assert not found.edge


@pytest.mark.parametrize(("sigma", "rate"), [(100.0, 0.1), (1.0, 0.0001)])
def test_the_edge_of_either_grid_is_noted(sigma, rate):
    assert tuning.tune_all(bowl(sigma, rate), GRIDS, extensions=0).edge


def test_a_point_at_which_a_seed_diverged_is_not_chosen():
    def scores_at(points):
        scores = bowl(1.0, 0.1)(points)
        scores[[point["sigma"] == 1.0 for point in points], 1] = np.inf
        return scores

    found = tuning.tune_all(scores_at, GRIDS, extensions=0)
    assert found.best["sigma"] != 1.0


def test_higher_may_be_better():
    def scores_at(points):
        return -bowl(1.0, 0.1)(points)

    found = tuning.tune_all(scores_at, GRIDS, better="higher")
    assert found.best == {"sigma": 1.0, "learning_rate": 0.1}


# --- when a curve is there -----------------------------------------------------------------------


def test_a_power_law_crosses_where_its_formula_says():
    steps = np.arange(1, 41) * 25.0
    curve = 3.0 * steps**-0.3
    for target in (0.9, 0.6, 0.45):
        exact = (3.0 / target) ** (1 / 0.3)
        assert tuning.crossing(curve, target, 25) == pytest.approx(exact, rel=1e-9)
    # The control: a straight line between points would be off.
    linear = np.interp(-0.9, -curve, steps)
    assert linear != pytest.approx((3.0 / 0.9) ** (1 / 0.3), rel=1e-4)


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([3.0, 1.0, 3.0, 1.0], (30.0, 40.0)),  # a dip is no arrival
        ([1.0, 1.0, 1.0, 1.0], (10.0, 10.0)),  # there from the first point on
        ([3.0, 2.5, 2.1, 2.0], (40.0, 40.0)),  # just at the target
        ([3.0, 2.5, 2.1, 2.01], (math.inf, math.inf)),
        ([1.0, 1.0, 1.0, math.nan], (math.inf, math.inf)),  # diverged at last
        ([math.inf, 1.0, 1.0, 1.0], (20.0, 20.0)),  # nothing to interpolate from
    ],
)
def test_arriving_means_staying(curve, expected):
    low, high = expected
    assert low <= tuning.crossing(curve, 2.0, 10) <= high


# --- a rate --------------------------------------------------------------------------------------


def parabola(best):
    tried = []

    def scores_at(rates):
        tried.append(list(rates))
        return np.array([[abs(math.log10(rate / best))] * 2 for rate in rates])

    return scores_at, tried


def test_a_choice_inside_the_grid_tries_nothing_more():
    scores_at, tried = parabola(3e-3)
    found = tuning.tune(scores_at, (1e-3, 3e-3, 1e-2))
    assert (found.rate, found.edge, len(tried), found.scores.shape) == (3e-3, False, 1, (3, 2))


@pytest.mark.parametrize(
    ("optimum", "rate", "edge"),
    [(1e-3, 1e-3, False), (1e-4, 1e-4, False), (1e-6, 1e-5, True), (9.0, 10.0, True)],
)
def test_a_choice_on_the_edge_extends_the_grid_twice_at_most(optimum, rate, edge):
    scores_at, _ = parabola(optimum)
    found = tuning.tune(scores_at, (1e-3, 1e-2, 1e-1), extensions=2)
    assert found.rate == pytest.approx(rate)
    assert found.edge is edge
    assert list(found.rates) == sorted(found.rates)
    assert len(found.scores) == len(found.rates) <= 5


def test_a_rate_at_which_a_seed_diverged_is_not_chosen():
    def scores_at(rates):
        return np.array([[1.0 - rate, np.inf if rate > 0.15 else 1.0 - rate] for rate in rates])

    found = tuning.tune(scores_at, (0.05, 0.1, 0.2))
    assert (found.rate, found.edge) == (0.1, False)
    assert tuning.tune(lambda rates: np.full((len(rates), 1), np.inf), (0.1, 0.2, 0.4)).edge
