"""Fonts of this machine for text with characters that Matplotlib's own font lacks."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

PLAIN = ("normal", "normal", 400, "normal")  # style, variant, weight, stretch


class Face(NamedTuple):
    """A font family in its plain face, and which of the wanted characters it has."""

    family: str
    has: frozenset[str]


def settings(text: str) -> dict[str, Any]:
    """Matplotlib settings to draw a text; empty if its own font has every character.

    Other fonts follow its own, those with most of the missing characters first. If no font here has
    a character, pictures show a box, and SVGs keep all text as text, for the reader's fonts.
    """
    wanted = frozenset(character for character in text if not character.isascii())
    return dict(_settings(wanted)) if wanted else {}


@functools.lru_cache(maxsize=32)
def _settings(wanted: frozenset[str]) -> dict[str, Any]:
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    own = FT2Font(font_manager.findfont("DejaVu Sans"))
    missing = wanted - _had(own, wanted)
    if not missing:
        return {}
    entries: dict[str, Any] = {}
    for entry in font_manager.fontManager.ttflist:
        plain = (entry.style, entry.variant, entry.weight, entry.stretch) == PLAIN
        if (plain or entry.name not in entries) and not entry.name.startswith("Last Resort"):
            entries[entry.name] = entry
    faces = []
    for family, entry in entries.items():
        with contextlib.suppress(OSError, RuntimeError):  # a missing or damaged font
            faces.append(Face(family, _had(FT2Font(entry.fname, face_index=entry.index), missing)))
    families = ["sans-serif"]
    while missing and faces:
        best = max(faces, key=lambda face: _merit(face, missing))
        if not best.has & missing:
            break
        families.append(best.family)
        missing -= best.has
    return {"font.family": families} | ({"svg.fonttype": "none"} if missing else {})


def _merit(face: Face, missing: frozenset[str]) -> tuple[int, bool, str]:
    """How well a face fits: what it adds, sans serif preferred, then by name."""
    return len(face.has & missing), "Sans" in face.family or "Gothic" in face.family, face.family


def _had(font: Any, wanted: Iterable[str]) -> frozenset[str]:
    return frozenset(character for character in wanted if font.get_char_index(ord(character)))
