"""What does an expert's capacity buy? (S3, S4)

Top-1 and top-2 routing with capacity factors from a half to two, each trained at a rate of its own,
and each evaluated with the capacity it was trained with and with others. The factor counts places
per token whatever each token chooses, so that arms of one factor cost the same. A network that
learned nothing is evaluated with all of these capacities too.
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
    """Which capacities, in training and in evaluation."""

    tops: Sizes = (1, 2)
    """Experts that each token chooses, a network each."""
    factors: Annotated[tuple[float, ...], Gt(0), Rising()] = (0.5, 1.0, 1.25, 2.0)
    """Capacity factors in training, rising; a network each."""
    evaluated: Annotated[tuple[float, ...], Gt(0), Rising(2)] = (0.5, 2.0)
    """Capacity factors in evaluation, beside that of training; two at least, for the control."""
    network: language.Network = field(
        default_factory=lambda: language.Network(clusters=4, batch=64, steps=300, log_every=20)
    )
    """What is trained. Its own top and capacity factor are not read."""

    def check(self, flag: str) -> None:
        """Refuse what cannot be routed.

        Raises:
            Problem: names what is at fault.
        """
        for sizes in (sizes_of(self, top, factor) for top in self.tops for factor in self.factors):
            transformer.check(sizes, self.network.batch)

    @property
    def tasks(self) -> tuple[str, ...]:
        """A ladder of capacity factors each."""
        return tuple(f"top-{top}" for top in self.tops)


# --- arms ----------------------------------------------------------------------------------------


def sizes_of(part: Capacity, top: int, factor: float) -> Transformer:
    """The network with one routing and one capacity factor."""
    return part.network.sizes(top=top, capacity_factor=factor)


def evaluations(part: Capacity, factor: float) -> tuple[float, ...]:
    """The capacity factors that a network is evaluated at, its own first."""
    return tuple(dict.fromkeys((factor, *part.evaluated)))


def at(factor: float, what: str = "cross_entropy") -> str:
    """The name of a metric on test data with one capacity factor."""
    return f"test_{what}_at_{factor:g}"


@cache
def trainer(part: Capacity, top: int, factor: float) -> Trainer:
    """One routing with one capacity factor in training, evaluated with several."""
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
    """The routing of a ladder with the capacity of its rung."""
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
    """The control, on the last rung of all."""
    part = setting.part
    if (setting.task, setting.size) != (part.tasks[-1], part.factors[-1]):
        return None
    return language.still(mixture(setting), part.network)


def drops(task: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The share of choices that is dropped at the end of training."""
    dropped = curves[f"{MIXTURE}/validation_dropped"]
    return {"arms": {MIXTURE: {"dropped_in_training": tuning.final(dropped)}}}


# --- what is claimed -----------------------------------------------------------------------------


def rungs(task: TaskView) -> list[TaskView]:
    """All capacities of a task's routing, from the smallest up."""
    mine = [name for name, found in task.tasks.items() if found["task"] == task.values["task"]]
    return sorted((task.beside(name) for name in mine), key=lambda rung: rung.size)


def rung(task: TaskView, factor: float, top: str = "") -> TaskView:
    """The same routing, or another, with another capacity factor."""
    return task.beside(f"{top or task.values['task']}, {factor:g}")


def own(task: TaskView) -> np.ndarray:
    """The loss, evaluated with the capacity of training."""
    return task[MIXTURE][at(task.size)]


def against_smaller(task: TaskView) -> tuple[np.ndarray, np.ndarray]:
    """A capacity and the next smaller one."""
    smaller = [other for other in rungs(task) if other.size < task.size]
    if not smaller:
        raise KeyError("smaller capacity factor")
    return own(task), own(smaller[-1])


def widened(task: TaskView) -> tuple[np.ndarray, np.ndarray]:
    """Evaluated with a capacity factor of two, and with that of training."""
    if task.size >= WIDE:
        raise KeyError("capacity factor below 2 in training")
    return task[MIXTURE][at(WIDE)], own(task)


def of_untrained(task: TaskView) -> tuple[np.ndarray, np.ndarray]:
    """The widest and the narrowest capacity for a network that learned nothing."""
    arm = task.beside(list(task.tasks)[-1])["untrained"]
    return arm[at(max(arm["evaluated"]))], arm[at(min(arm["evaluated"]))]


