"""Gradients without backpropagation: forward gradients against backprop (Baydin et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.forward_grad import config as settings
from experiments.forward_grad import (
    cost,
    cost_claims,
    estimators,
    estimators_claims,
    plan,
    scaling,
    scaling_claims,
    test_functions,
    test_functions_claims,
    told,
    training,
    training_claims,
)
from jaxtrends import experiment
from jaxtrends.claims import Paper
from jaxtrends.experiment import Experiment, Study

EXPERIMENT = Experiment(
    name="forward_grad",
    paper=Paper(
        key="baydin2022gradients",
        title="Gradients without Backpropagation",
        authors="Baydin, Pearlmutter, Syme, Wood, Torr",
        year=2022,
        arxiv="2202.08587",
        bibtex="""@article{baydin2022gradients,
  title = {Gradients without Backpropagation},
  author = {Baydin, Atılım Güneş and Pearlmutter, Barak A. and Syme, Don and Wood, Frank
            and Torr, Philip},
  journal = {arXiv preprint arXiv:2202.08587},
  year = {2022}
}""",
    ),
    about="Forward gradients: an unbiased gradient from one forward run, against backprop.",
    presets=settings.PRESETS,
    studies={
        "estimators": Study(
            "bias and variance of every tangent law against its closed form; finite differences",
            estimators.run,
            estimators_claims.CLAIMS,
            {"smoke": 8, "default": 65, "full": 480},
        ),
        "test_functions": Study(
            "Beale and Rosenbrock at the paper's settings",
            test_functions.run,
            test_functions_claims.CLAIMS,
            {"smoke": 4, "default": 9, "full": 20},
            timed=True,
        ),
        "scaling": Study(
            "slow-down with the number of parameters on quadratics and linear regression",
            scaling.run,
            scaling_claims.CLAIMS,
            {"smoke": 6, "default": 46, "full": 400},
        ),
        "cost": Study(
            "arithmetic, memory and time of one gradient over depth and width",
            cost.run,
            cost_claims.CLAIMS,
            {"smoke": 4, "default": 25, "full": 240},
            timed=True,
        ),
        "training": Study(
            "networks at shared and at tuned learning rates; a ladder of widths",
            training.run,
            training_claims.CLAIMS,
            {"smoke": 10, "default": 145, "full": 6600},
            timed=True,
        ),
    },
    scale=told.scale,
    rigging="A shared learning rate that suits one side decides the comparison by itself, so the "
    "paper's shared rates and rates tuned for each method on one common grid stand side by side; "
    "a rate so small that nothing is learned would make any two methods equal, so backprop's own "
    "progress is a claim of its own and an untrained net is the negative control; timing one "
    "method's untuned code against another's tuned code would decide a race, so both are compiled "
    "by the same compiler from one definition of the network.",
    departures=told.departures,
    check=settings.check,
    datasets=settings.datasets,
    plan=plan.plan,
    operations=plan.operations,
)


def main(
    arguments: Sequence[str] | None = None, methods: Mapping[str, Callable[..., Any]] | None = None
) -> int:
    """Run the experiment; ``methods`` are estimators of your own, trained beside the others."""
    return experiment.main(EXPERIMENT, arguments, methods)
