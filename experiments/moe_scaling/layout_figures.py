"""The layout study's tables and figures, as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.moe_scaling import drawing
from jaxtrends.study import Figure, Panel, Series, Table

HALVES = ("first_half", "second_half")


def halves(name: str, task: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> Figure:
    """Every layout's curve, and how the order of the halves changes as they train."""
    at = {arm: curves[f"{name}/{arm}/validation_cross_entropy"] for arm in task["arms"]}
    count = next(iter(at.values())).shape[1]
    steps = np.arange(1, count + 1) * float(task["log_every"])
    panels = [
        Panel(
            "layouts",
            "step",
            "validation loss (nats a token)",
            [drawing.band(arm.replace("_", " "), steps, curve) for arm, curve in at.items()],
        )
    ]
    if set(HALVES) <= set(at):
        first, second = (at[arm].astype(np.float64) for arm in HALVES)
        panels.append(
            Panel(
                "second half against first half",
                "step",
                "difference of loss (nats a token)",
                [drawing.interval_band("second - first", steps, second - first)],
                threshold=0.0,
                threshold_label="no difference",
            )
        )
    return Figure(
        f"layout-{name}",
        f"Layouts of experts: {name}",
        "Validation loss against steps, " + drawing.about(task) + " The difference of the halves "
        "is the mean over paired seeds with its 95 % interval; below 0 the second half is better.",
        panels,
    )


def parameters(tasks: Mapping[str, Any]) -> Figure:
    """Final loss against parameters."""
    return Figure(
        "layout-parameters",
        "Loss against parameters, by layout",
        "Final validation loss, the mean over the last tenth of the curve: median and range over "
        "seeds. The arithmetic of a token differs where a dense layer stands beside the experts.",
        [
            Panel(
                name,
                "parameters",
                "validation loss (nats a token)",
                [_point(arm, found) for arm, found in task["arms"].items()],
                x_scale="log",
            )
            for name, task in tasks.items()
        ],
    )


def _point(arm: str, found: Mapping[str, Any]) -> Series:
    return drawing.points(arm.replace("_", " "), [found["parameters"]], [found["final_loss"]])


def outcomes(tasks: Mapping[str, Any]) -> Table:
    """One row a layout and task."""
    rows = [
        [
            name,
            arm.replace("_", " "),
            " ".join(str(experts) for experts in found["experts"]),
            found["parameters"],
            found["operations"] / 1e6,
            found["learning_rate"],
            drawing.median(found["final_loss"]),
            drawing.median(found["test_loss"]),
            100 * float(np.mean(found["dropped"])) if "dropped" in found else 0.0,
            f"{found['diverged']} of {len(task['seeds'])}",
        ]
        for name, task in tasks.items()
        for arm, found in task["arms"].items()
    ]
    return Table(
        "layout-outcomes",
        "Layouts",
        [
            *("task", "layout", "experts by layer", "parameters", "MFLOP a token"),
            *("learning rate", "validation loss", "test loss", "dropped (%)", "diverged"),
        ],
        rows,
        "MFLOP are of training, without padding. Losses are medians over seeds, in nats a token; "
        "the validation loss is the mean over the last tenth of the curve.",
    )
