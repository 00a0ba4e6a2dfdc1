"""The headline figure: what accuracy is lost to sharing a pass, beside the paper's MNLI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxtrends import charts, record
from jaxtrends.claims import Answers
from jaxtrends.study import Figure, Series

ARMS = {  # words -> study, task, arm
    "Transformer, counting": ("tokens", "majority", "warmed"),
    "dense layers, digits": ("images", "mlp", "orthogonal"),
    "convolutions, digits": ("images", "cnn", "orthogonal"),
}
# Read off the project page: accuracy on MNLI after the same warm-up, orthogonal maps.
MNLI = {1: 64.5, 2: 61.3, 5: 58.6, 10: 56.3, 20: 56.7, 40: 55.9}


def figure(done: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> Figure:
    """Change of accuracy against inputs in a pass, of ours and of the paper's Transformer."""
    found = Answers(record.entries(done))["M4"]
    studies = record.numbers(done["results"]["studies"])
    lost = {words: _lost(studies[study]["values"], *arm) for words, (study, *arm) in ARMS.items()}
    series = [charts.interval(words, *samples) for words, samples in lost.items() if samples]
    paper = Series(
        "paper: Transformer, MNLI",
        [*MNLI],
        [accuracy - MNLI[1] for accuracy in MNLI.values()],
        style="reported",
    )
    return charts.headline(
        f"Ten sequences in a pass cost a small Transformer {-found.estimate:.0f} points of "
        f"accuracy; the paper's lost {MNLI[1] - MNLI[10]:.0f}",
        "Test accuracy against that of one input in a pass, at equal passes: mean of paired "
        "differences over seeds and its 95 % interval. The paper's are read off its project page.",
        "inputs in one pass (N)",
        "change of accuracy (points)",
        [*series, paper],
        x_scale="log",
        threshold=0.0,
        threshold_label="one input in a pass",
    )


def _lost(values: Mapping[str, Any], task: str, arm: str) -> tuple[list[int], np.ndarray] | None:
    """Inputs in a pass, and (seeds, rungs) points of accuracy gained on one input; or nothing."""
    rungs = {
        rung["size"]: np.asarray(rung["arms"][arm]["metrics"]["test_accuracy"])
        for rung in values["tasks"].values()
        if rung["task"] == task and arm in rung["arms"]
    }
    if 1 not in rungs:
        return None
    return [*rungs], 100 * np.stack([rung - rungs[1] for rung in rungs.values()], axis=-1)
