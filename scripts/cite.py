"""Print BibTeX of a paper, this suite and a record; or a headline as a sentence; or all as LaTeX.

A record is named by its commit and by the digest of its results.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtrends import citing, overview, paths, publish, record
from jaxtrends.errors import Problem, choose
from jaxtrends.formats import showable
from jaxtrends.terminal import end_with_reader, mend_streams

RESULTS = record.ROOT / "results"


def named(name: str, results: Path) -> Mapping[str, Any]:
    """The record that ``name`` names.

    Args:
        name:    an experiment (the record that answers for it), ``experiment/preset``, a run's
                 folder or a record.json.
        results: folder of the committed results.

    Raises:
        Problem: there is no such record, or it cannot be read.
    """
    run = paths.expanded(name)
    experiments = sorted({path.parts[-3] for path in results.glob("*/*/record.json")})
    if run.exists() and name not in experiments:
        return record.read(run)
    if not experiments:
        raise Problem(
            f"There are no committed results in {results}, nor a run at {name}: give the folder of "
            "a run, or name the results of a checkout of the repository with --results."
        )
    experiment, _, preset = name.partition("/")
    choose("committed experiment", experiment, dict.fromkeys(experiments))
    found = {
        record.edition(done): done
        for done in publish.in_order(publish.read_records(results, experiment))
    }
    return found[choose("committed preset", preset, found) if preset else next(iter(found))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 2 where the user must change something.
    """
    mend_streams()
    parser = argparse.ArgumentParser(prog="python -m scripts.cite", description=__doc__)
    parser.add_argument(
        "name", nargs="?", help="forward_grad, forward_grad/default, or the folder of a run"
    )
    parser.add_argument(
        "--sentence",
        action="store_true",
        help="print the headline with its number, verdict and commit, as plain text",
    )
    parser.add_argument(
        "--latex", action="store_true", help="with --sentence: as LaTeX, citing paper and record"
    )
    parser.add_argument(
        "--headlines",
        action="store_true",
        help="print the headlines of all committed papers as a LaTeX table, for a survey",
    )
    parser.add_argument(
        "--results",
        type=paths.argument,
        default=RESULTS,
        help="folder of the committed results (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    try:
        print(_text(options))
    except Problem as problem:
        print(f"error: {showable(str(problem))}", file=sys.stderr)
        return 2
    return 0


def _text(options: argparse.Namespace) -> str:
    if options.latex and not options.sentence:
        raise Problem("--latex is for a sentence: give --sentence too, or --headlines for a table.")
    if options.headlines == bool(options.name) or (options.headlines and options.sentence):
        raise Problem(
            "Give the name of an experiment or the folder of a run, or --headlines by itself."
        )
    if options.headlines:
        records = overview.answering(publish.read_records(options.results))
        if not records:
            raise Problem(f"There are no committed results in {options.results}.")
        return citing.headlines_latex(records).removesuffix("\n")
    done = named(options.name, options.results)
    if not options.sentence:
        return publish.citation(done)
    return citing.sentence_latex(done) if options.latex else citing.sentence(done)


if __name__ == "__main__":
    end_with_reader()
    sys.exit(main())
