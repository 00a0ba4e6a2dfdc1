"""The fine-tuning study's tables and figure, as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.moe_design.capacity_figures import spread
from jaxtrends.study import Figure, Panel, Table


def outcomes(values: Mapping[str, Any]) -> Table:
    """One row a network and size of the set, and one a capacity factor."""
    rows = []
    for model, arms in values["examples"].items():
        start = values["pretraining"][model]
        for examples, found in arms.items():
            rows.append(
                [
                    model,
                    start["parameters"],
                    float(np.median(start["steps"])),
                    float(np.median(start["loss"])),
                    int(examples),
                    found["tuning"]["rate"],
                    float(np.median(found["loss"])),
                    100 * float(np.mean(found.get("dropped", 0.0))),
                ]
            )
    most = max(values["examples"]["sparse"], key=int)
    for factor, found in values["capacity"].items():
        start = values["pretraining"]["sparse"]
        rows.append(
            [
                f"sparse, capacity {float(factor):g}",
                start["parameters"],
                float(np.median(start["steps"])),
                float(np.median(start["loss"])),
                int(most),
                found["tuning"]["rate"],
                float(np.median(found["loss"])),
                100 * float(np.mean(found["dropped"])),
            ]
        )
    return Table(
        "finetuning-outcomes",
        "Fine-tuning on a new cluster",
        [
            *("network", "parameters", "pretraining steps", "pretraining loss (nats)"),
            *("examples", "rate", "test loss (nats)", "dropped (%)"),
        ],
        rows,
        "Medians over seeds. Pretraining stops at a loss that both networks reach, seed by seed.",
    )


def grids(values: Mapping[str, Any]) -> Table:
    """One row a network, batch size and rate."""
    rows = [
        [model, int(batch), float(rate), float(np.median(losses))]
        for model, batches in values["grid"].items()
        for batch, rates in batches.items()
        for rate, losses in rates.items()
    ]
    return Table(
        "finetuning-grid",
        "Batch size and learning rate of fine-tuning",
        ["network", "batch (sequences)", "rate", "test loss (nats)"],
        rows,
        "Medians over seeds.",
    )


def over_examples(values: Mapping[str, Any]) -> Figure:
    """Test loss against the examples, and against the rate for every batch size."""
    sizes, rates = [], []
    for model, arms in values["examples"].items():
        x = sorted(arms, key=int)
        losses = [arms[examples]["loss"] for examples in x]
        sizes.append(spread(model, [int(examples) for examples in x], losses))
    for model, batches in values["grid"].items():
        for batch, found in batches.items():
            x = sorted(found, key=float)
            label = f"{model}, batch {batch}"
            rates.append(spread(label, [float(rate) for rate in x], [found[r] for r in x]))
    return Figure(
        "finetuning",
        "Sparse and dense networks, fine-tuned",
        f"Test loss on a new cluster over {len(values['seeds'])} seeds: median and range.",
        [
            Panel("examples", "examples", "test loss (nats)", sizes, x_scale="log"),
            Panel("rate and batch", "learning rate", "test loss (nats)", rates, x_scale="log"),
        ],
    )
