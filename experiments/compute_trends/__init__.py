"""Compute trends across three eras of machine learning, refitted (Sevilla et al. 2022).

The paper's 123 systems, its labels and its tables, row by row; what its bootstrap leaves open; and
four questions that it did not ask: what its conclusions hang on, how many eras there are, whether
the large-scale one is more than its selection, and how the trends would have predicted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le

from experiments.compute_trends import (
    bootstrap,
    eras,
    headline,
    projection,
    selection,
    sensitivity,
    systems,
    tables,
)
from experiments.compute_trends.bootstrap import BootstrapConfig
from experiments.compute_trends.eras import ErasConfig
from experiments.compute_trends.projection import ProjectionConfig
from experiments.compute_trends.rules import Rules, labels_of
from experiments.compute_trends.selection import SelectionConfig
from experiments.compute_trends.sensitivity import SensitivityConfig
from experiments.compute_trends.systems import DATASET, Systems, iso
from jaxtrends import paths, running
from jaxtrends.claims import Answers, Paper
from jaxtrends.experiment import Experiment, Study

# --- settings ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Config:
    """What is run; everything that a result depends on."""

    seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 0
    """All randomness derives from it."""
    table: str = ""
    """A CSV file of systems of your own, with the columns system, publication_date and
    training_compute_flop; by default the paper's 123 systems."""
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


SMOKE = Config(
    bootstrap=BootstrapConfig(resamples=2000),
    sensitivity=SensitivityConfig(
        dl_from=("2007-12-31", "2011-12-31"),
        window=(546,),
        z_high=(0.6,),
        large_from=("2016-09-01",),
        z_low=(-1000.0,),
    ),
    eras=ErasConfig(step=6, coarse_step=24, resamples=100, simulations=20, simulated_resamples=40),
    selection=SelectionConfig(simulations=200, data_sets=20),
    projection=ProjectionConfig(years=(2024,), cutoffs=("2018-01-01",)),
)
DEFAULT = Config()
FULL = Config(
    bootstrap=BootstrapConfig(resamples=1_000_000),
    sensitivity=SensitivityConfig(
        dl_from=tuple(
            f"{year}-{end}"
            for year in range(2005, 2015)
            for end in ("03-31", "06-30", "09-30", "12-31")
        ),
        window=tuple(range(154, 1100, 42)),
        z_high=tuple(round(0.40 + 0.04 * step, 2) for step in range(20)),
        large_from=tuple(
            f"{year}-{month}-01" for year in range(2013, 2019) for month in ("03", "09")
        ),
        z_low=(-1000.0, -3.0, -2.5, -1.75, -1.5),
    ),
    eras=ErasConfig(resamples=20_000, simulations=1000, simulated_resamples=1000),
    selection=SelectionConfig(simulations=20_000, data_sets=1000, simulations_each=999),
)


# --- data ----------------------------------------------------------------------------------------


def load(config: Config, name: str, folder: Path | None) -> Systems:
    """The systems of --table, or the paper's; its ``origin`` counts those that the rules leave out.

    Raises:
        Problem: the table cannot be used, or not with these rules.
    """
    path = paths.expanded(config.table) if config.table else systems.PAPER
    found, rules = systems.read(path), config.rules
    within = labels_of(found, rules).inside
    if within.all():
        return found
    between = f"between --rules.start {rules.start} and --rules.end {rules.end}"
    systems.check_enough(
        f"{path.name}, {between} (move these dates: the table is of "
        f"{iso(found.dates[0])} to {iso(found.dates[-1])}),",
        found.dates[within],
        found.log_compute[within],
    )
    outside = f"; {(~within).sum()} of the systems do not lie {between}."
    return replace(found, origin=found.origin.removesuffix(".") + outside)


def other_data(config: Config, data: Mapping[str, Systems]) -> str:
    """Whose systems they are, where they are not the paper's; "" where they are."""
    found = data[DATASET]
    return "" if found.of_the_paper else f"the systems of {found.version}"


# --- what a record says of its systems and rules, which --table and --rules may change -----------


def scale(config: Config, data: Mapping[str, Systems]) -> str:
    """Whose systems these are, and how long a month is."""
    found, days = data[DATASET], config.rules.days_per_month
    count = len(found.names)
    whose = (
        f"Nothing is shrunk: these are the paper's own {count} systems, with its dates and figures."
        if found.of_the_paper
        else f"These are not the paper's systems but the {count} of {found.version}."
    )
    as_in_code = ", as in the paper's code" if days == Rules().days_per_month else ""
    return f"{whose} Months of doubling times have {days:g} days{as_in_code}."


