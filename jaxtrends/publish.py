"""What is published of records: the index of results, a page of tables each, a bibliography."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtrends import golden, record, report
from jaxtrends.errors import Problem
from jaxtrends.formats import escape_latex, markdown_table
from jaxtrends.formats import escape_markdown as md

INTRODUCTION = """\
# Results

Made from the records in the folders below by `python -m scripts.render_results`; edit nothing here.

A claim is declared before the run: what is measured, and the region in which its 95 % interval must
lie. Wholly inside, the claim is *reproduced*; wholly outside, *not reproduced*; otherwise
*inconclusive*, with the effect that a study of this size finds with a power of 80 %. *Partly
reproduced*: some of a claim's parts are and others are not. *Invalid*: a control came out wrong.
*Reported* is the figure of the paper, or of a critic where it says so; it is empty where the source
gives none that could be verified.
"""
STALE = re.compile(r"^> \*\*Stale\.\*\* .*\n\n", re.MULTILINE)
ORDER = {"large": 0, "full": 1, "default": 2}


def in_order(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Records by experiment; of one experiment the largest preset first, on a CPU before others."""
    return sorted(
        records,
        key=lambda r: (r["experiment"], ORDER.get(r["preset"], 3), record.edition(r)),
    )


def folder(done: Mapping[str, Any]) -> str:
    """Where a record lies within the results: ``<experiment>/<preset>``, or `record.edition`."""
    return f"{done['experiment']}/{record.edition(done)}"


def anchor(done: Mapping[str, Any]) -> str:
    """The anchor that a record's heading in the index has."""
    return f"{done['experiment']}-preset-{record.edition(done)}"


def read_records(results: Path) -> list[dict[str, Any]]:
    """Every record.json under a folder of results, each in its own `folder`.

    Raises:
        Problem: one is no valid record, or lies in a folder that is not its own.
    """
    records = []
    for path in sorted(results.glob("*/*/record.json")):
        done = record.read(path)
        if results / folder(done) != path.parent:
            raise Problem(f"{path} is a record of {folder(done)}: move it to that folder.")
        records.append(done)
    return records


def without_stale_marks(text: str) -> str:
    """An index without its marks of staleness, which depend on today's code and not on a record."""
    return STALE.sub("", text)


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


def _citation(paper: Mapping[str, Any]) -> str:
    arxiv = f", [arXiv:{paper['arxiv']}](https://arxiv.org/abs/{paper['arxiv']})"
    title = md(paper["title"])
    return f"{md(paper['authors'])} ({paper['year']}), *{title}*{arxiv if paper['arxiv'] else ''}"


def _cost(done: Mapping[str, Any]) -> str:
    measured = done["measurements"]
    studies = ", ".join(
        f"{name} {duration(study['seconds'])}" for name, study in measured["studies"].items()
    )
    memory = measured["peak_memory_bytes"] / 2**30
    return f"{duration(measured['seconds'])} in all ({studies}), {memory:.1f} GiB of memory at most"


def _origin(done: Mapping[str, Any]) -> str:
    made = done["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    text = (
        f"commit `{made['commit'][:12]}` on {md(device_text(made['device']))}, "
        f"{md(made['system'])}, {made['started'][:10]}; {versions}"
    )
    other: dict[str, list[str]] = {}
    for study, code in made["code"].items():
        if (code["commit"], code["device"]) != (made["commit"], made["device"]):
            where = f"commit `{code['commit'][:12]}` on {md(device_text(code['device']))}"
            other.setdefault(where, []).append(study)
    for where, studies in other.items():
        text += f". {'The study' if len(studies) == 1 else 'The studies'} {', '.join(studies)}: "
        text += where
    return text


def _data(done: Mapping[str, Any]) -> str:
    sets = (
        f"{md(name)} {data['version']} ({md(data['origin'])}; {md(data['licence'])}; "
        f"SHA-256 `{data['digest'][:16]}…`)"
        for name, data in done["results"]["data"].items()
    )
    return ", ".join(sets) or "none but what it makes itself"


def _figures(done: Mapping[str, Any]) -> str:
    text = ""
    for figure in report.figures_of(done):
        path = f"{folder(done)}/figures/{figure['name']}"
        text += f"![{md(figure['title'])}]({path}.svg)\n\n"
        text += f"**{md(figure['title'])}.** {md(figure['caption'])} ([PNG]({path}.png))\n\n"
    return text


