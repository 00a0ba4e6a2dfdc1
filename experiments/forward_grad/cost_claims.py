"""What the cost study's values and measurements decide: claims F5a, F5b and F6."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.forward_grad.cost import FIGURE_4, Network
from experiments.forward_grad.cost_readings import (
    BACKPROP,
    BACKPROP_AGAIN,
    FUNCTION,
    GAUSSIAN,
    JVP,
    PROJECTED,
    RADEMACHER,
    SETTLED_DEPTH,
    bytes_per_layer,
    networks_of_width,
    quotients,
    slope,
    widths_of_several_depths,
)
from jaxtrends.claims import Claim, Control, Evidence

NOT_KEPT = "activations that backprop does not keep"


def _time_evidence(measurements: Mapping[str, Any]) -> Evidence:
    seconds = measurements["seconds"][FIGURE_4.name]

    def against_backprop(method: str) -> dict[str, Sequence[float]]:
        return {"treatment": seconds[method], "reference": seconds[BACKPROP]}

    return Evidence(
        {"gaussian": against_backprop(GAUSSIAN), "signs": against_backprop(RADEMACHER)},
        {
            "backprop timed twice": against_backprop(BACKPROP_AGAIN),
            "function alone": against_backprop(FUNCTION),
        },
    )


def _operation_evidence(values: Mapping[str, Any]) -> Evidence:
    rows = values["operations"]
    parts = {
        Network(row["depth"], row["width"]).name: {"values": [row[JVP] / row[BACKPROP]]}
        for row in rows
    }
    control = {"values": [rows[-1][FUNCTION] / rows[-1][BACKPROP]]}
    return Evidence(parts, {"function alone": control})


def _depth_evidence(measurements: Mapping[str, Any]) -> Evidence:
    def rises(method: str, width: int) -> dict[str, list[float]]:
        """Slope of log (program / backprop) over log depth, one a round."""
        grid = networks_of_width(measurements, width)
        logs = [
            np.log(quotients(measurements["seconds"][network["name"]], method, BACKPROP))
            for network in grid
        ]
        depths = np.log([network["depth"] for network in grid])
        return {"values": [slope(depths, ratios) for ratios in np.transpose(logs)]}

    widths = widths_of_several_depths(measurements)
    return Evidence(
        {f"width {width}": rises(GAUSSIAN, width) for width in widths},
        {"backprop timed twice": rises(BACKPROP_AGAIN, widths[-1])},
    )


def _memory_evidence(measurements: Mapping[str, Any]) -> Evidence:
    compiled = measurements["compiled"]
    widths = widths_of_several_depths(measurements)
    batches = sorted({row["batch"] for row in compiled})

    def share(method: str, width: int, batch: int) -> dict[str, list[float]]:
        backprop = bytes_per_layer(compiled, BACKPROP, width, batch)
        return {"values": [bytes_per_layer(compiled, method, width, batch) / backprop]}

    parts = {
        f"width {width}, batch {batch}": share(JVP, width, batch)
        for width in widths
        for batch in batches
    }

    def not_kept(width: int, batch: int) -> dict[str, list[float]]:
        """Share of the activations, a float a unit and example, that backprop's growth lacks."""
        kept = bytes_per_layer(compiled, BACKPROP, width, batch) / (4 * width * batch)
        return {"values": [max(0.0, 1 - kept)]}

    return Evidence(
        parts,
        {
            PROJECTED: share(PROJECTED, widths[-1], batches[-1]),
            NOT_KEPT: not_kept(widths[-1], batches[-1]),
        },
    )


CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="F5a",
        study="cost",
        statement="A forward gradient takes much less time than backprop.",
        source="paper",
        reported="R_f/R_b = 0.586 and 0.598",
        where="Figure 4, upper and lower row",
        known="figure",
        quantity="seconds of a forward gradient over seconds of backprop, MLP 784-1024-1024-10, "
        "no update; the paper's batch is 64, as in the presets",
        statistic="median ratio",
        region=(0.0, 0.8),
        reason="0.8 lies midway between the paper's 0.6 and no saving at all",
        about="measurements",
        controls=(
            Control("backprop timed twice", "fail", "a program saves nothing against itself"),
            Control("function alone", "pass", "it does about a third of backprop's operations"),
        ),
        evidence=_time_evidence,
    ),
    Claim(
        id="F5b",
        study="cost",
        statement="A directional derivative in all weights takes as many operations as backprop.",
        source="derived",
        quantity="operations of jvp over those of backprop, in the products of the traced programs",
        statistic="exact",
        kind="exact",
        region=(0.95, 1.05),
        reason="the count is of products, beside which 5% stand for all other operations",
        controls=(Control("function alone", "fail", "it has no derivative to compute"),),
        evidence=_operation_evidence,
    ),
    Claim(
        id="F6a",
        study="cost",
        statement="The forward gradient's saving of time shrinks as networks get deeper.",
        source="paper",
        reported="R_f/R_b from about 0.56 at 1 layer to about 0.85 at 100",
        where="Figure 6",
        known="figure",
        quantity="slope of log(R_f/R_b) over log(hidden layers), one a round",
        statistic="median",
        region=(0.045, math.inf),
        reason="half of the rise read off the paper's figure: log(0.85/0.56)/log(100) = 0.09",
        about="measurements",
        controls=(
            Control("backprop timed twice", "fail", "its ratio to itself is 1 at every depth"),
        ),
        evidence=_depth_evidence,
    ),
    Claim(
        id="F6b",
        study="cost",
        statement="A directional derivative keeps no activations: its temporary memory does not "
        "grow with depth as backprop's does.",
        source="derived",
        quantity="temporary bytes per hidden layer of compiled jvp over those of compiled "
        f"backprop, from {SETTLED_DEPTH} layers on; the tangent, an argument, not counted",
        statistic="exact",
        kind="exact",
        region=(-0.05, 0.05),
        reason="forward mode needs no memory per layer; 5% leave room for a compiler's small ends",
        about="measurements",
        controls=(
            Control(PROJECTED, "fail", "the same derivative by way of backprop keeps activations"),
            Control(
                NOT_KEPT,
                "pass",
                "what a compiler reports must hold backprop's activations: XLA's report for a GPU "
                "holds none for networks of this size, so that nothing can be compared",
            ),
        ),
        evidence=_memory_evidence,
    ),
)
