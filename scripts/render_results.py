"""Make all that is published of the committed records, or check that it is what they give."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtrends import (
    citing,
    headlines,
    overview,
    paper_page,
    paths,
    plotting,
    publish,
    record,
    report,
    webpage,
    webpage_record,
)
from jaxtrends.errors import Problem
from jaxtrends.formats import showable
from jaxtrends.plot_queue import PlotQueue
from jaxtrends.terminal import mend_streams

RESULTS = record.ROOT / "results"
BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def texts_of_each(results: Path, records: Sequence[Mapping[str, Any]]) -> dict[Path, str]:
    """The texts beside each record, by their paths."""
    return {
        results / publish.folder(done) / name: text
        for done in records
        for name, text in publish.texts(done).items()
    }


def texts_of_all(results: Path, records: Sequence[Mapping[str, Any]]) -> dict[Path, str]:
    """The texts that are made of several records, by their paths.

    The project's README is one of them, if it has the two marks between which a summary goes.
    """
    texts = {
        results / "README.md": overview.index(records),
        results / "headlines.tex": citing.headlines_latex(overview.answering(records)),
        results / "references.bib": publish.bibliography(records),
    }
    stale = publish.stale_marks(records)
    for experiment in {done["experiment"]: 0 for done in publish.in_order(records)}:
        mine = [done for done in records if done["experiment"] == experiment]
        texts[results / experiment / "README.md"] = paper_page.page(mine, stale)
    readme = results.parent / "README.md"
    if readme.is_file():
        text = readme.read_text(encoding="utf-8")
        begin, end = text.find(BEGIN), text.find(END)
        if 0 <= begin < end:
            shown = overview.summary(records)
            texts[readme] = f"{text[: begin + len(BEGIN)]}\n\n{shown}\n{text[end:]}"
    return texts


def site(results: Path, records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The site, path -> text, from the records, their curves and their drawn figures."""
    return webpage.site(
        [
            webpage_record.source(done, results / publish.folder(done), published=True)
            for done in publish.in_order(_with_curves(results, records))
        ]
    )


