"""What the scaling study's values decide: claims F8 and F10."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.forward_grad.scaling import GROUPS, STARTS
from jaxtrends.claims import Claim, Control, Evidence


def _against_law(cell: Mapping[str, Any]) -> dict[str, Sequence[float]]:
    return {"treatment": cell["steps"], "reference": [cell["exact"]] * GROUPS}


def exact_rate(values: Mapping[str, Any]) -> Evidence:
    """F8a: steps over the exact law's, for every d and k."""
    found = values["quadratics"]
    (rademacher,), (too_long,) = found["rademacher"].values(), found["too long"].values()
    return Evidence(
        {name: _against_law(cell) for name, cell in found["isotropic"].items()},
        {"rademacher": _against_law(rademacher), "tangents 10% too long": _against_law(too_long)},
    )


def _growth(cells: Mapping[str, Any]) -> tuple[np.ndarray, list[int]]:
    """Steps with one tangent (groups, dimensions), and the dimensions."""
    chosen = sorted(
        (cell for cell in cells.values() if cell["tangents"] == 1),
        key=lambda cell: cell["dimension"],
    )
    if len(chosen) < 3:
        raise KeyError("three dimensions to fit a growth to")
    steps = np.array([cell["steps"] for cell in chosen], np.float64).T
    return steps, [cell["dimension"] for cell in chosen]


def _slopes(cells: Mapping[str, Any]) -> dict[str, list[float]]:
    steps, dimensions = _growth(cells)
    return {"values": np.polyfit(np.log(dimensions), np.log(steps).T, 1)[0].tolist()}


def flat_at_low_rank(values: Mapping[str, Any]) -> Evidence:
    """F8b: the log-log slope of the steps on d, at a fixed rank."""
    found = values["quadratics"]
    return Evidence(
        {"low rank": _slopes(found["low rank"])}, {"full rank": _slopes(found["isotropic"])}
    )


def log_share(factors: np.ndarray, dimensions: Sequence[int]) -> np.ndarray:
    """How much of a logarithm is in the growth of a factor with d: 0 for d, 1 for d log(d).

    ``factors`` (groups, dimensions). The least-squares slope of log(factor) on log(d), on the
    scale on which d has 0 and d log(d) has 1 over the same dimensions; (groups,).
    """
    logs = np.log(np.asarray(dimensions, np.float64))
    centred = logs - logs.mean()
    slopes = np.log(factors) @ centred / (centred @ centred)
    of_the_law = np.log(logs) @ centred / (centred @ centred)
    return (slopes - 1) / of_the_law


def logarithm(values: Mapping[str, Any]) -> Evidence:
    """F10a: the share of the logarithm in the growth of the excess-risk factor."""
    regression = values["regression"]
    dimensions = [int(name) for name in regression]
    if len(dimensions) < 3:
        raise KeyError("three dimensions to fit a growth to")
    parts = {}
    for start in STARTS:
        for name in regression[str(dimensions[0])][start]:
            readings = [regression[str(d)][start][name] for d in dimensions]
            factors = np.array([np.divide(r["forward"], r["backprop"]) for r in readings])
            shares = log_share(factors.T, dimensions)
            parts[f"n = {name}, ||θ*||² = {start}"] = {"values": shares.tolist()}
    steps, sizes = _growth(values["quadratics"]["isotropic"])
    further = steps * np.log(sizes)  # to lose a factor of d, not of a thousand, up to a constant
    controls = {
        "quadratic from afar": {"values": log_share(further, sizes).tolist()},
        "quadratic": {"values": log_share(steps, sizes).tolist()},
    }
    return Evidence(parts, controls)


def recursion(values: Mapping[str, Any]) -> Evidence:
    """F10b: the measured excess-risk factor over the exact recursion's, at the most samples."""
    parts = {}
    for d, starts in values["regression"].items():
        reading = max(starts["1"].values(), key=lambda reading: reading["samples"])
        exact = reading["exact"][0] / reading["exact"][1]
        parts[f"d={d}"] = {
            "treatment": reading["forward"],
            "reference": [exact * risk for risk in reading["backprop"]],
        }
    return Evidence(parts)


CLAIMS = (
    Claim(
        id="F8a",
        study="scaling",
        statement="On an isotropic quadratic at the best step, forward gradients multiply the mean "
        "loss by (d + 1) / (k + d + 1) a step.",
        source="derived",
        quantity="steps to a thousandth of the first loss, over the exact law's",
        statistic="paired ratio",
        region=(0.98, 1.02),
        reason="an equivalence within 2%: tangents 10% too long take 4.5% more steps and must fail",
        controls=(
            Control(
                "rademacher",
                "pass",
                "another law of tangents must obey its own exact rate, 1 - 1/d at the step 1/d",
            ),
            Control(
                "tangents 10% too long",
                "fail",
                "the same step with tangents of variance 1.21 is off the best step",
            ),
        ),
        evidence=exact_rate,
    ),
    Claim(
        id="F8b",
        study="scaling",
        statement="At a fixed rank, however it is turned, the number of parameters does not slow "
        "forward gradients down.",
        source="derived",
        quantity="log-log slope of the steps to a thousandth of the first loss on d",
        statistic="mean",
        region=(-0.05, 0.05),
        reason="flat: within a twentieth of the slope of about one that full rank has",
        controls=(Control("full rank", "fail", "at full rank the steps grow about like d"),),
        evidence=flat_at_low_rank,
    ),
    Claim(
        id="F10a",
        study="scaling",
        statement="In linear regression the excess risk of the forward gradient exceeds that of "
        "stochastic gradient descent by a factor that grows like d log(d).",
        source="critic",
        reported="d² log(d) / n against d / n after n samples, for n ≳ d² log(d)",
        where="abstract of Bos and Schmidt-Hieber (arXiv 2309.15001), an upper bound",
        known="abstract",
        quantity="share of the logarithm in the growth of the excess-risk factor with d (0: the "
        "factor grows like d; 1: like d log d), both methods at their own best steps",
        statistic="mean",
        region=(0.5, 1.5),
        reason="nearer to d log(d) than to d, and as near from above",
        controls=(
            Control(
                "quadratic from afar",
                "pass",
                "on the isotropic quadratic, steps to lose a factor of d in the loss grow like "
                "d log(d)",
            ),
            Control(
                "quadratic",
                "fail",
                "on the isotropic quadratic, steps to lose a factor of a thousand grow like d",
            ),
        ),
        evidence=logarithm,
    ),
    Claim(
        id="F10b",
        study="scaling",
        statement="In linear regression at the best steps the excess-risk factor between forward "
        "gradient and stochastic gradient descent is that of the exact recursion, which tends to "
        "d + 2.",
        source="derived",
        quantity="excess-risk factor, over the exact recursion's, at the most samples from the "
        "nearer start",
        statistic="paired ratio",
        region=(0.8, 1.25),
        reason="a quarter either way, where a logarithm would be a factor of 2 to 4",
        evidence=recursion,
    ),
)
