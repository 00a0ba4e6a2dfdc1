"""Tables and figure of `experiments.compute_trends.projection`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.compute_trends.rules import Labels
from experiments.compute_trends.systems import Systems, year
from jaxtrends.study import Figure, Panel, Series, Table

SIDE_BY_SIDE = "regular and large-scale"


def _flop(logs: np.ndarray) -> np.ndarray:
    """FLOP of their logarithms; infinite where no float64 is so large, which no figure shows."""
    with np.errstate(over="ignore"):
        return 10.0**logs


def _power(value: float) -> str:
    return f"10^{value:.1f}"


def tables(values: Mapping[str, Any], years: Sequence[int]) -> list[Table]:
    """Training compute in the years to come, and the scores of the past."""
    rows = []
    for name, found in values["trends"].items():
        for place, number in enumerate(years):
            means = [
                f"{_power(part['mean'][place])} [{_power(part['low'][place])}; "
                f"{_power(part['high'][place])}]"
                for part in found["components"]
            ]
            system = (_power(found["system"][end][place]) for end in ("low", "high"))
            rows.append([name, str(number), " and ".join(means), "; ".join(system)])
    scores = []
    for cutoff, made in values["backtest"].items():
        for name, found in made["trends"].items():
            errors, density = np.array(found["errors"]), np.array(found["log density"])
            scores.append(
                [
                    *(cutoff, made["fitted"], made["scored"], name, float(errors.mean())),
                    float(np.sqrt((errors**2).mean())),
                    *(float(np.mean(found["covered"])), float(density.mean())),
                ]
            )
    return [
        Table(
            "projection",
            "Training compute at the beginning of a year, if the trends go on",
            ("trend", "year", "mean of the trend [FLOP]", "a system [FLOP]"),
            rows,
            f"With 95% intervals, break dates taken as found. The data end on "
            f"{values['data until']}. Trends carried on, not forecasts: the backtest shows how far "
            "off they have been.",
        ),
        Table(
            "backtest",
            "Trends fitted up to a date, and the systems that came later",
            (
                *("fitted before", "systems fitted", "systems scored", "trend"),
                *("mean error [OOM]", "root mean square error [OOM]"),
                *("share in the 95% interval", "log score [nat]"),
            ),
            scores,
            "Errors are of log10 FLOP, observed less expected: below zero, the trend promised too "
            "much. The log score is the mean logarithm of the density given to a later system; "
            "higher is better. Side by side, regular and large-scale need enough of both.",
        ),
    ]


def figures(
    systems: Systems,
    labels: Labels,
    fitted: Mapping[str, Sequence[Any]],
    values: Mapping[str, Any],
    interval: Callable[[Sequence[Any], np.ndarray], tuple[np.ndarray, np.ndarray]],
    last: float,
) -> list[Figure]:
    """The trends carried on to the year ``last``, and their scores."""
    x = year(systems.dates)
    shown = labels.deep | (labels.low & (x > 2010))
    series = [Series("systems", x[shown], 10 ** systems.log_compute[shown], style="points")]
    at = np.linspace(2010, last, 60)
    for name in ("kink", "one line"):
        if name in fitted:
            middle, _, _ = fitted[name][0].predict(at)
            ends = interval(fitted[name], at) if name == "kink" else (None, None)
            band = [None if end is None else _flop(end) for end in ends]
            label = f"{name}, carried on"
            series.append(Series(label, at, _flop(middle), *band, style="theory"))
    for name, part in zip(("regular", "large-scale"), fitted.get(SIDE_BY_SIDE, ()), strict=False):
        late = np.linspace(2015.67, last, 40)
        label = f"{name}, carried on"
        series.append(Series(label, late, _flop(part.predict(late)[0]), style="theory"))
    dates = [float(cutoff[:4]) for cutoff in values["backtest"]]
    scores = []
    for place, name in enumerate(fitted):
        points = []
        for date, made in zip(dates, values["backtest"].values(), strict=True):
            if name in made["trends"]:
                density = np.array(made["trends"][name]["log density"])
                half = 1.96 * density.std(ddof=1) / np.sqrt(len(density)) if len(density) > 1 else 0
                points.append((date + 0.12 * (place - 2), density.mean(), half))
        if points:
            when, mean, half = np.array(points).T
            scores.append(Series(name, when, mean, mean - half, mean + half, "points"))
    end = float(year(systems.dates[labels.inside].max()))
    panels = [
        Panel(
            "Carried on",
            "publication date [year]",
            "training compute [FLOP]",
            series,
            y_scale="log",
            marks={"end of the data": end},
        )
    ]
    if scores:
        panels.append(
            Panel("Backtest", "fitted up to [year]", "log score of later systems [nat]", scores)
        )
    return [
        Figure(
            "projection",
            "The trends carried on, and how they have done before",
            "(a) Trends carried on beyond the data, with the 95% interval of a system for the "
            "kink. (b) Mean logarithm of the density that trends fitted up to a date gave to the "
            "systems that came later, with 95% intervals as if these were independent; points are "
            "moved apart.",
            panels,
        )
    ]
