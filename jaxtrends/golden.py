"""An experiment's golden values: the results of its smoke run, and how often they have changed.

``results/<experiment>/golden.json`` stores the values of every study of a smoke run, the versions
and device they were made with, and for each study an *edition*: a number that is raised when the
values change. A record names the editions it was made under, and is stale once one has been raised:
when behaviour changed, not when a line of code did. Golden values are changed on purpose, with a
reason, by ``python -m scripts.golden``.

**What counts as a change.** Differences are relative to the largest value in the same list. Other
instruction sets and fusions round differently, and training amplifies it. In four smoke runs on
AVX2 and SSE4.2 instead of AVX-512, nearly all values kept five digits, and up to 6% of a study's
values differed more, where a token went to another expert or the value itself is a rounding error.
A learning rate that is 1% off changes 17% to 64% of the values of every study that trains. So 10%
of values may exceed the tolerance, and none if versions and device are those of the golden values,
where two runs are bit-identical. Other versions of the same packages get ten times the tolerance:
they draw the same random numbers and differ only in rounding. Times are not included.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxtrends import record
from jaxtrends.errors import Problem

RESULTS = record.ROOT / "results"
TOLERANCE, OTHER_VERSIONS = 1e-4, 1e-3  # of the largest value in a list
ASTRAY = 0.1  # share of a study's values that may differ more on another device
NOTHING = 1e-12  # a difference that is always rounding
LARGEST, KEPT = 64, 16  # size up to which an array is stored whole, and numbers kept of larger ones
PARTS = {"edition", "versions", "device", "values"}  # of a study
DECIDING = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy")


def path_of(experiment: str) -> Path:
    """The path of an experiment's golden values, if it has any."""
    return RESULTS / experiment / "golden.json"


def read(experiment: str) -> dict[str, Any]:
    """An experiment's golden values; without studies if there are none yet.

    Raises:
        Problem: the file is damaged.
    """
    path = path_of(experiment)
    try:
        found = record.read_json(path)
        for study in found["studies"].values():
            if not ({*study} >= PARTS and isinstance(study["edition"], int)):
                raise ValueError("a study in it is incomplete")
    except FileNotFoundError:
        return {"experiment": experiment, "history": [], "studies": {}}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise Problem(
            f"{path} cannot be read as golden values ({record.first_line(error)}): restore it from "
            "git."
        ) from None
    return found


def editions(experiment: str) -> dict[str, int]:
    """Study -> the edition of its golden values, for those that have one."""
    return {name: study["edition"] for name, study in read(experiment)["studies"].items()}


def editions_of(done: Mapping[str, Any]) -> dict[str, int]:
    """Study -> the edition that a record's study was made under.

    Records without editions are older than these and count as the first edition, since no
    behaviour had changed until then.
    """
    return {name: code.get("golden", 1) for name, code in done["provenance"]["code"].items()}


def stale_studies(done: Mapping[str, Any]) -> list[str]:
    """A record's studies whose golden values have changed since, or that no longer exist."""
    now = editions(done["experiment"])
    return [name for name, then in editions_of(done).items() if now and now.get(name) != then]


# --- stored values -----------------------------------------------------------------------------


def kept(values: Any) -> Any:
    """Values of a study as stored in a golden file: plain data, with six digits per number.

    An array of more than `LARGEST` numbers is stored as its shape, the number of finite values,
    their mean and mean size, and `KEPT` evenly spaced numbers.
    """
    if isinstance(values, dict):
        return {key: kept(value) for key, value in values.items()}
    if isinstance(values, list):
        array = _array(values)
        return [kept(value) for value in values] if array is None else _summary(array)
    if isinstance(values, float) and math.isfinite(values):
        return float(f"{values:.6g}")
    return values


def _array(values: list[Any]) -> np.ndarray | None:
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError):  # texts, dicts, or lists of different lengths
        return None
    return array if array.size > LARGEST else None


def _summary(array: np.ndarray) -> dict[str, Any]:
    finite = array[np.isfinite(array)]
    means = [finite.mean(), np.abs(finite).mean()] if finite.size else []
    some = array.ravel()[np.linspace(0, array.size - 1, KEPT).astype(int)]
    return kept(
        {
            "shape": list(array.shape),
            "finite": int(finite.size),
            "mean, mean size": [float(mean) for mean in means],
            "some": some.tolist(),
        }
    )


# --- comparison --------------------------------------------------------------------------------


class Difference(NamedTuple):
    """How far a study's values are from its golden ones.

    moved: number of golden values that are missing, or differ by more than the tolerance.
    added: number of values without a golden value.
    count: number of golden values.
    first: the first difference in words; "" if there is none.
    """

    moved: int
    added: int
    count: int
    first: str

    def beyond(self, share: float) -> bool:
        """Whether more than this share of the values has changed or is new."""
        return max(self.moved, self.added) > share * self.count


