"""The results as one page: a file that opens from disk in any browser and asks no server.

The page is HTML that says everything without a program: tables, intervals, drawn figures. Its own
program (webpage_parts/page.js) adds filters, learning curves, comparison and copying. It draws on
SVG by itself, since all it needs are lines, bands and two kinds of axes: some hundred lines that
nobody has to update, where a plotting library for the web would add its own size to every page.

Everything from a record is escaped by the template, whose few `safe` values are made here: the
style, the program, the drawings (which `jaxtrends.inline_svg` checks) and JSON without brackets.

Differences between any two records are computed in the page, by Student's t: with many records
there are far too many pairs to compute them beforehand. A test holds the page's numbers to
`jaxtrends.differences`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxtrends import (
    claims,
    curves,
    differences,
    forest_plot,
    golden,
    inline_svg,
    publish,
    record,
    report,
)

PARTS = Path(__file__).with_name("webpage_parts")

MOST_PARTS = 16  # of a claim, drawn
MOST_ROWS = 16  # of a table
MOST_DRAWN = 260_000  # characters of drawings in one page; figures beyond are only named
FEW = 12  # so many records are all shown whole
WHOLE = 4  # so many of more than that; the others in brief: claims and curves
POINTS, LANES = 20, 10  # of a curve, with few records
MOST_SINGLE = 20_000  # points of single lanes in one page, which would be most of a large one
POINTS_OF_MANY = 16  # with many, or of a record in brief, and no single lanes
STALE = re.compile(r"<!--stale-->.*?<!--/stale-->\n?", re.DOTALL)


@dataclass(frozen=True)
class Source:
    """A record with what lies beside it.

    done:      the record.
    arrays:    its curves, name -> (lanes, points).
    drawings:  its figures as SVG, by name; those that are missing are only named.
    published: whether it is one of the suite's own results; else it is a run of the user's.
    place:     its folder, as a reader may look for it.
    stale:     its studies whose behaviour has changed since.
    """

    done: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    drawings: Mapping[str, str]
    published: bool
    place: str
    stale: Sequence[str]


def load(folder: Path, *, published: bool, place: str = "") -> Source:
    """A record's folder as a source of the page; curves and drawings may be missing.

    Raises:
        Problem: there is no record, or it or its curves cannot be read.
    """
    done = record.read(folder)
    return source(done, folder.parent if folder.is_file() else folder, published, place)


def source(done: Mapping[str, Any], folder: Path, published: bool, place: str = "") -> Source:
    """A record that was read already as a source of the page, with what lies beside it.

    Raises:
        Problem: its curves cannot be read.
    """
    found = {path.stem: path for path in sorted((folder / "figures").glob("*.svg"))}
    return Source(
        done,
        record.read_curves(folder, done),
        {name: _drawing(path) for name, path in found.items()},
        published,
        place or publish.folder(done),
        golden.stale_studies(done),
    )


def _drawing(path: Path) -> str:
    """A drawing as it stands in its file; "" where that is none, or larger than any of ours."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MOST_DRAWN + 1)
    except (OSError, UnicodeDecodeError):
        return ""
    return text if len(text) <= MOST_DRAWN else ""


def papers() -> list[dict[str, Any]]:
    """The papers of the newsletters, in their order: what is claimed, in our words."""
    return json.loads((PARTS / "papers.json").read_text(encoding="utf-8"))


def without_stale_marks(text: str) -> str:
    """A page without its marks of staleness, which depend on today's code and not on a record."""
    return STALE.sub("", text)


# --- a record as the page shows it --------------------------------------------------------------


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")


def _names(sources: Sequence[Source]) -> list[tuple[str, str]]:
    """A name for each source's links, and a label; no two are the same."""
    found: list[tuple[str, str]] = []
    taken: set[str] = set()
    for source in sources:
        label = record.title(source.done).replace(", preset ", ", ")
        slug = _slug(f"{source.done['experiment']}-{record.edition(source.done)}")
        if not source.published:
            name = source.place.rstrip("/").rpartition("/")[2]
            label, slug = f"{label}: {name}", _slug(f"run-{name}")
        number = next(n for n in range(1, len(taken) + 2) if _nth(slug, n) not in taken)
        taken.add(_nth(slug, number))
        found.append((_nth(slug, number), label if number == 1 else f"{label} ({number})"))
    return found


