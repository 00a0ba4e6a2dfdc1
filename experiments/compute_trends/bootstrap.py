"""Bootstrap of slopes: 100,000 resamples in one compiled call, beside the paper's unseeded 1,000.

As in the paper's notebook, the rows of a group are drawn with replacement after labelling, each
draw's compute is multiplied by noise that is log-uniform between one half and two (what the authors
take their estimates' error to be), a line is fitted, and the interval runs from the 2.5% to the
97.5% quantile of the doubling times. Resamples of one or two distinct rows are skipped. The
notebook draws 1,000 without a seed, so its intervals differ from run to run: here the same 100,000
draws are also read as 100 such runs, and the spread of their ends stands beside the printed ones.

How this could be rigged: an interval that is random can be matched by drawing until it fits. Here
the seed is fixed, the Monte Carlo error of both ends is printed, and a printed end is compared with
the law of the 25th of 1,000 resamples rather than with a tolerance chosen afterwards.
"""

from __future__ import annotations

import functools
import math
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.compute_trends import bootstrap_figures, fits
from experiments.compute_trends.rows import Row, rows
from experiments.compute_trends.systems import DATASET, Systems
from jaxtrends.errors import Problem, require_positive
from jaxtrends.study import Run, StudyResult

TAILS = (0.025, 0.5, 0.975)
RUN = 1000  # resamples of one run of the paper's
REGULAR = "Table 3, 2010-2022 regular"  # whose interval wide noise must be seen in
GROUPS = (  # that the study is of
    "Table 3, 1952-2009",
    "Table 3, 2010-2022 all",
    REGULAR,
    "Table 4, 2016-2022 large",
)
LEAST_ROWS = 3
LEAST_SPREAD = 0.1  # of dates, in days squared: less is rounding, the dates being whole days
ROOM = 128  # tables of up to so many systems, or of twice as many, share compiled programs
WIDE, SCATTER = 10.0, 1.1  # see `wide_noise`


@dataclass(frozen=True)
class BootstrapConfig:
    """Resampling of rows, in the tables too."""

    resamples: int = 100_000
    """Resamples of each group; the paper has 1,000."""
    noise: float = 2.0
    """Each drawn system's compute is multiplied by log-uniform noise between 1 / so much and so
    much, as in the paper's code; 1 draws no noise. It hardly widens the intervals."""


SMOKE = BootstrapConfig(resamples=2000)


def check(config: BootstrapConfig) -> None:
    """Refuse settings that cannot be run.

    Raises:
        Problem: names the flag at fault.
    """
    require_positive(**{"bootstrap.resamples": config.resamples})
    if config.resamples % RUN:
        raise Problem(
            f"--bootstrap.resamples {config.resamples} is not a multiple of {RUN}, "
            "the size of one run of the paper's."
        )
    if not 1 <= config.noise < math.inf:
        raise Problem(f"--bootstrap.noise must be a factor of at least 1, not {config.noise}.")


def generator(seed: jax.Array, group: jax.Array) -> jax.Array:
    """The state of a stream of random words, (4,) uint32, from two uint32 numbers."""
    return jax.random.bits(jax.random.fold_in(jax.random.key(seed), group), (4,), jnp.uint32)


def stream_number(group: str) -> int:
    """A number below 2^32 for a group's name."""
    return zlib.crc32(group.encode())


