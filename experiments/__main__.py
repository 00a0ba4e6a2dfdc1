"""``python -m experiments``: every experiment with its paper, its presets and their run times."""

from __future__ import annotations

import sys

from jaxtrends import plan
from jaxtrends.experiment import discover
from jaxtrends.terminal import duration, end_with_reader, mend_streams


def main() -> int:
    """Print the list; return the exit status."""
    mend_streams()
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_edge=False)
    for column in ("experiment", "paper", "presets (time of the committed run, two CPU cores)"):
        table.add_column(column, overflow="fold")
    for name, experiment in discover().items():
        paper = experiment.paper
        took = {preset: sum(plan.measured(name, preset).values()) for preset in experiment.presets}
        presets = ", ".join(f"{p} ({duration(s)})" if s else p for p, s in took.items())
        table.add_row(name, f"{paper.title} (arXiv {paper.arxiv})", presets)
    Console(highlight=False).print(table)
    print(
        "\nRun one:  python -m experiments.NAME      Its flags:  python -m experiments.NAME --help"
    )
    return 0


if __name__ == "__main__":
    end_with_reader()
    sys.exit(main())
