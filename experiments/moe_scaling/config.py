"""The settings of every study, and the presets that fill them in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from experiments.moe_scaling import (
    arms,
    compute_to_quality,
    dispatch,
    distillation,
    layout,
    planned,
)
from experiments.moe_scaling.arms import Network, Schedule, Texts
from experiments.moe_scaling.compute_to_quality import ComputeToQualityConfig
from experiments.moe_scaling.dispatch import DispatchConfig
from experiments.moe_scaling.distillation import DistillationConfig
from experiments.moe_scaling.layout import LayoutConfig
from jaxtrends import sequences, transformer
from jaxtrends.errors import Problem, require_positive
from jaxtrends.sequences import Sequences

LOOKUP_SEED = 4  # of tables and sequences
MOST_LAYERS = 1000


@dataclass(frozen=True)
class Config:
    """What is run; everything that a result depends on."""

    seed: int = 0
    """First reporting seed; all randomness but that of the tasks derives from it."""
    seeds: int = 10
    """Reporting seeds, shared by all arms."""
    studies: tuple[str, ...] = ()
    """Studies to run; all of them if none is named."""
    texts: Texts = field(default_factory=Texts)
    """Sequences."""
    compute_to_quality: ComputeToQualityConfig = field(default_factory=ComputeToQualityConfig)
    """Compute that dense networks need over that of mixtures."""
    layout: LayoutConfig = field(default_factory=LayoutConfig)
    """Where the experts stand."""
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    """Students of a mixture."""
    dispatch: DispatchConfig = field(default_factory=DispatchConfig)
    """Time of moving tokens."""


def check(config: Config, own_methods: tuple[str, ...] = ()) -> None:
    """Refuse a config that cannot be run.

    Raises:
        Problem: names the flag at fault.
    """
    require_positive(seeds=config.seeds)
    if not 0 <= config.seed < 2**31:
        raise Problem(f"--seed must be from 0 to 2^31 - 1, not {config.seed}.")
    if config.seeds > arms.TUNING_SEED_OFFSET:
        raise Problem(
            f"--seeds must be at most {arms.TUNING_SEED_OFFSET:,}, from where on they are for "
            f"tuning, not {config.seeds}."
        )
    for name in ("compute_to_quality", "layout", "distillation"):
        layers = getattr(config, name).network.layers
        if layers > MOST_LAYERS:  # before any network of them is described
            flag = name.replace("_", "-")
            raise Problem(f"--{flag}.network.layers must be at most {MOST_LAYERS}, not {layers}.")
        # Before anything is divided by them.
        schedule = getattr(config, name).schedule
        counts = {"groups": schedule.groups, "log-every": schedule.log_every}
        require_positive(**{f"{name}.schedule.{key}": count for key, count in counts.items()})
    for study in (compute_to_quality, layout, distillation):
        study.check(getattr(config, study.__name__.rpartition(".")[2]), config.texts)
    dispatch.check(config.dispatch)


def check_mesh(config: Config, data: int, expert: int) -> None:
    """Refuse a mesh that the networks of the chosen studies cannot be spread over.

    Raises:
        Problem: names the study, the arm and what does not divide.
    """
    for study, parts in planned.work(config).items():
        if config.studies and study not in config.studies:
            continue
        batch = getattr(config, study).schedule.batch_size
        for arm, work in parts.items():
            try:
                transformer.check_mesh(work.network, batch, data, expert)
            except Problem as problem:
                raise Problem(
                    f"--mesh data={data},expert={expert} does not fit {study}, {arm}: {problem}"
                ) from None


def datasets(config: Config) -> tuple[str, ...]:
    """The tasks that the studies chosen read."""
    tasks = {
        "compute_to_quality": config.compute_to_quality.tasks,
        "layout": config.layout.tasks,
        "distillation": (config.distillation.task,),
    }
    chosen = [tasks[name] for name in tasks if not config.studies or name in config.studies]
    return tuple(dict.fromkeys(task for some in chosen for task in some))


def load(config: Config, name: str, folder: Path | None) -> Sequences:
    """The sequences of a task.

    Raises:
        Problem: the English text is missing, or too short for its windows.
    """
    texts = config.texts
    if name != "english":
        return sequences.lookup(
            clusters=1 if name == "one_cluster" else texts.clusters,
            context=texts.context,
            training=texts.training,
            held_out=texts.held_out,
            seed=LOOKUP_SEED,
            names=2 if name == "two_names" else 1,
        )
    found = sequences.english(texts.context)
    fewest = min(len(found.validation.inputs), len(found.test.inputs))
    if fewest < texts.held_out:
        raise Problem(
            f"The English text is too short: it has {fewest} windows of {texts.context} bytes to "
            f"hold out, not {texts.held_out}. Lower --texts.context or --texts.held-out."
        )
    return found


# Two layers, of which a mixture has the upper: so the second half of a layout is the mixture of
# 16 experts, and one program trains both.
TINY = Network(width=16, heads=2, hidden=16)
BRIEF = Schedule(batch_size=8, steps=20, log_every=2, warm_up=4, tuning_steps=20)
SMOKE = Config(
    seeds=2,
    studies=("compute_to_quality", "layout", "dispatch"),
    texts=Texts(context=16, clusters=4, training=256, held_out=16),
    compute_to_quality=ComputeToQualityConfig(
        arms=("dense_4x", "moe_16", "by_position"),
        every=2,
        network=TINY,
        schedule=BRIEF,
        timing_rounds=2,
    ),
    layout=LayoutConfig(
        tasks=("two_names",),
        arms=("second_half",),
        experts=16,
        network=TINY,
        schedule=BRIEF,
    ),
    distillation=DistillationConfig(experts=4, teacher_steps=20, network=TINY, schedule=BRIEF),
    dispatch=DispatchConfig(tokens=256, width=16, hidden=32, experts=(8,), rounds=3),
)
DEFAULT = Config(
    studies=("compute_to_quality", "layout", "dispatch"),
    compute_to_quality=ComputeToQualityConfig(schedule=Schedule(steps=360, tuning_steps=360)),
    layout=LayoutConfig(schedule=Schedule(steps=360, tuning_steps=360)),
)
LONG = Schedule(steps=600, log_every=25, tuning_steps=600)
FULL = Config(
    compute_to_quality=ComputeToQualityConfig(
        tasks=("lookup", "one_cluster", "english"),
        arms=tuple(compute_to_quality.ARMS),
        schedule=LONG,
    ),
    layout=LayoutConfig(
        tasks=("lookup", "two_names", "english"),
        arms=tuple(layout.ARMS),
        experts=4,  # 16 do better by some 0.17 nats in so many steps: a gap that can be closed
        schedule=LONG,
    ),
    distillation=DistillationConfig(teacher_steps=600, teacher_rate=1e-2, schedule=LONG),
    dispatch=DispatchConfig(experts=(4, 8, 16, 32, 64)),
)
# One GPU of 80 GB: 64 experts on every other layer are 1.8e9 parameters, which with gradients and
# Adam's moments take 29 GB in float32. Eight groups, so that --mesh may spread it over up to eight.
BROAD = Network(width=768, heads=12, hidden=3072, layers=12)
PATIENT = Schedule(
    batch_size=16,
    groups=8,
    steps=4000,
    log_every=100,
    warm_up=400,
    grid=(1e-4, 3e-4, 1e-3),
    tuning_steps=1000,
)
LARGE = Config(
    seeds=5,
    texts=Texts(context=1024, clusters=1024, held_out=64),
    compute_to_quality=ComputeToQualityConfig(
        arms=tuple(compute_to_quality.ARMS), every=2, network=BROAD, schedule=PATIENT
    ),
    layout=LayoutConfig(arms=tuple(layout.ARMS), pyramid_layers=2, network=BROAD, schedule=PATIENT),
    distillation=DistillationConfig(
        teacher_steps=4000, teacher_rate=3e-4, network=BROAD, schedule=PATIENT
    ),
    dispatch=DispatchConfig(tokens=16384, width=768, hidden=3072, experts=(16, 64)),
)
PRESETS = {"smoke": SMOKE, "default": DEFAULT, "full": FULL, "large": LARGE}
