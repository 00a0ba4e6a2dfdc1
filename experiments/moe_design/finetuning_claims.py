"""What the fine-tuning study's values decide: claims S5, S6 and S7."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.moe_design.exchanged import EXCHANGED, exchange
from jaxtrends.claims import Claim, Control, Evidence

MARGIN = 0.02  # nats
FEW_PLACES, MANY_PLACES = "0.9", "2.0"  # top-1 with 0.9 places a token drops a tenth at least
DROPPED = (0.1, 0.2)  # what passes for the paper's 10 to 15%


def _edges(found: Mapping[str, Mapping[str, Any]]) -> str:
    edges = [name for name, outcome in found.items() if outcome["tuning"]["edge"]]
    return "; ".join(f"{name}: tuned to the edge of the grid" for name in edges)


def flip(values: Mapping[str, Any]) -> Evidence:
    """S5: who is worse on the fewest and on the most examples."""
    sparse, dense = values["examples"]["sparse"], values["examples"]["dense"]
    sizes = sorted(sparse, key=int)
    if len(sizes) < 2:
        raise KeyError("second number of examples")
    few, many = sizes[0], sizes[-1]
    parts = {
        f"sparse worse on {few}": {
            "treatment": list(sparse[few]["loss"]),
            "reference": list(dense[few]["loss"]),
        },
        f"dense worse on {many}": {
            "treatment": list(dense[many]["loss"]),
            "reference": list(sparse[many]["loss"]),
        },
    }
    edges = {
        f"{model}, {size}": arms[size]
        for model, arms in values["examples"].items()
        for size in (few, many)
    }
    exchanged = {EXCHANGED.name: exchange(sparse[few]["loss"], dense[few]["loss"])}
    return Evidence(parts, exchanged, _edges(edges))


def slopes(grid: Mapping[str, Mapping[str, Any]], along: str) -> np.ndarray:
    """Per seed, the slope of the test loss against the doublings of the rate or of the batch.

    Args:
        grid:  batch -> rate -> loss per seed.
        along: "rate" or "batch"; the other is averaged over.
    """
    batches = sorted(grid, key=int)
    rates = sorted(grid[batches[0]], key=float)
    losses = np.asarray([[grid[batch][rate] for rate in rates] for batch in batches], np.float64)
    if along == "rate":
        x, y = np.log2([float(rate) for rate in rates]), losses.mean(axis=0)
    else:
        x, y = np.log2([int(batch) for batch in batches]), losses.mean(axis=1)
    centred = x - x.mean()
    with np.errstate(invalid="ignore"):  # a lane that diverged has no slope
        return centred @ y / (centred @ centred)


def interaction(along: str) -> Any:
    """S6: the sparse network's slope less the dense one's."""

    def evidence(values: Mapping[str, Any]) -> Evidence:
        sparse, dense = (slopes(values["grid"][model], along) for model in ("sparse", "dense"))
        parts = {"": {"treatment": list(sparse), "reference": list(dense)}}
        return Evidence(parts, {EXCHANGED.name: exchange(sparse, dense)})

    return evidence


def harmless_drops(values: Mapping[str, Any]) -> Evidence:
    """S7: test loss after fine-tuning with few and with many places."""
    arms = values["capacity"]
    few, many = arms[FEW_PLACES], arms[MANY_PLACES]
    parts = {"": {"treatment": list(few["loss"]), "reference": list(many["loss"])}}
    sizes = sorted(values["examples"]["sparse"], key=int)
    least = list(values["examples"]["sparse"][sizes[0]]["loss"])
    control = {"treatment": least, "reference": list(many["loss"])}
    undecided = [_edges({"few": few, "many": many})]
    share = float(np.mean(few["dropped"]))
    if not DROPPED[0] <= share <= DROPPED[1]:
        undecided.append(f"{share:.0%} of the tokens were dropped")
    return Evidence(parts, {"fewest examples": control}, "; ".join(filter(None, undecided)))


CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="S5",
        study="finetuning",
        statement="From equal pretraining a sparse network is worse than a dense one after "
        "fine-tuning on few examples, and better on many.",
        source="paper",
        reported="dense / sparse: 100 / 98.2 on CB (250 examples), 95.2 / 93.3 on WSC (259), "
        "85.1 / 87.4 on SuperGLUE",
        where="Figure 3 and Table 10",
        known="text",
        quantity="test cross-entropy on the new cluster, the network named less the other (nats)",
        statistic="paired difference",
        region=(0.0, math.inf),
        reason="the sign is to flip between the fewest and the most examples",
        evidence=flip,
        controls=(EXCHANGED,),
    ),
    Claim(
        id="S6a",
        study="finetuning",
        statement="A sparse network wants a higher learning rate in fine-tuning than a dense one.",
        source="paper",
        reported="sparse 85.92 / 85.25 / 84.88 at 1e-3 / 5e-4 / 1e-4, dense 83.98 / 84.40 / 84.73 "
        "(means over batch sizes, taken by us)",
        where="Table 20",
        known="derived",
        quantity="slope of the test cross-entropy against doublings of the rate (nats), sparse "
        "less dense",
        statistic="paired difference",
        region=(-math.inf, 0.0),
        reason="0 is no interaction of rate and network",
        evidence=interaction("rate"),
        controls=(EXCHANGED,),
    ),
    Claim(
        id="S6b",
        study="finetuning",
        statement="A sparse network wants a smaller batch in fine-tuning than a dense one.",
        source="paper",
        reported="sparse 85.17 / 85.38 / 85.50 at 1M / 262k / 65k tokens, dense 84.48 / 84.60 / "
        "84.03 (means over rates, taken by us)",
        where="Table 20",
        known="derived",
        quantity="slope of the test cross-entropy against doublings of the batch (nats), sparse "
        "less dense",
        statistic="paired difference",
        region=(0.0, math.inf),
        reason="0 is no interaction of batch and network",
        evidence=interaction("batch"),
        controls=(EXCHANGED,),
    ),
    Claim(
        id="S7",
        study="finetuning",
        statement="Dropping 10 to 15% of the tokens in fine-tuning does no harm.",
        source="paper",
        reported="SuperGLUE 86.5 with a capacity factor of 0.75 (10.6% dropped), 85.8 with 2.0 "
        "(none)",
        where="Table 5",
        known="text",
        quantity="test cross-entropy after fine-tuning with a capacity factor of 0.9, with "
        "which a tenth of the tokens at least find no place, less that with 2.0 (nats), most "
        "examples",
        statistic="paired difference",
        region=(-MARGIN, MARGIN),
        reason="the margin of the z-loss's cost, 0.02 nats",
        evidence=harmless_drops,
        controls=(Control("fewest examples", "fail", "far fewer examples do harm"),),
    ),
)
