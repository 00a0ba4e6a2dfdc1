"""What `experiments.compute_trends.eras` claims (C7)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxtrends.claims import Claim, Control, Evidence

PIECES = {
    "one line": 1,
    "kink at 2010": 2,
    "kink": 2,
    "kink and jump": 2,
    "two kinks": 3,
    "three segments": 3,
}
LEAST_POWER = 0.8


def _lead(bic: Mapping[str, Any], simpler: int, richer: int) -> np.ndarray:
    """How much lower the best BIC of so many pieces is, against that of another number."""
    least = {
        pieces: np.min([bic[name] for name in PIECES if PIECES[name] == pieces], axis=0)
        for pieces in (simpler, richer)
    }
    return least[simpler] - least[richer]


def _observed(values: Mapping[str, Any], simpler: int, richer: int) -> dict[str, list[float]]:
    bic = {name: found["bic"] for name, found in values["models"].items()}
    return {"values": [float(_lead(bic, simpler, richer))]}


def _median(
    values: Mapping[str, Any], world: str, simpler: int, richer: int
) -> dict[str, list[float]]:
    """The median over simulated data sets."""
    found = values["simulated"][world]["bic"]
    return {"values": [float(np.median(_lead(found, simpler, richer)))]}


def _chosen(values: Mapping[str, Any], world: str, pieces: int) -> list[int]:
    """In which simulated data sets the BIC chooses so many pieces: zeros and ones."""
    bic = values["simulated"][world]["bic"]
    best = np.argmin([bic[name] for name in PIECES], axis=0)
    return (np.array(list(PIECES.values()))[best] == pieces).astype(int).tolist()


def two_eras(values: Mapping[str, Any]) -> Evidence:
    """C7a: BIC of one line less that of two."""
    controls = {world: _median(values, world, 1, 2) for world in ("one line", "one kink")}
    return Evidence({"": _observed(values, 1, 2)}, controls)


def third_era(values: Mapping[str, Any]) -> Evidence:
    """C7b: BIC of two lines less that of three."""
    worlds = ("one kink", "three clear eras")
    power = [np.mean(_chosen(values, f"three eras{jump}", 3)) for jump in ("", " and a jump")]
    undecided = ""
    if power[1] < LEAST_POWER:
        undecided = (
            "the BIC finds three eras in only "
            f"{power[0]:.0%} of simulated data sets that have those of the paper's Table 2, and in "
            f"{power[1]:.0%} of those that jump by two orders of magnitude besides"
        )
    controls = {world: _median(values, world, 2, 3) for world in worlds}
    return Evidence({"": _observed(values, 2, 3)}, controls, undecided)


def start(values: Mapping[str, Any]) -> Evidence:
    """C7c: the share of the resampled kinks before 2010."""
    earlier = values["kink"]["earlier than"]
    return Evidence(
        {"2010": {"values": [earlier["2010-01-01"]]}}, {"1980": {"values": [earlier["1980-01-01"]]}}
    )


def not_alexnet(values: Mapping[str, Any]) -> Evidence:
    """C7d: the share of the resampled kinks before AlexNet."""
    earlier = values["kink"]["earlier than"]
    return Evidence(
        {"AlexNet": {"values": [earlier["2012-09-30"]]}},
        {"median": {"values": [0.5]}},
    )


def recovery(values: Mapping[str, Any]) -> Evidence:
    """C7e: whether the BIC chooses as many pieces as were put in."""
    parts = {
        world: {"values": _chosen(values, world, pieces)}
        for world, pieces in (("one line", 1), ("one kink", 2), ("three clear eras", 3))
    }
    return Evidence(
        parts, {"one kink, called one line": {"values": _chosen(values, "one kink", 1)}}
    )


def coverage(values: Mapping[str, Any]) -> Evidence:
    """C7f: whether the interval holds the kink that was put in."""
    found = values["simulated"]["one kink"]
    return Evidence(
        {"one kink": {"values": found["covered"]}},
        {"middle half": {"values": found["covered by the middle half"]}},
    )


def _exact(**given: Any) -> Claim:
    return Claim(study="eras", statistic="exact", kind="exact", **given)


CLAIMS: Sequence[Claim] = (
    _exact(
        id="C7a",
        statement="Training compute grew faster from about 2010 on: two trends fit all the years "
        "better than one.",
        source="paper",
        reported="doubling in 21.3 months before 2010, in 5.7 months after",
        where="Table 2",
        known="text",
        quantity="BIC of one line less the best of two pieces",
        region=(10.0, math.inf),
        reason="a lead of ten is called very strong evidence (Kass and Raftery 1995)",
        controls=(
            Control("one line", "fail", "data simulated from one line have no second trend"),
            Control("one kink", "pass", "data simulated from the fitted kink have one"),
        ),
        evidence=two_eras,
    ),
    _exact(
        id="C7b",
        statement="The data of all systems support a third trend one after the other: three "
        "pieces fit better than two.",
        source="paper",
        reported="three eras, the third from September 2015 on, 2 to 3 orders of magnitude above",
        where="Table 2 and conclusion",
        known="text",
        quantity="best BIC of two pieces less the best of three",
        region=(0.0, math.inf),
        reason="any lead at all would be for the paper. A large-scale trend beside the regular "
        "one, rather than after it, is the subject of C6",
        controls=(
            Control("one kink", "fail", "data simulated from one kink have no third trend"),
            Control(
                "three clear eras", "pass", "with a quarter of the scatter three eras are seen"
            ),
        ),
        evidence=third_era,
    ),
    _exact(
        id="C7c",
        statement="The faster trend begins about 2010: that date lies in the 95% interval of the "
        "kink.",
        source="paper",
        reported="2010",
        where="Table 2",
        known="text",
        quantity="share of resampled kinks before 1 January 2010",
        region=(0.025, 0.975),
        reason="the middle 95% of the resamples; the Monte Carlo error of the share is below 0.012",
        controls=(Control("1980", "fail", "the trend did not break in 1980"),),
        evidence=start,
    ),
    _exact(
        id="C7d",
        statement="The faster trend began before AlexNet (30 September 2012), the paper's "
        "alternative: that date lies above the 95% interval of the kink.",
        source="derived",
        quantity="share of resampled kinks before 30 September 2012",
        region=(0.975, math.inf),
        reason="the upper end of the middle 95% of the resamples",
        controls=(Control("median", "fail", "half of the resamples do not lie below it"),),
        evidence=not_alexnet,
    ),
    Claim(
        id="C7e",
        study="eras",
        statement="On simulated data with the observed dates the BIC finds as many trends as were "
        "put in: one, two that meet in a kink, or three with a quarter of the scatter.",
        source="derived",
        quantity="share of simulated data sets with the right number of pieces",
        statistic="proportion",
        region=(LEAST_POWER, math.inf),
        reason="what is usually asked of a test's power",
        controls=(
            Control("one kink, called one line", "fail", "one line is not found where a kink is"),
        ),
        evidence=recovery,
    ),
    Claim(
        id="C7f",
        study="eras",
        statement="The interval of the kink's date holds the date that was put in about as often "
        "as it says.",
        source="derived",
        quantity="share of simulated data sets whose 95% interval holds the kink",
        statistic="proportion",
        region=(0.8, 1.01),
        reason="an interval that holds the date in fewer than four of five cases would not do to "
        "tell 2010 from 2012",
        controls=(Control("middle half", "fail", "the middle half holds it half of the time"),),
        evidence=coverage,
    ),
)
