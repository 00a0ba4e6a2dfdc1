"""Trends in one, two or three pieces: least-squares fits, with break dates searched on a grid.

Fits are batched over data sets: weights (b, n) for resamples and left-out rows, values (b, n) for
simulations. Slope and level are projected out first (Frisch and Waugh 1933), so that one kink costs
a division and two kinks a 2x2 system in closed form. Pieces that do not join are fitted from sums
over their rows. Everything is a matrix product in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from experiments.compute_trends.fits import FLAT, TAILS

TINY = 1e-9


class Search(NamedTuple):
    """How break dates are searched: ``step`` years apart, at least ``fewest`` systems a piece."""

    step: float
    fewest: int


class Found(NamedTuple):
    """The best fits of one model: sums of squares (b,) and break dates (b, breaks), in years."""

    rss: np.ndarray
    breaks: np.ndarray


class Model(NamedTuple):
    """A trend in pieces.

    pieces:     their number.
    parameters: k of the BIC: coefficients, searched break dates, and the variance.
    search:     (x, y, weights, how) -> Found; x (n,) sorted years, y and weights (b, n).
    joined:     whether the pieces meet at the breaks.
    """

    pieces: int
    parameters: int
    search: Callable[[np.ndarray, np.ndarray, np.ndarray, Search], Found]
    joined: bool = True

    def fit(self, x: np.ndarray, y: np.ndarray, how: Search) -> Found:
        """The best fit of one data set, x and y (n,)."""
        return self.search(x, y[None], np.ones((1, len(x))), how)

    def bic(self, rss: np.ndarray, n: int) -> np.ndarray:
        """n ln(RSS / n) + k ln n of fits (b,) to n systems: the Bayesian information criterion.

        It leaves out the constant n (1 + ln 2 pi) of the Gaussian likelihood, so it is comparable
        only with itself. Fits without scatter, whose sums of squares are rounding errors, are all
        equally good.
        """
        return n * np.log(np.maximum(rss / n, FLAT**2)) + self.parameters * np.log(n)


def grid(x: np.ndarray, how: Search) -> np.ndarray:
    """Break dates to try, in years: multiples of the step with enough systems on both sides.

    A system at the break belongs to the earlier piece.
    """
    first, last = x[how.fewest - 1], x[-how.fewest]
    dates = how.step * np.arange(np.ceil(first / how.step), np.floor(last / how.step) + 0.5)
    return dates[dates < last]


def has_three_pieces(x: np.ndarray, how: Search) -> bool:
    """Whether two dates of the grid split x (n,) into three large enough pieces."""
    if len(x) < 3 * how.fewest:
        return False
    before = np.searchsorted(x, grid(x, how), side="right")
    return bool(before.size and before[-1] - before[0] >= how.fewest)


class _Projected(NamedTuple):
    """Sums with level and slope projected out.

    hinge is (n, g); square and product (b, g) are of the hinges with themselves and with y; hinge_x
    and hinge_sum (b, g) are what was projected out.
    """

    hinge: np.ndarray
    square: np.ndarray
    product: np.ndarray
    hinge_x: np.ndarray
    hinge_sum: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    n: np.ndarray
    rss: np.ndarray


def _project(x: np.ndarray, y: np.ndarray, weights: np.ndarray, knots: np.ndarray) -> _Projected:
    n = weights.sum(1, keepdims=True)
    dx = x - (weights * x).sum(1, keepdims=True) / n
    dy = y - (weights * y).sum(1, keepdims=True) / n
    xx, xy = (weights * dx**2).sum(1), (weights * dx * dy).sum(1)
    hinge = np.maximum(x[:, None] - knots, 0)
    hinge_sum, hinge_x = weights @ hinge, (weights * dx) @ hinge
    square = weights @ hinge**2 - hinge_sum**2 / n - hinge_x**2 / xx[:, None]
    product = (weights * dy) @ hinge - hinge_x * (xy / xx)[:, None]
    rss = (weights * dy**2).sum(1) - xy**2 / xx
    return _Projected(hinge, square, product, hinge_x, hinge_sum, xx, xy, n, rss)


def line(x: np.ndarray, y: np.ndarray, weights: np.ndarray, how: Search) -> Found:
    """One line, without a break."""
    rss = _project(x, y, weights, np.empty(0)).rss
    return Found(rss, np.empty((len(rss), 0)))


def _gain(square: np.ndarray, product: np.ndarray) -> np.ndarray:
    """The reduction of the sum of squares by a hinge; zero if it adds nothing to a line."""
    return np.where(square > TINY, product**2 / np.maximum(square, TINY), 0)


def kink_at(date: float) -> Callable[..., Found]:
    """The search of a model with one fixed kink."""

    def search(x: np.ndarray, y: np.ndarray, weights: np.ndarray, how: Search) -> Found:
        sums = _project(x, y, weights, np.array([date]))
        rss = sums.rss - _gain(sums.square, sums.product)[:, 0]
        return Found(rss, np.full((len(rss), 1), date))

    return search


def kink_and_slopes(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, how: Search
) -> tuple[Found, np.ndarray]:
    """Two lines that meet at a date of the grid, and their slopes, (b, 2) per year.

    The sum of squares is infinite where the grid has no date.
    """
    knots = grid(x, how)
    if not knots.size:  # too many systems share a date
        unfit = Found(np.full(len(y), np.inf), np.full((len(y), 1), np.nan))
        return unfit, np.full((len(y), 2), np.nan)
    sums = _project(x, y, weights, knots)
    gain = _gain(sums.square, sums.product)
    best = gain.argmax(1)
    rows = np.arange(len(best))
    change = sums.product[rows, best] / np.maximum(sums.square[rows, best], TINY)
    before = (sums.xy - change * sums.hinge_x[rows, best]) / sums.xx
    found = Found(sums.rss - gain[rows, best], knots[best][:, None])
    return found, np.stack([before, before + change], axis=1)


def kink_profile(x: np.ndarray, y: np.ndarray, how: Search) -> tuple[np.ndarray, np.ndarray]:
    """Every date of the grid, and the sum of squares with a kink there; y is (n,)."""
    knots = grid(x, how)
    sums = _project(x, y[None], np.ones((1, len(x))), knots)
    return knots, sums.rss[0] - _gain(sums.square, sums.product)[0]


def two_kinks(x: np.ndarray, y: np.ndarray, weights: np.ndarray, how: Search) -> Found:
    """Three lines that meet at two dates of the grid."""
    knots = grid(x, how)
    sums = _project(x, y, weights, knots)
    before = np.searchsorted(x, knots, side="right")
    allowed = before[None, :] - before[:, None] >= how.fewest
    rss, breaks = np.empty(len(weights)), np.empty((len(weights), 2))
    for row, weight in enumerate(weights):
        a, b = sums.square[row], sums.product[row]
        cross = (sums.hinge * weight[:, None]).T @ sums.hinge
        cross -= np.outer(sums.hinge_sum[row], sums.hinge_sum[row] / sums.n[row])
        cross -= np.outer(sums.hinge_x[row], sums.hinge_x[row] / sums.xx[row])
        determinant = np.outer(a, a) - cross**2
        gain = np.add.outer(b**2, np.zeros_like(b)) * a - 2 * np.outer(b, b) * cross
        gain += np.outer(a, b**2)
        usable = allowed & (determinant > TINY)
        gain = np.where(usable, gain / np.where(usable, determinant, 1), -np.inf)
        first, second = np.unravel_index(gain.argmax(), gain.shape)
        rss[row] = sums.rss[row] - gain[first, second]
        breaks[row] = knots[first], knots[second]
    return Found(rss, breaks)


def _pieces(x: np.ndarray, y: np.ndarray, weight: np.ndarray, fewest: int) -> np.ndarray:
    """Sum of squares of a line through rows i to j - 1, for all i and j: (n + 1, n + 1).

    For one data set, y and weight (n,). Infinite where there are fewer than ``fewest`` rows, or
    where rows with the same date would be separated.
    """
    n = len(x)
    xc, yc = x - x.mean(), y - y.mean()
    sums = np.zeros((6, n + 1))
    np.cumsum(weight * [np.ones(n), xc, yc, xc**2, xc * yc, yc**2], axis=1, out=sums[:, 1:])
    count, sx, sy, sxx, sxy, syy = sums[:, None, :] - sums[:, :, None]
    count = np.maximum(count, 1)
    xx, xy, yy = sxx - sx * sx / count, sxy - sx * sy / count, syy - sy * sy / count
    rss = yy - np.where(xx > TINY, xy * xy / np.maximum(xx, TINY), 0)
    ends = np.arange(n + 1)
    parted = np.concatenate([[False], x[1:] == x[:-1], [False]])
    unfit = (ends[None, :] - ends[:, None] < fewest) | parted[None, :] | parted[:, None]
    return np.where(unfit, np.inf, np.maximum(rss, 0))


def apart(pieces: int) -> Callable[..., Found]:
    """The search of two or three independent lines, split halfway between two systems.

    The sum of squares is infinite where no dates split the systems into large enough pieces.
    """

    def search(x: np.ndarray, y: np.ndarray, weights: np.ndarray, how: Search) -> Found:
        rss, breaks = [], []
        for value, weight in zip(y, weights, strict=True):
            one = _pieces(x, value, weight, how.fewest)
            total = one[0] + one[:, -1] if pieces == 2 else one[0][:, None] + one + one[:, -1]
            at = np.array(np.unravel_index(total.argmin(), total.shape))
            rss.append(total.min())
            breaks.append((x[at - 1] + x[at]) / 2)
        return Found(np.array(rss), np.array(breaks))

    return search


PAPERS_KINK = 2010.0  # where the paper starts the deep-learning era

MODELS = {
    "one line": Model(1, 3, line),
    "kink at 2010": Model(2, 4, kink_at(PAPERS_KINK)),
    "kink": Model(2, 5, lambda *given: kink_and_slopes(*given)[0]),
    "kink and jump": Model(2, 6, apart(2), joined=False),
    "two kinks": Model(3, 7, two_kinks),
    "three segments": Model(3, 9, apart(3), joined=False),
}


def design(model: str, x: np.ndarray, breaks: np.ndarray, centre: float) -> np.ndarray:
    """The columns of a model at dates x (m,) for given breaks: level, slope, then per break.

    A kink adds a change of slope, a jump also a change of level. Dates are relative to ``centre``.
    """
    columns = [np.ones_like(x), x - centre]
    for date in breaks:
        columns.append(np.maximum(x - date, 0))
        if not MODELS[model].joined:
            columns.append((x > date).astype(float))
    return np.stack(columns, axis=1)


def coefficients(
    model: str, x: np.ndarray, y: np.ndarray, breaks: np.ndarray, centre: float
) -> np.ndarray:
    """Least-squares coefficients of `design`, for y (n,)."""
    return np.linalg.lstsq(design(model, x, breaks, centre), y, rcond=None)[0]


def slopes(model: str, coefficients: np.ndarray) -> np.ndarray:
    """The slope of every piece, per year, from the coefficients of `design`."""
    changes = coefficients[2 :: 1 if MODELS[model].joined else 2]
    return coefficients[1] + np.concatenate([[0.0], np.cumsum(changes)])


def leave_one_out(
    model: str, x: np.ndarray, y: np.ndarray, how: Search
) -> tuple[np.ndarray, np.ndarray]:
    """Leave-one-out prediction errors (n,) with breaks searched again, and those breaks."""
    n = len(x)
    values = np.broadcast_to(y, (n, n))
    breaks = MODELS[model].search(x, values, 1.0 - np.eye(n), how).breaks
    errors = np.empty(n)
    for out in range(n):
        rest = np.arange(n) != out
        fitted = coefficients(model, x[rest], y[rest], breaks[out], x.mean())
        row = design(model, x[out : out + 1], breaks[out], x.mean())
        errors[out] = y[out] - (row @ fitted)[0]
    return errors, breaks


class Trend(NamedTuple):
    """A least-squares trend, ready for extrapolation.

    Break dates are taken as known, so its intervals are too narrow. ``unscaled`` is the inverse of
    the design's Gram matrix, ``sd`` the residual standard deviation with ``freedom`` degrees of
    freedom; ``share`` is its weight in a mixture of trends.
    """

    model: str
    breaks: np.ndarray
    centre: float
    coefficients: np.ndarray
    unscaled: np.ndarray
    sd: float
    freedom: int
    share: float

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean, its standard error, and the standard deviation of a system, at x (m,) years."""
        columns = design(self.model, x, self.breaks, self.centre)
        leverage = np.einsum("mp,pq,mq->m", columns, self.unscaled, columns)
        return (
            columns @ self.coefficients,
            self.sd * np.sqrt(leverage),
            self.sd * np.sqrt(1 + leverage),
        )

    def band(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The mean at x (m,) years, and the ends of its 95% interval (Student's t)."""
        from scipy import special  # the distributions of scipy.stats take a second to import

        middle, error, _ = self.predict(x)
        half = special.stdtrit(self.freedom, TAILS[2]) * error
        return middle, middle - half, middle + half


def trend(name: str, x: np.ndarray, y: np.ndarray, how: Search, share: float = 1.0) -> Trend | None:
    """Fit a model to systems in order of date, x and y (n,).

    None if there are too few systems or dates, or if all lie exactly on the trend, so that the
    scatter is unknown.
    """
    model = MODELS[name]
    if len(x) < max(3, how.fewest * model.pieces if model.pieces > 1 else 0) or x[0] == x[-1]:
        return None
    found = model.fit(x, y, how)
    if not np.isfinite(found.rss[0]):
        return None
    breaks = found.breaks[0]
    columns = design(name, x, breaks, x.mean())
    fitted = coefficients(name, x, y, breaks, x.mean())
    # A searched break costs a degree of freedom like a coefficient; k also counts the variance.
    freedom = len(x) - (model.parameters - 1)
    sd = float(np.sqrt(((y - columns @ fitted) ** 2).sum() / freedom))
    if sd < FLAT:
        return None
    unscaled = np.linalg.pinv(columns.T @ columns)
    return Trend(name, breaks, float(x.mean()), fitted, unscaled, sd, freedom, share)
