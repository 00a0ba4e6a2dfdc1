"""Tables of a record as Markdown, CSV and LaTeX: of its claims, and its studies' own."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxtrends import record
from jaxtrends.errors import choose
from jaxtrends.formats import escape_latex, escape_markdown, markdown_table
from jaxtrends.report import (
    COLUMNS,
    SHORT_COLUMNS,
    cell_text,
    columns_of_numbers,
    diverged,
    entries,
    note_of,
    row_of,
    sentence,
    short_row,
    shown_part,
)

FORMATS = ("markdown", "csv", "latex")

# --- of claims ---------------------------------------------------------------------------------


def claims_markdown(shown: Sequence[Mapping[str, Any]]) -> str:
    """Claims of a record (its `entries`) as one Markdown table, without notes."""
    return markdown_table(COLUMNS, [row_of(entry) for entry in shown], {len(COLUMNS) - 1})


def short_markdown(shown: Sequence[Mapping[str, Any]]) -> str:
    """Claims of a record as a narrow Markdown table, without what would have been accepted."""
    return markdown_table(SHORT_COLUMNS, [short_row(entry) for entry in shown], set())


def notes_markdown(shown: Sequence[Mapping[str, Any]]) -> str:
    """What the table of claims has no room for, a claim a line."""
    return "".join(
        f"- **{escape_markdown(entry['claim']['id'])}.** {escape_markdown(note_of(entry))}\n"
        for entry in shown
    )


def not_run_markdown(done: Mapping[str, Any]) -> str:
    """The claims that a record lacks, a claim a line, each with the reason."""
    return "".join(
        f"- **{escape_markdown(claim['id'])}.** Not run: "
        f"{escape_markdown(sentence(claim['statement']))} "
        f"{escape_markdown(sentence(claim['reason']))}\n"
        for claim in done["results"]["not_run"]
    )


def _claims_markdown(done: Mapping[str, Any]) -> str:
    shown = entries(done)
    return f"{claims_markdown(shown)}\n{notes_markdown(shown)}{not_run_markdown(done)}"


def _claims_csv(done: Mapping[str, Any]) -> str:
    """Numbers in full, one row a claim, what was not run too."""
    fields = ["id", "study", "claim", "source", "reported", "where", "known", "quantity"]
    fields += ["statistic", "region_low", "region_high", "estimate", "low", "high", "scale", "n"]
    fields += ["diverged", "part", "parts", "verdict", "minimum_detectable_effect", "note"]
    out = io.StringIO()
    writer = csv.DictWriter(out, fields, lineterminator="\n", restval="")
    writer.writeheader()
    for entry in entries(done):
        claim, verdict, found = entry["claim"], entry["verdict"], shown_part(entry) or {}
        numbers = ("estimate", "low", "high", "scale", "n", "minimum_detectable_effect")
        part = entry["evidence"]["parts"].get(verdict["headline"], {})
        writer.writerow(
            {
                **{field: claim[field] for field in fields if field in claim},
                **{field: found.get(field) for field in numbers},
                "claim": claim["statement"],
                "region_low": claim["region"][0],
                "region_high": claim["region"][1],
                "diverged": diverged(part) if part else "",
                "part": verdict["headline"],
                "parts": len(verdict["parts"]),
                "verdict": verdict["verdict"],
                "note": note_of(entry),
            }
        )
    for claim in done["results"]["not_run"]:
        told = {"id": claim["id"], "study": claim["study"], "claim": claim["statement"]}
        writer.writerow({**told, "verdict": "not run", "note": claim["reason"]})
    return out.getvalue()


def _claims_latex(done: Mapping[str, Any]) -> str:
    r"""A booktabs table that breaks over pages, its notes below it."""
    widths = (0.19, 0.13, 0.17, 0.14, 0.13, 0.08)
    wide = "".join(rf">{{\raggedright\arraybackslash}}p{{{w}\linewidth}}" for w in widths)
    head = " & ".join(escape_latex(column) for column in COLUMNS)
    paper = done["paper"]
    caption = (
        f"{record.title(done)}: claims of {paper['authors']} "
        f"({paper['year']}) and of others about it. {done['scale']}"
    )
    rows = [
        " & ".join(escape_latex(cell) for cell in row_of(entry)) + r" \\ \addlinespace"
        for entry in entries(done)
    ]
    notes = [
        rf"\textbf{{{escape_latex(entry['claim']['id'])}.}} {escape_latex(note_of(entry))}"
        for entry in entries(done)
    ]
    notes += [
        rf"\textbf{{{escape_latex(claim['id'])}.}} "
        + escape_latex(f"Not run: {sentence(claim['reason'])}")
        for claim in done["results"]["not_run"]
    ]
    lines = [
        r"% needs \usepackage{array,booktabs,graphicx,longtable}",
        r"\begingroup\footnotesize\setlength{\tabcolsep}{3pt}\setlength{\LTcapwidth}{\linewidth}",
        rf"\begin{{longtable}}{{@{{}}l{wide}@{{}}}}",
        rf"\caption{{{escape_latex(caption)}}}",
        rf"\label{{tab:{done['experiment']}-{record.edition(done)}}}\\",
        rf"\toprule {head} \\ \midrule \endfirsthead",
        rf"\toprule {head} \\ \midrule \endhead",
        r"\bottomrule \endfoot",
        *rows,
        r"\end{longtable}",
        *(rf"\noindent {note}\par" for note in notes),
        r"\endgroup",
    ]
    return "\n".join(lines) + "\n"


def claims_table(done: Mapping[str, Any], format: str) -> str:
    """All claims of a record in one of `FORMATS`: the verdicts, and in notes what they rest on.

    Markdown and LaTeX round as intervals deserve; CSV has every digit.

    Raises:
        Problem: there is no such format.
    """
    makers: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "markdown": _claims_markdown,
        "csv": _claims_csv,
        "latex": _claims_latex,
    }
    return makers[choose("format", format, FORMATS)](done)


# --- of studies --------------------------------------------------------------------------------

LONGEST = 20  # rows of a table that surely fits a page, cells of several lines and all


def study_table(table: Mapping[str, Any], format: str) -> str:
    """A study's own table (`jaxtrends.study.Table` as plain data) in Markdown or LaTeX.

    Raises:
        Problem: there is no such format.
    """
    rows = [[cell_text(cell) for cell in row] for row in table["rows"]]
    right = columns_of_numbers(table)
    if choose("format", format, ("markdown", "latex")) == "markdown":
        note = f"\n{escape_markdown(sentence(table['note']))}\n" if table["note"] else ""
        title = f"**{escape_markdown(sentence(table['title']))}**\n\n"
        return title + markdown_table(table["columns"], rows, right) + note
    sides = ["r" if n in right else "l" for n in range(len(table["columns"]))]
    fits, widths, letters = _fitted(table["columns"], rows, sides)
    heading = " & ".join(map(_stacked, table["columns"], widths, sides))
    caption = " ".join(sentence(text) for text in (table["title"], table["note"]) if text)
    caption = rf"\caption{{{escape_latex(caption)}}}"
    columns = rf"{{@{{}}{''.join(letters)}@{{}}}}"
    heading = rf"\toprule {heading} \\ \midrule"
    # {}: a cell may start with a bracket, which LaTeX would take for an option of the line break
    body = [rf"{{}}{' & '.join(map(_cell_latex, row))} \\" for row in rows]
    if len(rows) > LONGEST:
        opening = [
            "" if fits else r"\scriptsize\setlength{\tabcolsep}{1.5pt}",
            rf"\begin{{longtable}}{columns}",
            caption + r"\\",
            heading + r" \endfirsthead",
        ]
        lines = [*opening, heading + r" \endhead", r"\bottomrule \endfoot", *body]
        lines.append(r"\end{longtable}\endgroup")
    else:
        opening = [
            r"\begin{table}\centering",
            caption + r"\smallskip",
            r"\footnotesize\setlength{\tabcolsep}{3pt}",  # a float forgets what is around it
            "" if fits else r"\resizebox{\linewidth}{!}{%",
            rf"\begin{{tabular}}{columns}",
        ]
        closing = [r"\bottomrule", r"\end{tabular}" + ("" if fits else "}")]
        lines = [*opening, heading, *body, *closing, r"\end{table}\endgroup"]
    small = (
        r"\begingroup\footnotesize\setlength{\tabcolsep}{3pt}\setlength{\LTcapwidth}{\linewidth}"
    )
    return "\n".join([small, *filter(None, lines)]) + "\n"


LETTERS_A_LINE = 72  # of \footnotesize, in a line of LaTeX's article
LETTERS_A_GAP = 1.4  # between two columns
SQUEEZED_TEXT = 14  # letters, the widest column of text in a table that is shrunk to fit
WORD = re.compile(r"\[[^]]*\]|\S+")  # an interval is read as one


def _fitted(
    headings: Sequence[str], rows: Sequence[Sequence[str]], sides: Sequence[str]
) -> tuple[bool, list[int], list[str]]:
    """Whether a table fits a line, and its columns' widths in letters and as LaTeX has them.

    A column is as wide as its longest cell while there is room. Where there is none, the widest
    columns of text break their lines, none narrower than its longest word.
    """
    whole, least = [], []
    for number, (heading, side) in enumerate(zip(headings, sides, strict=True)):
        cells = [row[number] for row in rows]
        head = max(map(len, heading.split()), default=0)
        whole.append(max([head, *map(len, cells)]))
        words = max([head, *(len(word) for cell in cells for word in WORD.findall(cell))])
        least.append(words if side == "l" else whole[-1])

    def widths_to(widest: int) -> list[int]:
        return [min(a, max(b, widest)) for a, b in zip(whole, least, strict=True)]

    room = LETTERS_A_LINE - LETTERS_A_GAP * (len(headings) - 1)
    trials = (widths_to(widest) for widest in range(max(whole), -1, -1))
    fitting = next((widths for widths in trials if sum(widths) <= room), None)
    widths = fitting or widths_to(SQUEEZED_TEXT)
    narrowed = r">{{\raggedright\arraybackslash}}p{{{:.3f}\linewidth}}"
    letters = [
        side if width == a else narrowed.format(width / LETTERS_A_LINE)
        for side, width, a in zip(sides, widths, whole, strict=True)
    ]
    return fitting is not None, widths, letters


def _cell_latex(cell: str) -> str:
    """A cell whose intervals stay on one line."""
    text = escape_latex(cell)
    return rf"\mbox{{{text}}}" if WORD.fullmatch(cell) and " " in cell else text


def _stacked(heading: str, width: int, side: str) -> str:
    """A heading in lines of so many letters, so that it does not make its column wide."""
    lines = textwrap.wrap(heading, max(width, 1), break_long_words=False) or [""]
    stack = r" \\ {}".join(escape_latex(line) for line in lines)  # {}: as below
    return rf"\shortstack[{side}]{{{stack}}}"
