"""How much training compute a dense model needs over that which a mixture needs for its loss.

The target is the final validation loss of the larger dense arm, seed by seed. What an arm needs is
the arithmetic up to the first point from which its curve stays at or below the target; of the
dense arms the cheaper counts. Every arm trains until it has spent the larger dense arm's compute:
only so does one that never reaches the target tell that it saves nothing. The mixtures do the
arithmetic of the smaller dense arm for each token, so that they may differ from it in nothing but
what they remember.

Experts to whom tokens go in turn, by their place in the sequence, are the control that must save
nothing: as many parameters and as even a load, from an assignment that knows nothing of the token.
Experts behind a router that never learned are more than that: it is a random function of the token,
a hash, and experts that share tokens out by a hash may remember more for the same arithmetic. Its
logits are evened out so that it loads them alike and drops next to nobody: what sets it apart from
a learned one is the choice alone. A task with one table leaves experts nothing to divide by
cluster; there, too, more parameters remember more, so that what is saved on it is measured rather
than ruled out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from experiments.moe_scaling import language
from experiments.moe_scaling.language import LOSS, TASKS, Network, Schedule
from jaxtrends import charts, declare, stats, transformer, tuning
from jaxtrends.claims import CONFIDENCE, Claim
from jaxtrends.comparison import Arm, Comparison, Setting
from jaxtrends.declare import Quantity, TaskView
from jaxtrends.errors import choose
from jaxtrends.settings import Names, PositiveInt
from jaxtrends.study import Table
from jaxtrends.transformer import Transformer

LARGER = "dense_4x"  # its final loss is the target
DENSE = ("dense", LARGER)
EXPERTS = {  # how many, and who says where a token goes
    "dense": (0, "learned"),
    "dense_4x": (0, "learned"),
    "moe_4": (4, "learned"),
    "moe_16": (16, "learned"),
    "moe_64": (64, "learned"),
    "fixed_router": (16, "fixed"),
    "by_position": (16, "position"),
}
FEWER = {  # the arms of tasks on which not all are trained
    "one_cluster": ("dense", "dense_4x", "moe_16"),
    "english": ("dense", "dense_4x", "moe_16", "by_position"),
}


@dataclass(frozen=True)
class ComputeToQuality:
    """Which arms are trained on what."""

    tasks: Names[TASKS] = ("lookup", "one_cluster")
    """Tasks: lookup, one_cluster (the control without clusters), english."""
    arms: Names[EXPERTS] = ("dense", "dense_4x", "moe_16", "by_position")
    """Arms: dense, dense_4x, moe_4, moe_16, moe_64, fixed_router, by_position. dense_4x sets the
    target."""
    every: PositiveInt = 1
    """Every so many-th layer of a mixture's network has experts, the last among them; 2 in the
    paper."""
    timing_rounds: PositiveInt = 7
    """Rounds of the step timing, arms interleaved."""
    network: Network = field(default_factory=Network)
    """Sizes."""
    schedule: Schedule = field(default_factory=Schedule)
    """Training."""

    def check(self, flag: str) -> None:
        """Refuse arms without the one that sets the target.

        Raises:
            Problem: names those chosen.
        """
        choose("arm for the target", LARGER, self.arms)


# --- arms ----------------------------------------------------------------------------------------


def network(setting: Setting, arm: str) -> Transformer | None:
    """An arm's network on a task; None where the task does not train it."""
    if arm not in FEWER.get(setting.task, EXPERTS):
        return None
    sizes, (experts, assignment) = setting.part.network, EXPERTS[arm]
    from_above = range(sizes.layers - 1, -1, -1)
    return language.network(
        setting,
        tuple(0 if place % setting.part.every else experts for place in from_above),
        sizes.hidden * (4 if arm == LARGER else 1),
        assignment=assignment,
    )


def equal_compute(schedule: Schedule, operations: float, larger: float) -> int:
    """Steps in which an arm spends what the larger dense arm does in its own: whole log points.

    Operations are of one token.
    """
    each = schedule.log_every
    return each * math.ceil(schedule.steps * larger / operations / each)


def made(arm: str, setting: Setting) -> Arm | None:
    """An arm that spends the compute of the larger dense one."""
    mine, larger = network(setting, arm), network(setting, LARGER)
    if mine is None:
        return None
    steps = equal_compute(
        setting.part.schedule, *map(transformer.training_operations, (mine, larger))
    )
    return language.arm(setting, mine, steps=steps, tuning_steps=setting.part.schedule.tuned_for)


