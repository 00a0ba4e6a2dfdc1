"""Experts in the first half of the layers against experts in the second: the paper's Phenomenon I.

Both layouts have the same parameters and the same FLOPs a token, so equal steps are equal compute.
Which half is better may depend on the depth of the task. On the lookup task the first layer can
read the table's name and look up, and later layers have nothing more abstract to do. Where two
tokens name the table together, one layer must work it out before a later one can look up. English
text is the third task. The difference is taken in several settings, each named: a few numbers of
experts in networks of two layers, and four layers. It moves as training goes on, so one setting is
trained for longer, and what becomes of the difference is a claim of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from experiments.moe_scaling import language, layout
from experiments.moe_scaling.language import LOSS, TEST_LOSS, Network, Schedule
from jaxtrends import charts, declare
from jaxtrends.claims import Claim
from jaxtrends.comparison import Arm, Comparison, Setting
from jaxtrends.declare import ABOVE_ZERO, BELOW_ZERO, Quantity, TaskView
from jaxtrends.errors import Problem
from jaxtrends.settings import Names, NonNegativeInt, Sizes
from jaxtrends.study import Run
from jaxtrends.transformer import Transformer

TASKS = ("lookup", "two_names", "english")
ARMS = ("dense", "first_half", "second_half")
MARGIN = 0.02  # nats
HALFWAY = "loss_halfway"


@dataclass(frozen=True)
class Halved:
    """The networks of one task."""

    arms: Names[ARMS] = ARMS
    """Arms: dense, first_half, second_half."""
    experts: Sizes = (8,)
    """Experts per mixture layer: all of these numbers at the fewest layers, the middle one at
    more."""
    layers: Sizes = (2,)
    """Numbers of layers, each at least 2."""
    longer: NonNegativeInt = 0
    """Training steps of one more setting, at the fewest layers and the middle number of experts; 0
    for none."""
    seeds: NonNegativeInt = 0
    """Reporting seeds of this task; --seeds if 0."""
    network: Network = field(default_factory=Network)
    """Sizes of the networks, but for the number of layers."""
    schedule: Schedule = field(default_factory=Schedule)
    """Tuning and training."""

    def check(self, flag: str) -> None:
        """Refuse too few layers to halve, and steps that end between log points.

        Raises:
            Problem: names the flag.
        """
        if self.layers[0] < 2:
            raise Problem(f"One layer is too few for two halves: raise --{flag}.layers.")
        if self.longer % self.schedule.log_every:
            raise Problem(
                f"--{flag}.longer {self.longer} is not a multiple of --{flag}.schedule.log-every "
                f"{self.schedule.log_every}."
            )

    @property
    def settings(self) -> list[tuple[int, int, int]]:
        """Layers, experts and steps that go together."""
        fewest, *more = self.layers
        middle, steps = self.experts[len(self.experts) // 2], self.schedule.steps
        return [
            *((fewest, experts, steps) for experts in self.experts),
            *((layers, middle, steps) for layers in more),
            *([(fewest, middle, self.longer)] if self.longer else []),
        ]


@dataclass(frozen=True)
class Halves:
    """Which halves to train on which tasks."""

    tasks: Names[TASKS] = ("lookup", "two_names")
    """Tasks: lookup, two_names, english."""
    lookup: Halved = field(default_factory=Halved)
    """Lookups in a table named by one token."""
    two_names: Halved = field(default_factory=Halved)
    """Lookups in a table named by two tokens together."""
    english: Halved = field(default_factory=Halved)
    """English text, as bytes."""


# --- arms ----------------------------------------------------------------------------------------


class BySetting(Comparison):
    """A comparison whose tasks are settings: numbers of layers, experts and steps."""

    def settings(self, config: Any, study: str) -> dict[str, Setting]:
        """The settings by name; the size is the number of experts.

        The dense network has none, so it is trained once for all numbers of experts.
        """
        found = {}
        for task, setting in super().settings(config, study).items():
            part, had = setting.part, set()
            for layers, experts, steps in part.settings:
                longer = f", {steps} steps" if steps != part.schedule.steps else ""
                others = tuple(arm for arm in part.arms if arm != "dense")
                mine = replace(
                    part,
                    arms=(others if (layers, steps) in had else part.arms) or part.arms,
                    network=replace(part.network, layers=layers),
                    schedule=replace(part.schedule, steps=steps),
                )
                had.add((layers, steps))
                name = f"{task}, {layers} layers, {experts} experts{longer}"
                found[name] = replace(setting, part=mine, size=experts)
        return found


def network(setting: Setting, arm: str) -> Transformer:
    """A layout's network."""
    return layout.built(setting, arm, int(setting.size))


def made(arm: str, setting: Setting) -> Arm:
    """A layout as an arm."""
    return language.arm(setting, network(setting, arm))


