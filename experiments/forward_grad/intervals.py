"""Means with their intervals, as the tables of several studies print them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and the half-width of its 95% interval (Student's t)."""
    from scipy import stats

    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return float(np.mean(values)), float(half)
