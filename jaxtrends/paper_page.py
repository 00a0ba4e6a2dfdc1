"""One paper's page, results/<experiment>/README.md: the answer first, then what it rests on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtrends import citing, headlines, publish, record, report, tables
from jaxtrends.formats import escape_markdown as md
from jaxtrends.formats import inline_code

SOURCES = {
    "paper": "Claims of the paper",
    "critic": "Claims of its critics",
    "derived": "Claims derived by us",
}


def page(records: Sequence[Mapping[str, Any]], stale: Mapping[str, Sequence[str]]) -> str:
    """The page of one paper, as Markdown.

    Args:
        records: all records of one experiment; the first, by `publish.in_order`, answers.
        stale:   `publish.folder` of a record -> its studies that have changed since.
    """
    done, *others = publish.in_order(records)
    pieces = [
        f"# {md(done['experiment'])}: {md(done['paper']['title'])}\n",
        "<!-- Made by python -m scripts.render_results: edit nothing here. -->\n",
        f"{publish.cited(done['paper'])}. {md(done['about'])} [All papers](../README.md)\n",
        _stale(done, stale),
        _answer(done),
        *(_claims(done, source) for source in SOURCES),
        _not_run(done),
        f"## Tables\n\n{_tables(done)}\n",
        _figures(done),
        _departures(done),
        f"## How to run it again\n\n{_again(done)}\n",
        _cite(done),
        "## Other records\n" if others else "",
        *(_brief(other, stale) for other in others),
    ]
    return "\n".join(piece for piece in pieces if piece)


def _place(done: Mapping[str, Any]) -> str:
    """A record's folder as seen from its paper's page."""
    return record.edition(done)


def _named(done: Mapping[str, Any]) -> str:
    """What a record is called on its paper's page: "preset full, GPU"."""
    return record.title(done).removeprefix(f"{done['experiment']}, ")


def _stale(done: Mapping[str, Any], stale: Mapping[str, Sequence[str]]) -> str:
    changed = stale.get(publish.folder(done), ())
    if not changed:
        return ""
    return f"> **Stale.** The behaviour of {', '.join(changed)} has changed since this run.\n"


def _answer(done: Mapping[str, Any]) -> str:
    named = f"From the record of {md(_named(done))}. {report.verdict_counts(done)}"
    pieces = [
        f'<a id="{publish.anchor(done)}"></a>\n\n## The answer\n',
        md(done.get("answer", "")),
        f"Caveat: {md(done['caveat'])}." if done.get("caveat") else "",
        _headlines(done),
        _picture(done, done["figure"]) if done.get("figure") else "",
        f"{named} Scale: {md(done['scale'])}\n",
    ]
    return "\n\n".join(piece.rstrip("\n") for piece in pieces if piece) + "\n"


def _headlines(done: Mapping[str, Any]) -> str:
    found = headlines.of(done)
    return tables.short_markdown(found) if found else "No claim of this record is a headline."


def _claims(done: Mapping[str, Any], source: str) -> str:
    found = [entry for entry in report.entries(done) if entry["claim"]["source"] == source]
    if not found:
        return ""
    return (
        f"## {SOURCES[source]}\n\n{tables.claims_markdown(found)}\n"
        "<details><summary>Notes on each claim: intervals, regions, controls</summary>\n\n"
        f"{tables.notes_markdown(found)}\n</details>\n"
    )


def _not_run(done: Mapping[str, Any]) -> str:
    lines = tables.not_run_markdown(done)
    return f"## Not run in this record\n\n{lines}" if lines else ""


def _tables(done: Mapping[str, Any]) -> str:
    here = _place(done)
    return (
        f"[Markdown, with every part and study]({here}/table.md), [CSV]({here}/table.csv), "
        f"[LaTeX]({here}/table.tex). Data: [record]({here}/record.json), "
        f"[curves]({here}/curves.npz).\n"
    )


def _picture(done: Mapping[str, Any], figure: Mapping[str, Any]) -> str:
    path = f"{_place(done)}/figures/{figure['name']}"
    return (
        f"![{md(figure['title'])}]({path}.svg)\n\n"
        f"**{md(report.sentence(figure['title']))}** {md(figure['caption'])} ([PNG]({path}.png))\n"
    )


