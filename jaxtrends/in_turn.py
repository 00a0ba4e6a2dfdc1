"""Papers for a check that cannot run all of them every time: a few per commit, in rotation."""

from __future__ import annotations

import os
from collections.abc import Sequence

from jaxtrends import record
from jaxtrends.errors import choose

VARIABLE = "JAXTRENDS_PAPERS"  # names papers to run instead, separated by spaces


def chosen(papers: Sequence[str], count: int = 2, turn: int | None = None) -> list[str]:
    """The papers of this turn, or those named in the environment.

    Args:
        papers: all of them.
        count:  number per turn.
        turn:   its number; None for `turn_of_commit`. Consecutive turns cover all papers.

    Raises:
        Problem: the environment names something else.
    """
    named = os.environ.get(VARIABLE, "").split()
    if named:
        return [choose("experiment", name, papers) for name in named]
    first = count * (turn_of_commit() if turn is None else turn)
    return [papers[(first + place) % len(papers)] for place in range(min(count, len(papers)))]


def turn_of_commit() -> int:
    """The number of commits on this branch; a number from its hash in a shallow clone.

    Without git it is 0.
    """
    head = record.git("rev-parse", "HEAD")
    if not head:
        return 0
    if record.git("rev-parse", "--is-shallow-repository") != "false":
        return int(head, 16)
    return int(record.git("rev-list", "--count", "--first-parent", "HEAD") or 0)
