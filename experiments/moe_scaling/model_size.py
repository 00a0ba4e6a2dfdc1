"""Does the compute that experts save depend on the size of the network? (claim D1u)

The comparison of `compute_to_quality` on the lookup task at four widths, with hidden layers in
proportion, and with data and steps held. At each width the target is the final loss of the dense
network of 16 times the hidden width, and the saving is over the cheapest of three dense networks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

from experiments.moe_scaling import compute_to_quality, language
from experiments.moe_scaling.compute_to_quality import DENSE, log_saving
from experiments.moe_scaling.language import LOSS, TASKS, Network, Schedule
from jaxtrends import charts, declare
from jaxtrends.comparison import Arm, Comparison, Setting
from jaxtrends.settings import Names, PositiveInt, Sizes
from jaxtrends.transformer import Transformer

ARMS = (*DENSE, "moe_16")


@dataclass(frozen=True)
class ModelSize:
    """At which widths to compare."""

    tasks: Names[TASKS] = ("lookup",)
    """Tasks: lookup, one_cluster, two_names, english."""
    widths: Sizes = (8, 12, 20, 32)
    """Widths of the residual stream; hidden layers are twice as wide."""
    every: PositiveInt = 1
    """Every how many layers a mixture's network has experts, counted from the last."""
    network: Network = field(default_factory=Network)
    """Other sizes of the networks."""
    schedule: Schedule = field(default_factory=Schedule)
    """Tuning and training."""


def rung(setting: Setting) -> Setting:
    """The setting with the network of its width."""
    width = int(setting.size)
    sizes = replace(setting.part.network, width=width, hidden=2 * width)
    return replace(setting, part=replace(setting.part, network=sizes))


def network(setting: Setting, arm: str) -> Transformer | None:
    """An arm's network at its width."""
    return compute_to_quality.network(rung(setting), arm)


def made(arm: str, setting: Setting) -> Arm | None:
    """An arm that trains for the compute of the larger dense one of its width."""
    return compute_to_quality.made(arm, rung(setting))


def saving(task: declare.TaskView) -> object:
    """Log of the compute that 16 experts save over the cheapest dense network."""
    return log_saving(task, "moe_16")


CLAIMS = (
    declare.slope(
        "D1u",
        "On the lookup task, a mixture of experts saves more compute the wider the network is.",
        saving,
        quantity="log of the compute saved by 16 experts over the cheapest dense network",
        region=declare.ABOVE_ZERO,
        reason="a slope of 0 is a saving that does not depend on size",
        fails={"rungs mixed up": (declare.mixed_up(saving), declare.RUNGS_MIXED_UP)},
        tasks=("lookup",),
    ),
)

STUDY = Comparison(
    about="the compute that experts save, at four widths",
    arms={arm: partial(made, arm) for arm in ARMS},
    metric="cross_entropy",
    unit="nats per token",
    data=language.splits,
    facts=language.floor,
    ladder="widths",
    size="width",
    also=compute_to_quality.reach,
    claims=CLAIMS,
    figures=(charts.climb(),),
    tables=(compute_to_quality.savings,),
    more=(LOSS, "steps_to_target"),
)
