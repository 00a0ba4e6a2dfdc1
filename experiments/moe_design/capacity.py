"""What does expert capacity gain? (S3, S4)

Top-1 and top-2 routing with capacity factors from 1 to 2, each trained at its own learning rate.
Every network is evaluated with the capacity it was trained with, so that training and evaluation
gain together, and with a factor of 2, as the paper recommends, so that only training differs. These
are two comparisons, and the paper's Table 8 has figures for both. The factor counts slots per token
regardless of top-k, so arms with the same factor cost the same. A larger factor costs more, so the
loss at equal compute is read off the curves as well. An untrained network is also evaluated with
all of these capacities.
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
from jaxtrends.claims import Claim
from jaxtrends.comparison import Arm, Comparison, Setting
from jaxtrends.declare import BELOW_ZERO, Quantity, TaskView
from jaxtrends.settings import Rising, Sizes
from jaxtrends.study import Figure, Panel, Table
from jaxtrends.train import Trainer
from jaxtrends.transformer import Transformer

MIDDLE, WIDE = 1.25, 2.0  # the capacity factors that claims are about
MIXTURE = "mixture"
EQUAL, HALF = "loss_at_equal_compute", "loss_at_half_of_it"  # of validation
FEW_DROPPED = 0.01


@dataclass(frozen=True)
class Capacity(language.OneNetwork):
    """Capacities in training and in evaluation."""

    tops: Sizes = (1, 2)
    """Experts per token (top-k), one network for each."""
    factors: Annotated[tuple[float, ...], Gt(0), Rising()] = (1.0, 1.25, 2.0)
    """Capacity factors in training, rising; one network for each."""
    evaluated: Annotated[tuple[float, ...], Gt(0), Rising(2)] = (0.5, 2.0)
    """Further capacity factors in evaluation; at least two, for the controls."""
    network: language.Network = field(
        default_factory=lambda: language.Network(
            clusters=4, batch=64, steps=300, log_every=20, rates=(3e-3, 1e-2, 3e-2), seeds=20
        )
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
    cost, least = (
        transformer.cost(sizes_of(part, top, one), part.network.batch)
        for one in (factor, part.factors[0])
    )
    share = least["flops_padded"] / cost["flops_padded"]
    return Arm(
        trainer(part, top, factor),
        language.coefficients(part.network),
        {
            **cost,
            "evaluated": evaluations(part, factor),
            "steps_of_equal_compute": share * part.network.steps,
        },
    )


def untrained(setting: Setting) -> Arm | None:
    """The control, on the last rung of the last ladder."""
    part = setting.part
    if (setting.task, setting.size) != (part.tasks[-1], part.factors[-1]):
        return None
    return language.still(mixture(setting), part.network)


def read_off(curve: np.ndarray, log_every: int, step: float) -> np.ndarray:
    """Curves (seeds, points) at a step between two evaluations, linearly: (seeds,) float64."""
    steps = np.arange(1, curve.shape[1] + 1) * log_every
    return np.asarray([np.interp(step, steps, seed) for seed in curve.astype(np.float64)])


def at_the_end(task: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The share of choices dropped at the end, and the loss when as much compute is spent.

    That is as much as the smallest capacity factor spends in all, padding included.
    """
    losses = curves[f"{MIXTURE}/validation_cross_entropy"]
    budget = task["arms"][MIXTURE]["facts"]["steps_of_equal_compute"]
    found = {
        "dropped_in_training": tuning.final(curves[f"{MIXTURE}/validation_dropped"]),
        EQUAL: read_off(losses, task["log_every"], budget),
        HALF: read_off(losses, task["log_every"], budget / 2),
    }
    return {"arms": {MIXTURE: found}}


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


def wide(task: TaskView) -> np.ndarray:
    """The loss when evaluated with a capacity factor of 2, whatever that of training."""
    return task[MIXTURE][at(WIDE)]


def starved(task: TaskView) -> np.ndarray:
    """The loss when evaluated with the least capacity."""
    arm = task[MIXTURE]
    return arm[at(min(arm["evaluated"]))]


def at_equal_compute(task: TaskView) -> np.ndarray:
    """The validation loss when as much is spent as the smallest capacity factor spends."""
    return task[MIXTURE][EQUAL]


def at_half_of_it(task: TaskView) -> np.ndarray:
    """The validation loss when half as much is spent."""
    return task[MIXTURE][HALF]


Loss = Callable[[TaskView], np.ndarray]


def against_smaller(loss: Loss, treated: Loss | None = None) -> Quantity:
    """A capacity in training and the next smaller one; a control evaluates the first otherwise."""

    def pair(task: TaskView) -> tuple[np.ndarray, np.ndarray]:
        smaller = [other for other in rungs(task) if other.size < task.size]
        if not smaller:
            raise KeyError("a smaller capacity factor")
        return (treated or loss)(task), loss(smaller[-1])

    return pair


def widened(task: TaskView) -> tuple[np.ndarray, np.ndarray]:
    """The loss with a capacity factor of 2 in evaluation, and with that of training."""
    if task.size >= WIDE:
        raise KeyError("a capacity factor below 2 in training")
    return wide(task), own(task)