def gains(first: Callable[[TaskView], np.ndarray]) -> Quantity:
    """By how much a change lowers the loss, and capacity from 1.25 to 2 with two experts."""
    return lambda two: (first(two), own(two) - own(rung(two, WIDE)))


UNTRAINED = {"untrained net": (of_untrained, "capacity cannot help experts that know nothing")}
THE_SIGN = "the sign: how much is gained depends on the task"

CLAIMS = (
    declare.derive(
        "S3a",
        "Every larger capacity factor gives a lower loss.",
        against_smaller,
        quantity="test cross-entropy of a capacity factor less that of the next smaller one "
        "(nats), each evaluated as it was trained",
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
        "More capacity in evaluation than in training lowers the loss.",
        widened,
        quantity="test cross-entropy evaluated with a capacity factor of 2.0 less that with the "
        "factor of training (nats)",
        statistic="paired difference",
        region=BELOW_ZERO,
        reason=THE_SIGN,
        fails=UNTRAINED,
        reported="top-1 trained with 0.75: -1.428 evaluated with 0.75, -1.404 with 2.0",
        where="Table 8",
    ),
    declare.derive(
        "S3c",
        "At a capacity factor of 1.25 with the load-balancing loss, hardly any token is dropped "
        "at the end of training.",
        lambda task: task[MIXTURE]["dropped_in_training"],
        quantity="share of choices dropped, top-1, mean over the last tenth of the evaluations",
        region=(-math.inf, FEW_DROPPED),
        reason="the figure as printed",
        fails={
            "least capacity": (
                lambda task: rungs(task)[0][MIXTURE]["dropped_in_training"],
                "with few places many choices must be dropped",
            )
        },
        tasks=(f"top-1, {MIDDLE:g}",),
        source="critic",
        reported="typically less than 1%",
        where="Fedus et al. (2021), Switch Transformers",
    ),
    declare.derive(
        "S4",
        "At one capacity a second expert for each token gains less than capacity does.",
        gains(lambda two: own(rung(two, MIDDLE, "top-1")) - own(two)),
        quantity="gain of top-2 over top-1 at 1.25 less the gain of 2.0 over 1.25 with top-2, "
        "test cross-entropy (nats)",
        statistic="paired difference",
        region=BELOW_ZERO,
        reason="0 is an equal gain",
        fails={
            "all the capacity there is": (
                gains(lambda two: own(rungs(two)[0]) - own(rung(two, WIDE))),
                "a gain known to be larger is not smaller",
            )
        },
        tasks=(f"top-2, {MIDDLE:g}",),
        reported="+0.004 for a second expert at 1.25; +0.009 for a capacity of 2.0 with two",
        where="Table 8",
    ),
    declare.untestable(
        "S10",
        "A layer should have at most one expert per core, and gains fade above 256 experts.",
        "it is about the traffic between hundreds of accelerator cores, each of which holds an "
        "expert; here all experts share one device",
        quantity="time of a training step, and loss, over the experts of a layer",
        statistic="paired ratio",
        region=(-math.inf, 1.0),
        reason="1 is no difference",
        where="section 5",
    ),
    declare.untestable(
        "S11",
        "A sparse network of 269 thousand million parameters, with the arithmetic of a dense one "
        "of 32, does well on SuperGLUE.",
        "pretraining on 1.5 million million tokens is out of reach of one machine",
        quantity="score on SuperGLUE",
        region=(91.2, math.inf),
        reason="the score as printed",
        reported="91.2 on SuperGLUE",
        where="in the text",
    ),
)


# --- a table and a figure of its own -------------------------------------------------------------


def evaluated(shown: charts.Shown) -> Table:
    """One row a network and capacity factor of evaluation."""
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
        "Losses are medians over seeds, dropped shares means, both of test data.",
    )


def bought(shown: charts.Shown) -> Figure:
    """Loss, dropped share and loss against cost, over the capacity factor."""
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
        "What capacity buys",
        f"Test loss and dropped choices over {seeds} seeds: {charts.RANGE}.",
        [
            Panel("loss", "capacity factor in training", "test loss (nats)", loss),
            Panel("dropped", "capacity factor in training", "dropped choices (%)", dropped),
            Panel("cost", "training FLOPs a step, places counted", "test loss (nats)", cost),
        ],
    )


STUDY = Comparison(
    about="loss, drops and cost over the capacity factor, in training and in evaluation",
    arms={MIXTURE: mixture, "untrained": untrained},
    metric="cross_entropy",
    unit="nats a token",
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
