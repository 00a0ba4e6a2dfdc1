"""The claims about the paper's tables: refits that round to the printed digits, or do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from experiments.compute_trends.tables import PAPER
from experiments.compute_trends.tables_figures import ALLOWED
from jaxtrends.claims import Claim, Control, Evidence


def _sample(value: float) -> dict[str, list[float]]:
    return {"values": [float(value)]}


def _furthest(off: Mapping[str, float]) -> dict[str, list[float]]:
    """The figure of a row that is off by most; a control is one row that must be off somewhere."""
    return _sample(max(off.values(), key=lambda units: abs(float(units))))


def outliers(values: Mapping[str, Any]) -> Evidence:
    """C1: low outliers, ours less the paper's five; names that are not those expected."""
    paper, counts = values[PAPER], values["systems"]
    return Evidence(
        {
            "number": _sample(counts["low outliers"] - 5),
            "names": _sample(paper["misnamed outliers"]),
        },
        {"window of 1.5 years": _sample(counts["low outliers, window of 1.5 years"] - 5)},
    )


def doubling(key: str, trap: str) -> Callable[[Mapping[str, Any]], Evidence]:
    """Evidence of one row's doubling time, in months; the control is another reading's."""

    def evidence(values: Mapping[str, Any]) -> Evidence:
        values[PAPER]  # a claim about the paper's systems, not about others
        return Evidence(
            {"doubling time": _sample(values["rows"][key]["doubling"])},
            {trap: _sample(values["traps"][trap]["doubling"])},
        )

    return evidence


def refitted(table: int, trap: str) -> Callable[[Mapping[str, Any]], Evidence]:
    """Evidence of a table: n, doubling time and R squared of each row, off by so many units."""

    def evidence(values: Mapping[str, Any]) -> Evidence:
        parts = {
            f"{key}, {name}": _sample(units)
            for key, off in values[PAPER]["off"].items()
            for name, units in off.items()
            if key.startswith(f"Table {table},")
        }
        return Evidence(parts, {trap: _furthest(values["traps"][trap]["off"])})

    return evidence


def ends(values: Mapping[str, Any]) -> Evidence:
    """I1: printed ends of intervals, in standard errors from where 1,000 resamples put them."""
    paper = values[PAPER]
    parts = {name: _sample(misfit) for name, misfit in paper["ends"].items()}
    return Evidence(parts, {"Table 2's interval": _furthest(paper["Table 2's ends"])})


def _doubling(
    id: str, statement: str, printed: float, key: str, trap: str, why: str, where: str
) -> Claim:
    return Claim(
        id=id,
        study="tables",
        statement=statement,
        source="paper",
        reported=f"{printed} months",
        where=where,
        known="text",
        quantity="doubling time [months]",
        statistic="exact",
        kind="exact",
        region=(printed - 0.05, printed + 0.05),
        reason="what rounds to the printed digits",
        controls=(Control(trap, "fail", why),),
        evidence=doubling(key, trap),
    )


def _table(number: int, statement: str, reported: str, trap: str, why: str) -> Claim:
    return Claim(
        id=f"T{number}",
        study="tables",
        statement=statement,
        source="paper",
        reported=reported,
        where=f"Table {number}",
        known="text",
        quantity="n, doubling time and R² of each row: ours, rounded, less the printed figure "
        "[units of its last digit]",
        statistic="exact",
        kind="exact",
        region=(-0.5, 0.5),
        reason="the same systems and the same least squares give the printed digits, or do not",
        controls=(Control(trap, "fail", why),),
        evidence=refitted(number, trap),
    )


