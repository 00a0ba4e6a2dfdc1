"""Tables and figures of `experiments.compute_trends.selection`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.compute_trends.mixture import LINE_PARAMETERS, MIXTURE_PARAMETERS
from experiments.compute_trends.rules import Rules
from jaxtrends import charts
from jaxtrends.study import Figure, Panel, Table

SPREADS = ("all", "regular")  # of the scatter about one trend
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
    growing = np.where(np.asarray(doubling) < 0, -np.asarray(doubling), np.nan)
    return np.nan_to_num(rules.months_of_yearly(growing), nan=math.inf)


def _shown(name: str, value: float, rules: Rules) -> float | str:
    if name != "doubling":
        return value
    time = float(months(value, rules))
    return time if math.isfinite(time) else "no growth"


def calibrated(values: Mapping[str, Any], spread: str) -> float:
    """The share of data sets of one trend whose test comes out at least as far as the observed."""
    observed = np.mean(values["null"][f"scatter of {spread}, resampled"]["at least"]["doubling"])
    return float(np.mean(np.array(values["trials"]["one trend"][spread]["slower"]) <= observed))


def found_slow(trial: Mapping[str, Any], spread: str) -> float:
    """The share of data sets in which the test finds a slower large-scale trend."""
    return float(np.mean(np.array(trial[spread]["slower"]) < 0.025))


def tables(values: Mapping[str, Any], rules: Rules) -> list[Table]:
    """Observed against one trend, what the test is worth, and the mixture."""
    return [_against(values, rules), _worth(values), _mixture(values, rules)]


def _against(values: Mapping[str, Any], rules: Rules) -> Table:
    rows = []
    for null, made in values["null"].items():
        for name, title in NAMES.items():
            low, middle, high = (_shown(name, q, rules) for q in made["quantiles"][name])
            observed = _shown(name, values["observed"][name], rules)
            rows.append(
                {
                    **{"simulated": null, "statistic": title, "observed": observed},
                    **{"2.5%": low, "median": middle, "97.5%": high},
                    "p": made["p"][name],
                    "p by Holm": made["corrected"].get(name, "primary"),
                }
            )
    spreads = ", ".join(
        f"{made['quantiles']['regular_sd'][1]:.2f} ({null})"
        for null, made in values["null"].items()
    )
    return charts.table(
        "selection",
        "The large-scale systems against the paper's rule applied to one trend",
        rows,
        "p is two-sided, by simulation; Holm's correction is for the three statistics beside the "
        "primary one. Residual standard deviation of the regular systems, which tells how much of "
        f"its scatter the rule leaves to one trend: {values['observed']['regular_sd']:.2f} "
        f"observed; medians of the simulations {spreads}.",
    )


def _worth(values: Mapping[str, Any]) -> Table:
    rows = []
    for world, title in WORLDS.items():
        trial, lead = values["trials"].get(world), np.array(values["mixture"][world])
        row = {"simulated": title, "data sets": len(lead)}
        for spread in SPREADS:
            row[f"slow, by scatter of {spread}"] = found_slow(trial, spread) if trial else ""
        for spread in SPREADS:
            differs = float(np.mean(np.array(trial[spread]["gap"]) < 0.05)) if trial else ""
            row[f"gap, by scatter of {spread}"] = differs
        row["mixture by BIC"] = float((lead > 0).mean())
        row["median lead of the mixture"] = float(np.median(lead))
        rows.append(row)
    return charts.table(
        "selection_worth",
        "What the tests find in simulated data sets",
        rows,
        "Shares of data sets in which the large-scale doubling is slower than 97.5% of simulations "
        "of one trend, in which the gap differs (5%, Holm), and in which the BIC prefers two "
        "lines. What one trend gives is the rate of false findings. A test by the scatter of the "
        "regular systems comes out as far as the observed one in "
        f"{calibrated(values, 'regular'):.0%} of data sets of one trend.",
    )


def _mixture(values: Mapping[str, Any], rules: Rules) -> Table:
    fitted = values["mixture"]["observed"]
    times = [float(months(-slope, rules)) for slope in fitted["slopes"]]
    rows = [
        {
            **{"model": "one line", "k": LINE_PARAMETERS, "BIC": fitted["line"]},
            **{"doubling [months]": "", "share": "", "spread [OOM]": ""},
        },
        {
            **{"model": "two lines", "k": MIXTURE_PARAMETERS, "BIC": fitted["mixture"]},
            "doubling [months]": ", ".join(f"{time:.1f}" for time in times),
            "share": f"{1 - fitted['share']:.2f}, {fitted['share']:.2f}",
            "spread [OOM]": fitted["spread"],
        },
    ]
    return charts.table(
        "mixture",
        "One line or two, by the full likelihood",
        rows,
        f"Lower line first; the upper one lies {fitted['gap']:.1f} orders of magnitude higher. BIC "
        "= -2 ln L + k ln n, which does not compare with that of the trends in pieces.",
    )


def figures(
    values: Mapping[str, Any], nulls: Mapping[str, Mapping[str, np.ndarray]], rules: Rules
) -> list[Figure]:
    """The simulations of one trend against what was observed."""
    panels = []
    for (name, title), width in zip(NAMES.items(), (0.5, 1.0, 0.1, 0.05), strict=True):
        found = {spread: nulls[f"scatter of {spread}, resampled"][name] for spread in SPREADS}
        observed = values["observed"][name]
        if name == "doubling":
            found = {spread: months(of, rules) for spread, of in found.items()}
            observed = float(months(observed, rules))
        kept = np.concatenate(list(found.values()))
        kept = kept[np.isfinite(kept) & ((kept < LONGEST) | (name != "doubling"))]
        if not kept.size:
            continue
        start = kept.min() // width * width - (width / 2 if name == "number" else 0)
        edges = start + width * np.arange(math.ceil((kept.max() - start) / width) + 2)
        series = [
            charts.histogram(f"scatter of {spread} systems", of, edges)
            for spread, of in found.items()
        ]
        marks = {"observed": observed} if math.isfinite(observed) else {}
        panels.append(Panel("", title, "share of simulations", series, marks=marks))
    shares = [
        np.mean(values["null"][f"scatter of {spread}, resampled"]["at least"]["doubling"])
        for spread in SPREADS
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