def _nth(text: str, number: int) -> str:
    return text if number == 1 else f"{text}-{number}"


def _interval(found: Mapping[str, Any]) -> str:
    return report.interval_of(found)


def _rows(entry: Mapping[str, Any], axis: forest_plot.Axis) -> list[dict[str, Any]]:
    """The rows of a claim's first plot: its headline, then its controls."""
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
        "key": _slug(verdict),
        "value": _interval(found),
        "mark": axis.mark(found),
        "point": found["low"] == found["high"],
        "p": "",
    }


def _parts(entry: Mapping[str, Any]) -> tuple[forest_plot.Axis, list[dict[str, Any]], int] | None:
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
    parts = {name: part for name, part in found.items() if name in chosen}
    claim = entry["claim"]
    axis = forest_plot.axis(claim["statistic"], claim["region"], list(parts.values()))
    rows = [_row(name, part, axis, "part", part["verdict"]) for name, part in parts.items()]
    for row, part in zip(rows, parts.values(), strict=True):
        p = part["holm_p"]
        row["p"] = "" if p is None else report.p_value_of(p).lstrip("= ")
    return axis, rows, len(found)


def _claim(entry: Mapping[str, Any], slug: str, *, brief: bool) -> dict[str, Any]:
    claim, verdict = entry["claim"], entry["verdict"]
    found = verdict["parts"].get(verdict["headline"])
    row = report.row_of(entry)
    shown: dict[str, Any] = {
        "id": claim["id"],
        "anchor": f"{slug}-{_slug(claim['id'])}",
        "statement": report.sentence(claim["statement"]),
        "verdict": verdict["verdict"],
        "key": _slug(verdict["verdict"]),
        "why": report.doubts_of(entry),
        "source": claim["source"],
        "by": report.CLAIMED[claim["source"]],
        "reported": row.reported,
        "criterion": row.criterion,
        "ours": row.ours,
        "n": row.n,
        "reason": report.sentence(claim["reason"]),
        "statistic": claim["statistic"],
        "about": claim["about"],
        "study": claim["study"],
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
            parts=_parts(entry),
        )
    return shown


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


def _config_rows(done: Mapping[str, Any]) -> list[tuple[str, str]]:
    flat = differences.flatten(done["results"]["config"])
    return [(name, _config_text(value)) for name, value in flat.items()]


def _config_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _table(table: Mapping[str, Any], place: str) -> dict[str, Any]:
    more = len(table["rows"]) - MOST_ROWS
    return {
        "title": report.sentence(table["title"]),
        "columns": table["columns"],
        "rows": [[report.cell_text(cell) for cell in row] for row in table["rows"][:MOST_ROWS]],
        "more": f"{more} more rows stand with the record in {place}." if more > 0 else "",
        "right": report.columns_of_numbers(table) if table["rows"] else set(),
        "note": report.sentence(table["note"]) if table["note"] else "",
    }


def _studies(done: Mapping[str, Any]) -> list[dict[str, Any]]:
    code = done["provenance"]["code"]
    return [
        {
            "name": name,
            "seconds": publish.duration(study["seconds"]),
            "commit": code[name]["commit"][:12] if name in code else "",
            "device": publish.device_text(code[name]["device"]) if name in code else "",
        }
        for name, study in done["measurements"]["studies"].items()
    ]


