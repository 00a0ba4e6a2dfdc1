"""Tuning several numbers at once, against an exhaustive look at a bowl whose minimum is known."""

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
