"""The dispatch study's tables and figures, as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.moe_scaling import drawing
from jaxtrends.study import Figure, Panel, Table


def times(seconds: Mapping[str, Any]) -> Table:
    """Milliseconds of a pass."""
    rows = [
        [
            name,
            int(experts),
            *(1e3 * float(np.median(ways[way])) for way in ("index", "one-hot")),
            drawing.spelled(drawing.ratio(ways["one-hot"], ways["index"])),
            drawing.spelled(drawing.ratio(ways["index again"], ways["index"])),
        ]
        for name, counts in seconds.items()
        for experts, ways in counts.items()
    ]
    return Table(
        "dispatch-times",
        "Time of a mixture layer, by how tokens are moved",
        ["pass", "experts", "by index (ms)", "one-hot (ms)", "one-hot / index", "index / itself"],
        rows,
        "Medians over rounds; ratios are geometric means with their 95 % intervals.",
    )


def ratios(seconds: Mapping[str, Any]) -> Figure:
    """One-hot over index against the number of experts."""
    series = [
        drawing.points(
            name,
            [int(experts) for experts in counts],
            [np.asarray(ways["one-hot"]) / np.asarray(ways["index"]) for ways in counts.values()],
        )
        for name, counts in seconds.items()
    ]
    return Figure(
        "dispatch-ratios",
        "One-hot products against indices",
        "Time of a layer that moves tokens by one-hot products over that of one that moves them by "
        "index: median and range over rounds.",
        [
            Panel(
                "one layer",
                "experts",
                "ratio of time",
                series,
                x_scale="log",
                threshold=6.0,
                threshold_label="the paper's factor",
            )
        ],
    )
