"""What `experiments.compute_trends.projection` claims."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from jaxtrends.claims import Claim, Control, Evidence

WHY = (
    "a higher density is a better prediction; the samples are the later systems, whose errors are "
    "not quite independent, so that the intervals are rather too narrow"
)


def better(trend: str, than: str) -> Callable[[Mapping[str, Any]], Evidence]:
    """Log densities that two trends gave to the same later systems, a part a cutoff."""

    def evidence(values: Mapping[str, Any]) -> Evidence:
        scored = {
            cutoff: made["trends"]
            for cutoff, made in values["backtest"].items()
            if {trend, than, "one line"} <= set(made["trends"])
        }
        if not scored:
            raise KeyError(f"backtest of {trend}")
        parts = {
            f"up to {cutoff}": {
                "treatment": found[trend]["log density"],
                "reference": found[than]["log density"],
            }
            for cutoff, found in scored.items()
        }
        last = max(scored)
        moved = {
            "treatment": values["backtest"][last]["moved line"],
            "reference": scored[last]["one line"]["log density"],
        }
        return Evidence(parts, {"moved line": moved})

    return evidence


def _claim(identifier: str, statement: str, trend: str, than: str) -> Claim:
    return Claim(
        id=identifier,
        study="projection",
        statement=statement,
        source="derived",
        quantity=f"log density of later systems by {trend} less that by {than} [nat]",
        statistic="paired difference",
        region=(0.0, math.inf),
        reason=WHY,
        controls=(
            Control("moved line", "fail", "one line moved down by five orders predicts worse"),
        ),
        evidence=better(trend, than),
    )


CLAIMS = (
    _claim(
        "P1",
        "The trend that grows faster after a kink predicts later systems better than one line.",
        "kink",
        "one line",
    ),
    _claim(
        "P2",
        "Regular and large-scale trends side by side predict later systems better than one trend "
        "of the deep-learning era.",
        "regular and large-scale",
        "deep-learning era",
    ),
)
