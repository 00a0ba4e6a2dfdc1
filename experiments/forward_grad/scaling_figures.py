"""The scaling study's tables and figures, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.forward_grad.intervals import spread
from jaxtrends.study import Figure, Panel, Series, Table


def _points(label: str, cells: Sequence[Mapping[str, Any]]) -> list[Series]:
    """The measured steps of some cells against d, and the exact law's."""
    x = [cell["dimension"] for cell in cells]
    means, halves = zip(*(spread(cell["steps"]) for cell in cells), strict=True)
    low, high = np.subtract(means, halves).tolist(), np.add(means, halves).tolist()
    return [
        Series(label, x, list(means), low, high, "points"),
        Series(label, x, [cell["exact"] for cell in cells], style="theory"),
    ]


def quadratics(
    found: Mapping[str, Any], tangents: Sequence[int], rank: int
) -> tuple[Figure, Table]:
    """Steps to the target against d, for every number of tangents and at the fixed rank."""
    isotropic = list(found["isotropic"].values())
    low_rank = list(found["low rank"].values())
    series = [
        one
        for k in tangents
        for one in _points(f"k = {k}", [cell for cell in isotropic if cell["tangents"] == k])
    ]
    series += _points(f"rank {rank}, k = 1", low_rank)
    figure = Figure(
        "steps_against_dimension",
        "Forward gradients slow down with the rank, not with the number of parameters",
        "Steps to a thousandth of the first loss at the best step size, with 95% intervals (mostly "
        "within the markers); dashed, the exact law. Backpropagation needs one step everywhere.",
        [Panel("Quadratics", "parameters d", "steps to 1e-3", series, "log", "log")],
    )
    rows = [
        [
            cell_rank,
            cell["dimension"],
            cell["tangents"],
            cell["exact"],
            *spread(cell["steps"]),
            cell["typical"],
            cell["tangents"] * float(np.mean(cell["steps"])),
        ]
        for cell_rank, cells in (("d", isotropic), (rank, low_rank))
        for cell in cells
    ]
    columns = ("rank", "d", "k", "exact law", "measured", "±", "typical descent", "jvps")
    note = (
        "± is half a 95% interval. The typical descent is the median first passage, in steps; "
        "jvps are measured steps times k."
    )
    return figure, Table("steps", "Steps to a thousandth of the first loss", columns, rows, note)


def regression(found: Mapping[str, Any]) -> tuple[Figure, Table]:
    """The excess-risk factor against d, from every start and after every number of samples."""
    dimensions = [int(name) for name in found]
    starts = found[str(dimensions[0])]
    panels, rows = [], []
    for start, names in starts.items():
        series = []
        for name in names:
            readings = [found[str(d)][start][name] for d in dimensions]
            factors = [np.divide(reading["forward"], reading["backprop"]) for reading in readings]
            means, halves = zip(*map(spread, factors), strict=True)
            low, high = np.subtract(means, halves).tolist(), np.add(means, halves).tolist()
            exact = [reading["exact"][0] / reading["exact"][1] for reading in readings]
            label = f"n = {name}"
            series.append(Series(label, dimensions, list(means), low, high, "points"))
            series.append(Series(label, dimensions, exact, style="theory"))
            rows += [
                [start, d, name, reading["samples"], mean, half, law, law / d]
                for d, reading, mean, half, law in zip(
                    dimensions, readings, means, halves, exact, strict=True
                )
            ]
        bound = [d * math.log(d) for d in dimensions]
        series.append(Series("d log d", dimensions, bound, style="theory"))
        title = f"Start at squared distance {start}"
        panels.append(Panel(title, "parameters d", "excess-risk factor", series, "log", "log"))
    figure = Figure(
        "regression_factor",
        "What the forward gradient loses to backpropagation in linear regression",
        "Excess risk of the forward gradient over that of backpropagation on the same n samples, "
        "each at its own best steps; through the points the exact recursion, beside them d log d.",
        panels,
    )
    columns = ("||θ*||²", "d", "n", "samples", "factor", "±", "exact", "exact / d")
    return figure, Table(
        "regression", "Excess risk, forward gradient over backpropagation", columns, rows
    )
