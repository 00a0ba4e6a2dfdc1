"""What `experiments.compute_trends.sensitivity` claims."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from jaxtrends.claims import Claim, Control, Evidence

ROBUST = 0.95


def share(name: str) -> Callable[[Mapping[str, Any]], Evidence]:
    """The share of the combinations for which a conclusion holds, and that by chance."""

    def evidence(values: Mapping[str, Any]) -> Evidence:
        return Evidence(
            {"": {"values": [values["conclusions"][name]["share"]]}},
            {"dealt anew": {"values": [values["dealt anew"][name]]}},
        )

    return evidence


def _claim(identifier: str, name: str, statement: str) -> Claim:
    return Claim(
        id=identifier,
        study="sensitivity",
        statement=statement,
        source="derived",
        quantity="share of the combinations of five choices for which it holds",
        statistic="exact",
        kind="exact",
        region=(ROBUST, math.inf),
        reason="it should hang on no single reading of the rules: nineteen of twenty",
        controls=(
            Control(
                "dealt anew", "fail", "with compute dealt out anew among the dates it must not hold"
            ),
        ),
        evidence=share(name),
    )


CLAIMS = (
    _claim(
        "S1",
        "faster",
        "Compute has doubled at least twice as fast since deep learning as before, in nineteen of "
        "twenty choices of its beginning, the windows and the thresholds.",
    ),
    _claim(
        "S2",
        "twenty months",
        "Before deep learning compute doubled every 17 to 25 months, in nineteen of twenty "
        "choices.",
    ),
    _claim(
        "S3",
        "six months",
        "Since deep learning compute has doubled every 5 to 7 months, in nineteen of twenty "
        "choices.",
    ),
    _claim(
        "S4",
        "slower",
        "Large-scale systems double more slowly than regular ones, in nineteen of twenty choices.",
    ),
    _claim(
        "S5",
        "ten months",
        "Large-scale systems double every 8 to 13 months, in nineteen of twenty choices.",
    ),
)
