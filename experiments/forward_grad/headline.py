"""The headline figure: the time of a forward gradient beside backprop's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.forward_grad import cost
from jaxtrends import charts, record
from jaxtrends.claims import Answers
from jaxtrends.study import Figure, Series

PAPER = 0.59  # R_f / R_b of its Figure 4, for the network of `cost.FIGURE_4`


def figure(done: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> Figure:
    """Forward gradient over backprop against depth, a line a width, with the paper's ratio."""
    found = Answers(record.entries(done))
    ratios = {law: found["F5a", law] for law in ("gaussian", "signs")}
    taken = " to ".join(sorted({f"{ratio.estimate:.1f}" for ratio in ratios.values()}))
    paper = cost.FIGURE_4
    signs = ratios["signs"]
    return charts.headline(
        f"A forward gradient takes {taken} times as long as backprop; the paper has {PAPER}",
        "One gradient of a network of dense layers, compiled: median and quartiles. "
        f"Tangents are Gaussian, as in the paper, or random signs; the title is of both, with "
        f"{paper.depth} layers of {paper.width} units.",
        "depth (hidden layers)",
        "time over backprop's (ratio)",
        [
            *_by_width(done),
            Series(
                f"{paper.width} units, random signs",
                [paper.depth],
                [signs.estimate],
                [signs.low],
                [signs.high],
                "points",
            ),
            Series(f"paper: {PAPER}", [paper.depth], [PAPER], style="reported"),
        ],
        x_scale="log",
        threshold=1.0,
        threshold_label="backprop",
    )


def _by_width(done: Mapping[str, Any]) -> list[Series]:
    """Time over backprop's against depth, a line a width, with Gaussian tangents."""
    values = record.numbers(done["measurements"]["studies"]["cost"]["values"])
    ratios: dict[int, dict[int, np.ndarray]] = {}
    for name, seconds in _seconds(values).items():
        depth, width = (int(size) for size in name.split(" x "))
        if cost.GAUSSIAN in seconds:
            ratio = np.divide(seconds[cost.GAUSSIAN], seconds[cost.BACKPROP])
            ratios.setdefault(width, {})[depth] = np.quantile(ratio, [0.25, 0.5, 0.75])
    return [
        Series(f"{width} units a layer", depths, middle, low, high)
        for width, by_depth in sorted(ratios.items())
        for depths in [sorted(by_depth)]
        for low, middle, high in [np.transpose([by_depth[depth] for depth in depths])]
    ]


def _seconds(values: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Network -> program -> seconds, a round each."""
    if "seconds" in values:  # records until November 2026
        return values["seconds"]
    batch = f", batch {values['batch']}"
    return {
        name.removesuffix(batch): {
            program: arm["metrics"]["seconds"]
            for program, arm in task["arms"].items()
            if "seconds" in arm["metrics"]
        }
        for name, task in values["tasks"].items()
        if name.endswith(batch)
    }
