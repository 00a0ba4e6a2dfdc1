"""The grid of choices: every cell is the plain fit, and what is known of some of them."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.compute_trends import sensitivity, systems
from experiments.compute_trends.rules import Rules, label
from experiments.compute_trends.sensitivity import CHOICES, SensitivityConfig
from experiments.compute_trends.systems import day
from tests.compute_trends_run import values_of, verdicts

PAPER = systems.read()
SMALL = SensitivityConfig(
    dl_from=("2005-12-31", "2012-12-31", "2013-12-31"),
    window=(546.0, 728.0),
    z_high=(0.54, 0.6),
    large_from=("2014-09-01", "2016-09-01"),
    z_low=(-1000.0,),
)
GRID = sensitivity.axes(SMALL, Rules())


@pytest.fixture(scope="module")
def fitted():
    with jax.enable_x64(True):
        points = {name: jnp.asarray(values) for name, values in GRID.items()}
        found = sensitivity.fit(PAPER.dates, PAPER.log_compute, points, fixed=Rules().thresholds())
        return jax.device_get(found)


def months(fitted, group, **choices):
    """Doubling time of a group at some choices, the paper's for the others."""
    limits = Rules().thresholds()._asdict() | choices
    cell = tuple(int(np.flatnonzero(GRID[name] == limits[name])[0]) for name in CHOICES)
    return Rules().months(fitted.slopes[group][cell]), fitted.n[group][cell]


def test_every_cell_is_the_plain_fit(fitted):
    generator = np.random.default_rng(0)
    shape = tuple(len(GRID[name]) for name in CHOICES)
    assert fitted.gap.shape == shape
    assert fitted.gap.dtype == np.float64
    for _ in range(25):
        cell = tuple(int(generator.integers(length)) for length in shape)
        chosen = {name: GRID[name][place] for name, place in zip(CHOICES, cell, strict=True)}
        thresholds = Rules().thresholds()._replace(**chosen)
        labels = label(PAPER.dates, PAPER.log_compute, thresholds)
        groups = {
            "before": labels.pre,
            "all": labels.deep,
            "regular": labels.regular,
            "large": labels.large,
        }
        lines = {}
        for name, rows in groups.items():
            x, y = PAPER.dates[rows], PAPER.log_compute[rows]
            lines[name] = np.polyfit(x - 16000, y, 1)
            assert fitted.n[name][cell] == rows.sum()
            assert fitted.slopes[name][cell] == pytest.approx(lines[name][0], rel=1e-6)
        at = PAPER.dates[labels.large].mean() - 16000
        gap = np.polyval(lines["large"], at) - np.polyval(lines["regular"], at)
        assert fitted.gap[cell] == pytest.approx(gap, rel=1e-6)


@pytest.mark.parametrize(
    ("group", "choices", "time", "n"),
    [
        ("large", {}, 10.67, 19),
        ("large", {"z_high": 0.6}, 10.5, 25),
        ("large", {"z_high": 0.54}, 11.0, 29),
        ("large", {"window": 546.0}, 13.2, 18),
        ("large", {"window": 728.0}, None, 21),
        ("before", {}, 21.27, 19),
        ("all", {"dl_from": day("2005-12-31")}, 5.6, None),
        ("all", {"dl_from": day("2012-12-31")}, 5.6, None),
        ("all", {"dl_from": day("2013-12-31")}, 6.3, None),
    ],
)
def test_what_is_known_of_some_readings(fitted, group, choices, time, n):
    ours, systems_in_it = months(fitted, group, **choices)
    if time is not None:
        assert ours == pytest.approx(time, abs=0.06)
    if n is not None:
        assert systems_in_it == n


def test_the_papers_own_choice_is_on_every_axis_once():
    limits = Rules().thresholds()._asdict()
    for name, values in GRID.items():
        assert (values == limits[name]).sum() == 1
        assert (np.diff(values) > 0).all()


def test_all_of_it_is_one_program(fitted):
    before = sensitivity.fit._cache_size()
    values_of(sensitivity, SMALL)
    assert sensitivity.fit._cache_size() == before


@pytest.fixture(scope="module")
def values():
    return values_of(sensitivity, SMALL)


def test_two_eras_hold_everywhere_and_the_large_scale_hangs_on_its_start(values):
    found = verdicts(sensitivity.CLAIMS, values)
    assert [found[name].verdict for name in ("S1", "S2", "S3", "S4", "S5")] == [
        *("reproduced", "reproduced", "reproduced", "reproduced"),
        "not reproduced",
    ]
    alone = values["conclusions"]["ten months"]["alone"]
    assert "2016-09-01" in alone["large_from"]["fails at"]
    assert alone["dl_from"]["fails at"] == []
    # The rule makes a class apart of anything.
    assert values["dealt anew"]["a class apart"] == 1.0


def test_dealt_out_anew_nothing_is_faster():
    generator = np.random.default_rng(9)
    dealt = dataclasses.replace(PAPER, log_compute=generator.permutation(PAPER.log_compute))
    found = verdicts(sensitivity.CLAIMS, values_of(sensitivity, SMALL, dealt))
    assert found["S1"].verdict == "not reproduced"


def test_a_group_that_is_too_small_says_nothing():
    small = dict.fromkeys(sensitivity.GROUPS, np.array([4.0, 9.0]))
    slopes = dict.fromkeys(sensitivity.GROUPS, np.array([1e-3, 1e-3]))
    fitted = sensitivity.Fitted(slopes, small, np.array([1.5, 1.5]))
    for values in sensitivity.quantities(fitted, Rules()).values():
        assert np.isnan(values).tolist() == [True, False]


@pytest.mark.parametrize(
    ("regular", "large", "ratio"),
    [(1e-3, 5e-4, 2.0), (1e-3, -1e-4, np.inf), (-1e-4, 1e-3, 0.0), (-1e-4, -1e-3, 0.0)],
)
def test_what_does_not_grow_is_slower_than_what_does(regular, large, ratio):
    n = dict.fromkeys(sensitivity.GROUPS, np.array([9.0]))
    slopes = dict.fromkeys(sensitivity.GROUPS, np.array([1e-3]))
    slopes |= {"regular": np.array([regular]), "large": np.array([large])}
    found = sensitivity.quantities(sensitivity.Fitted(slopes, n, np.array([1.5])), Rules())
    assert found["slower"] == ratio
