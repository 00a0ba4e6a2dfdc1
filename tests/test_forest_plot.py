"""Intervals as positions on an axis."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from jaxtrends import forest_plot


def finding(low, estimate, high, scale="linear"):
    return {"low": low, "estimate": estimate, "high": high, "scale": scale}


finite = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))


@given(finite, finite, finite, finite, st.booleans())
def test_an_interval_is_drawn_inside_the_region_just_where_it_is_inside(a, b, c, d, one_sided):
    low, high = sorted((a, b))
    begin, end = sorted((c, d))
    if end - begin < 1e-2:
        return
    region = ("-inf", end) if one_sided else (begin, end)
    axis = forest_plot.axis("mean", region, [finding(low, (low + high) / 2, high)])
    mark = axis.mark(finding(low, (low + high) / 2, high))
    assert mark.beyond == ""
    assert mark.low <= mark.at <= mark.high
    assert 0 <= axis.region[0] < axis.region[1] <= 100 + 1e-9
    if low > begin or one_sided:
        assert mark.low >= axis.region[0]
    if high < end:
        assert mark.high <= axis.region[1]
    if high > end:
        assert mark.high >= axis.region[1]


@given(finite, finite, finite)
def test_numbers_below_the_axis_keep_clear_of_each_other(a, b, c):
    low, high = sorted((a, b))
    axis = forest_plot.axis("mean", (c, "inf"), [finding(low, low, high)])
    places = sorted(x for x, _ in (*axis.thresholds, *axis.ticks))
    assert all(y - x >= forest_plot.APART - 0.02 for x, y in itertools.pairwise(places))


def test_ends_that_lie_beyond_are_pointed_at():
    axis = forest_plot.axis("paired ratio", ("-inf", 1.0), [finding("1.2", "inf", "inf", "log")])
    mark = axis.mark(finding("1.2", "inf", "inf"))
    assert (mark.at, mark.high, mark.beyond) == (None, None, "high")
    assert mark.low > axis.region[1]
    assert axis.mark(finding(1e9, 1e9, 1e9)).beyond == "high"
    assert axis.mark(finding(-1, -1, -1)).beyond == "low"


def test_a_bound_that_the_statistic_cannot_reach_is_no_bound():
    axis = forest_plot.axis("proportion", (-1.0, 0.05), [finding(0.0, 0.0, 0.02)])
    assert [text for _, text in axis.thresholds] == ["0.05"]
    assert axis.region[0] == 0.0
    assert forest_plot.axis("mean", (-1.0, 0.05), [finding(0.0, 0.0, 0.02)]).region[0] > 0
