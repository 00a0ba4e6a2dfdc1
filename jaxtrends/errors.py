"""The exception for a user's mistake, with a sentence that helps to fix it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Problem(Exception):
    """A mistake that the user can fix: one clear sentence that says how.

    ``main`` prints it as ``error: …`` and exits with status 2, without a traceback.
    """


def choose(kind: str, given: str, choices: Iterable[str]) -> str:
    """Return ``given`` if it is one of ``choices``.

    Raises:
        Problem: it is not; the message lists the choices and suggests the closest.
    """
    names = list(choices)
    if given in names:
        return given
    nearest = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    raise Problem(f"There is no {kind} {given!r}: choose from {', '.join(names)}.{hint}")


def require_positive(**values: float) -> None:
    """Check that every value is a number above zero.

    Raises:
        Problem: one is not; the message names it.
    """
    for name, value in values.items():
        if not value > 0 or value == float("inf"):
            flag = "--" + name.replace("_", "-")
            raise Problem(f"{flag} must be a finite number above zero, not {value!r}.")
