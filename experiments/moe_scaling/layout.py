"""Which layers have experts, and how many: a pyramid, residual experts, and both.

A pyramid has more experts in its top layers. Residual experts have a dense layer added to each
mixture. Both are to come close to a network with four times the experts in every layer, with fewer
parameters. A dense layer beside the experts costs compute: a third more FLOPs a token than experts
alone. So every arm trains until it has spent the compute of E experts, to the nearest log point,
and is tested there: that is the comparison at equal compute. Beside it stands the paper's, at equal
steps: all curves are read where the arm with the fewest steps ends. Learning rates are tuned at
each arm's own number of steps.

A layout that wins by arithmetic rather than by experts would be matched by a dense network with as
many FLOPs a token; that network is the control of those with a dense layer beside the experts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from experiments.moe_scaling import language
from experiments.moe_scaling.language import LOSS, TASKS, TEST_LOSS, Network, Schedule
from jaxtrends import charts, declare, transformer
from jaxtrends.claims import Claim
from jaxtrends.comparison import Arm, Comparison, Setting
from jaxtrends.declare import ABOVE_ZERO, ArmView, Quantity, TaskView
from jaxtrends.errors import Problem
from jaxtrends.settings import Names, NonNegativeInt, PositiveInt
from jaxtrends.study import Table
from jaxtrends.transformer import Transformer


def uniform(layers: int, experts: int, broad: int) -> tuple[int, ...]:
    """E experts in every layer."""
    return (experts,) * layers


def pyramid(layers: int, experts: int, broad: int) -> tuple[int, ...]:
    """E experts in every layer, 2E in the top ones."""
    return (experts,) * (layers - broad) + (2 * experts,) * broad


LAYOUTS = {  # n layers, E experts, p top layers of a pyramid -> experts per layer, lowest first
    "dense": lambda n, e, p: (0,) * n,
    "dense_2x": lambda n, e, p: (0,) * n,
    "first_half": lambda n, e, p: (e,) * (n // 2) + (0,) * (n - n // 2),
    "second_half": lambda n, e, p: (0,) * (n - n // 2) + (e,) * (n // 2),
    "uniform": uniform,
    "uniform_4x": lambda n, e, p: (4 * e,) * n,
    "pyramid": pyramid,
    "residual": uniform,
    "pyramid_residual": pyramid,
    "one_expert": uniform,
    "top_2": uniform,
    "residual_half": uniform,
}
HIDDEN = {"dense_2x": 2.0, "one_expert": 0.5, "top_2": 0.5, "residual_half": 0.5}  # widths
FEW, MANY = "uniform", "uniform_4x"
PYRAMIDS = ("dense_2x", FEW, MANY, "pyramid", "residual", "pyramid_residual")
AT_EQUAL_STEPS = "loss_at_equal_steps"
CLOSED = 0.8  # share of the gap between E and 4E experts that must be closed


@dataclass(frozen=True)
class Layout:
    """Which layouts to train on which tasks."""

    tasks: Names[TASKS] = ("lookup",)
    """Tasks: lookup, one_cluster, two_names, english."""
    arms: Names[LAYOUTS] = PYRAMIDS
    """Layouts: dense, dense_2x (of twice the hidden width), uniform, uniform_4x, pyramid, residual,
    pyramid_residual; and those of other studies, first_half, second_half, one_expert, top_2,
    residual_half."""
    experts: PositiveInt = 8
    """Experts per mixture layer, E."""
    pyramid_layers: PositiveInt = 1
    """Top layers with 2E experts in a pyramid (2 of 12 in the paper)."""
    seeds: NonNegativeInt = 0
    """Reporting seeds; --seeds if 0."""
    network: Network = field(default_factory=Network)
    """Sizes of the networks."""
    schedule: Schedule = field(default_factory=Schedule)
    """Tuning and training."""

    def check(self, flag: str) -> None:
        """Refuse too few layers for a pyramid, and a hidden width that is odd.

        Raises:
            Problem: names the flag to raise.
        """
        layers, hidden = self.network.layers, self.network.hidden
        if layers < 2 or self.pyramid_layers >= layers:
            raise Problem(
                f"{layers} layers are too few for a pyramid with {self.pyramid_layers} wider "
                f"layers at the top: raise --{flag}.network.layers."
            )
        if hidden % 2:
            raise Problem(f"--{flag}.network.hidden must be even, not {hidden}.")


# --- arms ----------------------------------------------------------------------------------------


def built(setting: Setting, arm: str, experts: int, broad: int = 1) -> Transformer:
    """The network of a layout with so many experts per mixture layer.

    Args:
        setting: with the sizes of the network.
        arm:     one of `LAYOUTS`.
        experts: E.
        broad:   top layers with 2E experts in a pyramid.
    """
    sizes = setting.part.network
    mixture: dict[str, Any] = {"residual": "residual" in arm}
    if arm == "top_2":
        # Two choices of half the width need twice the capacity for the same FLOPs.
        mixture |= {"top": 2, "capacity_factor": 2 * sizes.capacity_factor}
    return language.network(
        setting,
        LAYOUTS[arm](sizes.layers, experts, broad),
        int(sizes.hidden * HIDDEN.get(arm, 1)),
        **mixture,
    )


def network(setting: Setting, arm: str) -> Transformer:
    """A layout's network on a task."""
    return built(setting, arm, setting.part.experts, setting.part.pyramid_layers)