def reach(task: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The target, and the steps of each arm until its curve stays at it or below, seed by seed."""
    target = curves[f"{LARGER}/{LOSS}"][:, -1].astype(np.float64)
    steps = {
        arm: {
            "steps_to_target": np.asarray(
                [
                    tuning.crossing(lane, goal, task["log_every"])
                    for lane, goal in zip(curves[f"{arm}/{LOSS}"], target, strict=True)
                ]
            )
        }
        for arm in task["arms"]
    }
    return {"target": target, "arms": steps}


# --- what is claimed -----------------------------------------------------------------------------

CHEAPER = "the cheaper dense arm"
BLIND = "by_position"
IN_TURN = (
    "as many experts, to whom tokens go by their place in the sequence, must not do it: it would "
    "then be a matter of parameters, and not of who goes where"
)


def needed(task: TaskView, arm: str, unit: str = "flops") -> np.ndarray:
    """What an arm needs to reach the target, seed by seed: flops, flops_padded or seconds."""
    if arm == CHEAPER:
        return np.minimum.reduce([needed(task, name, unit) for name in DENSE if name in task])
    return task[arm]["steps_to_target"] * task[arm][unit]


def against(rival: str, unit: str = "flops") -> Callable[[str], Quantity]:
    """Arm -> what a rival needs, and what the arm does."""
    return lambda arm: lambda task: (needed(task, rival, unit), needed(task, arm, unit))


SAVED = against(CHEAPER)


def by_clusters(arm: str) -> Quantity:
    """Saved on many clusters, and on one: as products, so that never stays infinite."""

    def both(many: TaskView) -> tuple[np.ndarray, np.ndarray]:
        one = many.beside("one_cluster")
        return (
            needed(many, CHEAPER) * needed(one, "moe_16"),
            needed(one, CHEAPER) * needed(many, arm),
        )

    return both


def missed(task: TaskView) -> str:
    """What keeps the price from counting: a mixture that never reaches the loss."""
    steps = task["moe_16"]["steps_to_target"]
    never = int((~np.isfinite(steps)).sum())
    return f"{never} of {steps.size} mixtures never reach the loss" if never else ""


def ratio(
    id: str,
    statement: str,
    of: Callable[[str], Quantity] = SAVED,
    arm: str = "moe_16",
    *,
    quantity: str = "training FLOPs of the cheaper dense network / those of 16 experts, to the "
    "final validation loss of the dense network of 4x hidden width",
    least: float = 1.0,
    reason: str = "1 is no saving",
    fails: Mapping[str, tuple[Quantity, str]] | None = None,
    tasks: tuple[str, ...] = ("lookup",),
    **declared: Any,
) -> Claim:
    """An arm needs less than a rival, by a factor; experts in turn in its place must not."""
    return declare.derive(
        id,
        statement,
        of(arm),
        quantity=quantity,
        statistic="paired ratio",
        region=(least, math.inf),
        reason=reason,
        fails={"experts in turn": (of(BLIND), IN_TURN), **(fails or {})},
        tasks=tasks,
        **declared,
    )


TABLE_3 = {
    "reported": "372 against 70 samples/s (5.3x) on 128 A100, for 52B and 6.7B parameters",
    "where": "Table 3",
}
FIVE = {**TABLE_3, "least": 5.0, "reason": "the factor that the paper names"}
CLAIMS = (
    ratio(
        "D1a",
        "A mixture of experts reaches the loss of a larger dense network with less training "
        "compute, on the lookup task, which favours memory.",
        headline=True,
        **TABLE_3,
    ),
    ratio(
        "D1b",
        "That saving is a factor of five or more, on the lookup task.",
        fails={
            "one cluster": (
                lambda task: SAVED("moe_16")(task.beside("one_cluster")),
                "where there is one table and nothing to divide by cluster, experts must not save "
                "as much",
            )
        },
        headline=True,
        **FIVE,
    ),
    ratio(
        "D1c",
        "The saving remains when the places that no token fills are counted as compute, on the "
        "lookup task.",
        against(CHEAPER, "flops_padded"),
        quantity="training FLOPs of the cheaper dense network / those of 16 experts, to the final "
        "validation loss of the dense network of 4x hidden width, padding counted",
        source="derived",
    ),
    ratio(
        "D1d",
        "A mixture of experts reaches the loss of a larger dense network with less training "
        "compute, on English text as bytes.",
        tasks=("english",),
        headline=True,
        **TABLE_3,
    ),
    ratio(
        "D1e",
        "That saving is a factor of five or more, on English text as bytes.",
        tasks=("english",),
        **FIVE,
    ),
    ratio(
        "D1f",
        "Experts save more compute behind a learned router than behind a fixed random one that "
        "loads them as evenly.",
        against("fixed_router"),
        quantity="training FLOPs of 16 experts behind a fixed random router / those behind a "
        "learned one, to the same loss",
        reason="1 is a router that might as well not learn",
        tasks=("lookup", "english"),
        source="derived",
    ),
    ratio(
        "D1g",
        "More experts save more: 64 experts reach the loss of the larger dense network with less "
        "compute than 4, on the lookup task.",
        against("moe_4"),
        "moe_64",
        quantity="training FLOPs of 4 experts / those of 64, to the same loss",
        reason="1 is a number of experts that does not matter",
        source="derived",
    ),
    ratio(
        "D1h",
        "The mixture also reaches that loss in less time on this machine, on the lookup task.",
        against(CHEAPER, "seconds"),
        quantity="seconds of the faster dense network / those of 16 experts, as steps needed times "
        "the median time of a step",
        about="measurements",
        source="derived",
    ),
    ratio(
        "D1i",
        "Experts save more where there are clusters to divide among them: more on the lookup task "
        "with its several tables than with one.",
        by_clusters,
        quantity="compute saved by 16 experts on several tables / that saved on one table",
        reason="1 is a saving that has nothing to do with clusters",
        source="derived",
    ),
    declare.derive(
        "D2",
        "The price is parameters: the mixture has more than the dense network whose loss it "
        "reaches.",
        lambda task: task["moe_16"]["parameters"] / task[LARGER]["parameters"],
        quantity="parameters of 16 experts / those of the dense network of 4x hidden width, which "
        "the arms fix beforehand, where every seed of the mixture reaches its loss",
        statistic="exact",
        kind="exact",
        region=(1.0, math.inf),
        reason="1 is no price",
        fails={
            "the dense network": (
                lambda task: task["dense"]["parameters"] / task[LARGER]["parameters"],
                "the network without experts has fewer",
            )
        },
        doubt=missed,
        tasks=("lookup",),
        reported="52B against 6.7B parameters, about 8x",
        where="Section 4",
    ),
)


# --- figures -------------------------------------------------------------------------------------


def saved(task: TaskView, arm: str, unit: str) -> stats.Interval:
    """How many times less compute an arm needs than the cheaper dense one, with its interval."""
    dense, mine = against(CHEAPER, unit)(arm)(task)
    return stats.paired_ratio({"treatment": dense, "reference": mine}, CONFIDENCE)


def arrivals(values: Mapping[str, Any], unit: str) -> dict[str, float]:
    """Marks where the arms reach the target, by their medians."""
    task = TaskView("", values)
    found = {"dense": charts.median(needed(task, CHEAPER, unit))}
    for arm in task:
        at = needed(task, arm, unit)
        if arm not in DENSE and np.isfinite(at).all():
            label = f"{arm.replace('_', ' ')}: {saved(task, arm, unit).estimate:.1f}x less"
            found[label] = charts.median(at)
    return {label: at for label, at in found.items() if np.isfinite(at)}


def curves(unit: str, title: str) -> charts.Chart:
    """Loss against compute."""
    chart = charts.over(unit, x_scale="log", rule="target", title=title)
    return charts.marked(chart, partial(arrivals, unit=unit))


def savings(shown: charts.Shown) -> Table:
    """One row an arm and task: how often it never gets to the target, and what it saves."""
    rows = [
        [
            *(task.name, arm.replace("_", " ")),
            f"{int(np.isinf(needed(task, arm)).sum())} of {len(task.of('seeds'))}",
            *(f"{saved(task, arm, unit):.2f}" for unit in ("flops", "flops_padded")),
        ]
        for task in declare.tasks_of({"tasks": shown.tasks})
        for arm in task
    ]
    return Table(
        "compute-saved",
        "Compute saved",
        ["task", "arm", "never at target", "compute saved", "compute saved, padding counted"],
        rows,
        "Saved is the compute of the cheaper dense arm over the arm's own, to the final loss of "
        "the larger dense arm, with its 95 % interval; an arm that never gets there counts as "
        "infinitely dear, and medians replace means.",
    )


STUDY = Comparison(
    about="training compute that dense networks need over that of mixtures, for the same loss",
    arms={arm: partial(made, arm) for arm in EXPERTS},
    metric="cross_entropy",
    unit="nats a token",
    data=language.splits,
    facts=language.floor,
    also=reach,
    claims=CLAIMS,
    figures=(
        curves("flops", "Loss against training compute"),
        curves("flops_padded", "Loss against training compute, padding counted"),
    ),
    tables=(savings,),
    more=(LOSS, "validation_dropped", "steps_to_target"),
    timed=True,
)
