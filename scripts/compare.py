"""Compare runs: differences of their configs, of their final values, and of their verdicts.

A run is a record.json, a run's folder, or W&B offline runs (one, or a folder of them). The others
are compared with the first. Differences are paired seed by seed where two runs share seeds and
data, and unpaired otherwise; they are not corrected for multiple comparisons.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxtrends import differences, paths, record, report, tracking
from jaxtrends.differences import Side
from jaxtrends.errors import Problem
from jaxtrends.formats import format_interval, format_number, showable
from jaxtrends.terminal import end_with_reader, mend_streams

ABSENT = "-"


def read_side(path: Path) -> Side:
    """The run at a path, as one side of a comparison.

    Raises:
        Problem: it is not a record, a folder with one, or a W&B run.
    """
    folder = path if path.is_dir() else path.parent
    if path.is_file() or (path / "record.json").is_file():
        done = record.read(path)
        arrays = record.read_curves(folder, done)
        verdicts = {
            f"{done['experiment']} {entry['claim']['id']}": _verdict(entry)
            for entry in report.entries(done)
        }
        return differences.side_of(done, arrays, _label(folder), verdicts)
    runs = tracking.offline_runs(path)
    if not runs:
        raise Problem(
            f"{path} is not a run: give a record.json, a run's folder, or a W&B offline run."
        )
    lanes = tracking.read_lanes(runs)
    if not lanes:
        raise Problem(f"The W&B runs in {path} have no lanes: give those of a training study.")
    return differences.side_of_lanes(lanes, _label(folder))


def _label(folder: Path) -> str:
    """The last two parts of a folder's path, such as forward_grad/default."""
    return "/".join(folder.resolve().parts[-2:])


def _verdict(entry: dict[str, Any]) -> str:
    verdict = entry["verdict"]
    found = verdict["parts"].get(verdict["headline"])
    return f"{verdict['verdict']} {report.interval_of(found)}" if found else verdict["verdict"]


def config_rows(sides: Sequence[Side]) -> list[list[str]]:
    """One row per config field that differs between sides."""
    return [
        [name, *(ABSENT if value is None else _plain(value) for value in row)]
        for name, row in differences.differing(sides).items()
    ]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def outcome_rows(sides: Sequence[Side], words: Sequence[str]) -> list[list[str]]:
    """One row per outcome that at least two sides have and whose name contains all the words.

    It has the median on every side, and the difference from the first side.
    """
    first, *others = sides
    names = dict.fromkeys(name for side in sides for name in side.outcomes)
    rows = []
    for name in names:
        holders = [side for side in sides if name in side.outcomes]
        if len(holders) < 2 or not all(word in name for word in words):
            continue
        medians = [
            format_number(differences.middle(side.outcomes[name]))
            if name in side.outcomes
            else ABSENT
            for side in sides
        ]
        rows.append([name, *medians, *(_difference(first, other, name) for other in others)])
    return rows


def _difference(first: Side, other: Side, name: str) -> str:
    if name not in first.outcomes or name not in other.outcomes:
        return ABSENT
    found = differences.difference(first, other, name)
    return f"{format_interval(found.estimate, found.low, found.high)}, {found.method}, n={found.n}"


def verdict_rows(sides: Sequence[Side]) -> list[list[str]]:
    """One row per claim of any side."""
    names = dict.fromkeys(name for side in sides for name in side.verdicts)
    return [[name, *(side.verdicts.get(name, ABSENT) for side in sides)] for name in names]


def tables(sides: Sequence[Side], words: Sequence[str]) -> list[Any]:
    """The rich tables to print, and a sentence instead of an empty one."""
    labels = [side.label for side in sides]
    configs, found, judged = config_rows(sides), outcome_rows(sides, words), verdict_rows(sides)
    gaps = [f"{label} - {labels[0]} [95%]" for label in labels[1:]]
    return [
        _table("Config differences", ["field", *labels], configs)
        if configs
        else "Their configs are the same.",
        _table("Final values, medians", ["outcome", *labels, *gaps], found)
        if found
        else "They have no outcome in common.",
        *([_table("Verdicts", ["claim", *labels], judged)] if judged else []),
    ]


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        shown.add_column(Text(showable(column)), overflow="fold")
    for row in rows:
        shown.add_row(*(Text(showable(cell)) for cell in row))
    return shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 2 for a user's mistake.
    """
    mend_streams()
    parser = argparse.ArgumentParser(prog="python -m scripts.compare", description=__doc__)
    parser.add_argument(
        "runs", nargs="+", type=paths.argument, metavar="RUN", help="two or more runs"
    )
    parser.add_argument(
        "--match",
        nargs="+",
        default=[],
        metavar="WORD",
        help="show only outcomes whose name contains all of these words, such as mlp tuned loss",
    )
    options = parser.parse_args(arguments)
    try:
        if len(options.runs) < 2:
            raise Problem("A comparison needs at least two runs: name another one.")
        sides = [read_side(path) for path in options.runs]
    except Problem as problem:
        print(f"error: {showable(str(problem))}", file=sys.stderr)
        return 2
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    for shown in tables(_told_apart(sides), options.match):
        console.print(shown)
        console.print()
    return 0


def _told_apart(sides: Sequence[Side]) -> list[Side]:
    """Sides with distinct labels: a number is added where two are the same."""
    import dataclasses

    labels = [side.label for side in sides]
    return [
        dataclasses.replace(side, label=f"{side.label} ({n})")
        if labels.count(side.label) > 1
        else side
        for n, side in enumerate(sides, 1)
    ]


if __name__ == "__main__":
    end_with_reader()
    sys.exit(main())
