"""Committed records: where they lie, in which order, the tables beside each, and BibTeX of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtrends import golden, record, report, tables
from jaxtrends.errors import Problem
from jaxtrends.formats import escape_latex, markdown_table
from jaxtrends.formats import escape_markdown as md

STALE = re.compile(r"^> \*\*Stale\.\*\* .*\n\n", re.MULTILINE)
ORDER = {"large": 0, "full": 1, "default": 2}


def in_order(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Records by experiment; of one experiment the largest preset first, on a CPU before others.

    Records that are stale come after all that are not: what they say is no longer claimed.
    """

    def place(done: Mapping[str, Any]) -> tuple[str, bool, int, str]:
        stale = bool(golden.stale_studies(done))
        return done["experiment"], stale, ORDER.get(done["preset"], 3), record.edition(done)

    return sorted(records, key=place)


def folder(done: Mapping[str, Any]) -> str:
    """Where a record lies within the results: ``<experiment>/<preset>``, or `record.edition`."""
    return f"{done['experiment']}/{record.edition(done)}"


def anchor(done: Mapping[str, Any]) -> str:
    """The anchor of a record, in the index of results and on its paper's page."""
    return f"{done['experiment']}-preset-{record.edition(done)}"


def read_records(results: Path, experiment: str = "*") -> list[dict[str, Any]]:
    """Every record.json under a folder of results, each in its own `folder`.

    Args:
        results:    the folder.
        experiment: whose records to read; those of all by default.

    Raises:
        Problem: one is no valid record, or lies in a folder that is not its own.
    """
    return [_read_in_place(path, results) for path in _record_files(results, experiment)]


