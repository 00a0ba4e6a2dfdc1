"""How many systems a question would take, if the systems that exist cannot decide it.

A test is tried on simulated data sets in which several systems replace each observed one, on its
date. It can decide with so many systems if it finds what is there in 80% of data sets, and what is
not there in at most 5%.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jaxtrends import charts
from jaxtrends.study import Table

TIMES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # systems for each observed one
LEAST_POWER = 0.8
MOST_FALSE = 0.05

Rates = Callable[[int], tuple[float, float]]
"""Systems for each observed one -> the shares of data sets in which a test finds what is there, and
what is not there."""


def climb(rates: Rates, systems: int) -> dict[str, Any]:
    """More and more systems, until the test finds what is there.

    Returns:
        ``tried``: number of systems -> both shares; ``needed``: the first number with which the
        test can decide, or 0 if none can.
    """
    tried: dict[str, dict[str, float]] = {}
    for times in TIMES:
        power, false = rates(times)
        tried[str(times * systems)] = {"power": power, "false": false}
        if power >= LEAST_POWER:
            break
    decides = power >= LEAST_POWER and false <= MOST_FALSE
    return {"tried": tried, "needed": times * systems if decides else 0}


def undecided(found: Mapping[str, Any], test: str) -> str:
    """Why a test cannot decide with the systems that exist, and with how many it could.

    "" if it can.
    """
    (number, first), *_ = found["tried"].items()
    *_, (most, last) = found["tried"].items()
    if found["needed"] == int(number):
        return ""
    said = (
        f"it cannot be decided with {int(number):,} systems, with which {test} finds what is there "
        f"in {first['power']:.0%} of simulated data sets"
    )
    if first["false"] > MOST_FALSE:
        said += f" and what is not there in {first['false']:.0%}"
    if found["needed"]:
        return f"{said}; it would take about {found['needed']:,}"
    return (
        f"{said}; nor would more systems do: with {int(most):,} it finds what is there in "
        f"{last['power']:.0%} and what is not there in {last['false']:.0%}"
    )


def table(name: str, found: Mapping[str, Mapping[str, Any]]) -> Table:
    """Both shares of every test at every number of systems."""
    rows = [
        {
            "test": test,
            "systems": int(number),
            "finds what is there": rates["power"],
            "finds what is not there": rates["false"],
        }
        for test, one in found.items()
        for number, rates in one["tried"].items()
    ]
    return charts.table(
        name,
        "How many systems each question would take",
        rows,
        "Shares of simulated data sets with several systems for each observed one, on its date. A "
        f"test can decide if it finds what is there in {LEAST_POWER:.0%}, and what is not there in "
        f"at most {MOST_FALSE:.0%}.",
    )
