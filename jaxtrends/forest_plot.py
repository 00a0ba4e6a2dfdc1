"""Intervals as positions on one axis: a forest plot as data, which a page then draws.

Positions are per cent of the plot's width, so that the same numbers serve a phone and a poster.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtrends.formats import format_number

MARGIN = 6.0  # per cent on either side, where what lies beyond is pointed at
PADDING = 0.22  # of the span, on either side of what must be seen
LOG_FROM = 50.0  # a span by such a factor is drawn on a log axis
LARGEST = 1e150  # what lies beyond is off every axis
APART = 13.0  # per cent between two numbers below the axis

# What a statistic cannot leave: a region's bound there or beyond is no bound.
NATURAL = {
    "proportion": (0.0, 1.0),
    "discordant share": (0.0, 1.0),
    "odds ratio": (0.0, math.inf),
    "paired ratio": (0.0, math.inf),
    "median ratio": (0.0, math.inf),
}


@dataclass(frozen=True)
class Mark:
    """One interval on the axis, in per cent; an end that lies beyond is None, on the side named.

    ``at`` is the estimate; ``beyond`` is "low" or "high" where even that is off the axis.
    """

    low: float | None
    at: float | None
    high: float | None
    beyond: str = ""


@dataclass(frozen=True)
class Axis:
    """An axis with a claim's region on it.

    region:     where the region begins and ends, in per cent (at 0 or 100 where it has no end).
    thresholds: (per cent, number as text) of the region's bounds.
    ticks:      (per cent, number as text) of other numbers, clear of the thresholds'.
    """

    low: float
    high: float
    log: bool
    region: tuple[float, float]
    thresholds: tuple[tuple[float, str], ...]
    ticks: tuple[tuple[float, str], ...]

    def at(self, value: float) -> float:
        """Where a number lies, in per cent; what lies beyond is not clipped."""
        if self.log:
            if value <= 0:
                return -math.inf
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return MARGIN + share * (100 - 2 * MARGIN)

    def mark(self, finding: Mapping[str, Any]) -> Mark:
        """An interval (`claims.Finding` as plain data) on this axis."""
        low, at, high = (float(finding[end]) for end in ("low", "estimate", "high"))
        where = [self.at(value) for value in (low, at, high)]
        seen = [round(x, 2) if 0 <= x <= 100 else None for x in where]
        beyond = "" if seen[1] is not None else ("low" if where[1] < 0 else "high")
        return Mark(*seen, beyond)


def bounds(statistic: str, region: Sequence[Any]) -> tuple[float, float]:
    """A region's bounds, infinite where the statistic cannot reach them."""
    least, most = NATURAL.get(statistic, (-math.inf, math.inf))
    low, high = (float(bound) for bound in region)
    return (-math.inf if low <= least else low), (math.inf if high >= most else high)


def axis(statistic: str, region: Sequence[Any], findings: Sequence[Mapping[str, Any]]) -> Axis:
    """An axis that shows a region's bounds and all of some findings; it is log where that helps."""
    edges = bounds(statistic, region)
    edges = tuple(math.copysign(math.inf, e) if abs(e) > LARGEST else e for e in edges)
    numbers = [float(f[end]) for f in findings for end in ("low", "estimate", "high")]
    seen = [0.0 if abs(v) < 1 / LARGEST else v for v in (*edges, *numbers) if abs(v) <= LARGEST]
    seen = seen or [0.0, 1.0]
    low, high = min(seen), max(seen)
    scaled = any(finding["scale"] == "log" for finding in findings)
    log = low > 0 and (scaled or high / low > LOG_FROM)
    if log:
        width = max(math.log(high / low), 0.05)
        low, high = low * math.exp(-PADDING * width), high * math.exp(PADDING * width)
    else:
        width = high - low or abs(high) or 1.0
        low, high = low - PADDING * width, high + PADDING * width
    bare = Axis(low, high, log, (0.0, 100.0), (), ())
    begin, end = (
        round(bare.at(edge), 2) if math.isfinite(edge) else open_end
        for edge, open_end in zip(edges, (0.0, 100.0), strict=True)
    )
    thresholds = [(round(bare.at(e), 2), format_number(e, 6)) for e in edges if math.isfinite(e)]
    if len(thresholds) == 2 and thresholds[1][0] - thresholds[0][0] < APART:
        both = (thresholds[0][0] + thresholds[1][0]) / 2
        thresholds = [(both, f"{thresholds[0][1]} … {thresholds[1][1]}")]
    ticks: list[tuple[float, str]] = []
    for value in _round_numbers(low, high, log):
        where = bare.at(value)
        if MARGIN / 2 <= where <= 100 - MARGIN / 2 and all(
            abs(where - other) >= APART for other, _ in (*thresholds, *ticks)
        ):
            ticks.append((round(where, 2), format_number(value, 6)))
    return Axis(low, high, log, (begin, end), tuple(thresholds), tuple(ticks))


def _round_numbers(low: float, high: float, log: bool) -> list[float]:
    """Round numbers that spread over a range: powers of ten, or multiples of 1, 2 or 5."""
    if log and high / low > 20:
        first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
        every = max(1, math.ceil((last - first + 1) / 5))
        return [10.0**n for n in range(first, last + 1, every)]
    raw = (high - low) / 5
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= raw)
    count = math.floor(high / step) - math.ceil(low / step) + 1
    return [round((math.ceil(low / step) + n) * step, 12) + 0.0 for n in range(count)]
