"""Which layers have experts, and how many: layouts compared on one schedule.

The comparisons are: experts in the first against the second half of the layers; a pyramid (more
experts in the top layers), residual experts (a dense layer added to each mixture) and both, against
equally many experts in every layer; one expert plus a dense layer, each of half the hidden width,
against top-2 routing with experts of half the width, at equal FLOPs. Every arm's learning rate is
tuned, and its parameters and FLOPs are reported with its loss.

Which half is better may depend on the depth of the task. On the lookup task the first layer can
read the table's name and look up, and later layers have nothing more abstract to do. Where two
tokens name the table together, one layer must work it out before a later one can look up. Both
tasks are trained. The order of the halves is drawn against steps, since it may depend on them too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from experiments.moe_scaling import language
from experiments.moe_scaling.language import LOSS, TASKS, Network, Schedule, loss
from jaxtrends import charts, declare
from jaxtrends.claims import Claim
from jaxtrends.comparison import Arm, Comparison, Setting
from jaxtrends.declare import ABOVE_ZERO, BELOW_ZERO, Quantity, TaskView
from jaxtrends.errors import Problem
from jaxtrends.settings import Names, PositiveInt
from jaxtrends.transformer import Transformer


def uniform(layers: int, experts: int, broad: int) -> tuple[int, ...]:
    """E experts in every layer."""
    return (experts,) * layers


def pyramid(layers: int, experts: int, broad: int) -> tuple[int, ...]:
    """E experts in every layer, 2E in the top ones."""
    return (experts,) * (layers - broad) + (2 * experts,) * broad


LAYOUTS = {  # n layers, E experts, p top layers of a pyramid -> experts per layer, lowest first
    "dense": lambda n, e, p: (0,) * n,
    "first_half": lambda n, e, p: (e,) * (n // 2) + (0,) * (n - n // 2),
    "second_half": lambda n, e, p: (0,) * (n - n // 2) + (e,) * (n // 2),
    "uniform": uniform,
    "uniform_4x": lambda n, e, p: (4 * e,) * n,
    "pyramid": pyramid,
    "residual": uniform,
    "pyramid_residual": pyramid,
    "top_2": uniform,
    "residual_half": uniform,
}
HALVES = ("dense", "first_half", "second_half")
CLOSED = 0.8  # share of the gap between E and 4E experts that must be closed
MARGIN = 0.02  # nats


@dataclass(frozen=True)
class Layout:
    """Which layouts to train on which tasks."""

    tasks: Names[TASKS] = ("lookup", "two_names")
    """Tasks: lookup, one_cluster, two_names, english. The first trains all layouts, the others only
    the two halves and the dense network."""
    arms: Names[LAYOUTS] = HALVES
    """Layouts: dense, first_half, second_half, uniform, uniform_4x, pyramid, residual,
    pyramid_residual, top_2, residual_half."""
    experts: PositiveInt = 8
    """Experts per mixture layer, E."""
    pyramid_layers: PositiveInt = 1
    """Top layers with 2E experts in a pyramid (2 of 12 in the paper)."""
    network: Network = field(default_factory=Network)
    """Sizes of the networks."""
    schedule: Schedule = field(default_factory=Schedule)
    """Tuning and training."""

    def check(self, flag: str) -> None:
        """Refuse too few layers to halve, and a hidden width that is odd.

        Raises:
            Problem: names the flag to raise.
        """
        layers, hidden = self.network.layers, self.network.hidden
        if layers < 2 or self.pyramid_layers >= layers:
            raise Problem(
                f"{layers} layers are too few for two halves and for a pyramid with "
                f"{self.pyramid_layers} wider layers at the top: raise --{flag}.network.layers."
            )
        if hidden % 2:
            raise Problem(f"--{flag}.network.hidden must be even, not {hidden}.")


# --- arms ----------------------------------------------------------------------------------------


def network(setting: Setting, arm: str) -> Transformer | None:
    """A layout's network on a task; None where the task does not train it."""
    part = setting.part
    if setting.task != part.tasks[0] and arm not in HALVES:
        return None
    mixture: dict[str, Any] = {"residual": "residual" in arm}
    if arm == "top_2":
        # Two choices of half the width need twice the capacity for the same FLOPs.
        mixture |= {"top": 2, "capacity_factor": 2 * part.network.capacity_factor}
    halved = arm in ("top_2", "residual_half")
    return language.network(
        setting,
        LAYOUTS[arm](part.network.layers, part.experts, part.pyramid_layers),
        part.network.hidden // 2 if halved else part.network.hidden,
        **mixture,
    )


def made(arm: str, setting: Setting) -> Arm | None:
    """A layout as an arm."""
    found = network(setting, arm)
    return None if found is None else language.arm(setting, found)


# --- what is claimed -----------------------------------------------------------------------------