def facts(setting: Setting, run: Run) -> Mapping[str, Any]:
    """The task's known floor, and what else makes the setting."""
    shortest = getattr(setting.config.halves, setting.task).schedule.steps
    return {
        **language.floor(setting, run),
        "layers": setting.part.network.layers,
        "longer": setting.part.schedule.steps != shortest,
    }


def halfway(task: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Every arm's validation loss after half of its steps."""
    half, each = task["steps"] / 2, task["log_every"]
    read = {arm: language.loss_at(curves[f"{arm}/{LOSS}"], half, each) for arm in task["arms"]}
    return {"arms": {arm: {HALFWAY: losses} for arm, losses in read.items()}}


# --- what is claimed -----------------------------------------------------------------------------


def dense(task: TaskView) -> np.ndarray:
    """Final losses of the dense network of as many layers, which one of the settings trains."""
    for name, values in task.tasks.items():
        alike = all(values[key] == task.of(key) for key in ("task", "layers", "steps"))
        if alike and "dense" in values["arms"]:
            return task.beside(name)["dense"][TEST_LOSS]
    raise KeyError("arm dense")


def against_first(task: TaskView) -> tuple[np.ndarray, np.ndarray]:
    """Final losses with experts in the second half and in the first, in the short settings.

    Raises:
        KeyError: it is the setting that is trained for longer.
    """
    if task.of("longer"):
        raise KeyError("short training")
    return task["second_half"][TEST_LOSS], task["first_half"][TEST_LOSS]


def dense_against_first(task: TaskView) -> tuple[np.ndarray, np.ndarray]:
    """The same for a dense network in place of the second half."""
    return dense(task), task["first_half"][TEST_LOSS]


def stalled(task: TaskView) -> tuple[np.ndarray, np.ndarray]:
    """The first half after half of its steps and at its end, on validation data."""
    return task["first_half"][HALFWAY], task["first_half"][LOSS]


def shrunk(one: str, other: str) -> Quantity:
    """By how much the difference of two arms rises from half of the steps to the end."""

    def change(task: TaskView) -> np.ndarray:
        if not task.of("longer"):
            raise KeyError("longer training")
        first, second = task[one], task[other]
        return (first[LOSS] - second[LOSS]) - (first[HALFWAY] - second[HALFWAY])

    return change


def halves(id: str, task: str, statement: str, **declared: Any) -> Claim:
    """Second half against first half on one task; every setting is a part."""
    declared = {
        "region": BELOW_ZERO,
        "reason": "the paper's figure shows only the sign",
        "fails": {
            "dense": (
                dense_against_first,
                "a dense network must not beat experts in the first half: if these lost tokens, or "
                "their router learned nothing, the second half would win by doing less harm",
            )
        },
        "where": "Section 4.1.1, Figure 2, left",
        **declared,
    }
    return declare.derive(
        id,
        statement,
        against_first,
        quantity=f"test loss, second half - first half (nats per token), task {task}",
        statistic="paired difference",
        tasks=(task,),
        **declared,
    )


LOWER = (
    "experts in the second half of the layers give a lower loss than in the first half, at equal "
    "compute."
)
CLAIMS = (
    halves("D3a", "lookup", f"On lookups that one layer can do, {LOWER}"),
    halves("D3b", "two_names", f"On lookups whose table must be worked out first, {LOWER}"),
    halves("D3c", "english", f"On English text (bytes), {LOWER}"),
    halves(
        "D3d",
        "english",
        "On English text (bytes), it makes no difference of 0.02 nats in which half of the layers "
        "the experts are.",
        region=(-MARGIN, MARGIN),
        reason="twice the gap of about 0.01 that the paper elsewhere counts as no difference",
        fails={
            "half of the steps": (
                stalled,
                "the first half of the training must make a difference: had it stalled, any two "
                "networks would be on par",
            )
        },
        source="derived",
    ),
    declare.derive(
        "D3e",
        "On lookups, the lead of experts in the second half of two layers shrinks as training "
        "goes on.",
        shrunk("second_half", "first_half"),
        quantity="validation loss, second half - first half: at the end - after half of the steps "
        "(nats per token), in the setting that is trained for longer",
        region=ABOVE_ZERO,
        reason="at 0 the lead stays as it is",
        fails={
            "lead over a dense network": (
                shrunk("first_half", "dense"),
                "the lead of experts over a dense network must not shrink too, as every difference "
                "would if all networks were close to the lowest loss that is possible",
            )
        },
        source="derived",
    ),
)

STUDY = BySetting(
    about="experts in the first against the second half of the layers, in several settings",
    arms={arm: partial(made, arm) for arm in ARMS},
    metric="cross_entropy",
    unit="nats per token",
    data=language.splits,
    facts=facts,
    also=halfway,
    size="experts per layer",
    claims=CLAIMS,
    figures=(
        charts.over(title="Loss with experts in the first or the second half of the layers"),
        charts.difference("second_half", "first_half"),
    ),
    more=(LOSS, HALFWAY, "validation_dropped"),
)
