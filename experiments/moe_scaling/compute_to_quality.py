"""How much more training compute a dense network needs than a mixture of experts for equal loss.

The target is the final validation loss of the larger dense arm, seed by seed. An arm's cost is its
compute up to the first point from which its curve stays at or below the target; the cheaper of the
two dense arms is the reference. Every arm trains until it has spent the larger dense arm's compute,
so that an arm that never reaches the target is known to save nothing. Per token, the mixtures use
as much compute as the smaller dense arm, so they differ from it only in parameters.

Round-robin routing, by position in the sequence, is the control that must save nothing: it has as
many parameters and as even a load, but ignores the token. An untrained router is not such a
control: it is a random function of the token, a hash, and hashed experts may remember more for the
same compute. Its logits are balanced so that it loads experts evenly and drops almost no token; it
differs from a learned router only in the choice of expert. On a task with a single table, experts
cannot specialise by table. More parameters still remember more there, so the saving on it is
measured, not assumed to be zero.
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
EXPERTS = {  # their number and the kind of router
    "dense": (0, "learned"),
    "dense_4x": (0, "learned"),
    "moe_4": (4, "learned"),
    "moe_16": (16, "learned"),
    "moe_64": (64, "learned"),
    "fixed_router": (16, "fixed"),
    "by_position": (16, "position"),
}
FEWER = {  # tasks that train only some arms
    "one_cluster": ("dense", "dense_4x", "moe_16"),
    "english": ("dense", "dense_4x", "moe_16", "by_position"),
}


@dataclass(frozen=True)
class ComputeToQuality:
    """Which arms to train on which tasks."""

    tasks: Names[TASKS] = ("lookup", "one_cluster")
    """Tasks: lookup, one_cluster (the control with a single table), english."""
    arms: Names[EXPERTS] = ("dense", "dense_4x", "moe_16", "by_position")
    """Arms: dense, dense_4x, moe_4, moe_16, moe_64, fixed_router, by_position. dense_4x sets the
    target."""
    every: PositiveInt = 1
    """Every how many layers a mixture's network has experts, counted from the last; 2 in the
    paper."""
    timing_processes: PositiveInt = 5
    """Processes in which training steps are timed, with arms interleaved."""
    network: Network = field(default_factory=Network)
    """Sizes of the networks."""
    schedule: Schedule = field(default_factory=Schedule)
    """Tuning and training."""

    def check(self, flag: str) -> None:
        """Refuse a choice of arms without the one that sets the target.

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
    """Steps at which an arm has spent the larger dense arm's compute, rounded up to a log point.

    Operations are per token.
    """
    each = schedule.log_every
    return each * math.ceil(schedule.steps * larger / operations / each)


def made(arm: str, setting: Setting) -> Arm | None:
    """An arm that trains for the compute of the larger dense one."""
    mine, larger = network(setting, arm), network(setting, LARGER)
    if mine is None:
        return None
    steps = equal_compute(
        setting.part.schedule, *map(transformer.training_operations, (mine, larger))
    )
    return language.arm(setting, mine, steps=steps, tuning_steps=setting.part.schedule.tuned_for)


def reach(task: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The target, and each arm's steps until its curve stays at or below it, seed by seed."""
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
    "as many experts with round-robin routing by position must fail: otherwise parameters alone "
    "would explain the result, not the routing"
)


def needed(task: TaskView, arm: str, unit: str = "flops") -> np.ndarray:
    """An arm's cost to reach the target, seed by seed, in flops, flops_padded or seconds."""
    if arm == CHEAPER:
        return np.minimum.reduce([needed(task, name, unit) for name in DENSE if name in task])
    return task[arm]["steps_to_target"] * task[arm][unit]


def against(rival: str, unit: str = "flops") -> Callable[[str], Quantity]:
    """Arm -> the costs of a rival and of the arm."""
    return lambda arm: lambda task: (needed(task, rival, unit), needed(task, arm, unit))


SAVED = against(CHEAPER)


def by_clusters(arm: str) -> Quantity:
    """Savings on several tables and on one, as products, so that "never" stays infinite."""

    def both(many: TaskView) -> tuple[np.ndarray, np.ndarray]:
        one = many.beside("one_cluster")
        return (
            needed(many, CHEAPER) * needed(one, "moe_16"),
            needed(one, CHEAPER) * needed(many, arm),
        )

    return both


def missed(task: TaskView) -> str:
    """Why the price cannot be judged: some mixture never reaches the loss."""
    steps = task["moe_16"]["steps_to_target"]
    never = int((~np.isfinite(steps)).sum())
    return f"{never} of {steps.size} mixtures never reached the loss" if never else ""


