"""The rows of the paper's tables: the printed figures, and the systems in each row."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from experiments.compute_trends.rules import Rules, labels_of
from experiments.compute_trends.systems import Systems, day

ALEXNET = "2012-09-30"  # the paper's other start of the deep-learning era


class Printed(NamedTuple):
    """A row as the paper prints it: doubling times in months, with their bootstrap interval."""

    n: int
    doubling: float
    r_squared: float
    low: float | None = None
    middle: float | None = None
    high: float | None = None


class Row(NamedTuple):
    """A row of a table: its systems, (n,) bool, and the printed figures.

    ``misprint`` says why the printed interval is not compared, if it is not.
    """

    table: int
    name: str
    systems: np.ndarray
    printed: Printed
    misprint: str = ""

    @property
    def key(self) -> str:
        return f"Table {self.table}, {self.name}"


FIRST = "Table 3, 1952-2009"  # also in Table 2, with another interval
ALL = "Table 3, 2010-2022 all"
REGULAR = "Table 3, 2010-2022 regular"
LARGE = "Table 4, 2016-2022 large"
TABLE_2 = (  # as printed; its first interval is a control
    Printed(19, 21.3, math.nan, 17.0, 21.2, 29.3),
    Printed(72, 5.7, math.nan, 4.3, 5.6, 9.0),
    Printed(16, 9.9, math.nan, 7.7, 10.1, 17.1),
)
WINDOWS = {  # of Table 8: start, end, and the figures for all, regular and large-scale systems
    "09-2012 to 12-2017": (
        *("2012-09-01", "2017-12-01"),
        Printed(31, 3.7, 0.48, 2.8, 3.7, 6.2),
        Printed(24, 4.5, 0.48, 3.2, 4.3, 7.8),
        Printed(7, 3.0, 0.95, 2.1, 2.9, 3.5),
    ),
    "12-2017 to 02-2022": (
        *("2017-12-01", "2022-02-01"),
        Printed(62, 4.5, 0.36, 3.3, 4.4, 7.1),
        Printed(47, 4.2, 0.46, 3.1, 4.2, 6.0),
        Printed(15, 8.7, 0.68, 5.4, 8.7, 14.6),
    ),
    "09-2012 to 02-2022": (
        *("2012-09-01", "2022-02-01"),
        Printed(93, 5.7, 0.60, 4.9, 5.7, 6.8),
        Printed(72, 5.7, 0.69),
        Printed(19, 10.7, 0.66, 7.8, 10.7, 27.2),
    ),
}
WHOLE = "09-2012 to 02-2022"


def records(log_compute: np.ndarray, among: np.ndarray, strict: bool = False) -> np.ndarray:
    """Which of some systems used at least as much compute as every earlier one.

    "At least", not "more" (``strict``): ALVINN ties NetTalk, and both are among the paper's ten
    records before 2010. Both arrays are (n,), in order of dates; ``among`` is bool.
    """
    candidates = np.where(among, log_compute, -np.inf)
    before = np.concatenate([[-np.inf], np.maximum.accumulate(candidates)[:-1]])
    return among & (candidates > before if strict else candidates >= before)


def rows(systems: Systems, rules: Rules) -> list[Row]:
    """Every row of Tables 3, 4, 6 and 8.

    Table 6 has the systems that set a record, including low outliers. For Table 8, dates are
    filtered to the window before z-scores are taken, and large-scale systems count from the
    window's start. In its full span they count from ``rules.large_from``, so AlexNet and VGG16 are
    neither regular nor large-scale.
    """
    of = labels_of(systems, rules)
    alexnet = labels_of(systems, rules, dl_from=day(ALEXNET))
    stay = ~np.isin(systems.names, rules.without)
    pre, late = systems.dates <= day(rules.dl_from), systems.dates > day(rules.large_from)
    record = records(systems.log_compute, of.inside)
    alphago = np.isin(systems.names, ("AlphaGo Master", "AlphaGo Zero"))
    others = records(systems.log_compute, of.inside & ~alphago)
    odd = "the printed upper end, 7.1, is below the printed median, 7.6"
    made = [
        Row(3, "1952-2009", of.pre, Printed(19, 21.3, 0.77, 16.2, 21.3, 31.3)),
        Row(3, "1952-2011", alexnet.pre, Printed(26, 19.6, 0.83, 15.6, 19.4, 25.0)),
        Row(3, "2010-2022 all", of.deep & stay, Printed(98, 5.6, 0.70, 5.0, 5.6, 6.2)),
        Row(3, "2010-2022 regular", of.regular_any, Printed(77, 5.6, 0.78, 5.1, 5.6, 6.2)),
        Row(3, "2012-2022 all", alexnet.deep & stay, Printed(91, 5.7, 0.58, 4.9, 5.7, 6.7)),
        Row(3, "2012-2022 regular", alexnet.regular_any, Printed(72, 5.7, 0.69, 4.9, 5.7, 6.7)),
        Row(4, "2010-2016 all", of.deep & ~late, Printed(20, 5.3, 0.55, 3.9, 5.2, 8.5)),
        Row(4, "2016-2022 all", of.deep & late, Printed(79, 6.7, 0.33, 4.9, 6.6, 10.0)),
        Row(4, "2016-2022 regular", of.regular & late, Printed(60, 5.9, 0.48, 4.4, 5.8, 7.9)),
        Row(4, "2016-2022 large", of.large, Printed(19, 10.7, 0.66, 7.9, 10.6, 25.6)),
        Row(6, "pre-DL", record & pre, Printed(10, 19.9, 0.83, 14.4, 19.7, 30.4)),
        Row(6, "DL", record & ~pre & ~late, Printed(7, 7.2, 0.81, 3.1, 7.0, 11.9)),
        Row(6, "large", record & late, Printed(7, 8.5, 0.66, 2.3, 8.3, 19.3)),
        Row(6, "large, no AlphaGo", others & late, Printed(9, 7.5, 0.93, 6.1, 7.6, 7.1), odd),
    ]
    for window, (start, end, *printed) in WINDOWS.items():
        span = {"start": day(start), "end": day(end), "dl_from": day(start)}
        here = labels_of(systems, rules, **span, large_from=day(start))
        large = labels_of(systems, rules, **span).large if window == WHOLE else here.large
        for name, chosen, row in zip(
            ("all", "regular", "large"), (here.kept, here.regular, large), printed, strict=True
        ):
            made.append(Row(8, f"{window} {name}", chosen, row))
    return made
