"""The paper's labels: which systems are outliers, large-scale, and of which era.

The rules are those of the paper's notebook; where the paper's text says otherwise, the option says
so. They hold in this order: dates are filtered, z-scores taken among what is left, labels given,
and lines fitted; another order gives other numbers of systems.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from experiments.compute_trends.fits import FLAT
from experiments.compute_trends.systems import DAYS_PER_YEAR, Date, Systems, day
from jaxtrends.errors import Problem
from jaxtrends.settings import PositiveFloat


@dataclass(frozen=True)
class Rules:
    """How systems are labelled and slopes turned into doubling times."""

    start: Date = "1950-01-01"
    """Systems up to this date are left out."""
    end: Date = "2022-02-20"
    """Systems from this date on are left out. Move it for a newer table: what it leaves out is
    counted and said."""
    window: PositiveFloat = 364.0
    """A system's z-score is taken among those within so many days on either side of it. The paper's
    text says 1.5 years (Appendix A) and 2 years (Table 5), a comment in its code 3 years; only one
    year gives both its 5 low outliers and its 19 large-scale systems."""
    deviation: Literal["population", "sample"] = "population"
    """Standard deviation in the z-scores: divided by n as in the paper's code (scipy's zscore), or
    by n - 1."""
    z_scores: Literal["after filter", "before filter"] = "after filter"
    """The code filters dates before it takes z-scores, so that they depend on --rules.start and
    --rules.end: a system near an end loses the neighbours beyond it."""
    z_low: float = -2.0
    """Systems with a lower z-score are low outliers, left out of every fit but Table 6's. The paper
    marked outliers by eye first, and chose the thresholds to match (Appendix A)."""
    z_high: float = 0.76
    """Systems with a higher z-score are large-scale, if they are of --rules.large-from or later."""
    large_from: Date = "2015-09-01"
    """Large-scale systems are those after this date. Some rows of the paper need the rule at any
    date: its 77 regular systems of 2010-2022 (Table 3) leave out KN5 LM, AlexNet and VGG16 too,
    which this date would keep (80 systems), and Table 8's windows begin before it."""
    dl_from: Date = "2009-12-31"
    """The deep-learning era begins after this date. The paper's alternative is 2012-09-30."""
    days_per_month: PositiveFloat = 30.0
    """Days in a month of doubling time. The paper's code has 30; with 30.44, the mean of the
    calendar, 21.3 months become 21.0 and 10.7 become 10.5."""
    without: tuple[str, ...] = ("LaMDA",)
    """Systems that Table 3's rows of all deep-learning systems leave out, after labelling: the
    paper has 98 and 91 systems there, and all but LaMDA make 98 and 91. (Its code drops groups of
    one or two rows, and LaMDA seems to have been one.) Table 4 holds all 99."""

    def check(self, flag: str) -> None:
        """Refuse dates or z-scores that leave nothing between them."""
        if day(self.start) >= day(self.end):
            raise Problem(f"--{flag}.start {self.start} must lie before --{flag}.end {self.end}.")
        if not self.z_low < self.z_high:
            raise Problem(
                f"--{flag}.z-low {self.z_low} must be below --{flag}.z-high {self.z_high}."
            )

    def thresholds(self) -> Thresholds:
        """The same as numbers, as `label` takes them."""
        return Thresholds(
            *(day(self.start), day(self.end), self.window),
            sample=float(self.deviation == "sample"),
            z_first=self.z_scores == "before filter",
            z_low=self.z_low,
            z_high=self.z_high,
            large_from=day(self.large_from),
            dl_from=day(self.dl_from),
        )

    def months(self, per_day: Any) -> Any:
        """Months to a doubling, from slopes in log10 FLOP per day; negative where it falls."""
        with np.errstate(divide="ignore"):
            return math.log10(2) / per_day / self.days_per_month

    def months_of_yearly(self, per_year: Any) -> Any:
        """The same from slopes per calendar year."""
        return self.months(np.asarray(per_year) / DAYS_PER_YEAR)


