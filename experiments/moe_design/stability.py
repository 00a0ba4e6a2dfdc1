"""When a training run counts as unstable: three rules, fixed before any run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

JUMP = 0.5  # nats above the lowest loss so far
STUCK = 0.95  # of the loss of a guess
TARGET_SHARE = 1 / 3  # of baseline runs that should fail, for a cure to have room
SHARES_IN_REACH = (1 / 6, 1 / 2)


def reasons(curves: np.ndarray, chance: float, evaluations: int) -> list[str]:
    """Why each run is unstable; "" for one that is stable.

    A run is unstable if a loss is not finite; else if its loss lies more than 0.5 nats above the
    lowest so far at so many evaluations in a row; else if it ends above 0.95 of what a guess costs.

    Args:
        curves:      (lanes, points) validation cross-entropy, nats.
        chance:      cross-entropy of the best guess that looks at nothing, nats.
        evaluations: how many in a row make a jump.
    """
    found = []
    for curve in np.asarray(curves, np.float64):
        if not np.isfinite(curve).all():
            found.append("not finite")
        elif _longest_run(curve > np.minimum.accumulate(curve) + JUMP) >= evaluations:
            found.append("jump")
        elif curve[-1] > STUCK * chance:
            found.append("stuck")
        else:
            found.append("")
    return found


def _longest_run(flags: np.ndarray) -> int:
    longest = current = 0
    for flag in flags:
        current = current + 1 if flag else 0
        longest = max(longest, current)
    return longest


def failed(reasons: Sequence[str]) -> list[float]:
    """1 for an unstable run and 0 for a stable one, as counts are tested."""
    return [float(bool(reason)) for reason in reasons]


def stress_rate(rates: Sequence[float], failures: np.ndarray) -> tuple[int, bool]:
    """The rate at which the share of failures is nearest to a third: (rates, seeds) -> its index.

    Of two as near the lower is taken. Also says whether that share is one that a study can use: a
    sixth to a half.
    """
    shares = np.asarray(failures, np.float64).mean(axis=1)
    order = np.lexsort((np.asarray(rates), np.abs(shares - TARGET_SHARE).round(9)))
    best = int(order[0])
    low, high = SHARES_IN_REACH
    return best, bool(low <= shares[best] <= high)
