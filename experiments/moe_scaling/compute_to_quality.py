"""How much more training compute a dense network needs than a mixture of experts for equal loss.

The paper compares a mixture with a dense network of several times its FLOPs a token and an eighth
of its parameters. Here that is the dense network with 16 times the hidden width: 6.4 times the
FLOPs a token of 16 experts, but as many parameters, a harder rival than the paper's. Two questions
are kept apart:

* *equal tokens*, in the paper's words: after as many tokens, is the mixture's loss on par with the
  larger network's? Rates are chosen on validation data, so this is asked of the test loss.
* *equal loss*: how much compute does each need for the larger network's final loss? An arm's cost
  is its compute up to the first point from which its curve stays at or below that loss. The paper's
  factor is that of the larger network itself. Ours is stricter, and is that of the cheapest of
  three dense networks. Every arm trains until it has spent the larger network's compute, so that an
  arm that never arrives is known to save nothing. Its cost is then infinite, so ratios are compared
  by their median. Curves are on validation data, the same for all arms, of which only a rate among
  three was chosen, on other seeds.

Per token, the mixtures use as much compute as the smallest dense network, and differ from it only
in parameters. Round-robin routing, by position in the sequence, is the control that must save
nothing: it has as many parameters and as even a load, but ignores the token. An untrained router is
not such a control: it is a random function of the token, a hash, and hashed experts may remember
more for the same compute. Its logits are balanced so that it loads experts evenly and drops almost
no token; it differs from a learned router only in the choice of expert.

Since the learning rate is constant after warm-up, a part of a curve is a shorter run: the saving at
a quarter, half and three quarters of the budget is read off the same curves.
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

LARGER = "dense_16x"  # its loss is the target
DENSE = {"dense": 1, "dense_4x": 4, LARGER: 16}  # hidden width, in that of an expert
EQUAL = "_equal_tokens"  # an arm that is trained for the larger dense network's tokens
EXPERTS = {  # their number and the kind of router
    **dict.fromkeys(DENSE, (0, "learned")),
    "moe_4": (4, "learned"),
    "moe_16": (16, "learned"),
    "moe_64": (64, "learned"),
    "fixed_router": (16, "fixed"),
    "by_position": (16, "position"),
    f"moe_16{EQUAL}": (16, "learned"),
    f"by_position{EQUAL}": (16, "position"),
}
FEW = (*DENSE, "moe_16", "by_position", f"moe_16{EQUAL}", f"by_position{EQUAL}")
FEWER = {"one_cluster": FEW, "english": FEW}  # tasks that train only some arms
BUDGETS = (0.25, 0.5, 0.75, 1.0)  # of the larger network's compute
PARITY = 0.05  # nats


@dataclass(frozen=True)
class ComputeToQuality:
    """Which arms to train on which tasks."""

    tasks: Names[TASKS] = ("lookup",)
    """Tasks: lookup, one_cluster (lookups in a single table), english."""
    arms: Names[EXPERTS] = FEW
    """Arms: dense, dense_4x, dense_16x, moe_4, moe_16, moe_64, fixed_router, by_position;
    moe_16_equal_tokens and by_position_equal_tokens. dense_16x sets the target."""
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
        sizes.hidden * DENSE.get(arm, 1),
        assignment=assignment,
    )


def equal_compute(schedule: Schedule, operations: float, larger: float) -> int:
    """Steps at which an arm has spent the larger dense arm's compute, rounded up to a log point.

    Operations are per token.
    """
    each = schedule.log_every
    return each * math.ceil(schedule.steps * larger / operations / each)


def made(arm: str, setting: Setting) -> Arm | None:
    """An arm that trains for the compute of the larger dense one, or for its tokens."""
    mine, larger = network(setting, arm), network(setting, LARGER)
    if mine is None:
        return None
    if arm.endswith(EQUAL):
        steps = setting.part.schedule.steps
        return language.arm(setting, mine, steps=steps, rate_of=arm.removesuffix(EQUAL))
    steps = equal_compute(
        setting.part.schedule, *map(transformer.training_operations, (mine, larger))
    )
    return language.arm(setting, mine, steps=steps, tuning_steps=setting.part.schedule.tuned_for)


def arrival(budget: float) -> str:
    """The metric that says how many steps an arm needs for the target of a budget."""
    return "steps_to_target" + ("" if budget == 1 else f"_at_{budget:g}")


def reach(task: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The target, and each arm's steps until its curve stays at or below it, seed by seed.

    The target of a smaller budget is the larger arm's loss when it has spent that share of its
    compute; an arm's curve then ends where it has spent as much.
    """
    larger = curves[f"{LARGER}/{LOSS}"].astype(np.float64)
    steps: dict[str, dict[str, np.ndarray]] = {arm: {} for arm in task["arms"]}
    for budget in BUDGETS:
        targets = larger[:, _point(larger, budget)]
        for arm in steps:
            lanes = curves[f"{arm}/{LOSS}"]
            seen = lanes[:, : _point(lanes, budget) + 1]
            steps[arm][arrival(budget)] = np.asarray(
                [
                    tuning.crossing(lane, target, task["log_every"])
                    for lane, target in zip(seen, targets, strict=True)
                ]
            )
    return {"target": larger[:, -1], "arms": steps}


