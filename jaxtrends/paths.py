"""Paths and commands as a shell has them: read from the user, and printed to be pasted."""

from __future__ import annotations

import argparse
import os
import shlex
import tempfile
from pathlib import Path

from jaxtrends.errors import Problem


def expanded(text: str | Path) -> Path:
    """A path that the user wrote, with ``~`` as their home: no shell expands ``--output=~/x``.

    Raises:
        Problem: it begins with ``~``, and there is no such home.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise Problem(f"There is no home folder for {text}: write the path out in full.") from None


def argument(text: str) -> Path:
    """Like `expanded`, as the type of an argparse argument."""
    try:
        return expanded(text)
    except Problem as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def quoted(path: str | Path) -> str:
    """A path as it stands in a command."""
    return shlex.quote(str(path))


def make(folder: Path, named: str) -> None:
    """Make a folder that a flag names, where it is missing, and see that it can be written.

    Raises:
        Problem: it cannot.
    """
    reason = unwritable(folder)
    if reason:
        raise Problem(
            f"The {named} folder {folder} cannot be written ({reason}): "
            f"choose another with --{named}."
        )


def unwritable(folder: Path) -> str:
    """Why no file can be made in a folder, which is made if it is missing; "" where one can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return _in_the_way(folder) or error.strerror or str(error)


def _in_the_way(folder: Path) -> str:
    """What stands where a folder should be, if it is no folder; "" where nothing does."""
    for place in (folder, *folder.parents):
        if os.path.lexists(place):
            if not os.path.exists(place):
                return f"{place} is a link to {os.readlink(place)}, which is not there"
            return "" if os.path.isdir(place) else f"{place} is no folder"
    return ""
