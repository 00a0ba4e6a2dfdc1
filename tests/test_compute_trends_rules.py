"""The paper's labels: against scipy's z-scores, the counts that it prints, and by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats as scipy_stats

from experiments.compute_trends import rules, systems
from experiments.compute_trends.rules import Rules

PAPER = systems.read()
LOW = {"DeepStack", "Hanabi 4 player", "Hide and Seek", "LSUN Bedroom model", "ERNIE 3.0"}


def names(mask):
    return {name for name, chosen in zip(PAPER.names, mask, strict=True) if chosen}


def scipy_scores(dates, values, window, ddof):
    """z-scores as the notebook takes them, one system after another."""
    found = np.zeros(len(dates))
    for number, when in enumerate(dates):
        near = np.flatnonzero(np.abs(dates - when) <= window)
        if len(near) >= 2:
            scores = scipy_stats.zscore(values[near], ddof=ddof)
            found[number] = scores[list(near).index(number)]
    return found


@pytest.mark.parametrize("window", [364.0, 546.0, 2000.0])
@pytest.mark.parametrize("ddof", [0, 1])
def test_z_scores_are_scipys(window, ddof):
    everyone = np.ones(len(PAPER.dates), bool)
    ours = rules.z_scores(PAPER.dates, PAPER.log_compute, everyone, window, float(ddof))
    theirs = scipy_scores(PAPER.dates, PAPER.log_compute, window, ddof)
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    other = rules.z_scores(PAPER.dates, PAPER.log_compute, everyone, window, 1.0 - ddof)
    assert np.abs(other - theirs).max() > 1e-3


def test_a_lone_system_and_equal_ones_have_no_z_score():
    dates = np.array([0.0, 5000.0, 5001.0, 5002.0])
    compute = np.array([3.0, 21.3, 21.3, 21.3])
    for sample in (0.0, 1.0):
        assert not rules.z_scores(dates, compute, np.ones(4, bool), 364.0, sample).any()


def test_both_ends_of_the_window_belong_to_it():
    dates, compute = np.array([0.0, 364.0, 728.0]), np.array([0.0, 1.0, 3.0])
    among = np.ones(3, bool)
    assert rules.z_scores(dates, compute, among, 364.0, 0.0)[0] == pytest.approx(-1.0)
    assert rules.z_scores(dates, compute, among, 363.0, 0.0)[0] == 0.0


def test_the_papers_counts():
    found = rules.labels_of(PAPER, Rules())
    assert names(found.low) == LOW
    counts = {name: int(mask.sum()) for name, mask in found._asdict().items() if name != "z"}
    assert counts == {
        "inside": 123,
        "low": 5,
        "high": 22 + 4,  # in the deep-learning era, and before
        "kept": 118,
        "pre": 19,
        "deep": 99,
        "large": 19,
        "regular": 80,
        "regular_any": 77,
    }
    between = names(found.regular & ~found.regular_any)
    assert between == {"KN5 LM + RNN 400/10 (WSJ)", "AlexNet", "VGG16"}


@pytest.mark.parametrize(
    ("changed", "low", "large"),
    [
        ({"window": 546.0}, 6, 18),
        ({"window": 728.0}, 5, 21),
        ({"z_high": 0.6}, 5, 25),
        ({"z_high": 0.54}, 5, 29),
        ({"z_high": 0.73}, 5, 20),
        ({"z_low": -np.inf}, 0, 19),
    ],
)
def test_counts_under_other_rules(changed, low, large):
    """As they were found apart from this code, some of them for the paper's Table 9."""
    found = rules.labels_of(PAPER, Rules(), **changed)
    assert (found.low.sum(), found.large.sum()) == (low, large)
    if changed == {"window": 546.0}:
        assert names(found.low) - LOW == {"Variational Autoencoders"}


def test_labels_divide_what_is_kept():
    found = rules.labels_of(PAPER, Rules(start="1960-01-01", end="2021-01-01", z_high=0.5))
    assert (found.inside == (found.kept ^ found.low)).all()
    assert (found.kept == (found.pre ^ found.deep)).all()
    assert (found.deep == (found.regular ^ (found.large & found.deep))).all()
    assert not (found.regular_any & ~found.regular).any()
    assert 0 < (~found.inside).sum() < 123


def test_a_date_on_a_boundary_belongs_to_the_earlier_era():
    dates = np.array([systems.day(text) for text in ("2009-12-31", "2010-01-01", "2010-03-01")])
    thresholds = Rules(start="2009-12-30", end="2010-03-01").thresholds()
    found = rules.label(dates, np.array([1.0, 2.0, 3.0]), thresholds)
    assert found.pre.tolist() == [True, False, False]
    assert found.deep.tolist() == [False, True, False]
    assert found.inside.tolist() == [True, True, False]


def test_z_scores_before_the_filter_see_beyond_it():
    changed = {"end": "2018-01-01"}
    after = rules.labels_of(PAPER, Rules(**changed))
    before = rules.labels_of(PAPER, Rules(**changed, z_scores="before filter"))
    everyone = rules.labels_of(PAPER, Rules())
    inside = after.inside
    np.testing.assert_array_equal(before.z[inside], everyone.z[inside])
    assert np.abs(after.z[inside] - everyone.z[inside]).max() > 0.1


def test_labels_under_vmap_are_those_of_one_after_the_other():
    windows, starts = np.array([364.0, 546.0, 728.0]), np.array([14000.0, 15000.0, 16000.0])
    thresholds = Rules().thresholds()

    def one(window, start):
        changed = thresholds._replace(window=window, dl_from=start, z_first=start > 15500.0)
        return rules.label(dates, compute, changed)

    with jax.enable_x64(True):
        dates, compute = jnp.asarray(PAPER.dates), jnp.asarray(PAPER.log_compute)
        together = jax.jit(jax.vmap(one))(windows, starts)
    for lane, (window, start) in enumerate(zip(windows, starts, strict=True)):
        changed = {"window": window, "dl_from": start, "z_first": start > 15500.0}
        alone = rules.labels_of(PAPER, Rules(), **changed)
        for name, mask in alone._asdict().items():
            np.testing.assert_allclose(getattr(together, name)[lane], mask, atol=1e-12)
