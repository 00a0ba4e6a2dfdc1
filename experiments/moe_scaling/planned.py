"""What a config will cost, from arithmetic alone: operations, and seconds at a machine's speed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.moe_scaling import compute_to_quality, distillation, layout, targets
from experiments.moe_scaling.arms import Schedule
from jaxtrends import transformer
from jaxtrends.transformer import Transformer

EFFORT = 45e9  # what a CPU core does in a second of `jaxtrends.transformer.training_effort`
CORES = 2  # each trains a lane at a time
COMPILING = 25.0  # seconds for what trains one network


@dataclass(frozen=True)
class Work:
    """One arm's training: its steps over all lanes, and the tokens of a step.

    An evaluation of so many held-out tokens, a third as dear as training on them, is spread over
    the steps between two.
    """

    network: Transformer
    tokens: float
    lane_steps: float

    @property
    def operations(self) -> float:
        """Of one step, places without a token counted."""
        return transformer.training_operations(self.network, padded=True) * self.tokens

    @property
    def effort(self) -> float:
        """Of one step."""
        return transformer.training_effort(self.network) * self.tokens


def _arm(
    network: Transformer,
    schedule: Schedule,
    config: Any,
    *,
    steps: int = 0,
    students: int = 1,
    before: int = 0,
) -> Work:
    tokens = schedule.batch_size * config.texts.context
    evaluation = config.texts.held_out / schedule.batch_size / 3 / schedule.log_every
    tuned = len(schedule.grid) * schedule.tuning_seeds * (before + schedule.tuning_steps)
    reported = config.seeds * (before + (steps or schedule.steps))
    return Work(network, tokens * students * (1 + evaluation), float(tuned + reported))


def work(config: Any) -> dict[str, dict[str, Work]]:
    """Study -> task and arm -> its training, for the studies that train."""
    found: dict[str, dict[str, Work]] = {
        "compute_to_quality": dict(_compute_to_quality(config)),
        "layout": dict(_layout(config)),
    }
    chosen = config.distillation
    teacher, student = distillation.networks_of(chosen, config.texts)
    found["distillation"] = {
        "teacher": _arm(teacher, chosen.schedule, config, before=chosen.teacher_steps),
        "students": _arm(student, chosen.schedule, config, students=len(distillation.STUDENTS)),
    }
    return found


def _compute_to_quality(config: Any) -> Iterator[tuple[str, Work]]:
    chosen = config.compute_to_quality
    for task in chosen.tasks:
        for arm in compute_to_quality.arms_of(task, chosen):
            network, larger = (
                compute_to_quality.network_of(name, task, chosen, config.texts)
                for name in (arm, targets.LARGER)
            )
            steps = targets.equal_compute(
                chosen.schedule.steps,
                chosen.schedule.log_every,
                transformer.training_operations(network),
                transformer.training_operations(larger),
            )
            yield f"{task} {arm}", _arm(network, chosen.schedule, config, steps=steps)


def _layout(config: Any) -> Iterator[tuple[str, Work]]:
    for task in config.layout.tasks:
        for arm in layout.arms_of(task, config.layout):
            network = layout.network_of(arm, task, config.layout, config.texts)
            yield f"{task} {arm}", _arm(network, config.layout.schedule, config)


def operations(config: Any) -> dict[str, float]:
    """Floating-point operations of each study that trains."""
    return {
        study: sum(one.operations * one.lane_steps for one in parts.values())
        for study, parts in work(config).items()
    }


def seconds(config: Any) -> Mapping[str, float]:
    """Expected seconds of each study on two CPU cores, from a cold start."""
    found = {"dispatch": 1.2 * config.dispatch.rounds * len(config.dispatch.experts)}
    for study, parts in work(config).items():
        networks = len({one.network for one in parts.values()})
        effort = sum(one.effort * one.lane_steps for one in parts.values())
        found[study] = networks * COMPILING + effort / (EFFORT * CORES)
    return found