def draw(state: jax.Array, rows: jax.Array, count: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One row of each of ``count`` resamples, and its noise.

    A random word times the number of rows has the row in its upper half, and in its lower half what
    is left of the word's randomness: another uniform number (to 2^-32 times the rows).

    Returns:
        The stream's next state, rows (count,) int32 below ``rows``, noise (count,) float64 in
        [-1, 1).
    """
    # XLA's own Threefry, by name: the same words on every device, in a third of the time that
    # jax.random takes for them on a CPU.
    state, words = jax.lax.rng_bit_generator(
        state, (count,), jnp.uint32, algorithm=jax.lax.RandomAlgorithm.RNG_THREE_FRY
    )
    product = words.astype(jnp.uint64) * rows.astype(jnp.uint64)
    chosen = (product >> jnp.uint64(32)).astype(jnp.int32)
    noise = (product & jnp.uint64(2**32 - 1)).astype(jnp.float64) * 2.0**-31 - 1.0
    return state, chosen, noise


@functools.partial(jax.jit, static_argnames="resamples")
def resampled_slopes(
    stream: jax.Array, x: jax.Array, y: jax.Array, rows: jax.Array, noise: jax.Array, resamples: int
) -> jax.Array:
    """Slopes of least-squares lines through resamples of rows.

    Draws go round in a loop, all resamples at once, into the sums that a line needs: nothing as
    large as resamples x rows is ever held, and groups of any size share one program.

    Args:
        stream:    (2,) uint32: seed and group, see `generator`.
        x, y:      (n,) float64, x in whole days, best centred; only the first ``rows`` are drawn
                   from.
        rows:      () int32.
        noise:     () float64: each drawn y moves by up to so much, evenly distributed.
        resamples: how many.

    Returns:
        (resamples,) float64; nan for a resample of one or two distinct rows, or of a single date.
    """

    def one_more(index: jax.Array, carry: Any) -> Any:
        state, sums, (first, second, more) = carry
        state, chosen, moved = draw(state, rows, resamples)
        x_drawn = x.at[chosen].get(mode="promise_in_bounds")
        y_drawn = y.at[chosen].get(mode="promise_in_bounds") + noise * moved
        terms = (x_drawn, y_drawn, x_drawn * x_drawn, x_drawn * y_drawn)
        first = jnp.where(index == 0, chosen, first)
        second = jnp.where((index == 0) | (second == first), chosen, second)
        more = more | ((chosen != first) & (chosen != second))
        sums = tuple(total + term for total, term in zip(sums, terms, strict=True))
        return state, sums, (first, second, more)

    zeros, none = jnp.zeros(resamples, jnp.float64), jnp.zeros(resamples, jnp.int32)
    start = generator(*stream), (zeros,) * 4, (none, none, none.astype(bool))
    _, (sx, sy, sxx, sxy), (_, _, more) = jax.lax.fori_loop(0, rows, one_more, start)
    n = rows.astype(jnp.float64)
    spread = sxx - sx * sx / n
    slopes = (sxy - sx * sy / n) / spread
    return jnp.where(more & (spread > LEAST_SPREAD), slopes, jnp.nan)


def slopes(
    seed: int,
    group: str,
    dates: np.ndarray,
    log_compute: np.ndarray,
    config: BootstrapConfig,
    room: int,
) -> np.ndarray:
    """Resampled slopes of one group, (resamples,) float64 in log10 FLOP per day.

    Args:
        seed:        of the run.
        group:       its name: groups of different names are drawn independently.
        dates:       (n,) float64, days.
        log_compute: (n,) float64.
        config:      how many, with what noise.
        room:        at least n; groups with the same room share one compiled program.
    """
    rows = len(dates)
    padded = np.zeros((2, room))
    padded[:, :rows] = dates - dates.mean(), log_compute - log_compute.mean()
    with jax.enable_x64(True):
        found = resampled_slopes(
            np.array([seed, stream_number(group)], np.uint32),
            *padded,
            np.int32(rows),
            np.float64(math.log10(config.noise)),
            config.resamples,
        )
        return np.asarray(found)


@dataclass(frozen=True)
class Interval:
    """A percentile interval, and how far the number of resamples leaves its ends open.

    Attributes:
        low, middle, high: 2.5%, 50% and 97.5% quantiles.
        low_error, high_error: Monte Carlo standard errors of the ends.
        skipped: resamples that gave no line.
    """

    low: float
    middle: float
    high: float
    low_error: float
    high_error: float
    skipped: int


def interval(values: np.ndarray) -> Interval:
    """The percentile interval of resampled values; those that are nan are skipped.

    All of it is nan where nothing is left. An end may be infinite: a line that does not rise.

    The error of a quantile p of B values is half the distance between the order statistics one
    binomial standard deviation, sqrt(B p (1 - p)), to either side of it: no density is estimated.
    """
    known = np.sort(values[~np.isnan(values)])
    if not known.size:
        return Interval(*[math.nan] * 5, skipped=int(values.size))
    ends = []
    with np.errstate(invalid="ignore"):  # between an infinite value and the next
        for tail in (TAILS[0], TAILS[2]):
            reach = math.sqrt(tail * (1 - tail) / known.size)
            below, above = np.quantile(known, np.clip([tail - reach, tail + reach], 0, 1))
            ends.append(float(above - below) / 2)
        low, middle, high = map(float, np.quantile(known, TAILS))
    return Interval(low, middle, high, *ends, skipped=int(values.size - known.size))


def runs(values: np.ndarray) -> np.ndarray:
    """The ends of the interval in each run of 1,000, (values / 1000, 2); nan is skipped."""
    with np.errstate(invalid="ignore"):
        return np.nanquantile(values.reshape(-1, RUN), (TAILS[0], TAILS[2]), axis=1).T


def misfit(values: np.ndarray, end: float, tail: float, digit: float) -> float:
    """How far a printed end of an interval lies from where 1,000 resamples put it.

    If the end is a quantile of 1,000 resamples from the law that ``values`` are from, then the
    share of that law below it is ``tail`` with the standard error sqrt(tail (1 - tail) / 1000).

    Args:
        values: many resampled values; nan is skipped.
        end:    as printed.
        tail:   0.025 or 0.975.
        digit:  size of the last printed digit: the end lies within half of it.

    Returns:
        The share less ``tail``, in standard errors; 0 where the printed digit allows that.
    """
    known = values[~np.isnan(values)]
    least, most = (float((known <= end + side * digit / 2).mean()) for side in (-1, 1))
    nearest = min(max(tail, least), most)
    return (nearest - tail) / math.sqrt(tail * (1 - tail) / RUN)


def slopes_of(systems: Systems, row: Row, config: BootstrapConfig, seed: int) -> np.ndarray:
    """Resampled slopes of a row, see `slopes`; a row has the same draws in every study."""
    dates, log_compute = systems.dates[row.systems], systems.log_compute[row.systems]
    room = -(-len(systems.names) // ROOM) * ROOM
    return slopes(seed, row.key, dates, log_compute, config, room=room)


def wide_noise(systems: Systems, chosen: Sequence[Row]) -> float:
    """A factor of noise that must be seen in the interval of the regular systems.

    Noise up to 10^h adds h^2 / 3 to the square of the scatter about the line: a factor of ten
    widens an interval by an eighth where systems scatter by 1.1 orders of magnitude, and not to be
    seen where they scatter by more. There the noise goes up to twice their scatter.
    """
    for row in chosen:
        if row.key == REGULAR:
            scatter = fits.line(systems.dates[row.systems], systems.log_compute[row.systems])
            return WIDE if scatter.residual_sd < SCATTER else 10.0 ** (2 * scatter.residual_sd)
    return WIDE


def run(config: Any, run: Run) -> StudyResult:
    """Resample the four main groups, with the paper's noise, without any and with more."""
    systems: Systems = run.dataset(DATASET)
    settings: BootstrapConfig = config.bootstrap
    chosen = [
        row
        for row in rows(systems, config.rules)
        if row.key in GROUPS and row.systems.sum() >= LEAST_ROWS
    ]
    groups: dict[str, Any] = {}
    drawn: dict[str, np.ndarray] = {}
    other_noise = {"no noise": 1.0, "wide noise": wide_noise(systems, chosen)}
    seconds: dict[str, float] = {}
    for row in run.each("groups", chosen):
        per_day = slopes_of(systems, row, settings, config.seed)
        if np.isnan(per_day.reshape(-1, RUN)).all(1).any():
            continue  # hardly a resample has three systems and two dates
        months = fits.doubling_months(per_day, config.rules.days_per_month)
        started = time.perf_counter()  # the program is compiled by now
        other = {}
        for name, factor in other_noise.items():
            moved = slopes_of(systems, row, replace(settings, noise=factor), config.seed)
            other[name] = interval(fits.doubling_months(moved, config.rules.days_per_month))
        seconds[row.key] = (time.perf_counter() - started) / len(other)
        ends = runs(months)
        groups[row.key] = {
            "n": int(row.systems.sum()),
            "interval": interval(months),
            "orders a year": np.nanquantile(fits.orders_per_year(per_day), TAILS),
            "runs": {"low": ends[:, 0], "high": ends[:, 1]},
            **other,
        }
        drawn[row.key] = months
    printed = {row.key: row.printed for row in chosen} if systems.of_the_paper else {}
    return StudyResult(
        values={
            "resamples": settings.resamples,
            "groups": groups,
            "wide noise": other_noise["wide noise"],
        },
        tables=[bootstrap_figures.intervals(groups, printed, settings)],
        figures=bootstrap_figures.figures(groups, drawn, printed) if groups else [],
        measurements={"seconds": seconds},
        measured_tables=[bootstrap_figures.times(seconds, groups, settings)],
    )
