"""The headline figure: unstable runs with and without the router's z-loss, against the stress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from jaxtrends import charts, record
from jaxtrends.claims import INCONCLUSIVE, INVALID, REPRODUCED, Answers
from jaxtrends.study import Figure, Panel, Series

ARMS = {"bf16": "without z-loss", "bf16 + z": "with z-loss", "placebo": "a millionth of it"}
ROUTERS = {"bf16": "bfloat16 router", "f32": "float32 router"}
PAPER = Series(
    "paper: 2 of 6, 0 of 3", [0.0, 1.0], [100 * 2 / 6, 0.0], style="reported"
)  # Table 4; c_z = 1e-3
UNCLEAR = "did not clearly make"
SAID = {REPRODUCED: "made", INCONCLUSIVE: UNCLEAR, INVALID: UNCLEAR}


def figure(done: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> Figure:
    """Share of unstable runs against how fast the router learns; of older records, `_by_rate`."""
    answers = Answers(record.entries(done))
    try:
        verdict = answers["S1f"].verdict
    except KeyError:
        return _by_rate(done, SAID.get(answers["S1a"].verdict, "did not make"))
    said = SAID.get(verdict, "did not make")
    panel = charts.recorded(done, "z_loss", "z-loss-ladder/unstable runs")
    series = [_percent(one) for one in charts.renamed(panel, ARMS)]
    (stress,) = panel.marks.values()
    shown = {one.label: one.y[list(one.x).index(stress)] for one in series}
    without, with_it = shown[ARMS["bf16"]], shown[ARMS["bf16 + z"]]
    return charts.headline(
        f"With a router made to learn {stress:g} times as fast, its z-loss {said} fewer runs "
        f"unstable: {with_it:.0f}% against {without:.0f}%",
        "Runs whose loss climbed back by half a nat or was not finite, with Wilson's 95% "
        "intervals. The instability is provoked; in the paper 2 of 6 runs were unstable without "
        "the z-loss and none of 3 with it.",
        "factor on the router's updates (ratio)",
        "unstable runs (%)",
        series,
        x_scale="log",
    )


def _percent(series: Series) -> Series:
    shares = {axis: np.asarray(getattr(series, axis)) for axis in ("y", "low", "high")}
    return replace(series, **{axis: (100 * found).tolist() for axis, found in shares.items()})


def _by_rate(done: Mapping[str, Any], said: str) -> Figure:
    """Share of failed runs at a stressful learning rate, against the weight of the z-loss."""
    panel = charts.recorded(done, "z_loss", "z-loss-stability/reporting seeds")
    weight = 1e3 * done["results"]["config"]["z_loss"]["network"]["z"]
    shown = {series.label: series for series in panel.series}
    series = [
        _slope(panel, words, weight, shown[router], shown[f"{router} + z"])
        for router, words in ROUTERS.items()
        if f"{router} + z" in shown
    ]
    return charts.headline(
        f"The router z-loss {said} fewer runs unstable; in the paper, 2 of 6 became none of 3",
        "Runs at a learning rate sought to fail a third of them, with Wilson's 95% intervals.",
        "weight of the z-loss (thousandths)",
        "unstable runs (%)",
        [*series, PAPER],
    )


def _slope(panel: Panel, label: str, weight: float, without: Series, with_it: Series) -> Series:
    """From runs without the z-loss to those with it, at the stressful rate."""
    (rate,) = panel.marks.values()
    at = [(one, list(one.x).index(rate)) for one in (without, with_it)]
    y, low, high = (
        [100 * float(getattr(one, axis)[place]) for one, place in at]
        for axis in ("y", "low", "high")
    )
    return Series(label, [0.0, weight], y, low, high)
