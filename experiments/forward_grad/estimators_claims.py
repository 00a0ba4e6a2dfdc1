"""What the estimators study's values decide: claims F1 and F2."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.forward_grad.estimators import DIFFERENCES, EXACT_DRAWS
from jaxtrends.claims import Claim, Control, Evidence


def unbiased(values: Mapping[str, Any]) -> Evidence:
    """F1a: projections of the mean error, for every cell."""
    parts = {}
    for name, cell in values["cells"].items():
        parts[f"{name}, along the gradient"] = {"values": cell["along"]}
        parts[f"{name}, along a random direction"] = {"values": cell["across"]}
    controls = {name: {"values": cell["along"]} for name, cell in values["controls"].items()}
    return Evidence(parts, controls)


def _over_closed_form(cell: Mapping[str, Any]) -> dict[str, list[float]]:
    return {"values": [error / cell["closed_form"] for error in cell["error"]]}


def variance_law(values: Mapping[str, Any]) -> Evidence:
    """F1b: relative mean squared error over its closed form, for every cell."""
    return Evidence(
        {name: _over_closed_form(cell) for name, cell in values["cells"].items()},
        {"10% too long": _over_closed_form(values["controls"]["10% too long"])},
    )


def exact_square(values: Mapping[str, Any]) -> Evidence:
    """F1c: the largest squared error with as many orthogonal tangents as parameters."""
    return Evidence(
        {f"d=k={d}": {"values": [error]} for d, error in values["orthogonal_square"].items()},
        {"gaussian": {"values": [values["gaussian_square"]]}},
    )


def exact_slope(values: Mapping[str, Any]) -> Evidence:
    """F2a: relative error of jvp in float32."""
    found = values["differences"]["float32"]
    return Evidence(
        {"float32": {"values": found["jvp"]}},
        {"central difference": {"values": [min(found["central_difference"])]}},
    )


def beats_differences(values: Mapping[str, Any]) -> Evidence:
    """F2b: error of jvp over the best central difference's."""
    found = values["differences"]
    best = {
        (precision, mode): min(found[precision][mode])
        for precision in found
        for mode in ("jvp", *DIFFERENCES)
    }
    over = {
        (precision, mode): error / best[precision, "central_difference"]
        for (precision, mode), error in best.items()
    }
    return Evidence(
        {precision: {"values": [over[precision, "jvp"]]} for precision in found},
        {"forward difference": {"values": [over["float32", "forward_difference"]]}},
    )


def valley(values: Mapping[str, Any]) -> Evidence:
    """F2c: the lower end of the curve of errors over its lowest point."""

    def depth(errors: Sequence[float]) -> dict[str, list[float]]:
        return {"values": [min(errors[0], errors[-1]) / min(errors)]}

    parts = {
        f"{mode.replace('_', ' ')}, {precision}": depth(found[mode])
        for precision, found in values["differences"].items()
        for mode in DIFFERENCES
    }
    return Evidence(parts, {"jvp": depth(values["differences"]["float32"]["jvp"])})


WRONG = Control("10% too long", "fail", "an estimate multiplied by 1.1 is wrong by 10%")

CLAIMS = (
    Claim(
        id="F1a",
        study="estimators",
        statement="Forward gradients are unbiased, whatever the law of their tangents.",
        source="paper",
        reported="unbiased",
        where="abstract",
        known="abstract",
        quantity="mean error along a direction, over the length of the gradient",
        statistic="mean",
        region=(-0.02, 0.02),
        reason="an equivalence within 2%, a fifth of the error that must be found",
        controls=(
            WRONG,
            Control("clipped at 1", "fail", "cutting the slope to [-1, 1] biases the estimate"),
        ),
        evidence=unbiased,
    ),
    Claim(
        id="F1b",
        study="estimators",
        statement="The relative mean squared error of a forward gradient is (d - 2 + κ) / k for "
        "independent components of kurtosis κ, (d - 1) / k for the sphere and for coordinates, and "
        "d / k - 1 for orthogonal tangents.",
        source="derived",
        quantity="relative mean squared error, over its closed form",
        statistic="mean",
        region=(0.98, 1.02),
        reason="an equivalence within 2%; an estimate 10% too long is off by 21%",
        controls=(WRONG,),
        evidence=variance_law,
    ),
    Claim(
        id="F1c",
        study="estimators",
        statement="With as many orthogonal tangents as parameters, a forward gradient is the "
        "gradient itself.",
        source="derived",
        quantity=f"largest relative squared error of {EXACT_DRAWS} estimates in float64",
        statistic="exact",
        kind="exact",
        region=(-math.inf, 1e-20),
        reason="rounding alone, squared, and room for the orthogonalisation",
        controls=(Control("gaussian", "fail", "gaussian tangents have errors at k = d"),),
        evidence=exact_square,
    ),
    Claim(
        id="F2a",
        study="estimators",
        statement="Along its tangent a forward gradient is exact: forward-mode differentiation has "
        "no error but rounding.",
        source="paper",
        reported="exact",
        where="abstract",
        known="abstract",
        quantity="relative error of the slope in float32",
        statistic="exact",
        kind="exact",
        region=(-math.inf, 1e-5),
        reason="a hundred roundings of float32",
        controls=(
            Control("central difference", "fail", "central differences of the best size are worse"),
        ),
        evidence=exact_slope,
    ),
    Claim(
        id="F2b",
        study="estimators",
        statement="No size of a finite difference comes near to forward-mode differentiation.",
        source="derived",
        quantity="relative error of jvp, over that of central differences at their best size",
        statistic="exact",
        kind="exact",
        region=(-math.inf, 0.1),
        reason="at least ten times better",
        controls=(
            Control("forward difference", "fail", "one-sided differences do not beat central ones"),
        ),
        evidence=beats_differences,
    ),
    Claim(
        id="F2c",
        study="estimators",
        statement="Finite differences have a best size, far from which they fail either way.",
        source="derived",
        quantity="error at the better end of the range of sizes, over the error at the best size",
        statistic="exact",
        kind="exact",
        region=(10.0, math.inf),
        reason="a valley, an order of magnitude deep from either side",
        controls=(Control("jvp", "fail", "jvp has no size to choose, so its curve is flat"),),
        evidence=valley,
    ),
)
