"""A headline as a sentence or a row to paste into a paper, with its number, verdict and commit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtrends import headlines, publish, record, report
from jaxtrends.claims import NOT_TESTABLE
from jaxtrends.errors import Problem
from jaxtrends.formats import escape_latex

COLUMNS = ("Paper", "Claim", "Reported", "Ours [95% interval]", "Verdict")
WIDTHS = (0.15, 0.27, 0.17, 0.22, 0.1)


def authors(paper: Mapping[str, Any]) -> str:
    """A paper's authors as a text names them: "Doe", "Doe and Roe", "Doe et al."."""
    names = re.split(r",\s*(?:and )?| and ", paper["authors"])
    return " and ".join(names) if len(names) < 3 else f"{names[0]} et al."


def sentence(done: Mapping[str, Any]) -> str:
    """The headline that leads a record, as one sentence of plain text.

    Raises:
        Problem: the record has no headline.
    """
    return _sentence(done, _lead(done), str)


def sentence_latex(done: Mapping[str, Any]) -> str:
    r"""The same in LaTeX, with a ``\cite`` of the paper and of the record.

    Their keys are those of `publish.citation`.

    Raises:
        Problem: the record has no headline.
    """
    cited = rf"~\cite{{{_key(done)},{publish.record_key(done)}}}"
    return _sentence(done, _lead(done), escape_latex).removesuffix(".") + cited + "."


def _lead(done: Mapping[str, Any]) -> Mapping[str, Any]:
    found = headlines.of(done)
    if not found:
        raise Problem(
            f"No claim of {publish.folder(done)} is marked as a headline, so it has no sentence: "
            "cite it without --sentence, or name another record."
        )
    return found[0]


def _sentence(done: Mapping[str, Any], entry: Mapping[str, Any], escape: Any) -> str:
    claim, verdict = entry["claim"], entry["verdict"]
    commit = done["provenance"]["commit"][:12] or "none"
    paper = f"{authors(done['paper'])}, {done['paper']['year']}"
    by = {"paper": paper, "critic": f"critics of {paper}", "derived": f"derived from {paper}"}
    said = f"; reported: {claim['reported']}, {claim['where']}" if claim["reported"] else ""
    source = by[claim["source"]] + said
    text = (
        f"Rerun by jaxtrends ({record.title(done)}, commit {commit}), the claim "
        f"“{claim['statement'].strip().rstrip('.')}” ({source}) is {verdict['verdict']}"
    )
    found = report.shown_part(entry)
    if found is None or verdict["verdict"] == NOT_TESTABLE:
        return escape(f"{text}.")
    parts = len(verdict["parts"])
    how = ["exact" if claim["kind"] == "exact" else "95% interval"]
    if parts > 1:
        how.append(f"at {verdict['headline']}, the least favourable of {parts}")
    how.append(f"accepted: {report.region_of(claim)}")
    number = report.interval_of(found)
    return escape(f"{text}: {report.quantity_of(claim)} = {number} ({'; '.join(how)}).")


def _key(done: Mapping[str, Any]) -> str:
    r"""The key of a paper, as ``\cite`` may have it: without what would end its argument."""
    return re.sub(r"[^\w:./+-]", "", done["paper"]["key"])


def headlines_latex(records: Sequence[Mapping[str, Any]]) -> str:
    """A booktabs table of the headlines of all papers, for a survey.

    Args:
        records: one a paper, in the order of the table; those without a headline are left out.
    """
    wide = "".join(rf">{{\raggedright\arraybackslash}}p{{{w}\linewidth}}" for w in WIDTHS)
    head = " & ".join(map(escape_latex, COLUMNS))
    caption = (
        "Headline claims of papers, rerun at small scale by jaxtrends. A 95% interval that lies "
        "wholly in the region declared before the run is reproduced, wholly outside not "
        "reproduced, otherwise inconclusive; of a claim of several parts the least favourable one "
        "is shown."
    )
    rows = [row for done in records for row in _rows(done)]
    lines = [
        r"% needs \usepackage{array,booktabs,longtable}, and the keys of references.bib",
        r"\begingroup\footnotesize\setlength{\tabcolsep}{3pt}\setlength{\LTcapwidth}{\linewidth}",
        rf"\begin{{longtable}}{{@{{}}{wide}@{{}}}}",
        rf"\caption{{{escape_latex(caption)}}}",
        r"\label{tab:jaxtrends-headlines}\\",
        rf"\toprule {head} \\ \midrule \endfirsthead",
        rf"\toprule {head} \\ \midrule \endhead",
        r"\bottomrule \endfoot",
        *rows,
        r"\end{longtable}",
        r"\endgroup",
    ]
    return "\n".join(lines) + "\n"


def _rows(done: Mapping[str, Any]) -> list[str]:
    """The headlines of a record as rows; the first one names the paper."""
    found = []
    paper = done["paper"]
    named = escape_latex(f"{authors(paper)} ({paper['year']})") + rf"~\cite{{{_key(done)}}}; "
    commit = done["provenance"]["commit"][:12] or "none"
    named += escape_latex(f"{record.title(done)}, commit {commit}")
    for number, entry in enumerate(headlines.of(done)):
        cells = [
            report.sentence(entry["claim"]["statement"]),
            report.reported(entry["claim"]),
            ": ".join(filter(None, (report.number_of(entry), report.quantity_of(entry["claim"])))),
            entry["verdict"]["verdict"],
        ]
        first = "" if number else named
        found.append(" & ".join([first, *map(escape_latex, cells)]) + r" \\ \addlinespace")
    return found
