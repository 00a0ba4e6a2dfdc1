"""The design of an experiment: its paper, its presets and the studies that test its claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jaxtrends import claims, record, settings
from jaxtrends.claims import Claim, Paper
from jaxtrends.comparison import Comparison
from jaxtrends.errors import choose
from jaxtrends.study import Figure, StudyResult


@dataclass(frozen=True)
class Study:
    """One study of an experiment.

    about:   what it does, in one line.
    run:     (config, run) -> StudyResult; ``run`` is a `jaxtrends.study.Run`.
    claims:  the claims that its values decide.
    timed:   whether it measures times, so that nothing of the run's own may go on beside it.

    A `jaxtrends.comparison.Comparison` is a study too.
    """

    about: str
    run: Callable[[Any, Any], StudyResult]
    claims: tuple[Claim, ...]
    timed: bool = False


Text = TypeVar("Text")
Telling = Callable[[Any, Mapping[str, Any]], Text]  # (config, name -> data set) -> what is told


def _of_the_library(config: Any, name: str, folder: Path | None) -> Any:
    from jaxtrends import data

    return data.load(name, folder)


@dataclass(frozen=True)
class Design:
    """One paper's claims, the studies that test them, and what a reader must know of both.

    presets:    name -> config, a frozen dataclass with a field ``studies`` of names (none: all).
    answer:     the claims as they came out -> a sentence that answers the headline claims.
    lead:       id of the headline claim for which people cite the paper; it stands for the paper
                where there is room for one.
    caveat:     what most limits the answer, in a few words.
    headline_figure: (record, its curves as ``study/name`` -> array) -> the headline in a figure
                that needs no caption, from the record alone; None, or a KeyError, where it lacks
                what the figure shows.
    check:      (config, names of the user's own methods) -> None; raises Problem for a config
                that cannot be run. `jaxtrends.settings.check` by default.
    datasets:   config -> names of the data sets it needs, loaded before anything is run.
    files:      names of the config's fields that hold the path of a file, "" for none.
    spread:     (config, data, expert) -> None; raises Problem for a mesh of so many devices along
                each axis that the networks cannot be spread over. None: they never are.
    load:       (config, name, data folder or None) -> a data set, for an experiment that brings its
                own; anything with the attributes version, digest (SHA-256), origin and licence.
                `jaxtrends.data.load` by default.
    operations: (config, names of the user's own methods) -> study -> group of curves -> method ->
                floating-point operations of one training step of one lane, where the study's own
                values do not say; the record has them there as ``step_flops``.
    scale:      what was shrunk against the paper, one sentence.
    rigging:    how the toy could have been rigged, and what keeps it honest.
    departures: where the runs leave the paper's settings, one sentence each.
    other_data: (config, name -> data set) -> what the data are, where they are not those that the
                claims are written for; "" where they are. No reported figure then stands beside
                ours, and what only those data can decide is not judged.

    ``scale``, ``rigging`` and ``departures`` are functions of the config and of the data sets where
    a flag could make a fixed sentence untrue.
    """

    name: str
    paper: Paper
    about: str
    presets: Mapping[str, Any]
    studies: Mapping[str, Study | Comparison]
    scale: str | Telling[str]
    rigging: str | Telling[str]
    departures: tuple[str, ...] | Telling[tuple[str, ...]]
    answer: Callable[[claims.Answers], str] = lambda found: ""
    lead: str = ""
    caveat: str = ""
    headline_figure: Callable[[Mapping[str, Any], Mapping[str, np.ndarray]], Figure | None] = (
        lambda done, curves: None
    )
    check: Callable[[Any, tuple[str, ...]], None] = lambda config, methods: settings.check(config)
    datasets: Callable[[Any], Sequence[str]] = lambda config: ()
    load: Callable[[Any, str, Path | None], Any] = _of_the_library
    files: tuple[str, ...] = ()
    spread: Callable[[Any, int, int], None] | None = None
    operations: Callable[[Any, Sequence[str]], Mapping[str, Any]] = lambda config, own: {}
    other_data: Telling[str] = lambda config, data: ""

    def __post_init__(self) -> None:
        """Tell each claim its study, which need not be written beside it."""
        named = {
            name: replace(study, claims=tuple(replace(c, study=name) for c in study.claims))
            for name, study in self.studies.items()
        }
        object.__setattr__(self, "studies", named)

    def studies_of(self, config: Any) -> list[str]:
        """The names of the studies that a config asks for, in the experiment's own order.

        Raises:
            Problem: one of them is unknown.
        """
        for name in config.studies:
            choose("study", name, self.studies)
        return [name for name in self.studies if not config.studies or name in config.studies]

    def changes(self, preset: str, config: Any) -> dict[str, dict[str, Any]]:
        """Where a config differs from the preset that it is called by: field -> both values."""
        return record.changes(record.plain(self.presets[preset]), record.plain(config))

    def outline(self, config: Any, name: str, folder: Path | None) -> Any:
        """A data set for a dry run: of the library's own, shapes alone; others are made or read."""
        if self.load is _of_the_library:
            from jaxtrends import data

            return data.outline(name)
        return self.load(config, name, folder)
