"""What does an expert's capacity buy? (S3, S4)

Top-1 and top-2 routing with capacity factors from a half to two, each trained at a rate of its own,
and each evaluated with the capacity it was trained with and with others. The factor counts places
per token whatever each token chooses, so that arms of one factor cost the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from experiments.moe_design import capacity_figures as figures
from experiments.moe_design import language
from experiments.moe_design.language import Arm, Network
from jaxtrends import transformer
from jaxtrends.errors import Problem, require_positive
from jaxtrends.study import Run, StudyResult


@dataclass(frozen=True)
class CapacityConfig:
    """Which capacities, in training and in evaluation."""

    tops: tuple[int, ...] = (1, 2)
    """Experts that each token chooses, an arm each."""
    factors: tuple[float, ...] = (0.5, 1.0, 1.25, 2.0)
    """Capacity factors in training, rising; an arm each."""
    evaluated: tuple[float, ...] = (0.5, 2.0)
    """Capacity factors in evaluation, beside that of training; two at least, for the control."""
    network: Network = field(
        default_factory=lambda: Network(clusters=4, batch=64, steps=300, log_every=20)
    )
    """What is trained. Its own top and capacity factor are not read."""


def check(config: CapacityConfig) -> None:
    """Refuse a config that cannot be run.

    Raises:
        Problem: names the flag at fault.
    """
    for factor in (*config.factors, *config.evaluated):
        require_positive(**{"capacity.factors": factor})
    if list(config.factors) != sorted(set(config.factors)) or not config.factors:
        raise Problem("--capacity.factors must rise.")
    if not config.tops or len(set(config.evaluated)) < 2:
        raise Problem("--capacity.tops must name one number at least, --capacity.evaluated two.")
    for top in config.tops:
        for factor in config.factors:
            language.check("capacity.network", config.network, top=top, capacity_factor=factor)


def name_of(top: int) -> str:
    """How a record spells an arm's routing."""
    return f"top-{top}"


def evaluated_at(network: Network, top: int, factors: tuple[float, ...]) -> language.Extra:
    """Test loss and dropped share of the parameters with each of some capacity factors."""

    def measure(params: Any, data: Mapping[str, Any]) -> dict[str, jax.Array]:
        inputs, labels = data["test"]
        found = {}
        for factor in factors:
            sizes = language.sizes_of(network, top=top, capacity_factor=factor)
            outputs = transformer.transformer(sizes).apply(params, inputs)
            found[f"loss at {factor}"] = transformer.next_token_loss(outputs, labels)
            found[f"dropped at {factor}"] = transformer.router_metrics()["dropped"](outputs, labels)
        return found

    return measure


def make_arm(config: CapacityConfig, top: int, factor: float) -> Arm:
    """One routing with one capacity factor in training."""
    network = config.network
    trainer = language.make_trainer(
        language.sizes_of(network, top=top, capacity_factor=factor),
        network,
        extra=evaluated_at(network, top, evaluations(config, factor)),
    )
    return Arm(f"{name_of(top)}, capacity {factor:g}", trainer, network.balance, network.z)


def evaluations(config: CapacityConfig, factor: float) -> tuple[float, ...]:
    """The capacity factors that an arm is evaluated at, its own first."""
    return tuple(dict.fromkeys((factor, *config.evaluated)))


def cost(network: Network, top: int, factor: float) -> float:
    """Floating-point operations of a training token, places counted whether filled or not."""
    sizes = language.sizes_of(network, top=top, capacity_factor=factor)
    return transformer.training_operations(sizes, padded=True)


def run(config: Any, run: Run) -> StudyResult:
    """Train every routing with every capacity."""
    chosen = config.capacity
    network = chosen.network
    data = language.arrays(run.dataset(language.data_name(network)), network)
    seeds = language.reporting_seeds(network, config)
    values: dict[str, Any] = {"seeds": seeds, "arms": {}}
    curves: dict[str, np.ndarray] = {}
    for top in chosen.tops:
        arms: dict[str, Any] = {}
        for factor in chosen.factors:
            arm = make_arm(chosen, top, factor)
            tuning, metrics = language.tuned(run, arm, network, data, config)
            arms[str(factor)] = {
                "tuning": tuning,
                "operations": cost(network, top, factor),
                "dropped_in_training": language.final_loss(metrics["validation_dropped"]),
                "loss": _by_factor(metrics, evaluations(chosen, factor), "loss"),
                "dropped": _by_factor(metrics, evaluations(chosen, factor), "dropped"),
            }
            curves[f"{arm.label}/validation_cross_entropy"] = metrics["validation_cross_entropy"]
        values["arms"][name_of(top)] = arms
    found = language.untrained(run, arm, network, data, seeds)
    values["untrained"] = _by_factor(found, evaluations(chosen, factor), "loss")
    return StudyResult(
        values=values,
        curves=curves,
        tables=[figures.outcomes(values)],
        figures=[figures.curves_of_capacity(values)],
    )


def _by_factor(
    metrics: Mapping[str, np.ndarray], factors: tuple[float, ...], what: str
) -> dict[str, np.ndarray]:
    """Evaluation's capacity factor -> a value a seed."""
    return {str(factor): language.final_test(metrics, f"{what} at {factor}") for factor in factors}


SMOKE = CapacityConfig(
    tops=(1,),
    factors=(0.5, 1.25),
    network=language.SMOKE,
)
FULL = CapacityConfig(
    evaluated=(0.5, 0.75, 1.0, 1.25, 2.0, 4.0),
    network=Network(
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
