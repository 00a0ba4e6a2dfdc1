"""The papers of the site: the records of each, the one that answers, and the rows of the index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxtrends import claims, headlines, inline_svg, publish, webpage_record
from jaxtrends.webpage_record import Name, Source

# Papers that stand first wherever all are shown: the one that `make run` runs before all.
FIRST = ("forward_grad", "moe_scaling", "multiplexing", "neuroevolution", "compute_trends")

MOST_HEADLINES = 500_000  # characters of the headline figures on the index
MOST_RUNS = 6  # of the user's own that the index shows of one paper
MOST_LETTERS = 900  # of a text from a record that the index shows

Named = tuple[Source, Name]


def by_page(named: Iterable[Named]) -> dict[str, list[Named]]:
    """The records of each paper's page, by its path; those of one experiment are on one page."""
    found: dict[str, list[Named]] = {}
    for source, name in named:
        found.setdefault(webpage_record.page(source.done), []).append((source, name))
    return found


def answering(group: Sequence[Named]) -> Named:
    """The record that answers for a paper: a published one, where there is one."""
    able = [one for one in group if one[0].published] or list(group)
    answers = headlines.chosen(publish.in_order([source.done for source, _ in able])).values()
    return next(one for one in able if any(one[0].done is done for done in answers))


def totals(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """How the claims came out over all answers: those of papers and critics, and derived ones."""
    found: dict[str, Counter[str]] = {"paper": Counter(), "derived": Counter()}
    for row in rows:
        for who, counts in row["answer"]["counts"].items() if row["answer"] else ():
            found[who].update({one["verdict"]: one["count"] for one in counts})
    return {
        who: webpage_record.tally({verdict: total[verdict] for verdict in claims.VERDICTS})
        for who, total in found.items()
    }


def rows(
    papers: Sequence[Mapping[str, Any]], named: Sequence[Named], sprite: inline_svg.Sprite
) -> list[dict[str, Any]]:
    """A row a paper: those with an answer, `FIRST` before the others, then those without.

    Args:
        papers: of the newsletters, in their order.
        named:  the records of the site.
        sprite: takes up the definitions of the headline figures.
    """
    rows = [{**paper, "answer": None, "runs": [], "figure": None} for paper in papers]
    groups = by_page(named).values()
    for group in groups:
        source, name = answering(group)
        answer = _clipped(webpage_record.summary(source, name))
        row = _row_of(answer, rows)
        row["answer"] = answer
        room = MOST_HEADLINES // len(groups)
        row["figure"] = webpage_record.headline_figure(source, sprite, room)
        row["runs"] = [
            _clipped(webpage_record.summary(*one))
            for one in group
            if not one[0].published and one[0] is not source
        ]
    for row in rows:
        row["more"] = len(row["runs"]) - MOST_RUNS
        row["runs"] = row["runs"][:MOST_RUNS]
        shown = [row["answer"], *row["runs"]] if row["answer"] else []
        found = [verdict for one in shown for verdict in one["verdicts"]]
        row["verdicts"] = " ".join(dict.fromkeys(found)) or "none"
    return sorted(rows, key=_place)


def _place(row: Mapping[str, Any]) -> tuple[bool, int]:
    answers = row["answer"]["experiment"] if row["answer"] else ""
    return not answers, FIRST.index(answers) if answers in FIRST else len(FIRST)


def _row_of(answer: Mapping[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of a record's paper, which is a new one where the newsletters have none."""
    paper = answer["paper"]
    free = [row for row in rows if row["answer"] is None]
    mine = [row for row in free if answer["experiment"] in row["experiments"]]
    mine = mine or [row for row in free if row["arxiv"] and row["arxiv"] == paper["arxiv"]]
    if not mine:
        named = {key: paper[key] for key in ("title", "authors", "year", "arxiv")}
        told = {"edition": "", "topic": "Other", "claim": answer["about"]}
        mine = [{**named, **told, "experiments": [answer["experiment"]]}]
        rows += mine
    return mine[0]


def _clipped(value: Any) -> Any:
    """A summary whose texts are no longer than the index has room for."""
    if isinstance(value, str):
        return value if len(value) <= MOST_LETTERS else f"{value[: MOST_LETTERS - 1]}…"
    if isinstance(value, dict):
        return {key: _clipped(item) for key, item in value.items()}
    return [_clipped(item) for item in value] if isinstance(value, list) else value