def _counts(done: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = [entry["verdict"]["verdict"] for entry in record.entries(done)]
    counted = [(verdict, found.count(verdict)) for verdict in claims.VERDICTS]
    return [{"verdict": v, "key": _slug(v), "count": n} for v, n in counted if n]


def _view(source: Source, slug: str, label: str, *, brief: bool) -> dict[str, Any]:
    """All that the template shows of a record, as plain text and numbers."""
    done, made = source.done, source.done["provenance"]
    problem = record.publishable(done)
    return {
        "slug": slug,
        "label": label,
        "published": source.published,
        "place": source.place,
        "problem": problem,
        "stale": list(source.stale),
        "experiment": done["experiment"],
        "preset": done["preset"],
        "paper": done["paper"],
        "about": done["about"],
        "scale": done["scale"],
        "rigging": done["rigging"],
        "departures": done["departures"],
        "claims": [_claim(entry, slug, brief=brief) for entry in report.entries(done)],
        "brief": brief,
        "not_run": done["results"]["not_run"],
        "counts": _counts(done),
        "tables": [] if brief else [_table(t, source.place) for _, t in publish.study_tables(done)],
        "device": publish.device_text(record.device(done)),
        "system": made["system"],
        "made": made["started"][:10],
        "commit": made["commit"],
        "versions": ", ".join(f"{name} {version}" for name, version in made["versions"].items()),
        "seconds": publish.duration(done["measurements"]["seconds"]),
        "memory": f"{done['measurements']['peak_memory_bytes'] / 2**30:.1f} GiB",
        "studies": _studies(done),
        "data": [{"name": name, **data} for name, data in done["results"]["data"].items()],
        "config_digest": done["results"]["config_digest"],
        "config": _config_rows(done),
        "command": made["command"],
        "verify": f"python -m scripts.verify results/{publish.folder(done)}",
        "cite": "" if brief else publish.citation(done),
    }


def _by_turns(done: Mapping[str, Any]) -> list[str]:
    """The names of a record's figures: the first of every study before the second of any."""
    studies = [*done["results"]["studies"].values(), *done["measurements"]["studies"].values()]
    turns = itertools.zip_longest(*(study["figures"] for study in studies))
    return [figure["name"] for turn in turns for figure in turn if figure]


def _drawn(sources: Sequence[Source], views: Sequence[dict[str, Any]]) -> str:
    """Give the views their figures, as many as the page has room for; the sprite of all.

    Records share the room evenly, and what one leaves of its share falls to those after it.
    """
    sprite, room = inline_svg.Sprite(), MOST_DRAWN
    waiting = sum(not view["brief"] for view in views)
    for source, view in zip(sources, views, strict=True):
        view["figures"] = []
        if view["brief"]:
            continue
        least = room - room // waiting
        waiting -= 1
        figures = {figure["name"]: figure for figure in report.figures_of(source.done)}
        drawn = dict.fromkeys(figures, "")
        for name in _by_turns(source.done):
            svg = source.drawings.get(name, "")
            if svg and room > least:
                # One that was not drawn by us stays where it is.
                with contextlib.suppress(ValueError):
                    drawn[name] = sprite.add(svg, html.escape(figures[name]["title"]))
            room -= len(drawn[name])
        for name, figure in figures.items():
            path = f"{source.place}/figures/{name}.svg"
            view["figures"].append({**figure, "svg": drawn[name], "path": path})
    return sprite.svg()


# --- what the page's program reads ---------------------------------------------------------------


def _data(source: Source, view: Mapping[str, Any], points: int, lanes: int) -> dict[str, Any]:
    """A record as the program compares and draws it."""
    side = differences.side_of(source.done, source.arrays, view["label"], {})
    lists: list[list[Any]] = []  # of seeds and of steps, which many share

    def shared(values: Any) -> int:
        values = list(values)
        if values not in lists:
            lists.append(values)
        return lists.index(values)

    outcomes: dict[str, dict[str, Any]] = {}  # by all of their names but the last part
    for name, values in side.outcomes.items():
        group, _, last = name.rpartition("/")
        numbers = [_short(value) for value in values.values()]
        outcomes.setdefault(group, {})[last] = [shared(values), numbers]
    packed = curves.pack(source.done, source.arrays, points, lanes)
    return {
        "slug": view["slug"],
        "label": view["label"],
        "experiment": view["experiment"],
        "config": side.config,
        "data": side.data,
        "outcomes": outcomes,
        "claims": [[c["id"], c["statement"], c["verdict"], c["ours"]] for c in view["claims"]],
        "curves": [
            {**curve, "steps": shared(curve["steps"]), "seeds": shared(curve["seeds"])}
            for curve in packed
        ],
        "lists": lists,
    }


def _short(value: float) -> float | None:
    return float(f"{value:.8g}") if math.isfinite(value) else None


def _embedded(value: Any) -> str:
    """JSON that can stand in a script element: nothing in it can end the element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


# --- the page ------------------------------------------------------------------------------------


def _overview(views: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the first table: the newsletters' papers, then what else there are records of."""
    rows = [{**paper, "views": []} for paper in papers()]
    for view in views:
        mine = [row for row in rows if row["arxiv"] == view["paper"]["arxiv"]]
        mine = mine or [row for row in rows if view["experiment"] in row["experiments"]]
        if not mine:
            mine = [_other(view)]
            rows += mine
        for row in mine:
            row["views"].append(view)
    for row in rows:
        found = [claim["key"] for view in row["views"] for claim in view["claims"]]
        row["verdicts"] = " ".join(dict.fromkeys(found)) or "none"
    return sorted(rows, key=lambda row: not row["views"])  # those with results first


def _other(view: Mapping[str, Any]) -> dict[str, Any]:
    paper = view["paper"]
    named = {key: paper[key] for key in ("title", "authors", "year", "arxiv")}
    edition = {"edition": "", "topic": "Other", "claim": view["about"], "views": []}
    return {**named, **edition, "experiments": [view["experiment"]]}


def _has_fuller(source: Source, before: Sequence[Source]) -> bool:
    """Whether a published record follows one of a fuller preset of the same experiment."""

    def fullness(one: Source) -> int:
        return publish.ORDER.get(one.done["preset"], len(publish.ORDER))

    return source.published and any(
        one.published
        and one.done["experiment"] == source.done["experiment"]
        and fullness(one) < fullness(source)
        for one in before
    )


def page(sources: Sequence[Source]) -> str:
    """The whole page as HTML.

    Args:
        sources: the records in the order in which they are shown.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    many = len(sources) > FEW
    views = [
        _view(
            source,
            slug,
            label,
            brief=(many and number >= WHOLE) or _has_fuller(source, sources[:number]),
        )
        for number, (source, (slug, label)) in enumerate(zip(sources, _names(sources), strict=True))
    ]
    sprite = _drawn(sources, views)
    whole = [source for source, view in zip(sources, views, strict=True) if not view["brief"]]
    drawn = sum(np.ndim(array) == 2 for source in whole for array in source.arrays.values())
    lanes = min(LANES, MOST_SINGLE // (POINTS * max(1, drawn)))
    data = [
        _data(source, view, *((POINTS_OF_MANY, 0) if many or view["brief"] else (POINTS, lanes)))
        for source, view in zip(sources, views, strict=True)
    ]
    for view, own in zip(views, data, strict=True):
        view["curves"] = bool(own["curves"])
        view["data_json"] = _embedded(own)
    program = (PARTS / "page.js").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(PARTS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rows = _overview(views)
    text = environment.get_template("page.html").render(
        views=views,
        papers=rows,
        topics=sorted({row["topic"] for row in rows}),
        verdicts=[{"verdict": verdict, "key": _slug(verdict)} for verdict in claims.VERDICTS],
        totals=_totals(views),
        style=(PARTS / "page.css").read_text(encoding="utf-8"),
        program=program,
        program_hash=base64.b64encode(hashlib.sha256(program.encode()).digest()).decode(),
        sprite=sprite,
    )
    return text.strip() + "\n"


def _totals(views: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How the claims came out: of each experiment's first record among those published.

    On a page of nothing but the user's own runs, of each experiment's first run.
    """
    published = [view for view in views if view["published"]] or views
    first = {view["experiment"]: view for view in reversed(published)}
    found = [claim["verdict"] for view in first.values() for claim in view["claims"]]
    return [
        {"verdict": verdict, "key": _slug(verdict), "count": found.count(verdict)}
        for verdict in claims.VERDICTS
        if verdict in found
    ]
