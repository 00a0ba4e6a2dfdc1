"""The headline figure: unstable runs without and with the router's z-loss, and the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxtrends import charts, record
from jaxtrends.claims import INCONCLUSIVE, REPRODUCED, Answers
from jaxtrends.study import Figure, Panel, Series

ROUTERS = {"bf16": "bfloat16 router", "f32": "float32 router"}
PAPER = Series(
    "paper: 2 of 6, 0 of 3", [0.0, 1.0], [100 * 2 / 6, 0.0], style="reported"
)  # Table 4; c_z = 1e-3
SAID = {REPRODUCED: "made", INCONCLUSIVE: "did not clearly make"}


def figure(done: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> Figure:
    """Share of unstable runs at the stressful rate against the weight of the z-loss."""
    said = SAID.get(Answers(record.entries(done))["S1a"].verdict, "did not make")
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
        "Runs at a learning rate sought to fail a third of them, with Wilson's 95 % intervals.",
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
