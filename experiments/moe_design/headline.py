"""The headline figure: what an expert's capacity buys, beside the paper's Table 8."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.moe_design import capacity
from jaxtrends import charts, record
from jaxtrends.claims import REPRODUCED, Answers
from jaxtrends.study import Figure, Series

MIDDLE = capacity.MIDDLE
# Top-2 routing: capacity factor in training and evaluation -> loss, the negative of its quality.
TABLE_8 = {0.75: 1.424, 1.0: 1.392, 1.25: 1.375, 2.0: 1.360}


LEAST = 0.015  # its smallest step: from 1.25 to 2.0


def figure(done: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> Figure:
    """How the loss changes from a capacity factor of 1.25 on, with one and with two experts."""
    found = Answers(record.entries(done))["S3a"]
    values = record.numbers(done["results"]["studies"]["capacity"]["values"])
    every = found.verdict == REPRODUCED
    series = [
        charts.interval(f"{top} routing", [*losses], np.transpose([*losses.values()]) - middle)
        for top, losses in _losses(values).items()
        for middle in [np.asarray(losses[MIDDLE])[:, None]]
    ]
    paper = Series(
        "paper, top-2 routing",
        [*TABLE_8],
        [loss - TABLE_8[MIDDLE] for loss in TABLE_8.values()],
        style="reported",
    )
    return charts.headline(
        f"{'Every' if every else 'Not every'} step up in the experts' capacity lowers the loss"
        + (f", by {-found.estimate:.2f} nats or more; the paper has {LEAST}" if every else ""),
        "Test loss, capacity alike in training and evaluation: mean of paired differences over "
        "seeds and its 95 % interval. The paper's are from its Table 8.",
        "capacity factor (places a token)",
        f"loss minus that at {MIDDLE:g} (nats)",
        [*series, paper],
        threshold=0.0,
    )


def _losses(values: Mapping[str, Any]) -> dict[str, dict[float, Any]]:
    """Routing -> capacity factor -> test losses, seed by seed."""
    if "arms" in values:  # records until November 2026
        return {
            top: {float(factor): rung["loss"][factor] for factor, rung in rungs.items()}
            for top, rungs in values["arms"].items()
        }
    found: dict[str, dict[float, Any]] = {}
    for task in values["tasks"].values():
        metrics = task["arms"][capacity.MIXTURE]["metrics"]
        found.setdefault(task["task"], {})[task["size"]] = metrics[capacity.at(task["size"])]
    return found
