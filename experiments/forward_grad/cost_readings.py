"""The programs that the cost study times, by name, and what is read off its measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SETTLED_DEPTH = 4  # hidden layers from which the memory of a jvp is that of a deep network

FUNCTION, JVP, BACKPROP = "function", "jvp", "backprop"
GAUSSIAN, RADEMACHER = "forward gradient, gaussian", "forward gradient, rademacher"
BACKPROP_AGAIN = "backprop again"  # the same program, timed as if it were another one
PROJECTED = "backprop, projected"


def quotients(seconds: Mapping[str, Sequence[float]], method: str, reference: str) -> np.ndarray:
    """Time of a program over that of another on one network, round by round."""
    return np.asarray(seconds[method]) / np.asarray(seconds[reference])


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Least-squares slope of y over x.

    Raises:
        KeyError: fewer than two different x: this run cannot tell.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(set(x)) < 2:
        raise KeyError("two sizes to fit a slope to")
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())


def temporaries(
    compiled: Sequence[Mapping[str, Any]], method: str, width: int, batch: int
) -> dict[int, int]:
    """Depth -> temporary bytes of a program, as far as the backend told."""
    return {
        row["depth"]: row["temporary"]
        for row in sorted(compiled, key=lambda row: row["depth"])
        if (row["program"], row["width"], row["batch"]) == (method, width, batch)
        and "temporary" in row
    }


def bytes_per_layer(
    compiled: Sequence[Mapping[str, Any]], method: str, width: int, batch: int
) -> float:
    """Growth of a program's temporary memory with depth, by least squares.

    From `SETTLED_DEPTH` on: a jvp holds two neighbouring layers and their tangents at once, which
    the shallowest networks do not have.

    Raises:
        KeyError: the backend did not tell, or there are not two such depths.
    """
    held = temporaries(compiled, method, width, batch)
    deep = [depth for depth in held if depth >= SETTLED_DEPTH]
    return slope(deep, [held[depth] for depth in deep])


def networks_of_width(measurements: Mapping[str, Any], width: int) -> list[Mapping[str, Any]]:
    """The networks of one width, by increasing depth."""
    found = [network for network in measurements["networks"] if network["width"] == width]
    return sorted(found, key=lambda network: network["depth"])


def widths_of_several_depths(measurements: Mapping[str, Any]) -> list[int]:
    """The widths at which depth was varied, in increasing order.

    Raises:
        KeyError: there are none.
    """
    all_widths = [network["width"] for network in measurements["networks"]]
    widths = sorted({width for width in all_widths if all_widths.count(width) > 1})
    if not widths:
        raise KeyError("two depths of one width")
    return widths
