"""Least squares against numpy and scipy, to 1e-6 and better; BIC against its closed form."""

from __future__ import annotations

import math

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies
from scipy import stats as scipy_stats

from experiments.compute_trends import fits, rows, rules, systems
from experiments.compute_trends.rules import Rules
from experiments.compute_trends.segments import MODELS

PAPER = systems.read()
LABELS = rules.labels_of(PAPER, Rules())
EVERY_ROW = {row.key: row.systems for row in rows.rows(PAPER, Rules())}


@pytest.mark.parametrize("key", EVERY_ROW)
def test_every_row_of_the_paper_fits_as_by_scipy(key):
    chosen = EVERY_ROW[key]
    x, y = PAPER.dates[chosen], PAPER.log_compute[chosen]
    theirs = scipy_stats.linregress(x, y)
    for ours in (fits.line(x, y), fits.line(PAPER.dates, PAPER.log_compute, chosen.astype(float))):
        assert ours.slope == pytest.approx(theirs.slope, rel=1e-9)
        assert ours.intercept == pytest.approx(theirs.intercept, rel=1e-9)
        assert ours.r_squared == pytest.approx(theirs.rvalue**2, rel=1e-9)
        assert ours.n == chosen.sum()
        residuals = y - np.polyval(np.polyfit(x - x.mean(), y, 1), x - x.mean())
        assert ours.rss == pytest.approx(residuals @ residuals, rel=1e-9)
        assert ours.residual_sd == pytest.approx(residuals.std(ddof=2), rel=1e-9)


@hypothesis.given(seed=strategies.integers(0, 2**32 - 1), n=strategies.integers(3, 40))
def test_whole_weights_repeat_rows(seed, n):
    generator = np.random.default_rng(seed)
    x, y = generator.uniform(0, 2e4, n), generator.normal(20, 2, n)
    weights = generator.integers(0, 4, n)
    hypothesis.assume((weights > 0).sum() >= 3)
    ours = fits.line(x, y, weights.astype(float))
    theirs = fits.line(np.repeat(x, weights), np.repeat(y, weights))
    np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-12)


def test_julian_days_do_no_harm():
    """A line is the same in days since 1970 and in Julian days, of about 2.4 million."""
    near, far = (fits.line(PAPER.dates + shift, PAPER.log_compute) for shift in (0.0, 2440587.5))
    assert far.slope == pytest.approx(near.slope, rel=1e-12)
    assert far.r_squared == pytest.approx(near.r_squared, rel=1e-12)


def test_lines_under_jit_and_vmap_are_numpys():
    masks = np.stack([LABELS.pre, LABELS.deep, LABELS.large]).astype(float)
    with jax.enable_x64(True):
        arrays = jnp.asarray(PAPER.dates), jnp.asarray(PAPER.log_compute)
        together = jax.jit(jax.vmap(fits.line, (None, None, 0)))(*arrays, masks)
    assert together.slope.dtype == np.float64
    for lane, mask in enumerate(masks):
        alone = fits.line(PAPER.dates, PAPER.log_compute, mask)
        np.testing.assert_allclose([part[lane] for part in together], alone, rtol=1e-9)


def test_too_few_rows_are_not_a_number():
    line = fits.line(np.array([1.0]), np.array([2.0]))
    assert math.isnan(line.slope)
    assert math.isnan(fits.line(np.array([1.0, 1.0]), np.array([1.0, 2.0])).slope)
    assert not np.isfinite(fits.line(np.array([1.0, 2.0]), np.array([1.0, 2.0])).residual_sd)


def test_doubling_times():
    per_day = math.log10(2) / 600  # doubles in 600 days
    assert Rules().months(per_day) == pytest.approx(20)
    assert Rules(days_per_month=30.44).months(per_day) == pytest.approx(600 / 30.44)
    assert Rules().months(-per_day) == pytest.approx(-20)
    assert Rules().months_of_yearly(365.2425 * per_day) == pytest.approx(20)
    assert np.isinf(Rules().months(np.array([0.0])))[0]


def test_bic_is_that_of_the_gaussian_likelihood_less_its_constant():
    generator = np.random.default_rng(7)
    x, n = np.linspace(0, 9, 60), 60
    y = 2 * x + generator.normal(size=n)
    line = fits.line(x, y)
    variance = line.rss / n
    likelihood = scipy_stats.norm.logpdf(
        y, line.intercept + line.slope * x, math.sqrt(variance)
    ).sum()
    full = -2 * likelihood + 3 * math.log(n)
    constant = n * (1 + math.log(2 * math.pi))
    assert MODELS["one line"].bic(line.rss, n) == pytest.approx(full - constant, rel=1e-9)
