"""Drawn figures made fit for one page: small, with ids that do not clash, in its own colours.

Matplotlib's SVG repeats every glyph in every file, and the style of every mark. Here definitions
and styles of all drawings are kept once, under short names, and drawings refer to them; black,
white and the grid's grey become variables of the page, so that a drawing is legible on dark
ground.
"""

from __future__ import annotations

import re

COLOURS = {"#ffffff": "var(--paper)", "#000000": "var(--ink)", "#e4e4e4": "var(--grid)"}
DIGITS = 1  # of a coordinate, in points

PROLOGUE = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>", re.DOTALL)
# What no drawing of ours has, and no page shall take over from one: programs and foreign content.
FOREIGN = re.compile(
    r"<\s*(?!/|(?:svg|g|path|use|defs|clipPath|rect|image|title|style|text)\b)"
    r"|\son\w+\s*=|(?:href|src)\s*=\s*\"(?!#|data:image/png;base64,)"
)
DEFINITION = re.compile(r"<clipPath.*?</clipPath>|<path[^>]*/>")


class Sprite:
    """The definitions and styles that drawings share."""

    def __init__(self) -> None:
        self._definitions: dict[str, str] = {}  # definition without its id -> its name here
        self._styles: dict[str, str] = {}

    def add(self, svg: str, label: str) -> str:
        """Take over a drawing; what is to stand in the page in its place.

        Args:
            svg:   a file as `jaxtrends.plotting.draw` writes it.
            label: what a screen reader says, as it may stand in an attribute.

        Raises:
            ValueError: it holds what none of our drawings does.
        """
        text = PROLOGUE.sub("", svg)
        if FOREIGN.search(text):
            raise ValueError("a drawing with foreign content")
        text = re.sub(r"<style.*?</style>|<title>.*?</title>", "", text, flags=re.DOTALL)
        text = re.sub(r"\s+", " ", text).replace("> <", "><").replace("xlink:href", "href")
        text = re.sub(r' "(?=[ />])', '"', text)  # at the end of an attribute
        for given, ours in COLOURS.items():
            text = text.replace(given, ours)
        text = re.sub(r'\b(d|x|y|width|height)="[^"]*"', _rounded, text)
        text = re.sub(r"translate\([^)]*\)", _rounded, text)
        text = re.sub(r'style="([^"]*)"', self._style, text)
        names: dict[str, str] = {}
        for block in re.findall(r"<defs>(.*?)</defs>", text):
            for definition in DEFINITION.findall(block):
                self._define(definition, names)
        text = re.sub(r"<defs>.*?</defs>", "", text)
        text = re.sub(r' id="[^"]*"', "", text)
        text = re.sub(r'"#([^"]*)"', lambda m: f'"#{names.get(m[1], m[1])}"', text)
        text = re.sub(r"url\(#([^)]*)\)", lambda m: f"url(#{names.get(m[1], m[1])})", text)
        while "<g></g>" in text:
            text = text.replace("<g></g>", "")
        box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
        if box is None:
            raise ValueError("a drawing without a size")
        head = (
            f'<svg class="drawing" role="img" aria-label="{label}" '
            f'viewBox="0 0 {box[1]} {box[2]}" style="max-width:{float(box[1]) * 1.5:.0f}px">'
        )
        return re.sub(r"^\s*<svg[^>]*>", lambda _: head, text).strip()

    def _define(self, definition: str, names: dict[str, str]) -> None:
        found = re.search(r' id="([^"]*)"', definition)
        if found:
            bare = definition.replace(found[0], "", 1)
            names[found[1]] = self._definitions.setdefault(bare, f"d{len(self._definitions)}")

    def _style(self, match: re.Match[str]) -> str:
        if re.search("[<>{}@]", match[1]):  # it would end the rule, or the element, that it goes to
            raise ValueError("a drawing with foreign styles")
        name = self._styles.setdefault(match[1].rstrip("; "), f"s{len(self._styles)}")
        return f'class="{name}"'

    def svg(self) -> str:
        """All definitions and styles, to stand once in the page; it draws nothing itself."""
        inner = "".join(
            re.sub(r"^<(\w+)", rf'<\1 id="{name}"', definition)
            for definition, name in self._definitions.items()
        )
        rules = "".join(f".{name}{{{style}}}" for style, name in self._styles.items())
        head = '<svg class="sprite" width="0" height="0" aria-hidden="true">'
        return f"{head}<style>{rules}</style><defs>{inner}</defs></svg>"


def _rounded(match: re.Match[str]) -> str:
    return re.sub(r"-?\d+\.\d+(?:e-?\d+)?", _short, match[0])


def _short(match: re.Match[str]) -> str:
    text = f"{float(match[0]):.{DIGITS}f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
