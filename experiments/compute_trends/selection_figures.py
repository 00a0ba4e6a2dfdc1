"""Tables and figures of `experiments.compute_trends.selection`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.compute_trends import fits
from experiments.compute_trends.rules import Rules
from jaxtrends.study import Figure, Panel, Series, Table

DAYS_PER_YEAR = 365.2425
LONGEST = 20.0  # months, of what is drawn
NAMES = {
    "doubling": "large-scale doubling [months]",
    "number": "large-scale systems",
    "gap": "gap to the regular line [order of magnitude]",
    "r_squared": "R squared of the large-scale line",
}
WORLDS = {
    "one trend": "one trend",
    "two trends": "two trends, as fitted",
    "flat": "two trends, the large-scale one flat",
    "far apart": "two trends, eight orders of magnitude apart",
}


def months(doubling: Any, rules: Rules) -> Any:
    """Doubling times from minus slopes per year; infinite where there is no growth."""
    slopes = -np.asarray(doubling) / DAYS_PER_YEAR
    growing = np.where(slopes > 0, slopes, np.nan)
    return np.nan_to_num(fits.doubling_months(growing, rules.days_per_month), nan=math.inf)


def _shown(name: str, value: float, rules: Rules) -> float | str:
    if name != "doubling":
        return value
    time = float(months(value, rules))
    return time if math.isfinite(time) else "no growth"


def calibrated(values: Mapping[str, Any], spread: str) -> float:
    """The share of data sets of one trend whose test comes out at least as far as the observed."""
    observed = np.mean(values["null"][f"scatter of {spread}, resampled"]["at least"]["doubling"])
    return float(np.mean(np.array(values["trials"]["one trend"][spread]["slower"]) <= observed))


def found(trial: Mapping[str, Any], spread: str) -> float:
    """The share of data sets in which the test finds a slower large-scale trend."""
    return float(np.mean(np.array(trial[spread]["slower"]) < 0.025))


def tables(values: Mapping[str, Any], rules: Rules) -> list[Table]:
    """Observed against one trend, what the test is worth, and the mixture."""
    rows = []
    for null, made in values["null"].items():
        for name, title in NAMES.items():
            low, middle, high = (_shown(name, q, rules) for q in made["quantiles"][name])
            observed = _shown(name, values["observed"][name], rules)
            rows.append(
                [
                    *(null, title, observed, low, middle, high),
                    *(made["p"][name], made["corrected"].get(name, "primary")),
                ]
            )
    spreads = ", ".join(
        f"{made['quantiles']['regular_sd'][1]:.2f} ({null})"
        for null, made in values["null"].items()
    )
    against = Table(
        "selection",
        "The large-scale systems against the paper's rule applied to one trend",
        ("simulated", "statistic", "observed", "2.5%", "median", "97.5%", "p", "p by Holm"),
        rows,
        "p is two-sided, by simulation; Holm's correction is for the three statistics beside the "
        "primary one. Residual standard deviation of the regular systems, which tells how much of "
        f"its scatter the rule leaves to one trend: {values['observed']['regular_sd']:.2f} "
        f"observed; medians of the simulations {spreads}.",
    )
    rows = []
    for world, title in WORLDS.items():
        trial = values["trials"].get(world)
        shares = ["", "", "", ""]
        if trial:
            shares = [
                *(found(trial, spread) for spread in ("all", "regular")),
                *(float(np.mean(np.array(trial[s]["gap"]) < 0.05)) for s in ("all", "regular")),
            ]
        lead = np.array(values["mixture"][world])
        rows.append([title, len(lead), *shares, float((lead > 0).mean()), float(np.median(lead))])
    worth = Table(
        "selection_worth",
        "What the tests find in simulated data sets",
        (
            *("simulated", "data sets", "slow, by scatter of all", "slow, by scatter of regular"),
            *("gap, by scatter of all", "gap, by scatter of regular"),
            *("mixture by BIC", "median lead of the mixture"),
        ),
        rows,
        "Shares of data sets in which the large-scale doubling is slower than 97.5% of simulations "
        "of one trend, in which the gap differs (5%, Holm), and in which the BIC prefers two "
        "lines. What one trend gives is the rate of false findings. A test by the scatter of the "
        "regular systems comes out as far as the observed one in "
        f"{calibrated(values, 'regular'):.0%} of data sets of one trend.",
    )
    fitted = values["mixture"]["observed"]
    times = [float(months(-slope, rules)) for slope in fitted["slopes"]]
    both = Table(
        "mixture",
        "One line or two, by the full likelihood",
        ("model", "k", "BIC", "doubling [months]", "share", "spread [OOM]"),
        [
            ["one line", 3, fitted["line"], "", "", ""],
            [
                *("two lines", 6, fitted["mixture"], ", ".join(f"{time:.1f}" for time in times)),
                *(f"{1 - fitted['share']:.2f}, {fitted['share']:.2f}", fitted["spread"]),
            ],
        ],
        f"Lower line first; the upper one lies {fitted['gap']:.1f} orders of magnitude higher. BIC "
        "= -2 ln L + k ln n, which does not compare with that of the trends in pieces.",
    )
    return [against, worth, both]


def figures(
    values: Mapping[str, Any], nulls: Mapping[str, Mapping[str, np.ndarray]], rules: Rules
) -> list[Figure]:
    """The simulations of one trend against what was observed."""
    drawn = {
        f"scatter of {spread} systems": nulls[f"scatter of {spread}, resampled"]
        for spread in ("all", "regular")
    }
    panels = []
    for (name, title), width in zip(NAMES.items(), (0.5, 1.0, 0.1, 0.05), strict=True):
        of_all = {
            label: months(null[name], rules) if name == "doubling" else null[name]
            for label, null in drawn.items()
        }
        observed = float(months(values["observed"][name], rules))
        observed = observed if name == "doubling" else values["observed"][name]
        kept = np.concatenate(list(of_all.values()))
        kept = kept[np.isfinite(kept) & ((kept < LONGEST) | (name != "doubling"))]
        if not kept.size:
            continue
        start = kept.min() // width * width - (width / 2 if name == "number" else 0)
        edges = start + width * np.arange(math.ceil((kept.max() - start) / width) + 2)
        series = []
        for label, found_values in of_all.items():
            heights = np.histogram(found_values, edges)[0] / len(found_values)
            series.append(Series(label, edges, [*heights, 0.0], style="steps"))
        marks = {"observed": observed} if math.isfinite(observed) else {}
        panels.append(Panel("", title, "share of simulations", series, marks=marks))
    made = values["null"]
    shares = [
        np.mean(made[f"scatter of {spread}, resampled"]["at least"]["doubling"])
        for spread in ("all", "regular")
    ]
    return [
        Figure(
            "selection",
            "What the paper's rule makes of one trend",
            "Simulated data sets of one trend with the observed dates, to which the paper's rule "
            "for large-scale systems is applied: the doubling time of the systems that it selects, "
            "their number, the distance of their line above the regular one in the middle of the "
            "simulated years, and R squared. The residuals are resampled from all systems after "
            f"{rules.large_from} or from the regular ones alone, which have lost their upper tail "
            "to the rule. As slow as observed, or slower, are "
            f"{shares[0]:.1%} and {shares[1]:.1%}. "
            f"Doubling times above {LONGEST:g} months and falling trends are not drawn.",
            panels,
        )
    ]
