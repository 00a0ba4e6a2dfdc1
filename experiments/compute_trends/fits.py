"""Straight lines by least squares."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

FLAT = 1e-6  # deviations below this, in orders of magnitude, are rounding
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

    Weights of 0 and 1 select rows, larger whole numbers repeat them. Data are centred first, since
    days since 1970 lose digits when squared. What too few rows cannot determine is NaN.
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