DENSE = "a dense network in the layout's place must fail"


def halves(id: str, task: str, where: str) -> Claim:
    """Second half against first half, on one task."""
    return declare.compare(
        id,
        f"{where}, experts in the second half of the layers give a lower loss than in the first "
        "half.",
        "second_half",
        "first_half",
        on=LOSS,
        quantity=f"final validation loss, second half - first half (nats per token), task {task}",
        region=BELOW_ZERO,
        reason="the paper's figure shows only the sign",
        fails={"dense": DENSE},
        tasks=(task,),
        where="Section 4.1.1, Figure 2, left",
    )


def closed(arm: str) -> Quantity:
    """How much more than `CLOSED` of the gap from E to 4E experts an arm closes, in nats."""

    def beyond(task: TaskView) -> np.ndarray:
        few, many = loss(task, "uniform"), loss(task, "uniform_4x")
        return (few - loss(task, arm)) - CLOSED * (few - many)

    return beyond


def no_gap(task: TaskView) -> str:
    """Why the claim cannot be judged: there is no gap to close."""
    gap = np.mean(loss(task, "uniform") - loss(task, "uniform_4x"))
    return "" if gap > 0 else "4E experts are no better than E, so there is no gap"


def closing(id: str, arm: str, words: str, **declared: Any) -> Claim:
    """An arm closes most of the gap between E and 4E experts."""
    return declare.derive(
        id,
        f"{words} closes most of the loss gap between E and 4E experts in every layer.",
        closed(arm),
        quantity=f"loss of E experts - loss of the layout - {CLOSED} x (loss of E experts - loss "
        "of 4E experts), final validation loss (nats per token)",
        region=ABOVE_ZERO,
        reason=f"at 0 the layout closes {CLOSED:.0%} of the gap, so it is much closer to 4E than "
        "to E",
        fails={"dense": (closed("dense"), DENSE)},
        doubt=no_gap,
        **declared,
    )


CLAIMS = (
    halves("D3a", "lookup", "On lookups that one layer can do"),
    halves("D3b", "two_names", "On lookups whose table must be worked out first"),
    halves("D3c", "english", "On English text (bytes)"),
    declare.compare(
        "D4a",
        "A dense layer plus one expert is on par with two experts (top-2), at equal FLOPs.",
        "residual_half",
        "top_2",
        on=LOSS,
        quantity="final validation loss, dense layer plus expert - top-2, all of half the hidden "
        "width (nats per token)",
        region=(-MARGIN, MARGIN),
        reason="twice the gap of about 0.01 that the paper elsewhere counts as no difference",
        fails={"dense": DENSE},
        where="Section 4.1.1, Figure 2, right",
    ),
    declare.untestable(
        "D4b",
        "A dense layer plus one expert trains more than 10% faster than two experts (top-2).",
        "The gain is in communication between devices, and a single machine has none.",
        quantity="time of a training step, ratio",
        statistic="paired ratio",
        region=(1.1, math.inf),
        reason="the paper's figure",
        reported="more than 10 % faster",
        where="Section 4.1.1",
    ),
    closing(
        "D5a",
        "pyramid_residual",
        "A pyramid of experts with a dense layer added to each mixture",
        reported="loss of 4B parameters within about 0.01 of that of 13B (350M base)",
        where="Section 4.1.4, Figure 4",
    ),
    closing("D5b", "pyramid", "A pyramid of experts alone"),
    closing("D5c", "residual", "A dense layer added to each mixture, without a pyramid,"),
    declare.derive(
        "D5d",
        "The pyramid with dense layers has at most 60% of the parameters of 4E experts in every "
        "layer.",
        lambda task: task["pyramid_residual"]["parameters"] / task["uniform_4x"]["parameters"],
        quantity="parameters, pyramid with dense layers / 4E experts in every layer; fixed by the "
        "choice of arms",
        statistic="exact",
        kind="exact",
        region=(0.0, 0.6),
        reason="the larger of the paper's two ratios",
        fails={
            "against E experts": (
                lambda task: task["pyramid_residual"]["parameters"] / task["uniform"]["parameters"],
                "compared with E experts, the pyramid is not small",
            )
        },
        reported="4B against 13B, 31B against 52B parameters",
        where="Table 4",
    ),
)

STUDY = Comparison(
    about="layouts: experts in the first or second half, pyramid, residual, top-2",
    arms={arm: partial(made, arm) for arm in LAYOUTS},
    metric="cross_entropy",
    unit="nats per token",
    data=language.splits,
    facts=language.floor,
    claims=CLAIMS,
    figures=(
        charts.over(title="Loss of different expert layouts"),
        charts.difference("second_half", "first_half"),
        charts.finals("parameters", on=LOSS, title="Loss against parameters, by layout"),
    ),
    more=(LOSS, "validation_dropped"),
    own=True,
)
