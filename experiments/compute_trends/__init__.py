"""Compute trends across three eras of machine learning, refitted (Sevilla et al. 2022).

The paper's 123 systems, its labels and its tables, row by row; the accuracy of its bootstrap; and
four questions that it did not ask: which choices its conclusions depend on, how many eras there
are, whether the large-scale era is more than an effect of selection, and how well the trends would
have predicted later systems.
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
    growth,
    headline,
    projection,
    selection,
    sensitivity,
    systems,
    tables,
)
from experiments.compute_trends.bootstrap import BootstrapConfig
from experiments.compute_trends.eras import ErasConfig
from experiments.compute_trends.growth import GrowthConfig
from experiments.compute_trends.projection import ProjectionConfig
from experiments.compute_trends.rules import Rules, labels_of
from experiments.compute_trends.selection import SelectionConfig
from experiments.compute_trends.sensitivity import SensitivityConfig
from experiments.compute_trends.systems import DATASET, Systems, iso
from jaxtrends import paths, running
from jaxtrends.claims import Answers, Paper
from jaxtrends.design import Study
from jaxtrends.experiment import Experiment

# --- settings ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Config:
    """What to run; everything that a result depends on."""

    seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 0
    """Seed of all randomness."""
    table: str = ""
    """CSV file with your own systems, with the columns system, publication_date and
    training_compute_flop; by default the paper's 123 systems."""
    studies: tuple[str, ...] = ()
    """Studies to run; empty for all."""
    rules: Rules = field(default_factory=Rules)
    """How systems are labelled; by default as in the paper's code."""
    bootstrap: BootstrapConfig = field(default_factory=BootstrapConfig)
    """Bootstrap over systems, also used in the tables."""
    sensitivity: SensitivityConfig = field(default_factory=SensitivityConfig)
    """The choices to vary; the value in --rules is added to each."""
    eras: ErasConfig = field(default_factory=ErasConfig)
    """How many eras there are."""
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    """Whether the large-scale era is more than an effect of selection."""
    growth: GrowthConfig = field(default_factory=GrowthConfig)
    """Whether growth holds as later systems are added."""
    projection: ProjectionConfig = field(default_factory=ProjectionConfig)
    """Projections, and how well they would have predicted in the past."""


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
    growth=GrowthConfig(resamples=200),
    projection=ProjectionConfig(years=(2024,), cutoffs=("2018-01-01",), data_sets=20),
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
    """The systems of --table, or the paper's; ``origin`` counts those that the rules exclude.

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
        f"{path.name}, {between} (change these dates: the table covers "
        f"{iso(found.dates[0])} to {iso(found.dates[-1])}),",
        found.dates[within],
        found.log_compute[within],
    )
    outside = f"; {(~within).sum()} of the systems are not {between}."
    return replace(found, origin=found.origin.removesuffix(".") + outside)


def other_data(config: Config, data: Mapping[str, Systems]) -> str:
    """A description of the systems where they are not the paper's; "" where they are."""
    found = data[DATASET]
    return "" if found.of_the_paper else f"the systems of {found.version}"


# --- what is reported about systems and rules, which --table and --rules may change --------------


def scale(config: Config, data: Mapping[str, Systems]) -> str:
    """Which systems these are, and how long a month is."""
    found, days = data[DATASET], config.rules.days_per_month
    count = len(found.names)
    whose = (
        f"Nothing is shrunk: these are the paper's {count} systems, with its dates and figures."
        if found.of_the_paper
        else f"These are not the paper's systems but the {count} of {found.version}."
    )
    as_in_code = ", as in the paper's code" if days == Rules().days_per_month else ""
    return f"{whose} A month of doubling time has {days:g} days{as_in_code}."


