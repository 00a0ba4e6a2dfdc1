"""What the compute-to-quality study's values decide: claims D1 and D2."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiments.moe_scaling import arms
from experiments.moe_scaling.targets import DENSE, LARGER, needed
from jaxtrends.claims import Claim, Control, Evidence

MIXTURE = "moe_16"
BLIND = "by_position"  # the control: experts chosen without a look at the token


def _task(values: Mapping[str, Any], name: str, *wanted: str) -> Mapping[str, Any]:
    if name not in values["tasks"]:
        raise KeyError(f"task {name}")
    task = values["tasks"][name]
    for arm in (LARGER, *wanted):
        if arm not in task["arms"]:
            raise KeyError(f"arm {arm} of task {name}")
    return task


def _saved(task: Mapping[str, Any], arm: str, unit: str = "operations") -> dict[str, list[float]]:
    """Samples: the compute of the cheaper dense arm, and that of an arm."""
    return {
        "treatment": list(needed(task, "cheaper dense", unit)),
        "reference": list(needed(task, arm, unit)),
    }


def _undecided(task: Mapping[str, Any], *names: str) -> str:
    chosen = [name for name in (*DENSE, *names) if name in task["arms"]]
    return "; ".join(arms.edges(task, chosen))


def _less_compute(
    name: str, unit: str = "operations", clusters: bool = False
) -> Callable[[Mapping[str, Any]], Evidence]:
    def evidence(values: Mapping[str, Any]) -> Evidence:
        task = _task(values, name, MIXTURE, BLIND)
        controls = {IN_TURN.name: _saved(task, BLIND, unit)}
        if clusters:
            controls[NO_CLUSTERS.name] = _saved(_task(values, "one_cluster", MIXTURE), MIXTURE)
        parts = {name: _saved(task, MIXTURE, unit)}
        return Evidence(parts, controls, _undecided(task, MIXTURE))

    return evidence


def _clusters(values: Mapping[str, Any]) -> Evidence:
    """Saved on many clusters against saved on one, as products so that never stays infinite."""
    many, one = _task(values, "lookup", MIXTURE, BLIND), _task(values, "one_cluster", MIXTURE)
    dense, plain_dense = (needed(task, "cheaper dense") for task in (many, one))
    plain_mixture = needed(one, MIXTURE)

    def against_one(arm: str) -> dict[str, list[float]]:
        return {
            "treatment": list(dense * plain_mixture),
            "reference": list(plain_dense * needed(many, arm)),
        }

    edges = [_undecided(task, MIXTURE) for task in (many, one)]
    return Evidence(
        {"lookup": against_one(MIXTURE)},
        {IN_TURN.name: against_one(BLIND)},
        "; ".join(filter(None, edges)),
    )


def _learned_router(values: Mapping[str, Any]) -> Evidence:
    parts, in_turn, edges = {}, {}, []
    for name in ("lookup", "english"):
        if "fixed_router" in values["tasks"].get(name, {"arms": ()})["arms"]:
            task = _task(values, name, MIXTURE, "fixed_router", BLIND)
            fixed = list(needed(task, "fixed_router"))
            parts[name] = {"treatment": fixed, "reference": list(needed(task, MIXTURE))}
            in_turn = {"treatment": fixed, "reference": list(needed(task, BLIND))}
            edges.append(_undecided(task, MIXTURE, "fixed_router"))
    if not parts:
        raise KeyError("arm fixed_router")
    return Evidence(parts, {IN_TURN.name: in_turn}, "; ".join(filter(None, edges)))


def _more_experts(values: Mapping[str, Any]) -> Evidence:
    task = _task(values, "lookup", "moe_4", "moe_64", BLIND)
    few = list(needed(task, "moe_4"))
    parts = {"lookup": {"treatment": few, "reference": list(needed(task, "moe_64"))}}
    in_turn = {"treatment": few, "reference": list(needed(task, BLIND))}
    return Evidence(parts, {IN_TURN.name: in_turn}, _undecided(task, "moe_4", "moe_64"))


def _parameters(values: Mapping[str, Any]) -> Evidence:
    task = _task(values, "lookup", MIXTURE, "dense")
    counts = {arm: task["arms"][arm]["parameters"] for arm in (MIXTURE, LARGER, "dense")}
    steps = np.asarray(task["arms"][MIXTURE]["steps_to_target"], np.float64)
    missed = int((~np.isfinite(steps)).sum())
    undecided = f"{missed} of {steps.size} mixtures never reach the loss" if missed else ""
    parts = {"lookup": {"values": [counts[MIXTURE] / counts[LARGER]]}}
    return Evidence(
        parts, {DENSE_ALONE.name: {"values": [counts["dense"] / counts[LARGER]]}}, undecided
    )


def _sooner(times: Mapping[str, Any]) -> Evidence:
    found = times["seconds_to_target"]
    if "lookup" not in found or not {MIXTURE, LARGER, BLIND} <= set(found["lookup"]):
        raise KeyError("task lookup with all three arms")
    task = {arm: np.asarray(seconds, np.float64) for arm, seconds in found["lookup"].items()}
    dense = list(np.minimum.reduce([task[arm] for arm in DENSE if arm in task]))
    parts = {"lookup": {"treatment": dense, "reference": list(task[MIXTURE])}}
    return Evidence(parts, {IN_TURN.name: {"treatment": dense, "reference": list(task[BLIND])}})


IN_TURN = Control(
    "experts in turn",
    "fail",
    "as many experts, to whom tokens go by their place in the sequence, must not do it: it would "
    "then be a matter of parameters, and not of who goes where",
)
NO_CLUSTERS = Control(
    "one cluster",
    "fail",
    "where there is one table and nothing to divide by cluster, experts must not save as much",
)
DENSE_ALONE = Control("the dense network", "fail", "the network without experts has fewer")
_QUANTITY = (
    "training FLOPs of the cheaper dense network / those of 16 experts, to the final validation "
    "loss of the dense network of 4x hidden width"
)
_REPORTED = "372 against 70 samples/s (5.3x) on 128 A100, for 52B and 6.7B parameters"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="D1a",
        study="compute_to_quality",
        statement="A mixture of experts reaches the loss of a larger dense network with less "
        "training compute, on the lookup task, which favours memory.",
        source="paper",
        reported=_REPORTED,
        where="Table 3",
        known="text",
        quantity=_QUANTITY,
        statistic="paired ratio",
        region=(1.0, math.inf),
        reason="1 is no saving",
        evidence=_less_compute("lookup"),
        controls=(IN_TURN,),
    ),
    Claim(
        id="D1b",
        study="compute_to_quality",
        statement="That saving is a factor of five or more, on the lookup task.",
        source="paper",
        reported=_REPORTED,
        where="Table 3",
        known="text",
        quantity=_QUANTITY,
        statistic="paired ratio",
        region=(5.0, math.inf),
        reason="the factor that the paper names",
        evidence=_less_compute("lookup", clusters=True),
        controls=(IN_TURN, NO_CLUSTERS),
    ),
    Claim(
        id="D1c",
        study="compute_to_quality",
        statement="The saving remains when the places that no token fills are counted as compute, "
        "on the lookup task.",
        source="derived",
        quantity=_QUANTITY + ", padding counted",
        statistic="paired ratio",
        region=(1.0, math.inf),
        reason="1 is no saving",
        evidence=_less_compute("lookup", "operations_padded"),
        controls=(IN_TURN,),
    ),
    Claim(
        id="D1d",
        study="compute_to_quality",
        statement="A mixture of experts reaches the loss of a larger dense network with less "
        "training compute, on English text as bytes.",
        source="paper",
        reported=_REPORTED,
        where="Table 3",
        known="text",
        quantity=_QUANTITY,
        statistic="paired ratio",
        region=(1.0, math.inf),
        reason="1 is no saving",
        evidence=_less_compute("english"),
        controls=(IN_TURN,),
    ),
    Claim(
        id="D1e",
        study="compute_to_quality",
        statement="That saving is a factor of five or more, on English text as bytes.",
        source="paper",
        reported=_REPORTED,
        where="Table 3",
        known="text",
        quantity=_QUANTITY,
        statistic="paired ratio",
        region=(5.0, math.inf),
        reason="the factor that the paper names",
        evidence=_less_compute("english"),
        controls=(IN_TURN,),
    ),
    Claim(
        id="D1f",
        study="compute_to_quality",
        statement="Experts save more compute behind a learned router than behind a fixed random "
        "one that loads them as evenly.",
        source="derived",
        quantity="training FLOPs of 16 experts behind a fixed random router / those behind a "
        "learned one, to the same loss",
        statistic="paired ratio",
        region=(1.0, math.inf),
        reason="1 is a router that might as well not learn",
        evidence=_learned_router,
        controls=(IN_TURN,),
    ),
    Claim(
        id="D1g",
        study="compute_to_quality",
        statement="More experts save more: 64 experts reach the loss of the larger dense network "
        "with less compute than 4, on the lookup task.",
        source="derived",
        quantity="training FLOPs of 4 experts / those of 64, to the same loss",
        statistic="paired ratio",
        region=(1.0, math.inf),
        reason="1 is a number of experts that does not matter",
        evidence=_more_experts,
        controls=(IN_TURN,),
    ),
    Claim(
        id="D1h",
        study="compute_to_quality",
        statement="The mixture also reaches that loss in less time on this machine, on the lookup "
        "task.",
        source="derived",
        quantity="seconds of the faster dense network / those of 16 experts, as steps needed times "
        "the median time of a step",
        statistic="paired ratio",
        region=(1.0, math.inf),
        reason="1 is no saving",
        evidence=_sooner,
        about="measurements",
        controls=(IN_TURN,),
    ),
    Claim(
        id="D1i",
        study="compute_to_quality",
        statement="Experts save more where there are clusters to divide among them: more on the "
        "lookup task with its several tables than with one.",
        source="derived",
        quantity="compute saved by 16 experts on several tables / that saved on one table",
        statistic="paired ratio",
        region=(1.0, math.inf),
        reason="1 is a saving that has nothing to do with clusters",
        evidence=_clusters,
        controls=(IN_TURN,),
    ),
    Claim(
        id="D2",
        study="compute_to_quality",
        statement="The price is parameters: the mixture has more than the dense network whose loss "
        "it reaches.",
        source="paper",
        reported="52B against 6.7B parameters, about 8x",
        where="Section 4",
        known="text",
        quantity="parameters of 16 experts / those of the dense network of 4x hidden width, which "
        "the arms fix beforehand, where every seed of the mixture reaches its loss",
        statistic="exact",
        kind="exact",
        region=(1.0, math.inf),
        reason="1 is no price",
        evidence=_parameters,
        controls=(DENSE_ALONE,),
    ),
)
