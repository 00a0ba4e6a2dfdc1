"""What the layout study's values decide: claims D3, D4 and D5."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.moe_scaling import arms
from jaxtrends.claims import Claim, Control, Evidence

CLOSED = 0.8  # share of the gap between E and 4E experts that must be closed
MARGIN = 0.02  # nats


def _losses(task: Mapping[str, Any], arm: str) -> np.ndarray:
    return np.asarray(task["arms"][arm]["final_loss"], np.float64)


def _tasks(values: Mapping[str, Any], *wanted: str) -> dict[str, Mapping[str, Any]]:
    """The tasks that trained all the layouts named."""
    found = {n: task for n, task in values["tasks"].items() if set(wanted) <= set(task["arms"])}
    if not found:
        raise KeyError(f"task with the layouts {', '.join(wanted)}")
    return found


def _edges(tasks: Mapping[str, Mapping[str, Any]], wanted: Sequence[str]) -> str:
    return "; ".join(
        f"{n}: {edge}" for n, task in tasks.items() for edge in arms.edges(task, wanted)
    )


def _second_half(name: str) -> Callable[[Mapping[str, Any]], Evidence]:
    def evidence(values: Mapping[str, Any]) -> Evidence:
        wanted = ("second_half", "first_half", "dense")
        tasks = {n: task for n, task in _tasks(values, *wanted).items() if n == name}
        if not tasks:
            raise KeyError(f"task {name}")
        second, first, dense = (list(_losses(tasks[name], arm)) for arm in wanted)
        return Evidence(
            {name: {"treatment": second, "reference": first}},
            {DENSE.name: {"treatment": dense, "reference": first}},
            _edges(tasks, wanted[:2]),
        )

    return evidence


def _on_par(values: Mapping[str, Any]) -> Evidence:
    wanted = ("residual_half", "top_2", "dense")
    tasks = _tasks(values, *wanted)
    parts, dense = {}, {}
    for name, task in tasks.items():
        residual, top_2, none = (_losses(task, arm) for arm in wanted)
        parts[name] = {"treatment": list(residual), "reference": list(top_2)}
        dense = {"treatment": list(none), "reference": list(top_2)}
    return Evidence(parts, {DENSE.name: dense}, _edges(tasks, wanted[:2]))


def gap_closed(task: Mapping[str, Any], arm: str) -> np.ndarray:
    """By how much more than `CLOSED` of the gap from E to 4E experts an arm closes, in nats."""
    few, many = _losses(task, "uniform"), _losses(task, "uniform_4x")
    return (few - _losses(task, arm)) - CLOSED * (few - many)


def _closed(arm: str) -> Callable[[Mapping[str, Any]], Evidence]:
    def evidence(values: Mapping[str, Any]) -> Evidence:
        wanted = (arm, "uniform", "uniform_4x")
        tasks = _tasks(values, *wanted, "dense")
        parts, dense, undecided = {}, {}, [_edges(tasks, wanted)]
        for name, task in tasks.items():
            parts[name] = {"values": list(gap_closed(task, arm))}
            dense = {"values": list(gap_closed(task, "dense"))}
            if not np.mean(_losses(task, "uniform") - _losses(task, "uniform_4x")) > 0:
                undecided.append(f"{name}: 4E experts are no better than E, so there is no gap")
        return Evidence(parts, {DENSE.name: dense}, "; ".join(filter(None, undecided)))

    return evidence


def _fewer(values: Mapping[str, Any]) -> Evidence:
    wanted = ("pyramid_residual", "uniform_4x", "uniform")
    name, task = next(iter(_tasks(values, *wanted).items()))
    pyramid, many, few = (task["arms"][arm]["parameters"] for arm in wanted)
    return Evidence({name: {"values": [pyramid / many]}}, {SMALL.name: {"values": [pyramid / few]}})


DENSE = Control("no experts", "fail", "a dense network must not pass for the layout")
SMALL = Control("against E experts", "fail", "against the small layout the pyramid is no small one")


def _halves(id: str, task: str, where: str) -> Claim:
    return Claim(
        id=id,
        study="layout",
        statement="Experts in the second half of the layers give a lower loss than in the first "
        f"half, {where}.",
        source="paper",
        where="Section 4.1.1, Figure 2, left",
        known="text",
        quantity=f"final validation loss of second half - that of first half (nats a token), task "
        f"{task}",
        statistic="paired difference",
        region=(-math.inf, 0.0),
        reason="the sign is all that the paper's figure shows",
        evidence=_second_half(task),
        controls=(DENSE,),
    )


def _closing(id: str, arm: str, words: str) -> Claim:
    return Claim(
        id=id,
        study="layout",
        statement=f"{words} closes most of the gap in loss between E and 4E experts in every "
        "layer.",
        source="paper",
        reported="loss of 4B parameters within about 0.01 of that of 13B (350M base)"
        if arm == "pyramid_residual"
        else "",
        where="Section 4.1.4, Figure 4" if arm == "pyramid_residual" else "",
        known="text",
        quantity=f"loss of E experts - that of the layout - {CLOSED} x (loss of E experts - loss "
        "of 4E experts), final validation loss (nats a token)",
        statistic="mean",
        region=(0.0, math.inf),
        reason=f"0 is a gap closed by {CLOSED:.0%}, which leaves the layout nearer to 4E than to E",
        evidence=_closed(arm),
        controls=(DENSE,),
    )


CLAIMS: tuple[Claim, ...] = (
    _halves("D3a", "lookup", "on lookups that one layer can do"),
    _halves("D3b", "two_names", "on lookups whose table a layer must work out first"),
    _halves("D3c", "english", "on English text as bytes"),
    Claim(
        id="D4a",
        study="layout",
        statement="A dense layer and one expert are on par with two experts, at equal arithmetic.",
        source="paper",
        where="Section 4.1.1, Figure 2, right",
        known="text",
        quantity="final validation loss of dense layer and expert - that of top-2, all of half the "
        "hidden width (nats a token)",
        statistic="paired difference",
        region=(-MARGIN, MARGIN),
        reason="twice the gap of about 0.01 that the paper counts as no difference elsewhere",
        evidence=_on_par,
        controls=(DENSE,),
    ),
    Claim(
        id="D4b",
        study="layout",
        statement="A dense layer and one expert train more than 10 % faster than two experts.",
        source="paper",
        reported="more than 10 % faster",
        where="Section 4.1.1",
        known="text",
        quantity="time of a training step, relative",
        statistic="paired ratio",
        region=(1.1, math.inf),
        reason="the paper's figure",
        evidence=None,
        not_testable="The gain is in communication between devices, of which one machine has none.",
    ),
    _closing("D5a", "pyramid_residual", "A pyramid with a dense layer beside each mixture"),
    _closing("D5b", "pyramid", "A pyramid alone"),
    _closing("D5c", "residual", "A dense layer beside each mixture alone"),
    Claim(
        id="D5d",
        study="layout",
        statement="That pyramid has at most six tenths of the parameters of 4E experts in every "
        "layer.",
        source="paper",
        reported="4B against 13B, 31B against 52B parameters",
        where="Table 4",
        known="text",
        quantity="parameters, pyramid and residual / 4E experts in every layer; fixed by the arms",
        statistic="exact",
        kind="exact",
        region=(0.0, 0.6),
        reason="the larger of the paper's two ratios",
        evidence=_fewer,
        controls=(SMALL,),
    ),
)
