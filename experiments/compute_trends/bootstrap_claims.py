"""The claims about the bootstrap: neither is the paper's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.compute_trends.bootstrap import REGULAR
from jaxtrends.claims import Claim, Control, Evidence

SMALL = ("Table 3, 1952-2009", "Table 4, 2016-2022 large")  # 19 of the paper's systems each
ENOUGH = 100_000  # resamples for the control


def spread(values: Mapping[str, Any]) -> Evidence:
    """B1: standard deviation of an interval's end over runs of 1,000 resamples, in months."""
    parts = {
        f"{key}, {end} end": {"values": [float(np.std(values["groups"][key]["runs"][end], ddof=1))]}
        for key in SMALL
        for end in ("low", "high")
    }
    if values["resamples"] < ENOUGH:
        raise KeyError(f"{ENOUGH:,} resamples, which settle the ends")
    settled = values["groups"][SMALL[0]]["interval"]["low_error"]
    return Evidence(parts, {"all resamples": {"values": [settled]}})


def _width(interval: Mapping[str, float]) -> float:
    return interval["high"] - interval["low"]


def noise(values: Mapping[str, Any]) -> Evidence:
    """B2: widths of the intervals with the paper's noise, over those without.

    Of the groups whose resampled lines all but always rise: where they also fall, a doubling time
    passes through infinity, and its interval has no width.
    """
    groups = {
        key: found
        for key, found in values["groups"].items()
        if found["orders a year"][0] > 0 and _width(found["no noise"]) > 0
    }
    if REGULAR not in groups:
        raise KeyError("interval of the regular systems' doubling time")

    def widened(key: str, name: str) -> dict[str, list[float]]:
        return {"values": [_width(groups[key][name]) / _width(groups[key]["no noise"])]}

    wide = widened(REGULAR, "wide noise")
    return Evidence({key: widened(key, "interval") for key in groups}, {"wide noise": wide})


CLAIMS = (
    Claim(
        id="B1",
        study="bootstrap",
        statement="One run of 1,000 resamples without a seed, as in the paper, leaves the printed "
        "digit of the intervals of its two smallest groups open: the systems before deep learning, "
        "and the large-scale ones.",
        source="derived",
        quantity="standard deviation of an interval's end over runs of 1,000 resamples [months]",
        statistic="exact",
        kind="exact",
        region=(0.05, math.inf),
        reason="half of the last printed digit",
        controls=(
            Control(
                "all resamples",
                "fail",
                "the Monte Carlo error of the steadiest of these ends over all resamples",
            ),
        ),
        evidence=spread,
    ),
    Claim(
        id="B2",
        study="bootstrap",
        statement="Noise up to a factor of two on every estimate of compute hardly widens the "
        "intervals.",
        source="derived",
        quantity="width of the interval with the noise, over that without",
        statistic="exact",
        kind="exact",
        region=(0.9, 1.1),
        reason="a tenth of a width would not show in the conclusions",
        controls=(
            Control(
                "wide noise",
                "fail",
                "noise up to a factor of ten, or to twice the systems' scatter, must widen the "
                "interval of the regular ones",
            ),
        ),
        evidence=noise,
    ),
)
