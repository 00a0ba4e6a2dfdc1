"""Drawings made fit for one page, and what is not taken over into one."""

from __future__ import annotations

import re

import pytest

from jaxtrends import inline_svg, labels, plotting, webpage
from tests.lively_records import Page, draw_example


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw_example(tmp_path_factory.mktemp("drawn"))


def test_drawings_share_definitions_and_lose_no_mark(drawn):
    sprite = inline_svg.Sprite()
    texts = [sprite.add(svg, "a label") for svg in drawn.values()]
    assert sum(map(len, texts)) + len(sprite.svg()) < 0.6 * sum(map(len, drawn.values()))
    whole = Page("".join(texts) + sprite.svg())
    ids = [attributes["id"] for _, attributes in whole.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = {a["href"][1:] for tag, a in whole.elements if tag == "use"}
    used |= set(re.findall(r"url\(#(\w+)\)", "".join(texts)))
    assert used <= set(ids)
    for svg, text in zip(drawn.values(), texts, strict=True):
        assert text.count("<use") == svg.count("<use")
        assert not re.search("#000000|#0072b2|#d55e00", text)


def test_a_drawing_takes_its_colours_from_the_page(drawn):
    """And every colour that series and rules have is one of the page's, but for the last."""
    sprite = inline_svg.Sprite()
    whole = "".join(sprite.add(svg, "") for svg in drawn.values()) + sprite.svg()
    used = set(re.findall(r"var\((--\w+)\)", whole))
    assert {"--paper", "--ink", "--grid", "--c0", "--c1"} <= used
    style = (webpage.PARTS / "site.css").read_text(encoding="utf-8")
    themes = re.findall(r"\{\s*--paper: [^}]*\}", style)
    for theme in themes[:3]:  # light, dark by the system's wish, dark by choice
        assert used <= set(re.findall(r"(--\w+):", theme))
    known = set(inline_svg.COLOURS)
    assert {colour.lower() for colour in plotting.COLOURS[:-1]} | {labels.GREY} <= known


@pytest.mark.parametrize(
    "foreign",
    [
        "<script>alert(1)</script>",
        "<foreignObject/>",
        '<a href="#x"/>',
        '<path onclick="x()" d=""/>',
        '<image href="https://example.org/x.png"/>',
        '<use xlink:href="other.svg#x"/>',
        '<g style="fill: red} body {display: none"></g>',
        '<g style="fill: red</style><style>"></g>',
    ],
)
def test_a_drawing_with_foreign_content_is_not_taken_over(drawn, foreign):
    svg = next(iter(drawn.values())).replace("</svg>", f"{foreign}</svg>")
    with pytest.raises(ValueError, match="foreign"):
        inline_svg.Sprite().add(svg, "")
