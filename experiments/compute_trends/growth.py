"""Does growth hold as later systems are added? A ladder for the doubling time (claim G1).

The line of the deep-learning era is fitted to its systems up to one date after another. If the era
has one trend, more systems make the slope more precise and do not change it. The statistic is the
change of the slope from one date to the next, per year, in units of the slope of the whole era,
with a bootstrap interval over systems: the same resample is used for all dates.

How this could be rigged: by early dates with few systems, whose slopes vary so much that no change
could be seen. A line has at least as many systems as the paper's smallest era, 19, and the interval
must be narrow to count as no change. The era before has no more than 19, so it has no ladder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.compute_trends import fits
from experiments.compute_trends.fits import TAILS
from experiments.compute_trends.rules import Rules, labels_of
from experiments.compute_trends.systems import DATASET, Dates, Systems, day, year
from jaxtrends import charts, declare
from jaxtrends.settings import PositiveInt
from jaxtrends.study import Figure, Panel, Run, Series, StudyResult, Table

STREAM = 6  # of random numbers, after the seed
FEWEST = 19  # systems for a line
MARGIN = 0.1  # of the growth, per year


@dataclass(frozen=True)
class GrowthConfig:
    """Whether growth holds as later systems are added."""

    ends: Dates = ("2016-01-01", "2018-01-01", "2020-01-01", "2022-02-01")
    """Dates up to which systems are used; left out where there are fewer than 19."""
    resamples: PositiveInt = 2000
    """Bootstrap resamples of the systems."""


def climb(
    generator: np.random.Generator, x: np.ndarray, y: np.ndarray, ends: np.ndarray, resamples: int
) -> dict[str, Any]:
    """Slopes up to each date, and how they change.

    Args:
        x:    (n,) years; y (n,) log10 FLOP.
        ends: (k,) dates in years, rising; k is at least 3.

    Returns:
        ``growth``: orders of magnitude a year, (k,), with ``low`` and ``high`` ends of the 95%
        interval; ``change`` of the growth per year, over that of all systems, in each resample.
    """
    n = len(x)
    counts = generator.multinomial(n, np.full(n, 1 / n), resamples).astype(np.float64)
    weights = np.concatenate([np.ones((1, n)), counts])
    shape = weights.shape
    grown = np.stack(
        [
            fits.line(
                np.broadcast_to(x, shape), np.broadcast_to(y, shape), weights * (x < end)
            ).slope
            for end in ends
        ]
    )
    low, _, high = np.nanquantile(grown[:, 1:], TAILS, axis=1)
    centred = ends - ends.mean()
    changes = (centred[:, None] * grown).sum(0) / (centred**2).sum() / grown[-1, 0]
    return {
        "growth": grown[:, 0].tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
        "change": changes[1:].tolist(),
    }


def bent(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The systems with a growth that halves over the era: the control."""
    slope, intercept = np.polyfit(x, y, 1)
    elapsed = x - x[0]
    slowing = slope * (elapsed - elapsed**2 / (4 * max(elapsed[-1], 1.0)))
    return y - (intercept + slope * x) + slowing


def run(config: Any, run: Run) -> StudyResult:
    """Climb the era as it is, and with a growth that halves."""
    settings: GrowthConfig = config.growth
    rules: Rules = config.rules
    systems: Systems = run.dataset(DATASET)
    chosen = labels_of(systems, rules).deep
    x, y = year(systems.dates[chosen]), systems.log_compute[chosen]
    ends = {end: float(year(day(end))) for end in settings.ends}
    counts = {end: int((x < date).sum()) for end, date in ends.items()}
    kept = [end for end, count in counts.items() if count >= FEWEST]
    if len(kept) < 3:
        return StudyResult({"systems": counts})
    generator = np.random.default_rng((config.seed, STREAM))
    dates = np.array([ends[end] for end in kept])
    found = climb(generator, x, y, dates, settings.resamples)
    values = {
        "systems": counts,
        "ends": kept,
        "years": dates.tolist(),
        "months": rules.months_of_yearly(found["growth"]).tolist(),
        **found,
        "bent": climb(generator, x, bent(x, y), dates, settings.resamples)["change"],
    }
    return StudyResult(values=values, tables=[_table(values)], figures=[_figure(values)])


CLAIMS = (
    declare.fact(
        "G1",
        "From 2010 to 2022, growth holds: it changes by less than a tenth a year as later systems "
        "are added.",
        lambda values: values["change"],
        quantity="change of the growth per year, over the growth, in bootstrap resamples",
        statistic="resampled",
        region=(-MARGIN, MARGIN),
        reason="at a tenth a year, the doubling time would change by more than the paper's last "
        "printed digit from one year to the next",
        fails={
            "growth that halves": (
                lambda values: values["bent"],
                "the same systems around a growth that halves over the era; slopes of the whole "
                "era in place of those up to each date would hide it",
            )
        },
    ),
)


# --- table and figure ----------------------------------------------------------------------------


def _table(values: Mapping[str, Any]) -> Table:
    """Doubling time and growth up to each date."""
    rows = [
        {
            "systems before": end,
            "systems": values["systems"][end],
            "doubling time [months]": values["months"][place],
            "growth [order of magnitude a year]": values["growth"][place],
            "2.5%": values["low"][place],
            "97.5%": values["high"][place],
        }
        for place, end in enumerate(values["ends"])
    ]
    low, middle, high = np.quantile(values["change"], TAILS)
    return charts.table(
        "growth",
        "Growth since deep learning as later systems are added",
        rows,
        "With 95% bootstrap intervals. The growth changes by "
        f"{middle:+.1%} a year [{low:+.1%}, {high:+.1%}].",
    )


def _figure(values: Mapping[str, Any]) -> Figure:
    """Growth against the last date."""
    bars = (np.array(values[name]) for name in ("growth", "low", "high"))
    axes = ("systems before [year]", "growth [order of magnitude a year]")
    points = Series("since deep learning", np.array(values["years"]), *bars, style="points")
    return Figure(
        "growth",
        "Does growth hold as later systems are added?",
        "Slope of a line through the systems since deep learning, up to a date, with its 95% "
        "bootstrap interval.",
        [Panel("", *axes, [points])],
    )
