"""What the specialisation study's values decide: claim S8."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxtrends.claims import Claim, Control, Evidence


def mixtures(values: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Every measured mixture by name."""
    return {
        f"{name}, layer {layer}": found
        for name, task in values["tasks"].items()
        for layer, found in task["layers"].items()
    }


def _edges(values: Mapping[str, Any]) -> str:
    edges = [name for name, task in values["tasks"].items() if task["tuning"]["edge"]]
    return "; ".join(f"{name}: tuned to the edge of the grid" for name in edges)


def above_chance(values: Mapping[str, Any]) -> Evidence:
    """S8a: information of a trained router above the null's upper end, per seed."""
    parts, shuffled = {}, {}
    for name, found in mixtures(values).items():
        trained = {key: np.asarray(found["trained"][key]) for key in ("information", "high", "one")}
        parts[name] = {"values": list(trained["information"] - trained["high"])}
        shuffled = {"values": list(trained["one"] - trained["high"])}
    return Evidence(parts, {"a shuffle": shuffled}, _edges(values))


def like_a_decoder(values: Mapping[str, Any]) -> Evidence:
    """S8b: information of a trained router."""
    parts = {
        name: {"values": list(found["trained"]["information"])}
        for name, found in mixtures(values).items()
    }
    one_each = {}
    for found in mixtures(values).values():
        one_each = {"values": list(found["one_each"]["information"])}
    return Evidence(parts, {"an expert a class": one_each}, _edges(values))


def learned(values: Mapping[str, Any]) -> Evidence:
    """S8c: information of the router after training and before."""
    parts, shuffled = {}, {}
    for name, found in mixtures(values).items():
        before = list(found["untrained"]["information"])
        parts[name] = {"treatment": list(found["trained"]["information"]), "reference": before}
        shuffled = {"treatment": list(found["trained"]["one"]), "reference": before}
    return Evidence(parts, {"a shuffle": shuffled}, _edges(values))


_QUANTITY = (
    "normalised mutual information of a token's first expert and its sequence's cluster or its "
    "byte's class"
)

CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="S8a",
        study="specialisation",
        statement="The expert that a token chooses tells more of what the token is than chance "
        "allows.",
        source="derived",
        quantity=f"{_QUANTITY}, less the upper end of the middle 95% of shuffles",
        statistic="mean",
        region=(0.0, math.inf),
        reason="0 is the end of the null's band",
        evidence=above_chance,
        controls=(Control("a shuffle", "fail", "labels of other sequences tell nothing"),),
    ),
    Claim(
        id="S8b",
        study="specialisation",
        statement="A decoder's experts do not specialise (this network is a decoder).",
        source="paper",
        reported="entropy of where sentinel tokens go: 3.4 of at most 3.5 in all six decoder "
        "layers, 1.2 to 2.2 in the encoder's",
        where="Table 14",
        known="text",
        quantity=_QUANTITY,
        statistic="mean",
        region=(-math.inf, 0.1),
        reason="a tenth lies between the paper's decoder, whose entropy is 2% below the largest, "
        "and its encoder, where it is 37% to 66% below",
        evidence=like_a_decoder,
        controls=(Control("an expert a class", "fail", "which is what specialised means"),),
    ),
    Claim(
        id="S8c",
        study="specialisation",
        statement="It is training that makes experts differ in what they are sent.",
        source="derived",
        quantity=f"{_QUANTITY}, after training less before",
        statistic="paired difference",
        region=(0.0, math.inf),
        reason="a random router tells something of a token as well; 0 is nothing learned",
        evidence=learned,
        controls=(
            Control("a shuffle", "fail", "a trained router tells nothing of other sequences"),
        ),
    ),
)