def ratio(
    id: str,
    statement: str,
    of: Callable[[str], Quantity] = SAVED,
    arm: str = "moe_16",
    *,
    quantity: str = "training FLOPs to the final validation loss of the dense network of 4x hidden "
    "width: cheaper dense network / 16 experts",
    least: float = 1.0,
    reason: str = "a ratio of 1 is no saving",
    fails: Mapping[str, tuple[Quantity, str]] | None = None,
    tasks: tuple[str, ...] = ("lookup",),
    **declared: Any,
) -> Claim:
    """An arm is cheaper than a rival by a factor; round-robin experts in its place must not be."""
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
FIVE = {**TABLE_3, "least": 5.0, "reason": "the paper's factor"}
CLAIMS = (
    ratio(
        "D1a",
        "On a lookup task that favours memory, a mixture of experts reaches the loss of a larger "
        "dense network with less training compute.",
        headline=True,
        **TABLE_3,
    ),
    ratio(
        "D1b",
        "On the lookup task, a mixture of experts needs at least five times less training compute "
        "than a dense network for the same loss.",
        fails={
            "one cluster": (
                lambda task: SAVED("moe_16")(task.beside("one_cluster")),
                "with a single table, where experts cannot specialise by table, they must not save "
                "as much",
            )
        },
        headline=True,
        **FIVE,
    ),
    ratio(
        "D1c",
        "On the lookup task, the mixture of experts still saves compute when its unused capacity "
        "counts as compute.",
        against(CHEAPER, "flops_padded"),
        quantity="training FLOPs to the final validation loss of the dense network of 4x hidden "
        "width: cheaper dense network / 16 experts, unused capacity counted",
        source="derived",
    ),
    ratio(
        "D1d",
        "On English text (bytes), a mixture of experts reaches the loss of a larger dense network "
        "with less training compute.",
        tasks=("english",),
        headline=True,
        **TABLE_3,
    ),
    ratio(
        "D1e",
        "On English text (bytes), a mixture of experts needs at least five times less training "
        "compute than a dense network for the same loss.",
        tasks=("english",),
        **FIVE,
    ),
    ratio(
        "D1f",
        "Experts save more compute with a learned router than with a fixed random one that is "
        "equally balanced.",
        against("fixed_router"),
        quantity="training FLOPs to the same loss with 16 experts: fixed random router / learned "
        "router",
        reason="at a ratio of 1, learning the router gains nothing",
        tasks=("lookup", "english"),
        source="derived",
    ),
    ratio(
        "D1g",
        "On the lookup task, 64 experts reach the loss of the larger dense network with less "
        "compute than 4 experts.",
        against("moe_4"),
        "moe_64",
        quantity="training FLOPs to the same loss: 4 experts / 64 experts",
        reason="at a ratio of 1, the number of experts does not matter",
        source="derived",
    ),
    ratio(
        "D1h",
        "On the lookup task, the mixture of experts also reaches the dense network's loss in less "
        "time on this machine.",
        against(CHEAPER, "seconds"),
        quantity="time to that loss, faster dense network / 16 experts: steps needed times the "
        "median time of a step",
        about="measurements",
        source="derived",
    ),
    ratio(
        "D1i",
        "Experts save more compute on lookups in several tables, among which they can specialise, "
        "than in one.",
        by_clusters,
        quantity="compute saved by 16 experts: several tables / one table",
        reason="at a ratio of 1, the saving has nothing to do with the tables",
        source="derived",
    ),
    declare.derive(
        "D2",
        "The price is parameters: the mixture of experts has more than the dense network whose "
        "loss it reaches.",
        lambda task: task["moe_16"]["parameters"] / task[LARGER]["parameters"],
        quantity="parameters, 16 experts / dense network of 4x hidden width; fixed by the choice "
        "of arms, judged only where every seed of the mixture reaches the loss",
        statistic="exact",
        kind="exact",
        region=(1.0, math.inf),
        reason="a ratio of 1 is no price",
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
    """The factor of compute that an arm saves over the cheaper dense one, with its interval."""
    dense, mine = against(CHEAPER, unit)(arm)(task)
    return stats.paired_ratio({"treatment": dense, "reference": mine}, CONFIDENCE)


def arrivals(values: Mapping[str, Any], unit: str) -> dict[str, float]:
    """Marks at the median cost at which arms reach the target."""
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
    """One row per arm and task: how often it never reaches the target, and what it saves."""
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
        "Compute saved: compute of the cheaper dense arm over the arm's own, to the final loss of "
        "the larger dense arm, with its 95% interval. An arm that never reaches it counts as "
        "infinitely expensive, and medians replace means.",
    )


STUDY = Comparison(
    about="training compute of dense networks against mixtures of experts, for the same loss",
    arms={arm: partial(made, arm) for arm in EXPERTS},
    metric="cross_entropy",
    unit="nats per token",
    data=language.splits,
    facts=language.floor,
    also=reach,
    claims=CLAIMS,
    figures=(
        curves("flops", "Loss against training compute"),
        curves("flops_padded", "Loss against training compute, unused capacity counted"),
    ),
    tables=(savings,),
    more=(LOSS, "validation_dropped", "steps_to_target"),
    timed=True,
)