def _point(curves: np.ndarray, budget: float) -> int:
    return max(1, round(budget * curves.shape[1])) - 1


# --- what is claimed -----------------------------------------------------------------------------

CHEAPEST = "the cheapest dense arm"
BLIND = "by_position"
IN_TURN = (
    "as many experts with round-robin routing by position must fail: otherwise parameters alone "
    "would explain the result, not the routing"
)


def needed(task: TaskView, arm: str, unit: str = "flops", budget: float = 1.0) -> np.ndarray:
    """An arm's cost to reach the target, seed by seed, in flops, flops_padded or seconds.

    Of seconds, a seed takes the step time of the process of its place, in turn.
    """
    if arm == CHEAPEST:
        dense = [needed(task, name, unit, budget) for name in DENSE if name in task]
        return np.minimum.reduce(dense)
    steps = task[arm][arrival(budget)]
    each = task[arm]["process_seconds" if unit == "seconds" else unit]
    return steps * np.resize(each, steps.shape)


def against(rival: str, unit: str = "flops") -> Callable[[str], Quantity]:
    """Arm -> the costs of a rival and of the arm."""
    return lambda arm: lambda task: (needed(task, rival, unit), needed(task, arm, unit))


def log_saving(task: TaskView, arm: str, budget: float = 1.0) -> np.ndarray:
    """Log of the compute that an arm saves over the cheapest dense one; -inf if it never arrives.

    The larger dense network always arrives, at its own loss.
    """
    with np.errstate(invalid="ignore"):
        dense, mine = (np.log(needed(task, who, "flops", budget)) for who in (CHEAPEST, arm))
        return dense - mine


def over_budgets(arm: str) -> Quantity:
    """How an arm's saving changes with the training budget: its slope per doubling.

    -inf where the arm no longer arrives with all of the budget, nan where only with less.
    """

    def slope(task: TaskView) -> np.ndarray:
        savings = np.stack([log_saving(task, arm, budget) for budget in BUDGETS])
        whole = np.isfinite(savings).all(axis=0)
        ends = np.where(np.isfinite(savings[-1]), math.nan, -math.inf)
        return np.where(whole, declare.slope_of(BUDGETS, savings), ends)

    return slope


def lost(task: TaskView) -> str:
    """Why a slope over budgets cannot be judged: at some budget the experts never arrive."""
    finite = np.isfinite([log_saving(task, "moe_16", budget) for budget in BUDGETS])
    never = int((~finite.all(axis=0)).sum())
    return f"in {never} seeds 16 experts do not arrive at every budget" if never else ""


