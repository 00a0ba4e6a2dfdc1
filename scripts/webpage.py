"""Make the results page from runs of your own, beside the suite's committed results."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxtrends import paths, publish, record, webpage
from jaxtrends.errors import Problem
from jaxtrends.formats import showable
from jaxtrends.terminal import mend_streams

RESULTS = record.ROOT / "results"


def sources(runs: Sequence[Path], results: Path, output: Path) -> list[webpage.Source]:
    """The runs, then the committed results.

    A run is called by its folder as seen from the page, so that a reader finds what is not in it.

    Raises:
        Problem: there is no record in one of them, or it cannot be read.
    """
    found = []
    for run in runs:
        folder = (run.parent if run.is_file() else run).resolve()
        place = Path(os.path.relpath(folder, output.resolve().parent)).as_posix()
        found.append(webpage.load(run, published=False, place=place))
    for done in publish.in_order(publish.read_records(results)):
        found.append(webpage.load(results / publish.folder(done), published=True))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 2 where the user has something to mend.
    """
    mend_streams()
    parser = argparse.ArgumentParser(prog="python -m scripts.webpage", description=__doc__)
    parser.add_argument(
        "runs", nargs="+", type=paths.argument, help="folders of runs, or their record.json"
    )
    parser.add_argument(
        "--output",
        type=paths.argument,
        default=Path("page.html"),
        help="the page (default: %(default)s)",
    )
    parser.add_argument(
        "--results",
        type=paths.argument,
        default=RESULTS,
        help="folder of the committed results (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    try:
        text = webpage.page(sources(options.runs, options.results, options.output))
        try:
            options.output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise Problem(
                f"{options.output} cannot be written ({error.strerror}): name another --output."
            ) from None
    except Problem as problem:
        print(f"error: {showable(str(problem))}", file=sys.stderr)
        return 2
    print(f"{options.output}: {len(text.encode()) / 1e6:.1f} MB. Open it in a browser.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
