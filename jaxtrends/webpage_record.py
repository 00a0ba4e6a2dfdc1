"""A record with what lies beside it, as the pages of the site show it.

Everything here is plain text and numbers, which the pages' templates escape, but for the drawings,
which `jaxtrends.inline_svg` checks.
"""

from __future__ import annotations

import contextlib
import html
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from jaxtrends import (
    claims,
    differences,
    golden,
    headlines,
    inline_svg,
    publish,
    record,
    report,
    webpage_claim,
    webpage_data,
)
from jaxtrends.formats import raised
from jaxtrends.webpage_claim import slug

MOST_ROWS = 16  # of a table
MOST_SVG = 400_000  # characters of a drawing's file that is read at all
SENTENCE_END = re.compile(r"(?<=[.!?]) (?=[A-Z])")
SOURCES = {
    "paper": "What the paper claims",
    "critic": "What its critics claim",
    "derived": "What we derived",
}


@dataclass(frozen=True)
class Source:
    """A record with what lies beside it.

    done:      the record.
    arrays:    its curves, name -> (lanes, points).
    drawings:  its figures as SVG, by name; those that are missing are only named.
    published: whether it is one of the suite's own results; else it is a run of the user's.
    place:     its folder, as seen from the site's.
    stale:     its studies whose behaviour has changed since.
    """

    done: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    drawings: Mapping[str, str]
    published: bool
    place: str
    stale: Sequence[str]


def load(folder: Path, *, published: bool, place: str = "") -> Source:
    """A record's folder, or its file, as a source; curves and drawings may be missing.

    Raises:
        Problem: there is no record, or it or its curves cannot be read.
    """
    done = record.read(folder)
    return source(done, folder.parent if folder.is_file() else folder, published, place)


def source(done: Mapping[str, Any], folder: Path, published: bool, place: str = "") -> Source:
    """A record that was read already as a source, with what lies beside it.

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
            text = file.read(MOST_SVG + 1)
    except (OSError, UnicodeDecodeError):
        return ""
    return text if len(text) <= MOST_SVG else ""


class Name(NamedTuple):
    """What a record is called in links, and what a reader calls it."""

    slug: str
    label: str


def names(sources: Sequence[Source]) -> list[Name]:
    """A name for each source; no two are the same."""
    found: list[Name] = []
    taken: set[str] = set()
    for one in sources:
        label = record.title(one.done).replace(", preset ", ", ")
        wanted = slug(f"{one.done['experiment']}-{record.edition(one.done)}")
        if not one.published:
            folder = one.place.rstrip("/").rpartition("/")[2]
            label, wanted = f"{label}: {folder}", slug(f"run-{folder}")
        number = next(n for n in itertools.count(1) if _nth(wanted, n) not in taken)
        taken.add(_nth(wanted, number))
        found.append(Name(_nth(wanted, number), label + f" ({number})" * (number > 1)))
    return found


def _nth(text: str, number: int) -> str:
    return text if number == 1 else f"{text}-{number}"


# --- what a page shows ---------------------------------------------------------------------------


def page(done: Mapping[str, Any]) -> str:
    """The page that a record is on, as a path within the site."""
    return f"{slug(done['experiment'])}/index.html"


def summary(source: Source, name: Name) -> dict[str, Any]:
    """What the index and the head of a paper's page say of a record: the answer and its lead."""
    done = source.done
    lead, found = headlines.lead(done), headlines.of(done)
    of_the_paper, derived = report.counts(done)
    return {
        "slug": name.slug,
        "label": name.label,
        "published": source.published,
        "place": source.place,
        "problem": record.publishable(done),
        "stale": list(source.stale),
        "experiment": done["experiment"],
        "page": page(done),
        "paper": done["paper"],
        "about": raised(done["about"]),
        "answer": raised(done.get("answer", "")),
        "gist": raised(SENTENCE_END.split(done.get("answer", ""), maxsplit=1)[0]),
        "caveat": raised(done.get("caveat", "")),
        "lead": _lead(lead, found[0], name) if lead else None,
        "verdicts": [slug(e["verdict"]["verdict"]) for e in found or record.entries(done)],
        "counts": {"paper": tally(of_the_paper), "derived": tally(derived)},
        "device": publish.device_text(record.device(done)),
        "seconds": publish.duration(done["measurements"]["seconds"]),
    }


