"""What does expert capacity gain? (S3, S4)

Top-1 and top-2 routing with capacity factors from 0.5 to 2, each trained at its own learning rate
and evaluated with the capacity it was trained with and with others. The factor counts slots per
token regardless of top-k, so arms with the same factor cost the same. An untrained network is also
evaluated with all of these capacities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Annotated, Any

import jax
import numpy as np
from annotated_types import Gt

from experiments.moe_design import language
from jaxtrends import charts, declare, transformer, tuning
from jaxtrends.comparison import Arm, Comparison, Setting
from jaxtrends.declare import BELOW_ZERO, Quantity, TaskView
from jaxtrends.settings import Rising, Sizes
from jaxtrends.study import Figure, Panel, Table
from jaxtrends.train import Trainer
from jaxtrends.transformer import Transformer

MIDDLE, WIDE = 1.25, 2.0  # the capacity factors that claims are about
MIXTURE = "mixture"
FEW_DROPPED = 0.01


@dataclass(frozen=True)
class Capacity(language.OneNetwork):
    """Capacities in training and in evaluation."""

    tops: Sizes = (1, 2)
    """Experts per token (top-k), one network for each."""
    factors: Annotated[tuple[float, ...], Gt(0), Rising()] = (0.5, 1.0, 1.25, 2.0)
    """Capacity factors in training, rising; one network for each."""
    evaluated: Annotated[tuple[float, ...], Gt(0), Rising(2)] = (0.5, 2.0)
    """Further capacity factors in evaluation; at least two, for the control."""
    network: language.Network = field(
        default_factory=lambda: language.Network(clusters=4, batch=64, steps=300, log_every=20)
    )
    """The network to train; its own top and capacity_factor are ignored."""

    def check(self, flag: str) -> None:
        """Refuse what cannot be routed.

        Raises:
            Problem: says what does not fit.
        """
        for sizes in (sizes_of(self, top, factor) for top in self.tops for factor in self.factors):
            transformer.check(sizes, self.network.batch)

    @property
    def tasks(self) -> tuple[str, ...]:
        """One ladder of capacity factors for each top-k."""
        return tuple(f"top-{top}" for top in self.tops)


# --- arms ----------------------------------------------------------------------------------------


def sizes_of(part: Capacity, top: int, factor: float) -> Transformer:
    """The network with one top-k and one capacity factor."""
    return part.network.sizes(top=top, capacity_factor=factor)


def evaluations(part: Capacity, factor: float) -> tuple[float, ...]:
    """The capacity factors that a network is evaluated with, its own first."""
    return tuple(dict.fromkeys((factor, *part.evaluated)))


def at(factor: float, what: str = "cross_entropy") -> str:
    """The name of a test metric with one capacity factor."""
    return f"test_{what}_at_{factor:g}"


@cache
def trainer(part: Capacity, top: int, factor: float) -> Trainer:
    """One top-k and capacity factor in training, evaluated with several factors."""
    dropped = transformer.router_metrics()["dropped"]

    def measure(params: Any, data: Mapping[str, Any]) -> dict[str, jax.Array]:
        inputs, labels = data["test"]
        found = {}
        for other in evaluations(part, factor):
            outputs = transformer.transformer(sizes_of(part, top, other)).apply(params, inputs)
            found[at(other)] = transformer.next_token_loss(outputs, labels)
            found[at(other, "dropped")] = dropped(outputs, labels)
        return found

    trained = language.trainer(sizes_of(part, top, factor), part.network)
    return language.measuring(trained, measure)


def mixture(setting: Setting) -> Arm:
    """The top-k of a ladder with the capacity of its rung."""
    part, factor, top = setting.part, setting.size, int(setting.task.removeprefix("top-"))
    return Arm(
        trainer(part, top, factor),
        language.coefficients(part.network),
        {
            **transformer.cost(sizes_of(part, top, factor), part.network.batch),
            "evaluated": evaluations(part, factor),
        },
    )


def untrained(setting: Setting) -> Arm | None:
    """The control, on the last rung of the last ladder."""
    part = setting.part
    if (setting.task, setting.size) != (part.tasks[-1], part.factors[-1]):
        return None
    return language.still(mixture(setting), part.network)


def drops(task: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The share of choices dropped at the end of training."""
    dropped = curves[f"{MIXTURE}/validation_dropped"]
    return {"arms": {MIXTURE: {"dropped_in_training": tuning.final(dropped)}}}


# --- what is claimed -----------------------------------------------------------------------------


