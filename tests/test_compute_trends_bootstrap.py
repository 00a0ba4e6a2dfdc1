"""The compiled bootstrap: the same resamples one by one, other resamples, and its own errors."""

from __future__ import annotations

import math
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats as scipy_stats

from experiments.compute_trends import bootstrap, fits, rows, systems
from experiments.compute_trends.bootstrap import BootstrapConfig
from experiments.compute_trends.rules import Rules

PAPER = systems.read()
ROWS = {row.key: row for row in rows.rows(PAPER, Rules())}
LARGE = ROWS["Table 4, 2016-2022 large"]
ALL = ROWS["Table 3, 2010-2022 all"]
SMALL = BootstrapConfig(resamples=2000)


def drawn(seed, group, count, resamples):
    """Rows and noise of every draw, (count, resamples) each, taken one draw after the other."""
    with jax.enable_x64(True):
        state = bootstrap.generator(jnp.uint32(seed), np.uint32(zlib.crc32(group.encode())))
        chosen, noise = [], []
        for _ in range(count):
            state, row, moved = bootstrap.draw(state, jnp.int32(count), resamples)
            chosen.append(np.asarray(row))
            noise.append(np.asarray(moved))
    return np.array(chosen), np.array(noise)


@pytest.mark.parametrize("factor", [1.0, 2.0])
@pytest.mark.parametrize("row", [LARGE, ALL], ids=lambda row: row.name)
def test_a_loop_over_the_same_resamples_gives_the_same_slopes(row, factor):
    config = BootstrapConfig(resamples=1000, noise=factor)
    ours = bootstrap.slopes_of(PAPER, row, config, 3)
    x, y = PAPER.dates[row.systems], PAPER.log_compute[row.systems]
    chosen, noise = drawn(3, row.key, len(x), 1000)
    moved = noise * math.log10(factor)
    for lane in range(300):
        theirs = scipy_stats.linregress(x[chosen[:, lane]], y[chosen[:, lane]] + moved[:, lane])
        assert ours[lane] == pytest.approx(theirs.slope, rel=1e-9)


def test_draws_are_uniform_and_their_noise_is_too():
    chosen, noise = drawn(0, "a", 7, 20_000)
    counts = np.bincount(chosen.ravel(), minlength=7)
    assert scipy_stats.chisquare(counts).pvalue > 1e-3
    assert scipy_stats.kstest(noise.ravel()[:50_000], "uniform", (-1, 2)).pvalue > 1e-3
    # Noise is what a word has left over: it must tell nothing of the row, nor of the next draw.
    slices = [noise[chosen == row] for row in range(7)]
    assert scipy_stats.f_oneway(*slices).pvalue > 1e-3
    pairs = np.histogram2d(chosen[:-1].ravel(), chosen[1:].ravel(), bins=7)[0]
    assert scipy_stats.chi2_contingency(pairs).pvalue > 1e-3
    # Negative control: one row in ten of the first kind left out must be seen.
    counts[0] = round(0.9 * counts[0])
    assert scipy_stats.chisquare(counts).pvalue < 1e-6


def stretches(chosen):
    """Every ten draws that follow each other in a stream."""
    flat = chosen.ravel()
    return {flat[start : start + 10].tobytes() for start in range(flat.size - 9)}


def test_seeds_and_groups_are_drawn_apart():
    first, *others = (
        drawn(seed, group, 19, 500)[0] for seed, group in ((0, "a"), (1, "a"), (0, "b"))
    )
    for other in others:
        assert abs((first == other).mean() - 1 / 19) < 0.01
        assert not stretches(first) & stretches(other)  # nor is one the other, moved along
    np.testing.assert_array_equal(first, drawn(0, "a", 19, 500)[0])


def numpy_bootstrap(row, resamples, seed):
    """The bootstrap as one first writes it, with numpy's own random numbers."""
    x, y = PAPER.dates[row.systems], PAPER.log_compute[row.systems]
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(resamples):
        chosen = generator.integers(0, len(x), len(x))
        noise = generator.uniform(-1, 1, len(x)) * math.log10(2)
        found.append(np.polyfit(x[chosen] - x.mean(), y[chosen] + noise, 1)[0])
    return np.array(found)


