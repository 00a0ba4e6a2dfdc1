"""Do experts specialise? (S8)

After training, we measure the normalised mutual information between a token's first expert and
its kind: the cluster of its sequence on the lookup task, the class of its byte on English. It is
compared with a null, in which sequences have each other's labels, and with the untrained router: a
random router also tells something about a token, since equal tokens are routed alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np

from experiments.moe_design import information, language
from experiments.moe_design.information import BYTE_CLASSES
from experiments.moe_design.language import LOSS, Network
from jaxtrends import charts, declare, transformer
from jaxtrends.comparison import Arm, Comparison, Setting
from jaxtrends.declare import ABOVE_ZERO, Quantity, TaskView
from jaxtrends.errors import Problem
from jaxtrends.settings import Names, PositiveInt
from jaxtrends.study import Figure, Map, Panel, Run, Table
from jaxtrends.train import RAW, Trainer

TASKS = ("lookup", "english")
NULL = 0.975  # of shuffles lie below its upper end
LITTLE = 0.1


@dataclass(frozen=True)
class Specialisation:
    """The tasks, and the number of shuffles for the null."""

    tasks: Names[TASKS] = ("lookup",)
    """Tasks: lookup, english (needs the package gensim)."""
    shuffles: PositiveInt = 200
    """Shuffles for the null."""
    lookup: Network = field(
        default_factory=lambda: Network(clusters=4, batch=64, held_out=128, log_every=20)
    )
    """The network for the lookup task."""
    english: Network = field(
        default_factory=lambda: Network(
            data="english", context=32, held_out=128, log_every=20, rates=(1e-3, 3e-3, 1e-2, 3e-2)
        )
    )
    """The network for English text."""

    def check(self, flag: str) -> None:
        """Refuse a network with another task's data.

        Raises:
            Problem: names the flag.
        """
        for name in self.tasks:
            data = getattr(self, name).data
            if data != name:
                raise Problem(f"--{flag}.{name}.data must be {name}, not {data}.")

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks of the chosen tasks."""
        return tuple(getattr(self, name) for name in self.tasks)


# --- arms ----------------------------------------------------------------------------------------


@cache
def trainer(network: Network) -> Trainer:
    """Training, with a test that counts the tokens' choices."""
    trained = language.trainer(network.sizes(), network)
    return language.measuring(trained, information.counting(network))


def trained(setting: Setting) -> Arm:
    """The network of a task."""
    network = setting.part
    cost = transformer.cost(network.sizes(), network.batch)
    return Arm(trainer(network), language.coefficients(network), cost)


def untrained(setting: Setting) -> Arm:
    """The same network before training."""
    return language.still(trained(setting), setting.part)


def data(setting: Setting, run: Run) -> dict[str, Any]:
    """The task's data, with one extra shuffle as a control."""
    return information.data(setting.part, run, setting.config.specialisation.shuffles + 1)


def facts(setting: Setting, run: Run) -> dict[str, Any]:
    """The information if each class had its own expert, layer by layer."""
    network, kinds = setting.part, information.kinds_of_test(setting.part, run)
    told = {}
    for layer, count in information.mixtures(network).items():
        classes = information.classes(network)
        joint = information.joint_counts(kinds, kinds % count, classes, count)
        told[layer] = information.normalised_information(np.asarray(joint))
    return {"one_each": told}


