"""How many seeds a claim needs, from the effect and the spread that a run measured.

A study whose interval straddles its threshold has either too few seeds or no effect worth the seeds
it would take. The seeds are those with which the claim's Student t interval would be decisive in
80% of studies, if effect and spread are as measured. They plan the next run; they say nothing about
the run that they come from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from jaxtrends import claims

POWER = 0.8
MOST = 100_000
SCALES: Mapping[str, Callable[[float], float]] = {
    "mean": float,
    "paired difference": float,
    "paired ratio": lambda value: math.log(value) if value > 0 else -math.inf,
}
"""Statistics with a Student t interval, and the scale on which they have it."""


def chance(seeds: int, effect: float, spread: float, region: tuple[float, float]) -> float:
    """The probability that a t interval is entirely inside or entirely outside the region.

    Args:
        seeds:  at least 2.
        effect: the true mean.
        spread: the true standard deviation of a seed, above 0.
        region: (low, high), open; on the scale of the effect.
    """
    from scipy import special, stats

    error = spread / math.sqrt(seeds)
    half = float(special.stdtrit(seeds - 1, 0.5 + claims.CONFIDENCE / 2))

    def above(bound: float) -> float:
        if math.isinf(bound):
            return float(bound < 0)
        return float(stats.nct.sf(half, seeds - 1, (effect - bound) / error))

    def below(bound: float) -> float:
        if math.isinf(bound):
            return float(bound > 0)
        return float(stats.nct.cdf(-half, seeds - 1, (effect - bound) / error))

    low, high = region
    return max(0.0, above(low) + below(high) - 1) + below(low) + above(high)


def fewest(effect: float, spread: float, region: tuple[float, float]) -> int | None:
    """The fewest seeds whose interval is decisive in 80% of studies; None above `MOST`.

    The arguments are those of `chance`.
    """
    enough = 2
    while chance(enough, effect, spread, region) < POWER:
        enough *= 2
        if enough > MOST:
            return None
    few = enough // 2
    while enough - few > 1:
        middle = (few + enough) // 2
        if chance(middle, effect, spread, region) < POWER:
            few = middle
        else:
            enough = middle
    return max(enough, 2)


def seeds_needed(entry: Mapping[str, Any], part: str) -> int | None:
    """Seeds with which a part of a recorded claim would be decided in 80% of studies.

    None if its statistic has no Student t interval, if it has no finite spread, or if it would take
    more than `MOST`.
    """
    from scipy import special

    declared, found = entry["claim"], entry["verdict"]["parts"][part]
    scale, n = SCALES.get(declared["statistic"]), found["n"]
    if scale is None or n < 2:
        return None
    effect, low, high = (scale(float(found[name])) for name in ("estimate", "low", "high"))
    half = float(special.stdtrit(n - 1, 0.5 + claims.CONFIDENCE / 2))
    spread = (high - low) / 2 / half * math.sqrt(n)
    if not 0 < spread < math.inf:
        return None
    low, high = (scale(float(bound)) for bound in declared["region"])
    return fewest(effect, spread, (low, high))
