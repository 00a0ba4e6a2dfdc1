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

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.moe_scaling import arms
from experiments.moe_scaling import layout_figures as figures
from experiments.moe_scaling.arms import Network, Schedule, Texts
from jaxtrends.errors import Problem, choose, require_positive
from jaxtrends.moe import Mixture
from jaxtrends.study import Run, StudyResult
from jaxtrends.transformer import Transformer

ARMS = {
    "dense": "dense",
    "first_half": "first half",
    "second_half": "second half",
    "uniform": "E in every layer",
    "uniform_4x": "4E in every layer",
    "pyramid": "pyramid, E and 2E",
    "residual": "residual, E",
    "pyramid_residual": "pyramid and residual",
    "top_2": "top-2, half width",
    "residual_half": "residual, half width",
}

HALVES = ("dense", "first_half", "second_half")


@dataclass(frozen=True)
class LayoutConfig:
    """Which layouts are trained on what."""

    tasks: tuple[str, ...] = ("lookup", "two_names")
    """Tasks: lookup, one_cluster, two_names, english. All layouts are trained on the first, the
    halves and the dense network on the others."""
    arms: tuple[str, ...] = ("dense", "first_half", "second_half")
    """Layouts: dense, first_half, second_half, uniform, uniform_4x, pyramid, residual,
    pyramid_residual, top_2, residual_half."""
    experts: int = 8
    """Experts of a mixture layer, E."""
    pyramid_layers: int = 1
    """The topmost layers that hold 2E experts in a pyramid (2 of 12 in the paper)."""
    network: Network = field(default_factory=Network)
    """Sizes."""
    schedule: Schedule = field(default_factory=Schedule)
    """Training."""


def experts_of(arm: str, layers: int, experts: int, pyramid_layers: int) -> tuple[int, ...]:
    """Experts in every layer of a layout, from the lowest up; 0 for a dense layer."""
    half, below = layers // 2, layers - pyramid_layers
    return {
        "dense": (0,) * layers,
        "first_half": (experts,) * half + (0,) * (layers - half),
        "second_half": (0,) * (layers - half) + (experts,) * half,
        "uniform_4x": (4 * experts,) * layers,
        "pyramid": (experts,) * below + (2 * experts,) * pyramid_layers,
        "pyramid_residual": (experts,) * below + (2 * experts,) * pyramid_layers,
    }.get(arm, (experts,) * layers)


def network_of(arm: str, task: str, config: LayoutConfig, texts: Texts) -> Transformer:
    """An arm's network on a task."""
    network = config.network
    mixture = Mixture(
        top=2 if arm == "top_2" else 1,
        # Two choices of half the width take twice the places for the same arithmetic.
        capacity_factor=network.capacity_factor * (2 if arm == "top_2" else 1),
        residual="residual" in arm,
    )
    halved = arm in ("top_2", "residual_half")
    return arms.sizes(
        task,
        texts,
        network,
        config.schedule,
        experts_of(arm, network.layers, config.experts, config.pyramid_layers),
        network.hidden // 2 if halved else network.hidden,
        mixture,
    )


def arms_of(task: str, config: LayoutConfig) -> list[str]:
    """The layouts that a task trains: all on the first task, the halves on the others."""
    allowed = ARMS if task == config.tasks[0] else HALVES
    return [arm for arm in ARMS if arm in config.arms and arm in allowed]


def check(config: LayoutConfig, texts: Texts) -> None:
    """Refuse what cannot be run.

    Raises:
        Problem: names the flag at fault.
    """
    for arm in config.arms:
        choose("layout", arm, ARMS)
    arms.check_texts(texts, config.tasks)
    require_positive(
        **{
            "layout.experts": config.experts,
            "layout.pyramid-layers": config.pyramid_layers,
            "layout.network.layers": config.network.layers,
        }
    )
    if config.network.layers < 2 or config.pyramid_layers >= config.network.layers:
        raise Problem(
            f"{config.network.layers} layers have no two halves with {config.pyramid_layers} "
            "broader ones at the top: raise --layout.network.layers."
        )
    if config.network.hidden % 2:
        raise Problem(f"--layout.network.hidden {config.network.hidden} cannot be halved.")
    for task in config.tasks:
        networks = {arm: network_of(arm, task, config, texts) for arm in config.arms}
        arms.check("layout", texts, config.schedule, networks)


def run_task(task: str, config: Any, run: Run) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Train every layout on a task: its values and its curves."""
    chosen = config.layout
    found = run.dataset(task)
    data = arms.splits(found, config.texts.held_out)
    values: dict[str, Any] = {
        "floor": found.floor,
        "steps": chosen.schedule.steps,
        "log_every": chosen.schedule.log_every,
        "tokens_per_step": chosen.schedule.batch_size * config.texts.context,
        "seeds": arms.reporting_seeds(config),
        "tuning_seeds": arms.tuning_seeds(config, chosen.schedule),
        "arms": {},
    }
    curves = {}
    for arm in arms_of(task, chosen):
        network = network_of(arm, task, chosen, config.texts)
        trainer = arms.trainer_of(network, chosen.schedule)
        tuned, metrics = arms.train_arm(
            task, f"{arm} layout", trainer, chosen.schedule, data, config, run
        )
        values["arms"][arm] = {
            "experts": network.experts,
            **arms.cost(network),
            **tuned,
            **arms.outcome(metrics),
        }
        for name, curve in metrics.items():
            if curve.ndim == 2:
                curves[f"{task}/{arm}/{name}"] = curve
    return values, curves


def run(config: Any, run: Run) -> StudyResult:
    """Train all layouts on all tasks."""
    tasks: dict[str, Any] = {}
    curves: dict[str, np.ndarray] = {}
    for task in config.layout.tasks:
        tasks[task], found = run_task(task, config, run)
        curves.update(found)
    return StudyResult(
        values={"tasks": tasks, "step_flops": _step_flops(tasks)},
        curves=curves,
        tables=[figures.outcomes(tasks)],
        figures=[
            *(figures.halves(name, task, curves) for name, task in tasks.items()),
            figures.parameters(tasks),
        ],
    )


def _step_flops(tasks: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    return {
        name: {arm: a["operations"] * task["tokens_per_step"] for arm, a in task["arms"].items()}
        for name, task in tasks.items()
    }
