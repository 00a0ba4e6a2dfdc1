"""One line, or a mixture of two with a common spread, by maximum likelihood.

The mixture is fitted by EM from several deterministic starts, for many data sets at once. Both BICs
use the full Gaussian likelihood, -2 ln L + k ln n, and must not be compared with that of
`segments.Model`, which leaves out a constant.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SHARES = (0.1, 0.2, 0.35, 0.5, 0.7)  # of systems that start in the upper line
ROUNDS = 100
LEAST_SHARE = 0.03  # of either line: a single system has an unbounded likelihood
LINE_PARAMETERS = 3
MIXTURE_PARAMETERS = 6


class Mixture(NamedTuple):
    """The better of two lines each, lower and upper, for b data sets.

    bic:         (b,); line_bic: that of one line, (b,).
    intercepts:  (b, 2) at the mean date; slopes (b, 2) per unit of x.
    share:       (b,) of the upper line; spread: (b,) common standard deviation.
    """

    bic: np.ndarray
    line_bic: np.ndarray
    intercepts: np.ndarray
    slopes: np.ndarray
    share: np.ndarray
    spread: np.ndarray


def _lines(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    """Weighted lines, their residuals, and the sums of weights; weights and y (b, n)."""
    sums = weights @ np.stack([np.ones_like(x), x, x**2], axis=1)
    product = weights * y
    sy, sxy = product.sum(1), product @ x
    n, sx, sxx = sums.T
    slope = (n * sxy - sx * sy) / np.maximum(n * sxx - sx**2, 1e-9)
    intercept = (sy - slope * sx) / n
    return intercept, slope, y - intercept[:, None] - slope[:, None] * x, n


def fit(x: np.ndarray, y: np.ndarray) -> Mixture:
    """Fit both models to x (n,) and y (b, n)."""
    b, n = y.shape
    x = x - x.mean()
    *_, residuals, _ = _lines(np.ones_like(y), x, y)
    variance = (residuals**2).mean(1)
    line_bic = n * (np.log(2 * np.pi * variance) + 1) + LINE_PARAMETERS * np.log(n)
    ranks = residuals.argsort(1).argsort(1)
    upper = np.concatenate([0.1 + 0.8 * (ranks >= (1 - share) * n) for share in SHARES])
    y = np.tile(y, (len(SHARES), 1))
    for _ in range(ROUNDS):
        a1, b1, r1, n1 = _lines(upper, x, y)
        a0, b0, r0, _ = _lines(1 - upper, x, y)
        spread2 = ((upper * r1**2).sum(1) + ((1 - upper) * r0**2).sum(1)) / n
        share = np.clip(n1 / n, LEAST_SHARE, 1 - LEAST_SHARE)
        odds = np.log(share / (1 - share))[:, None] + (r0**2 - r1**2) / (2 * spread2[:, None])
        upper = 1 / (1 + np.exp(-np.clip(odds, -50, 50)))
    log_density = np.logaddexp(
        np.log(share)[:, None] - r1**2 / (2 * spread2[:, None]),
        np.log(1 - share)[:, None] - r0**2 / (2 * spread2[:, None]),
    )
    bic = -2 * log_density.sum(1) + n * np.log(2 * np.pi * spread2) + MIXTURE_PARAMETERS * np.log(n)
    best = bic.reshape(len(SHARES), b).argmin(0) * b + np.arange(b)
    swap = (a1 < a0)[best]
    return Mixture(
        bic=bic[best],
        line_bic=line_bic,
        intercepts=np.sort(np.stack([a0, a1], axis=1)[best], axis=1),
        slopes=np.where(
            swap[:, None],
            np.stack([b1, b0], axis=1)[best],
            np.stack([b0, b1], axis=1)[best],
        ),
        share=np.where(swap, 1 - share[best], share[best]),
        spread=np.sqrt(spread2[best]),
    )