def sound_records(results: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The records that can be read under a folder of results, and what is wrong with the others.

    Returns:
        The records; a sentence for each record that is damaged, of another schema or misplaced, or
        whose golden values are damaged.
    """
    records, faults = [], []
    for path in _record_files(results):
        try:
            done = _read_in_place(path, results)
            golden.stale_studies(done)
        except Problem as problem:
            faults.append(str(problem))
        else:
            records.append(done)
    return records, list(dict.fromkeys(faults))


def _record_files(results: Path, experiment: str = "*") -> list[Path]:
    return sorted(results.glob(f"{experiment}/*/record.json"))


def _read_in_place(path: Path, results: Path) -> dict[str, Any]:
    done = record.read(path)
    if results / folder(done) != path.parent:
        raise Problem(f"{path} is a record of {folder(done)}: move it to that folder.")
    return done


def without_stale_marks(text: str) -> str:
    """A page without its marks of staleness, which depend on today's code and not on a record."""
    return STALE.sub("", text)


def resumed(made: Mapping[str, Any]) -> str:
    """Of a record's provenance: that the run was stopped and resumed, and how often; maybe ""."""
    times = len(made.get("resumed", ()))
    return f", resumed {times} time{'s' * (times > 1)}" if times else ""


def duration(seconds: float) -> str:
    """A time in words: seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def device_text(device: Mapping[str, Any]) -> str:
    """A record's device in words."""
    host = f"{device['processor']}, {device['cores']} cores"
    mesh = ", ".join(f"{axis} {size}" for axis, size in device.get("mesh", {}).items())
    spread = f", a lane spread over {mesh}" if mesh else ""
    return f"{device['count']} × {device['kind']} ({host}){spread}"


def cited(paper: Mapping[str, Any]) -> str:
    """A paper in Markdown: authors, year, title, and a link to it where there is one."""
    arxiv = f", [arXiv:{paper['arxiv']}](https://arxiv.org/abs/{paper['arxiv']})"
    title = md(paper["title"])
    return f"{md(paper['authors'])} ({paper['year']}), *{title}*{arxiv if paper['arxiv'] else ''}"


def _parts(entry: Mapping[str, Any]) -> str:
    rows = [
        [
            name,
            report.interval_of(found),
            found["verdict"],
            "" if found["holm_p"] is None else report.p_value_of(found["holm_p"]).lstrip("= "),
            str(found["n"]),
        ]
        for name, found in entry["verdict"]["parts"].items()
    ]
    columns = ("Part", "Ours [95% interval]", "Verdict", "Holm p", "n")
    title = f"### {entry['claim']['id']}: {md(entry['claim']['statement'])}\n\n"
    return title + markdown_table(columns, rows, {3, 4})


def study_tables(done: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The tables of all studies of a record, each with its study's name."""
    parts = (done["results"]["studies"], done["measurements"]["studies"])
    return [(name, t) for part in parts for name, study in part.items() for t in study["tables"]]


def tables_markdown(done: Mapping[str, Any]) -> str:
    """The page table.md beside a record: claims, all parts of families, the studies' tables."""
    families = [entry for entry in report.entries(done) if len(entry["verdict"]["parts"]) > 1]
    own = study_tables(done)
    pieces = [
        f"# {record.title(done)}\n",
        f"{md(done['scale'])} Paper: {cited(done['paper'])}.\n",
        "## Claims\n",
        tables.claims_table(done, "markdown"),
        *(["## Claims of several parts\n"] if families else []),
        *(_parts(entry) for entry in families),
        *(["## Tables of the studies\n"] if own else []),
        *(tables.study_table(table, "markdown") for _, table in own),
    ]
    return "\n".join(pieces)


def tables_latex(done: Mapping[str, Any]) -> str:
    """The file table.tex beside a record: the claims, and the studies' tables."""
    own = [tables.study_table(table, "latex") for _, table in study_tables(done)]
    return "\n".join([tables.claims_table(done, "latex"), *own])


def _suite(done: Mapping[str, Any] | None) -> str:
    """BibTeX of this suite, at the commit of a record."""
    fields = {"title": "{jaxtrends}: small, fast, honest reruns of machine-learning trends"}
    fields["author"] = "{The jaxtrends authors}"
    if done is not None:
        fields["year"] = done["provenance"]["started"][:4]
        version = done["provenance"]["versions"].get("jaxtrends", "")
        fields["version"] = "" if version == "not installed" else version
        fields["note"] = f"Commit {done['provenance']['commit'][:12]}"
    return _bibtex("software", "jaxtrends", fields)


def _bibtex(kind: str, key: str, fields: Mapping[str, str]) -> str:
    rows = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items() if value)
    return f"@{kind}{{{key},\n{rows}}}"


def bibliography(records: Sequence[Mapping[str, Any]]) -> str:
    """BibTeX of every paper and of this suite, as of its newest record."""
    papers = {done["paper"]["key"]: done["paper"]["bibtex"].strip() for done in in_order(records)}
    newest = max(records, key=lambda done: done["provenance"]["started"], default=None)
    return "\n\n".join([*(papers[key] for key in sorted(papers)), _suite(newest)]) + "\n"


def citation(done: Mapping[str, Any]) -> str:
    """BibTeX of a record's paper, of this suite, and of the record itself.

    The record is named by its commit and by the digest of its results, which another run of the
    same commit and config has too.
    """
    made = done["provenance"]
    results, edition = record.digest(done["results"]), record.edition(done)
    title = f"jaxtrends on “{done['paper']['title']}”: {done['experiment']}, {edition}"
    own = {
        "title": escape_latex(title),
        "author": "{The jaxtrends authors}",
        "year": made["started"][:4],
        "note": escape_latex(
            f"Commit {made['commit'] or 'none'}, SHA-256 of the results {results}, "
            f"{device_text(record.device(done))}"
        ),
    }
    entry = _bibtex("misc", record_key(done), own)
    return "\n\n".join([done["paper"]["bibtex"].strip(), _suite(done), entry])


def record_key(done: Mapping[str, Any]) -> str:
    """The BibTeX key of a record."""
    return f"jaxtrends-{done['experiment']}-{record.edition(done)}".replace("_", "-")


def texts(done: Mapping[str, Any]) -> dict[str, str]:
    """The files of text beside a record: name -> content."""
    return {
        "table.md": tables_markdown(done),
        "table.csv": tables.claims_table(done, "csv"),
        "table.tex": tables_latex(done),
    }


def stale_marks(records: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """`folder` of each record that is stale -> its studies that are."""
    stale = {folder(done): golden.stale_studies(done) for done in records}
    return {name: studies for name, studies in stale.items() if studies}