def departures(config: Config, data: Mapping[str, Systems]) -> tuple[str, ...]:
    """Where the run differs from the paper's method and data, and the source of the data."""
    found = data[DATASET]
    resamples = config.bootstrap.resamples
    method = f"The bootstrap has a seed, and {resamples:,} resamples instead of 1,000."
    worded = (
        "Our own claims (B, G, P, S and C6b) ask questions that the paper does not. They were "
        "written after a first look at"
    )
    if found.of_the_paper:
        return (
            method,
            "Dates and compute come from the notebook's saved output; the paper's headline table "
            "and most of its figures use an earlier version of the data.",
            f"{worded} the data, so they describe these {len(found.names)} systems; another table "
            "can test them.",
            f"Data: {systems.ATTRIBUTION}, {found.licence}.",
        )
    return (
        method,
        f"{worded} the paper's systems; these are other systems, so they test the claims.",
        "No figure of the paper is shown next to ours, since its figures are for its own systems.",
        f"Data: {found.version}, provided by the user; its licence is {found.licence}.",
    )


def answer(found: Answers) -> str:
    """How fast did training compute grow, and is the large-scale era a trend of its own?"""
    said = []
    with contextlib.suppress(KeyError):  # other systems than the paper's
        deep, before = found["C3"], found["C2"]
        said.append(
            f"{deep.word}: training compute doubled every {deep.estimate:.1f} months from 2010 to "
            f"2022, and every {before.estimate:.1f} months before (5.6 and 21.3 in the paper)."
        )
    with contextlib.suppress(KeyError):
        third = found["C6a"].pick(
            "A third trend, of large-scale systems, is more than an effect of the rule that "
            "selects them",
            "A third trend, of large-scale systems, is no more than the rule that selects them "
            "would find",
            "A third trend, of large-scale systems, cannot be told from an effect of the paper's "
            "own selection rule with so few systems",
        )
        said.append(
            f"{third}: selected by it from a single trend, they double as slowly in "
            f"{found['C6a']:.1%} of simulations, in the least favourable case."
        )
    with contextlib.suppress(KeyError):
        holds = found["G1"].pick("holds", "changes", "may hold or fade")
        said.append(
            f"Since 2010 growth {holds} as later systems are added ({found['G1']:+.0%} a year)."
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
    about="Training compute of machine-learning systems: the paper's trends refitted, and how well "
    "the data support them.",
    presets={"smoke": SMOKE, "default": DEFAULT, "full": FULL},
    studies={
        "tables": Study(
            "the paper's tables refitted row by row, with their bootstrap intervals",
            tables.run,
            tables.CLAIMS,
        ),
        "bootstrap": Study(
            "bootstrap of the main groups, and the accuracy of the paper's 1,000 resamples",
            bootstrap.run,
            bootstrap.CLAIMS,
        ),
        "sensitivity": Study(
            "doubling times for every combination of the rules' choices",
            sensitivity.run,
            sensitivity.CLAIMS,
        ),
        "eras": Study(
            "one, two or three trends over all years, and when the trend breaks",
            eras.run,
            eras.CLAIMS,
        ),
        "selection": Study(
            "what the rule for large-scale systems finds in a single trend",
            selection.run,
            selection.CLAIMS,
        ),
        "growth": Study(
            "the growth of each era as later systems are added",
            growth.run,
            growth.CLAIMS,
        ),
        "projection": Study(
            "extrapolated trends, and a backtest from earlier dates",
            projection.run,
            projection.CLAIMS,
        ),
    },
    answer=answer,
    headline_figure=headline.figure,
    lead="C3",
    caveat="the paper's own 123 systems, of which 19 are large-scale",
    scale=scale,
    rigging="With 19 systems in an era and a dozen rules, some choice of rules would support any "
    "conclusion, and the paper chose its thresholds by eye. So the rules follow the paper's code "
    "unless a flag changes them, other readings are controls that must fail, and each of our own "
    "questions names one primary statistic beforehand.",
    departures=departures,
    datasets=lambda config: (DATASET,),
    files=("table",),
    load=load,
    other_data=other_data,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment."""
    return running.main(EXPERIMENT, arguments)
