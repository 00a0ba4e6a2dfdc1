"""Give committed records today's wording and headlines; what was measured and judged stays."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxtrends import paths, publish, record
from jaxtrends.errors import Problem, choose
from jaxtrends.experiment import discover
from jaxtrends.formats import showable
from jaxtrends.retelling import retold
from jaxtrends.terminal import mend_streams

RESULTS = record.ROOT / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, or 2 where the user has something to mend."""
    mend_streams()
    parser = argparse.ArgumentParser(prog="python -m scripts.retell", description=__doc__)
    parser.add_argument(
        "--results",
        type=paths.argument,
        default=RESULTS,
        help="folder of the records (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    try:
        retell(options.results)
    except Problem as problem:
        print(f"error: {showable(str(problem))}", file=sys.stderr)
        return 2
    return 0


def retell(results: Path) -> None:
    """Write every record of a folder of results in today's words.

    Raises:
        Problem: there is no such folder; the code is not committed, so that no record could name
            it; a record cannot be read.
    """
    if not results.is_dir():
        raise Problem(
            f"There is no folder {results}: the committed records lie in a checkout of the "
            "repository; run this in one, or name their folder with --results."
        )
    commit, dirty = record.commit()
    if dirty is not False:
        raise Problem("Commit the code first: a record names the commit whose words it has.")
    experiments = discover()
    for done in publish.read_records(results):
        folder = results / publish.folder(done)
        experiment = experiments[choose("experiment", done["experiment"], experiments)]
        new, kept = retold(done, experiment, record.read_curves(folder, done))
        if new == done:
            print(f"{publish.folder(done)}: nothing to change.")
            continue
        new["provenance"] = {**new["provenance"], "retold": commit}
        record.write_json(folder / "record.json", new)
        left = f"; judged otherwise today, and left as they were: {', '.join(kept)}"
        print(f"{publish.folder(done)}: told anew{left if kept else ''}.")


if __name__ == "__main__":
    sys.exit(main())