CLAIMS = (
    Claim(
        id="C1",
        study="tables",
        statement="The rule for low outliers leaves out five of the 123 systems.",
        source="paper",
        reported="5",
        where="Appendix A",
        known="text",
        quantity="low outliers: ours less the paper's five; names other than the five expected",
        statistic="exact",
        kind="exact",
        region=(-0.5, 0.5),
        reason="a count is right or wrong",
        controls=(
            Control(
                "window of 1.5 years", "fail", "the window that Appendix A states leaves out six"
            ),
        ),
        evidence=outliers,
    ),
    _doubling(
        "C2",
        "Before 2010 training compute doubled every 21.3 months.",
        21.3,
        "Table 3, 1952-2009",
        "months of 30.44 days",
        "calendar months give 21.0",
        "Tables 2 and 3",
    ),
    _doubling(
        "C3",
        "From 2010 to 2022 the compute of all systems doubled every 5.6 months.",
        5.6,
        "Table 3, 2010-2022 all",
        "low outliers kept",
        "the five low outliers flatten the trend",
        "Table 3",
    ),
    _doubling(
        "C4",
        "From 2010 to 2022 the compute of regular systems doubled every 5.6 months.",
        5.6,
        "Table 3, 2010-2022 regular",
        "large-scale from September 2015 only",
        "the rule as it is stated gives 80 systems and 5.8 months",
        "Table 3",
    ),
    _doubling(
        "C5",
        "From September 2015 the compute of large-scale systems doubled every 10.7 months.",
        10.7,
        "Table 4, 2016-2022 large",
        "window of 1.5 years",
        "the window that Appendix A states gives 18 systems and 13.2 months",
        "Table 4",
    ),
    Claim(
        id="C8",
        study="tables",
        statement="The deep-learning and large-scale rows of the headline table: doubling times of "
        "5.7 and 9.9 months.",
        source="paper",
        reported="5.7 months, n = 72; 9.9 months, n = 16",
        where="Table 2, rows 2 and 3",
        known="text",
        quantity="doubling time [months]",
        statistic="exact",
        kind="exact",
        region=(5.65, 5.75),
        reason="what rounds to the printed digits of row 2",
        evidence=None,
        not_testable="The rules of the paper's code do not make these rows from the 123 systems, "
        "which are a later version of the data than theirs seems to be; and row 2 contradicts "
        "itself: 0.6 orders of magnitude a year for 12 years, beside a range of 3.4 orders.",
    ),
    _table(
        3,
        "Table 3: trends before and in the deep-learning era, from two dates of its start.",
        "21.3, 19.6, 5.6, 5.6, 5.7 and 5.7 months, n = 19, 26, 98, 77, 91 and 72",
        "with LaMDA",
        "all systems since 2010 are 99",
    ),
    _table(
        4,
        "Table 4: trends before and after September 2015.",
        "5.3, 6.7, 5.9 and 10.7 months, n = 20, 79, 60 and 19",
        "months of 30.44 days (large)",
        "calendar months give 10.5 for the large-scale systems",
    ),
    _table(
        6,
        "Table 6: trends of the systems that set a record.",
        "19.9, 7.2, 8.5 and 7.5 months, n = 10, 7, 7 and 9",
        "records must be above all before",
        "without ALVINN, which ties NetTalk, there are nine before 2010",
    ),
    _table(
        8,
        "Table 8: trends in three windows.",
        "nine doubling times, from 3.0 to 10.7 months",
        "large-scale from the window's start",
        "the rule of the table's other cells gives 21 systems and 6.8 months in the last",
    ),
    Claim(
        id="I1",
        study="tables",
        statement="The bootstrap intervals of Tables 3, 4, 6 and 8 come from the method that the "
        "paper's code has.",
        source="paper",
        reported="an interval a row, [16.2; 21.3; 31.3] months before 2010 for one",
        where="Tables 3, 4, 6 and 8",
        known="text",
        quantity="share of our resamples below a printed end, less 2.5% or 97.5% [standard errors "
        "of that share for the paper's 1,000 resamples]",
        statistic="exact",
        kind="exact",
        region=(-ALLOWED, ALLOWED),
        reason="1,000 resamples without a seed vary by so much: 3.3 standard errors are "
        "Bonferroni's bound for all 42 ends at 5%",
        controls=(
            Control(
                "Table 2's interval",
                "fail",
                "the headline's [17.0; 21.2; 29.3] for the same row is of earlier data",
            ),
        ),
        evidence=ends,
    ),
)
