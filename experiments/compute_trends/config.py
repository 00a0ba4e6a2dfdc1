"""The settings of every study, and the presets that fill them in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from experiments.compute_trends import (
    bootstrap,
    eras,
    projection,
    rules,
    selection,
    sensitivity,
    systems,
)
from experiments.compute_trends.bootstrap import BootstrapConfig
from experiments.compute_trends.eras import ErasConfig
from experiments.compute_trends.projection import ProjectionConfig
from experiments.compute_trends.rules import Rules
from experiments.compute_trends.selection import SelectionConfig
from experiments.compute_trends.sensitivity import SensitivityConfig
from jaxtrends import places
from jaxtrends.errors import Problem


@dataclass(frozen=True)
class Config:
    """What is run; everything that a result depends on."""

    seed: int = 0
    """All randomness derives from it."""
    table: str = ""
    """A CSV file of systems of your own, with the columns system, publication_date,
    training_compute_flop and perhaps domain; by default the paper's 123 systems."""
    studies: tuple[str, ...] = ()
    """Studies to run; all of them if none is named."""
    rules: Rules = field(default_factory=Rules)
    """How systems are labelled: the paper's code by default, with the traps that it holds."""
    bootstrap: BootstrapConfig = field(default_factory=BootstrapConfig)
    """Resampling of rows, in the tables too."""
    sensitivity: SensitivityConfig = field(default_factory=SensitivityConfig)
    """The choices that are varied; the rules' own values are added to each."""
    eras: ErasConfig = field(default_factory=ErasConfig)
    """How many eras there are."""
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    """Whether the large-scale era is more than its selection."""
    projection: ProjectionConfig = field(default_factory=ProjectionConfig)
    """Projections, and how they have done before."""


def check(config: Config, own_methods: tuple[str, ...] = ()) -> None:
    """Refuse a config that cannot be run.

    Raises:
        Problem: names the flag at fault.
    """
    if not 0 <= config.seed < 2**32:
        raise Problem(f"--seed must be from 0 to 2^32 - 1, not {config.seed}.")
    rules.check(config.rules)
    for study in (bootstrap, sensitivity, eras, selection, projection):
        study.check(getattr(config, study.__name__.rpartition(".")[2]))


def datasets(config: Config) -> tuple[str, ...]:
    """The one table of systems."""
    return (systems.DATASET,)


def load(config: Config, name: str, folder: Path | None) -> systems.Systems:
    """The systems of --table, or the paper's; its ``origin`` counts those that the rules leave out.

    Raises:
        Problem: the table cannot be used, or not with these rules.
    """
    path = places.expanded(config.table) if config.table else systems.PAPER
    found = systems.read(path)
    inside = rules.inside(found.dates, config.rules)
    between = f"--rules.start {config.rules.start} and --rules.end {config.rules.end}"
    if inside.all():
        return found
    if inside.sum() < systems.LEAST_SYSTEMS:
        raise Problem(
            f"{path.name}: of its {len(inside)} systems, from {systems.iso(found.dates[0])} to "
            f"{systems.iso(found.dates[-1])}, {inside.sum()} lie between {between}, and a trend "
            f"needs {systems.LEAST_SYSTEMS}: move those dates, --rules.end "
            f"{systems.iso(found.dates[-1] + 1)} say."
        )
    systems.check_enough(
        f"{path.name}, between {between}", found.dates[inside], found.log_compute[inside]
    )
    outside = f"; {(~inside).sum()} of the systems do not lie between {between}"
    return replace(found, origin=found.origin.removesuffix(".") + outside + ".")


def other_data(config: Config, data: Mapping[str, systems.Systems]) -> str:
    """Whose systems they are, where they are not the paper's; "" where they are."""
    found = data[systems.DATASET]
    return "" if found.of_the_paper else f"the systems of {found.version}"


SMOKE = Config(
    bootstrap=bootstrap.SMOKE,
    sensitivity=sensitivity.SMOKE,
    eras=eras.SMOKE,
    selection=selection.SMOKE,
    projection=projection.SMOKE,
)
DEFAULT = Config()
FULL = Config(
    bootstrap=BootstrapConfig(resamples=1_000_000),
    sensitivity=sensitivity.FULL,
    eras=eras.FULL,
    selection=selection.FULL,
)
PRESETS = {"smoke": SMOKE, "default": DEFAULT, "full": FULL}
