"""All papers in one look: a row a paper, for the project's README and the index of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtrends import headlines, publish, record, report, webpage
from jaxtrends.claims import VERDICTS
from jaxtrends.formats import escape_markdown as md
from jaxtrends.webpage_papers import FIRST

INDEX = """\
# Results

Made from the records in the folders below by `python -m scripts.render_results`; edit nothing here.

A claim is declared before the run: what is measured, and the region in which its 95% interval must
lie. Wholly inside, the claim is *reproduced*; wholly outside, *not reproduced*; otherwise
*inconclusive*, with the effect that a study of this size finds with a power of 80%. *Partly
reproduced*: some of a claim's parts are and others are not. *Invalid*: a control came out wrong.
*Reported* is the figure of the paper, or of a critic where it says so; it is empty where the source
gives none that could be verified. Of a claim of several parts the least favourable one is shown.
"""

# README shows the headline figures of the first three papers that have one.
SHOWN = 3

COLUMNS = ("Paper and its headline claim", "Reported", "Ours [95% interval]", "Verdict", "Caveat")


def answering(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The record that answers for each paper: those of `FIRST`, then in the newsletters' order."""
    names = [name for paper in webpage.papers() for name in paper["experiments"]]
    order = {name: number for number, name in enumerate(dict.fromkeys([*FIRST, *names]))}
    found = headlines.chosen(publish.in_order(records))
    return sorted(found.values(), key=lambda done: order.get(done["experiment"], len(order)))


def short_title(title: str) -> str:
    """What people call a paper: its title up to a colon."""
    return title.partition(": ")[0]


def table(records: Sequence[Mapping[str, Any]], up: str) -> str:
    """A row a paper, in Markdown.

    Args:
        records: one a paper, as `answering` gives them.
        up:      the folder of results as seen from the page, "results/" or "".
    """
    rows = ["| " + " | ".join(COLUMNS) + " |", "|" + " :-- |" * len(COLUMNS)]
    return "\n".join([*rows, *(f"| {' | '.join(_row(done, up))} |" for done in records)]) + "\n"


def _row(done: Mapping[str, Any], up: str) -> list[str]:
    paper = _link(done, up) + f" <sub>{md(done['experiment'])}</sub>"
    caveat = md(done.get("caveat", ""))
    lead, *others = headlines.of(done) or [None]
    if lead is None:
        return [f"{paper}<br>no claim is marked as a headline", "", "", _counts(done), caveat]
    claim, parts = lead["claim"], len(lead["verdict"]["parts"])
    number = md(report.number_of(lead)).replace(" ", "\N{NO-BREAK SPACE}")
    measured = md(report.quantity_of(claim))
    measured += f" (least favourable of {parts})" if parts > 1 else ""
    return [
        f"{paper}<br>{md(report.sentence(claim['statement']))}",
        md(report.reported(claim)) or "none given",
        f"**{number}**<br><sub>{measured}</sub>" if number else "",
        f"**{lead['verdict']['verdict']}**{_more(others)}",
        caveat,
    ]


def _link(done: Mapping[str, Any], up: str) -> str:
    return f"[{md(short_title(done['paper']['title']))}]({up}{done['experiment']}/README.md)"


def _counts(done: Mapping[str, Any]) -> str:
    return md(report.verdict_counts(done))


def _more(others: Sequence[Mapping[str, Any]]) -> str:
    """How the headlines came out that do not lead: "; 2 more headlines: both reproduced"."""
    if not others:
        return ""
    found = [entry["verdict"]["verdict"] for entry in others]
    both = len(found) == 2 and found[0] == found[1]
    more = f"both {found[0]}" if both else ", ".join(found)
    return f"; {len(found)} more headline{'s' * (len(found) > 1)}: {more}"


def totals(records: Sequence[Mapping[str, Any]]) -> str:
    """How the claims of all papers came out, those derived by us apart, in two sentences."""
    both = [report.counts(done) for done in records]
    named = ("the papers and their critics", "derived by us")
    said = []
    for name, found in zip(named, zip(*both, strict=True), strict=True):
        summed = {verdict: sum(one.get(verdict, 0) for one in found) for verdict in VERDICTS}
        counted = {verdict: count for verdict, count in summed.items() if count}
        if counted:
            claims = f"{sum(counted.values())} claims {'of ' * (name != named[1])}{name}"
            said.append(f"{claims}: {report.in_words(counted)}.")
    return " ".join(said)


def missing(records: Sequence[Mapping[str, Any]]) -> str:
    """The newsletters' papers that have no record, in one line of Markdown; "" where all have."""
    have = {done["paper"]["arxiv"] for done in records} | {done["experiment"] for done in records}
    left = [
        f"[{md(short_title(paper['title']))}](https://arxiv.org/abs/{paper['arxiv']})"
        for paper in webpage.papers()
        if have.isdisjoint([paper["arxiv"], *paper["experiments"]])
    ]
    return f"Still to come ({len(left)}): {', '.join(left)}.\n" if left else ""


def summary(records: Sequence[Mapping[str, Any]]) -> str:
    """What the project's README shows of the results.

    The answer of the main job, a row a paper, totals, papers to come, and some headline figures.
    """
    found = answering(records)
    pieces = [
        _answer(found),
        table(found, "results/") if found else "None yet.\n",
        f"{totals(found)}\n" if found else "",
        missing(found),
        *_pictures(found),
    ]
    return "\n".join(piece for piece in pieces if piece)


def _answer(records: Sequence[Mapping[str, Any]]) -> str:
    """The answer of the main job, in its record's words; "" where there is none."""
    main = next((done for done in records if done["experiment"] == FIRST[0]), None)
    if main is None or not main.get("answer"):
        return ""
    return f"**{_link(main, 'results/')}?** {md(main['answer'])}\n"


def _pictures(records: Sequence[Mapping[str, Any]]) -> list[str]:
    drawn = {done["experiment"]: done for done in records if done.get("figure")}
    shown = [drawn[name] for name in FIRST if name in drawn][:SHOWN]
    return [
        f"![{md(done['figure']['title'])}]"
        f"(results/{publish.folder(done)}/figures/{done['figure']['name']}.svg)\n"
        for done in shown
    ]


def index(records: Sequence[Mapping[str, Any]]) -> str:
    """The page results/README.md: a row a paper, then every record, with the anchor it ever had."""
    found = answering(records)
    rows = [
        f'| <a id="{publish.anchor(done)}"></a>[{md(record.title(done))}]'
        f"({done['experiment']}/README.md#{publish.anchor(done)}) "
        f"| {report.verdict_counts(done)} |\n"
        for done in publish.in_order(records)
    ]
    pieces = [
        INDEX,
        table(found, "") if found else "There are none yet.\n",
        f"{totals(found)}\n" if found else "",
        missing(found),
        "For a browser: [index.html](index.html). The headlines as a LaTeX table: "
        "[headlines.tex](headlines.tex). BibTeX of the papers and of this suite: "
        "[references.bib](references.bib).\n",
        "## All records\n" if rows else "",
        "| Record | Its claims |\n| :-- | :-- |\n" + "".join(rows) if rows else "",
    ]
    return "\n".join(piece for piece in pieces if piece)