def equal_compute(schedule: Schedule, operations: float, reference: float) -> int:
    """Steps that take the compute of the reference's, to the nearest log point and at least one.

    Operations are per token.
    """
    each = schedule.log_every
    return each * max(1, round(schedule.steps * reference / operations / each))


def made(arm: str, setting: Setting) -> Arm:
    """A layout as an arm that trains for the compute of E experts."""
    mine, few = network(setting, arm), network(setting, FEW)
    steps = equal_compute(setting.part.schedule, *map(transformer.training_operations, (mine, few)))
    return language.arm(setting, mine, steps=steps)


def at_equal_steps(task: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Every arm's validation loss at the step at which the arm with the fewest steps ends."""
    fewest, each = min(arm["steps"] for arm in task["arms"].values()), task["log_every"]
    read = {
        arm: {AT_EQUAL_STEPS: language.loss_at(curves[f"{arm}/{LOSS}"], fewest, each)}
        for arm in task["arms"]
    }
    return {"equal_steps": fewest, "arms": read}


# --- what is claimed -----------------------------------------------------------------------------

COMPUTE = (TEST_LOSS, "test loss where each has spent the FLOPs of E experts", "at equal compute")
STEPS = (
    AT_EQUAL_STEPS,
    "validation loss at the step at which the layout with the most FLOPs a token has spent those "
    "of E experts",
    "at equal steps",
)


def closed(arm: str, on: str) -> Quantity:
    """How much more than `CLOSED` of the gap from E to 4E experts an arm closes, in nats."""

    def beyond(task: TaskView) -> np.ndarray:
        few, many = task[FEW][on], task[MANY][on]
        return (few - task[arm][on]) - CLOSED * (few - many)

    return beyond


def no_gap(on: str) -> Callable[[TaskView], str]:
    """Why the claim cannot be judged: there is no gap to close."""

    def doubt(task: TaskView) -> str:
        gap = np.mean(task[FEW][on] - task[MANY][on])
        return "" if gap > 0 else "4E experts are no better than E, so there is no gap"

    return doubt


def closing(id: str, arm: str, words: str, terms: tuple[str, str, str], **declared: Any) -> Claim:
    """An arm closes most of the gap between E and 4E experts, on equal terms of one kind."""
    on, read, equal = terms
    fails = {
        "E experts": (
            closed(FEW, on),
            "E experts close nothing: they would pass if 4E experts were worse, as after too short "
            "a training",
        )
    }
    if "residual" in arm:
        fails["dense"] = (
            closed("dense_2x", on),
            "a dense network of about the layout's FLOPs a token must fail: if it closed the gap, "
            "arithmetic would, not experts",
        )
    return declare.derive(
        id,
        f"{words} closes most of the loss gap between E and 4E experts in every layer, {equal}.",
        closed(arm, on),
        quantity=f"loss of E experts - loss of the layout - {CLOSED} x (loss of E experts - loss "
        f"of 4E experts), {read} (nats per token)",
        region=ABOVE_ZERO,
        reason=f"at 0 the layout closes {CLOSED:.0%} of the gap, so it is much closer to 4E than "
        "to E",
        fails=fails,
        doubt=no_gap(on),
        **declared,
    )


BOTH = ("pyramid_residual", "A pyramid of experts with a dense layer added to each mixture")
PYRAMID = ("pyramid", "A pyramid of experts alone")
RESIDUAL = ("residual", "A dense layer added to each mixture, without a pyramid,")
CLAIMS = (
    closing("D5e", *BOTH, COMPUTE, source="derived"),
    closing("D5f", *PYRAMID, COMPUTE, source="derived"),
    closing("D5g", *RESIDUAL, COMPUTE, source="derived"),
    closing(
        "D5a",
        *BOTH,
        STEPS,
        reported="loss of 4B parameters within about 0.01 of that of 13B (350M base)",
        where="Section 4.1.4, Figure 4",
    ),
    closing("D5b", *PYRAMID, STEPS, where="Section 4.1.4, Figure 4"),
    closing("D5c", *RESIDUAL, STEPS, where="Section 4.1.4, Figure 4"),
)


# --- tables --------------------------------------------------------------------------------------


def share_closed(task: TaskView, arm: str, on: str) -> str | None:
    """The share of the gap from E to 4E experts that an arm closes: a ratio of means."""
    if not {FEW, MANY} <= set(task):
        return None
    few, many, mine = (float(np.mean(task[name][on])) for name in (FEW, MANY, arm))
    return f"{(few - mine) / (few - many):.0%}" if few > many else "no gap"


def over(task: TaskView, arm: str, other: str, cost: Callable[[ArmView], float]) -> float | None:
    """What an arm costs over what another does; None where that was not trained."""
    return cost(task[arm]) / cost(task[other]) if other in task else None


def gaps(shown: charts.Shown) -> Table:
    """One row per layout and task: its size, its compute, and how much of the gap it closes."""
    rows = [
        {
            "task": task.name.replace("_", " "),
            "layout": arm.replace("_", " "),
            "parameters / those of 4E": over(task, arm, MANY, lambda one: one["parameters"]),
            "FLOPs a step / those of E": over(task, arm, FEW, lambda one: one["flops"]),
            "steps": task[arm].values["steps"],
            "FLOPs in all / those of E": over(
                task, arm, FEW, lambda one: one["flops"] * one.values["steps"]
            ),
            "closed at equal compute": share_closed(task, arm, TEST_LOSS),
            "closed at equal steps": share_closed(task, arm, AT_EQUAL_STEPS),
        }
        for task in declare.tasks_of({"tasks": shown.tasks})
        for arm in task
    ]
    return charts.table(
        "layout-gaps",
        "How much of the gap between E and 4E experts a layout closes",
        rows,
        "At equal compute: test loss at the end. At equal steps: validation loss at the step at "
        "which the layout with the fewest steps ends. Parameters are fixed by the choice of "
        "layouts; the paper has 4B against 13B, and 31B against 52B.",
    )


STUDY = Comparison(
    about="layouts: pyramid, residual experts and both, against E and 4E experts in every layer",
    arms={arm: partial(made, arm) for arm in LAYOUTS},
    metric="cross_entropy",
    unit="nats per token",
    data=language.splits,
    facts=language.floor,
    also=at_equal_steps,
    claims=CLAIMS,
    figures=(
        charts.over("flops", title="Loss of different expert layouts against compute"),
        charts.over(title="Loss of different expert layouts against steps"),
        charts.finals("parameters", title="Loss against parameters, by layout"),
    ),
    tables=(gaps,),
    more=(LOSS, AT_EQUAL_STEPS, "validation_dropped"),
    own=True,
)
