"""Comparing runs: differences of their configs and of their final values.

If two runs share seeds and data, a seed gives both the same initialisation and data order, and
differences are taken seed by seed; otherwise the samples are unpaired.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxtrends import curves, record, stats

CONFIDENCE = 0.95
DIVERGED = "some lanes diverged, no unpaired interval"


@dataclass(frozen=True)
class Side:
    """One of the compared runs.

    label:    its name.
    config:   flat: ``training.mlp.steps`` -> value.
    data:     data set -> digest; None if unknown.
    outcomes: name -> {seed: value}; a non-finite value is a diverged lane.
    verdicts: claim -> verdict and interval, as text.
    """

    label: str
    config: Mapping[str, Any]
    data: Mapping[str, str] | None
    outcomes: Mapping[str, Mapping[int, float]]
    verdicts: Mapping[str, str] = field(default_factory=dict)


def flatten(value: Any, path: str = "") -> dict[str, Any]:
    """Nested mappings flattened, with keys joined by dots; an empty mapping stays a value."""
    if not isinstance(value, Mapping) or not value:
        return {path: value}
    found: dict[str, Any] = {}
    for key, item in value.items():
        found.update(flatten(item, f"{path}.{key}" if path else str(key)))
    return found


def differing(sides: Sequence[Side]) -> dict[str, list[Any]]:
    """Config field -> its value on every side, for fields that differ.

    A field that a side does not have is None there.
    """
    names = dict.fromkeys(name for side in sides for name in side.config)
    rows = {name: [side.config.get(name) for side in sides] for name in names}
    return {name: row for name, row in rows.items() if any(value != row[0] for value in row)}


def outcomes(values: Any) -> dict[str, dict[int, float]]:
    """The per-seed values of a study: name -> {seed: value}.

    A mapping with a list ``seeds`` has lanes: every list of as many numbers below it is an outcome,
    named by its path. A nested ``seeds`` applies to what is below it.
    """
    found: dict[str, dict[int, float]] = {}

    def walk(value: Any, path: tuple[str, ...], seeds: Sequence[int]) -> None:
        if isinstance(value, Mapping):
            own = value.get("seeds")
            seeds = own if isinstance(own, list) and own else seeds
            for key, item in value.items():
                if key not in ("seeds", "tuning_seeds"):
                    walk(item, (*path, str(key)), seeds)
        elif isinstance(value, list) and seeds and len(value) == len(seeds):
            numbers = [record.numbers(item) for item in value]
            if all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in numbers):
                found["/".join(path)] = dict(zip(seeds, map(float, numbers), strict=True))

    walk(values, (), ())
    return found


def ends(done: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, dict[int, float]]:
    """The last value of each lane of each curve (lanes, points): name -> {seed: value}."""
    found = {}
    for name, array in arrays.items():
        if array.ndim == 2 and array.shape[1] > 1:
            seeds = curves.seeds(done, curves.parse(name), array.shape[0])
            found[end_of(name)] = dict(zip(seeds, map(float, array[:, -1]), strict=True))
    return found


def end_of(curve: str) -> str:
    """The name of a curve's last value among the outcomes."""
    return f"{curve}, last"


def side_of(
    done: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    label: str,
    verdicts: Mapping[str, str],
) -> Side:
    """A record with its curves as one side of a comparison; ``verdicts`` are texts to show."""
    found = {
        f"{name}/{outcome}": values
        for part in ("results", "measurements")
        for name, study in done[part]["studies"].items()
        for outcome, values in outcomes(study["values"]).items()
    }
    return Side(
        label,
        flatten(done["results"]["config"]),
        {name: data["digest"] for name, data in done["results"]["data"].items()},
        {**found, **ends(done, arrays)},
        verdicts,
    )


def side_of_lanes(lanes: Sequence[Any], label: str) -> Side:
    """Lanes read back from W&B (`jaxtrends.tracking.LaneHistory`) as one side of a comparison.

    W&B does not know the data, so differences from it are unpaired.
    """
    config: dict[str, Any] = {}
    found: dict[str, dict[int, float]] = {}
    for lane in lanes:
        method = f"{lane.study}/{lane.method}"
        for field_name, value in flatten(lane.config).items():
            config[f"{method}: {field_name}"] = value
        for metric, values in lane.metrics.items():
            if values.size:
                name = end_of(f"{method}/{metric}")
                found.setdefault(name, {})[lane.seed] = float(values[-1])
    return Side(label, config, None, found)


def shared_seeds(first: Side, second: Side, outcome: str) -> list[int]:
    """The seeds for pairing two sides' outcomes: those that both have, on the same data.

    Empty if fewer than two are shared, or if the data differ or are unknown.
    """
    if first.data is None or first.data != second.data:
        return []
    common = first.outcomes[outcome].keys() & second.outcomes[outcome].keys()
    return sorted(common) if len(common) > 1 else []


def difference(first: Side, second: Side, outcome: str) -> stats.Interval:
    """The mean of second - first with its 95% interval, paired where `shared_seeds` allows.

    If a lane diverged, it is the median of the paired differences (0 where both did), which the
    method says: this describes two runs, and tests nothing that was declared. Unpaired, it is
    Welch's interval, which is then unbounded.
    """
    seeds = shared_seeds(first, second, outcome)
    ours, theirs = first.outcomes[outcome], second.outcomes[outcome]
    if seeds:
        one, other = (np.asarray([lanes[seed] for seed in seeds]) for lanes in (ours, theirs))
        if np.isfinite([one, other]).all():
            pairs = {"treatment": other.tolist(), "reference": one.tolist()}
            return stats.paired_difference(pairs, CONFIDENCE)
        one, other = (np.where(np.isfinite(lanes), lanes, np.inf) for lanes in (one, other))
        with np.errstate(invalid="ignore"):
            gaps = np.where(np.isinf(one) & np.isinf(other), 0.0, other - one)
        return stats.median_of(gaps, CONFIDENCE)
    return welch(list(theirs.values()), list(ours.values()))


def welch(treatment: Sequence[float], reference: Sequence[float]) -> stats.Interval:
    """Welch's 95% interval for the difference of two means, unequal variances (Welch 1947)."""
    from scipy import special

    a, b = (np.asarray(values, np.float64) for values in (treatment, reference))
    n = a.size + b.size
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return stats.Interval(math.nan, -math.inf, math.inf, n, DIVERGED)
    estimate = float(a.mean() - b.mean())
    if min(a.size, b.size) < 2:
        return stats.Interval(estimate, -math.inf, math.inf, n, "one value, no interval")
    parts = a.var(ddof=1) / a.size, b.var(ddof=1) / b.size
    total = sum(parts)
    if total == 0:
        return stats.Interval(estimate, estimate, estimate, n, "Welch t")
    freedom = total**2 / (parts[0] ** 2 / (a.size - 1) + parts[1] ** 2 / (b.size - 1))
    half = float(special.stdtrit(freedom, 0.5 + CONFIDENCE / 2)) * math.sqrt(total)
    return stats.Interval(estimate, estimate - half, estimate + half, n, "Welch t")


def middle(values: Mapping[int, float]) -> float:
    """The median over lanes, with non-finite ones ranked worst."""
    finite = [value if math.isfinite(value) else math.inf for value in values.values()]
    ranked = sorted(finite)
    low, high = ranked[(len(ranked) - 1) // 2], ranked[len(ranked) // 2]
    return (low + high) / 2 if math.isfinite(high) else high
