"""The settings of every study, and the presets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from experiments.moe_scaling import (
    compute_to_quality,
    distillation,
    halves,
    language,
    layout,
    model_size,
    second_expert,
)
from experiments.moe_scaling.compute_to_quality import ComputeToQuality
from experiments.moe_scaling.dispatch import Dispatch
from experiments.moe_scaling.distillation import Distillation
from experiments.moe_scaling.halves import Halved, Halves
from experiments.moe_scaling.language import Network, Schedule, Texts
from experiments.moe_scaling.layout import Layout
from experiments.moe_scaling.model_size import ModelSize
from experiments.moe_scaling.second_expert import SecondExpert
from jaxtrends import transformer
from jaxtrends.comparison import Setting
from jaxtrends.errors import Problem
from jaxtrends.settings import Settings
from jaxtrends.transformer import Transformer

TRAINED = {  # the studies that train networks
    "compute_to_quality": compute_to_quality,
    "model_size": model_size,
    "halves": halves,
    "second_expert": second_expert,
    "layout": layout,
    "distillation": distillation,
}


@dataclass(frozen=True)
class Config(Settings):
    """What to run; everything that a result depends on."""

    texts: Texts = field(default_factory=Texts)
    """Training and held-out sequences."""
    compute_to_quality: ComputeToQuality = field(default_factory=ComputeToQuality)
    """Training compute of dense networks against mixtures of experts at equal loss."""
    model_size: ModelSize = field(default_factory=ModelSize)
    """The compute that experts save, against the width of the network."""
    halves: Halves = field(default_factory=Halves)
    """Experts in the first or the second half of the layers."""
    second_expert: SecondExpert = field(default_factory=SecondExpert)
    """A second expert for every token, or a dense layer in its place."""
    layout: Layout = field(default_factory=Layout)
    """Pyramids of experts and residual experts."""
    distillation: Distillation = field(default_factory=Distillation)
    """Distilling a mixture into a shallower one."""
    dispatch: Dispatch = field(default_factory=Dispatch)
    """Time to dispatch tokens to experts."""

    def check(self, flag: str) -> None:
        """Refuse networks that cannot be built.

        Raises:
            Problem: names the study, the task and the arm at fault.
        """
        for study in TRAINED:
            for arm, setting, network in networks(self, study):
                try:
                    language.check(setting, network)
                except Problem as problem:
                    raise Problem(f"Arm {arm} of {study}: {problem}") from None


def networks(config: Config, study: str) -> Iterator[tuple[str, Setting, Transformer]]:
    """The network of every arm that a study trains, with its name and setting."""
    comparison = TRAINED[study].STUDY
    for task, setting in comparison.settings(config, study).items():
        for arm in comparison.arms:
            found = TRAINED[study].network(setting, arm)
            if found is not None and arm in getattr(setting.part, "arms", comparison.arms):
                yield f"{task} {arm}", setting, found


def trained(config: Config) -> list[str]:
    """The chosen studies that train networks."""
    return [study for study in TRAINED if not config.studies or study in config.studies]


def spread(config: Config, data: int, expert: int) -> None:
    """Refuse a mesh that does not fit the networks of the chosen studies.

    Raises:
        Problem: names the study, the arm and what does not divide.
    """
    for study in trained(config):
        for arm, setting, network in networks(config, study):
            try:
                transformer.check_mesh(network, setting.part.schedule.batch_size, data, expert)
            except Problem as problem:
                raise Problem(
                    f"--mesh data={data},expert={expert} does not fit {study}, {arm}: {problem}"
                ) from None


def datasets(config: Config) -> tuple[str, ...]:
    """The tasks of the chosen studies."""
    tasks = [task for study in trained(config) for task in getattr(config, study).tasks]
    return tuple(dict.fromkeys(tasks))


# Two layers, with experts in the upper one: second_half is then the same network as moe_16, and one
# program trains both.
TINY = Network(width=16, heads=2, hidden=16)
BRIEF = Schedule(batch_size=8, steps=20, log_every=2, warm_up=4)
FEW_STEPS = Halved(experts=(16,), network=TINY, schedule=BRIEF)
SMOKE = Config(
    seeds=2,
    studies=("compute_to_quality", "halves", "second_expert", "layout", "dispatch"),
    texts=Texts(context=16, clusters=4, training=256, held_out=16),
    compute_to_quality=ComputeToQuality(
        arms=("dense_16x", *compute_to_quality.FEW[-4:]),
        every=2,
        network=TINY,
        schedule=BRIEF,
        timing_processes=1,
    ),
    model_size=ModelSize(widths=(8, 12, 16), network=replace(TINY, layers=1), schedule=BRIEF),
    halves=Halves(
        tasks=("two_names",),
        lookup=FEW_STEPS,
        two_names=replace(FEW_STEPS, arms=("second_half",)),
        english=FEW_STEPS,
    ),
    second_expert=SecondExpert(arms=("top_2",), network=replace(TINY, layers=1), schedule=BRIEF),
    layout=Layout(
        tasks=("two_names",),
        arms=("pyramid_residual",),
        experts=4,
        network=TINY,
        schedule=BRIEF,
    ),
    distillation=Distillation(experts=4, teacher_steps=20, network=TINY, schedule=BRIEF),
    dispatch=Dispatch(tokens=256, width=16, hidden=32, experts=(8,), rounds=3, processes=2),
)
SHORT = Schedule(steps=360)
# Small batches: the mixture takes 6.4 times as many steps as the network that it is compared with.
COMPUTE = Schedule(batch_size=16, steps=600)
DEFAULT = Config(
    studies=("compute_to_quality", "halves", "dispatch"),
    compute_to_quality=ComputeToQuality(schedule=COMPUTE),
    halves=Halves(
        lookup=Halved(seeds=16, schedule=SHORT), two_names=Halved(seeds=12, schedule=SHORT)
    ),
)
LONG = Schedule(steps=600, log_every=25)
FULL = Config(
    compute_to_quality=ComputeToQuality(
        tasks=("lookup", "english"),
        arms=tuple(compute_to_quality.EXPERTS),
        schedule=COMPUTE,
    ),
    model_size=ModelSize(schedule=COMPUTE),
    halves=Halves(
        tasks=halves.TASKS,
        lookup=Halved(experts=(4, 8, 16), layers=(2, 4), longer=600, seeds=16, schedule=SHORT),
        two_names=Halved(layers=(2, 4), seeds=12, schedule=SHORT),
        english=Halved(seeds=16, schedule=Schedule(steps=600)),
    ),
    second_expert=SecondExpert(seeds=24, schedule=LONG),
    # 16 experts are clearly better than 4 only after so many steps: a gap to close. With 1,160, the
    # nearest log points of all arms are within 1% of equal compute.
    layout=Layout(experts=4, seeds=14, schedule=Schedule(steps=1160)),
    distillation=Distillation(
        teacher_steps=1000,  # after 600, a student alone is as good as its teacher
        teacher_rate=1e-2,
        seeds=12,
        schedule=Schedule(steps=1000, log_every=25),
    ),
    dispatch=Dispatch(experts=(4, 8, 16, 32, 64)),
)
# For one 80 GB GPU: 64 experts on every other layer are 1.8B parameters, which with gradients and
# Adam's moments take 29 GB in float32. Eight groups, so that --mesh can use up to eight devices.
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
DEEP = Halved(layers=(BROAD.layers,), network=BROAD, schedule=PATIENT)
LARGE = Config(
    seeds=5,
    texts=Texts(context=1024, clusters=1024, held_out=64),
    compute_to_quality=ComputeToQuality(
        arms=tuple(compute_to_quality.EXPERTS), every=2, network=BROAD, schedule=PATIENT
    ),
    model_size=ModelSize(widths=(192, 384, 768), every=2, network=BROAD, schedule=PATIENT),
    halves=Halves(lookup=DEEP, two_names=DEEP, english=DEEP),
    second_expert=SecondExpert(experts=8, network=BROAD, schedule=PATIENT),
    layout=Layout(pyramid_layers=2, network=BROAD, schedule=PATIENT),
    distillation=Distillation(
        teacher_steps=4000, teacher_rate=3e-4, network=BROAD, schedule=PATIENT
    ),
    dispatch=Dispatch(tokens=16384, width=768, hidden=3072, experts=(16, 64)),
)
PRESETS = {"smoke": SMOKE, "default": DEFAULT, "full": FULL, "large": LARGE}