def difference(old: Any, new: Any, tolerance: float) -> Difference:
    """Compare a study's golden values with others, both as `kept`."""
    before, after = (dict(_lists(record.numbers(values))) for values in (old, new))
    moved, first = 0, ""
    for path, was in before.items():
        now = after.get(path)
        if now is None or len(now) != len(was):
            apart = list(range(len(was))) or [0]
            said = f"{path} is missing" if now is None else f"{path} has another length"
        else:
            apart = _apart(was, now, tolerance)
            said = f"{path} is {now[apart[0]]!r:.60}, not {was[apart[0]]!r:.60}" if apart else ""
        moved, first = moved + len(apart), first or said
    fresh = [path for path in after if path not in before]
    if fresh:
        first = first or f"{fresh[0]} is new"
    return Difference(
        moved, sum(len(after[path]) or 1 for path in fresh), sum(map(len, before.values())), first
    )


def _lists(values: Any, path: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Yield every list of plain values with its path; a value outside a list counts as one."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _lists(value, f"{path}.{key}" if path else key)
    elif isinstance(values, list) and any(isinstance(value, (dict, list)) for value in values):
        for index, value in enumerate(values):
            yield from _lists(value, f"{path}.{index}")
    else:
        yield path, values if isinstance(values, list) else [values]


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _apart(old: list[Any], new: list[Any], tolerance: float) -> list[int]:
    """The indices at which two lists of equal length differ."""
    sizes = (abs(v) for v in (*old, *new) if _number(v) and math.isfinite(v))
    limit = max(tolerance * max(sizes, default=0.0), NOTHING)

    def same(one: Any, other: Any) -> bool:
        if not (_number(one) and _number(other)):
            return type(one) is type(other) and one == other
        if one == other or (math.isnan(one) and math.isnan(other)):
            return True
        return abs(one - other) <= limit

    return [place for place, pair in enumerate(zip(old, new, strict=True)) if not same(*pair)]


def _compare(
    study: Mapping[str, Any], done: Mapping[str, Any], name: str
) -> tuple[Difference, float]:
    """How far a record's study is from its golden values, and the share that may differ more."""
    made = _made_with(done, name)
    same = study["versions"] == made["versions"]
    values = kept(done["results"]["studies"][name]["values"])
    found = difference(study["values"], values, TOLERANCE if same else OTHER_VERSIONS)
    return found, 0.0 if same and study["device"] == made["device"] else ASTRAY


def _made_with(done: Mapping[str, Any], study: str) -> dict[str, Any]:
    versions = done["provenance"]["versions"]
    return {
        "versions": {name: versions.get(name, "none") for name in DECIDING},
        "device": done["provenance"]["code"][study]["device"],
    }


def faults(done: Mapping[str, Any], every: Sequence[str]) -> list[str]:
    """Where a smoke run differs from the golden values, one sentence per study.

    Args:
        done:  the record of a smoke run.
        every: the experiment's studies.
    """
    studies = read(done["experiment"])["studies"]
    found = {name: _fault(studies.get(name), done, name) for name in every}
    found |= {name: "no longer exists" for name in studies if name not in every}
    return [f"{done['experiment']}: {name} {fault}" for name, fault in found.items() if fault]


def _fault(study: Mapping[str, Any] | None, done: Mapping[str, Any], name: str) -> str:
    ran = name in done["results"]["studies"]
    if study is None or (study["values"] is None and ran):
        return "has no golden values yet"
    if not ran:
        return "" if study["values"] is None else "has golden values but is not in the smoke run"
    apart, share = _compare(study, done, name)
    if not apart.beyond(share):
        return ""
    return (
        f"has changed: {apart.first} ({apart.moved} of {apart.count} golden values changed, "
        f"{apart.added} are new)"
    )


# --- new values --------------------------------------------------------------------------------


def updated(
    done: Mapping[str, Any],
    every: Sequence[str],
    why: str,
    today: str,
    *,
    keep: bool = False,
    raised: Collection[str] = (),
) -> dict[str, Any]:
    """New golden values from a smoke run, with raised editions for studies that changed.

    A study that has not changed keeps its old values, so that small differences do not add up
    unnoticed.

    Args:
        done:   the record of a smoke run.
        every:  the experiment's studies. One that smoke leaves out has an edition but no values.
        why:    the reason, for the history.
        today:  the date, ISO 8601.
        keep:   store all values but raise no edition: behaviour is the same, and only names, order,
                rounding, versions or the smoke preset changed.
        raised: studies whose edition to raise although no value changed, since smoke does not cover
                the change.
    """
    golden = read(done["experiment"])
    studies = {}
    for name in every:
        old = golden["studies"].get(name)
        edition = old["edition"] if old else 1
        new = {"edition": edition, "versions": None, "device": None, "values": None}
        differs, moved = True, False
        if name in done["results"]["studies"]:
            values = kept(done["results"]["studies"][name]["values"])
            new |= {**_made_with(done, name), "values": values}
            if old and old["values"] is not None:
                apart, share = _compare(old, done, name)
                differs, moved = apart.beyond(share), apart.moved > share * apart.count
        if name in raised or (moved and not keep):
            new["edition"] += 1
        elif old and not differs and not keep:
            new = old
        studies[name] = new
    entry = {
        "date": today,
        "why": why,
        "editions": {
            name: study["edition"]
            for name, study in studies.items()
            if study != golden["studies"].get(name)
        },
    }
    if studies == golden["studies"]:
        return golden
    return {
        "experiment": done["experiment"],
        "history": [*golden["history"], entry],
        "studies": studies,
    }
