"""Print how many seeds each undecided claim of a record would need.

The seeds are those with which its interval would decide in 80% of studies, if the effect and the
spread over seeds are those that the record measured.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxtrends import paths, power, record, report
from jaxtrends.claims import INCONCLUSIVE
from jaxtrends.errors import Problem
from jaxtrends.formats import showable
from jaxtrends.terminal import end_with_reader, mend_streams


def lines(done: Mapping[str, Any]) -> Iterator[str]:
    """One per undecided part of a claim: its interval and the seeds that it needs."""
    for entry in record.entries(done):
        for part, found in entry["verdict"]["parts"].items():
            if found["verdict"] != INCONCLUSIVE:
                continue
            needed = power.seeds_needed(entry, part)
            what = (
                "no number of seeds is known" if needed is None else f"{needed} seeds would decide"
            )
            name = f"{entry['claim']['id']}{f', {part}' if part else ''}"
            yield f"{name}: {report.interval_of(found)} with {found['n']}; {what}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, or 2 if the user must fix something."""
    mend_streams()
    parser = argparse.ArgumentParser(prog="python -m scripts.power", description=__doc__)
    parser.add_argument(
        "run", type=paths.argument, help="folder of a run, or of a committed record"
    )
    options = parser.parse_args(arguments)
    try:
        said = list(lines(record.read(options.run)))
    except Problem as problem:
        print(f"error: {showable(str(problem))}", file=sys.stderr)
        return 2
    print("\n".join(said) or "Every claim that was judged is decided.")
    return 0


if __name__ == "__main__":
    end_with_reader()
    sys.exit(main())
