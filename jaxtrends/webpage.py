"""The results as a site of static pages: they open from disk in any browser and ask no server.

The site is an index of all papers, a page a paper and a page that compares records; beside them lie
one style, one program (webpage_parts/site.js) and a script of data a record, in ``assets/``. The
pages say everything without a program: answers, tables, intervals, drawn figures. The program adds
filters, learning curves, comparison and copying. It draws on SVG by itself, since all it needs are
lines, bands and two kinds of axes: some hundred lines that nobody has to update, where a plotting
library for the web would add its own size to every page.

Everything from a record is escaped by the templates, whose one `safe` value, the drawings,
`jaxtrends.inline_svg` checks. No page has a script of its own: what its policy lets run are the
files in ``assets/``, of which those with data hold one text of JSON (`jaxtrends.webpage_data`).

Differences between any two records are computed in the page, by Student's t: with many records
there are far too many pairs to compute them beforehand. A test holds the page's numbers to
`jaxtrends.differences`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxtrends import (
    claims,
    headlines,
    inline_svg,
    webpage_data,
    webpage_papers,
    webpage_record,
)
from jaxtrends.webpage_claim import slug
from jaxtrends.webpage_papers import Named
from jaxtrends.webpage_record import Source

PARTS = Path(__file__).with_name("webpage_parts")
ASSETS = "assets"
MOST_BYTES = 1_000_000  # of a file of the site
STALE = re.compile(r"<!--stale-->.*?<!--/stale-->\n?", re.DOTALL)


class Detail(NamedTuple):
    """How much a paper's page shows.

    whole:  records with all there is to say of them; beyond the answer these are the user's runs.
    brief:  further records with their claims and curves; any others are named with their totals.
    drawn:  characters of drawings, those of definitions included.
    """

    whole: int
    brief: int
    drawn: int


# Tried in this order until a page is small enough.
DETAILS = (
    Detail(4, 20, 400_000),
    Detail(4, 20, 200_000),
    Detail(1, 20, 200_000),
    Detail(1, 5, 0),
    Detail(0, 1, 0),
    Detail(0, 0, 0),
)


def papers() -> list[dict[str, Any]]:
    """The papers of the newsletters, in their order: what is claimed, in our words."""
    return json.loads((PARTS / "papers.json").read_text(encoding="utf-8"))


def without_stale_marks(text: str) -> str:
    """A page without its marks of staleness, which depend on today's code and not on a record."""
    return STALE.sub("", text)


def site(sources: Sequence[Source], problems: Sequence[str] = ()) -> dict[str, str]:
    """The files of the site: path within its folder -> text.

    Args:
        sources:  the records in the order in which they are shown.
        problems: what was left out and why, a sentence each, which the index says.
    """
    named = list(zip(sources, webpage_record.names(sources), strict=True))
    listed = [{**name._asdict(), "published": source.published} for source, name in named]
    files = {
        "index.html": _index(named, problems),
        "compare.html": _rendered("compare.html", base="", records=listed),
    }
    for page, group in webpage_papers.by_page(named).items():
        files[page] = _paper_page(group)
    for name in ("site.css", "site.js"):
        files[f"{ASSETS}/{name}"] = (PARTS / name).read_text(encoding="utf-8")
    for source, name in named:
        view = webpage_record.view(source, name, brief=True)
        shown = [claim for group in view["groups"] for claim in group["claims"]]
        files[f"{ASSETS}/data/{name.slug}.js"] = webpage_data.script(
            source.done, source.arrays, name.label, shown, MOST_BYTES
        )
    return files


def without_headline(sources: Sequence[Source]) -> list[str]:
    """The records that name no headline claim, a sentence each: their pages have no answer."""
    bare = [source for source in sources if headlines.lead(source.done) is None]
    return [f"{one.place} names no headline claim: its page just has all claims." for one in bare]


def write(files: Mapping[str, str], folder: Path) -> None:
    """Write the files of a site.

    Raises:
        OSError: one cannot be written.
    """
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def in_folder(folder: Path) -> set[str]:
    """The files below a folder that only a site of ours can have left there: pages and data."""
    found = [*folder.glob("*/index.html"), *folder.glob(f"{ASSETS}/data/*.js")]
    return {path.relative_to(folder).as_posix() for path in found}


def _rendered(template: str, **values: Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(PARTS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values).strip() + "\n"


# --- a paper's page ------------------------------------------------------------------------------


def _paper_page(group: Sequence[Named]) -> str:
    """The page of one paper, with as much detail as it has room for."""
    first = webpage_papers.answering(group)
    others = sorted(
        (one for one in group if one is not first), key=lambda one: one[0].published
    )  # the user's runs are what a user came for
    text = ""
    for detail in DETAILS:
        text = _paper([first, *others], detail)
        if len(text.encode()) <= MOST_BYTES:
            break
    return text


def _paper(group: Sequence[Named], detail: Detail) -> str:
    sprite = inline_svg.Sprite()
    figure = webpage_record.headline_figure(group[0][0], sprite, detail.drawn)
    whole, brief, rest = [], [], []
    for source, name in group:
        if len(whole) < detail.whole and (not whole or not source.published):
            whole.append((source, webpage_record.view(source, name, brief=False)))
        elif len(brief) < detail.brief:
            brief.append(webpage_record.view(source, name, brief=True))
        else:
            rest.append(webpage_record.summary(source, name))
    for source, view in whole:
        view["figures"] = webpage_record.figures(source, sprite, detail.drawn // len(whole))
    views = [*(view for _, view in whole), *brief]
    return _rendered(
        "paper.html",
        base="../",
        answer=webpage_record.summary(*group[0]),
        figure=figure,
        views=views,
        rest=rest,
        verdicts=[verdict for verdict in _verdicts() if verdict["key"] in _found(views)],
        sprite=sprite.svg(),
    )


def _found(views: Sequence[Mapping[str, Any]]) -> set[str]:
    return {claim["key"] for view in views for group in view["groups"] for claim in group["claims"]}


# --- the index -----------------------------------------------------------------------------------


def _index(named: Sequence[Named], problems: Sequence[str]) -> str:
    sprite = inline_svg.Sprite()
    rows = webpage_papers.rows(papers(), named, sprite)
    return _rendered(
        "index.html",
        base="",
        papers=rows,
        topics=sorted({row["topic"] for row in rows}),
        verdicts=_verdicts(),
        totals=webpage_papers.totals(rows),
        problems=problems,
        sprite=sprite.svg(),
    )


def _verdicts() -> list[dict[str, str]]:
    return [{"verdict": verdict, "key": slug(verdict)} for verdict in claims.VERDICTS]
