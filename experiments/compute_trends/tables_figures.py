"""The paper's tables beside ours, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.compute_trends.bootstrap_figures import interval_text
from experiments.compute_trends.rows import Printed, Row
from experiments.compute_trends.rules import Rules
from jaxtrends.study import Table

OURS = ("systems", "n", "doubling time [months]", "R²", "95% interval [months]")
COLUMNS = (  # where the systems are the paper's
    "systems",
    "n",
    "n (paper)",
    "doubling time [months]",
    "paper",
    "R²",
    "R² (paper)",
    "95% interval [months]",
    "interval (paper)",
    "figures round to the printed",
    "interval agrees",
)
TITLES = {
    3: "Table 3: trends before and in the deep-learning era",
    4: "Table 4: trends before and after September 2015",
    6: "Table 6: trends of the systems that set a record",
    8: "Table 8: trends in three windows",
}
ALLOWED = 3.3  # standard errors of a printed end: Bonferroni's for a family of 42 ends at 5%


def _rounded(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else "-"


def _printed_interval(printed: Printed) -> str:
    if printed.low is None:
        return "not printed"
    return interval_text(printed.low, printed.middle, printed.high)


def _agreement(row: Row, ends: Mapping[str, float]) -> str:
    if row.misprint:
        return f"not compared: {row.misprint}"
    if row.printed.low is None:
        return "none printed"
    off = [end for end in ("lower", "upper") if abs(ends[f"{row.key}, {end} end"]) > ALLOWED]
    return "no: " + " and ".join(f"{end} end" for end in off) if off else "yes"


def _cells(row: Row, values: Mapping[str, Any], paper: Mapping[str, Any] | None) -> list[Any]:
    """A row under `COLUMNS`, or under `OURS` where the systems are not the paper's."""
    found, printed = values["rows"][row.key], row.printed
    interval = found["interval"]
    cells = {
        "systems": row.name,
        "n": found["n"],
        "doubling time [months]": _rounded(found["doubling"], 2),
        "R²": _rounded(found["r_squared"], 3),
        "95% interval [months]": "-"
        if interval is None
        else interval_text(interval.low, interval.middle, interval.high),
    }
    if paper is None:
        return [cells[column] for column in OURS]
    off = [name for name, units in paper["off"][row.key].items() if units != 0]
    cells |= {
        "n (paper)": printed.n,
        "paper": f"{printed.doubling:.1f}",
        "R² (paper)": f"{printed.r_squared:.2f}",
        "interval (paper)": _printed_interval(printed),
        "figures round to the printed": "no: " + ", ".join(off) if off else "yes",
        "interval agrees": _agreement(row, paper["ends"]),
    }
    return [cells[column] for column in COLUMNS]


def _table_2(
    rows: Mapping[str, Row], values: Mapping[str, Any], printed: Sequence[Printed]
) -> Table:
    """The headline table, with our nearest rows and why they differ."""
    why = (
        ("Table 3, 1952-2009", "pre-DL 1952-2010", "figure yes, interval no: Table 3's does agree"),
        ("Table 3, 2012-2022 regular", "DL 2010-2022 regular", "no: n and time are of 2012-2022"),
        ("Table 4, 2016-2022 large", "large-scale Sep 2015-2022", "no: of earlier data"),
    )
    cells = []
    for (key, name, verdict), row in zip(why, printed, strict=True):
        found = values["rows"][key]
        ours = found["interval"]
        cells.append(
            [
                name,
                row.n,
                f"{row.doubling:.1f}",
                _printed_interval(row),
                key,
                found["n"],
                _rounded(found["doubling"], 2),
                "-" if ours is None else interval_text(ours.low, ours.middle, ours.high),
                verdict,
            ]
        )
    columns = (
        "systems",
        "n (paper)",
        "paper",
        "interval (paper)",
        "nearest row",
        "n",
        "doubling time [months]",
        "95% interval [months]",
        "reproduced",
    )
    note = (
        "Rows 2 and 3 cannot be made from the 123 systems. Row 2 contradicts itself: 0.6 orders of "
        "magnitude a year for 12 years are 7 orders, while the range printed beside them, 7e14 to "
        "2e18 FLOP, spans 3.4; its n and doubling time are those of 2012-2022. For row 3 the rules "
        "give 19 systems, not 16. Both are probably of an earlier version of the data."
    )
    return Table("table2", "Table 2, the headline: not reproducible", columns, cells, note)


def tables(
    rows: Sequence[Row],
    values: Mapping[str, Any],
    paper: Mapping[str, Any] | None,
    table_2: Sequence[Printed],
    rules: Rules,
) -> list[Table]:
    """Tables 3, 4, 6 and 8 with the printed figures; Table 2; the traps; what was read.

    ``paper`` is None where the systems are not the paper's: no printed figure then stands there.
    """
    by_key = {row.key: row for row in rows}
    note = "Intervals: 2.5%, 50% and 97.5% quantiles of resampled lines."
    if paper is not None:
        note += (
            f" A printed one agrees if both ends lie within {ALLOWED:g} standard errors of where "
            "1,000 resamples, as the paper drew, put them."
        )
    if paper is None or rules != Rules():
        note += (
            " Rows have the names of the paper's. Here they are of systems after "
            f"{rules.start} and before {rules.end}, deep learning begins after {rules.dl_from} "
            f"and the large-scale era after {rules.large_from}."
        )
    made = [
        Table(
            f"table{number}",
            title,
            OURS if paper is None else COLUMNS,
            [_cells(row, values, paper) for row in rows if row.table == number],
            note,
        )
        for number, title in TITLES.items()
    ]
    if paper is not None:
        made.append(_table_2(by_key, values, table_2))
    names = values["names"]
    counts = [[name, count] for name, count in values["systems"].items()]
    listed = "; ".join(f"{kind}: {', '.join(names[kind]) or 'none'}" for kind in names)
    return [
        *made,
        _traps(by_key, values, paper is not None),
        Table("systems", "Systems read and labelled", ("systems", "count"), counts, f"{listed}."),
    ]


def _traps(rows: Mapping[str, Row], values: Mapping[str, Any], of_the_paper: bool) -> Table:
    columns = ["another reading", "row", "n", "doubling time [months]"]
    cells = [
        [name, found["row"], found["n"], _rounded(found["doubling"], 2)]
        for name, found in values["traps"].items()
    ]
    note = "Each reading changes one rule of the paper's code."
    if of_the_paper:
        columns += ["n (paper)", "paper"]
        for row in cells:
            printed = rows[row[1]].printed
            row += [printed.n, f"{printed.doubling:.1f}"]
        note += " The sample deviation changes no row of the paper's systems."
    return Table("traps", "Other readings of the method", columns, cells, note)