def of_untrained(task: TaskView) -> tuple[np.ndarray, np.ndarray]:
    """The largest and the smallest capacity for an untrained network."""
    arm = task.beside(list(task.tasks)[-1])["untrained"]
    return arm[at(max(arm["evaluated"]))], arm[at(min(arm["evaluated"]))]


def second_expert(loss: Loss, alone: Loss | None = None) -> Quantity:
    """How much a second expert per token gains, and how much a capacity factor of 2 with top-2.

    A control evaluates the network with one expert otherwise.
    """

    def pair(two: TaskView) -> tuple[np.ndarray, np.ndarray]:
        one, wider = rung(two, two.size, "top-1"), rung(two, WIDE)
        return (alone or loss)(one) - loss(two), loss(two) - loss(wider)

    return pair


UNTRAINED = {
    "untrained net": (
        of_untrained,
        "capacity cannot help untrained experts; it would if dropping tokens raised the loss by "
        "itself",
    )
}
THE_SIGN = "only the sign: how much is gained depends on the task"
AS_TRAINED, ALL_WIDE = "each evaluated as trained", "all evaluated with a capacity factor of 2"


def larger(id: str, loss: Loss, how: str, **declared: Any) -> Claim:
    """S3: more capacity in training is better; each step is a part."""
    return declare.derive(
        id,
        f"Every increase of the capacity factor lowers the loss, {how}.",
        against_smaller(loss),
        quantity="test cross-entropy, capacity factor in training - next smaller one (nats), "
        f"{how}",
        statistic="paired difference",
        region=BELOW_ZERO,
        reason=THE_SIGN,
        fails={
            "starved in evaluation": (
                against_smaller(loss, starved),
                "with the least capacity in evaluation the larger one in training does not help; "
                "it would if evaluation ignored its capacity factor",
            )
        },
        where="Table 8",
        **declared,
    )


def second(id: str, loss: Loss, how: str, **declared: Any) -> Claim:
    """S4: a second expert per token gains less than capacity."""
    return declare.derive(
        id,
        f"At equal capacity, a second expert per token gains less than more capacity does, {how}.",
        second_expert(loss),
        quantity="gain of top-2 over top-1 at 1.25 - gain of 2.0 over 1.25 with top-2, test "
        f"cross-entropy (nats), {how}",
        statistic="paired difference",
        region=BELOW_ZERO,
        reason="at 0 both gain equally",
        fails={
            "one expert, starved in evaluation": (
                second_expert(loss, starved),
                "over one expert with the least capacity in evaluation, two gain more than "
                "capacity does; they would not if evaluation ignored its capacity factor",
            )
        },
        tasks=(f"top-2, {MIDDLE:g}",),
        where="Table 8",
        **declared,
    )


CLAIMS = (
    larger(
        "S3a",
        own,
        AS_TRAINED,
        reported="top-1 from 1.0 to 1.25: +0.019; top-2 from 1.25 to 2.0: +0.015 (negative "
        "log-perplexity)",
    ),
    larger(
        "S3d",
        wide,
        ALL_WIDE,
        reported="top-1 from 1.0 to 1.25: +0.011; top-2 from 1.25 to 2.0: +0.009 (negative "
        "log-perplexity)",
        headline=True,
    ),
    declare.derive(
        "S3e",
        "Every increase of the capacity factor lowers the loss at equal compute.",
        against_smaller(at_equal_compute),
        quantity="validation cross-entropy, capacity factor in training - next smaller one (nats), "
        "each evaluated as trained, after as many FLOPs, padding included",
        statistic="paired difference",
        region=BELOW_ZERO,
        reason=THE_SIGN,
        fails={
            "half the compute": (
                against_smaller(at_equal_compute, at_half_of_it),
                "with half the compute a larger capacity is not better; it would be if the curve "
                "were read at its end",
            )
        },
        source="derived",
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
        reported="top-1 trained with 1.0: -1.397 evaluated with 1.0, -1.384 with 2.0",
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
                "with less capacity more choices are dropped; they would not be if the capacity "
                "factor did not reach the router",
            )
        },
        tasks=(f"top-1, {MIDDLE:g}",),
        source="critic",
        reported="typically less than 1%",
        where="Fedus et al. (2021), Switch Transformers",
    ),
    second(
        "S4",
        own,
        AS_TRAINED,
        reported="+0.003 for a second expert at 1.25; +0.015 for a capacity of 2.0 with top-2",
    ),
    second(
        "S4b",
        wide,
        ALL_WIDE,
        reported="+0.004 for a second expert at 1.25; +0.009 for a capacity of 2.0 with top-2",
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
    also=at_the_end,
    claims=CLAIMS,
    figures=(bought,),
    tables=(evaluated,),
)

SMOKE = Capacity(tops=(1,), factors=(0.5, 1.25), network=language.SMOKE)
FULL = Capacity(
    evaluated=(0.5, 1.0, 1.25, 2.0),
    network=language.Network(
        clusters=4,
        context=32,
        layers=(0, 16),
        batch=32,
        steps=400,
        log_every=20,
        rates=(3e-3, 1e-2, 3e-2),
        tuning_seeds=2,
        seeds=26,
        held_out=128,
    ),
)
