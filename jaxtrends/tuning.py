"""Tuning, separate from reporting: lanes of a grid, the choice of a rate, steps to a target."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Choice:
    """The result of tuning.

    rates:    learning rates tried, in rising order.
    scores:   (rates, tuning seeds) float64, the final validation metric; the worst possible value
              for a diverged lane.
    rate:     the chosen rate.
    edge:     whether it is still on the edge of the (extended) grid.
    """

    rates: tuple[float, ...]
    scores: np.ndarray
    rate: float
    edge: bool


@dataclass(frozen=True)
class Point:
    """The result of tuning several numbers together.

    tried:  one row per point: the numbers by name.
    scores: (points, tuning seeds) float64, as in `Choice`.
    best:   the chosen numbers.
    edge:   whether one of them is still on the edge of its (extended) grid.
    """

    tried: tuple[Mapping[str, float], ...]
    scores: np.ndarray
    best: Mapping[str, float]
    edge: bool


def lanes(
    rates: Sequence[float], seeds: Sequence[int], numbers: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Lanes of every rate with every seed, rates outermost.

    Args:
        rates:   learning rates.
        seeds:   of the lanes.
        numbers: further numbers of lanes: name -> one number for all, or a pytree of arrays with a
                 leading axis of seeds.

    Returns:
        ``learning_rate`` (lanes,) float32, ``seed`` (lanes,) uint32 and the numbers, (lanes, …).
    """
    import jax

    def spread(value: Any) -> np.ndarray:
        value = np.asarray(value)
        if value.ndim == 0:
            kind = np.float32 if value.dtype.kind == "f" else np.int32
            return np.full(len(rates) * len(seeds), value, kind)
        return stacked(*[value] * len(rates)).reshape(-1, *value.shape[1:])

    return {
        "learning_rate": np.repeat(np.asarray(rates, np.float32), len(seeds)),
        "seed": np.tile(np.asarray(seeds, np.uint32), len(rates)),
        **jax.tree.map(spread, dict(numbers or {})),
    }


def stacked(*rows: np.ndarray) -> np.ndarray:
    """Arrays of one shape (…) stacked along a new leading axis: (n, …).

    Arrays of a dry run can be larger than memory; they are broadcast views and stay so.
    """
    if any(row.ndim == 0 or any(row.strides) for row in rows):
        return np.stack(rows)
    return np.broadcast_to(rows[0], (len(rows), *rows[0].shape))


