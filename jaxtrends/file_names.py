"""File names for arbitrary labels, such as a user's own method.

Two labels never share a name, even on a case-insensitive file system, and no name leads out of its
folder. Names stay as readable as possible.
"""

from __future__ import annotations

import hashlib
import re

ITSELF = re.compile(r"[a-z0-9]([a-z0-9_.=+-]*[a-z0-9_=+-])?")  # labels that are their own names
MOST_LETTERS = 80  # file systems allow 255 bytes, and suffixes need some


def file_name(label: str) -> str:
    """The name of a label's file or folder: ``digits`` stays, ``B*`` becomes ``B_~03e17d4d``.

    Labels that are their own names contain no tilde, so the two kinds never collide, and neither
    do names to which a dash and a number are added.
    """
    if len(label) <= MOST_LETTERS and ITSELF.fullmatch(label):
        return label
    readable = re.sub(r"[^A-Za-z0-9.=+-]+", "_", label).lstrip(".-")
    return f"{readable[:MOST_LETTERS]}~{_digest(label)}"


def shortened(text: str, most: int) -> str:
    """A text cut to at most ``most`` characters (10 or more).

    Different texts stay different when cut.
    """
    return text if len(text) <= most else f"{text[: most - 9]}~{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