def told(task: Mapping[str, Any], raw: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The information in every mixture's choices, its null, and the first seed's routing.

    For each layer: the ``information``, the upper end of the null's middle 95% (``chance``) and one
    shuffle.
    """
    metrics: dict[str, dict[str, Any]] = {arm: {} for arm in task["arms"]}
    shares = {}
    for layer in task["one_each"]:
        for arm, found in metrics.items():
            joint = raw[f"{arm}/{RAW}{layer}"]
            values = information.of_lanes(joint)
            found[f"{layer} information"] = values[:, 0]
            found[f"{layer} shuffle"] = values[:, 1]
            found[f"{layer} chance"] = np.quantile(values[:, 2:], NULL, axis=1)
        first = raw[f"trained/{RAW}{layer}"][0, 0]
        shares[layer] = first / np.maximum(first.sum(axis=1, keepdims=True), 1)
    return {"who_goes_where": shares, "arms": metrics}


# --- what is claimed -----------------------------------------------------------------------------


def each_layer(*measures: tuple[str, str]) -> Quantity:
    """An arm's measure, or a pair of measures; each mixture layer is a part."""

    def found(task: TaskView) -> dict[str, Any]:
        return {
            layer: tuple(task[arm][f"{layer} {what}"] for arm, what in measures)
            for layer in task.of("one_each")
        }

    return found


def above_chance(what: str) -> Quantity:
    """How far a measure is above the upper end of the null."""

    def found(task: TaskView) -> dict[str, np.ndarray]:
        pairs = each_layer(("trained", what), ("trained", "chance"))(task)
        return {layer: one - chance for layer, (one, chance) in pairs.items()}

    return found


def as_they_are(task: TaskView) -> dict[str, np.ndarray]:
    """The information in the trained router's choices."""
    return {layer: one for layer, (one,) in each_layer(("trained", "information"))(task).items()}


def one_each(task: TaskView) -> dict[str, np.ndarray]:
    """The information if each class has its own expert."""
    return {layer: np.full(len(task.of("seeds")), v) for layer, v in task.of("one_each").items()}


BEFORE = ("untrained", "information")
QUANTITY = (
    "normalised mutual information between a token's first expert and its sequence's cluster or "
    "its byte's class"
)

CLAIMS = (
    declare.derive(
        "S8a",
        "A token's expert tells more about the kind of token than chance would.",
        above_chance("information"),
        quantity=f"{QUANTITY} - upper end of the middle 95% of shuffles",
        region=ABOVE_ZERO,
        reason="0 is the upper end of the null",
        fails={
            "a shuffle": (
                above_chance("shuffle"),
                "other sequences' labels tell nothing; they would seem to if the null mixed the "
                "tokens of a sequence",
            )
        },
        source="derived",
    ),
    declare.derive(
        "S8b",
        "The experts of a decoder do not specialise.",
        as_they_are,
        quantity=QUANTITY,
        region=(-math.inf, LITTLE),
        reason="0.1 lies between the paper's decoder, whose entropy is 2% below its maximum, and "
        "its encoder, where it is 37% to 66% below",
        fails={
            "an expert a class": (
                one_each,
                "one expert per class is full specialisation; it would look like little if the "
                "information were not normalised",
            )
        },
        reported="entropy of where sentinel tokens go: 3.4 of at most 3.5 in all six decoder "
        "layers, 1.2 to 2.2 in the encoder's",
        where="Table 14",
    ),
    declare.derive(
        "S8c",
        "Training makes experts specialise more than an untrained router does.",
        each_layer(("trained", "information"), BEFORE),
        quantity=f"{QUANTITY}, after training - before",
        statistic="paired difference",
        region=ABOVE_ZERO,
        reason="a random router also tells something about a token; at 0 nothing was learned",
        fails={
            "a shuffle": (
                each_layer(("trained", "shuffle"), BEFORE),
                "a trained router tells nothing about other sequences; it would seem to if the "
                "information were that of the choice alone",
            )
        },
        source="derived",
    ),
)


# --- a table and pictures of its own -------------------------------------------------------------


def tells(shown: charts.Shown) -> Table:
    """One row per mixture layer."""
    rows = []
    for name, task in shown.tasks.items():
        after, before = (task["arms"][arm]["metrics"] for arm in ("trained", "untrained"))
        rows += [
            {
                "task": name,
                "layer": layer.removeprefix("layer "),
                "rate": task["arms"]["trained"]["learning_rate"],
                "test loss (nats)": float(np.median(after[LOSS])),
                "information": float(np.median(after[f"{layer} information"])),
                "chance": float(np.median(after[f"{layer} chance"])),
                "before training": float(np.median(before[f"{layer} information"])),
            }
            for layer in task["one_each"]
        ]
    return charts.table(
        "specialisation",
        "What the choice of expert tells about a token",
        rows,
        "Normalised mutual information between a token's first expert and its cluster (lookup) or "
        "byte class (English); medians over seeds. Chance is the upper end of the middle 95% of "
        "shuffles. On the lookup task, the token that names the cluster is left out.",
    )


def who_goes_where(name: str, shown: charts.Shown) -> Figure:
    """The share of each class's tokens that choose each expert on one seed; a figure per task."""
    task = shown.tasks.get(name, {"who_goes_where": {}, "seeds": [0]})
    english = name == "english"
    panels = [
        Panel(
            layer,
            "expert",
            "byte class" if english else "cluster",
            [],
            map=Map(
                x=list(range(1, shares.shape[1] + 1)),
                y=list(range(1, shares.shape[0] + 1)),
                values=shares.tolist(),
                label="share of the class's tokens",
            ),
        )
        for layer, shares in task["who_goes_where"].items()
    ]
    named = [f"{number} {kind}" for number, kind in enumerate(BYTE_CLASSES, start=1)]
    rows = f" Byte classes: {', '.join(named)}." if english else ""
    return Figure(
        f"specialisation-{name}",
        f"Which tokens go to which expert: {name}",
        f"First choices on test data, seed {task['seeds'][0]}; rows sum to one.{rows}",
        panels,
    )


STUDY = Comparison(
    about="what the choice of expert tells about a token's cluster or byte",
    arms={"trained": trained, "untrained": untrained},
    metric="cross_entropy",
    unit="nats per token",
    data=data,
    facts=facts,
    also=told,
    claims=CLAIMS,
    figures=tuple(partial(who_goes_where, name) for name in TASKS),
    tables=(tells,),
)

SMOKE = Specialisation(shuffles=10, lookup=language.SMOKE)
FULL = Specialisation(
    tasks=TASKS,
    shuffles=1000,
    lookup=Network(
        clusters=8,
        context=32,
        layers=(0, 16, 0, 16),
        batch=32,
        steps=600,
        log_every=50,
        rates=(1e-3, 3e-3, 1e-2, 3e-2),
        held_out=256,
    ),
    english=Network(
        data="english",
        context=64,
        layers=(0, 16, 0, 16),
        batch=16,
        steps=600,
        log_every=50,
        # Of a grid of smaller rates, the largest, 0.01, was the best.
        rates=(1e-3, 3e-3, 1e-2, 3e-2),
        held_out=256,
    ),
)
