"""What the distillation study's values decide: claim D6."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxtrends.claims import Claim, Control, Evidence


def _losses(values: Mapping[str, Any], who: str) -> list[float]:
    return list(np.asarray(values["students"][who]["final_loss"], np.float64))


def _edge(values: Mapping[str, Any]) -> str:
    return "the students are tuned to the edge of their grid" if values["grid"]["edge"] else ""


def _staged(values: Mapping[str, Any]) -> Evidence:
    none = _losses(values, "none")
    return Evidence(
        {"students": {"treatment": _losses(values, "staged"), "reference": none}},
        {UNTRAINED.name: {"treatment": _losses(values, "untrained_teacher"), "reference": none}},
        _edge(values),
    )


def _late(values: Mapping[str, Any]) -> Evidence:
    staged = _losses(values, "staged")
    return Evidence(
        {"students": {"treatment": _losses(values, "full"), "reference": staged}},
        {LEFT.name: {"treatment": staged, "reference": _losses(values, "none")}},
        _edge(values),
    )


UNTRAINED = Control(
    "untrained teacher", "fail", "a teacher that knows nothing must not help its student"
)
LEFT = Control(
    "a teacher that left",
    "fail",
    "one that leaves must not harm as well, or it is not the staying that does",
)

CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="D6a",
        study="distillation",
        statement="A student of one layer less ends at a lower loss if a teacher helps it for the "
        "first part of its training.",
        source="paper",
        where="Section 4.2, Figure 5",
        known="text",
        quantity="final validation loss of staged distillation - that without a teacher (nats a "
        "token)",
        statistic="paired difference",
        region=(-math.inf, 0.0),
        reason="0 is a teacher that does not matter",
        evidence=_staged,
        controls=(UNTRAINED,),
    ),
    Claim(
        id="D6b",
        study="distillation",
        statement="A teacher that stays to the end harms: the student ends at a higher loss than "
        "one whose teacher left.",
        source="paper",
        reported="distillation hurts after about 400,000 steps",
        where="Section 4.2, Figure 5",
        known="text",
        quantity="final validation loss of full distillation - that of staged (nats a token)",
        statistic="paired difference",
        region=(0.0, math.inf),
        reason="0 is a teacher that may as well stay",
        evidence=_late,
        controls=(LEFT,),
    ),
)
