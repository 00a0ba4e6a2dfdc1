"""What the study of test functions decides: claim F3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.forward_grad.test_functions import FUNCTIONS
from jaxtrends.claims import Claim, Control, Evidence


def settings_are_right(values: Mapping[str, Any]) -> Evidence:
    """F3a: backpropagation's final loss over that of the separate calculation."""
    return Evidence(
        {
            name: {"values": [found["backprop"]["finals"][0] / FUNCTIONS[name].backprop_final]}
            for name, found in values.items()
        }
    )


def _over_backprop(found: Mapping[str, Any], arm: str) -> dict[str, list[float]]:
    finals = found[arm]["finals"]
    return {"treatment": finals, "reference": found["backprop"]["finals"] * len(finals)}


def finals(values: Mapping[str, Any]) -> Evidence:
    """F3b: final losses of the forward gradient over backpropagation's, run by run."""
    parts = {name: _over_backprop(found, "gaussian") for name, found in values.items()}
    (control,) = (found for found in values.values() if "half as long" in found)
    return Evidence(parts, {"half as long": _over_backprop(control, "half as long")})


def divergence(values: Mapping[str, Any]) -> Evidence:
    """F3c: which runs of the forward gradient diverged."""
    parts = {name: {"values": found["gaussian"]["diverged"]} for name, found in values.items()}
    (control,) = (found for found in values.values() if "rate x 10" in found)
    return Evidence(parts, {"rate x 10": {"values": control["rate x 10"]["diverged"]}})


def times(measurements: Mapping[str, Any]) -> Evidence:
    """F3d: seconds of the forward gradient over backpropagation's, repetition by repetition."""
    return Evidence(
        {
            name: {"treatment": found["gaussian"], "reference": found["backprop"]}
            for name, found in measurements.items()
        }
    )


CLAIMS = (
    Claim(
        id="F3a",
        study="test_functions",
        statement="The starts read off the paper's plots, with its rates and iterations, give "
        "final losses of 5.560e-5 (Beale) and 5.322e-6 (Rosenbrock) by backpropagation.",
        source="derived",
        quantity="final loss of backpropagation, over that of a separate float64 calculation",
        statistic="exact",
        kind="exact",
        region=(0.99, 1.01),
        reason="the same deterministic descent: rounding moves it by far less than 1%, another "
        "start or rate by far more",
        evidence=settings_are_right,
    ),
    Claim(
        id="F3b",
        study="test_functions",
        statement="On Beale and Rosenbrock forward gradients match backpropagation per iteration.",
        source="paper",
        reported="final f about 5e-5 on Beale and about 5e-6 on Rosenbrock",
        where="Figure 2",
        known="figure",
        quantity="final loss of the forward gradient, over backpropagation's",
        statistic="median ratio",
        region=(0.5, 2.0),
        reason="as near as a logarithmic axis over six decades can be read",
        controls=(
            Control(
                "half as long",
                "fail",
                "forward gradients of half the length end far above backpropagation",
            ),
        ),
        evidence=finals,
    ),
    Claim(
        id="F3c",
        study="test_functions",
        statement="At the paper's rates forward gradients do not diverge on Beale and Rosenbrock.",
        source="derived",
        quantity="share of diverged runs",
        statistic="proportion",
        region=(-1.0, 0.05),
        reason="at most one run in twenty",
        controls=(Control("rate x 10", "fail", "at ten times the paper's rate runs must diverge"),),
        evidence=divergence,
    ),
    Claim(
        id="F3d",
        study="test_functions",
        statement="On Beale and Rosenbrock forward gradients take a little less time than "
        "backpropagation for the same iterations.",
        source="paper",
        reported="0.19 s against 0.21 s on Beale, 3.1 s against 4.1 s on Rosenbrock",
        where="Figure 2",
        known="figure",
        quantity="seconds of a descent with forward gradients, over backpropagation's",
        statistic="median ratio",
        region=(0.0, 1.0),
        reason="less time is a ratio below one",
        about="measurements",
        evidence=times,
    ),
)
