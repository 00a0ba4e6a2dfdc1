"""What the balance study's values decide: claim X1."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from experiments.moe_design.exchanged import EXCHANGED, exchange
from jaxtrends.claims import Claim, Evidence


def more(
    treatment: str, reference: str, measures: Mapping[str, str]
) -> Callable[[Mapping[str, Any]], Evidence]:
    """Evidence on one arm against another: a part a measure, told as the record and we name it."""

    def evidence(values: Mapping[str, Any]) -> Evidence:
        arms = values["arms"]
        parts, exchanged = {}, {}
        for key, name in measures.items():
            one, other = list(arms[treatment][key]), list(arms[reference][key])
            parts[name] = {"treatment": one, "reference": other}
            exchanged = exchange(one, other)
        edges = "; ".join(
            f"{arm}: tuned to the edge of the grid"
            for arm in (treatment, reference)
            if arms[arm]["tuning"]["edge"]
        )
        return Evidence(parts, {EXCHANGED.name: exchanged}, edges)

    return evidence


_TOLD = {"information": "information"}
_WORSE = {"loss": "test loss", "busiest": "busiest expert"}
_UNITS = "test cross-entropy (nats), and the busiest expert's load over the fair one"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="X1a",
        study="balance",
        statement="Balance over all tokens of the batch lets experts specialise more than balance "
        "over each group.",
        source="critic",
        where="Qwen (2025), arXiv 2501.11873, abstract",
        known="abstract",
        quantity="normalised mutual information of a token's first expert and its sequence's "
        "cluster, global less per group",
        statistic="paired difference",
        region=(0.0, math.inf),
        reason="0 is no difference",
        evidence=more("global", "group", _TOLD),
        controls=(EXCHANGED,),
    ),
    Claim(
        id="X1b",
        study="balance",
        statement="Balance over all tokens of the batch makes quality and balance worse than "
        "balance over each group.",
        source="paper",
        where="section on specialisation",
        known="text",
        quantity=f"{_UNITS}, global less per group",
        statistic="paired difference",
        region=(0.0, math.inf),
        reason="0 is no difference",
        evidence=more("global", "group", _WORSE),
        controls=(EXCHANGED,),
    ),
    Claim(
        id="X1c",
        study="balance",
        statement="Without the load-balancing loss quality and balance are worse.",
        source="derived",
        quantity=f"{_UNITS}, without the loss less with it over all tokens",
        statistic="paired difference",
        region=(0.0, math.inf),
        reason="0 is no difference",
        evidence=more("off", "global", _WORSE),
        controls=(EXCHANGED,),
    ),
)
