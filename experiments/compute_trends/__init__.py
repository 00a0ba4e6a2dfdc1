"""Compute trends across three eras of machine learning, refitted (Sevilla et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.compute_trends import (
    bootstrap,
    bootstrap_claims,
    eras,
    eras_claims,
    projection,
    projection_claims,
    selection,
    selection_claims,
    sensitivity,
    sensitivity_claims,
    tables,
    tables_claims,
    told,
)
from experiments.compute_trends import config as settings
from jaxtrends import experiment
from jaxtrends.claims import Paper
from jaxtrends.experiment import Experiment, Study

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
    presets=settings.PRESETS,
    studies={
        "tables": Study(
            "the paper's tables refitted row by row, with their bootstrap intervals",
            tables.run,
            tables_claims.CLAIMS,
            {"smoke": 2, "default": 3, "full": 25},
        ),
        "bootstrap": Study(
            "resamples of the main groups, and what the paper's 1,000 of them leave open",
            bootstrap.run,
            bootstrap_claims.CLAIMS,
            {"smoke": 1, "default": 2, "full": 12},
            timed=True,
        ),
        "sensitivity": Study(
            "doubling times over every combination of the rules' choices",
            sensitivity.run,
            sensitivity_claims.CLAIMS,
            {"smoke": 2, "default": 4, "full": 30},
        ),
        "eras": Study(
            "one, two or three trends over all years, and when the trend breaks",
            eras.run,
            eras_claims.CLAIMS,
            {"smoke": 1, "default": 5, "full": 60},
        ),
        "selection": Study(
            "what the rule for large-scale systems makes of one trend",
            selection.run,
            selection_claims.CLAIMS,
            {"smoke": 1, "default": 3, "full": 120},
        ),
        "projection": Study(
            "the trends carried on, and how they would have done from earlier dates on",
            projection.run,
            projection_claims.CLAIMS,
            {"smoke": 1, "default": 1, "full": 1},
        ),
    },
    scale=told.scale,
    rigging=told.rigging,
    departures=told.departures,
    check=settings.check,
    datasets=settings.datasets,
    files=("table",),
    load=settings.load,
    other_data=settings.other_data,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment."""
    return experiment.main(EXPERIMENT, arguments)
