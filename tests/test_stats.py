"""Intervals against scipy, closed forms, published numbers and simulated coverage."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from jaxtrends import stats

INF, NAN = math.inf, math.nan


def values(*numbers):
    return {"values": list(numbers)}


def pairs(treatment, reference):
    return {"treatment": list(treatment), "reference": list(reference)}


def ends(interval):
    return interval.low, interval.high


def coverage(interval_of, truth, draws, confidence=0.95):
    """The share of samples whose interval holds the truth."""
    hits = [interval_of(draw, confidence) for draw in draws]
    return np.mean([interval.low <= truth <= interval.high for interval in hits])


# --- means -------------------------------------------------------------------------------------


def test_mean_is_scipys_t_interval():
    sample = np.random.default_rng(0).normal(3.0, 2.0, size=12)
    interval = stats.mean(values(*sample), 0.9)
    expected = scipy_stats.ttest_1samp(sample, 0.0).confidence_interval(0.9)
    assert ends(interval) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert (interval.estimate, interval.n) == (pytest.approx(sample.mean()), 12)


def test_paired_difference_is_scipys_paired_t_interval():
    random = np.random.default_rng(1)
    reference = random.normal(size=10)
    treatment = reference + random.normal(0.3, 0.1, size=10)
    interval = stats.paired_difference(pairs(treatment, reference), 0.95)
    expected = scipy_stats.ttest_rel(treatment, reference).confidence_interval(0.95)
    assert ends(interval) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_pairing_is_by_seed_and_not_by_group():
    seeds = np.arange(10.0)
    paired = stats.paired_difference(pairs(seeds + 1.0, seeds), 0.95)
    assert ends(paired) == (1.0, 1.0)
    shuffled = stats.paired_difference(pairs(seeds + 1.0, seeds[::-1]), 0.95)
    assert shuffled.high - shuffled.low > 5.0


@given(st.lists(st.floats(0.01, 100.0), min_size=2, max_size=20), st.floats(0.1, 10.0))
def test_paired_ratio_does_not_depend_on_the_unit_and_inverts(reference, factor):
    treatment = [value * (1.0 + 0.1 * index) for index, value in enumerate(reference)]
    interval = stats.paired_ratio(pairs(treatment, reference), 0.95)
    scaled = stats.paired_ratio(
        pairs([factor * t for t in treatment], [factor * r for r in reference]), 0.95
    )
    inverse = stats.paired_ratio(pairs(reference, treatment), 0.95)
    assert ends(scaled) == pytest.approx(ends(interval), rel=1e-9)
    assert (1 / inverse.high, 1 / inverse.low) == pytest.approx(ends(interval), rel=1e-9)
    assert interval.scale == "log"


def test_one_value_has_an_interval_without_ends():
    assert ends(stats.mean(values(3.0), 0.95)) == (-INF, INF)
    assert ends(stats.paired_ratio(pairs([3.0], [1.0]), 0.95)) == (0.0, INF)


def test_coverage_of_the_mean_and_a_mean_that_is_wrong():
    draws = [values(*row) for row in np.random.default_rng(2).normal(5.0, 2.0, size=(1500, 10))]
    assert coverage(stats.mean, 5.0, draws) == pytest.approx(0.95, abs=0.02)
    assert coverage(stats.mean, 5.0, draws, confidence=0.8) == pytest.approx(0.80, abs=0.04)
    assert coverage(stats.mean, 7.0, draws) < 0.25  # one standard deviation off


def test_log_ratios_cover_where_raw_differences_of_skewed_losses_do_not():
    random = np.random.default_rng(3)
    sigma = 1.5
    logs = random.normal(0.0, sigma, size=(1500, 10))
    ones = np.ones(10)
    draws = [pairs(np.exp(row), ones) for row in logs]
    assert coverage(stats.paired_ratio, 1.0, draws) == pytest.approx(0.95, abs=0.02)
    mean_difference = math.exp(sigma**2 / 2) - 1
    assert coverage(stats.paired_difference, mean_difference, draws) < 0.88


# --- medians -----------------------------------------------------------------------------------


def test_the_median_of_ten_is_covered_from_the_second_to_the_ninth():
    sample = [10.0, 70.0, 20.0, 90.0, 30.0, 100.0, 40.0, 60.0, 50.0, 80.0]
    interval = stats.median(values(*sample), 0.95)
    assert (interval.estimate, *ends(interval)) == (55.0, 20.0, 90.0)
    # Neither end misses unless at most one of ten fair coins falls on its side: 2 (1 + 10) / 2^10.
    assert 1 - Fraction(2 * (1 + 10), 2**10) == Fraction(979, 1000) - Fraction(31, 64000)
    assert ends(stats.median(values(*sample), 0.98)) == (10.0, 100.0)


@pytest.mark.parametrize("n", range(2, 20))
def test_order_statistics_are_the_innermost_that_cover(n):
    interval = stats.median(values(*range(1, n + 1)), 0.95)

    def covers(rank):  # by counting all the ways in which n coins fall
        missing = sum(math.comb(n, heads) for heads in range(rank))
        return 1 - Fraction(2 * missing, 2**n)

    if covers(1) < Fraction(95, 100):
        assert n <= 5
        assert ends(interval) == (-INF, INF)
    else:
        rank = int(interval.low)
        assert interval.high == n + 1 - rank
        assert covers(rank) >= Fraction(95, 100) > covers(rank + 1)


def test_coverage_of_order_statistics_is_what_the_binomial_law_says():
    draws = [values(*row) for row in np.random.default_rng(4).lognormal(0.0, 2.0, size=(1500, 10))]
    assert coverage(stats.median, 1.0, draws) == pytest.approx(0.979, abs=0.012)
    assert coverage(stats.median, 7.4, draws) < 0.6  # e^2: one standard deviation off


def test_from_twenty_values_on_the_bootstrap_takes_over_and_covers(monkeypatch):
    monkeypatch.setattr(stats, "BOOTSTRAP_RESAMPLES", 499)
    rows = np.random.default_rng(5).lognormal(size=(200, 25))
    assert stats.median(values(*rows[0]), 0.95).method == "median, BCa"
    assert stats.median(values(*rows[0, :19]), 0.95).method == "median, order statistics"
    draws = [values(*row) for row in rows]
    assert coverage(stats.median, 1.0, draws) == pytest.approx(0.94, abs=0.04)
    assert coverage(stats.median, 2.7, draws) < 0.1


def test_the_bootstrap_is_seeded_and_close_to_order_statistics():
    sample = np.random.default_rng(6).normal(size=60)
    first, second = (stats.median(values(*sample), 0.95) for _ in range(2))
    assert first == second
    rank = int(scipy_stats.binom.ppf(0.025, 60, 0.5))
    ordered = np.sort(sample)
    assert ends(first) == pytest.approx((ordered[rank - 1], ordered[60 - rank]), abs=0.15)


def test_a_median_that_never_moves_falls_back_on_order_statistics():
    interval = stats.median(values(*[1.0] * 19, 2.0), 0.95)
    assert (interval.method, *ends(interval)) == ("median, order statistics", 1.0, 1.0)
    assert stats.median(values(*[1.0] * 20), 0.95).method == "all values equal"


# --- lanes that diverged -----------------------------------------------------------------------


@pytest.mark.parametrize("lost", [INF, -INF, NAN])
def test_a_diverged_lane_ranks_worst_in_a_median(lost):
    interval = stats.median(values(*range(9), lost), 0.95)
    assert interval == stats.median(values(*range(9), INF), 0.95)
    assert (interval.estimate, *ends(interval)) == (4.5, 1.0, 8.0)


@pytest.mark.parametrize("lost", [INF, -INF, NAN])
def test_one_diverged_lane_takes_the_ends_of_a_mean_and_no_other_statistic_takes_its_place(lost):
    many = np.linspace(1.0, 1.1, 10)
    one_lost = np.where(many == 1.0, lost, many)
    assert ends(stats.mean(values(*many), 0.95)) != (-INF, INF)
    interval = stats.mean(values(*one_lost), 0.95)
    assert (*ends(interval), interval.method) == (-INF, INF, "Student t, 1 of 10 not finite")
    for side in (pairs(one_lost, many), pairs(many, one_lost)):
        assert ends(stats.paired_difference(side, 0.95)) == (-INF, INF)
        assert ends(stats.paired_ratio(side, 0.95)) == (0.0, INF)


def test_more_diverged_lanes_than_not_make_the_median_infinite():
    assert stats.median(values(*[1.0] * 4, *[NAN] * 6), 0.95).estimate == INF
    assert stats.median(values(*[1.0] * 5, *[NAN] * 5), 0.95).estimate == INF
    assert stats.median(values(*[1.0] * 6, *[NAN] * 4), 0.95).estimate == 1.0


@pytest.mark.parametrize(
    ("statistic", "treatment_lost", "reference_lost"),
    [
        (stats.paired_difference, INF, -INF),
        (stats.paired_ratio, INF, 0.0),
        (stats.median_ratio, INF, 0.0),
    ],
)
def test_who_diverged_always_decides_who_is_worse(statistic, treatment_lost, reference_lost):
    fine, lost = [2.0] * 10, [NAN] * 10
    for treatment, reference, expected in (
        (lost, fine, treatment_lost),
        (fine, lost, reference_lost),
    ):
        interval = statistic(pairs(treatment, reference), 0.95)
        assert (interval.estimate, *ends(interval)) == (expected, expected, expected)


def test_the_mean_of_what_is_no_number_is_on_no_side():
    """A slope of effects that are infinite is nan: it must not pass for the largest of all."""
    for sample in ([NAN] * 10, [NAN] * 9 + [INF], [INF] * 5 + [-INF] * 5):
        assert ends(stats.mean(values(*sample), 0.95)) == (-INF, INF)
    assert ends(stats.mean(values(*[-INF] * 10), 0.95)) == (-INF, -INF)
    assert ends(stats.mean(values(*[INF] * 10), 0.95)) == (INF, INF)


def test_two_diverged_lanes_are_equal_by_rank_and_have_no_mean():
    lost = pairs([NAN] * 10, [NAN] * 10)
    assert ends(stats.median_ratio(lost, 0.95)) == (1.0, 1.0)
    assert ends(stats.paired_difference(lost, 0.95)) == (-INF, INF)
    assert ends(stats.paired_ratio(lost, 0.95)) == (0.0, INF)


def test_one_lane_lost_of_ten_moves_one_rank():
    treatment = np.arange(1.0, 11.0)
    lost = np.where(treatment == 1.0, NAN, treatment)
    ones = np.ones(10)
    assert ends(stats.median_ratio(pairs(treatment, ones), 0.95)) == (2.0, 9.0)
    assert ends(stats.median_ratio(pairs(lost, ones), 0.95)) == (3.0, 10.0)


def test_percentiles_of_resamples_are_their_quantiles():
    found = stats.resampled(values(*range(1001)), 0.95)
    assert (found.estimate, *ends(found)) == pytest.approx((500, 25, 975))
    draws = np.random.default_rng(8).normal(size=(300, 40))
    picks = np.random.default_rng(9).integers(40, size=(400, 40))
    resamples = [values(*row[picks].mean(axis=1)) for row in draws]
    assert coverage(stats.resampled, 0.0, resamples) == pytest.approx(0.94, abs=0.04)
    assert coverage(stats.resampled, 0.5, resamples) < 0.2


# --- counts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [  # Newcombe (1998), Statistics in Medicine 17, Table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_is_as_published(count, n, low, high):
    interval = stats.proportion(values(*[1] * count, *[0] * (n - count)), 0.95)
    assert ends(interval) == pytest.approx((low, high), abs=5e-5)
    assert interval.estimate == count / n


@pytest.mark.parametrize(("count", "n"), [(0, 7), (7, 7), (3, 7), (81, 263), (1, 10_000)])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_wilson_is_that_of_scipy_to_the_last_bit(count, n, confidence):
    interval = stats.proportion(values(*[1] * count, *[0] * (n - count)), confidence)
    theirs = scipy_stats.binomtest(count, n).proportion_ci(confidence, method="wilson")
    assert ends(interval) == (theirs.low, theirs.high)


def test_discordant_share_looks_at_pairs_that_differ_only():
    treatment = [1] * 8 + [1] * 50 + [0] * 42
    reference = [0] * 8 + [1] * 50 + [0] * 42
    interval = stats.discordant_share(pairs(treatment, reference), 0.95)
    assert (interval.estimate, interval.n) == (1.0, 8)
    assert ends(interval) == pytest.approx((0.025 ** (1 / 8), 1.0))  # Clopper-Pearson, closed form
    none = stats.discordant_share(pairs([1, 0], [1, 0]), 0.95)
    assert (none.estimate, *ends(none), none.n) == (0.5, 0.0, 1.0, 0)


@pytest.mark.parametrize(("won", "lost"), [(3, 4), (9, 2), (12, 1), (20, 20)])
def test_discordant_share_decides_as_the_exact_mcnemar_test(won, lost):
    samples = pairs([1] * won + [0] * lost, [0] * won + [1] * lost)
    p = scipy_stats.binomtest(won, won + lost, 0.5).pvalue
    for confidence in (0.5, 0.9, 0.95, 0.99):
        interval = stats.discordant_share(samples, confidence)
        assert (interval.low <= 0.5 <= interval.high) == (p > 1 - confidence)


def test_odds_ratio_by_its_definition_for_fishers_tea():
    interval = stats.odds_ratio(pairs([1, 1, 1, 0], [1, 0, 0, 0]), 0.95)

    def law(ratio):  # of the first count, when all margins are four
        weights = np.array([1.0, 16.0, 36.0, 16.0, 1.0]) * ratio ** np.arange(5)
        return weights / weights.sum()

    assert law(interval.estimate) @ np.arange(5) == pytest.approx(3.0)  # the conditional MLE
    assert law(interval.low)[3:].sum() == pytest.approx(0.025)
    assert law(interval.high)[:4].sum() == pytest.approx(0.025)


@pytest.mark.parametrize("statistic", ["proportion", "discordant share", "odds ratio"])
def test_counts_refuse_what_is_not_a_count(statistic):
    sample = values(1, 0.5) if statistic == "proportion" else pairs([1, 0.5], [0, 1])
    with pytest.raises(ValueError, match="0 or 1"):
        stats.STATISTICS[statistic](sample, 0.95)


# --- families ----------------------------------------------------------------------------------


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04; the last may not fall below .06.
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.6, 0.9]) == [1.0, 1.0]
    assert stats.holm([0.2]) == [0.2]


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12))
def test_holm_lies_between_no_correction_and_bonferronis(p_values):
    adjusted = stats.holm(p_values)
    for p, corrected in zip(p_values, adjusted, strict=True):
        assert p <= corrected <= min(1.0, len(p_values) * p)
    for (p, a), (q, b) in itertools.combinations(zip(p_values, adjusted, strict=True), 2):
        assert (p - q) * (a - b) >= 0  # the order of the evidence is kept


def test_holm_keeps_the_chance_of_any_false_alarm_at_its_level():
    p_values = np.random.default_rng(7).uniform(size=(2000, 10))
    alarms = np.mean([min(stats.holm(row)) <= 0.05 for row in p_values])
    assert alarms == pytest.approx(0.05, abs=0.015)
    assert np.mean(p_values.min(axis=1) <= 0.05) > 0.35  # without a correction


# --- precision ---------------------------------------------------------------------------------


def test_an_effect_of_the_minimum_detectable_size_is_found_with_a_power_of_80_percent():
    random = np.random.default_rng(8)
    rows = random.normal(size=(2000, 100))
    effect = stats.minimum_detectable_effect(stats.mean(values(*rows[0]), 0.95), 0.95)
    effect /= rows[0].std(ddof=1)  # one sample's spread says a little too much or too little
    found = {
        size: np.mean([stats.mean(values(*(row + size)), 0.95).low > 0 for row in rows[:600]])
        for size in (effect, effect / 2)
    }
    assert found[effect] == pytest.approx(0.8, abs=0.04)
    assert found[effect / 2] < 0.4


def test_the_minimum_detectable_effect_of_a_ratio_is_a_factor():
    linear = stats.Interval(0.0, -0.1, 0.1, 10, "", "linear")
    ratio = stats.Interval(1.0, math.exp(-0.1), math.exp(0.1), 10, "", "log")
    effect = stats.minimum_detectable_effect(linear, 0.95)
    assert effect == pytest.approx(0.1 * (1.959964 + 0.841621) / 1.959964, rel=1e-6)
    assert stats.minimum_detectable_effect(ratio, 0.95) == pytest.approx(math.exp(effect))


@pytest.mark.parametrize(
    ("low", "high", "scale"),
    [
        (-INF, INF, "linear"),
        (INF, INF, "linear"),
        (0.0, 5.0, "log"),
        (1.0, INF, "log"),
        (1e-300, 1e300, "log"),
    ],
)
def test_an_interval_without_an_end_detects_nothing(low, high, scale):
    interval = stats.Interval(1.0, low, high, 10, "", scale)
    assert stats.minimum_detectable_effect(interval, 0.95) == INF


# --- mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statistic", "samples", "message"),
    [
        ("paired difference", pairs([1.0, 2.0], [1.0]), "unpaired samples: 2 and 1"),
        ("paired ratio", pairs([1.0, 0.0], [1.0, 1.0]), "above zero"),
        ("mean", values(), "has no values"),
        ("median", values(), "has no values"),
        ("exact", values(1.0, 2.0), "too many values"),
    ],
)
def test_samples_that_make_no_sense_are_refused(statistic, samples, message):
    with pytest.raises(ValueError, match=message):
        stats.STATISTICS[statistic](samples, 0.95)


@pytest.mark.parametrize("name", sorted(set(stats.STATISTICS) - {"exact"}))
def test_more_confidence_is_never_a_narrower_interval(name):
    random = np.random.default_rng(9)
    if name in ("proportion", "discordant share", "odds ratio"):
        arms = (random.uniform(size=(2, 30)) < [[0.7], [0.3]]).astype(float)
    else:
        arms = random.lognormal(size=(2, 30))
    samples = {**pairs(*arms), **values(*arms[0])}
    found = [stats.STATISTICS[name](samples, c) for c in (0.5, 0.8, 0.95, 0.999)]
    for narrow, wide in itertools.pairwise(found):
        assert wide.low <= narrow.low <= narrow.estimate <= narrow.high <= wide.high
