"""The cost study's tables and figures, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.forward_grad.cost_readings import (
    BACKPROP,
    BACKPROP_AGAIN,
    FUNCTION,
    GAUSSIAN,
    JVP,
    PROJECTED,
    RADEMACHER,
    SETTLED_DEPTH,
    bytes_per_layer,
    networks_of_width,
    quotients,
    temporaries,
    widths_of_several_depths,
)
from jaxtrends.study import Figure, Panel, Series, Table

LABELS = {GAUSSIAN: "forward gradient", JVP: "jvp alone", BACKPROP: "backprop"}


def _spread(values: np.ndarray) -> str:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def conditions(measurements: Mapping[str, Any]) -> str:
    """Where and under what load the times were taken; a warning where they prove little."""
    device, load = measurements["device"], measurements["load_average"]
    noise = [quotients(s, BACKPROP_AGAIN, BACKPROP) for s in measurements["seconds"].values()]
    text = (
        f"Batch {measurements['batch']}. Medians over rounds, quartiles in brackets. "
        f"Device: {device['platform']} {device['kind']}, {device['processor']}, "
        f"{device['cores']} cores. "
        f"Backprop's time over its own, all networks: {_spread(np.concatenate(noise))}."
    )
    loads = [value for value in load.values() if value is not None]
    if len(loads) == len(load):
        text += f" Load average {load['before']:.1f} before and {load['after']:.1f} after."
    # This process alone keeps every core busy, and its own threads at times wait for one.
    if any(value > device["cores"] + 0.5 for value in loads):
        text += " Warning: the machine was not idle; the times prove nothing."
    return text


def time_table(measurements: Mapping[str, Any]) -> Table:
    """R_f, R_b and their quotient for every network and law of tangents."""
    rows = []
    for network in measurements["networks"]:
        seconds = measurements["seconds"][network["name"]]
        for method, law in ((GAUSSIAN, "gaussian"), (RADEMACHER, "signs")):
            if method in seconds:
                rows.append(
                    [
                        network["depth"],
                        network["width"],
                        law,
                        1e3 * float(np.median(seconds[FUNCTION])),
                        _spread(quotients(seconds, method, FUNCTION)),
                        _spread(quotients(seconds, BACKPROP, FUNCTION)),
                        _spread(quotients(seconds, method, BACKPROP)),
                        _spread(quotients(seconds, JVP, BACKPROP)),
                    ]
                )
    return Table(
        "cost_time",
        "Time of a forward gradient (R_f) and of backprop (R_b) over that of the function",
        ("layers", "width", "tangent", "f [ms]", "R_f", "R_b", "R_f / R_b", "jvp alone / R_b"),
        rows,
        conditions(measurements),
    )


def operation_table(values: Mapping[str, Any], measurements: Mapping[str, Any]) -> Table:
    """Operations counted in products beside XLA's count, in units of the function's."""
    told = {
        (row["depth"], row["width"], row["batch"], row["program"]): row.get("operations", math.nan)
        for row in measurements["compiled"]
    }
    rows = []
    for row in values["operations"]:
        network, f = (row["depth"], row["width"], measurements["batch"]), row[FUNCTION]
        xla = [told[*network, m] / told[*network, FUNCTION] for m in (JVP, GAUSSIAN, BACKPROP)]
        counted = [row["parameters"], f / 1e6, row[JVP] / f, row[BACKPROP] / f]
        rows.append([row["depth"], row["width"], *counted, *xla])
    return Table(
        "cost_operations",
        "Operations of one gradient over those of the function",
        (
            *("layers", "width", "parameters", "f [Mflop]", "jvp / f", "backprop / f"),
            *("XLA: jvp / f", "XLA: forward gradient / f", "XLA: backprop / f"),
        ),
        rows,
        "Counted in the matrix products of the traced programs; XLA counts all floating-point "
        "operations of the compiled ones, and so the arithmetic of the draw, though not its "
        "random bits.",
    )


def memory_table(values: Mapping[str, Any], measurements: Mapping[str, Any]) -> Table:
    """Memory of every program at the least and the greatest depth, and its growth between."""
    compiled, rows = measurements["compiled"], []
    sizes = {(row["depth"], row["width"]): 4 * row["parameters"] for row in values["operations"]}
    for program, width, batch in dict.fromkeys(
        (row["program"], row["width"], row["batch"]) for row in compiled
    ):
        try:
            held = temporaries(compiled, program, width, batch)
            growth = bytes_per_layer(compiled, program, width, batch)
            backprop = bytes_per_layer(compiled, BACKPROP, width, batch)
        except KeyError:  # one depth only, or the backend did not tell
            continue
        copies = 1 if program == FUNCTION else 2
        span = f"{min(held)} to {max(held)}"
        of_parameters = copies * sizes[max(held), width] / 1e6
        growths = [growth / 1e3, growth / backprop]
        megabytes = [held[min(held)] / 1e6, held[max(held)] / 1e6]
        rows.append([width, batch, span, program, *megabytes, of_parameters, *growths])
    return Table(
        "cost_memory",
        "Memory of the compiled programs",
        (
            *("width", "batch", "layers", "program", "temporary, shallowest [MB]"),
            *("temporary, deepest [MB]", "parameter copies, deepest [MB]"),
            *("temporary per layer [kB]", "share of backprop's"),
        ),
        rows,
        "Temporary memory is the compiler's figure. Parameter copies are counted: every program "
        "holds the parameters, jvp the tangent too, backprop and forward gradients the gradient. "
        "A forward gradient's tangent is among the temporaries unless it is in the gradient's "
        f"place, or drawn again. Growth is taken from {SETTLED_DEPTH} layers on. "
        f"'{PROJECTED}' computes what jvp does from backprop's gradient, and is the control.",
    )


def cost_figure(values: Mapping[str, Any], measurements: Mapping[str, Any]) -> Figure:
    """Times and temporary memory against depth."""
    widths = widths_of_several_depths(measurements)
    widest = widths[-1]
    counted = sorted(
        (row["depth"], row[JVP] / row[FUNCTION])
        for row in values["operations"]
        if row["width"] == widest
    )
    depths, operations = zip(*counted, strict=True)
    over_function = Panel(
        title=f"Width {widest}, batch {measurements['batch']}",
        x_label="hidden layers",
        y_label="time over that of the function (R_f, R_b)",
        series=[
            *(_ratios(measurements, LABELS[m], widest, m, FUNCTION) for m in LABELS),
            Series("operations, jvp and backprop", depths, operations, style="theory"),
        ],
        x_scale="log",
    )
    over_backprop = Panel(
        title="Forward gradient over backprop",
        x_label="hidden layers",
        y_label="R_f / R_b",
        series=[
            _ratios(measurements, f"width {width}", width, GAUSSIAN, BACKPROP) for width in widths
        ],
        x_scale="log",
        threshold=1.0,
        threshold_label="no saving",
    )
    compiled = measurements["compiled"]
    memory_panels = [
        Panel(
            title=f"Temporary memory, width {widest}, batch {batch}",
            x_label="hidden layers",
            y_label="temporary memory [MB]",
            series=[
                Series(label, list(held), [size / 1e6 for size in held.values()])
                for method, label in LABELS.items()
                if (held := temporaries(compiled, method, widest, batch))
            ],
        )
        for batch in sorted({row["batch"] for row in compiled if row["width"] == widest})
    ]
    return Figure(
        "cost",
        "What a gradient costs against depth",
        "Bands are quartiles over rounds. " + conditions(measurements),
        [over_function, over_backprop, *memory_panels],
    )


def _ratios(
    measurements: Mapping[str, Any], label: str, width: int, method: str, reference: str
) -> Series:
    """`quotients` against depth: their medians, in a band of their quartiles."""
    grid = networks_of_width(measurements, width)
    ratios = [
        quotients(measurements["seconds"][network["name"]], method, reference) for network in grid
    ]
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75), axis=1)
    depths = [network["depth"] for network in grid]
    return Series(label, depths, list(middle), list(low), list(high))
