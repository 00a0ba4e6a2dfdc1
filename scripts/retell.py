"""Update committed records: wording and headlines, and verdicts if statistics were corrected."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxtrends import paths, publish, record
from jaxtrends.errors import Problem, choose
from jaxtrends.experiment import discover
from jaxtrends.formats import showable
from jaxtrends.retelling import changed, retold
from jaxtrends.terminal import mend_streams

RESULTS = record.ROOT / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, or 2 if the user must fix something."""
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
    """Rewrite every record in a folder of results with the current wording, judged again.

    Raises:
        Problem: there is no such folder; the code is not committed, so no record could name it; a
            record cannot be read.
    """
    if not results.is_dir():
        raise Problem(
            f"There is no folder {results}: the committed records are in a checkout of the "
            "repository; run this in one, or name their folder with --results."
        )
    commit, dirty = record.commit()
    if dirty is not False:
        raise Problem("Commit the code first: a record names the commit with its wording.")
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
        left = f"; left unchanged, as they would be judged differently now: {', '.join(kept)}"
        judged = "".join(f"; {verdict}" for verdict in changed(done, new))
        print(f"{publish.folder(done)}: updated{left if kept else ''}{judged}.")


if __name__ == "__main__":
    sys.exit(main())
