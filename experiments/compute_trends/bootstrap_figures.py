"""The tables and figures of the bootstrap study, as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxtrends.study import Figure, Panel, Series, Table

SHOWN = (0.001, 0.99)  # quantiles between which a histogram is drawn: the upper tail has no end
ENDS = {"low": "lower end", "high": "upper end"}


def interval_text(low: float, middle: float, high: float) -> str:
    """An interval as the paper prints it, in months."""
    return f"[{low:.1f}; {middle:.1f}; {high:.1f}]"


def _printed(row: Any) -> str:
    return "" if row is None or row.low is None else interval_text(row.low, row.middle, row.high)


def _spread(ends: np.ndarray) -> str:
    return f"{min(ends):.2f} to {max(ends):.2f}"


def intervals(groups: Mapping[str, Any], printed: Mapping[str, Any], settings: Any) -> Table:
    """Our interval and its Monte Carlo errors, the spread of the paper's runs, its printed one."""
    rows = []
    for key, found in groups.items():
        ours, none = found["interval"], found["no noise"]
        rows.append(
            [
                key,
                found["n"],
                interval_text(ours.low, ours.middle, ours.high),
                f"{ours.low_error:.3f}; {ours.high_error:.3f}",
                _spread(found["runs"]["low"]),
                _spread(found["runs"]["high"]),
                *([_printed(printed[key])] if printed else []),
                interval_text(none.low, none.middle, none.high),
                "[" + "; ".join(f"{value:.2f}" for value in found["orders a year"]) + "]",
            ]
        )
    columns = (
        "group",
        "n",
        "doubling time [months]",
        "Monte Carlo error",
        "lower end, runs of 1,000",
        "upper end, runs of 1,000",
        *(["paper"] if printed else []),
        "without noise",
        "orders of magnitude a year",
    )
    note = (
        f"Quantiles 2.5%, 50% and 97.5% of {settings.resamples:,} seeded resamples, with noise up "
        f"to a factor of {settings.noise:g}; standard errors of both ends for so many resamples; "
        f"least and largest ends in {settings.resamples // 1000} runs of 1,000, as the paper's "
        "unseeded one is."
    )
    return Table("intervals", "Bootstrap intervals of doubling times", columns, rows, note)


def times(seconds: Mapping[str, float], groups: Mapping[str, Any], settings: Any) -> Table:
    """Seconds of one call of the compiled bootstrap."""
    rows = [[key, groups[key]["n"], taken] for key, taken in seconds.items()]
    note = (
        f"One call: {settings.resamples:,} resamples of a group and the quantiles of their lines."
    )
    return Table("times", "Time of the bootstrap", ("group", "n", "seconds"), rows, note)


def _histogram(label: str, values: np.ndarray, shown: tuple[float, float], bins: int) -> Series:
    """Shares of the values in equal bins between two quantiles; the last step ends at zero."""
    counts, edges = np.histogram(values, bins, tuple(np.quantile(values, shown)))
    shares = counts / len(values)
    return Series(label, edges.tolist(), [*shares.tolist(), 0.0], style="steps")


def figures(
    groups: Mapping[str, Any], drawn: Mapping[str, np.ndarray], printed: Mapping[str, Any]
) -> list[Figure]:
    """Distributions of the doubling times; of the ends of runs of 1,000 in the smallest groups."""
    least = min((found["n"] for found in groups.values()), default=0)
    times, ends = [], []
    for key, months in drawn.items():
        row, name = printed.get(key), key.partition(", ")[2]
        marks = {} if row is None else {"paper 2.5%": row.low, "paper 97.5%": row.high}
        known = months[~np.isnan(months)]
        times.append(
            Panel(
                f"{name}, n = {groups[key]['n']}",
                "doubling time (months)",
                "share of resamples",
                [_histogram("resamples", known, SHOWN, 60)],
                marks=marks,
            )
        )
        if groups[key]["n"] > least:
            continue
        for end, text in ENDS.items():
            values = np.asarray(groups[key]["runs"][end])
            marks = {} if row is None else {"paper": getattr(row, end)}
            marks[f"{len(months):,} resamples"] = getattr(groups[key]["interval"], end)
            histogram = _histogram("runs of 1,000 resamples", values, (0.0, 1.0), 12)
            ends.append(
                Panel(
                    f"{name}, {text}", f"{text} (months)", "share of runs", [histogram], marks=marks
                )
            )
    return [
        Figure(
            "bootstrap",
            "Bootstrap distributions of the doubling times",
            "Doubling times of lines through resampled systems, up to their 99% quantile"
            + ("; the rules are the ends of the paper's 95% intervals." if printed else "."),
            times,
        ),
        Figure(
            "bootstrap-ends",
            "How far 1,000 resamples leave an interval open",
            "Ends of the 95% interval in runs of 1,000 resamples, as the paper's unseeded one is, "
            "for the smallest groups; a rule is "
            + ("the paper's end, another " if printed else "")
            + "that of all resamples together.",
            ends,
        ),
    ]
