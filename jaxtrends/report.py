"""Tables of a record, from the record alone, and which figures it has."""

from __future__ import annotations

import csv
import io
import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxtrends import claims, record
from jaxtrends.errors import choose
from jaxtrends.formats import (
    escape_latex,
    escape_markdown,
    format_interval,
    format_number,
    markdown_table,
)

FORMATS = ("markdown", "csv", "latex")
KNOWN = {
    "text": "in the text",
    "figure": "read off the figure",
    "code": "public code",
    "secondary": "secondary source",
    "derived": "derived",
    "abstract": "in the abstract",
}
CLAIMED = {"paper": "the paper", "critic": "its critics", "derived": "this suite"}
STYLES = {
    claims.REPRODUCED: "green",
    claims.NOT_REPRODUCED: "red",
    claims.PARTLY_REPRODUCED: "yellow",
    claims.INCONCLUSIVE: "yellow",
    claims.INVALID: "bold magenta",
    claims.NOT_TESTABLE: "dim",
}

# --- a claim as a row --------------------------------------------------------------------------


class Row(NamedTuple):
    """What a table says of one claim, as plain text."""

    id: str
    claim: str
    reported: str
    criterion: str
    ours: str
    verdict: str
    n: str


SHORT_COLUMNS = ("ID", "Claim", "Reported", "Ours [95 % interval]", "Verdict")
COLUMNS = ("ID", "Claim", "Reported", "Accepted if", "Ours [95 % interval]", "Verdict", "n")


