"""Verdicts: what decides a claim, what spoils it, and what a family of tests may say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from jaxtrends import claims
from jaxtrends.claims import (
    INCONCLUSIVE,
    INVALID,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    PARTLY_REPRODUCED,
    REPRODUCED,
    Claim,
    Control,
    Evidence,
    judge,
)

INF, NAN = math.inf, math.nan
RANKS = {REPRODUCED: 2, INCONCLUSIVE: 1, NOT_REPRODUCED: 0}


def make(statistic="mean", region=(0.0, INF), **fields):
    defaults = {
        "id": "C1",
        "study": "study",
        "statement": "It works",
        "source": "derived",
        "quantity": "loss [nat]",
        "reason": "zero is no effect",
        "evidence": None,
        "kind": "exact" if statistic == "exact" else "statistical",
    }
    return Claim(statistic=statistic, region=region, **defaults | fields)


def sample(mean, spread=1.0, n=10):
    """Values with exactly this mean and standard deviation."""
    z = np.linspace(-1.0, 1.0, n)
    return {"values": list(mean + spread * z / z.std(ddof=1))}


def one(samples, **controls):
    return Evidence({"part": samples}, controls)


# --- one sample --------------------------------------------------------------------------------

HALF_WIDTH = scipy_stats.t.ppf(0.975, 9) / math.sqrt(10)  # of ten values with spread one


@pytest.mark.parametrize(
    ("mean", "region", "verdict"),
    [
        (1.0, (0.0, INF), REPRODUCED),
        (0.5, (0.0, INF), INCONCLUSIVE),
        (-0.5, (0.0, INF), INCONCLUSIVE),
        (-1.0, (0.0, INF), NOT_REPRODUCED),
        (-1.0, (-INF, 0.0), REPRODUCED),
        (1.0, (-INF, 0.0), NOT_REPRODUCED),
        (0.0, (-1.0, 1.0), REPRODUCED),
        (0.5, (-1.0, 1.0), INCONCLUSIVE),
        (0.0, (-0.5, 0.5), INCONCLUSIVE),
        (2.0, (-1.0, 1.0), NOT_REPRODUCED),
        (-2.0, (-1.0, 1.0), NOT_REPRODUCED),
    ],
)
def test_where_the_interval_lies_is_the_verdict(mean, region, verdict):
    found = judge(make(region=region), one(sample(mean)))
    assert found.verdict == verdict
    finding = found.parts["part"]
    assert (finding.low, finding.high) == pytest.approx((mean - HALF_WIDTH, mean + HALF_WIDTH))
    assert (finding.minimum_detectable_effect is not None) == (verdict == INCONCLUSIVE)


def test_one_seed_proves_nothing():
    assert judge(make(), one({"values": [1e9]})).verdict == INCONCLUSIVE


means = st.floats(-5.0, 5.0)


@given(means, st.floats(-10.0, 10.0), st.floats(0.0, 10.0), st.sampled_from(["above", "below"]))
def test_a_stricter_threshold_is_never_easier(mean, threshold, step, side):
    def rank(bound):
        region = (bound, INF) if side == "above" else (-INF, bound)
        return RANKS[judge(make(region=region), one(sample(mean))).verdict]

    stricter = threshold + step if side == "above" else threshold - step
    assert rank(stricter) <= rank(threshold)


@given(means, st.floats(0.01, 5.0), st.floats(0.0, 5.0))
def test_a_wider_margin_is_never_harder(mean, margin, more):
    narrow, wide = (
        RANKS[judge(make(region=(-m, m)), one(sample(mean))).verdict]
        for m in (margin, margin + more)
    )
    assert narrow <= wide


@given(means, st.floats(-5.0, 5.0), st.floats(0.1, 10.0))
def test_the_verdict_does_not_depend_on_the_unit(mean, bound, factor):
    assume(abs(mean - bound - HALF_WIDTH) > 1e-6)
    assume(abs(mean - bound + HALF_WIDTH) > 1e-6)
    here = judge(make(region=(bound, INF)), one(sample(mean)))
    there = judge(make(region=(factor * bound, INF)), one(sample(factor * mean, factor)))
    assert here.verdict == there.verdict


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=30), st.integers(-1000, 1000))
def test_what_is_reproduced_one_way_is_not_reproduced_the_other_way(numbers, bound):
    samples = one({"values": numbers})
    above = judge(make(region=(bound, INF)), samples).verdict
    below = judge(make(region=(-INF, bound)), samples).verdict
    opposite = {REPRODUCED: NOT_REPRODUCED, NOT_REPRODUCED: REPRODUCED}
    if len(set(numbers)) > 1:  # else the interval is a point, and may be the bound itself
        assert below == opposite.get(above, INCONCLUSIVE)


# --- values that are exact, infinite or no number ----------------------------------------------


@pytest.mark.parametrize(
    ("value", "region", "verdict"),
    [
        (3e-31, (-INF, 1e-20), REPRODUCED),
        (1e-20, (-INF, 1e-20), NOT_REPRODUCED),  # regions are open
        (2e-20, (-INF, 1e-20), NOT_REPRODUCED),
        (5.56e-5, (5.555e-5, 5.565e-5), REPRODUCED),
        (INF, (10.0, INF), REPRODUCED),
        (INF, (-INF, 10.0), NOT_REPRODUCED),
        (NAN, (10.0, INF), NOT_REPRODUCED),
        (NAN, (-INF, 10.0), NOT_REPRODUCED),
    ],
)
def test_an_exact_value_lies_in_the_region_or_not(value, region, verdict):
    found = judge(make("exact", region), one({"values": [value]}))
    assert found.verdict == verdict
    assert found.parts["part"].minimum_detectable_effect is None


def test_lanes_that_diverged_decide_against_whoever_they_belong_to():
    lost, fine = [NAN] * 10, [1.0] * 10
    worse = make("median ratio", (4.0, INF))
    better = make("median ratio", (-INF, 0.25))
    assert judge(worse, one({"treatment": lost, "reference": fine})).verdict == REPRODUCED
    assert judge(better, one({"treatment": lost, "reference": fine})).verdict == NOT_REPRODUCED
    assert judge(worse, one({"treatment": fine, "reference": lost})).verdict == NOT_REPRODUCED
    assert judge(better, one({"treatment": fine, "reference": lost})).verdict == REPRODUCED
    assert judge(worse, one({"treatment": lost, "reference": lost})).verdict == NOT_REPRODUCED


def test_an_interval_without_an_upper_end_can_lie_above_a_threshold():
    always_never = {"treatment": [1] * 10, "reference": [0] * 10}
    assert judge(make("odds ratio", (1.0, INF)), one(always_never)).verdict == REPRODUCED
    assert judge(make("odds ratio", (-INF, 1.0)), one(always_never)).verdict == NOT_REPRODUCED
    nothing = {"treatment": [1] * 10, "reference": [1] * 10}
    assert judge(make("odds ratio", (1.0, INF)), one(nothing)).verdict == INCONCLUSIVE


def test_too_few_values_for_an_interval_prove_nothing():
    samples = one({"values": [1.0] * 5})
    assert judge(make("median", (0.0, INF)), samples).verdict == INCONCLUSIVE


# --- families ----------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.7])
def test_p_values_are_those_of_students_t(threshold):
    samples = {"values": list(np.random.default_rng(0).normal(1.0, 1.0, size=12))}
    evidence = Evidence({"a": samples, "b": samples})
    found = judge(make(region=(threshold, INF)), evidence).parts["a"]
    p = scipy_stats.ttest_1samp(samples["values"], threshold).pvalue
    assert found.holm_p == pytest.approx(min(1.0, 2 * p), rel=1e-4, abs=1e-8)


def test_a_family_is_corrected_and_one_test_is_not():
    barely = sample(HALF_WIDTH * 1.05)  # p just below 0.05
    alone = judge(make(), Evidence({"barely": barely}))
    assert (alone.verdict, alone.parts["barely"].holm_p) == (REPRODUCED, None)
    clear = {f"clear {number}": sample(9.0) for number in range(4)}
    family = judge(make(), Evidence({"barely": barely, **clear}))
    assert family.verdict == REPRODUCED  # the last in Holm's order pays nothing
    twice = judge(make(), Evidence({"barely": barely, "as barely": barely, **clear}))
    assert twice.verdict == INCONCLUSIVE
    assert {n for n, f in twice.parts.items() if f.verdict == INCONCLUSIVE} == {
        "barely",
        "as barely",
    }
    assert twice.note == (
        "6 parts (Holm-corrected): 4 reproduced, 2 inconclusive; shown is the least favourable"
    )


def test_a_family_of_nothing_raises_few_false_alarms():
    random = np.random.default_rng(1)
    alarms = single = 0
    for _ in range(25):
        parts = {str(n): {"values": list(random.normal(size=8))} for n in range(8)}
        found = judge(make(), Evidence(parts))
        alarms += any(f.verdict != INCONCLUSIVE for f in found.parts.values())
        single += any(f.low > 0 or f.high < 0 for f in found.parts.values())
    assert alarms <= 4  # one is expected at a level of 5 %
    assert single >= 5  # eight without the correction


@pytest.mark.parametrize(
    ("sides", "verdict", "headline"),
    [
        ("++", REPRODUCED, 1),
        ("--", NOT_REPRODUCED, 0),
        ("??", INCONCLUSIVE, 0),
        ("+-", PARTLY_REPRODUCED, 1),
        ("+?", INCONCLUSIVE, 1),
        ("-?", NOT_REPRODUCED, 0),
        ("+?-", PARTLY_REPRODUCED, 2),
    ],
)
def test_parts_make_a_verdict_and_the_least_favourable_is_shown(sides, verdict, headline):
    means = {"+": 9.0, "-": -9.0, "?": 0.1}
    parts = {str(n): sample(means[side] - 0.01 * n) for n, side in enumerate(sides)}
    if sides in ("--", "??"):
        headline = len(sides) - 1
    found = judge(make(), Evidence(parts))
    assert (found.verdict, found.headline) == (verdict, str(headline))


@pytest.mark.parametrize("order", list(itertools.permutations(["tight", "loose", "lost"])))
def test_the_headline_does_not_depend_on_the_order_of_parts(order):
    parts = {
        "tight": {"values": [2.0] * 10},
        "loose": {"values": [1.0, 3.0] * 5},
        "lost": {"values": [2.0] * 9 + [NAN]},
    }
    found = judge(make("median"), Evidence({name: parts[name] for name in order}))
    assert found.headline == "loose"


def test_least_favourable_is_by_the_intervals_own_width():
    near_but_sure, far_but_loose = sample(1.0, spread=0.01), sample(3.0, spread=2.0)
    found = judge(make(), Evidence({"sure": near_but_sure, "loose": far_but_loose}))
    assert found.headline == "loose"
    assert found.parts["loose"].low > found.parts["sure"].low


def test_exact_parts_need_no_correction():
    parts = {"a": {"values": [1.0]}, "b": {"values": [2.0]}}
    found = judge(make("exact"), Evidence(parts))
    assert (found.verdict, found.headline) == (REPRODUCED, "a")
    assert found.note == "2 parts: 2 reproduced; shown is the least favourable"
    assert {f.holm_p for f in found.parts.values()} == {None}


# --- controls ----------------------------------------------------------------------------------

MUST_FAIL = Control("wrong by 10 %", "fail", "it is wrong")
MUST_PASS = Control("right", "pass", "it is right")


@pytest.mark.parametrize(
    ("control", "mean", "verdict"),
    [
        (MUST_FAIL, -9.0, REPRODUCED),
        (MUST_FAIL, 0.0, REPRODUCED),
        (MUST_FAIL, 9.0, INVALID),
        (MUST_PASS, 9.0, REPRODUCED),
        (MUST_PASS, 0.0, INVALID),
        (MUST_PASS, -9.0, INVALID),
    ],
)
def test_a_control_that_comes_out_wrong_makes_the_claim_invalid(control, mean, verdict):
    evidence = Evidence({"part": sample(9.0)}, {control.name: sample(mean)})
    found = judge(make(controls=(control,)), evidence)
    assert found.verdict == verdict
    assert (control.name in found.note) == (verdict == INVALID)
    assert found.controls[control.name].estimate == pytest.approx(mean, abs=1e-12)


def test_an_estimator_made_ten_percent_wrong_fails_and_the_right_one_passes():
    random = np.random.default_rng(2)
    claim = make(region=(0.98, 1.02), controls=(MUST_FAIL,))

    def squares(scale):  # E z^2 = 1: the variance of an estimator over its law
        return {"values": list(np.mean((scale * random.normal(size=(50, 4000))) ** 2, axis=1))}

    assert judge(claim, one(squares(1.0), **{MUST_FAIL.name: squares(1.1)})).verdict == REPRODUCED
    assert judge(claim, one(squares(1.1), **{MUST_FAIL.name: squares(1.1)})).verdict == (
        NOT_REPRODUCED
    )
    assert judge(claim, one(squares(1.0), **{MUST_FAIL.name: squares(1.0)})).verdict == INVALID


def test_a_declared_control_without_samples_is_a_mistake():
    with pytest.raises(ValueError, match="wrong by 10 %"):
        judge(make(controls=(MUST_FAIL,)), one(sample(9.0)))
    with pytest.raises(ValueError, match="any part"):
        judge(make(), Evidence({}))


# --- what is not decided -----------------------------------------------------------------------


def test_what_cannot_be_tested_here_is_not_judged():
    found = judge(make(not_testable="needs eight GPUs"), Evidence({}))
    assert (found.verdict, found.note, found.parts) == (NOT_TESTABLE, "needs eight GPUs", {})


def test_samples_that_may_not_decide_leave_the_claim_open():
    evidence = Evidence({"part": sample(9.0)}, undecided="the best rate lies on the grid's edge")
    found = judge(make(), evidence)
    assert (found.verdict, found.note) == (INCONCLUSIVE, "the best rate lies on the grid's edge")
    assert judge(make(), one(sample(9.0))).verdict == REPRODUCED


# --- declarations ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"statistic": "mode"}, "no statistic 'mode'"),
        ({"kind": "exact"}, "disagree on exactness"),
        ({"statistic": "exact", "kind": "statistical"}, "disagree on exactness"),
        ({"reported": "0.6", "where": "Figure 4"}, "derived claim has no reported figure"),
        ({"reported": "0.6", "source": "paper"}, "where is the reported figure from"),
        ({"region": (1.0, 1.0)}, "empty region"),
        ({"region": (2.0, 1.0)}, "empty region"),
        ({"region": (NAN, 1.0)}, "empty region"),
        ({"region": (-INF, INF)}, "tests nothing"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        make(**fields)


def test_the_list_of_verdicts_is_that_of_the_protocol():
    assert set(claims.VERDICTS) == {
        "reproduced",
        "not reproduced",
        "inconclusive",
        "partly reproduced",
        "invalid",
        "not testable here",
    }
