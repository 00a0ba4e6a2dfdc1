"""The settings of every study, and the presets that fill them in."""

from __future__ import annotations

from dataclasses import dataclass, field
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
from jaxtrends.formats import UNSHOWABLE, showable


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
    """The systems of --table, or the paper's.

    Raises:
        Problem: the table cannot be used.
    """
    found = systems.read(places.expanded(config.table) if config.table else systems.PAPER)
    for text in (*found.names, *found.domains):
        if UNSHOWABLE.search(text):
            raise Problem(f"{name}: {showable(text)!r} holds a control character: remove it.")
    return found


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