def final(curve: np.ndarray, better: Better = "lower") -> np.ndarray:
    """Mean over the last tenth of a curve's points (at least one): (…, points) -> (…), float64.

    For a diverged lane it is the worst possible value, plus or minus infinity.
    """
    last = curve[..., -max(1, curve.shape[-1] // 10) :].astype(np.float64).mean(axis=-1)
    return np.where(np.isfinite(last), last, math.inf if better == "lower" else -math.inf)


def choose(
    rates: Sequence[float], scores: np.ndarray, better: Better = "lower"
) -> tuple[int, bool]:
    """The tuned point: the best mean over tuning seeds of scores (rates, seeds).

    A rate at which any seed diverged cannot be chosen. Also says whether the choice is at an end of
    the grid (or nothing could be chosen): of the whole grid, not of the part without divergence.
    """
    sign = 1.0 if better == "lower" else -1.0
    whole = np.isfinite(scores).all(axis=1)
    means = np.where(whole, sign * np.where(np.isfinite(scores), scores, 0.0).mean(axis=1), np.inf)
    best = int(np.argmin(means))
    return best, best in (0, len(rates) - 1) or not whole[best]


def tune(
    scores_at: Callable[[Sequence[float]], np.ndarray],
    grid: Sequence[float],
    extensions: int = 2,
    better: Better = "lower",
) -> Choice:
    """Choose a rate from a grid; if the edge is chosen, extend the grid there by its own ratio.

    Args:
        scores_at:  rates -> (rates, tuning seeds) final validation metrics.
        grid:       initial rates, in rising order.
        extensions: maximum number of extensions, one rate at a time.
        better:     which scores are better.
    """
    rates, scores = list(grid), scores_at(grid)
    best, edge = choose(rates, scores, better)
    for _ in range(extensions if len(rates) > 1 else 0):
        if best == 0:
            rates = [rates[0] ** 2 / rates[1], *rates]
            scores = np.concatenate([scores_at(rates[:1]), scores])
        elif best == len(rates) - 1:
            rates = [*rates, rates[-1] ** 2 / rates[-2]]
            scores = np.concatenate([scores, scores_at(rates[-1:])])
        else:
            break
        best, edge = choose(rates, scores, better)
    return Choice(tuple(rates), scores, rates[best], edge)


def tune_all(
    scores_at: Callable[[Sequence[Mapping[str, float]]], np.ndarray],
    grids: Mapping[str, Sequence[float]],
    extensions: int = 2,
    better: Better = "lower",
) -> Point:
    """Choose several numbers: for each value of the first, the best values of the others.

    Every grid is extended as in `tune`, the inner ones for each value of the outer ones.

    Args:
        scores_at:  points that differ only in the innermost number -> (points, tuning seeds) final
                    validation metrics.
        grids:      name -> initial values, in rising order; the outermost first.
        extensions: maximum number of extensions of each grid, one value at a time.
        better:     which scores are better.
    """

    def search(outer: Mapping[str, float], names: Sequence[str]) -> Point:
        name, *inner = names
        if not inner:

            def points(values: Sequence[float]) -> list[Mapping[str, float]]:
                return [{**outer, name: value} for value in values]

            found = tune(lambda v: scores_at(points(v)), grids[name], extensions, better)
            best = {**outer, name: found.rate}
            return Point(tuple(points(found.rates)), found.scores, best, found.edge)
        below: dict[float, Point] = {}

        def best_of(values: Sequence[float]) -> np.ndarray:
            below.update({value: search({**outer, name: value}, inner) for value in values})
            return np.stack([_chosen(below[value]) for value in values])

        found = tune(best_of, grids[name], extensions, better)
        rows = tuple(row for value in found.rates for row in below[value].tried)
        scores = np.concatenate([below[value].scores for value in found.rates])
        chosen = below[found.rate]
        return Point(rows, scores, chosen.best, found.edge or chosen.edge)

    return search({}, list(grids))


def _chosen(point: Point) -> np.ndarray:
    return point.scores[point.tried.index(point.best)]


def first_reach(
    curve: np.ndarray, target: np.ndarray, log_every: int, better: Better = "lower"
) -> np.ndarray:
    """Steps until each lane's curve (lanes, points) first reaches its target (lanes,).

    Infinite if it never does.
    """
    reached = curve <= target[:, None] if better == "lower" else curve >= target[:, None]
    steps = (np.argmax(reached, axis=1) + 1.0) * log_every
    return np.where(reached.any(axis=1), steps, np.inf)


def crossing(curve: Sequence[float], target: float, log_every: int) -> float:
    """Steps until a loss curve reaches its target and stays at or below it; infinite if never.

    Between points, log loss is interpolated linearly against log steps. A curve that is below the
    target from its first point reaches it at that point.
    """
    points = np.asarray(curve, np.float64)
    above = ~(points <= target)  # NaN counts as above
    first = int(np.flatnonzero(above)[-1]) + 1 if above.any() else 0
    if first == points.size:
        return math.inf
    steps = log_every * (first + 1.0)
    if first == 0 or not np.isfinite(points[first - 1]):
        return steps
    before, after = math.log(points[first - 1]), math.log(points[first])
    share = (before - math.log(target)) / (before - after)
    return math.exp(math.log(steps - log_every) + share * math.log(steps / (steps - log_every)))