def _lead(row: report.Row, entry: Mapping[str, Any], name: Name) -> dict[str, str]:
    verdict, number = entry["verdict"]["verdict"], report.number_of(entry)
    return {
        "id": row.id,
        "claim": raised(report.sentence(row.claim)),
        "reported": raised(row.reported),
        "ours": number,
        "at": row.ours.removeprefix(number).strip(),
        "quantity": raised(report.quantity_of(entry["claim"])),
        "verdict": verdict,
        "key": slug(verdict),
        "anchor": f"{name.slug}-{slug(row.id)}",
    }


def tally(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Verdict -> how many, as a page shows them."""
    return [{"verdict": v, "key": slug(v), "count": n} for v, n in counts.items() if n]


def view(source: Source, name: Name, *, brief: bool) -> dict[str, Any]:
    """All that a paper's page shows of a record: its `summary`, and the rest, maybe in brief."""
    done, made = source.done, source.done["provenance"]
    views = [webpage_claim.view(entry, name.slug, brief=brief) for entry in report.entries(done)]
    return {
        **summary(source, name),
        "preset": done["preset"],
        "scale": raised(done["scale"]),
        "rigging": raised(done["rigging"]),
        "departures": [raised(departure) for departure in done["departures"]],
        "groups": _groups(views),
        "brief": brief,
        "not_run": done["results"]["not_run"],
        "tables": [] if brief else [_table(t, source.place) for _, t in publish.study_tables(done)],
        "figures": [],
        "curves": webpage_data.has_curves(source.arrays),
        "system": made["system"],
        "made": made["started"][:10] + publish.resumed(made),
        "commit": made["commit"],
        "versions": ", ".join(f"{name} {version}" for name, version in made["versions"].items()),
        "memory": f"{done['measurements']['peak_memory_bytes'] / 2**30:.1f} GiB",
        "studies": _studies(done),
        "data": [{"name": name, **data} for name, data in done["results"]["data"].items()],
        "config_digest": done["results"]["config_digest"],
        "config": _config_rows(done),
        "command": made["command"],
        "verify": f"python -m scripts.verify results/{publish.folder(done)}",
        "cite": publish.citation(done),
    }


def _groups(views: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Claims by who makes them, each group with its totals."""
    groups = []
    for who, title in SOURCES.items():
        mine = [claim for claim in views if claim["source"] == who]
        found = [claim["verdict"] for claim in mine]
        counts = {verdict: found.count(verdict) for verdict in claims.VERDICTS}
        groups.append({"key": who, "title": title, "claims": mine, "counts": tally(counts)})
    return [group for group in groups if group["claims"]]


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


# --- figures -------------------------------------------------------------------------------------


def headline_figure(source: Source, sprite: inline_svg.Sprite, room: int) -> dict[str, str] | None:
    """The headline figure as it stands in a page; None where there is none, or no room for it."""
    figure = source.done.get("figure")
    svg = source.drawings.get(figure["name"], "") if figure else ""
    if not svg or _drawn(svg, "", inline_svg.Sprite())[1] > room:
        return None
    drawn, _ = _drawn(svg, figure["title"], sprite)
    return {"svg": drawn, "title": figure["title"], "caption": figure["caption"]}


def figures(source: Source, sprite: inline_svg.Sprite, room: int) -> list[dict[str, Any]]:
    """A record's figures with their drawings, as many as there is room for; the others are links.

    Every study has one drawn before any has two.
    """
    found = {figure["name"]: figure for figure in report.figures_of(source.done)}
    drawn = dict.fromkeys(found, "")
    for name in by_turns(source.done):
        if room > 0:
            title = found[name]["title"]
            drawn[name], size = _drawn(source.drawings.get(name, ""), title, sprite)
            room -= size
    return [
        {
            "title": figure["title"],
            "caption": figure["caption"],
            "svg": drawn[name],
            "path": f"{source.place}/figures/{name}.svg",
            "link": quote(f"../{source.place}/figures/{name}.svg"),
        }
        for name, figure in found.items()
    ]


def _drawn(svg: str, title: str, sprite: inline_svg.Sprite) -> tuple[str, int]:
    """A drawing as it may stand in a page, "" of one that is not ours, and how many characters.

    What the sprite did not have yet counts too.
    """
    before, drawn = len(sprite.svg()), ""
    with contextlib.suppress(ValueError):
        drawn = sprite.add(svg, html.escape(title)) if svg else ""
    return drawn, len(drawn) + len(sprite.svg()) - before


def by_turns(done: Mapping[str, Any]) -> list[str]:
    """The names of a record's figures: the first of every study before the second of any."""
    studies = [*done["results"]["studies"].values(), *done["measurements"]["studies"].values()]
    turns = itertools.zip_longest(*(study["figures"] for study in studies))
    return [figure["name"] for turn in turns for figure in turn if figure]
