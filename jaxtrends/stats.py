"""Intervals: every statistic that a claim may use, as a function of raw values and a confidence.

A statistic takes a mapping of named samples (lists of numbers, one per seed) and returns an
`Interval`. Paired statistics use the samples ``treatment`` and ``reference``, seed by seed; others
use ``values``. A non-finite value is a diverged lane. It counts as ``inf``, the worst loss, so that
ranks and medians can include it. A mean cannot, and a statistic does not change with the data: a
mean of values of which one diverged has an interval without ends. If lanes may diverge or miss a
target, choose a median before the run, or a target that all of them reach.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Samples = Mapping[str, Sequence[float]]

BOOTSTRAP_RESAMPLES = 9999
BOOTSTRAP_SEED = 20220217


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    ``scale`` is the scale on which the interval is symmetric: ``linear``, or ``log`` for ratios.
    ``method`` names the method, in words for a table's footnote.
    """

    estimate: float
    low: float
    high: float
    n: int
    method: str
    scale: Literal["linear", "log"] = "linear"

    def __format__(self, spec: str) -> str:
        """The estimate with its interval, each number by ``spec``: ``f"{found:.2f}"``."""
        return spelled(self.estimate, self.low, self.high, spec)


def spelled(estimate: float, low: float, high: float, spec: str) -> str:
    """An estimate and its interval as text, in a number format: ``2.50 [2.10, 2.90]``."""
    return "{} [{}, {}]".format(*(format(value, spec) for value in (estimate, low, high)))


def _sample(samples: Samples, name: str) -> np.ndarray:
    values = np.asarray([float(value) for value in samples[name]], dtype=np.float64)
    if values.size == 0:
        raise ValueError(f"the sample {name!r} has no values")
    return np.where(np.isfinite(values), values, np.inf)


