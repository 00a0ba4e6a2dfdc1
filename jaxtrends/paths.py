"""Paths and commands in shell notation: read from the user, and printed for pasting."""

from __future__ import annotations

import argparse
import os
import shlex
import tempfile
from pathlib import Path

from jaxtrends.errors import Problem


def expanded(text: str | Path) -> Path:
    """A path from the user with ``~`` expanded, as no shell expands ``--output=~/x``.

    Raises:
        Problem: it starts with ``~``, but there is no such home folder.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise Problem(f"There is no home folder for {text}: write the path out in full.") from None


def argument(text: str) -> Path:
    """Like `expanded`, as an argparse type."""
    try:
        return expanded(text)
    except Problem as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def quoted(path: str | Path) -> str:
    """A path quoted for a command."""
    return shlex.quote(str(path))


def make(folder: Path, named: str) -> None:
    """Create the folder that a flag names, if missing, and check that it is writable.

    Raises:
        Problem: it is not.
    """
    reason = unwritable(folder)
    if reason:
        raise Problem(
            f"The {named} folder {folder} is not writable ({reason}): choose another with "
            f"--{named}."
        )


def unwritable(folder: Path) -> str:
    """Why a folder is not writable; "" if it is. A missing folder is created."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return _in_the_way(folder) or error.strerror or str(error)


def _in_the_way(folder: Path) -> str:
    """What blocks the path of a folder, if anything; otherwise ""."""
    for place in (folder, *folder.parents):
        if os.path.lexists(place):
            if not os.path.exists(place):
                return f"{place} is a link to {os.readlink(place)}, which does not exist"
            return "" if os.path.isdir(place) else f"{place} is not a folder"
    return ""
