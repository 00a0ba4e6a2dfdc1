"""The estimators study's tables and figures, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.forward_grad.intervals import spread
from jaxtrends.study import Figure, Panel, Series, Table

ERROR = "relative error"


def _curve(label: str, axis: str, cells: Sequence[Mapping[str, Any]]) -> list[Series]:
    """Relative errors, the roots of relative squared ones, and their closed form."""
    x = [cell[axis] for cell in cells]
    means, halves = zip(*(spread(cell["error"]) for cell in cells), strict=True)
    low, middle, high = (
        np.sqrt(np.add(means, np.multiply(side, halves))).tolist() for side in (-1, 0, 1)
    )
    theory = np.sqrt([cell["closed_form"] for cell in cells]).tolist()
    return [
        Series(label, x, middle, low, high, "points"),
        Series(label, x, theory, style="theory"),
    ]


def relative_error(
    cells: Mapping[str, Any],
    laws: Sequence[str],
    dimensions: Sequence[int],
    tangents: Sequence[int],
) -> Figure:
    """Relative error against k and against d, for every law, beside the closed forms."""
    most, fewest = max(tangents), min(tangents)
    wide_enough = min((d for d in dimensions if d >= most), default=max(dimensions))
    by_tangents, by_dimension = [], []
    for law in laws:
        own = [cell for cell in cells.values() if cell["law"] == law]
        wide = [cell for cell in own if cell["dimension"] == wide_enough]
        single = [cell for cell in own if cell["tangents"] == fewest]
        by_tangents += _curve(law, "tangents", wide) if wide else []
        by_dimension += _curve(law, "dimension", single) if single else []
    title_k, title_d = f"{wide_enough} parameters", f"k = {fewest}"
    return Figure(
        "relative_error",
        "The relative error of a forward gradient obeys its closed form",
        "Root of the relative mean squared error, with 95% intervals (within the markers); dashed, "
        "the closed form of each law of tangents.",
        [
            Panel(title_k, "averaged tangents k", ERROR, by_tangents, "log", "log"),
            Panel(title_d, "parameters d", ERROR, by_dimension, "log", "log"),
        ],
    )


def finite_differences(
    values: Mapping[str, Any], modes: Sequence[str], directions: int, dimension: int
) -> Figure:
    """Relative error of the slope by each mode of differences, and by jvp, against their size."""
    panels = []
    for precision, found in values["differences"].items():
        sizes = values["epsilons"][precision]
        series = [Series(mode.replace("_", " "), sizes, found[mode]) for mode in modes]
        flat = found["jvp"] * len(sizes)
        series.append(Series("jvp, which has no size", sizes, flat))
        panels.append(Panel(precision, "size of the difference", ERROR, series, "log", "log"))
    return Figure(
        "finite_differences",
        "A forward gradient is exact along its tangent; a finite difference never is",
        f"Relative error of the estimate along one tangent, root mean square of {directions}, "
        f"against the size of the difference; {dimension} parameters.",
        panels,
    )


def tables(values: Mapping[str, Any]) -> list[Table]:
    """Errors of every cell, and of the slope at the best size of every difference."""
    rows = [
        [
            cell["law"],
            cell["dimension"],
            cell["tangents"],
            cell["closed_form"],
            *spread(cell["error"]),
            float(np.mean(cell["along"])),
            float(np.mean(cell["across"])),
        ]
        for cell in values["cells"].values()
    ]
    columns = ("law", "d", "k", "closed form", "relative MSE", "±", "bias along g", "bias across")
    note = "± is half a 95% interval; biases are projections of the mean error, over ||g||."
    sizes = values["epsilons"]
    best = [
        [precision, mode.replace("_", " "), min(errors), sizes[precision][np.argmin(errors)]]
        for precision, found in values["differences"].items()
        for mode, errors in found.items()
        if mode != "jvp"
    ]
    best += [
        [precision, "jvp", found["jvp"][0], ""]
        for precision, found in values["differences"].items()
    ]
    return [
        Table("errors", "Error of forward gradients", columns, rows, note),
        Table(
            "differences",
            "Relative error along one tangent, at the best size",
            ("precision", "slope by", "relative error", "size"),
            best,
        ),
    ]
