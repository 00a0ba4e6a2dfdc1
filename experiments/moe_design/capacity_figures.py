"""The capacity study's table and figure, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxtrends.study import Figure, Panel, Series, Table


def outcomes(values: Mapping[str, Any]) -> Table:
    """One row an arm and capacity factor of evaluation."""
    rows = []
    for top, arms in values["arms"].items():
        for factor, arm in arms.items():
            for evaluated, losses in arm["loss"].items():
                rows.append(
                    [
                        top,
                        float(factor),
                        float(evaluated),
                        arm["tuning"]["rate"],
                        float(np.median(losses)),
                        100 * float(np.mean(arm["dropped"][evaluated])),
                        arm["operations"],
                    ]
                )
    return Table(
        "capacity-outcomes",
        "Capacity in training and in evaluation",
        [
            *("routing", "capacity in training", "in evaluation", "rate", "test loss (nats)"),
            *("dropped (%)", "training FLOPs a token"),
        ],
        rows,
        "Losses are medians over seeds, dropped shares means, both of test data. FLOPs count the "
        "matrix products, and all places whether filled or not.",
    )


def spread(label: str, x: Sequence[float], samples: Sequence[Sequence[float]]) -> Series:
    """Median and range over seeds at each x."""
    kept = [(at, np.asarray(s)) for at, s in zip(x, samples, strict=True) if np.isfinite(s).all()]
    return Series(
        label,
        [at for at, _ in kept],
        [float(np.median(s)) for _, s in kept],
        [float(s.min()) for _, s in kept],
        [float(s.max()) for _, s in kept],
    )


def curves_of_capacity(values: Mapping[str, Any]) -> Figure:
    """Loss, dropped share and loss against cost, over the capacity factor."""
    own, wide, dropped, cost = [], [], [], []
    for top, arms in values["arms"].items():
        factors = sorted(arms, key=float)
        x = [float(factor) for factor in factors]
        widest = max(arms[factors[0]]["loss"], key=float)
        own_losses = [arms[factor]["loss"][factor] for factor in factors]
        own.append(spread(f"{top}, evaluated as trained", x, own_losses))
        if all(widest in arms[factor]["loss"] for factor in factors):
            label = f"{top}, evaluated with {float(widest):g}"
            wide.append(spread(label, x, [arms[factor]["loss"][widest] for factor in factors]))
        shares = [np.asarray(arms[factor]["dropped_in_training"]) for factor in factors]
        dropped.append(spread(top, x, [100 * share for share in shares]))
        cost.append(spread(top, [arms[factor]["operations"] for factor in factors], own_losses))
    return Figure(
        "capacity",
        "What capacity buys",
        f"Test loss and dropped choices over {len(values['seeds'])} seeds: median and range.",
        [
            Panel("loss", "capacity factor in training", "test loss (nats)", [*own, *wide]),
            Panel("dropped", "capacity factor in training", "dropped choices (%)", dropped),
            Panel("cost", "training FLOPs a token", "test loss (nats)", cost),
        ],
    )
