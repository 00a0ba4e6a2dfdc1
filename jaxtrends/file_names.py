"""Names for labels, of which anybody may choose one: a method of a user's own, say.

Two labels never share a name, also where the file system takes A for a, and none leads out of its
folder; what can be read of a label stays in its name.
"""

from __future__ import annotations

import hashlib
import re

ITSELF = re.compile(r"[a-z0-9]([a-z0-9_.=+-]*[a-z0-9_=+-])?")  # a label that is its own name
MOST_LETTERS = 80  # a file system takes 255 bytes, of which suffixes need some


def file_name(label: str) -> str:
    """The name of a label's file or folder: ``digits`` of itself, ``B*`` as ``B_~03e17d4d``.

    A tilde stands in no label that is its own name, so that no name of one kind is one of the
    other; nor do the files of a block, say, that add a number behind a dash get in each other's
    way.
    """
    if len(label) <= MOST_LETTERS and ITSELF.fullmatch(label):
        return label
    readable = re.sub(r"[^A-Za-z0-9.=+-]+", "_", label).lstrip(".-")
    return f"{readable[:MOST_LETTERS]}~{_digest(label)}"


def shortened(text: str, most: int) -> str:
    """A text of at most so many letters (10 or more), cut where it is longer.

    Two texts that begin alike still differ when they are cut.
    """
    return text if len(text) <= most else f"{text[: most - 9]}~{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