def _pairs(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    treatment, reference = _sample(samples, "treatment"), _sample(samples, "reference")
    if treatment.shape != reference.shape:
        raise ValueError(f"unpaired samples: {treatment.size} and {reference.size} values")
    return treatment, reference


def _zeros_and_ones(*samples: np.ndarray) -> None:
    if not all(np.isin(values, (0.0, 1.0)).all() for values in samples):
        raise ValueError("a count needs values that are 0 or 1")


def _student(values: np.ndarray, confidence: float) -> tuple[float, float, float]:
    from scipy import special

    mean = float(values.mean())
    if values.size < 2:
        return mean, -math.inf, math.inf
    error = float(values.std(ddof=1)) / math.sqrt(values.size)
    half = float(special.stdtrit(values.size - 1, 0.5 + confidence / 2)) * error
    return mean, mean - half, mean + half


def exact(samples: Samples, confidence: float) -> Interval:
    """The value of a deterministic quantity: an interval of width zero."""
    (value,) = (float(value) for value in samples["values"])
    return Interval(value, value, value, 1, "exact")


def mean(samples: Samples, confidence: float) -> Interval:
    """Student's t interval of a mean; see `_without_mean` if a value is not finite.

    Values may be any quantity, not only losses: an infinite one keeps its sign, and nan, which is
    on no side, is not taken for the worst.
    """
    values = np.asarray([float(value) for value in samples["values"]], np.float64)
    if not values.size:
        raise ValueError("the sample 'values' has no values")
    if not np.isfinite(values).all():
        return _without_mean(values, "Student t")
    return Interval(*_student(values, confidence), values.size, "Student t")


def paired_difference(samples: Samples, confidence: float) -> Interval:
    """Student's t interval of the mean of treatment - reference, seed by seed.

    See `_without_mean` if a lane diverged.
    """
    treatment, reference = _pairs(samples)
    with np.errstate(invalid="ignore"):
        differences = treatment - reference
    if not np.isfinite(differences).all():
        return _without_mean(differences, "paired Student t")
    return Interval(*_student(differences, confidence), differences.size, "paired Student t")


def paired_ratio(samples: Samples, confidence: float) -> Interval:
    """Geometric mean of treatment / reference: Student's t on paired log-ratios.

    See `_without_mean` if a lane diverged.
    """
    treatment, reference = _pairs(samples)
    if (treatment <= 0).any() or (reference <= 0).any():
        raise ValueError("a ratio on the log scale needs values above zero")
    with np.errstate(invalid="ignore"):
        logs = np.log(treatment) - np.log(reference)
    method = "Student t on paired log-ratios"
    if np.isfinite(logs).all():
        found = Interval(*_student(logs, confidence), logs.size, method)
    else:
        found = _without_mean(logs, method)
    with np.errstate(over="ignore"):
        center, low, high = np.exp([found.estimate, found.low, found.high]).tolist()
    return Interval(center, low, high, found.n, found.method, "log")


def _without_mean(values: np.ndarray, method: str) -> Interval:
    """The interval of a mean of values of which some are not finite.

    Infinite if all are, on the same side; otherwise without ends, which decides nothing.
    """
    lost = int((~np.isfinite(values)).sum())
    with np.errstate(invalid="ignore"):
        center = float(values.mean())
    low, high = (center, center) if (values == center).all() else (-math.inf, math.inf)
    said = f"{method}, {lost} of {values.size} not finite"
    return Interval(center, low, high, values.size, said)


def median(samples: Samples, confidence: float) -> Interval:
    """The median: order statistics below 20 values, seeded BCa bootstrap from 20 on.

    The order-statistic interval uses the innermost pair of ranks that covers at least
    ``confidence`` by the binomial distribution (2nd to 9th of 10 values cover 97.9%); with too few
    values it is unbounded.
    """
    return median_of(_sample(samples, "values"), confidence)


def median_of(values: np.ndarray, confidence: float) -> Interval:
    """`median` of an array whose values may be infinite, on either side."""
    from scipy import stats as scipy_stats

    values = np.sort(values)
    n = values.size
    lower, upper = float(values[(n - 1) // 2]), float(values[n // 2])
    center = (lower + upper) / 2 if math.isfinite(upper) else upper
    if n >= 20 and np.isfinite(values).all():
        if values[0] == values[-1]:
            return Interval(center, center, center, n, "all values equal")
        # If leaving out any one value does not move the median, BCa gives nan (with warnings), and
        # the order statistics below are used.
        with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy_stats.DegenerateDataWarning)
            result = scipy_stats.bootstrap(
                (values,),
                np.median,
                confidence_level=confidence,
                n_resamples=BOOTSTRAP_RESAMPLES,
                method="BCa",
                rng=np.random.default_rng(BOOTSTRAP_SEED),
            ).confidence_interval
        if math.isfinite(result.low) and math.isfinite(result.high):
            return Interval(center, float(result.low), float(result.high), n, "median, BCa")
    tail = (1 - confidence) / 2
    rank = int(scipy_stats.binom.ppf(tail, n, 0.5))
    while rank > 0 and scipy_stats.binom.cdf(rank - 1, n, 0.5) > tail:
        rank -= 1
    method = "median, order statistics"
    if rank < 1:
        return Interval(center, -math.inf, math.inf, n, method)
    return Interval(center, float(values[rank - 1]), float(values[n - rank]), n, method)


def median_ratio(samples: Samples, confidence: float) -> Interval:
    """The median of treatment / reference, seed by seed; two diverged lanes give a ratio of one."""
    treatment, reference = _pairs(samples)
    both = np.isinf(treatment) & np.isinf(reference)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.where(both, 1.0, treatment / reference)
    return median({"values": ratios}, confidence)


def proportion(samples: Samples, confidence: float) -> Interval:
    """Wilson's score interval of a share; ``values`` are zeros and ones.

    Newcombe (1998), method 3, as in scipy's ``binomtest``, which also computes a test: that made
    p-values, found by bisection over confidences, ten times as slow.
    """
    from scipy import special

    values = _sample(samples, "values")
    _zeros_and_ones(values)
    count, n = int(values.sum()), values.size
    share, z = count / n, float(special.ndtri(0.5 + 0.5 * confidence))
    whole = 2 * (n + z**2)
    centre = (2 * n * share + z**2) / whole
    half = z / whole * math.sqrt(4 * n * share * (1 - share) + z**2)
    low = 0.0 if count == 0 else centre - half
    high = 1.0 if count == n else centre + half
    return Interval(share, low, high, n, "Wilson")


def discordant_share(samples: Samples, confidence: float) -> Interval:
    """McNemar's comparison of paired zeros and ones.

    Among seeds on which the two differ, the share on which the treatment is one, with the exact
    (Clopper-Pearson) interval; one half is no difference. Unbounded if none differ.
    """
    from scipy import stats as scipy_stats

    treatment, reference = _pairs(samples)
    _zeros_and_ones(treatment, reference)
    differ = treatment != reference
    n = int(differ.sum())
    if n == 0:
        return Interval(0.5, 0.0, 1.0, 0, "McNemar, no discordant pair")
    count = int(treatment[differ].sum())
    ends = scipy_stats.binomtest(count, n).proportion_ci(confidence, method="exact")
    return Interval(count / n, float(ends.low), float(ends.high), n, "McNemar, exact")


def odds_ratio(samples: Samples, confidence: float) -> Interval:
    """Conditional odds ratio of unpaired zeros and ones, with Fisher's exact interval."""
    from scipy.stats.contingency import odds_ratio as scipy_odds_ratio

    treatment, reference = _sample(samples, "treatment"), _sample(samples, "reference")
    _zeros_and_ones(treatment, reference)
    table = [[int(arm.sum()), int(arm.size - arm.sum())] for arm in (treatment, reference)]
    result = scipy_odds_ratio(table)
    ends = result.confidence_interval(confidence)
    n = treatment.size + reference.size
    return Interval(float(result.statistic), float(ends.low), float(ends.high), n, "Fisher", "log")


def resampled(samples: Samples, confidence: float) -> Interval:
    """The quantiles of bootstrap resamples of a quantity, with their median as the estimate.

    Efron's percentile interval; ``values`` are the quantity in each resample.
    """
    values = _sample(samples, "values")
    tail = (1 - confidence) / 2
    with np.errstate(invalid="ignore"):  # between an infinite value and the next
        low, center, high = np.quantile(values, (tail, 0.5, 1 - tail)).tolist()
    return Interval(center, low, high, values.size, "bootstrap percentiles")


STATISTICS: dict[str, Callable[[Samples, float], Interval]] = {
    "exact": exact,
    "mean": mean,
    "paired difference": paired_difference,
    "paired ratio": paired_ratio,
    "median": median,
    "median ratio": median_ratio,
    "proportion": proportion,
    "discordant share": discordant_share,
    "odds ratio": odds_ratio,
    "resampled": resampled,
}


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of a family of p-values (Holm 1979), in the order given."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return [float(value) for value in adjusted]


def minimum_detectable_effect(interval: Interval, confidence: float) -> float:
    """The smallest effect that a study of this precision detects with 80% power.

    (z_{1-a/2} + z_{0.8}) / z_{1-a/2} times the interval's half-width, in the interval's own units;
    on the log scale it is a factor. Infinite for an interval without an end.
    """
    from scipy import special

    reach = float(special.ndtri(0.5 + confidence / 2))
    factor = (reach + float(special.ndtri(0.8))) / reach
    if interval.scale == "log":
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            width = float(np.log(interval.high) - np.log(interval.low))
            effect = float(np.exp(factor * width / 2))
    else:
        effect = factor * (interval.high - interval.low) / 2
    return math.inf if math.isnan(effect) else effect