def _section(done: Mapping[str, Any], stale: Sequence[str]) -> str:
    here = folder(done)
    none = ["  - none known\n"]
    mark = ""
    if stale:
        mark = f"> **Stale.** The behaviour of {', '.join(stale)} has changed since this run.\n\n"
    departures = [f"  - {md(departure)}\n" for departure in done["departures"]]
    return (
        f"## {record.title(done)}\n\n{mark}"
        f"{md(done['about'])} Paper: {_citation(done['paper'])}. Scale: {md(done['scale'])}\n\n"
        f"{report.claims_markdown(done)}\n"
        f"<details><summary>Notes on each claim: intervals, regions, controls</summary>\n\n"
        f"{report.notes_markdown(done)}\n</details>\n\n"
        f"{_figures(done)}"
        f"- Tables: [Markdown, with every part and study]({here}/table.md), "
        f"[CSV]({here}/table.csv), [LaTeX]({here}/table.tex). "
        f"Data: [record]({here}/record.json), [curves]({here}/curves.npz)\n"
        f"- Cost: {_cost(done)}\n"
        f"- How the toy could have been rigged, and what prevents it: {md(done['rigging'])}\n"
        f"- Departures from the paper:\n{''.join(departures or none)}"
        f"- Data sets: {_data(done)}\n"
        f"- To run it again: `{done['provenance']['command']}`; "
        f"to compare with this record: `python -m scripts.verify results/{here}`\n"
        f"- Made from {_origin(done)}\n"
    )


def index_page(records: Sequence[Mapping[str, Any]], stale: Mapping[str, Sequence[str]]) -> str:
    """The page results/README.md.

    Args:
        records: what to publish.
        stale:   `folder` of a record -> its studies that have changed since.
    """
    rows = [
        f"| [{done['experiment']}](#{anchor(done)}) | {record.title(done).partition('preset ')[2]} "
        f"| {_citation(done['paper'])} | {report.verdict_counts(done)} |\n"
        for done in in_order(records)
    ]
    table = "| Experiment | Preset | Paper | Verdicts |\n| :-- | :-- | :-- | :-- |\n" + "".join(
        rows
    )
    sections = [_section(done, stale.get(folder(done), ())) for done in in_order(records)]
    cite = "To cite a paper or this suite: [references.bib](references.bib).\n"
    return "\n".join([INTRODUCTION, table if rows else "There are none yet.\n", cite, *sections])


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
    columns = ("Part", "Ours [95 % interval]", "Verdict", "Holm p", "n")
    title = f"### {entry['claim']['id']}: {md(entry['claim']['statement'])}\n\n"
    return title + markdown_table(columns, rows, {3, 4})


def study_tables(done: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The tables of all studies of a record, each with its study's name."""
    parts = (done["results"]["studies"], done["measurements"]["studies"])
    return [(name, t) for part in parts for name, study in part.items() for t in study["tables"]]


def tables_markdown(done: Mapping[str, Any]) -> str:
    """The page table.md beside a record: claims, all parts of families, the studies' tables."""
    families = [entry for entry in report.entries(done) if len(entry["verdict"]["parts"]) > 1]
    tables = study_tables(done)
    pieces = [
        f"# {record.title(done)}\n",
        f"{md(done['scale'])} Paper: {_citation(done['paper'])}.\n",
        "## Claims\n",
        report.claims_table(done, "markdown"),
        *(["## Claims of several parts\n"] if families else []),
        *(_parts(entry) for entry in families),
        *(["## Tables of the studies\n"] if tables else []),
        *(report.study_table(table, "markdown") for _, table in tables),
    ]
    return "\n".join(pieces)


def tables_latex(done: Mapping[str, Any]) -> str:
    """The file table.tex beside a record: the claims, and the studies' tables."""
    tables = [report.study_table(table, "latex") for _, table in study_tables(done)]
    return "\n".join([report.claims_table(done, "latex"), *tables])


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
    key = f"jaxtrends-{done['experiment']}-{edition}".replace("_", "-")
    return "\n\n".join([done["paper"]["bibtex"].strip(), _suite(done), _bibtex("misc", key, own)])


def summary(records: Sequence[Mapping[str, Any]]) -> str:
    """What the project's README shows: of each experiment its largest preset, in short.

    The table of claims is open for the first experiment and folded for the others.
    """
    text, seen = "", set()
    for done in in_order(records):
        if done["experiment"] in seen:
            continue
        seen.add(done["experiment"])
        text += (
            f"**{done['experiment']}**, preset {done['preset']}: {report.verdict_counts(done)} "
            f"([notes, figures, provenance](results/README.md#{anchor(done)})). "
            f"{md(done['scale'])}\n\n"
            f"<details{'' if len(seen) > 1 else ' open'}><summary>Claim by claim</summary>\n\n"
            f"{report.short_markdown(done)}\n</details>\n\n"
        )
    return text or "None yet.\n"


def texts(done: Mapping[str, Any]) -> dict[str, str]:
    """The files of text beside a record: name -> content."""
    return {
        "table.md": tables_markdown(done),
        "table.csv": report.claims_table(done, "csv"),
        "table.tex": tables_latex(done),
    }


def stale_marks(records: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """`folder` of each record that is stale -> its studies that are."""
    stale = {folder(done): golden.stale_studies(done) for done in records}
    return {name: studies for name, studies in stale.items() if studies}
