"""The paper's tables beside ours, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.compute_trends.bootstrap_figures import interval_text
from experiments.compute_trends.rows import Printed, Row
from jaxtrends.study import Table

COLUMNS = (
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
    found, printed = values["rows"][row.key], row.printed
    ours = found["interval"]
    rounds = agrees = "other systems"
    if paper is not None:  # the systems are the paper's
        off = [name for name, units in paper["off"][row.key].items() if units != 0]
        rounds = "no: " + ", ".join(off) if off else "yes"
        agrees = _agreement(row, paper["ends"])
    return [
        row.name,
        found["n"],
        printed.n,
        _rounded(found["doubling"], 2),
        f"{printed.doubling:.1f}",
        _rounded(found["r_squared"], 3),
        f"{printed.r_squared:.2f}",
        "-" if ours is None else interval_text(ours.low, ours.middle, ours.high),
        _printed_interval(printed),
        rounds,
        agrees,
    ]


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
) -> list[Table]:
    """Tables 3, 4, 6 and 8 with the printed figures; Table 2; the traps; what was read.

    ``paper`` is None where the systems are not the paper's.
    """
    by_key = {row.key: row for row in rows}
    made = [
        Table(
            f"table{number}",
            title,
            COLUMNS,
            [_cells(row, values, paper) for row in rows if row.table == number],
            "Intervals: 2.5%, 50% and 97.5% quantiles of resampled lines. A printed one agrees if "
            f"both ends lie within {ALLOWED:g} standard errors of where 1,000 resamples, as the "
            "paper drew, put them.",
        )
        for number, title in TITLES.items()
    ]
    trapped = [
        [
            name,
            found["row"],
            found["n"],
            by_key[found["row"]].printed.n,
            _rounded(found["doubling"], 2),
            f"{by_key[found['row']].printed.doubling:.1f}",
        ]
        for name, found in values["traps"].items()
    ]
    columns = ("another reading", "row", "n", "n (paper)", "doubling time [months]", "paper")
    note = (
        "Each reading changes one rule of the paper's code. The sample deviation changes no row of "
        "the paper's systems."
    )
    names = values["names"]
    counts = [[name, count] for name, count in values["systems"].items()]
    listed = "; ".join(f"{kind}: {', '.join(names[kind]) or 'none'}" for kind in names)
    return [
        *made,
        _table_2(by_key, values, table_2),
        Table("traps", "Other readings of the method", columns, trapped, note),
        Table("systems", "Systems read and labelled", ("systems", "count"), counts, f"{listed}."),
    ]
