"""A record as the site's program compares and draws it: a script file of its own.

A page that was opened from disk may not fetch a file, but it may load a script. So a record's
curves and outcomes stand in a script that hands over one text of JSON and does nothing else. The
text cannot end early: every character that could end it is escaped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxtrends import curves, differences

POINTS, LANES = 20, 10  # of a curve, kept for drawing
MOST_SINGLE = 20_000  # points of single lanes in one file, which would be most of a large one
SIZES = ((POINTS, LANES), (POINTS, 0), (POINTS // 3, 0), (0, 0))  # tried until the file is small

BEGIN, END = "document.currentScript.record=JSON.parse('", "');\n"
ESCAPED = "<>&'\u2028\u2029"  # what could end a script, or the text in it


def has_curves(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether any array beside a record is a curve."""
    return any(np.ndim(array) == 2 and np.shape(array)[1] > 1 for array in arrays.values())


def script(
    done: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    label: str,
    claims: Sequence[Mapping[str, Any]],
    most: int,
) -> str:
    """The script of a record.

    Args:
        done:   the record.
        arrays: its curves, name -> (lanes, points).
        label:  how the pages call the record.
        claims: its claims as `jaxtrends.webpage_claim.view` has them.
        most:   bytes; a larger record loses lanes, then points, then all curves and outcomes.
    """
    side = differences.side_of(done, arrays, label, {})
    drawn = sum(np.ndim(array) == 2 for array in arrays.values())
    for points, lanes in SIZES:
        few = min(lanes, MOST_SINGLE // (POINTS * max(1, drawn)))
        packed = curves.pack(done, arrays, points, few) if points else []
        data = _data(done, side, claims, packed)
        text = wrapped(data)
        if len(text.encode()) <= most:
            return text
    return wrapped({**data, "outcomes": {}})


def _data(
    done: Mapping[str, Any],
    side: differences.Side,
    claims: Sequence[Mapping[str, Any]],
    packed: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    lists: list[list[Any]] = []  # of seeds and of steps, which many share

    def shared(values: Any) -> int:
        values = list(values)
        if values not in lists:
            lists.append(values)
        return lists.index(values)

    outcomes: dict[str, dict[str, Any]] = {}  # by all of their names but the last part
    for name, values in side.outcomes.items():
        group, _, last = name.rpartition("/")
        numbers = [_short(value) for value in values.values()]
        outcomes.setdefault(group, {})[last] = [shared(values), numbers]
    return {
        "label": side.label,
        "experiment": done["experiment"],
        "config": side.config,
        "data": side.data,
        "outcomes": outcomes,
        "claims": [[c["id"], c["statement"], c["verdict"], c["ours"]] for c in claims],
        "curves": [
            {**curve, "steps": shared(curve["steps"]), "seeds": shared(curve["seeds"])}
            for curve in packed
        ],
        "lists": lists,
    }


def _short(value: float) -> float | None:
    return float(f"{value:.8g}") if math.isfinite(value) else None


def wrapped(value: Any) -> str:
    """Plain data as a script that hands it over, and can do nothing else."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character in ESCAPED:
        text = text.replace(character, f"\\u{ord(character):04x}")
    return BEGIN + text.replace("\\", "\\\\") + END


def unwrapped(script: str) -> Any:
    """Undo `wrapped`.

    Raises:
        ValueError: it is no such script.
    """
    if not (script.startswith(BEGIN) and script.endswith(END)):
        raise ValueError("not a record's script")
    return json.loads(script[len(BEGIN) : -len(END)].replace("\\\\", "\\"))
