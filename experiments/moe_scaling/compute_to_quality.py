"""How much training compute a dense model needs over that which a mixture needs for its loss.

The target is the final validation loss of the larger dense arm, seed by seed. What an arm needs is
the arithmetic up to the first point from which its curve stays at or below the target; of the
dense arms the cheaper counts. Every arm trains until it has spent the larger dense arm's compute.
The mixtures do the arithmetic of the smaller dense arm for each token, so that they may differ
from it in nothing but what they remember.

Experts to whom tokens go in turn, by their place in the sequence, are the control that must save
nothing: as many parameters and as even a load, from an assignment that knows nothing of the token.
Experts behind a router that never learned are more than that: it is a random function of the token,
a hash, and experts that share tokens out by a hash may remember more for the same arithmetic. Its
logits are evened out so that it loads them alike and drops next to nobody: what sets it apart from
a learned one is the choice alone. A task with one table leaves experts nothing to divide by
cluster; there, too, more parameters remember more, so that what is saved on it is measured rather
than ruled out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from experiments.moe_scaling import arms
from experiments.moe_scaling import compute_to_quality_figures as figures
from experiments.moe_scaling.arms import Network, Schedule, Texts
from experiments.moe_scaling.targets import ARMS, LARGER, equal_compute, reach, seconds_to_target
from jaxtrends import sweep, timing, train
from jaxtrends.errors import choose, require_positive
from jaxtrends.moe import Mixture
from jaxtrends.study import Run, StudyResult
from jaxtrends.transformer import Transformer, training_operations

EXPERTS = {  # how many, and who says where a token goes
    "moe_4": (4, "learned"),
    "moe_16": (16, "learned"),
    "moe_64": (64, "learned"),
    "fixed_router": (16, "fixed"),
    "by_position": (16, "position"),
}
FEWER = {  # the arms of tasks on which not all are trained
    "one_cluster": ("dense", "dense_4x", "moe_16"),
    "english": ("dense", "dense_4x", "moe_16", "by_position"),
}


@dataclass(frozen=True)
class ComputeToQualityConfig:
    """Which arms are trained on what."""

    tasks: tuple[str, ...] = ("lookup", "one_cluster")
    """Tasks: lookup, one_cluster (the control without clusters), english."""
    arms: tuple[str, ...] = ("dense", "dense_4x", "moe_16", "by_position")
    """Arms: dense, dense_4x, moe_4, moe_16, moe_64, fixed_router, by_position. dense_4x sets the
    target."""
    every: int = 1
    """Every so many-th layer of a mixture's network has experts, the last among them; 2 in the
    paper."""
    timing_rounds: int = 7
    """Rounds of the step timing, arms interleaved."""
    network: Network = field(default_factory=Network)
    """Sizes."""
    schedule: Schedule = field(default_factory=Schedule)
    """Training."""


def network_of(arm: str, task: str, config: ComputeToQualityConfig, texts: Texts) -> Transformer:
    """An arm's network on a task."""
    network = config.network
    experts, assignment = EXPERTS.get(arm, (0, "learned"))
    from_above = range(network.layers - 1, -1, -1)
    return arms.sizes(
        task,
        texts,
        network,
        config.schedule,
        tuple(0 if place % config.every else experts for place in from_above),
        network.hidden * (4 if arm == LARGER else 1),
        Mixture(capacity_factor=network.capacity_factor, assignment=assignment),
    )


def arms_of(task: str, config: ComputeToQualityConfig) -> list[str]:
    """The arms that a task trains."""
    return [arm for arm in ARMS if arm in config.arms and arm in FEWER.get(task, ARMS)]


def check(config: ComputeToQualityConfig, texts: Texts) -> None:
    """Refuse what cannot be run.

    Raises:
        Problem: names the flag at fault.
    """
    flag = "compute-to-quality"
    for arm in config.arms:
        choose("arm", arm, ARMS)
    choose("arm for the target", LARGER, config.arms)
    arms.check_texts(texts, config.tasks)
    require_positive(
        **{
            f"{flag}.every": config.every,
            f"{flag}.timing-rounds": config.timing_rounds,
            f"{flag}.network.layers": config.network.layers,
        }
    )
    for task in config.tasks:
        networks = {arm: network_of(arm, task, config, texts) for arm in arms_of(task, config)}
        arms.check(flag, texts, config.schedule, networks)