def rungs(task: TaskView) -> list[TaskView]:
    """All capacities of a task's top-k, rising."""
    mine = [name for name, found in task.tasks.items() if found["task"] == task.values["task"]]
    return sorted((task.beside(name) for name in mine), key=lambda rung: rung.size)


def rung(task: TaskView, factor: float, top: str = "") -> TaskView:
    """The same top-k, or another, with another capacity factor."""
    return task.beside(f"{top or task.values['task']}, {factor:g}")


def own(task: TaskView) -> np.ndarray:
    """The loss when evaluated with the capacity of training."""
    return task[MIXTURE][at(task.size)]


def against_smaller(task: TaskView) -> tuple[np.ndarray, np.ndarray]:
    """A capacity and the next smaller one."""
    smaller = [other for other in rungs(task) if other.size < task.size]
    if not smaller:
        raise KeyError("a smaller capacity factor")
    return own(task), own(smaller[-1])


def widened(task: TaskView) -> tuple[np.ndarray, np.ndarray]:
    """The loss with a capacity factor of 2 in evaluation, and with that of training."""
    if task.size >= WIDE:
        raise KeyError("a capacity factor below 2 in training")
    return task[MIXTURE][at(WIDE)], own(task)


def of_untrained(task: TaskView) -> tuple[np.ndarray, np.ndarray]:
    """The largest and the smallest capacity for an untrained network."""
    arm = task.beside(list(task.tasks)[-1])["untrained"]
    return arm[at(max(arm["evaluated"]))], arm[at(min(arm["evaluated"]))]


def gains(first: Callable[[TaskView], np.ndarray]) -> Quantity:
    """How much a change lowers the loss, and how much capacity 2 over 1.25 does with top-2."""
    return lambda two: (first(two), own(two) - own(rung(two, WIDE)))


UNTRAINED = {"untrained net": (of_untrained, "capacity cannot help untrained experts")}
THE_SIGN = "only the sign: how much is gained depends on the task"

CLAIMS = (
    declare.derive(
        "S3a",
        "Every increase of the capacity factor lowers the loss.",
        against_smaller,
        quantity="test cross-entropy, capacity factor - next smaller one (nats), each evaluated as "
        "trained",
        statistic="paired difference",
        region=BELOW_ZERO,
        reason=THE_SIGN,
        fails=UNTRAINED,
        reported="top-1 from 1.0 to 1.25: +0.011; top-2 from 1.25 to 2.0: +0.009 (negative "
        "log-perplexity)",
        where="Table 8",
        headline=True,
    ),
    declare.derive(
        "S3b",
        "A larger capacity factor in evaluation than in training lowers the loss.",
        widened,
        quantity="test cross-entropy, evaluated with capacity factor 2.0 - with that of training "
        "(nats)",
        statistic="paired difference",
        region=BELOW_ZERO,
        reason=THE_SIGN,
        fails=UNTRAINED,
        reported="top-1 trained with 0.75: -1.428 evaluated with 0.75, -1.404 with 2.0",
        where="Table 8",
    ),
    declare.derive(
        "S3c",
        "At a capacity factor of 1.25 with the load-balancing loss, almost no tokens are dropped "
        "at the end of training.",
        lambda task: task[MIXTURE]["dropped_in_training"],
        quantity="share of token choices dropped, top-1, mean over the last tenth of evaluations",
        region=(-math.inf, FEW_DROPPED),
        reason="the figure as reported",
        fails={
            "least capacity": (
                lambda task: rungs(task)[0][MIXTURE]["dropped_in_training"],
                "with little capacity many choices must be dropped",
            )
        },
        tasks=(f"top-1, {MIDDLE:g}",),
        source="critic",
        reported="typically less than 1%",
        where="Fedus et al. (2021), Switch Transformers",
    ),
    declare.derive(
        "S4",
        "At equal capacity, a second expert per token gains less than more capacity does.",
        gains(lambda two: own(rung(two, MIDDLE, "top-1")) - own(two)),
        quantity="gain of top-2 over top-1 at 1.25 - gain of 2.0 over 1.25 with top-2, test "
        "cross-entropy (nats)",
        statistic="paired difference",
        region=BELOW_ZERO,
        reason="at 0 both gain equally",
        fails={
            "all the capacity there is": (
                gains(lambda two: own(rungs(two)[0]) - own(rung(two, WIDE))),
                "a larger gain must not pass for a smaller one",
            )
        },
        tasks=(f"top-2, {MIDDLE:g}",),
        reported="+0.004 for a second expert at 1.25; +0.009 for a capacity of 2.0 with top-2",
        where="Table 8",
    ),
    declare.untestable(
        "S10",
        "A layer should have at most one expert per core, and gains fade above 256 experts.",
        "It is about traffic between hundreds of accelerator cores with one expert each; here all "
        "experts share one device.",
        quantity="time of a training step, and loss, against experts per layer",
        statistic="paired ratio",
        region=(-math.inf, 1.0),
        reason="a ratio of 1 is no difference",
        where="section 5",
    ),
    declare.untestable(
        "S11",
        "A sparse network of 269B parameters, with the compute of a dense 32B network, scores 91.2 "
        "on SuperGLUE.",
        "Pretraining on 1.5T tokens is out of reach of one machine.",
        quantity="score on SuperGLUE",
        region=(91.2, math.inf),
        reason="the paper's score",
        reported="91.2 on SuperGLUE",
        where="in the text",
    ),
)


