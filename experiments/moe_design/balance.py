"""What is the load balanced for, and over what? (X1)

The same network without the load-balancing loss, with it over all tokens of the batch, and with it
over each routing group by itself. Groups, and so the places in them, are the same in all arms. Qwen
(2025) reports that a balance over all tokens lets experts specialise; ST-MoE, that it makes balance
and quality worse.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.moe_design import balance_figures as figures
from experiments.moe_design import information, language
from experiments.moe_design.language import Arm, Network
from jaxtrends.errors import Problem
from jaxtrends.study import Run, StudyResult


@dataclass(frozen=True)
class BalanceConfig:
    """What is trained."""

    network: Network = field(
        default_factory=lambda: Network(clusters=4, batch=64, group=64, held_out=128, log_every=20)
    )
    """What is trained. Its group, some of the batch's tokens, is what one arm balances over."""


def check(config: BalanceConfig) -> None:
    """Refuse a config that cannot be run.

    Raises:
        Problem: names the flag at fault.
    """
    network = config.network
    language.check("balance.network", network)
    if not 0 < network.group < network.batch * network.context or not network.balance:
        raise Problem(
            "--balance.network needs a balance above zero, and a group of fewer tokens than the "
            f"{network.batch * network.context} of its batch."
        )
    if network.data != "lookup":
        raise Problem("--balance.network.data must be lookup, whose clusters are known.")


def make_arms(network: Network) -> dict[str, Arm]:
    """The arms, which one program trains: they differ in coefficients alone."""
    trainer = language.make_trainer(
        language.sizes_of(network), network, extra=information.first_choices(network)
    )
    return {
        "off": Arm("off", trainer, 0.0, network.z),
        "global": Arm("global", trainer, network.balance, network.z),
        "group": Arm("group", trainer, 0.0, network.z, network.balance),
    }


def run(config: Any, run: Run) -> StudyResult:
    """Train the three arms, and measure balance, quality and specialisation."""
    network = config.balance.network
    data = run.dataset(language.data_name(network))
    arrays = language.arrays(data, network)
    labels, classes = information.labels_of_test(data, network)
    labels = information.without_name(labels, network)
    experts = [count for count in network.layers if count][-1]
    seeds = language.reporting_seeds(network, config)
    values: dict[str, Any] = {"seeds": seeds, "log_every": network.log_every, "arms": {}}
    curves: dict[str, np.ndarray] = {}
    for name, arm in make_arms(network).items():
        tuning, metrics = language.tuned(run, arm, network, arrays, config)
        chosen = information.without_name(metrics["experts"][:, -1], network)
        told = [
            information.normalised_information(
                information.joint_counts(labels, lane, classes, experts)
            )
            for lane in chosen
        ]
        values["arms"][name] = {
            "tuning": tuning,
            "loss": language.final_test(metrics),
            "busiest": language.final_loss(metrics["validation_busiest"]),
            "dropped": language.final_loss(metrics["validation_dropped"]),
            "entropy": language.final_loss(metrics["validation_router_entropy"]),
            "information": told,
        }
        for metric in figures.CURVES:
            curves[f"{name}/{metric}"] = metrics[metric]
    return StudyResult(
        values=values,
        curves=curves,
        tables=[figures.outcomes(values)],
        figures=[figures.over_training(values, curves)],
    )


SMOKE = BalanceConfig(network=language.SMOKE)
FULL = BalanceConfig(
    network=Network(
        clusters=4,
        context=32,
        layers=(0, 16),
        batch=32,
        group=128,
        steps=600,
        log_every=50,
        rates=(1e-3, 3e-3, 1e-2, 3e-2),
        held_out=256,
    )
)
