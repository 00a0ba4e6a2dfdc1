"""What several studies draw alike: bands of seeds, means with their intervals, medians."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxtrends import stats
from jaxtrends.claims import CONFIDENCE
from jaxtrends.study import Series, thin

MOST_POINTS = 100  # of a curve


def band(label: str, x: np.ndarray, lanes: np.ndarray) -> Series:
    """Median of the lanes and the band of their middle four fifths: (lanes, points).

    The line ends where more than a tenth of the lanes are not finite.
    """
    ranked = np.where(np.isfinite(lanes), lanes, np.inf).astype(np.float64)
    middle = np.median(ranked, axis=0)
    low, high = np.quantile(ranked, [0.1, 0.9], axis=0, method="nearest")
    keep = thin(x.size, MOST_POINTS)
    keep = keep[np.isfinite(high[keep])]
    return Series(label, x[keep], middle[keep], low[keep], high[keep])


def interval_band(label: str, x: np.ndarray, lanes: np.ndarray) -> Series:
    """Mean of the lanes and its 95 % interval (Student's t), where all are finite."""
    keep = thin(x.size, MOST_POINTS)
    keep = keep[np.isfinite(lanes[:, keep]).all(axis=0)]
    found = [stats.mean({"values": lanes[:, point]}, CONFIDENCE) for point in keep]
    return Series(
        label,
        x[keep],
        [interval.estimate for interval in found],
        [interval.low for interval in found],
        [interval.high for interval in found],
    )


def points(label: str, x: Sequence[float], samples: Sequence[Sequence[float]]) -> Series:
    """Medians over seeds with their range, where all are finite."""
    kept = [(at, s) for at, s in zip(x, samples, strict=True) if np.isfinite(s).all()]
    return Series(
        label,
        [at for at, _ in kept],
        [float(np.median(s)) for _, s in kept],
        [float(np.min(s)) for _, s in kept],
        [float(np.max(s)) for _, s in kept],
        style="points",
    )


def median(samples: Sequence[float]) -> float:
    """The median, in which a value that is not finite ranks highest."""
    values = np.asarray(samples, np.float64)
    ranked = np.sort(np.where(np.isfinite(values), values, np.inf))
    middle = ranked[ranked.size // 2]
    return float(middle) if ranked.size % 2 else float((ranked[ranked.size // 2 - 1] + middle) / 2)


def ratio(treatment: Sequence[float], reference: Sequence[float]) -> stats.Interval:
    """Geometric mean of the paired ratios, with its interval."""
    samples = {"treatment": list(treatment), "reference": list(reference)}
    return stats.paired_ratio(samples, CONFIDENCE)


def spelled(interval: stats.Interval) -> str:
    """An interval for a table's cell."""
    return f"{interval.estimate:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def about(task: Mapping[str, Any]) -> str:
    """How many seeds a band is of."""
    return f"{len(task['seeds'])} seeds: median and the middle four fifths."