class Thresholds(NamedTuple):
    """`Rules` as numbers: dates in days since 1970, the window in days.

    ``sample`` is 1.0 or 0.0, ``z_first`` True or False: whether z-scores are taken before the
    filter. Any of them may be traced, by `jax.vmap` for instance.
    """

    start: Any
    end: Any
    window: Any
    sample: Any
    z_first: Any
    z_low: Any
    z_high: Any
    large_from: Any
    dl_from: Any


class Labels(NamedTuple):
    """What the rules make of each system: (n,) float64 z-scores and (n,) truth values.

    inside:      within the dates.
    z:           z-score of log10 FLOP among the systems near in time; 0 where it has none.
    low:         a low outlier; high: above the upper threshold, at any date.
    kept:        inside and no low outlier: what is fitted. All that follow are kept.
    pre:         before the deep-learning era; deep: in it.
    large:       large-scale: high, and late enough.
    regular:     deep and not large; regular_any: deep and not high at any date.
    """

    inside: Any
    z: Any
    low: Any
    high: Any
    kept: Any
    pre: Any
    deep: Any
    large: Any
    regular: Any
    regular_any: Any


def z_scores(dates: Any, values: Any, among: Any, window: Any, sample: Any) -> Any:
    """Each value's z-score among those of its window, itself included.

    Args:
        dates:  (n,) float64, days, in order.
        values: (…, n) float64.
        among:  (n,) truth values: which systems count as neighbours.
        window: reach to each side, in days; both ends belong to it.
        sample: 1.0 where the deviation is divided by n - 1, 0.0 where by n.

    Returns:
        (…, n) float64; 0 where a system is alone in its window or all of it are equal.

    All arrays are NumPy's, or all are JAX's; JAX's may be traced, 64-bit types being enabled.
    """
    # Running sums: no product of matrices, whose threads stand in each other's way on a busy CPU.
    xp = values.__array_namespace__()
    first = xp.searchsorted(dates, dates - window, side="left")
    last = xp.searchsorted(dates, dates + window, side="right")

    def near(terms: Any) -> Any:
        running = xp.cumsum(xp.where(among, terms, 0.0), axis=-1)
        running = xp.concatenate([xp.zeros_like(running[..., :1]), running], axis=-1)
        return running[..., last] - running[..., first]

    values = values - values.mean()  # else the squares would lose digits
    count = near(xp.ones_like(dates))
    mean = near(values) / xp.maximum(count, 1)
    squares = near(values**2) - count * mean**2
    deviation = xp.sqrt(xp.maximum(squares, 0.0) / xp.maximum(count - sample, 1))
    flat = deviation < FLAT
    return xp.where(flat, 0.0, (values - mean) / xp.where(flat, 1.0, deviation))


def label(dates: Any, log_compute: Any, thresholds: Thresholds) -> Labels:
    """Apply the rules to dates (n,), days since 1970 in order, and log10 FLOP (…, n), float64.

    Arrays as for `z_scores`; the thresholds may be traced too.
    """
    inside = (dates > thresholds.start) & (dates < thresholds.end)
    z = z_scores(
        dates, log_compute, inside | thresholds.z_first, thresholds.window, thresholds.sample
    )
    low = inside & (z < thresholds.z_low)
    high = inside & (z > thresholds.z_high)
    kept = inside & ~low
    pre = kept & (dates <= thresholds.dl_from)
    deep = kept & (dates > thresholds.dl_from)
    large = high & (dates > thresholds.large_from)
    return Labels(inside, z, low, high, kept, pre, deep, large, deep & ~large, deep & ~high)


def labels_of(systems: Systems, rules: Rules, **changed: object) -> Labels:
    """The labels of systems by the rules, some thresholds changed."""
    thresholds = rules.thresholds()._replace(**changed)
    return label(systems.dates, systems.log_compute, thresholds)
