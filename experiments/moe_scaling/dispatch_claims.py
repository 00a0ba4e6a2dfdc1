"""What the dispatch study measures, claim D7, and what no single machine can: claim D8."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from jaxtrends.claims import Claim, Control, Evidence


def _one_hot(name: str) -> Callable[[Mapping[str, Any]], Evidence]:
    def evidence(measured: Mapping[str, Any]) -> Evidence:
        experts, ways = max(measured["seconds"][name].items(), key=lambda item: int(item[0]))
        index = list(ways["index"])
        return Evidence(
            {f"{experts} experts": {"treatment": list(ways["one-hot"]), "reference": index}},
            {AGAIN.name: {"treatment": list(ways["index again"]), "reference": index}},
        )

    return evidence


AGAIN = Control(
    "index against itself", "fail", "the same program timed twice is not six times slower"
)

CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="D7a",
        study="dispatch",
        statement="Moving tokens by index makes the forward pass of a mixture layer at least six "
        "times faster than one-hot products do.",
        source="paper",
        reported="over 6x, for the kernels of the layer",
        where="Section 5.4",
        known="text",
        quantity="time of a whole layer, one-hot / by index, forward, at the most experts timed",
        statistic="paired ratio",
        region=(6.0, math.inf),
        reason="the factor that the paper names",
        evidence=_one_hot("forward"),
        about="measurements",
        controls=(AGAIN,),
    ),
    Claim(
        id="D7b",
        study="dispatch",
        statement="It also makes training at least three times faster, forward and backward.",
        source="derived",
        quantity="time of a whole layer, one-hot / by index, forward and backward, at the most "
        "experts timed",
        statistic="paired ratio",
        region=(3.0, math.inf),
        reason="half the factor that the paper names for the forward pass: the backward pass adds "
        "expert products that cost the same either way",
        evidence=_one_hot("forward and backward"),
        about="measurements",
        controls=(AGAIN,),
    ),
    Claim(
        id="D8",
        study="dispatch",
        statement="Inference is up to 7.3 times faster than that of other mixtures of experts, and "
        "4.5 times faster and 9 times cheaper than that of a dense model of the same quality.",
        source="paper",
        reported="7.3x; 4.5x faster, 9x cheaper",
        where="Section 5.5",
        known="text",
        quantity="latency of inference",
        statistic="paired ratio",
        region=(7.3, math.inf),
        reason="the paper's figure",
        evidence=None,
        about="measurements",
        not_testable="It is measured on 8 to 256 GPUs, where experts lie on many devices and their "
        "communication decides; one machine has nothing of that.",
    ),
)
