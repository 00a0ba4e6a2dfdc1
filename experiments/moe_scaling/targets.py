"""What an arm needs to reach a loss: steps, arithmetic, seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

LARGER = "dense_4x"  # its final loss is the target
DENSE = ("dense", LARGER)
ARMS = {
    "dense": "dense",
    "dense_4x": "dense, 4x hidden width",
    "moe_4": "4 experts",
    "moe_16": "16 experts",
    "moe_64": "64 experts",
    "fixed_router": "16 experts, fixed random router",
    "by_position": "16 experts, in turn",
}


def crossing(curve: Sequence[float], target: float, log_every: int) -> float:
    """Steps until a curve is at or below its target and stays there; infinite if it never does.

    Between two points the curve is a straight line of log loss against log steps. A curve that is
    below from its first point on counts as there at that point.
    """
    points = np.asarray(curve, np.float64)
    above = ~(points <= target)  # what is not a number is above
    first = int(np.flatnonzero(above)[-1]) + 1 if above.any() else 0
    if first == points.size:
        return math.inf
    steps = log_every * (first + 1.0)
    if first == 0 or not np.isfinite(points[first - 1]):
        return steps
    before, after = math.log(points[first - 1]), math.log(points[first])
    share = (before - math.log(target)) / (before - after)
    return math.exp(math.log(steps - log_every) + share * math.log(steps / (steps - log_every)))


def reach(
    curves: Mapping[str, np.ndarray], target: np.ndarray, log_every: int
) -> dict[str, np.ndarray]:
    """Steps of each arm, seed by seed, until its curve (seeds, points) stays at its target."""
    return {
        arm: np.asarray(
            [crossing(lane, goal, log_every) for lane, goal in zip(curve, target, strict=True)]
        )
        for arm, curve in curves.items()
    }


def equal_compute(steps: int, log_every: int, operations: float, larger: float) -> int:
    """Steps in which an arm spends what the larger dense arm does in ``steps``: whole log points.

    Only so does an arm that never reaches the target tell that it saves nothing: one of equal
    steps might have had too little compute. Operations are of one token.
    """
    return log_every * math.ceil(steps * larger / operations / log_every)


def needed(task: Mapping[str, Any], arm: str, unit: str = "operations") -> np.ndarray:
    """What an arm needs to reach the target, seed by seed, in ``unit``; infinite if it never does.

    ``unit`` is ``operations`` or ``operations_padded``; of ``dense`` the cheaper dense arm counts.
    """
    if arm == "cheaper dense":
        return np.minimum.reduce(
            [needed(task, name, unit) for name in DENSE if name in task["arms"]]
        )
    found = task["arms"][arm]
    steps = np.asarray(found["steps_to_target"], np.float64)
    return steps * task["tokens_per_step"] * found[unit]


def seconds_to_target(
    task: Mapping[str, Any], seconds: Mapping[str, Sequence[float]]
) -> dict[str, np.ndarray]:
    """Steps needed times the median time of a step, per arm and seed."""
    return {
        arm: np.asarray(found["steps_to_target"]) * float(np.median(seconds[arm]))
        for arm, found in task["arms"].items()
    }
