"""Curves as a page draws them: thinned, summed up, encoded."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxtrends import curves, stats
from tests.example_record import example
from tests.lively_records import lively


@given(
    hnp.arrays(np.float64, (3, 7), elements=st.floats(-1e6, 1e6)),
    st.booleans(),
    st.integers(0, 20),
)
def test_a_curve_survives_its_encoding_up_to_half_a_level(rows, positive, lost):
    rows = np.abs(rows) + 1e-6 if positive else rows
    rows.flat[lost] = np.nan
    packed = curves.encode(rows)
    found = curves.decode(packed, 7)
    assert np.array_equal(np.isnan(found), np.isnan(rows))
    low, high = np.nanmin(rows), np.nanmax(rows)
    if low > 0:
        assert packed["log"]
        error = np.nanmax(np.abs(np.log(found / rows)))
        assert error <= 0.51 / curves.LEVELS * math.log(high / low) + 1e-12
    else:
        assert np.nanmax(np.abs(found - rows)) <= 0.51 / curves.LEVELS * (high - low) + 1e-9


def test_summaries_are_those_of_the_statistics():
    lanes = np.random.default_rng(0).lognormal(size=(10, 4))
    rows = dict(zip(curves.SUMMARIES, curves.summarise(lanes), strict=True))
    for point in range(4):
        expected = stats.mean({"values": lanes[:, point]}, 0.95)
        found = [rows[name][point] for name in ("mean", "mean low", "mean high")]
        np.testing.assert_allclose(found, [expected.estimate, expected.low, expected.high])
        assert rows["median"][point] == np.median(lanes[:, point])
        inside = (rows["low"][point] <= lanes[:, point]) & (lanes[:, point] <= rows["high"][point])
        assert inside.sum() >= 8
    lanes[0, 2] = np.inf
    rows = dict(zip(curves.SUMMARIES, curves.summarise(lanes), strict=True))
    assert np.isnan(rows["mean"][2])
    assert np.isfinite(rows["median"]).all()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("training/mlp/tuned/forward/loss", ("training", "mlp/tuned", "forward", "loss")),
        ("training/mlp/forward/loss", ("training", "mlp", "forward", "loss")),
        ("functions/beale/forward", ("functions", "beale", "forward", "value")),
        ("cost/loss", ("cost", "", "loss", "value")),
        ("balance/off/validation_loss", ("balance", "", "off", "validation_loss")),
    ],
)
def test_what_a_curves_name_says(name, expected):
    assert curves.parse(name) == expected


def test_steps_seeds_and_seconds_are_read_from_the_record():
    made, arrays = lively(seeds=range(3, 13))
    packed = {(c["method"], c["metric"]): c for c in curves.pack(made, arrays, points=10, lanes=4)}
    assert len(packed) == 6
    one = packed["backprop", "validation_loss"]
    assert (one["steps"][0], one["steps"][-1], len(one["steps"])) == (20, 1000, 10)
    assert (one["seeds"], one["lanes"], one["seconds"]) == ([3, 4, 5, 6], 10, 0.02)
    assert curves.decode(one, 10).shape == (len(curves.SUMMARIES) + 4, 10)
    assert packed["clipped", "training_loss"]["seconds"] is None
    made["results"]["studies"]["training"]["values"] = {"ladder": {"4": {"steps": 100}}}
    found = curves.steps(made, curves.parse("training/width 4/tuned/forward/loss"), 50)
    assert (found[0], found[-1]) == (2, 100)
    assert curves.steps(made, curves.parse("training/else/forward/loss"), 50) is None
    made["results"]["studies"]["training"]["values"] = {"log_every": 20, "seeds": [7, 8]}
    alone = curves.parse("training/off/validation_loss")
    assert list(curves.steps(made, alone, 3)) == [20, 40, 60]
    assert curves.seeds(made, alone, 2) == [7, 8]


def test_what_is_no_curve_is_left_out():
    shapes = {"a": (2, 1), "b": (2, 3, 4), "c": (3,), "d": (1, 3)}
    arrays = {f"cost/{name}": np.zeros(shape) for name, shape in shapes.items()}
    packed = curves.pack(example(), arrays, points=10, lanes=4)
    assert [curve["method"] for curve in packed] == ["d"]