def _natural(text: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


def p_value_of(p: float) -> str:
    """A p-value with its sign: "= 0.043", or "< 1e-6" where nobody needs to know how small."""
    return "< 1e-6" if p < 1e-6 else f"= {format_number(p, 2)}"


def entries(done: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All claims of a record in the order of their ids, F2 before F10."""
    return sorted(record.entries(done), key=lambda entry: _natural(entry["claim"]["id"]))


def _criterion(claim: Mapping[str, Any]) -> str:
    quantity = claim["quantity"].removesuffix(" [1]")  # a pure number needs no unit
    low, high = (float(bound) for bound in claim["region"])
    if math.isinf(low):
        return f"{quantity}: below {format_number(high, 6)}"
    if math.isinf(high):
        return f"{quantity}: above {format_number(low, 6)}"
    return f"{quantity}: between {format_number(low, 6)} and {format_number(high, 6)}"


def _reported(claim: Mapping[str, Any], *, how: bool) -> str:
    """The figure of the paper, or of a critic who is named as one, where it stands and how known.

    Nothing where there is none.
    """
    if not claim["reported"]:
        return ""
    by = "critics: " if claim["source"] == "critic" else ""
    said = claim["known"] in claim["where"] and claim["known"] != "figure"
    known = f"; {KNOWN[claim['known']]}" if how and not said else ""
    return f"{by}{claim['reported']} ({claim['where']}{known})"


def interval_of(finding: Mapping[str, Any]) -> str:
    """The estimate and interval of a finding (`claims.Finding` as plain data) as text."""
    return format_interval(*(float(finding[end]) for end in ("estimate", "low", "high")))


def _headline(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return entry["verdict"]["parts"].get(entry["verdict"]["headline"])


def _diverged(samples: Mapping[str, Sequence[Any]]) -> int:
    """Seeds on which any of the values is not finite."""
    return sum(
        any(not math.isfinite(float(value)) for value in values)
        for values in zip(*samples.values(), strict=False)
    )


def detectable_effect(finding: Mapping[str, Any]) -> str:
    """The minimum detectable effect of a finding, in brackets; "" where it has none."""
    if finding["minimum_detectable_effect"] is None:
        return ""
    effect = float(finding["minimum_detectable_effect"])
    if not math.isfinite(effect):
        return " (the interval has no end)"
    if finding["scale"] == "log":
        return f" (detectable factor: {1 + float(f'{effect - 1:.2g}'):.6g})"
    return f" (detectable effect: {format_number(effect, 2)})"


def doubts_of(entry: Mapping[str, Any]) -> str:
    """What keeps a claim of a record, or parts of it, from deciding; "" where nothing does."""
    said = entry["evidence"]["undecided"]
    if isinstance(said, str):
        return said
    return "; ".join(f"{part}: {why}" if part else why for part, why in said.items())


def row_of(entry: Mapping[str, Any]) -> Row:
    """What tables say of a claim of a record."""
    claim, verdict, found = entry["claim"], entry["verdict"], _headline(entry)
    ours, n, detectable = "", "", ""
    if found is not None:
        ours, n = interval_of(found), str(found["n"])
        detectable = detectable_effect(found) if verdict["verdict"] == claims.INCONCLUSIVE else ""
        if len(verdict["parts"]) > 1:
            ours += f" at {verdict['headline']}, least favourable of {len(verdict['parts'])}"
        if claim["kind"] == "exact":
            ours, n = ours + " (exact)", ""
        diverged = _diverged(entry["evidence"]["parts"][verdict["headline"]])
        if diverged:
            n += f" ({diverged} diverged)"
    why = doubts_of(entry) if verdict["verdict"] == claims.INCONCLUSIVE else ""
    return Row(
        claim["id"],
        claim["statement"],
        _reported(claim, how=True),
        _criterion(claim),
        ours,
        f"{verdict['verdict']} ({why})" if why else verdict["verdict"] + detectable,
        n.strip(),
    )


def _short(entry: Mapping[str, Any]) -> tuple[str, ...]:
    row = row_of(entry)
    return (row.id, row.claim, _reported(entry["claim"], how=False), row.ours, row.verdict)


def sentence(text: str) -> str:
    """A text that begins and ends like a sentence."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def control_found(verdict: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """How a control came out: of all parts together, or its run beside the part that is shown."""
    found = verdict["controls"]
    return found[name if name in found else claims.control_of(name, verdict["headline"])]


def _control(control: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    right = (found["verdict"] == claims.REPRODUCED) == (control["must"] == "pass")
    return (
        f"Control “{control['name']}” ({control['why'].rstrip('.')}) must {control['must']}"
        f"{', and does' if right else ', but does NOT'}: {found['verdict']}, {interval_of(found)}."
    )


def _note(entry: Mapping[str, Any]) -> str:
    """All that a claim's row has no room for, in sentences."""
    claim, verdict, found = entry["claim"], entry["verdict"], _headline(entry)
    said = [f"Claimed by {CLAIMED[claim['source']]}."]
    if verdict["note"] and verdict["verdict"] != claims.INVALID:  # the controls below say it
        said.append(sentence(verdict["note"]))
    if found is not None and claim["kind"] == "statistical":
        p = found["holm_p"]
        corrected = "" if p is None else f"; Holm-corrected p {p_value_of(p)}"
        said.append(f"Interval: {found['method']}{corrected}.")
    if found is not None:
        said.append(f"Why this region: {sentence(claim['reason'])}")
        said += [
            _control(control, control_found(verdict, control["name"]))
            for control in claim["controls"]
        ]
    return " ".join(said)


def verdict_counts(done: Mapping[str, Any]) -> str:
    """How a record's claims came out, in words: "5 reproduced, 1 inconclusive, 2 not run"."""
    found = [entry["verdict"]["verdict"] for entry in record.entries(done)]
    counts = {verdict: found.count(verdict) for verdict in claims.VERDICTS}
    counts["not run"] = len(done["results"]["not_run"])
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


# --- formats -----------------------------------------------------------------------------------


def claims_markdown(done: Mapping[str, Any]) -> str:
    """The claims of a record as one Markdown table, without notes."""
    rows = [row_of(entry) for entry in entries(done)]
    return markdown_table(COLUMNS, rows, {len(COLUMNS) - 1})


def short_markdown(done: Mapping[str, Any]) -> str:
    """The claims of a record as a narrow Markdown table: what a terminal shows, too."""
    rows = [_short(entry) for entry in entries(done)]
    return markdown_table(SHORT_COLUMNS, rows, set())


def notes_markdown(done: Mapping[str, Any]) -> str:
    """What the table of claims has no room for, a claim a line, and what was not run."""
    lines = [
        f"- **{entry['claim']['id']}.** {escape_markdown(_note(entry))}\n"
        for entry in entries(done)
    ]
    lines += [
        f"- **{claim['id']}.** Not run: {escape_markdown(sentence(claim['statement']))} "
        f"{escape_markdown(sentence(claim['reason']))}\n"
        for claim in done["results"]["not_run"]
    ]
    return "".join(lines)


def _claims_markdown(done: Mapping[str, Any]) -> str:
    return f"{claims_markdown(done)}\n{notes_markdown(done)}"


def _claims_csv(done: Mapping[str, Any]) -> str:
    """Numbers in full, one row a claim, what was not run too."""
    fields = ["id", "study", "claim", "source", "reported", "where", "known", "quantity"]
    fields += ["statistic", "region_low", "region_high", "estimate", "low", "high", "scale", "n"]
    fields += ["diverged", "part", "parts", "verdict", "minimum_detectable_effect", "note"]
    out = io.StringIO()
    writer = csv.DictWriter(out, fields, lineterminator="\n", restval="")
    writer.writeheader()
    for entry in entries(done):
        claim, verdict, found = entry["claim"], entry["verdict"], _headline(entry) or {}
        numbers = ("estimate", "low", "high", "scale", "n", "minimum_detectable_effect")
        part = entry["evidence"]["parts"].get(verdict["headline"], {})
        writer.writerow(
            {
                **{field: claim[field] for field in fields if field in claim},
                **{field: found.get(field) for field in numbers},
                "claim": claim["statement"],
                "region_low": claim["region"][0],
                "region_high": claim["region"][1],
                "diverged": _diverged(part) if part else "",
                "part": verdict["headline"],
                "parts": len(verdict["parts"]),
                "verdict": verdict["verdict"],
                "note": _note(entry),
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
        rf"\textbf{{{escape_latex(entry['claim']['id'])}.}} {escape_latex(_note(entry))}"
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


def cell_text(value: Any) -> str:
    """A cell of a study's table as text: numbers that are no counts with four digits."""
    if value is None:
        return ""
    if isinstance(value, float) or value in ("nan", "inf", "-inf"):
        return format_number(value)
    return str(value)


def columns_of_numbers(table: Mapping[str, Any]) -> set[int]:
    """Which columns of a study's table hold no text."""
    columns = enumerate(zip(*table["rows"], strict=True))
    return {n for n, cells in columns if not any(isinstance(cell, str) for cell in cells)}


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


def figures_of(done: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All figures of a record, as plain data: the headline, those of results, of measurements.

    Raises:
        ValueError: two figures have one name, and so would be one file.
    """
    parts = (done["results"]["studies"], done["measurements"]["studies"])
    found = [figure for part in parts for study in part.values() for figure in study["figures"]]
    found = [done["figure"], *found] if "figure" in done else found
    names = [figure["name"] for figure in found]
    if len({name.casefold() for name in names}) < len(names):
        raise ValueError(f"two figures have the same name: {sorted(names)}")
    return found


def terminal_table(done: Mapping[str, Any]) -> Any:
    """The claims of a record for a terminal of 100 columns or more: a rich table.

    Verdicts are words, with a colour besides.
    """
    from rich.table import Table
    from rich.text import Text

    shown = Table(
        title=f"{record.title(done)}: claims",
        title_justify="left",
        title_style="bold",
        caption=verdict_counts(done),
        caption_justify="left",
        box=None,
        pad_edge=False,
        expand=True,
    )
    # Each column says for itself that it may wrap, whatever the console's habit is.
    for name, share in zip(SHORT_COLUMNS, (0, 30, 20, 24, 18), strict=True):
        shown.add_column(name, ratio=share or None, no_wrap=not share, overflow="fold")
    for entry in entries(done):
        *cells, verdict = _short(entry)
        style = STYLES[entry["verdict"]["verdict"]]
        shown.add_row(*(Text(cell) for cell in cells), Text(verdict, style))
    for claim in done["results"]["not_run"]:
        if claim["study"] not in done["results"]["studies"]:
            continue  # the user chose the studies
        shown.add_row(Text(claim["id"]), Text(sentence(f"not run: {claim['reason']}"), "dim"))
    return shown
