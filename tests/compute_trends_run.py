"""A study of compute_trends run by itself, without the driver, for its tests."""

from __future__ import annotations

import dataclasses

from experiments import compute_trends
from experiments.compute_trends import systems
from jaxtrends import claims


class Run:
    """What a study may use of `jaxtrends.study.Run`: one table of systems, and plain loops."""

    def __init__(self, table=None):
        self.table = table or systems.read()

    def dataset(self, name):
        assert name == systems.DATASET
        return self.table

    def each(self, label, items):
        return items


def values_of(study, settings, table=None):
    """The values of a study with some settings, the rest by default."""
    name = study.__name__.rpartition(".")[2]
    chosen = dataclasses.replace(compute_trends.DEFAULT, **{name: settings})
    return study.run(chosen, Run(table)).values


def verdicts(found, values):
    """Claim id -> its verdict."""
    return {claim.id: claims.judge(claim, claim.evidence(values)) for claim in found}
