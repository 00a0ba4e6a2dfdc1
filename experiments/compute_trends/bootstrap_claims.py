"""The claims about the bootstrap: neither is the paper's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxtrends.claims import Claim, Control, Evidence

SMALL = ("Table 3, 1952-2009", "Table 4, 2016-2022 large")  # 19 systems each
REGULAR = "Table 3, 2010-2022 regular"
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
    """B2: widths of the intervals with the paper's noise, over those without."""
    groups = values["groups"]
    widths = {
        key: {"values": [_width(found["interval"]) / _width(found["no noise"])]}
        for key, found in groups.items()
    }
    wide = _width(groups[REGULAR]["wide noise"]) / _width(groups[REGULAR]["no noise"])
    return Evidence(widths, {"noise up to a factor of ten": {"values": [wide]}})


CLAIMS = (
    Claim(
        id="B1",
        study="bootstrap",
        statement="One run of 1,000 resamples without a seed, as in the paper, leaves the printed "
        "digit of the intervals of its two groups of 19 systems open.",
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
                "the Monte Carlo error of the steadiest of these ends at 100,000 resamples",
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
                "noise up to a factor of ten",
                "fail",
                "more noise than that must widen the interval of the regular systems",
            ),
        ),
        evidence=noise,
    ),
)