def run_task(
    task: str, config: Any, run: Run
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, list[float]]]:
    """Train every arm on a task: its values, its curves, and the seconds of its steps."""
    chosen = config.compute_to_quality
    schedule, found = chosen.schedule, run.dataset(task)
    data = arms.splits(found, config.texts.held_out)
    values: dict[str, Any] = {
        "floor": found.floor,
        "steps": schedule.steps,
        "log_every": schedule.log_every,
        "tokens_per_step": schedule.batch_size * config.texts.context,
        "seeds": arms.reporting_seeds(config),
        "tuning_seeds": arms.tuning_seeds(config, schedule),
        "arms": {},
    }
    kept, curves, timed = {}, {}, {}
    larger = training_operations(network_of(LARGER, task, chosen, config.texts))
    for arm in arms_of(task, chosen):
        network = network_of(arm, task, chosen, config.texts)
        trainer = arms.trainer_of(network, schedule)
        cost = arms.cost(network)
        steps = equal_compute(schedule.steps, schedule.log_every, cost["operations"], larger)
        tuned, metrics = arms.train_arm(
            task, arm, trainer, schedule, data, config, run, steps=steps
        )
        values["arms"][arm] = {**cost, **tuned, **arms.outcome(metrics)}
        kept[arm] = metrics["validation_cross_entropy"]
        for name, curve in metrics.items():
            if curve.ndim == 2:
                curves[f"{task}/{arm}/{name}"] = curve
        timed[arm] = _timed(trainer, schedule, data)
    values["target"] = kept[LARGER][:, -1].astype(np.float64)
    for arm, steps in reach(kept, values["target"], schedule.log_every).items():
        values["arms"][arm]["steps_to_target"] = steps
    rounds = run.each(f"timing {task}", range(chosen.timing_rounds))
    seconds = timing.interleaved(timed, rounds)
    steps = schedule.log_every * schedule.block
    return values, curves, {arm: [s / steps for s in samples] for arm, samples in seconds.items()}


def _timed(trainer: train.Trainer, schedule: Schedule, data: Any) -> timing.Timed:
    """What trained a block of lanes between two log points, evaluation and all, from its start."""
    [block] = sweep.blocks_of(arms.grid_lanes(schedule.grid[:1], [0]), schedule.block)
    lanes, data = jax.device_put((block, data), jax.local_devices()[0])
    programs = sweep.program(trainer, schedule.log_every)
    state = programs.start(lanes, data)
    return timing.chained(lambda state: programs.advance(lanes, state, data)[0], state)


def run(config: Any, run: Run) -> StudyResult:
    """Train all arms on all tasks, and time a step of each."""
    tasks: dict[str, Any] = {}
    curves: dict[str, np.ndarray] = {}
    seconds: dict[str, Any] = {}
    for task in config.compute_to_quality.tasks:
        tasks[task], found, seconds[task] = run_task(task, config, run)
        curves.update(found)
    step_flops = {
        name: {arm: a["operations"] * task["tokens_per_step"] for arm, a in task["arms"].items()}
        for name, task in tasks.items()
    }
    times = {name: seconds_to_target(task, seconds[name]) for name, task in tasks.items()}
    return StudyResult(
        values={"tasks": tasks, "step_flops": step_flops},
        curves=curves,
        tables=[figures.outcomes(tasks)],
        figures=[
            *(figures.compute(name, task, curves) for name, task in tasks.items()),
            figures.gains(tasks),
        ],
        measurements={"step_seconds": seconds, "seconds_to_target": times},
        measured_tables=[figures.step_times(tasks, seconds, times)],
        measured_figures=[
            figures.seconds(name, task, curves, seconds[name]) for name, task in tasks.items()
        ],
    )
