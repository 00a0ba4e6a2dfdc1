"""The paper's tables beside ours, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.compute_trends.bootstrap import interval_text
from experiments.compute_trends.rows import FIRST, TABLE_2, Printed, Row
from experiments.compute_trends.rules import Rules
from jaxtrends import charts
from jaxtrends.study import Table

ALLOWED = 3.3  # standard errors of a printed end: Bonferroni's for a family of 42 ends at 5%
PAPER = "table of the paper"  # of values: there only if the systems are the paper's
TITLES = {
    3: "Table 3: trends before and in the deep-learning era",
    4: "Table 4: trends before and after September 2015",
    6: "Table 6: trends of the systems that set a record",
    8: "Table 8: trends in three windows",
}
NEAREST = (  # to the rows of Table 2: which row of ours, the paper's name, is it reproduced
    (FIRST, "pre-DL 1952-2010", "figure yes, interval no: Table 3's does agree"),
    ("Table 3, 2012-2022 regular", "DL 2010-2022 regular", "no: n and time are of 2012-2022"),
    ("Table 4, 2016-2022 large", "large-scale Sep 2015-2022", "no: of earlier data"),
)


def _rounded(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else "-"


def _ours(found: Mapping[str, Any]) -> str:
    ours = found["interval"]
    return "-" if ours is None else interval_text(ours.low, ours.middle, ours.high)


def _printed(row: Printed) -> str:
    return "not printed" if row.low is None else interval_text(row.low, row.middle, row.high)


def _agreement(row: Row, ends: Mapping[str, float]) -> str:
    if row.misprint:
        return f"not compared: {row.misprint}"
    if row.printed.low is None:
        return "none printed"
    off = [end for end in ("lower", "upper") if abs(ends[f"{row.key}, {end} end"]) > ALLOWED]
    return "no: " + " and ".join(f"{end} end" for end in off) if off else "yes"


def _cells(row: Row, values: Mapping[str, Any]) -> dict[str, Any]:
    """A row as ours, with the printed figures beside it where the systems are the paper's."""
    found, printed, paper = values["rows"][row.key], row.printed, values.get(PAPER)
    ours = {
        "systems": row.name,
        "n": found["n"],
        "doubling time [months]": _rounded(found["doubling"], 2),
        "R²": _rounded(found["r_squared"], 3),
        "95% interval [months]": _ours(found),
    }
    if paper is None:
        return ours
    off = [name for name, units in paper["off"][row.key].items() if units != 0]
    return {
        "systems": ours["systems"],
        "n": ours["n"],
        "n (paper)": printed.n,
        "doubling time [months]": ours["doubling time [months]"],
        "paper": f"{printed.doubling:.1f}",
        "R²": ours["R²"],
        "R² (paper)": f"{printed.r_squared:.2f}",
        "95% interval [months]": ours["95% interval [months]"],
        "interval (paper)": _printed(printed),
        "figures round to the printed": "no: " + ", ".join(off) if off else "yes",
        "interval agrees": _agreement(row, paper["ends"]),
    }


def _table_2(values: Mapping[str, Any]) -> Table:
    """The headline table, with our nearest rows and why they differ."""
    cells = []
    for (key, name, verdict), row in zip(NEAREST, TABLE_2, strict=True):
        found = values["rows"][key]
        cells.append(
            {
                "systems": name,
                "n (paper)": row.n,
                "paper": f"{row.doubling:.1f}",
                "interval (paper)": _printed(row),
                "nearest row": key,
                "n": found["n"],
                "doubling time [months]": _rounded(found["doubling"], 2),
                "95% interval [months]": _ours(found),
                "reproduced": verdict,
            }
        )
    note = (
        "Rows 2 and 3 cannot be made from the 123 systems. Row 2 contradicts itself: 0.6 orders of "
        "magnitude a year for 12 years are 7 orders, while the range printed beside them, 7e14 to "
        "2e18 FLOP, spans 3.4; its n and doubling time are those of 2012-2022. For row 3 the rules "
        "give 19 systems, not 16. Both are probably of an earlier version of the data."
    )
    return charts.table("table2", "Table 2, the headline: not reproducible", cells, note)


def _traps(every: Sequence[Row], values: Mapping[str, Any]) -> Table:
    printed = {row.key: row.printed for row in every} if PAPER in values else {}
    cells = []
    for name, found in values["traps"].items():
        months = _rounded(found["doubling"], 2)
        row = {"another reading": name, "row": found["row"], "n": found["n"]}
        row["doubling time [months]"] = months
        if printed:
            paper = printed[found["row"]]
            row |= {"n (paper)": paper.n, "paper": f"{paper.doubling:.1f}"}
        cells.append(row)
    note = "Each reading changes one rule of the paper's code."
    if printed:
        note += " The sample deviation changes no row of the paper's systems."
    return charts.table("traps", "Other readings of the method", cells, note)


def beside(every: Sequence[Row], values: Mapping[str, Any], rules: Rules) -> list[Table]:
    """Tables 3, 4, 6 and 8 with the printed figures; Table 2; the traps; what was read.

    Where the systems are not the paper's, no printed figure stands there.
    """
    note = "Intervals: 2.5%, 50% and 97.5% quantiles of resampled lines."
    if PAPER in values:
        note += (
            f" A printed one agrees if both ends lie within {ALLOWED:g} standard errors of where "
            "1,000 resamples, as the paper drew, put them."
        )
    if PAPER not in values or rules != Rules():
        note += (
            " Rows have the names of the paper's. Here they are of systems after "
            f"{rules.start} and before {rules.end}, deep learning begins after {rules.dl_from} "
            f"and the large-scale era after {rules.large_from}."
        )
    made = [
        charts.table(
            f"table{number}",
            title,
            [_cells(row, values) for row in every if row.table == number],
            note,
        )
        for number, title in TITLES.items()
    ]
    counts = [{"systems": name, "count": count} for name, count in values["systems"].items()]
    names = values["names"]
    listed = "; ".join(f"{kind}: {', '.join(names[kind]) or 'none'}" for kind in names)
    return [
        *made,
        *([_table_2(values)] if PAPER in values else []),
        _traps(every, values),
        charts.table("systems", "Systems read and labelled", counts, f"{listed}."),
    ]
