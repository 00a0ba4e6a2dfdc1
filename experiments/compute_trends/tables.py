"""The paper's Tables 3, 4, 6 and 8 refitted row by row (claims C1 to C5, C8).

Every row is refitted from the project's table of systems by the rules of the paper's notebook: the
number of systems, the doubling time and R squared must round to the printed digits. They are
deterministic, so there is nothing to estimate. The intervals are random in the paper, whose
bootstrap has no seed: a printed end is compared with where 1,000 resamples put it.

Table 2, the paper's headline, cannot be made again: its second and third rows are of an earlier
version of the data.

How this could be rigged: the rules have many options, and each table's digits can be hit by turning
them. So every option stands at the paper's own code, the few rows that need another rule say so,
and what each of the traps would give stands in a table of its own and as a control, which must
fail.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from experiments.compute_trends import bootstrap, fits, tables_figures
from experiments.compute_trends.rows import Printed, Row, labels_of, rows, strict_records
from experiments.compute_trends.rules import Rules
from experiments.compute_trends.systems import DATASET, Systems, day
from jaxtrends.study import Run, StudyResult

LOW_OUTLIERS = frozenset(
    ("DeepStack", "Hanabi 4 player", "Hide and Seek", "LSUN Bedroom model", "ERNIE 3.0")
)
CALENDAR_MONTH = 30.44
WIDE_WINDOW = 546.0  # days: 1.5 years of the code's 364
LEAST_ROWS = 3
FIRST = "Table 3, 1952-2009"  # the row that Table 2 prints too, with another interval
PAPER = "table of the paper"  # of values: there only if the systems are the paper's
TABLE_2 = (  # as printed; its first interval is the control of the others
    Printed(19, 21.3, math.nan, 17.0, 21.2, 29.3),
    Printed(72, 5.7, math.nan, 4.3, 5.6, 9.0),
    Printed(16, 9.9, math.nan, 7.7, 10.1, 17.1),
)


def refit(systems: Systems, chosen: np.ndarray, rules: Rules) -> dict[str, float]:
    """Number of systems, doubling time in months and R squared; nan below three systems."""
    n = int(chosen.sum())
    if n < LEAST_ROWS:
        return {"n": n, "doubling": math.nan, "r_squared": math.nan}
    line = fits.line(systems.dates[chosen], systems.log_compute[chosen])
    months = fits.doubling_months(line.slope, rules.days_per_month)
    return {"n": n, "doubling": float(months), "r_squared": float(line.r_squared)}


def off(ours: float, printed: float, decimals: int) -> float:
    """Ours, rounded, less the printed figure, in units of its last digit: 0 if it rounds to it."""
    return round((round(ours, decimals) - printed) * 10**decimals) if math.isfinite(ours) else ours


def compared(found: Mapping[str, float], row: Row) -> dict[str, float]:
    """By how many units of the last printed digit each figure of a row is off."""
    return {
        "n": off(found["n"], row.printed.n, 0),
        "doubling time": off(found["doubling"], row.printed.doubling, 1),
        "R squared": off(found["r_squared"], row.printed.r_squared, 2),
    }


@dataclass(frozen=True)
class Trap:
    """A reading of the method that is near at hand and gives other figures in one row.

    ``chosen`` are the systems that it makes the row of.
    """

    name: str
    row: Row
    chosen: np.ndarray
    rules: Rules


def traps(systems: Systems, rules: Rules) -> list[Trap]:
    """Every trap of the method that we know of, with a row that it changes."""
    found = {row.key: row for row in rows(systems, rules)}

    def other_rules(name: str, key: str, **changed: Any) -> Trap:
        other = replace(rules, **changed)
        (chosen,) = (row.systems for row in rows(systems, other) if row.key == key)
        return Trap(name, found[key], chosen, other)

    def other_systems(name: str, key: str, chosen: np.ndarray) -> Trap:
        return Trap(name, found[key], chosen, rules)

    literal = labels_of(systems, rules, dl_from=day("2011-12-31"))
    inside = labels_of(systems, rules).inside
    strict = strict_records(systems.log_compute, inside) & (systems.dates <= day(rules.dl_from))
    span = {"start": day("2012-09-01"), "end": day("2022-02-01")}
    from_start = labels_of(systems, rules, **span, large_from=span["start"])
    return [
        other_rules("window of 1.5 years", "Table 4, 2016-2022 large", window=WIDE_WINDOW),
        other_rules("window of 2 years", "Table 4, 2016-2022 large", window=728.0),
        other_rules("sample deviation", "Table 4, 2016-2022 large", deviation="sample"),
        other_rules(
            "z-scores before the filter",
            "Table 8, 12-2017 to 02-2022 large",
            z_scores="before filter",
        ),
        other_rules("months of 30.44 days", FIRST, days_per_month=CALENDAR_MONTH),
        other_rules(
            "months of 30.44 days (large)",
            "Table 4, 2016-2022 large",
            days_per_month=CALENDAR_MONTH,
        ),
        other_systems("2011 ends with December", "Table 3, 1952-2011", literal.pre),
        other_rules("low outliers kept", "Table 3, 2010-2022 all", z_low=-math.inf),
        other_rules("with LaMDA", "Table 3, 2010-2022 all", without=()),
        other_systems(
            "large-scale from September 2015 only",
            "Table 3, 2010-2022 regular",
            labels_of(systems, rules).regular,
        ),
        other_systems("records must be above all before", "Table 6, pre-DL", strict),
        other_systems(
            "large-scale from the window's start",
            "Table 8, 09-2012 to 02-2022 large",
            from_start.large,
        ),
    ]


def misfits(months: np.ndarray, printed: Printed) -> dict[str, float]:
    """How far the printed ends of an interval are off: see `bootstrap.misfit`."""
    lower, _, upper = bootstrap.TAILS
    return {
        "lower end": bootstrap.misfit(months, printed.low, lower, 0.1),
        "upper end": bootstrap.misfit(months, printed.high, upper, 0.1),
    }


def run(config: Any, run: Run) -> StudyResult:
    """Refit every row, resample it, and compare both with what is printed."""
    systems: Systems = run.dataset(DATASET)
    rules: Rules = config.rules
    labels = labels_of(systems, rules)
    found: dict[str, Any] = {}
    off_by: dict[str, Any] = {}
    ends_off: dict[str, float] = {}
    headline: dict[str, float] = {}
    every = rows(systems, rules)
    for row in run.each("rows", every):
        fit = refit(systems, row.systems, rules)
        found[row.key] = {**fit, "interval": None}
        off_by[row.key] = compared(fit, row)
        if fit["n"] < LEAST_ROWS:
            continue
        per_day = bootstrap.slopes_of(systems, row, config.bootstrap, config.seed)
        months = fits.doubling_months(per_day, rules.days_per_month)
        found[row.key]["interval"] = bootstrap.interval(months)
        if not systems.of_the_paper:
            continue
        if row.printed.low is not None and not row.misprint:
            off = misfits(months, row.printed)
            ends_off |= {f"{row.key}, {end}": errors for end, errors in off.items()}
        if row.key == FIRST:
            headline = misfits(months, TABLE_2[0])
    trapped = {}
    for trap in traps(systems, rules):
        fit = refit(systems, trap.chosen, trap.rules)
        trapped[trap.name] = {"row": trap.row.key, **fit, "off": compared(fit, trap.row)}
    names = np.array(systems.names)
    listed = {"low outliers": sorted(names[labels.low]), "large-scale": sorted(names[labels.large])}
    wider = labels_of(systems, rules, window=WIDE_WINDOW)
    counts = {
        "read": len(systems.names) + systems.without_compute + systems.without_date,
        "without compute": systems.without_compute,
        "without a date": systems.without_date,
        "outside the dates": int((~labels.inside).sum()),
        "low outliers": int(labels.low.sum()),
        "low outliers, window of 1.5 years": int(wider.low.sum()),
        "large-scale": int(labels.large.sum()),
        "kept": int(labels.kept.sum()),
    }
    values = {"systems": counts, "names": listed, "rows": found, "traps": trapped}
    if systems.of_the_paper:
        values[PAPER] = {
            "off": off_by,
            "ends": ends_off,
            "Table 2's ends": headline,
            "misnamed outliers": len(LOW_OUTLIERS ^ set(listed["low outliers"])),
        }
    tables = tables_figures.tables(every, values, values.get(PAPER), TABLE_2, rules)
    return StudyResult(values=values, tables=tables)
