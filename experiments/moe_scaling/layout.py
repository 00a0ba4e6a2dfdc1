"""Where the experts stand, and how many: mixtures of different layouts at one schedule.

First half against second half of the layers; a pyramid (more experts above), a dense layer beside
each mixture (residual), both, against as many experts in every layer; one expert and a dense layer
of half the hidden width each, against two experts of half the width, at equal arithmetic. Every
arm's learning rate is tuned, and its parameters and arithmetic stand beside its loss.

Which half is better may hang on how deep the task is. On the lookup task the first layer can read
the cluster's name and look up, and later layers have nothing more abstract to do. Where two tokens
name the cluster together, a layer must work it out before a later one can look up. Both are
trained; and the order of the halves is drawn over the steps, since it may hang on them too.
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
    """E experts in every layer, and 2E in the topmost ones."""
    return (experts,) * (layers - broad) + (2 * experts,) * broad


LAYOUTS = {  # n layers, E experts, the topmost layers of a pyramid -> experts from the lowest up
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
    """Which layouts are trained on what."""

    tasks: Names[TASKS] = ("lookup", "two_names")
    """Tasks: lookup, one_cluster, two_names, english. All layouts are trained on the first, the
    halves and the dense network on the others."""
    arms: Names[LAYOUTS] = HALVES
    """Layouts: dense, first_half, second_half, uniform, uniform_4x, pyramid, residual,
    pyramid_residual, top_2, residual_half."""
    experts: PositiveInt = 8
    """Experts of a mixture layer, E."""
    pyramid_layers: PositiveInt = 1
    """The topmost layers that hold 2E experts in a pyramid (2 of 12 in the paper)."""
    network: Network = field(default_factory=Network)
    """Sizes."""
    schedule: Schedule = field(default_factory=Schedule)
    """Training."""

    def check(self, flag: str) -> None:
        """Refuse layers that have no halves, and a width that has none.

        Raises:
            Problem: names the flag to raise.
        """
        layers, hidden = self.network.layers, self.network.hidden
        if layers < 2 or self.pyramid_layers >= layers:
            raise Problem(
                f"{layers} layers have no two halves with {self.pyramid_layers} broader ones at "
                f"the top: raise --{flag}.network.layers."
            )
        if hidden % 2:
            raise Problem(f"--{flag}.network.hidden {hidden} cannot be halved.")


# --- arms ----------------------------------------------------------------------------------------


def network(setting: Setting, arm: str) -> Transformer | None:
    """A layout's network on a task; None where the task does not train it."""
    part = setting.part
    if setting.task != part.tasks[0] and arm not in HALVES:
        return None
    mixture: dict[str, Any] = {"residual": "residual" in arm}
    if arm == "top_2":
        # Two choices of half the width take twice the places for the same arithmetic.
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

DENSE = "a dense network must not pass for the layout"


def halves(id: str, task: str, where: str) -> Claim:
    """Second half against first half, on one task."""
    return declare.compare(
        id,
        "Experts in the second half of the layers give a lower loss than in the first half, "
        f"{where}.",
        "second_half",
        "first_half",
        on=LOSS,
        quantity="final validation loss of second half - that of first half (nats a token), task "
        f"{task}",
        region=BELOW_ZERO,
        reason="the sign is all that the paper's figure shows",
        fails={"dense": DENSE},
        tasks=(task,),
        where="Section 4.1.1, Figure 2, left",
    )


def closed(arm: str) -> Quantity:
    """By how much more than `CLOSED` of the gap from E to 4E experts an arm closes, in nats."""

    def beyond(task: TaskView) -> np.ndarray:
        few, many = loss(task, "uniform"), loss(task, "uniform_4x")
        return (few - loss(task, arm)) - CLOSED * (few - many)

    return beyond


def no_gap(task: TaskView) -> str:
    """What keeps a gap from being closed: there is none."""
    gap = np.mean(loss(task, "uniform") - loss(task, "uniform_4x"))
    return "" if gap > 0 else "4E experts are no better than E, so there is no gap"


def closing(id: str, arm: str, words: str, **declared: Any) -> Claim:
    """An arm closes most of the gap between E and 4E experts."""
    return declare.derive(
        id,
        f"{words} closes most of the gap in loss between E and 4E experts in every layer.",
        closed(arm),
        quantity=f"loss of E experts - that of the layout - {CLOSED} x (loss of E experts - loss "
        "of 4E experts), final validation loss (nats a token)",
        region=ABOVE_ZERO,
        reason=f"0 is a gap closed by {CLOSED:.0%}, which leaves the layout nearer to 4E than to E",
        fails={"dense": (closed("dense"), DENSE)},
        doubt=no_gap,
        **declared,
    )


CLAIMS = (
    halves("D3a", "lookup", "on lookups that one layer can do"),
    halves("D3b", "two_names", "on lookups whose table a layer must work out first"),
    halves("D3c", "english", "on English text as bytes"),
    declare.compare(
        "D4a",
        "A dense layer and one expert are on par with two experts, at equal arithmetic.",
        "residual_half",
        "top_2",
        on=LOSS,
        quantity="final validation loss of dense layer and expert - that of top-2, all of half the "
        "hidden width (nats a token)",
        region=(-MARGIN, MARGIN),
        reason="twice the gap of about 0.01 that the paper counts as no difference elsewhere",
        fails={"dense": DENSE},
        where="Section 4.1.1, Figure 2, right",
    ),
    declare.untestable(
        "D4b",
        "A dense layer and one expert train more than 10 % faster than two experts.",
        "The gain is in communication between devices, of which one machine has none.",
        quantity="time of a training step, relative",
        statistic="paired ratio",
        region=(1.1, math.inf),
        reason="the paper's figure",
        reported="more than 10 % faster",
        where="Section 4.1.1",
    ),
    closing(
        "D5a",
        "pyramid_residual",
        "A pyramid with a dense layer beside each mixture",
        reported="loss of 4B parameters within about 0.01 of that of 13B (350M base)",
        where="Section 4.1.4, Figure 4",
    ),
    closing("D5b", "pyramid", "A pyramid alone"),
    closing("D5c", "residual", "A dense layer beside each mixture alone"),
    declare.derive(
        "D5d",
        "That pyramid has at most six tenths of the parameters of 4E experts in every layer.",
        lambda task: task["pyramid_residual"]["parameters"] / task["uniform_4x"]["parameters"],
        quantity="parameters, pyramid and residual / 4E experts in every layer; fixed by the arms",
        statistic="exact",
        kind="exact",
        region=(0.0, 0.6),
        reason="the larger of the paper's two ratios",
        fails={
            "against E experts": (
                lambda task: task["pyramid_residual"]["parameters"] / task["uniform"]["parameters"],
                "against the small layout the pyramid is no small one",
            )
        },
        reported="4B against 13B, 31B against 52B parameters",
        where="Table 4",
    ),
)

STUDY = Comparison(
    about="experts in the first or second half, pyramid, residual, top-2",
    arms={arm: partial(made, arm) for arm in LAYOUTS},
    metric="cross_entropy",
    unit="nats a token",
    data=language.splits,
    facts=language.floor,
    claims=CLAIMS,
    figures=(
        charts.over(title="Layouts of experts"),
        charts.difference("second_half", "first_half"),
        charts.finals("parameters", on=LOSS, title="Loss against parameters, by layout"),
    ),
    more=(LOSS, "validation_dropped"),
    own=True,
)
