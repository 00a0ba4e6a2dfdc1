"""What a record says of its paper's headlines, and which record answers for a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtrends import report


def of(done: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The headline claims of a record, the one that leads first; none in records without any."""
    found = [entry for entry in report.entries(done) if entry["claim"].get("headline")]
    return sorted(found, key=lambda entry: entry["claim"]["id"] != done.get("lead"))


def lead(done: Mapping[str, Any]) -> report.Row | None:
    """The headline claim for which people cite the paper, as a row; None where there is none."""
    return next(map(report.row_of, of(done)), None)


def chosen(records: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The record that answers for each experiment: the first of it, by `publish.in_order`."""
    found: dict[str, Mapping[str, Any]] = {}
    for done in records:
        found.setdefault(done["experiment"], done)
    return found
