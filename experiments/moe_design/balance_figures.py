"""The balance study's table and figure, as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.moe_design.z_loss_figures import band
from jaxtrends.study import Figure, Panel, Table

LABELS = {
    "off": "no load-balancing loss",
    "global": "over all tokens",
    "group": "over each group",
}
CURVES = {
    "validation_cross_entropy": "validation loss (nats)",
    "validation_busiest": "busiest expert's load over the fair one",
    "validation_dropped": "dropped share of choices",
}


def outcomes(values: Mapping[str, Any]) -> Table:
    """One row an arm."""
    rows = [
        [
            LABELS[name],
            arm["tuning"]["rate"],
            *(float(np.median(arm[key])) for key in ("loss", "busiest")),
            100 * float(np.median(arm["dropped"])),
            *(float(np.median(arm[key])) for key in ("entropy", "information")),
        ]
        for name, arm in values["arms"].items()
    ]
    return Table(
        "balance-outcomes",
        "With and without the load-balancing loss",
        [
            *("balance", "rate", "test loss (nats)", "busiest expert", "dropped (%)"),
            *("router's entropy (nats)", "information on the cluster"),
        ],
        rows,
        "Medians over seeds. The busiest expert's load is told as a multiple of the fair one.",
    )


def over_training(values: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> Figure:
    """Loss, balance and drops over training."""
    panels = []
    for metric, label in CURVES.items():
        series = []
        for name in values["arms"]:
            curve = curves[f"{name}/{metric}"]
            steps = np.arange(1, curve.shape[1] + 1) * values["log_every"]
            series.append(band(LABELS[name], steps, curve))
        panels.append(Panel(label.partition(" (")[0], "step", label, series))
    return Figure(
        "balance",
        "What the load is balanced over",
        f"{len(values['seeds'])} seeds: median and the middle four fifths.",
        panels,
    )
