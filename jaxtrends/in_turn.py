"""Papers for a check that cannot take all of them every time: some a commit, all in turn."""

from __future__ import annotations

import os
from collections.abc import Sequence

from jaxtrends import record
from jaxtrends.errors import choose

VARIABLE = "JAXTRENDS_PAPERS"  # names papers in place of those whose turn it is, spaces between


def chosen(papers: Sequence[str], count: int = 2, turn: int | None = None) -> list[str]:
    """The papers of this turn; or those that the environment names, however many.

    Args:
        papers: all of them.
        count:  how many a turn.
        turn:   its number; `turn_of_commit` where it is None. Turns one after the other take all.

    Raises:
        Problem: the environment names something else.
    """
    named = os.environ.get(VARIABLE, "").split()
    if named:
        return [choose("experiment", name, papers) for name in named]
    first = count * (turn_of_commit() if turn is None else turn)
    return [papers[(first + place) % len(papers)] for place in range(min(count, len(papers)))]


def turn_of_commit() -> int:
    """How many commits this checkout's branch has; a number of its hash where git has not all.

    Without git it is 0.
    """
    head = record.git("rev-parse", "HEAD")
    if not head:
        return 0
    if record.git("rev-parse", "--is-shallow-repository") != "false":
        return int(head, 16)
    return int(record.git("rev-list", "--count", "--first-parent", "HEAD") or 0)
