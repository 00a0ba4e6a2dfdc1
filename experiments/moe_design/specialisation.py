"""Do experts specialise? (S8)

After training, the normalised mutual information of the expert that a token chooses first and of
what the token is: the cluster of its sequence on the lookup task, the class of its byte on English.
Beside it stand a null, in which sequences have the labels of others, and the router before
training: a random router tells something of a token, too, since equal tokens go equal ways.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.moe_design import information, language
from experiments.moe_design import specialisation_figures as figures
from experiments.moe_design.language import Arm, Network
from jaxtrends.errors import Problem, choose, require_positive
from jaxtrends.study import Run, StudyResult

TASKS = ("lookup", "english")


@dataclass(frozen=True)
class SpecialisationConfig:
    """On which tasks, and how many shuffles make the null."""

    tasks: tuple[str, ...] = ("lookup",)
    """Tasks: lookup, english (which needs the package gensim)."""
    shuffles: int = 200
    """Shuffles of the null."""
    lookup: Network = field(
        default_factory=lambda: Network(clusters=4, batch=64, held_out=128, log_every=20)
    )
    """What is trained on the lookup task."""
    english: Network = field(
        default_factory=lambda: Network(
            data="english", context=32, held_out=128, log_every=20, rates=(1e-3, 3e-3, 1e-2, 3e-2)
        )
    )
    """What is trained on English."""


def networks(config: SpecialisationConfig) -> dict[str, Network]:
    """The networks of the chosen tasks."""
    return {name: getattr(config, name) for name in config.tasks}


def check(config: SpecialisationConfig) -> None:
    """Refuse a config that cannot be run.

    Raises:
        Problem: names the flag at fault.
    """
    for name in config.tasks:
        choose("task", name, TASKS)
        network = getattr(config, name)
        language.check(f"specialisation.{name}", network)
        if network.data != name:
            raise Problem(f"--specialisation.{name}.data must be {name}, not {network.data}.")
    require_positive(**{"specialisation.shuffles": config.shuffles})


def make_arm(network: Network) -> Arm:
    """The network, its test telling each token's choice."""
    trainer = language.make_trainer(
        language.sizes_of(network), network, extra=information.first_choices(network)
    )
    return Arm(network.data, trainer, network.balance, network.z)


def measure(
    experts: np.ndarray, labels: np.ndarray, network: Network, layer: int, classes: int, null: int
) -> dict[str, np.ndarray]:
    """Information of one layer's choices on the labels, per seed: (seeds, n, T), (n, T).

    ``null`` shuffles give the upper end of the middle 95% (``high``) and one shuffle (``one``).
    """
    count = [experts for experts in network.layers if experts][layer]
    found: dict[str, list[float]] = {"information": [], "high": [], "one": []}
    for chosen in experts:
        joint = information.joint_counts(labels, chosen, classes, count)
        found["information"].append(information.normalised_information(joint))
        shuffled = information.shuffled_information(labels, chosen, classes, count, null + 1)
        found["one"].append(shuffled[0])
        found["high"].append(float(np.quantile(shuffled[1:], 0.975)))
    return {name: np.asarray(values) for name, values in found.items()}


def run(config: Any, run: Run) -> StudyResult:
    """Train on each task and measure every mixture."""
    chosen = config.specialisation
    values: dict[str, Any] = {"tasks": {}}
    for name, network in networks(chosen).items():
        data = run.dataset(language.data_name(network))
        arrays = language.arrays(data, network)
        arm, seeds = make_arm(network), language.reporting_seeds(network, config)
        tuning, metrics = language.tuned(run, arm, network, arrays, config)
        before = language.untrained(run, arm, network, arrays, seeds)
        labels, classes = information.labels_of_test(data, network)
        labels = information.without_name(labels, network)
        one_each = np.broadcast_to(labels, (len(seeds), *labels.shape))
        task: dict[str, Any] = {
            "seeds": seeds,
            "tuning": tuning,
            "loss": language.final_test(metrics),
            "classes": classes,
            "layers": {},
        }
        for layer, (index, count) in enumerate(
            (index, count) for index, count in enumerate(network.layers) if count
        ):
            trained, untrained = (
                information.without_name(found["experts"][:, layer], network)
                for found in (metrics, before)
            )
            task["layers"][str(index + 1)] = {
                "trained": measure(trained, labels, network, layer, classes, chosen.shuffles),
                "untrained": measure(untrained, labels, network, layer, classes, chosen.shuffles),
                "one_each": measure(one_each % count, labels, network, layer, classes, 1),
                "who_goes_where": _who_goes_where(trained[0], labels, classes, count),
            }
        values["tasks"][name] = task
    return StudyResult(
        values=values,
        tables=[figures.outcomes(values)],
        figures=[figures.who_goes_where(name, task) for name, task in values["tasks"].items()],
    )


def _who_goes_where(
    experts: np.ndarray, labels: np.ndarray, classes: int, count: int
) -> np.ndarray:
    """Share of each label's tokens that choose each expert: (classes, count)."""
    joint = information.joint_counts(labels, experts, classes, count)
    return joint / np.maximum(joint.sum(axis=1, keepdims=True), 1)


SMOKE = SpecialisationConfig(
    shuffles=10,
    lookup=language.SMOKE,
)
FULL = SpecialisationConfig(
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
        rates=(3e-4, 1e-3, 3e-3, 1e-2),
        held_out=256,
    ),
)
