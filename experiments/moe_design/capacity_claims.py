"""What the capacity study's values decide: claims S3 and S4; two that no machine here can."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from jaxtrends.claims import Claim, Control, Evidence

MIDDLE = "1.25"
WIDE = "2.0"


def steps(arms: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Neighbouring capacity factors, smaller first, as the record spells them."""
    return list(pairwise(sorted(arms, key=float)))


def _own(arms: Mapping[str, Any], factor: str) -> list[float]:
    """Loss evaluated with the capacity of training."""
    return list(arms[factor]["loss"][factor])


def _untrained(values: Mapping[str, Any]) -> dict[str, list[float]]:
    factors = sorted(values["untrained"], key=float)
    return {
        "treatment": list(values["untrained"][factors[-1]]),
        "reference": list(values["untrained"][factors[0]]),
    }


def _edges(values: Mapping[str, Any]) -> str:
    edges = [
        f"{top}, capacity {factor}"
        for top, arms in values["arms"].items()
        for factor, arm in arms.items()
        if arm["tuning"]["edge"]
    ]
    return f"tuned to the edge of the grid: {'; '.join(edges)}" if edges else ""


def monotone(values: Mapping[str, Any]) -> Evidence:
    """S3a: loss of each capacity factor and of the next smaller one."""
    parts = {
        f"{top}, {small} to {large}": {
            "treatment": _own(arms, large),
            "reference": _own(arms, small),
        }
        for top, arms in values["arms"].items()
        for small, large in steps(arms)
    }
    if not parts:
        raise KeyError("second capacity factor")
    return Evidence(parts, {"untrained net": _untrained(values)}, _edges(values))


def wide_evaluation(values: Mapping[str, Any]) -> Evidence:
    """S3b: loss evaluated with a capacity factor of two, and with that of training."""
    parts = {
        f"{top}, {factor}": {
            "treatment": list(arm["loss"][WIDE]),
            "reference": list(arm["loss"][factor]),
        }
        for top, arms in values["arms"].items()
        for factor, arm in arms.items()
        if float(factor) < float(WIDE) and WIDE in arm["loss"]
    }
    if not parts:
        raise KeyError("evaluation with a capacity factor of 2")
    return Evidence(parts, {"untrained net": _untrained(values)})


def few_dropped(values: Mapping[str, Any]) -> Evidence:
    """S3c: share of choices dropped at a capacity factor of 1.25, top-1."""
    arms = values["arms"]["top-1"]
    least = min(arms, key=float)
    parts = {"": {"values": list(arms[MIDDLE]["dropped_in_training"])}}
    return Evidence(parts, {"least capacity": {"values": list(arms[least]["dropped_in_training"])}})


def second_expert(values: Mapping[str, Any]) -> Evidence:
    """S4: what a second expert gains at one capacity, and what capacity gains."""
    one, two = values["arms"]["top-1"], values["arms"]["top-2"]
    least = min(two, key=float)

    def gain(before: list[float], after: list[float]) -> list[float]:
        return [b - a for b, a in zip(before, after, strict=True)]

    capacity = gain(_own(two, MIDDLE), _own(two, WIDE))
    parts = {"": {"treatment": gain(_own(one, MIDDLE), _own(two, MIDDLE)), "reference": capacity}}
    known = {"treatment": gain(_own(two, least), _own(two, WIDE)), "reference": capacity}
    return Evidence(parts, {"all the capacity there is": known}, _edges(values))


_UNTRAINED = Control("untrained net", "fail", "capacity cannot help experts that know nothing")

CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="S3a",
        study="capacity",
        statement="Every larger capacity factor gives a lower loss.",
        source="paper",
        reported="top-1 from 1.0 to 1.25: +0.011; top-2 from 1.25 to 2.0: +0.009 (negative "
        "log-perplexity)",
        where="Table 8",
        known="text",
        quantity="test cross-entropy of a capacity factor less that of the next smaller one "
        "(nats), each evaluated as it was trained",
        statistic="paired difference",
        region=(-math.inf, 0.0),
        reason="the sign: how much is gained depends on the task",
        evidence=monotone,
        controls=(_UNTRAINED,),
    ),
    Claim(
        id="S3b",
        study="capacity",
        statement="More capacity in evaluation than in training lowers the loss.",
        source="paper",
        reported="top-1 trained with 0.75: -1.428 evaluated with 0.75, -1.404 with 2.0",
        where="Table 8",
        known="text",
        quantity="test cross-entropy evaluated with a capacity factor of 2.0 less that with the "
        "factor of training (nats)",
        statistic="paired difference",
        region=(-math.inf, 0.0),
        reason="the sign: how much is gained depends on the task",
        evidence=wide_evaluation,
        controls=(_UNTRAINED,),
    ),
    Claim(
        id="S3c",
        study="capacity",
        statement="At a capacity factor of 1.25 with the load-balancing loss, hardly any token "
        "is dropped at the end of training.",
        source="critic",
        reported="typically less than 1%",
        where="Fedus et al. (2021), Switch Transformers",
        known="text",
        quantity="share of choices dropped, top-1, mean over the last tenth of the evaluations",
        statistic="mean",
        region=(-math.inf, 0.01),
        reason="the figure as printed",
        evidence=few_dropped,
        controls=(
            Control("least capacity", "fail", "with few places many choices must be dropped"),
        ),
    ),
    Claim(
        id="S4",
        study="capacity",
        statement="At one capacity a second expert for each token gains less than capacity does.",
        source="paper",
        reported="+0.004 for a second expert at 1.25; +0.009 for a capacity of 2.0 with two",
        where="Table 8",
        known="text",
        quantity="gain of top-2 over top-1 at 1.25 less the gain of 2.0 over 1.25 with top-2, "
        "test cross-entropy (nats)",
        statistic="paired difference",
        region=(-math.inf, 0.0),
        reason="0 is an equal gain",
        evidence=second_expert,
        controls=(
            Control(
                "all the capacity there is", "fail", "a gain known to be larger is not smaller"
            ),
        ),
    ),
    Claim(
        id="S10",
        study="capacity",
        statement="A layer should have at most one expert per core, and gains fade above 256 "
        "experts.",
        source="paper",
        where="section 5",
        known="text",
        quantity="time of a training step, and loss, over the experts of a layer",
        statistic="paired ratio",
        region=(-math.inf, 1.0),
        reason="1 is no difference",
        evidence=None,
        not_testable="it is about the traffic between hundreds of accelerator cores, each of which "
        "holds an expert; here all experts share one device",
    ),
    Claim(
        id="S11",
        study="capacity",
        statement="A sparse network of 269 thousand million parameters, with the arithmetic of a "
        "dense one of 32, does well on SuperGLUE.",
        source="paper",
        reported="91.2 on SuperGLUE",
        where="in the text",
        known="text",
        quantity="score on SuperGLUE",
        statistic="mean",
        region=(91.2, math.inf),
        reason="the score as printed",
        evidence=None,
        not_testable="pretraining on 1.5 million million tokens is out of reach of one machine",
    ),
)
