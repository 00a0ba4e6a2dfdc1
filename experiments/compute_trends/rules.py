"""The paper's labels: which systems are outliers, which are large-scale, and the era of each.

The rules are those of the paper's notebook; where the paper's text differs, the option says so.
The order matters: filter dates, compute z-scores among what is left, assign labels, fit lines.
Another order gives other numbers of systems.
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
    """How systems are labelled, and slopes turned into doubling times."""

    start: Date = "1950-01-01"
    """Systems up to this date are left out."""
    end: Date = "2022-02-20"
    """Systems from this date on are left out; change it for a newer table. The run reports how many
    are left out."""
    window: PositiveFloat = 364.0
    """Days to either side within which systems count as neighbours for a z-score. The paper's text
    says 1.5 years (Appendix A) and 2 years (Table 5), a comment in its code 3 years; only one year
    gives both its 5 low outliers and its 19 large-scale systems."""
    deviation: Literal["population", "sample"] = "population"
    """Standard deviation in the z-scores: divided by n (population, as in the paper's code) or by
    n - 1 (sample)."""
    z_scores: Literal["after filter", "before filter"] = "after filter"
    """Whether z-scores are computed after the dates are filtered, as in the paper's code, or
    before. After filtering, systems near --rules.start or --rules.end lose the neighbours beyond
    it."""
    z_low: float = -2.0
    """Systems with a lower z-score are low outliers, left out of every fit except Table 6's. The
    paper marked outliers by eye first, and chose thresholds to match (Appendix A)."""
    z_high: float = 0.76
    """Systems with a higher z-score are large-scale, if they are after --rules.large-from."""
    large_from: Date = "2015-09-01"
    """Large-scale systems are those after this date. Some rows of the paper apply the rule at any
    date: its 77 regular systems of 2010-2022 (Table 3) also exclude KN5 LM, AlexNet and VGG16,
    which this date would keep (80 systems), and Table 8's windows start before it."""
    dl_from: Date = "2009-12-31"
    """The deep-learning era starts after this date. The paper's alternative is 2012-09-30."""
    days_per_month: PositiveFloat = 30.0
    """Days in a month of doubling time. The paper's code has 30; with 30.44, the calendar mean,
    21.3 months become 21.0 and 10.7 become 10.5."""
    without: tuple[str, ...] = ("LaMDA",)
    """Systems to exclude from Table 3's rows of all deep-learning systems, after labelling. The
    paper has 98 and 91 systems there, which is all but LaMDA. (Its code drops groups of one or two
    rows, and LaMDA seems to have been one.) Table 4 has all 99."""

    def check(self, flag: str) -> None:
        """Refuse dates or z-scores in the wrong order.

        Raises:
            Problem: names the flags.
        """
        if day(self.start) >= day(self.end):
            raise Problem(f"--{flag}.start {self.start} must be before --{flag}.end {self.end}.")
        if not self.z_low < self.z_high:
            raise Problem(
                f"--{flag}.z-low {self.z_low} must be below --{flag}.z-high {self.z_high}."
            )

    def thresholds(self) -> Thresholds:
        """The rules as numbers, for `label`."""
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
        """Doubling times in months, from slopes in log10 FLOP per day; negative if falling."""
        with np.errstate(divide="ignore"):
            return math.log10(2) / per_day / self.days_per_month

    def months_of_yearly(self, per_year: Any) -> Any:
        """Doubling times in months, from slopes per calendar year."""
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
    """The labels of each system: (n,) float64 z-scores and (n,) bool.

    inside:      within the dates.
    z:           z-score of log10 FLOP among systems close in time; 0 if there is none.
    low:         a low outlier; high: above the upper threshold, at any date.
    kept:        inside and not a low outlier; these are fitted, and so are all that follow.
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
    """Each value's z-score among those in its window, itself included.

    Args:
        dates:  (n,) float64, days, in order.
        values: (…, n) float64.
        among:  (n,) bool: which systems count as neighbours.
        window: days to each side; both ends are included.
        sample: 1.0 to divide by n - 1, 0.0 to divide by n.

    Returns:
        (…, n) float64; 0 where a system is alone in its window or all values in it are equal.

    Arrays are all NumPy or all JAX; JAX arrays may be traced, with 64-bit types enabled.
    """
    # Running sums instead of matrix products, whose threads compete on a busy CPU.
    xp = values.__array_namespace__()
    first = xp.searchsorted(dates, dates - window, side="left")
    last = xp.searchsorted(dates, dates + window, side="right")

    def near(terms: Any) -> Any:
        running = xp.cumsum(xp.where(among, terms, 0.0), axis=-1)
        running = xp.concatenate([xp.zeros_like(running[..., :1]), running], axis=-1)
        return running[..., last] - running[..., first]

    values = values - values.mean()  # or the squares would lose digits
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
    """The labels of systems by the rules, with some thresholds changed."""
    thresholds = rules.thresholds()._replace(**changed)
    return label(systems.dates, systems.log_compute, thresholds)