def on_par(arm: str) -> Quantity:
    """Test losses of an arm at equal tokens, and of the larger dense network."""
    metric = "test_cross_entropy"
    return lambda task: (task[arm + EQUAL][metric], task[LARGER][metric])


def ratio(
    id: str,
    statement: str,
    of: Callable[[str], Quantity],
    arm: str = "moe_16",
    *,
    quantity: str,
    least: float = 1.0,
    reason: str = "a ratio of 1 is no saving",
    tasks: tuple[str, ...] = ("lookup",),
    **declared: Any,
) -> Claim:
    """An arm is cheaper than a rival by a factor; round-robin experts in its place must not be."""
    return declare.derive(
        id,
        statement,
        of(arm),
        quantity=quantity,
        statistic="median ratio",
        region=(least, math.inf),
        reason=reason,
        fails={"experts in turn": (of(BLIND), IN_TURN)},
        tasks=tasks,
        **declared,
    )


def parity(id: str, task: str, where: str, **declared: Any) -> Claim:
    """At equal tokens, the mixture's test loss is on par with the larger dense network's."""
    return declare.derive(
        id,
        f"{where}, a mixture of experts is on par with a dense network of 6.4 times its FLOPs, "
        "after as many tokens.",
        on_par("moe_16"),
        quantity="test loss after equal tokens, 16 experts - dense network of 16x hidden width "
        "(nats per token)",
        statistic="paired difference",
        region=(-math.inf, PARITY),
        reason=f"no worse by {PARITY} nats, an eighth of the 0.4 that a network of twice the FLOPs "
        "gains here in the same steps; better is on par too",
        fails={"experts in turn": (on_par(BLIND), IN_TURN)},
        tasks=(task,),
        reported="validation loss on par: 350M+MoE-128 with 1.3B, 1.3B+MoE-128 with 6.7B",
        where="the authors' blog",
        known="secondary",
        **declared,
    )


TABLE_3 = {
    "reported": "372 against 70 samples/s (5.3x) on 128 A100, for 52B and 6.7B parameters",
    "where": "Table 3",
}
TO_TARGET = "training FLOPs to the final validation loss of the dense network of 16x hidden width"
SAVED = {
    "of": against(CHEAPEST),
    "quantity": f"{TO_TARGET}: cheapest of three dense networks / 16 experts",
}
FIVE = {
    "of": against(LARGER),
    "quantity": f"{TO_TARGET}: that network / 16 experts",
    "least": 5.0,
    "reason": "the paper's factor; equal tokens would give 6.4",
    **TABLE_3,
}
CLAIMS = (
    ratio(
        "D1j",
        "On a lookup task that favours memory, a mixture of experts reaches the loss of a larger "
        "dense network with less training compute than any dense network.",
        headline=True,
        **SAVED,
        **TABLE_3,
    ),
    ratio(
        "D1k",
        "On the lookup task, a mixture of experts needs at least five times less training compute "
        "than the larger dense network for the same loss.",
        headline=True,
        **FIVE,
    ),
    parity("D1l", "lookup", "On the lookup task"),
    ratio(
        "D1m",
        "On English text (bytes), a mixture of experts reaches the loss of a larger dense network "
        "with less training compute than any dense network.",
        tasks=("english",),
        headline=True,
        **SAVED,
        **TABLE_3,
    ),
    ratio(
        "D1n",
        "On English text (bytes), a mixture of experts needs at least five times less training "
        "compute than the larger dense network for the same loss.",
        tasks=("english",),
        **FIVE,
    ),
    parity("D1o", "english", "On English text (bytes)"),
    ratio(
        "D1p",
        "On the lookup task, the mixture of experts still saves compute when its unused capacity "
        "counts as compute.",
        against(CHEAPEST, "flops_padded"),
        quantity=f"{SAVED['quantity']}, unused capacity counted",
        source="derived",
    ),
    ratio(
        "D1q",
        "Experts save more compute with a learned router than with a fixed random one that is "
        "equally balanced.",
        against("fixed_router"),
        quantity=f"{TO_TARGET}, 16 experts: fixed random router / learned router",
        reason="at a ratio of 1, learning the router gains nothing",
        source="derived",
    ),
    ratio(
        "D1r",
        "On the lookup task, 64 experts reach the loss of the larger dense network with less "
        "compute than 4 experts.",
        against("moe_4"),
        "moe_64",
        quantity=f"{TO_TARGET}: 4 experts / 64 experts",
        reason="at a ratio of 1, the number of experts does not matter",
        source="derived",
    ),
    ratio(
        "D1s",
        "On the lookup task, the mixture of experts also reaches the dense network's loss in less "
        "time on this machine.",
        against(CHEAPEST, "seconds"),
        quantity="time to that loss, fastest of three dense networks / 16 experts: steps needed "
        "times the time of a step, over seeds and processes",
        about="measurements",
        source="derived",
    ),
    declare.derive(
        "D1t",
        "On the lookup task, a mixture of experts saves more compute the larger the training "
        "budget is.",
        over_budgets("moe_16"),
        quantity="log of the saving over the cheapest dense network, per doubling of the budget, "
        "from a quarter to all of it",
        region=declare.ABOVE_ZERO,
        reason="a slope of 0 is a saving that does not depend on the budget",
        fails={"experts in turn": (over_budgets(BLIND), IN_TURN)},
        doubt=lost,
        tasks=("lookup",),
        source="derived",
    ),
)


