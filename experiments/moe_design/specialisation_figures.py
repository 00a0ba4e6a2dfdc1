"""The specialisation study's table and pictures, as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.moe_design.information import BYTE_CLASSES
from jaxtrends.study import Figure, Map, Panel, Table


def outcomes(values: Mapping[str, Any]) -> Table:
    """One row a mixture."""
    rows = []
    for name, task in values["tasks"].items():
        for layer, found in task["layers"].items():
            trained, untrained = found["trained"], found["untrained"]
            rows.append(
                [
                    name,
                    int(layer),
                    task["tuning"]["rate"],
                    float(np.median(task["loss"])),
                    float(np.median(trained["information"])),
                    float(np.median(trained["high"])),
                    float(np.median(untrained["information"])),
                ]
            )
    return Table(
        "specialisation",
        "What the choice of an expert tells",
        ["task", "layer", "rate", "test loss (nats)", "information", "chance", "before training"],
        rows,
        "Normalised mutual information of a token's first expert and its cluster (lookup) or its "
        "byte's class (English); medians over seeds. Chance is the upper end of the middle 95% of "
        "shuffles. On the lookup task the token that names the cluster is left out.",
    )


def who_goes_where(name: str, task: Mapping[str, Any]) -> Figure:
    """The share of each class's tokens that choose each expert, one seed."""
    english = name == "english"
    panels = []
    for layer, found in task["layers"].items():
        shares = np.asarray(found["who_goes_where"])
        panels.append(
            Panel(
                f"layer {layer}",
                "expert",
                "byte class" if english else "cluster",
                [],
                map=Map(
                    x=list(range(1, shares.shape[1] + 1)),
                    y=list(range(1, shares.shape[0] + 1)),
                    values=shares.tolist(),
                    label="share of the class's tokens",
                ),
            )
        )
    named = [f"{number} {kind}" for number, kind in enumerate(BYTE_CLASSES, start=1)]
    rows = f" Byte classes: {', '.join(named)}." if english else ""
    return Figure(
        f"specialisation-{name}",
        f"Who goes where: {name}",
        f"First choices on test data, seed {task['seeds'][0]}; a row adds up to one.{rows}",
        panels,
    )
