"""Print BibTeX of an experiment's paper, of this suite, and of the record: commit and digest."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxtrends import paths, publish, record
from jaxtrends.errors import Problem, choose
from jaxtrends.formats import showable
from jaxtrends.terminal import end_with_reader, mend_streams

RESULTS = record.ROOT / "results"


def cite(name: str, results: Path) -> str:
    """BibTeX of what ``name`` names.

    Args:
        name:    an experiment (its largest committed preset), ``experiment/preset``, a run's
                 folder or a record.json.
        results: folder of the committed results.

    Raises:
        Problem: there is no such record.
    """
    run = paths.expanded(name)
    if run.exists() and name not in (path.name for path in results.glob("*")):
        return publish.citation(record.read(run))
    committed = publish.in_order(publish.read_records(results))
    if not committed:
        raise Problem(
            f"There are no committed results in {results}, nor a run at {name}: give the folder of "
            "a run, or name the results of a checkout of the repository with --results."
        )
    experiment, _, preset = name.partition("/")
    choose("committed experiment", experiment, {done["experiment"]: 0 for done in committed})
    found = {record.edition(done): done for done in committed if done["experiment"] == experiment}
    chosen = choose("committed preset", preset, found) if preset else next(iter(found))
    return publish.citation(found[chosen])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 2 where the user has something to mend.
    """
    mend_streams()
    parser = argparse.ArgumentParser(prog="python -m scripts.cite", description=__doc__)
    parser.add_argument("name", help="forward_grad, forward_grad/default, or the folder of a run")
    parser.add_argument(
        "--results",
        type=paths.argument,
        default=RESULTS,
        help="folder of the committed results (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    try:
        print(cite(options.name, options.results))
    except Problem as problem:
        print(f"error: {showable(str(problem))}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    end_with_reader()
    sys.exit(main())