def _figures(done: Mapping[str, Any]) -> str:
    drawn = [_picture(done, figure) for figure in report.figures_of(done)]
    if not drawn:
        return ""
    fold = f"<details><summary>{len(drawn)} figure{'s' * (len(drawn) > 1)}</summary>\n"
    return "\n".join(["## Figures\n", fold, *drawn, "</details>\n"])


def _departures(done: Mapping[str, Any]) -> str:
    listed = "".join(f"- {md(departure)}\n" for departure in done["departures"])
    return (
        f"## Departures from the paper\n\n{listed or 'None known.' + chr(10)}\n"
        f"How the toy could have been rigged, and what prevents it: {md(done['rigging'])}\n"
    )


def _again(done: Mapping[str, Any]) -> str:
    return (
        f"- To make it again: {inline_code(done['provenance']['command'])}; to compare with this "
        f"record: `python -m scripts.verify results/{publish.folder(done)}`\n"
        f"- Cost: {_cost(done)}\n"
        f"- Data sets: {_data(done)}\n"
        f"- Made from {_origin(done)}\n"
    )


def _cost(done: Mapping[str, Any]) -> str:
    measured = done["measurements"]
    studies = ", ".join(
        f"{name} {publish.duration(study['seconds'])}"
        for name, study in measured["studies"].items()
    )
    memory = measured["peak_memory_bytes"] / 2**30
    return (
        f"{publish.duration(measured['seconds'])} in all ({studies}), "
        f"{memory:.1f} GiB of memory at most"
    )


def _data(done: Mapping[str, Any]) -> str:
    sets = (
        f"{md(name)} {md(data['version'])} ({md(data['origin'].rstrip('.'))}; "
        f"{md(data['licence'])}; SHA-256 `{data['digest'][:16]}…`)"
        for name, data in done["results"]["data"].items()
    )
    return ", ".join(sets) or "none but what it makes itself"


def _origin(done: Mapping[str, Any]) -> str:
    made = done["provenance"]
    versions = ", ".join(f"{md(name)} {md(version)}" for name, version in made["versions"].items())
    text = (
        f"commit `{made['commit'][:12]}` on {md(publish.device_text(made['device']))}, "
        f"{md(made['system'])}, {made['started'][:10]}{publish.resumed(made)}; {versions}"
    )
    other: dict[str, list[str]] = {}
    for study, code in made["code"].items():
        if (code["commit"], code["device"]) != (made["commit"], made["device"]):
            device = md(publish.device_text(code["device"]))
            other.setdefault(f"commit `{code['commit'][:12]}` on {device}", []).append(study)
    for where, studies in other.items():
        text += f". {'The study' if len(studies) == 1 else 'The studies'} {', '.join(studies)}: "
        text += where
    if made.get("retold"):
        text += f". Worded as of commit `{made['retold'][:12]}`"
    return text


def _cite(done: Mapping[str, Any]) -> str:
    bibtex = publish.citation(done)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", bibtex)), default=0))
    said = f"> {md(citing.sentence(done))}\n\n" if headlines.of(done) else ""
    return (
        f"## How to cite it\n\n{said}"
        f"`python -m scripts.cite {publish.folder(done)} --sentence` prints this sentence, and "
        "without `--sentence` the BibTeX of the paper, the suite and the record:\n\n"
        f"<details><summary>BibTeX</summary>\n\n{fence}bibtex\n{bibtex}\n{fence}\n\n</details>\n"
    )


def _brief(done: Mapping[str, Any], stale: Mapping[str, Sequence[str]]) -> str:
    """A record that another one answers for, on its paper's page."""
    pieces = [
        f'<a id="{publish.anchor(done)}"></a>\n\n### {_title(done)}\n',
        _stale(done, stale),
        md(done.get("answer", "")),
        report.verdict_counts(done),
        _headlines(done),
        _folded_not_run(done),
        f"Tables: {_tables(done)}",
        f"Scale: {md(done['scale'])}",
        _again(done),
    ]
    return "\n\n".join(piece.rstrip("\n") for piece in pieces if piece) + "\n"


def _title(done: Mapping[str, Any]) -> str:
    name = md(_named(done))
    return name[:1].upper() + name[1:]


def _folded_not_run(done: Mapping[str, Any]) -> str:
    lines = tables.not_run_markdown(done)
    return f"<details><summary>Not run</summary>\n\n{lines}\n</details>" if lines else ""
