"""A claim as a page shows it: its sentence, its controls, its interval on the accepted region.

Everything here is plain text and numbers, which the page's template escapes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtrends import claims, forest_plot, report
from jaxtrends.formats import raised

MOST_PARTS = 16  # of a claim, drawn


def slug(text: str) -> str:
    """A text as part of an id or a path: letters, digits, ``_`` and ``-``."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")


def view(entry: Mapping[str, Any], record_slug: str, *, brief: bool) -> dict[str, Any]:
    """All that a page says of a claim of a record; in brief without what is drawn or folded."""
    claim, verdict = entry["claim"], entry["verdict"]
    found = verdict["parts"].get(verdict["headline"])
    row = report.row_of(entry)
    shown: dict[str, Any] = {
        "id": claim["id"],
        "anchor": f"{record_slug}-{slug(claim['id'])}",
        "statement": raised(report.sentence(claim["statement"])),
        "headline": claim.get("headline", False),
        "verdict": verdict["verdict"],
        "key": slug(verdict["verdict"]),
        "why": report.doubts_of(entry),
        "source": claim["source"],
        "by": report.CLAIMED[claim["source"]],
        "reported": raised(row.reported),
        "criterion": raised(row.criterion),
        "ours": row.ours,
        "n": row.n,
        "reason": raised(report.sentence(claim["reason"])),
        "about": claim["about"],
        "note": verdict["note"],
        "not_testable": claim["not_testable"],
        "detectable": "",
        "axis": None,
        "parts": None,
    }
    if found is not None and verdict["verdict"] == claims.INCONCLUSIVE:
        shown["detectable"] = report.detectable_effect(found).strip(" ()")
    if found is not None and not brief:
        controls = [report.control_found(verdict, one["name"]) for one in claim["controls"]]
        axis = forest_plot.axis(
            claim["statistic"], claim["region"], [found, *_near(claim, found, controls)]
        )
        shown.update(
            axis=axis,
            rows=_rows(entry, axis),
            method=found["method"],
            exact=claim["kind"] == "exact",
            p="" if found["holm_p"] is None else report.p_value_of(found["holm_p"]),
            controls=[
                {"name": control["name"], "why": report.sentence(control["why"])}
                for control in claim["controls"]
            ],
            parts=parts(entry),
        )
    return shown


def parts(
    entry: Mapping[str, Any],
) -> tuple[forest_plot.Axis, list[dict[str, Any]], int] | None:
    """The plot of the parts of a claim that has several, and how many there are.

    Of very many those that speak most against the claim are drawn, in their own order.
    """
    found = entry["verdict"]["parts"]
    if len(found) < 2:
        return None

    def favourable(name: str) -> tuple[bool, float]:
        part = found[name]
        return part["verdict"] == claims.REPRODUCED, -float(part["holm_p"] or 0)

    chosen = set(sorted(found, key=favourable)[:MOST_PARTS])
    drawn = {name: part for name, part in found.items() if name in chosen}
    claim = entry["claim"]
    axis = forest_plot.axis(claim["statistic"], claim["region"], list(drawn.values()))
    rows = [_row(name, part, axis, "part", part["verdict"]) for name, part in drawn.items()]
    for row, part in zip(rows, drawn.values(), strict=True):
        p = part["holm_p"]
        row["p"] = "" if p is None else report.p_value_of(p).lstrip("= ")
    return axis, rows, len(found)


def _rows(entry: Mapping[str, Any], axis: forest_plot.Axis) -> list[dict[str, Any]]:
    """The rows of a claim's first plot: its headline part, then its controls."""
    claim, verdict = entry["claim"], entry["verdict"]
    shown = verdict["parts"][verdict["headline"]]
    label, several = "Ours", len(verdict["parts"])
    if several > 1:
        label += f", at {verdict['headline']}, least favourable of {several}"
    rows = [_row(label, shown, axis, "ours", shown["verdict"])]
    for control in claim["controls"]:
        found = report.control_found(verdict, control["name"])
        right = (found["verdict"] == claims.REPRODUCED) == (control["must"] == "pass")
        said = f"must {control['must']}{', and does' if right else ', but does NOT'}"
        rows.append(_row(f"Control: {control['name']} ({said})", found, axis, "control", ""))
    return rows


def _row(
    label: str, found: Mapping[str, Any], axis: forest_plot.Axis, kind: str, verdict: str
) -> dict[str, Any]:
    return {
        "label": label,
        "kind": kind,
        "verdict": verdict,
        "key": slug(verdict),
        "value": report.interval_of(found),
        "mark": axis.mark(found),
        "point": found["low"] == found["high"],
        "p": "",
    }


def _near(claim: Mapping[str, Any], found: Mapping[str, Any], controls: Sequence[Any]) -> list[Any]:
    """The controls that an axis can show without making the claim's own interval too small."""
    edges = forest_plot.bounds(claim["statistic"], claim["region"])
    ends = [float(found[end]) for end in ("low", "high")]
    seen = [value for value in (*edges, *ends) if math.isfinite(value)]
    low, high = min(seen), max(seen)
    room = 1.5 * (high - low)
    return [
        control
        for control in controls
        if low - room <= float(control["low"]) and float(control["high"]) <= high + room
    ]
