"""What a record says of its systems and rules, which --table and --rules may change."""

from __future__ import annotations

from collections.abc import Mapping

from experiments.compute_trends.config import Config
from experiments.compute_trends.rules import Rules
from experiments.compute_trends.systems import ATTRIBUTION, DATASET, Systems


def scale(config: Config, data: Mapping[str, Systems]) -> str:
    """Whose systems these are, and how long a month is."""
    found, days = data[DATASET], config.rules.days_per_month
    count = len(found.names)
    ours = f"Nothing is shrunk: these are the paper's own {count} systems, with its dates and "
    ours += "figures."
    other = f"These are not the paper's systems but the {count} of {found.version}."
    as_in_code = ", as in the paper's code" if days == Rules().days_per_month else ""
    months = f"Months of doubling times have {days:g} days{as_in_code}."
    return f"{ours if found.of_the_paper else other} {months}"


def rigging(config: Config, data: Mapping[str, Systems]) -> str:
    """How any conclusion could be had, and what prevents it."""
    rules = (
        "So the rules stand at the paper's code, other readings"
        if config.rules == Rules()
        else "Here the rules are not those of the paper's code; other readings"
    )
    return (
        "With 19 of the paper's systems in an era and a dozen rules, any conclusion could be had "
        f"by choice of rules, and the paper chose its thresholds by eye. {rules} stand beside it "
        "and must fail as controls, and each question of our own names its one primary statistic "
        "beforehand."
    )


def departures(config: Config, data: Mapping[str, Systems]) -> tuple[str, ...]:
    """Where the run leaves the paper's method and data, and whose the data are."""
    found = data[DATASET]
    method = (
        f"The bootstrap has a seed, and {config.bootstrap.resamples:,} resamples instead of 1,000."
    )
    worded = (
        "Our own claims (B, P, S and C6b) ask what the paper did not. They were worded after a "
    )
    if found.of_the_paper:
        return (
            method,
            "Dates and compute are those of the systems in the notebook's saved output: the "
            "headline table and most figures of the paper are of an earlier version of the data.",
            f"{worded}first look at the data, so they describe these {len(found.names)} systems; "
            "another table can test them.",
            f"Data: {ATTRIBUTION}, {found.licence}.",
        )
    return (
        method,
        f"{worded}first look at the paper's systems; these are others, and test them.",
        "No figure of the paper's stands beside ours: they are of its own systems.",
        f"Data: {found.version}, of the user's own; its licence is {found.licence}.",
    )
