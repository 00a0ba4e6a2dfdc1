"""What the studies will train: their calls of `arms.train_arm`, from the config alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from experiments.moe_scaling import compute_to_quality, distillation, layout, targets
from experiments.moe_scaling.arms import Schedule, Texts
from jaxtrends import transformer
from jaxtrends.plan import Planned
from jaxtrends.transformer import Transformer

ENGLISH = 700_000  # bytes of the English text, about


def plan(config: Any, methods: Sequence[str] = ()) -> Mapping[str, Sequence[Planned]]:
    """Study -> the calls of its training, in their order; there are no methods of the user's."""
    return {
        "compute_to_quality": list(_compute_to_quality(config)),
        "layout": list(_layout(config)),
        "distillation": list(_distillation(config)),
    }


def _compute_to_quality(config: Any) -> Iterator[Planned]:
    chosen = config.compute_to_quality
    for task in chosen.tasks:
        networks = {
            arm: compute_to_quality.network_of(arm, task, chosen, config.texts)
            for arm in compute_to_quality.arms_of(task, chosen)
        }
        larger = transformer.training_operations(networks[targets.LARGER])
        for arm, network in networks.items():
            steps = targets.equal_compute(
                chosen.schedule.steps,
                chosen.schedule.log_every,
                transformer.training_operations(network),
                larger,
            )
            yield from _arm(f"{task} {arm}", network, chosen.schedule, config, task, steps)


def _layout(config: Any) -> Iterator[Planned]:
    chosen = config.layout
    for task in chosen.tasks:
        for arm in layout.arms_of(task, chosen):
            network = layout.network_of(arm, task, chosen, config.texts)
            steps = chosen.schedule.steps
            yield from _arm(f"{task} {arm} layout", network, chosen.schedule, config, task, steps)


def _distillation(config: Any) -> Iterator[Planned]:
    """Teacher and students are one trainer; its operations are those of its dearer half."""
    chosen = config.distillation
    teacher, student = distillation.networks_of(chosen, config.texts)
    before, schedule = chosen.teacher_steps, chosen.schedule
    whole = replace(schedule, tuning_steps=before + schedule.tuning_steps)
    steps, students = before + schedule.steps, len(distillation.STUDENTS)
    for call in _arm(f"{chosen.task} students", student, whole, config, chosen.task, steps):
        yield replace(
            call,
            program=(teacher, student),
            operations=students * call.operations,
            numbers=students * call.numbers + 4 * transformer.parameter_count(teacher),
        )


def _arm(
    label: str, network: Transformer, schedule: Schedule, config: Any, task: str, steps: int
) -> Iterator[Planned]:
    kinds = {
        "tuning": (len(schedule.grid) * schedule.tuning_seeds, schedule.tuning_steps),
        "tuned": (config.seeds, steps),
    }
    for kind, (lanes, of) in kinds.items():
        yield Planned(
            label=f"{label}, {kind}",
            program=(network, schedule.batch_size),
            lanes=lanes,
            steps=of,
            log_every=schedule.log_every,
            block=schedule.block,
            operations=_operations(network, schedule, config.texts),
            numbers=3 * transformer.parameter_count(network),  # Adam keeps two more of each
            data=_numbers(config.texts, task),
        )


def _operations(network: Transformer, schedule: Schedule, texts: Texts) -> float:
    """Of a step, places of experts counted whether filled or not; evaluation is a third as dear."""
    token = transformer.training_operations(network, padded=True)
    evaluated = texts.held_out / 3 / schedule.log_every
    return token * texts.context * (schedule.batch_size + evaluated)


def _numbers(texts: Texts, task: str) -> float:
    training = ENGLISH if task == "english" else texts.training * texts.context
    return 2.0 * (training + 2 * texts.held_out * texts.context)
