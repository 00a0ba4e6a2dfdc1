"""Bootstrap of slopes: 100,000 resamples in one compiled call; the paper draws 1,000, unseeded.

As in the paper's notebook, the rows of a group are resampled after labelling, each draw's compute
is multiplied by noise that is log-uniform between one half and two (the authors' assumed error), a
line is fitted, and the interval runs from the 2.5% to the 97.5% quantile of the doubling times.
Resamples of one or two distinct rows are skipped. The notebook draws 1,000 without a seed, so its
intervals differ from run to run. Here the 100,000 draws are also split into 100 such runs, and the
spread of their ends is reported next to the printed ends.

How this could be rigged: a random interval can be matched by drawing until it fits. Here the seed
is fixed, the Monte Carlo error of both ends is reported, and a printed end is compared with the
distribution of the 25th of 1,000 resamples, not with a tolerance chosen afterwards.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt, MultipleOf

from experiments.compute_trends import fits
from experiments.compute_trends.fits import TAILS
from experiments.compute_trends.rows import ALL, FIRST, LARGE, REGULAR, Printed, Row, rows
from experiments.compute_trends.systems import DATASET, Systems
from jaxtrends import charts, declare
from jaxtrends.study import Figure, Panel, Run, StudyResult, Table

RUN = 1000  # resamples of one run of the paper's
GROUPS = (FIRST, ALL, REGULAR, LARGE)  # of the study
LEAST_ROWS = 3
DAYS_PER_YEAR = 365.0  # in the paper's code
LEAST_SPREAD = 0.1  # of dates, in days squared; dates are whole days, so less is rounding
ROOM = 128  # arrays are padded to multiples of this, so that groups share compiled programs


@dataclass(frozen=True)
class BootstrapConfig:
    """Bootstrap over systems, also used in the tables."""

    resamples: Annotated[int, Gt(0), MultipleOf(RUN)] = 100_000
    """Resamples of each group, in whole runs of the paper's 1,000."""
    noise: Annotated[float, Ge(1)] = 2.0
    """Factor of the log-uniform noise on each drawn system's compute, from 1/factor to factor, as
    in the paper's code; 1 for none. It hardly widens the intervals."""


def generator(seed: jax.Array, group: jax.Array) -> jax.Array:
    """The state of a stream of random words, (4,) uint32, from two uint32 numbers."""
    return jax.random.bits(jax.random.fold_in(jax.random.key(seed), group), (4,), jnp.uint32)


