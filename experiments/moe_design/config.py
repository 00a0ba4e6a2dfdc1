"""The settings of every study, and the presets that fill them in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.moe_design import balance, capacity, finetuning, language, specialisation, z_loss
from experiments.moe_design.balance import BalanceConfig
from experiments.moe_design.capacity import CapacityConfig
from experiments.moe_design.finetuning import FinetuningConfig
from experiments.moe_design.language import Network
from experiments.moe_design.specialisation import SpecialisationConfig
from experiments.moe_design.z_loss import ZLossConfig
from jaxtrends import transformer
from jaxtrends.errors import Problem, require_positive

STUDIES = {
    "z_loss": z_loss,
    "capacity": capacity,
    "specialisation": specialisation,
    "balance": balance,
    "finetuning": finetuning,
}


@dataclass(frozen=True)
class Config:
    """What is run; everything that a result depends on."""

    seed: int = 0
    """First reporting seed; all randomness derives from it."""
    seeds: int = 10
    """Reporting seeds of every study that names no number of its own."""
    studies: tuple[str, ...] = ("z_loss", "capacity", "specialisation", "balance")
    """Studies to run; all of them if none is named."""
    z_loss: ZLossConfig = field(default_factory=ZLossConfig)
    """Stability and the router's z-loss."""
    capacity: CapacityConfig = field(default_factory=CapacityConfig)
    """Places of an expert."""
    specialisation: SpecialisationConfig = field(default_factory=SpecialisationConfig)
    """What experts are sent."""
    balance: BalanceConfig = field(default_factory=BalanceConfig)
    """The load-balancing loss."""
    finetuning: FinetuningConfig = field(default_factory=FinetuningConfig)
    """Sparse and dense networks on a new cluster."""


def chosen(config: Config) -> tuple[str, ...]:
    """The studies that a config asks for."""
    return tuple(name for name in STUDIES if not config.studies or name in config.studies)


def networks(config: Config) -> dict[str, list[Network]]:
    """The networks whose data each chosen study reads."""
    found = {
        "z_loss": [config.z_loss.network],
        "capacity": [config.capacity.network],
        "specialisation": list(specialisation.networks(config.specialisation).values()),
        "balance": [config.balance.network],
        "finetuning": [finetuning.source(config.finetuning.network)],
    }
    return {name: found[name] for name in chosen(config)}


def check(config: Config, own_methods: tuple[str, ...] = ()) -> None:
    """Refuse a config that cannot be run, before anything is compiled.

    Raises:
        Problem: names what is at fault.
    """
    if config.seed < 0:
        raise Problem(f"--seed must not be negative, not {config.seed}.")
    require_positive(seeds=config.seeds)
    for name, study in STUDIES.items():
        study.check(getattr(config, name))
    for name, several in networks(replace(config, studies=())).items():
        for network in several:
            if network.seeds < 0:
                raise Problem(f"--{name}: a network's seeds must not be negative.")


def check_mesh(config: Config, data: int, expert: int) -> None:
    """Refuse a mesh that the networks of the chosen studies cannot be spread over.

    Raises:
        Problem: names the study and what does not divide.
    """
    spread = networks(config)
    if "finetuning" in spread:
        study = config.finetuning
        tuned = (finetuning.tuned_network(study, "sparse", batch) for batch in study.batches)
        spread["finetuning"] = [study.network, *tuned]
    for name, several in spread.items():
        for network in several:
            for sequences in (network.batch, network.held_out):
                try:
                    transformer.check_mesh(language.sizes_of(network), sequences, data, expert)
                except Problem as problem:
                    raise Problem(
                        f"--mesh data={data},expert={expert} does not fit {name}: {problem}"
                    ) from None


def _datasets(config: Config) -> dict[str, Network]:
    return {
        language.data_name(network): network
        for study in networks(config).values()
        for network in study
    }


def datasets(config: Config) -> tuple[str, ...]:
    """The names of the data that the chosen studies read."""
    return tuple(_datasets(config))


def load(config: Config, name: str, folder: Path | None) -> Any:
    """Make the lookup task, or read the English text.

    Raises:
        Problem: the text is not there, or too short.
    """
    return language.load(_datasets(config)[name], config.seed)


SMOKE = Config(
    studies=("z_loss", "capacity", "specialisation", "balance"),
    z_loss=z_loss.SMOKE,
    capacity=capacity.SMOKE,
    specialisation=specialisation.SMOKE,
    balance=balance.SMOKE,
    finetuning=finetuning.SMOKE,
)
DEFAULT = Config()
FULL = Config(
    studies=(),
    z_loss=z_loss.FULL,
    capacity=capacity.FULL,
    # The best of the study's own rates for English was the largest.
    specialisation=replace(
        specialisation.FULL,
        english=replace(specialisation.FULL.english, rates=(1e-3, 3e-3, 1e-2, 3e-2)),
    ),
    balance=balance.FULL,
    finetuning=finetuning.FULL,
)
# A network for one GPU with 80 GB: 1.8 thousand million parameters, which with their gradients and
# Adam's two memories take 29 GB in float32. A batch has eight groups, for a --mesh of up to eight.
LARGE_NETWORK = Network(
    clusters=64,
    context=512,
    training=200_000,
    held_out=64,
    width=768,
    heads=12,
    hidden=3072,
    layers=(0, 64) * 6,
    batch=16,
    group=1024,
    steps=2_000,
    log_every=100,
    warm_up=200,
    rates=(1e-4, 3e-4, 1e-3, 3e-3),
    tuning_seeds=2,
)
LARGE = replace(
    FULL,
    studies=("z_loss", "capacity"),
    z_loss=ZLossConfig(
        arms=("bf16", "bf16 + z", "f32", "f32 + z"),
        network=replace(LARGE_NETWORK, z=1e-3, seeds=30),
    ),
    capacity=CapacityConfig(network=LARGE_NETWORK),
)
PRESETS = {"smoke": SMOKE, "default": DEFAULT, "full": FULL, "large": LARGE}
