"""Straight lines through log10 FLOP, and what is read off them.

Every function takes NumPy arrays (float64), or JAX arrays with 64-bit types enabled; JAX's may be
traced, by `jax.vmap` for instance. A fit of few rows is quicker in NumPy than its compilation.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

DAYS_PER_YEAR = 365.0  # in the paper's code
FLAT = 1e-6  # a deviation below this, in orders of magnitude, is rounding
TAILS = (0.025, 0.5, 0.975)  # quantiles: a 95% interval and its middle


class Line(NamedTuple):
    """A least-squares line: y = intercept + slope * x, x in days since 1970.

    slope:       per day.
    r_squared:   1 - rss / total sum of squares.
    rss:         residual sum of squares; residual_sd: sqrt(rss / (n - 2)).
    n:           sum of the weights.
    """

    slope: Any
    intercept: Any
    r_squared: Any
    rss: Any
    residual_sd: Any
    n: Any


def line(x: Any, y: Any, weights: Any = None) -> Line:
    """The least-squares line of y on x, both (…, n) float64, with weights of the same shape.

    Weights of 0 and 1 choose rows, whole ones repeat them. Means are taken off first: days since
    1970 lose digits when they are squared. What cannot be told from so few rows is not a number.
    """
    weights = np.ones(x.shape) if weights is None else weights
    with np.errstate(divide="ignore", invalid="ignore"):
        n = weights.sum(-1)
        x_mean, y_mean = (weights * x).sum(-1) / n, (weights * y).sum(-1) / n
        dx, dy = x - x_mean[..., None], y - y_mean[..., None]
        slope = (weights * dx * dy).sum(-1) / (weights * dx**2).sum(-1)
        rss = (weights * (dy - slope[..., None] * dx) ** 2).sum(-1)
        return Line(
            slope=slope,
            intercept=y_mean - slope * x_mean,
            r_squared=1 - rss / (weights * dy**2).sum(-1),
            rss=rss,
            residual_sd=(rss / (n - 2)) ** 0.5,
            n=n,
        )


def doubling_months(slope: Any, days_per_month: float = 30.0) -> Any:
    """Months in which compute doubles, from a slope in log10 per day; negative where it falls."""
    with np.errstate(divide="ignore"):
        return math.log10(2) / slope / days_per_month


def orders_per_year(slope: Any) -> Any:
    """Orders of magnitude in 365 days, from a slope in log10 per day."""
    return slope * DAYS_PER_YEAR


def bic(rss: Any, n: Any, k: int) -> Any:
    """n ln(rss / n) + k ln n: the Bayesian information criterion of a least-squares fit.

    k counts coefficients, break points and the variance. The constant n (1 + ln 2 pi) of the
    Gaussian likelihood is left out, so it compares with its like only. Fits without scatter, whose
    sums of squares are rounding or even below zero, are all equally good.
    """
    xp = rss.__array_namespace__()
    return n * xp.log(xp.maximum(rss / n, FLAT**2)) + k * xp.log(n)