def departures(config: Config, data: Mapping[str, Systems]) -> tuple[str, ...]:
    """Where the run leaves the paper's method and data, and whose the data are."""
    found = data[DATASET]
    resamples = config.bootstrap.resamples
    method = f"The bootstrap has a seed, and {resamples:,} resamples instead of 1,000."
    worded = "Our own claims (B, P, S and C6b) ask what the paper did not. They were worded after a"
    if found.of_the_paper:
        return (
            method,
            "Dates and compute are those of the systems in the notebook's saved output: the "
            "headline table and most figures of the paper are of an earlier version of the data.",
            f"{worded} first look at the data, so they describe these {len(found.names)} systems; "
            "another table can test them.",
            f"Data: {systems.ATTRIBUTION}, {found.licence}.",
        )
    return (
        method,
        f"{worded} first look at the paper's systems; these are others, and test them.",
        "No figure of the paper's stands beside ours: they are of its own systems.",
        f"Data: {found.version}, of the user's own; its licence is {found.licence}.",
    )


def answer(found: Answers) -> str:
    """The eras of the paper's systems, and what its rule makes of one trend, as far as they ran."""

    def months(id: str) -> str:
        return f"{found[id].estimate:.1f} months ({id}: {found[id].verdict})"

    said = []
    with contextlib.suppress(KeyError):  # a table of one's own
        said.append(
            f"The doubling time of training compute is {months('C2')} before the deep-learning "
            f"era, which the paper begins in 2010, and {months('C3')} in it; that of large-scale "
            f"systems is {months('C5')}."
        )
    with contextlib.suppress(KeyError):
        said.append(
            f"In {found['C6a']:.1%} of simulations of one trend the paper's rule makes "
            "large-scale systems that double as slowly as the observed ones, with the scatter "
            f"least favourable to a slower trend of their own (C6a: {found['C6a'].verdict})."
        )
    return " ".join(said)


# --- the experiment ------------------------------------------------------------------------------

EXPERIMENT = Experiment(
    name="compute_trends",
    paper=Paper(
        key="sevilla2022compute",
        title="Compute Trends Across Three Eras of Machine Learning",
        authors="Sevilla, Heim, Ho, Besiroglu, Hobbhahn, Villalobos",
        year=2022,
        arxiv="2202.05924",
        bibtex="""@inproceedings{sevilla2022compute,
  title = {Compute Trends Across Three Eras of Machine Learning},
  author = {Sevilla, Jaime and Heim, Lennart and Ho, Anson and Besiroglu, Tamay
            and Hobbhahn, Marius and Villalobos, Pablo},
  booktitle = {International Joint Conference on Neural Networks (IJCNN)},
  year = {2022},
  doi = {10.1109/IJCNN55064.2022.9892016},
  note = {arXiv:2202.05924}
}""",
    ),
    about="Training compute of machine-learning systems: the paper's trends refitted, and how much "
    "of their story the data support.",
    presets={"smoke": SMOKE, "default": DEFAULT, "full": FULL},
    studies={
        "tables": Study(
            "the paper's tables refitted row by row, with their bootstrap intervals",
            tables.run,
            tables.CLAIMS,
        ),
        "bootstrap": Study(
            "resamples of the main groups, and what the paper's 1,000 of them leave open",
            bootstrap.run,
            bootstrap.CLAIMS,
        ),
        "sensitivity": Study(
            "doubling times over every combination of the rules' choices",
            sensitivity.run,
            sensitivity.CLAIMS,
        ),
        "eras": Study(
            "one, two or three trends over all years, and when the trend breaks",
            eras.run,
            eras.CLAIMS,
        ),
        "selection": Study(
            "what the rule for large-scale systems makes of one trend",
            selection.run,
            selection.CLAIMS,
        ),
        "projection": Study(
            "the trends carried on, and how they would have done from earlier dates on",
            projection.run,
            projection.CLAIMS,
        ),
    },
    answer=answer,
    headline_figure=headline.figure,
    lead="C3",
    caveat="the paper's own 123 systems; nothing is shrunk",
    scale=scale,
    rigging="With 19 of the paper's systems in an era and a dozen rules, any conclusion could be "
    "had by choice of rules, and the paper chose its thresholds by eye. So the rules stand at the "
    "paper's code unless a flag moves them, other readings stand beside it and must fail as "
    "controls, and each question of our own names its one primary statistic beforehand.",
    departures=departures,
    datasets=lambda config: (DATASET,),
    files=("table",),
    load=load,
    other_data=other_data,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment."""
    return running.main(EXPERIMENT, arguments)
