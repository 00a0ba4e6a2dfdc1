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
import zlib
from collections.abc import Mapping, Sequence
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
GROUPS = (FIRST, ALL, REGULAR, LARGE)  # that the study is of
LEAST_ROWS = 3
DAYS_PER_YEAR = 365.0  # in the paper's code
LEAST_SPREAD = 0.1  # of dates, in days squared: less is rounding, the dates being whole days
ROOM = 128  # tables of up to so many systems, or of twice as many, share compiled programs


@dataclass(frozen=True)
class BootstrapConfig:
    """Resampling of rows, in the tables too."""

    resamples: Annotated[int, Gt(0), MultipleOf(RUN)] = 100_000
    """Resamples of each group, in whole runs of the paper's 1,000."""
    noise: Annotated[float, Ge(1)] = 2.0
    """Each drawn system's compute is multiplied by log-uniform noise between 1 / so much and so
    much, as in the paper's code; 1 draws no noise. It hardly widens the intervals."""


def generator(seed: jax.Array, group: jax.Array) -> jax.Array:
    """The state of a stream of random words, (4,) uint32, from two uint32 numbers."""
    return jax.random.bits(jax.random.fold_in(jax.random.key(seed), group), (4,), jnp.uint32)


def draw(state: jax.Array, rows: jax.Array, count: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The stream's next state; a row (count,) int32 of each resample, noise (count,) in [-1, 1).

    A random word times the number of rows has the row in its upper half, and in its lower half what
    is left of the word's randomness: another uniform number (to 2^-32 times the rows).
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
    stream = np.array([seed, zlib.crc32(group.encode())], np.uint32)
    noise = np.float64(math.log10(config.noise))
    with jax.enable_x64(True):
        found = resampled_slopes(stream, *padded, np.int32(rows), noise, config.resamples)
        return np.asarray(found)


def slopes_of(systems: Systems, row: Row, config: BootstrapConfig, seed: int) -> np.ndarray:
    """Resampled slopes of a row, see `slopes`; a row has the same draws in every study."""
    dates, log_compute = systems.dates[row.systems], systems.log_compute[row.systems]
    room = -(-len(systems.names) // ROOM) * ROOM
    return slopes(seed, row.key, dates, log_compute, config, room=room)


# --- intervals -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """Quantiles 2.5%, 50% and 97.5%, and the Monte Carlo standard errors of the ends.

    ``skipped`` counts the resamples that gave no line.
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

    If the end is a quantile of 1,000 resamples from the law of ``values`` (nan is skipped), the
    share of that law below it is ``tail`` with the standard error sqrt(tail (1 - tail) / 1000).
    Returned is the share less ``tail`` in such errors; 0 where the last printed ``digit`` allows
    that.
    """
    known = values[~np.isnan(values)]
    least, most = (float((known <= end + side * digit / 2).mean()) for side in (-1, 1))
    nearest = min(max(tail, least), most)
    return (nearest - tail) / math.sqrt(tail * (1 - tail) / RUN)


# --- the study -----------------------------------------------------------------------------------


def wide_noise(systems: Systems, chosen: Sequence[Row]) -> float:
    """A factor of noise that must be seen in the interval of the regular systems.

    Noise up to 10^h adds h^2 / 3 to the square of the scatter about the line: a factor of ten
    widens an interval by an eighth where systems scatter by 1.1 orders of magnitude, and not to be
    seen where they scatter by more. There the noise goes up to twice their scatter.
    """
    for row in chosen:
        if row.key == REGULAR:
            line = fits.line(systems.dates[row.systems], systems.log_compute[row.systems])
            return 10.0 if line.residual_sd < 1.1 else 10.0 ** (2 * line.residual_sd)
    return 10.0


def run(config: Any, run: Run) -> StudyResult:
    """Resample the four main groups, with the paper's noise, without any and with more."""
    systems: Systems = run.dataset(DATASET)
    settings: BootstrapConfig = config.bootstrap
    chosen = [
        row
        for row in rows(systems, config.rules)
        if row.key in GROUPS and row.systems.sum() >= LEAST_ROWS
    ]
    factors = {"no noise": 1.0, "wide noise": wide_noise(systems, chosen)}
    groups: dict[str, Any] = {}
    drawn: dict[str, np.ndarray] = {}
    for row in run.each("groups", chosen):
        per_day = slopes_of(systems, row, settings, config.seed)
        if np.isnan(per_day.reshape(-1, RUN)).all(1).any():
            continue  # hardly a resample has three systems and two dates
        drawn[row.key] = months = config.rules.months(per_day)
        low, high = runs(months).T
        groups[row.key] = {
            "n": int(row.systems.sum()),
            "interval": interval(months),
            "orders a year": np.nanquantile(DAYS_PER_YEAR * per_day, TAILS),
            "runs": {"low": low, "high": high},
        }
        for name, factor in factors.items():
            moved = slopes_of(systems, row, replace(settings, noise=factor), config.seed)
            groups[row.key][name] = interval(config.rules.months(moved))
    printed = {row.key: row.printed for row in chosen} if systems.of_the_paper else {}
    return StudyResult(
        values={
            "resamples": settings.resamples,
            "groups": groups,
            "wide noise": factors["wide noise"],
        },
        tables=[_intervals(groups, printed, settings)] if groups else [],
        figures=_figures(groups, drawn, printed) if groups else [],
    )


# --- claims: neither is the paper's --------------------------------------------------------------

SMALL = (FIRST, LARGE)  # 19 of the paper's systems each
ENOUGH = 100_000  # resamples for the control


def spread(values: Mapping[str, Any]) -> dict[str, float]:
    """Standard deviation of an interval's end over runs of 1,000 resamples, in months."""
    parts = {
        f"{key}, {end} end": np.std(values["groups"][key]["runs"][end], ddof=1)
        for key in SMALL
        for end in ("low", "high")
    }
    if values["resamples"] < ENOUGH:
        raise KeyError(f"{ENOUGH:,} resamples, which settle the ends")
    return parts


def widened(values: Mapping[str, Any], name: str = "interval") -> dict[str, float]:
    """Widths of the intervals with the paper's noise, or with other noise, over those without.

    Of the groups whose resampled lines all but always rise: where they also fall, a doubling time
    passes through infinity, and its interval has no width.
    """
    found = {}
    for key, group in values["groups"].items():
        none, noisy = (group[of]["high"] - group[of]["low"] for of in ("no noise", name))
        if group["orders a year"][0] > 0 and none > 0:
            found[key] = noisy / none
    if REGULAR not in found:
        raise KeyError("interval of the regular systems' doubling time")
    return found


CLAIMS = (
    declare.fact(
        "B1",
        "One run of 1,000 resamples without a seed, as in the paper, leaves the printed digit of "
        "the intervals of its two smallest groups open: the systems before deep learning, and the "
        "large-scale ones.",
        spread,
        quantity="standard deviation of an interval's end over runs of 1,000 resamples [months]",
        region=(0.05, math.inf),
        reason="half of the last printed digit",
        fails={
            "all resamples": (
                lambda values: values["groups"][SMALL[0]]["interval"]["low_error"],
                "the Monte Carlo error of the steadiest of these ends over all resamples",
            )
        },
    ),
    declare.fact(
        "B2",
        "Noise up to a factor of two on every estimate of compute hardly widens the intervals.",
        widened,
        quantity="width of the interval with the noise, over that without",
        region=(0.9, 1.1),
        reason="a tenth of a width would not show in the conclusions",
        fails={
            "wide noise": (
                lambda values: widened(values, "wide noise")[REGULAR],
                "noise up to a factor of ten, or to twice the systems' scatter, must widen the "
                "interval of the regular ones",
            )
        },
    ),
)


# --- tables and figures --------------------------------------------------------------------------

SHOWN = (0.001, 0.99)  # quantiles between which a histogram is drawn: the upper tail has no end


def interval_text(low: float, middle: float, high: float) -> str:
    """An interval as the paper prints it, in months."""
    return f"[{low:.1f}; {middle:.1f}; {high:.1f}]"


def _intervals(
    groups: Mapping[str, Any], printed: Mapping[str, Printed], settings: BootstrapConfig
) -> Table:
    """Our interval and its Monte Carlo errors, the spread of the paper's runs, its printed one."""
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
        f"Quantiles 2.5%, 50% and 97.5% of {settings.resamples:,} seeded resamples, with noise up "
        f"to a factor of {settings.noise:g}; standard errors of both ends for so many resamples; "
        f"least and largest ends in {settings.resamples // RUN} runs of 1,000, as the paper's "
        "unseeded one is."
    )
    return charts.table("intervals", "Bootstrap intervals of doubling times", cells, note)


def _figures(
    groups: Mapping[str, Any], drawn: Mapping[str, np.ndarray], printed: Mapping[str, Printed]
) -> list[Figure]:
    """Distributions of the doubling times; of the ends of runs of 1,000 in the smallest groups."""
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
            "Doubling times of lines through resampled systems, up to their 99% quantile"
            + ("; the rules are the ends of the paper's 95% intervals." if printed else "."),
            times,
        ),
        Figure(
            "bootstrap-ends",
            "How far 1,000 resamples leave an interval open",
            "Ends of the 95% interval in runs of 1,000 resamples, as the paper's unseeded one is, "
            "for the smallest groups; a rule is "
            + ("the paper's end, another " if printed else "")
            + "that of all resamples together.",
            ends,
        ),
    ]