def render(results: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write texts, figures and the site; a figure whose data have not changed is left as it is.

    Raises:
        Problem: a figure cannot be drawn, which is said when all else is made; or something that
            would be written is a link.
    """
    folders = {results / done["experiment"] for done in records}
    figures = (results / publish.folder(done) / "figures" for done in records)
    for place in [results, *sorted(folders), *figures]:
        _refuse_links(results, place)
    texts = texts_of_each(results, records) | texts_of_all(results, records)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    with PlotQueue() as plots:
        for done in records:
            place = results / publish.folder(done) / "figures"
            expected = _expected_figures(place, done)
            for path in _drawings(place) - set(expected):
                path.unlink()
            stale = {path.stem for path, digest in expected.items() if _drawn_from(path) != digest}
            plots.order([f for f in report.drawn_of(done) if f["name"] in stale], place)
        plots.finish()
    files = site(results, records)
    for place in sorted({(results / name).parent for name in files}):
        _refuse_links(results, place)
    webpage.write(files, results)
    for name in webpage.in_folder(results) - set(files):
        (results / name).unlink()
    if plots.undrawn:
        raise Problem(f"{plots.complaint}: mend that, and render again.")


def _refuse_links(results: Path, place: Path) -> None:
    """Links in a folder from elsewhere could have us write anywhere.

    Raises:
        Problem: the place leads out of the results, or what is directly in it or around it does.
    """
    for path in (place, *place.glob("*"), *place.parent.glob("*")):
        if path.is_symlink() or not path.resolve().is_relative_to(results.resolve().parent):
            raise Problem(f"{path} is a link, through which nothing is written: remove it.")


def _expected_figures(place: Path, done: Mapping[str, Any]) -> dict[Path, str]:
    return {
        place / f"{figure['name']}{suffix}": plotting.data_digest(figure)
        for figure in report.drawn_of(done)
        for suffix in (".svg", ".png")
    }


def _drawings(place: Path) -> set[Path]:
    return {*place.glob("*.svg"), *place.glob("*.png")}


def _drawn_from(path: Path) -> str:
    return plotting.drawn_from(path) if path.is_file() else ""


def faults(
    results: Path, records: Sequence[Mapping[str, Any]], damaged: Sequence[str] = ()
) -> list[str]:
    """What is wrong with the committed results, a sentence each.

    Args:
        results: the folder of the records.
        records: those that can be read.
        damaged: what is wrong with the others. Where there are any, texts of several records are
            not looked at: they cannot be right.
    """
    found = list(damaged)
    texts = texts_of_each(results, records)
    for path, text in (texts if damaged else texts | texts_of_all(results, records)).items():
        if not path.is_file():
            found.append(f"{path} is missing")
        elif publish.without_stale_marks(path.read_text(encoding="utf-8", errors="replace")) != (
            publish.without_stale_marks(text)
        ):
            found.append(f"{path} is not what the records give")
    for done in records:
        found += [f"{results / publish.folder(done)}/{fault}" for fault in _record_faults(done)]
        found += _file_faults(results / publish.folder(done), done)
    return found or _page_faults(results, records)


def _page_faults(results: Path, records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with the site, looked at only where all that it is made of is right."""
    found, files = [], site(results, records)
    for name, text in files.items():
        path = results / name
        if not path.is_file():
            found.append(f"{path} is missing")
        elif webpage.without_stale_marks(path.read_text(encoding="utf-8", errors="replace")) != (
            webpage.without_stale_marks(text)
        ):
            found.append(f"{path} is not what the records give")
    orphans = webpage.in_folder(results) - set(files)
    return found + [f"{results / name} is of no record" for name in sorted(orphans)]


def _with_curves(results: Path, records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The records whose curves can be read; the others are faults, and not on the site."""

    def readable(done: Mapping[str, Any]) -> bool:
        try:
            record.read_curves(results / publish.folder(done), done)
        except Problem:
            return False
        return True

    return [done for done in records if readable(done)]


def _record_faults(done: Mapping[str, Any]) -> list[str]:
    reason = record.publishable(done)
    found = [f"record.json may not be published: {reason}"] if reason else []
    for entry in record.entries(done):
        try:
            again = record.judge_again(entry)
        except Problem as problem:
            found.append(f"record.json: {str(problem).removesuffix('.')}")
            continue
        if again != entry["verdict"]:
            found.append(
                f"record.json: claim {entry['claim']['id']} says {entry['verdict']['verdict']}; "
                f"judged again from its raw samples it is {again['verdict']}"
                f"{', with other numbers' * (again['verdict'] == entry['verdict']['verdict'])}"
            )
    return found


def _file_faults(place: Path, done: Mapping[str, Any]) -> list[str]:
    found = []
    expected = _expected_figures(place / "figures", done)
    for path, digest in expected.items():
        if not path.is_file():
            found.append(f"{path} is missing")
        elif plotting.drawn_from(path) != digest:
            found.append(f"{path} was drawn from other data")
    orphans = _drawings(place / "figures") - set(expected)
    found += [f"{path} is no figure of the record" for path in sorted(orphans)]
    curves = place / "curves.npz"
    if not curves.is_file():
        return [*found, f"{curves} is missing"]
    try:
        record.read_curves(place, done)
    except Problem as problem:
        found.append(str(problem).removesuffix("."))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 where the check finds a fault; 2 where the user must change something.
    """
    mend_streams()
    parser = argparse.ArgumentParser(prog="python -m scripts.render_results", description=__doc__)
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; fail if a text, figure, verdict or curve is not what the records give",
    )
    parser.add_argument(
        "--results",
        type=paths.argument,
        default=RESULTS,
        help="folder of the records (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    try:
        if not options.results.is_dir():
            raise Problem(
                f"There is no folder {options.results}: the committed records lie in a checkout of "
                "the repository; run this in one, or name their folder with --results."
            )
        records, damaged = publish.sound_records(options.results)
        for done in records:
            if not headlines.of(done):
                print(
                    f"warning: {publish.folder(done)} has no headline, so it answers nothing in "
                    "front: mark one to three claims headline=True, and python -m scripts.retell."
                )
        for place, studies in publish.stale_marks(records).items():
            print(f"warning: {place} is stale: {', '.join(studies)} changed behaviour since.")
        if not options.check:
            render(options.results, records)
        found = faults(options.results, records, [fault.removesuffix(".") for fault in damaged])
    except Problem as problem:
        print(f"error: {showable(str(problem))}", file=sys.stderr)
        return 2
    for fault in found:
        print(f"fault: {showable(fault)}.", file=sys.stderr)
    done = "checked" if options.check else "rendered"
    print(f"{len(records)} records {done}, {len(found)} faults.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
