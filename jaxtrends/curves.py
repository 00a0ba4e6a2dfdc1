"""Learning curves of a record for a page: thinned, summarised over lanes, and small.

They are only for display: claims use the record's own values. A curve's name is
``study/group/method/metric``. The group may contain slashes and may be missing, as may the metric.
If two parts follow the study, the second is a metric if it starts like one, otherwise a method.
"""

from __future__ import annotations

import base64
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxtrends.study import thin

SUMMARIES = ("median", "low", "high", "mean", "mean low", "mean high")
METRICS = ("training_", "validation_", "test_")
LEVELS = 65534  # quantisation levels of a curve's range
MISSING = 65535


class Name(NamedTuple):
    """The parts of a curve's name."""

    study: str
    group: str
    method: str
    metric: str

    @property
    def task(self) -> str:
        """What a comparison calls the first part of the group; "" without a group."""
        return self.group.partition("/")[0]

    @property
    def arm(self) -> str:
        """What a comparison calls the rest of the group and the method: ``tuned/backprop``."""
        return "/".join(filter(None, (self.group.partition("/")[2], self.method)))


def parse(name: str) -> Name:
    """Split a curve's name into its parts."""
    study, *rest = name.split("/")
    if len(rest) == 2 and rest[1].startswith(METRICS):
        return Name(study, "", *rest)
    if len(rest) < 3:
        return Name(study, "/".join(rest[:-1]), rest[-1] if rest else study, "value")
    return Name(study, "/".join(rest[:-2]), rest[-2], rest[-1])


def _find(values: Any, key: str) -> Any:
    """The mapping under a key, closest to the top; None if there is none."""
    level = [values] if isinstance(values, dict) else []
    while level:
        for mapping in level:
            if isinstance(mapping.get(key), dict):
                return mapping[key]
        level = [item for mapping in level for item in mapping.values() if isinstance(item, dict)]
    return None


def _group(done: Mapping[str, Any], name: Name) -> Mapping[str, Any]:
    """The values of a curve's group.

    They are under the first part of the group's name, or under that part's last word: those of
    "width 4" may be under "4". Without a group they are the study's own.
    """
    values = done["results"]["studies"].get(name.study, {}).get("values")
    if not name.group:
        return values if isinstance(values, dict) else {}
    first = name.task
    return _find(values, first) or _find(values, first.rpartition(" ")[2]) or {}


def steps(done: Mapping[str, Any], name: Name, points: int) -> np.ndarray | None:
    """The training step of each point (points,), or None if the record does not say.

    A group's values give ``log_every``, the steps between points, or ``steps``, the total.
    """
    about = _group(done, name)
    if isinstance(about.get("log_every"), int):
        return np.arange(1, points + 1) * about["log_every"]
    if isinstance(about.get("steps"), int):
        return np.arange(1, points + 1) * (about["steps"] / points)
    return None


def seeds(done: Mapping[str, Any], name: Name, lanes: int) -> list[int]:
    """The seed of each lane from the group's values, or else the lanes' numbers."""
    found = _group(done, name).get("seeds")
    told = isinstance(found, list) and len(found) == lanes and all(map(_is_seed, found))
    return found if told else list(range(lanes))