def draw(state: jax.Array, rows: jax.Array, count: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The stream's next state; a row (count,) int32 of each resample, noise (count,) in [-1, 1).

    The upper half of a random word times the number of rows is the row; the lower half is the rest
    of the word's randomness, another uniform number (up to 2^-32 times the rows).
    """
    # XLA's own Threefry, named explicitly: the same words on every device, in a third of the time
    # of jax.random on a CPU.
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

    A loop adds one draw per iteration, for all resamples at once, to the sums that a line needs.
    No array of resamples x rows is ever held, and groups of any size share one program.

    Args:
        stream:    (2,) uint32: seed and group, see `generator`.
        x, y:      (n,) float64, x in whole days, preferably centred; only the first ``rows`` are
                   drawn from.
        rows:      () int32.
        noise:     () float64: each drawn y is shifted uniformly by up to this much.
        resamples: number of resamples.

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
        group:       its name; groups with different names are drawn independently.
        dates:       (n,) float64, days.
        log_compute: (n,) float64.
        config:      number of resamples, and noise.
        room:        at least n; groups with the same room share one compiled program.
    """
    rows = len(dates)
    padded = np.zeros((2, room))
    padded[:, :rows] = dates - dates.mean(), log_compute - log_compute.mean()
    stream = np.array([seed, zlib.crc32(group.encode())], np.uint32)
    noise = np.float64(math.log10(config.noise))
    with jax.enable_x64(True):
        found = resampled_slopes(stream, *padded, np.int32(rows), noise, config.resamples)
        return np.asarray(found)


def slopes_of(systems: Systems, row: Row, config: BootstrapConfig, seed: int) -> np.ndarray:
    """Resampled slopes of a row, see `slopes`; a row gets the same draws in every study."""
    dates, log_compute = systems.dates[row.systems], systems.log_compute[row.systems]
    room = -(-len(systems.names) // ROOM) * ROOM
    return slopes(seed, row.key, dates, log_compute, config, room=room)


# --- intervals -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """Quantiles 2.5%, 50% and 97.5%, and the Monte Carlo standard errors of the ends.

    ``skipped`` counts the resamples without a line.
    """

    low: float
    middle: float
    high: float
    low_error: float
    high_error: float
    skipped: int


def interval(values: np.ndarray) -> Interval:
    """The percentile interval of resampled values; nan values are skipped.

    All nan if no value is left. An end may be infinite: a line that does not rise.

    The error of a quantile p of B values is half the distance between the order statistics one
    binomial standard deviation, sqrt(B p (1 - p)), to either side, without a density estimate.
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
    """The interval's ends in each run of 1,000, (values / 1000, 2); nan is skipped."""
    with np.errstate(invalid="ignore"):
        return np.nanquantile(values.reshape(-1, RUN), (TAILS[0], TAILS[2]), axis=1).T


def misfit(values: np.ndarray, end: float, tail: float, digit: float) -> float:
    """How far a printed end of an interval is from where 1,000 resamples put it.

    If the end is a quantile of 1,000 resamples from the distribution of ``values`` (nan is
    skipped), the share of that distribution below it is ``tail`` with standard error
    sqrt(tail (1 - tail) / 1000). Returns the share minus ``tail`` in standard errors; 0 where the
    rounding to the last printed ``digit`` allows it.
    """
    known = values[~np.isnan(values)]
    least, most = (float((known <= end + side * digit / 2).mean()) for side in (-1, 1))
    nearest = min(max(tail, least), most)
    return (nearest - tail) / math.sqrt(tail * (1 - tail) / RUN)


# --- the study -----------------------------------------------------------------------------------


def wide_noise(systems: Systems, row: Row) -> float:
    """A noise factor that must widen a row's interval: up to twice its systems' scatter.

    Noise up to 10^h adds h^2 / 3 to the variance about the line, here 4/3 of it, so the interval is
    about one and a half times as wide.
    """
    line = fits.line(systems.dates[row.systems], systems.log_compute[row.systems])
    return 10.0 ** (2 * float(line.residual_sd))


def run(config: Any, run: Run) -> StudyResult:
    """Resample the four main groups with the paper's noise, with none and with more."""
    systems: Systems = run.dataset(DATASET)
    settings: BootstrapConfig = config.bootstrap
    chosen = [
        row
        for row in rows(systems, config.rules)
        if row.key in GROUPS and row.systems.sum() >= LEAST_ROWS
    ]
    groups: dict[str, Any] = {}
    drawn: dict[str, np.ndarray] = {}
    for row in run.each("groups", chosen):
        per_day = slopes_of(systems, row, settings, config.seed)
        if np.isnan(per_day.reshape(-1, RUN)).all(1).any():
            continue  # almost no resample has three systems and two dates
        drawn[row.key] = months = config.rules.months(per_day)
        low, high = runs(months).T
        groups[row.key] = {
            "n": int(row.systems.sum()),
            "interval": interval(months),
            "orders a year": np.nanquantile(DAYS_PER_YEAR * per_day, TAILS),
            "runs": {"low": low, "high": high},
        }
        factors = {"no noise": 1.0, "wide noise": wide_noise(systems, row)}
        groups[row.key]["wide factor"] = factors["wide noise"]
        for name, factor in factors.items():
            moved = slopes_of(systems, row, replace(settings, noise=factor), config.seed)
            groups[row.key][name] = interval(config.rules.months(moved))
    printed = {row.key: row.printed for row in chosen} if systems.of_the_paper else {}
    return StudyResult(
        values={
            "resamples": settings.resamples,
            "groups": groups,
        },
        tables=[_intervals(groups, printed, settings)] if groups else [],
        figures=_figures(groups, drawn, printed) if groups else [],
    )


# --- claims, both derived ------------------------------------------------------------------------

SMALL = (FIRST, LARGE)  # 19 of the paper's systems each
ENOUGH = 100_000  # resamples


def spread(values: Mapping[str, Any], of: str = "") -> dict[str, float]:
    """Standard deviation of an interval's end over runs of 1,000 resamples, in months.

    For each end of the small groups; ``of`` another group's in their place.
    """
    if values["resamples"] < ENOUGH:
        raise KeyError(f"{ENOUGH:,} resamples, which make enough runs")
    return {
        f"{key}, {end} end": np.std(values["groups"][of or key]["runs"][end], ddof=1)
        for key in SMALL
        for end in ("low", "high")
    }


def widened(values: Mapping[str, Any], name: str = "interval") -> dict[str, float]:
    """Widths of the intervals with the paper's noise, or other noise, over those without noise.

    Only for groups whose resampled lines nearly always rise: where some fall, doubling times pass
    through infinity, and the interval has no width.
    """
    found = {}
    for key, group in values["groups"].items():
        none, noisy = (group[of]["high"] - group[of]["low"] for of in ("no noise", name))
        if group["orders a year"][0] > 0 and none > 0:
            found[key] = noisy / none
    if REGULAR not in found:
        raise KeyError("an interval of the regular systems' doubling time")
    return found


CLAIMS = (
    declare.fact(
        "B1",
        "With 1,000 unseeded resamples, as in the paper, the last printed digit of the intervals "
        "for pre-deep-learning and large-scale systems changes from run to run.",
        spread,
        quantity="standard deviation of an interval's end over runs of 1,000 resamples [months]",
        region=(0.05, math.inf),
        reason="half a unit of the last printed digit",
        fails={
            "98 systems": (
                lambda values: spread(values, ALL),
                "the same end for all systems since 2010 is stable to the digit; a spread in "
                "another unit, or over runs of fewer resamples, would not be",
            )
        },
    ),
    declare.fact(
        "B2",
        "Noise of up to a factor of two on every compute estimate hardly widens the intervals.",
        widened,
        quantity="width of the interval, with noise / without",
        region=(0.9, 1.1),
        reason="a change of 10% would not affect the conclusions",
        fails={
            "wide noise": (
                lambda values: widened(values, "wide noise"),
                "noise of up to twice the scatter of the group's systems must widen its interval; "
                "noise that is not added would not",
            )
        },
    ),
)


# --- tables and figures --------------------------------------------------------------------------

SHOWN = (0.001, 0.99)  # quantiles between which a histogram is drawn; the upper tail is endless


def interval_text(low: float, middle: float, high: float) -> str:
    """An interval as the paper prints it, in months."""
    return f"[{low:.1f}; {middle:.1f}; {high:.1f}]"


def _intervals(
    groups: Mapping[str, Any], printed: Mapping[str, Printed], settings: BootstrapConfig
) -> Table:
    """Our interval with its Monte Carlo errors, the spread over runs, and the paper's interval."""
    cells = []
    for key, found in groups.items():
        ours, none, (low, high) = found["interval"], found["no noise"], found["runs"].values()
        orders = "; ".join(f"{value:.2f}" for value in found["orders a year"])
        row = {
            "group": key,
            "n": found["n"],
            "doubling time [months]": interval_text(ours.low, ours.middle, ours.high),
            "Monte Carlo error": f"{ours.low_error:.3f}; {ours.high_error:.3f}",
            "lower end, runs of 1,000": f"{min(low):.2f} to {max(low):.2f}",
            "upper end, runs of 1,000": f"{min(high):.2f} to {max(high):.2f}",
        }
        if paper := printed.get(key):
            row["paper"] = interval_text(paper.low, paper.middle, paper.high)
        row["without noise"] = interval_text(none.low, none.middle, none.high)
        cells.append({**row, "orders of magnitude a year": f"[{orders}]"})
    note = (
        f"Quantiles 2.5%, 50% and 97.5% of {settings.resamples:,} seeded resamples, with noise of "
        f"up to a factor of {settings.noise:g}; Monte Carlo standard errors of both ends; smallest "
        f"and largest ends over {settings.resamples // RUN} runs of 1,000 resamples, the size of "
        "the paper's unseeded run."
    )
    return charts.table("intervals", "Bootstrap intervals of doubling times", cells, note)


def _figures(
    groups: Mapping[str, Any], drawn: Mapping[str, np.ndarray], printed: Mapping[str, Printed]
) -> list[Figure]:
    """Distributions of the doubling times, and of the ends over runs for the smallest groups."""
    least = min(found["n"] for found in groups.values())
    times, ends = [], []
    for key, months in drawn.items():
        row, name, found = printed.get(key), key.partition(", ")[2], groups[key]
        marks = {"paper 2.5%": row.low, "paper 97.5%": row.high} if row else {}
        known = months[~np.isnan(months)]
        shown = charts.histogram("resamples", known, 60, tuple(np.quantile(known, SHOWN)))
        axes = ("doubling time (months)", "share of resamples")
        times.append(Panel(f"{name}, n = {found['n']}", *axes, [shown], marks=marks))
        if found["n"] > least:
            continue
        for end, text in {"low": "lower end", "high": "upper end"}.items():
            marks = {"paper": getattr(row, end)} if row else {}
            marks[f"{len(months):,} resamples"] = getattr(found["interval"], end)
            shown = charts.histogram("runs of 1,000 resamples", found["runs"][end], 12)
            axes = (f"{text} (months)", "share of runs")
            ends.append(Panel(f"{name}, {text}", *axes, [shown], marks=marks))
    return [
        Figure(
            "bootstrap",
            "Bootstrap distributions of the doubling times",
            "Doubling times of lines through resampled systems, up to their 99% quantile."
            + (" Vertical lines: the ends of the paper's 95% intervals." if printed else ""),
            times,
        ),
        Figure(
            "bootstrap-ends",
            "How much intervals from 1,000 resamples vary",
            "Ends of the 95% interval over runs of 1,000 resamples, the size of the paper's "
            "unseeded run, for the smallest groups. Vertical lines: "
            + ("the paper's end, and " if printed else "")
            + "the end from all resamples together.",
            ends,
        ),
    ]