@pytest.mark.parametrize("row", [LARGE, ALL], ids=lambda row: row.name)
def test_the_distribution_is_that_of_a_naive_loop(row):
    ours = bootstrap.slopes_of(PAPER, row, BootstrapConfig(resamples=10_000), 0)
    theirs = numpy_bootstrap(row, 2000, 1)
    assert scipy_stats.ks_2samp(ours, theirs).pvalue > 1e-3
    # Negative control: slopes that are 10 % too steep must be told from them.
    assert scipy_stats.ks_2samp(1.1 * ours, theirs).pvalue < 1e-6


def test_resamples_of_two_rows_or_one_give_no_line():
    """Of 3 rows, 6 of the 27 resamples hold all of them; the others are skipped."""
    x, y = np.array([0.0, 1.0, 5.0]), np.array([0.0, 2.0, 1.0])
    config = BootstrapConfig(resamples=10_000, noise=1.0)
    found = bootstrap.slopes(0, "three", x, y, config, room=3)
    kept = found[~np.isnan(found)]
    np.testing.assert_allclose(kept, fits.line(x, y).slope, rtol=1e-9)
    assert scipy_stats.binomtest(len(kept), 10_000, 6 / 27).pvalue > 1e-3
    assert bootstrap.interval(found).skipped == 10_000 - len(kept)


def test_room_to_spare_changes_nothing():
    x, y = PAPER.dates[LARGE.systems], PAPER.log_compute[LARGE.systems]
    tight = bootstrap.slopes(0, "a", x, y, SMALL, room=19)
    wide = bootstrap.slopes(0, "a", x, y, SMALL, room=50)
    np.testing.assert_array_equal(tight, wide)


def test_the_program_lowers_for_every_platform():
    with jax.enable_x64(True):
        arrays = [jax.ShapeDtypeStruct(shape, kind) for shape, kind in (((2,), np.uint32),)]
        arrays += [jax.ShapeDtypeStruct((99,), np.float64)] * 2
        arrays += [jax.ShapeDtypeStruct((), kind) for kind in (np.int32, np.float64)]
        export = jax.export.export(bootstrap.resampled_slopes, platforms=("cpu", "cuda", "tpu"))
        assert export(*arrays, resamples=1000).out_avals[0].shape == (1000,)


def test_interval_and_its_monte_carlo_errors():
    """Of normal values: quantiles and the errors of their estimates are known."""
    generator = np.random.default_rng(11)
    values = generator.normal(size=100_000)
    found = bootstrap.interval(np.append(values, np.nan))
    np.testing.assert_allclose(
        (found.low, found.middle, found.high), np.quantile(values, (0.025, 0.5, 0.975))
    )
    z = scipy_stats.norm.ppf(0.975)
    error = math.sqrt(0.025 * 0.975 / 100_000) / scipy_stats.norm.pdf(z)
    assert found.low_error == pytest.approx(error, rel=0.2)
    assert found.high_error == pytest.approx(error, rel=0.2)
    assert abs(found.high - z) < 4 * error
    assert found.skipped == 1
    ends = bootstrap.runs(values)
    assert ends.shape == (100, 2)
    assert ends.std(0) == pytest.approx(np.full(2, 10 * error), rel=0.25)


def test_misfit_counts_standard_errors_of_a_run():
    values = (np.arange(1_000_000) + 0.5) / 1_000_000
    error = math.sqrt(0.025 * 0.975 / 1000)
    assert bootstrap.misfit(values, 0.03, 0.025, 0.0) == pytest.approx(0.005 / error, rel=1e-3)
    assert bootstrap.misfit(values, 0.97, 0.975, 0.0) == pytest.approx(-0.005 / error, rel=1e-3)
    assert bootstrap.misfit(values, 0.03, 0.025, 0.02) == 0
    assert bootstrap.misfit(values, 0.03, 0.025, 0.004) == pytest.approx(0.003 / error, rel=1e-3)


def test_misfit_of_runs_of_1000_is_standard_normal():
    """Else the bound of claim I1 would not be what it says."""
    ours = bootstrap.slopes_of(PAPER, ALL, BootstrapConfig(resamples=200_000), 5)
    months = Rules().months(ours)
    ends = bootstrap.runs(months[100_000:])
    found = [bootstrap.misfit(months[:100_000], end, 0.975, 0.0) for end in ends[:, 1]]
    assert abs(np.mean(found)) < 0.4
    assert 0.8 < np.std(found) < 1.25