# --- figures -------------------------------------------------------------------------------------


def saved(task: TaskView, arm: str, unit: str, budget: float = 1.0) -> stats.Interval:
    """The factor of compute that an arm saves over the cheapest dense one, with its interval."""
    dense, mine = (needed(task, who, unit, budget) for who in (CHEAPEST, arm))
    return stats.median_ratio({"treatment": dense, "reference": mine}, CONFIDENCE)


def arrivals(values: Mapping[str, Any], unit: str) -> dict[str, float]:
    """Marks at the median cost at which arms reach the target."""
    task = TaskView("", values)
    found = {"dense": charts.median(needed(task, CHEAPEST, unit))}
    for arm in task:
        at = needed(task, arm, unit)
        if arm not in DENSE and not arm.endswith(EQUAL) and np.isfinite(at).all():
            label = f"{arm.replace('_', ' ')}: {saved(task, arm, unit).estimate:.1f}x less"
            found[label] = charts.median(at)
    return {label: at for label, at in found.items() if np.isfinite(at)}


def curves(unit: str, title: str) -> charts.Chart:
    """Loss against compute."""
    chart = charts.over(unit, x_scale="log", rule="target", title=title)
    return charts.marked(chart, partial(arrivals, unit=unit))


def savings(shown: charts.Shown) -> Table:
    """One row per arm and task: parameters, how often it arrives, and what it saves."""
    rows = [
        [
            *(task.name, arm.replace("_", " ")),
            task[arm]["parameters"] / task[LARGER]["parameters"],
            f"{int(np.isinf(needed(task, arm)).sum())} of {len(task.of('seeds'))}",
            *(f"{saved(task, arm, 'flops', budget):.2f}" for budget in BUDGETS),
            f"{saved(task, arm, 'flops_padded'):.2f}",
        ]
        for task in declare.tasks_of({"tasks": shown.tasks})
        for arm in task
        if not arm.endswith(EQUAL)
    ]
    return Table(
        "compute-saved",
        "Compute saved",
        [
            *("task", "arm", "parameters / dense 16x", "never at target"),
            *(f"saved at {budget:.0%} of the budget" for budget in BUDGETS),
            "saved, padding counted",
        ],
        rows,
        "Compute saved: compute of the cheapest dense arm over the arm's own, to the loss that the "
        "dense arm of 16x hidden width has after a share of the budget; medians with 95% "
        "intervals. An arm that never arrives counts as infinitely expensive. The paper's mixtures "
        "have about 8 times the parameters of the dense network whose loss they reach.",
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