def _is_seed(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < 2**32


def learning_rate(done: Mapping[str, Any], name: Name) -> float:
    """The learning rate of a curve's arm as its task's values tell it; nan where they do not."""
    arms = _group(done, name).get("arms")
    arm = arms.get(name.arm) if isinstance(arms, Mapping) else None
    rate = arm.get("learning_rate") if isinstance(arm, Mapping) else None
    return float(rate) if isinstance(rate, (int, float)) else math.nan


def cost_of_step(done: Mapping[str, Any], name: Name, quantity: str) -> float | None:
    """The cost of one training step of one lane, or None if the record does not say.

    Args:
        done:     a record.
        name:     of the curve.
        quantity: ``step_seconds`` or ``step_flops``: a study's value of that name maps groups, or
                  the first parts of their names, to methods to a number, or to samples, whose
                  median is used.
    """
    for part in ("measurements", "results"):
        values = done[part]["studies"].get(name.study, {}).get("values", {})
        found = values.get(quantity) if isinstance(values, Mapping) else None
        groups = found if isinstance(found, Mapping) else {}
        found = groups.get(name.group) or groups.get(name.task)
        found = found.get(name.method) if isinstance(found, Mapping) else None
        samples = [found] if isinstance(found, (int, float)) else found
        if samples and all(isinstance(sample, (int, float)) for sample in samples):
            return float(np.median(samples))
    return None


def summarise(lanes: np.ndarray) -> np.ndarray:
    """Rows of `SUMMARIES` for curves (lanes, points), as float64 (6, points).

    The band around the median is the middle 80% of lanes, with non-finite lanes ranked worst. The
    band around the mean is Student's 95% interval; there is no mean if a lane is not finite.
    Missing values are nan.
    """
    ranked = np.where(np.isfinite(lanes), lanes, np.inf).astype(np.float64)
    count = ranked.shape[0]
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # inf - inf, where there is no mean
        middle = np.median(ranked, axis=0)
        low, high = np.quantile(ranked, [0.1, 0.9], axis=0, method="nearest")
        mean = ranked.mean(axis=0)
        half = _reach(count) * ranked.std(axis=0, ddof=1) if count > 1 else np.nan * mean
    rows = np.stack([middle, low, high, mean, mean - half, mean + half])
    return np.where(np.isfinite(rows), rows, np.nan)


def _reach(count: int) -> float:
    """Half the width of Student's 95% interval of a mean, in sample standard deviations."""
    from scipy import special

    return float(special.stdtrit(count - 1, 0.975)) / math.sqrt(count)


def encode(rows: np.ndarray) -> dict[str, Any]:
    """Rows of numbers (rows, points) as 16-bit levels of their range, in base64, little-endian.

    Levels are uniform in the logarithm if every number is above zero; nan is `MISSING`. The error
    is at most half a level: a factor of 1.0001 over six decades.
    """
    finite = rows[np.isfinite(rows)]
    if finite.size == 0:
        finite = np.zeros(1)
    low, high = float(finite.min()), float(finite.max())
    log = low > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        at = np.log(rows) if log else rows
    start, end = (math.log(low), math.log(high)) if log else (low, high)
    levels = (at - start) * (LEVELS / (end - start) if end > start else 0.0)
    codes = np.where(np.isfinite(levels), np.rint(np.nan_to_num(levels)), MISSING).astype("<u2")
    text = base64.b64encode(codes.tobytes()).decode("ascii")
    return {"log": log, "low": low, "high": high, "codes": text}


def decode(packed: Mapping[str, Any], points: int) -> np.ndarray:
    """Undo `encode`, up to its error: float64 (rows, points)."""
    codes = np.frombuffer(base64.b64decode(packed["codes"]), "<u2").astype(np.float64)
    share = np.where(codes == MISSING, np.nan, codes / LEVELS)
    low, high = packed["low"], packed["high"]
    if packed["log"]:
        values = np.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        values = low + share * (high - low)
    return values.reshape(-1, points)


def pack(
    done: Mapping[str, Any], arrays: Mapping[str, np.ndarray], points: int, lanes: int
) -> list[dict[str, Any]]:
    """All curves of a record for the page, as plain data, one entry per curve.

    Args:
        done:   the record.
        arrays: name -> (lanes, points), as in its curves.npz; other arrays are not curves.
        points: maximum number of points per curve.
        lanes:  maximum number of single lanes per curve; summaries are over all lanes.
    """
    return list(_packed(done, arrays, points, lanes))


def _packed(
    done: Mapping[str, Any], arrays: Mapping[str, np.ndarray], points: int, lanes: int
) -> Iterator[dict[str, Any]]:
    for key, array in arrays.items():
        if np.ndim(array) != 2 or np.shape(array)[1] < 2:
            continue  # not a curve
        values = np.asarray(array, np.float64)
        name, count = parse(key), values.shape[0]
        kept = thin(values.shape[1], points)
        at = steps(done, name, values.shape[1])
        single = np.where(np.isfinite(values), values, np.nan)[: min(lanes, count), kept]
        rows = np.concatenate([summarise(values[:, kept]), single])
        yield {
            **name._asdict(),
            "steps": _whole(kept + 1 if at is None else at[kept]),
            "step_name": "point" if at is None else "step",
            "seconds": cost_of_step(done, name, "step_seconds"),
            "flops": cost_of_step(done, name, "step_flops"),
            "lanes": count,
            "seeds": seeds(done, name, count)[: min(lanes, count)],
            **encode(rows),
        }


def _whole(values: Sequence[float]) -> list[float]:
    """Numbers for JSON, whole ones without a decimal point."""
    return [int(value) if float(value).is_integer() else float(value) for value in values]
