"""Make a site of runs of your own, beside the suite's committed results."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxtrends import paths, publish, record, webpage, webpage_record
from jaxtrends.errors import Problem
from jaxtrends.formats import showable
from jaxtrends.terminal import mend_streams
from jaxtrends.webpage_record import Source

RESULTS = record.ROOT / "results"


def runs(folders: Sequence[Path], output: Path) -> tuple[list[Source], list[str]]:
    """The runs that can be read, and of the others why not, a sentence each.

    A run is called by its folder as seen from the site's, so that a reader finds what is not in it.
    """
    found, problems = [], []
    for run in folders:
        folder = run.parent if run.is_file() else run
        try:
            found.append(webpage_record.load(run, published=False, place=_place(folder, output)))
        except Problem as problem:
            problems.append(str(problem))
    return found, problems


def committed(results: Path, output: Path) -> tuple[list[Source], list[str]]:
    """The committed results that can be read, in their order, and of the others why not."""
    records, problems = publish.sound_records(results)
    found = []
    for done in publish.in_order(records):
        folder = results / publish.folder(done)
        try:
            found.append(
                webpage_record.source(done, folder, published=True, place=_place(folder, output))
            )
        except Problem as problem:
            problems.append(str(problem))
    return found, problems


def _place(folder: Path, output: Path) -> str:
    return Path(os.path.relpath(folder.resolve(), output.resolve())).as_posix()


def make(folders: Sequence[Path], results: Path, output: Path) -> list[str]:
    """Write the site into a folder.

    Returns:
        what is wrong with runs that were named, a sentence each; the rest of the site is made.

    Raises:
        Problem: it cannot be written.
    """
    own, faults = runs(folders, output)
    others, damaged = committed(results, output)
    bare = webpage.without_headline([*own, *others])
    for sentence in (*damaged, *bare):
        print(f"warning: {showable(sentence)}", file=sys.stderr)
    files = webpage.site([*own, *others], [*faults, *damaged])
    try:
        webpage.write(files, output)
    except OSError as error:
        raise Problem(
            f"{output} cannot be written ({error.strerror}): name another --output."
        ) from None
    size = sum(len(text.encode()) for text in files.values()) / 1e6
    print(f"{output / 'index.html'}: {len(files)} files, {size:.1f} MB. Open it in a browser.")
    return faults


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 2 where the user must change something.
    """
    mend_streams()
    parser = argparse.ArgumentParser(prog="python -m scripts.webpage", description=__doc__)
    parser.add_argument(
        "runs", nargs="+", type=paths.argument, help="folders of runs, or their record.json"
    )
    parser.add_argument(
        "--output",
        type=paths.argument,
        default=Path("site"),
        help="folder of the site (default: %(default)s)",
    )
    parser.add_argument(
        "--results",
        type=paths.argument,
        default=RESULTS,
        help="folder of the committed results (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    try:
        faults = make(options.runs, options.results, options.output)
    except Problem as problem:
        faults = [str(problem)]
    for fault in faults:
        print(f"error: {showable(fault)}", file=sys.stderr)
    return 2 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
