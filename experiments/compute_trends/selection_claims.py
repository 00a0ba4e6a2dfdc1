"""What `experiments.compute_trends.selection` claims (C6)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.compute_trends.selection_figures import found
from jaxtrends.claims import Claim, Control, Evidence

LEAST_POWER = 0.8
MOST_FALSE = 0.05
ALL = "scatter of all, resampled"


def slower(values: Mapping[str, Any]) -> Evidence:
    """C6a: which simulations of one trend double as slowly as the observed large-scale systems."""
    parts = {
        null: {"values": made["at least"]["doubling"]} for null, made in values["null"].items()
    }
    trials = values["trials"]
    controls = {name: {"values": trials[name]["typical"]} for name in ("one trend", "flat")}
    power = {spread: found(trials["two trends"], spread) for spread in ("all", "regular")}
    false = {spread: found(trials["one trend"], spread) for spread in ("all", "regular")}
    undecided = ""
    if not any(power[s] >= LEAST_POWER and false[s] <= MOST_FALSE for s in power):
        undecided = (
            "with the scatter of all systems the test finds two trends, as fitted, in only "
            f"{power['all']:.0%} of simulated data sets; with that of the regular systems it finds "
            f"them in {power['regular']:.0%}, but also in {false['regular']:.0%} of data sets that "
            "have one trend, where 2.5% are allowed"
        )
    return Evidence(parts, controls, undecided)


def within(values: Mapping[str, Any]) -> Evidence:
    """C6b: which simulations of one trend reach the observed values, statistic by statistic."""
    parts = {name: {"values": of} for name, of in values["null"][ALL]["at least"].items()}
    return Evidence(parts, {"flat": {"values": values["trials"]["flat"]["typical"]}})


def mixture(values: Mapping[str, Any]) -> Evidence:
    """C6c: BIC of one line less that of the mixture."""
    leads = values["mixture"]
    lead = leads["observed"]["line"] - leads["observed"]["mixture"]
    controls = {
        name: {"values": [float(np.median(leads[name]))]} for name in ("one trend", "far apart")
    }
    power = float((np.array(leads["two trends"]) > 0).mean())
    undecided = ""
    if power < LEAST_POWER:
        undecided = (
            f"the BIC prefers two lines in only {power:.0%} of simulated data sets that have two "
            "trends, as fitted"
        )
    return Evidence({"": {"values": [lead]}}, controls, undecided)


CLAIMS = (
    Claim(
        id="C6a",
        study="selection",
        statement="Large-scale systems follow a slower trend of their own: if they were selected "
        "from one trend by the paper's rule, a doubling as slow as theirs would lie outside the "
        "middle 95%.",
        source="paper",
        reported="doubling in 10.7 months [7.9; 25.6], against 5.9 of the regular systems",
        where="Table 4",
        known="text",
        quantity="share of simulations of one trend with a large-scale doubling as slow or slower",
        statistic="proportion",
        region=(-1.0, 0.025),
        reason="the slow end of the middle 95%. The scatter of the one trend is drawn in four "
        "ways; where none of them makes a test with enough power and few enough false findings, "
        "nothing is decided",
        controls=(
            Control("one trend", "fail", "a typical data set of one trend is not slow"),
            Control("flat", "pass", "large-scale systems that do not grow at all are slow"),
        ),
        evidence=slower,
    ),
    Claim(
        id="C6b",
        study="selection",
        statement="The paper's rule makes a large-scale era of this kind out of one trend: "
        "simulated with the scatter of all systems, the number of large-scale systems, their "
        "doubling time, gap and R squared all hold the observed ones in their middle 95%.",
        source="derived",
        quantity="share of simulations of one trend with at least the observed value",
        statistic="proportion",
        region=(0.025, 0.975),
        reason="the middle 95%. That one trend is enough does not say that there are not two",
        controls=(Control("flat", "fail", "a large-scale trend without growth is not made by it"),),
        evidence=within,
    ),
    Claim(
        id="C6c",
        study="selection",
        statement="Since the large-scale era began there are two populations: a mixture of two "
        "lines fits better than one line.",
        source="paper",
        reported="2 to 3 orders of magnitude over the previous trend",
        where="conclusion",
        known="text",
        quantity="BIC of one line less that of the mixture, by the full likelihood",
        statistic="exact",
        kind="exact",
        region=(0.0, math.inf),
        reason="any lead at all would be for the paper",
        controls=(
            Control("one trend", "fail", "data of one trend are not two populations"),
            Control(
                "far apart", "pass", "trends eight orders of magnitude apart are two populations"
            ),
        ),
        evidence=mixture,
    ),
)
