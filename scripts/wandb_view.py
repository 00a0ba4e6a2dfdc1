"""Save a view of a W&B project that shows its runs as a table of results."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from jaxtrends import results_view
from jaxtrends.errors import Problem
from jaxtrends.formats import showable
from jaxtrends.terminal import mend_streams


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, or 2 where the user has something to mend."""
    mend_streams()
    parser = argparse.ArgumentParser(prog="python -m scripts.wandb_view", description=__doc__)
    parser.add_argument("project", help="PROJECT of your own, or ENTITY/PROJECT")
    parser.add_argument("--name", default="Results", help="of the view (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        address = results_view.save(options.project, options.name)
    except Problem as problem:
        print(f"error: {showable(str(problem))}", file=sys.stderr)
        return 2
    print(f"Saved: {address}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
