"""The settings of every study, and the presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.moe_design import balance, capacity, finetuning, language, specialisation, z_loss
from experiments.moe_design.balance import Balance
from experiments.moe_design.capacity import Capacity
from experiments.moe_design.finetuning import Finetuning
from experiments.moe_design.language import Network
from experiments.moe_design.specialisation import Specialisation
from experiments.moe_design.z_loss import ZLoss
from jaxtrends import transformer
from jaxtrends.errors import Problem
from jaxtrends.formats import powers, span
from jaxtrends.sequences import Sequences
from jaxtrends.settings import Settings

STUDIES = ("z_loss", "capacity", "specialisation", "balance", "finetuning")


@dataclass(frozen=True)
class Config(Settings):
    """What to run; everything that a result depends on."""

    z_loss: ZLoss = field(default_factory=ZLoss)
    """Training stability and the router z-loss."""
    capacity: Capacity = field(default_factory=Capacity)
    """Expert capacity."""
    specialisation: Specialisation = field(default_factory=Specialisation)
    """Whether experts specialise."""
    balance: Balance = field(default_factory=Balance)
    """The load-balancing loss."""
    finetuning: Finetuning = field(default_factory=Finetuning)
    """Fine-tuning sparse and dense networks on a new cluster."""


def networks(config: Config) -> dict[str, tuple[Network, ...]]:
    """The networks that each chosen study trains."""
    chosen = [name for name in STUDIES if not config.studies or name in config.studies]
    return {name: getattr(config, name).networks for name in chosen}


def _sources(config: Config) -> dict[str, Network]:
    """Name of a data set -> the network that reads it."""
    found = {}
    for study, trained in networks(config).items():
        read = (config.finetuning.source,) if study == "finetuning" else trained
        found |= {network.dataset: network for network in read}
    return found


def datasets(config: Config) -> tuple[str, ...]:
    """The data sets of the chosen studies, by name."""
    return tuple(_sources(config))


def load(config: Config, name: str, folder: Path | None) -> Sequences:
    """Make the lookup task, or read the English text.

    Raises:
        Problem: the text is missing or too short.
    """
    return language.load(_sources(config)[name], config.seed)


def spread(config: Config, data: int, expert: int) -> None:
    """Refuse a mesh that does not fit the networks of the chosen studies.

    Raises:
        Problem: names the study and what does not divide.
    """
    for study, trained in networks(config).items():
        for network in trained:
            for count in (network.batch, network.held_out):
                try:
                    transformer.check_mesh(network.sizes(), count, data, expert)
                except Problem as problem:
                    raise Problem(
                        f"--mesh data={data},expert={expert} does not fit {study}: {problem}"
                    ) from None


def scale(config: Config, data: Mapping[str, Any]) -> str:
    """Layers, parameters and experts, ours and the paper's."""
    sizes = [network.sizes() for trained in networks(config).values() for network in trained]
    layers = span([len(found.experts) for found in sizes])
    parameters = powers([transformer.parameter_count(found) for found in sizes])
    experts = span([max(found.experts) for found in sizes if any(found.experts)])
    return (
        f"Decoders with {layers} layer{'s' * (layers != '1')}, about {parameters} parameters and "
        f"{experts} experts; the paper has encoder-decoders of up to 269B parameters and 64 "
        "experts."
    )


SMOKE = Config(
    studies=STUDIES[:4],
    z_loss=z_loss.SMOKE,
    capacity=capacity.SMOKE,
    specialisation=specialisation.SMOKE,
    balance=balance.SMOKE,
    finetuning=finetuning.SMOKE,
)
DEFAULT = Config(studies=STUDIES[:4])
FULL = Config(
    z_loss=z_loss.FULL,
    capacity=capacity.FULL,
    specialisation=specialisation.FULL,
    balance=balance.FULL,
    finetuning=finetuning.FULL,
)
# For one 80 GB GPU: 1.8B parameters, which with gradients and Adam's two moments take 29 GB in
# float32. A batch has eight groups, for a --mesh of up to eight devices.
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
    z_loss=ZLoss(
        arms=("bf16", "bf16 + z", "f32", "f32 + z"),
        network=replace(LARGE_NETWORK, z=1e-3, seeds=30),
        calm=replace(LARGE_NETWORK, z=1e-3, seeds=30),
    ),
    capacity=Capacity(network=LARGE_NETWORK),
)
PRESETS = {"smoke": SMOKE, "default": DEFAULT, "full": FULL, "large": LARGE}
