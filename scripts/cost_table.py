"""The cost of large presets on accelerators, computed and not measured: a table in docs/scale.md.

python -m scripts.cost_table            # write it
python -m scripts.cost_table --check    # check that it is up to date
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxtrends import plan
from jaxtrends.errors import Problem
from jaxtrends.experiment import discover
from jaxtrends.formats import showable
from jaxtrends.plan import Machine
from jaxtrends.terminal import end_with_reader, in_time, mend_streams

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "scale.md"
BEGIN, END = "<!-- computed by scripts/cost_table.py -->", "<!-- end of the computed table -->"
PRESETS = ("full", "large")
ACCELERATORS = (plan.H100, plan.V5E)


def rows(presets: Sequence[str] = PRESETS) -> Iterator[Sequence[str]]:
    """One row per experiment and preset that trains lanes."""
    for name, experiment in sorted(discover().items()):
        for preset in (preset for preset in presets if preset in experiment.presets):
            config = experiment.presets[preset]
            calls = [call for found in plan.of(experiment, config).values() for call in found]
            if calls:
                largest = max(call.bytes for call in calls)
                yield (
                    f"{name}, {preset}",
                    str(plan.programs(calls)),
                    f"{sum(call.lanes for call in calls):,}",
                    f"{plan.operations(calls):.1e}",
                    plan.in_bytes(largest),
                    *(
                        in_time(plan.seconds(calls, machine))
                        if largest < machine.memory
                        else "does not fit"
                        for machine in ACCELERATORS
                    ),
                )


def assumed(machine: Machine) -> str:
    """The assumptions about a machine, in words."""
    return (
        f"one {machine.name}: {machine.speed / 1e12:.0f} TFLOP/s ({plan.UTILISATION:.0%} of "
        f"peak), at least {machine.least * 1e6:.0f} µs per step, {machine.compiling:.0f} s to "
        f"compile a program, {machine.memory / 1e9:.0f} GB"
    )


def text() -> str:
    """The table in Markdown, with its assumptions."""
    names = ("preset", "programs", "lanes", "FLOPs", "memory per block")
    heads = [*names, *(machine.name for machine in ACCELERATORS)]
    lines = [
        "**Computed, not measured: none of these was run on an accelerator.** Assumptions: "
        + "; ".join(assumed(machine) for machine in ACCELERATORS)
        + ". FLOPs are counted on the programs, without extensions of learning-rate grids. Memory "
        "covers parameters, optimizer, gradient and data, without activations. Studies that train "
        "no lanes are not included.",
        "",
        f"| {' | '.join(heads)} |",
        f"| :-- |{' --: |' * (len(heads) - 1)}",
        *map(line, rows()),
    ]
    return "\n".join(lines)


def line(row: Sequence[str]) -> str:
    """A row of the table in Markdown."""
    return f"| {' | '.join(row)} |"


def with_table(document: str) -> str:
    """The document with the current table between its marks."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{text()}\n\n{END}{after}"


def update(check: bool) -> int:
    """Write the table into the document; with ``check``, only return 1 if it is out of date.

    Raises:
        Problem: the document cannot be read or written.
    """
    try:
        found = DOCUMENT.read_text(encoding="utf-8")
        made = with_table(found)
        if not check:
            DOCUMENT.write_text(made, encoding="utf-8")
        elif made != found:
            print(
                "error: docs/scale.md is out of date: run python -m scripts.cost_table",
                file=sys.stderr,
            )
            return 1
    except OSError as error:
        raise Problem(
            f"{DOCUMENT} cannot be opened ({error.strerror}): run this in a checkout of the "
            "repository."
        ) from None
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table, or check it.

    Returns:
        0; 1 if the check finds an outdated table; 2 for a user's mistake.
    """
    mend_streams()
    parser = argparse.ArgumentParser(
        prog="python -m scripts.cost_table", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit with 1 if it is out of date"
    )
    try:
        return update(check=parser.parse_args(arguments).check)
    except Problem as problem:
        print(f"error: {showable(str(problem))}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    end_with_reader()
    sys.exit(main())