# --- a table and a figure of its own -------------------------------------------------------------


def evaluated(shown: charts.Shown) -> Table:
    """One row per network and capacity factor in evaluation."""
    rows = [
        {
            "routing": task["task"],
            "capacity in training": task["size"],
            "in evaluation": factor,
            "rate": arm["learning_rate"],
            "test loss (nats)": float(np.median(arm["metrics"][at(factor)])),
            "dropped (%)": 100 * float(np.mean(arm["metrics"][at(factor, "dropped")])),
        }
        for task in shown.tasks.values()
        for arm in [task["arms"][MIXTURE]]
        for factor in arm["facts"]["evaluated"]
    ]
    return charts.table(
        "capacity-evaluated",
        "Capacity in training and in evaluation",
        rows,
        "On test data. Losses are medians over seeds, dropped shares are means.",
    )


def bought(shown: charts.Shown) -> Figure:
    """Loss and dropped share against the capacity factor, and loss against cost."""
    loss, dropped, cost = [], [], []
    for top in dict.fromkeys(task["task"] for task in shown.tasks.values()):
        found = [(t["size"], t["arms"][MIXTURE]) for t in shown.tasks.values() if t["task"] == top]
        factors, arms = zip(*found, strict=True)
        widest = max(arms[0]["facts"]["evaluated"])

        def over(label: str, x: list[float], *samples: Any) -> Any:
            return replace(charts.points(label, x, samples), style="line")

        as_trained = [arm["metrics"][at(factor)] for factor, arm in found]
        loss.append(over(f"{top}, evaluated as trained", factors, *as_trained))
        if all(widest in arm["facts"]["evaluated"] for arm in arms):
            wide = [arm["metrics"][at(widest)] for arm in arms]
            loss.append(over(f"{top}, evaluated with {widest:g}", factors, *wide))
        shares = [100 * arm["metrics"]["dropped_in_training"] for arm in arms]
        dropped.append(over(top, factors, *shares))
        cost.append(over(top, [arm["facts"]["flops_padded"] for arm in arms], *as_trained))
    seeds = len(next(iter(shown.tasks.values()))["seeds"])
    return Figure(
        "capacity",
        "What expert capacity gains",
        f"Test loss and dropped token choices over {seeds} seeds: {charts.RANGE}.",
        [
            Panel("loss", "capacity factor in training", "test loss (nats)", loss),
            Panel("dropped", "capacity factor in training", "dropped choices (%)", dropped),
            Panel("cost", "training FLOPs per step, with padding", "test loss (nats)", cost),
        ],
    )


STUDY = Comparison(
    about="loss, dropped tokens and cost against the capacity factor",
    arms={MIXTURE: mixture, "untrained": untrained},
    metric="cross_entropy",
    unit="nats per token",
    data=lambda setting, run: language.splits(setting.part.network, run),
    ladder="factors",
    size="capacity factor in training",
    also=drops,
    claims=CLAIMS,
    figures=(bought,),
    tables=(evaluated,),
)

SMOKE = Capacity(tops=(1,), factors=(0.5, 1.25), network=language.SMOKE)
FULL = Capacity(
    evaluated=(0.5, 0.75, 1.0, 1.25, 2.0, 4.0),
    network=language.Network(
        clusters=4,
        context=32,
        layers=(0, 16),
        batch=32,
        steps=400,
        log_every=40,
        rates=(1e-3, 3e-3, 1e-2, 3e-2),
        tuning_seeds=2,
        held_out=128,
    ),
)
