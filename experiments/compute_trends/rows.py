"""The rows of the paper's tables: what is printed, and which systems make each of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from experiments.compute_trends.rules import Rules, labels_of
from experiments.compute_trends.systems import Systems, day

LATE_START = "2012-09-30"  # the paper's other start of the deep-learning era, AlexNet's date
WINDOWS = (  # of Table 8
    ("09-2012 to 12-2017", "2012-09-01", "2017-12-01"),
    ("12-2017 to 02-2022", "2017-12-01", "2022-02-01"),
    ("09-2012 to 02-2022", "2012-09-01", "2022-02-01"),
)


@dataclass(frozen=True)
class Printed:
    """A row as the paper prints it: doubling times in months, with their bootstrap interval."""

    n: int
    doubling: float
    r_squared: float
    low: float | None = None
    middle: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Row:
    """A row of a table: the systems that make it, (n,) truth values, and what is printed.

    ``misprint`` says why the printed interval is not compared, where it is not.
    """

    table: int
    name: str
    systems: np.ndarray
    printed: Printed
    misprint: str = ""

    @property
    def key(self) -> str:
        return f"Table {self.table}, {self.name}"


FIRST = "Table 3, 1952-2009"  # the row that Table 2 prints too, with another interval
TABLE_2 = (  # as printed; its first interval is the control of the others
    Printed(19, 21.3, math.nan, 17.0, 21.2, 29.3),
    Printed(72, 5.7, math.nan, 4.3, 5.6, 9.0),
    Printed(16, 9.9, math.nan, 7.7, 10.1, 17.1),
)


def records(log_compute: np.ndarray, among: np.ndarray, strict: bool = False) -> np.ndarray:
    """Which of some systems used at least as much compute as every earlier one of them.

    "At least", not "more" (``strict``): ALVINN ties NetTalk, and both are among the paper's ten
    records before 2010. Both arrays (n,), in order of dates; ``among`` are truth values.
    """
    candidates = np.where(among, log_compute, -np.inf)
    before = np.concatenate([[-np.inf], np.maximum.accumulate(candidates)[:-1]])
    return among & (candidates > before if strict else candidates >= before)


def rows(systems: Systems, rules: Rules) -> list[Row]:
    """Every row of Tables 3, 4, 6 and 8."""
    every = (table_3, table_4, table_6, table_8)
    return [row for table in every for row in table(systems, rules)]


def table_3(systems: Systems, rules: Rules) -> list[Row]:
    """Trends before and in the deep-learning era, for two dates of its start."""
    found = labels_of(systems, rules)
    late = labels_of(systems, rules, dl_from=day(LATE_START))
    stay = ~np.isin(systems.names, rules.without)
    return [
        Row(3, "1952-2009", found.pre, Printed(19, 21.3, 0.77, 16.2, 21.3, 31.3)),
        Row(3, "1952-2011", late.pre, Printed(26, 19.6, 0.83, 15.6, 19.4, 25.0)),
        Row(3, "2010-2022 all", found.deep & stay, Printed(98, 5.6, 0.70, 5.0, 5.6, 6.2)),
        Row(3, "2010-2022 regular", found.regular_any, Printed(77, 5.6, 0.78, 5.1, 5.6, 6.2)),
        Row(3, "2012-2022 all", late.deep & stay, Printed(91, 5.7, 0.58, 4.9, 5.7, 6.7)),
        Row(3, "2012-2022 regular", late.regular_any, Printed(72, 5.7, 0.69, 4.9, 5.7, 6.7)),
    ]


def table_4(systems: Systems, rules: Rules) -> list[Row]:
    """Trends before and after the first large-scale systems."""
    found = labels_of(systems, rules)
    late = systems.dates > day(rules.large_from)
    return [
        Row(4, "2010-2016 all", found.deep & ~late, Printed(20, 5.3, 0.55, 3.9, 5.2, 8.5)),
        Row(4, "2016-2022 all", found.deep & late, Printed(79, 6.7, 0.33, 4.9, 6.6, 10.0)),
        Row(4, "2016-2022 regular", found.regular & late, Printed(60, 5.9, 0.48, 4.4, 5.8, 7.9)),
        Row(4, "2016-2022 large", found.large, Printed(19, 10.7, 0.66, 7.9, 10.6, 25.6)),
    ]


def table_6(systems: Systems, rules: Rules) -> list[Row]:
    """Trends of the systems that set a record; low outliers are not left out here."""
    inside = labels_of(systems, rules).inside
    pre = systems.dates <= day(rules.dl_from)
    late = systems.dates > day(rules.large_from)
    every = records(systems.log_compute, inside)
    others = ~np.isin(systems.names, ("AlphaGo Master", "AlphaGo Zero"))
    without = records(systems.log_compute, inside & others)
    return [
        Row(6, "pre-DL", every & pre, Printed(10, 19.9, 0.83, 14.4, 19.7, 30.4)),
        Row(6, "DL", every & ~pre & ~late, Printed(7, 7.2, 0.81, 3.1, 7.0, 11.9)),
        Row(6, "large", every & late, Printed(7, 8.5, 0.66, 2.3, 8.3, 19.3)),
        Row(
            6,
            "large, no AlphaGo",
            without & late,
            Printed(9, 7.5, 0.93, 6.1, 7.6, 7.1),
            misprint="the printed upper end, 7.1, lies below the printed median, 7.6",
        ),
    ]


def table_8(systems: Systems, rules: Rules) -> list[Row]:
    """Trends in three windows: dates are filtered to the window before z-scores are taken.

    Large-scale systems are those since the window's start, but in the third window since
    ``rules.large_from``: AlexNet and VGG16 are neither regular nor large there.
    """
    printed = (
        Printed(31, 3.7, 0.48, 2.8, 3.7, 6.2),
        Printed(24, 4.5, 0.48, 3.2, 4.3, 7.8),
        Printed(7, 3.0, 0.95, 2.1, 2.9, 3.5),
        Printed(62, 4.5, 0.36, 3.3, 4.4, 7.1),
        Printed(47, 4.2, 0.46, 3.1, 4.2, 6.0),
        Printed(15, 8.7, 0.68, 5.4, 8.7, 14.6),
        Printed(93, 5.7, 0.60, 4.9, 5.7, 6.8),
        Printed(72, 5.7, 0.69),
        Printed(19, 10.7, 0.66, 7.8, 10.7, 27.2),
    )
    made: list[Row] = []
    for window, start, end in WINDOWS:
        days = {"start": day(start), "end": day(end), "dl_from": day(start)}
        found = large = labels_of(systems, rules, **days, large_from=day(start))
        if window == WINDOWS[2][0]:  # the whole span
            large = labels_of(systems, rules, **days)
        cells = {"all": found.kept, "regular": found.regular, "large": large.large}
        for name, chosen in cells.items():
            made.append(Row(8, f"{window} {name}", chosen, printed[len(made)]))
    return made
