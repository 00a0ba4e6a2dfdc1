"""Characters that Matplotlib's own font lacks: other fonts, and boxes as the last resort."""

from __future__ import annotations

import logging

import pytest

from jaxtrends import fonts, inline_svg, plotting, record
from jaxtrends.study import Figure, Panel, Series

NOBODY_HAS = "\U0010fffd"  # for private use, and in no font but by chance
STIX_HAS = "⌲"  # Matplotlib ships STIX, and its own DejaVu lacks this


def drawn(text, folder):
    points = Series(text, [1, 2, 3], [1, 2, 3], style="points", texts=[text, "", ""])
    panel = Panel(text, text, text, [points], marks={text: 1.5})
    png, svg = plotting.draw(record.plain(Figure("figure", text, "", [panel])), folder)
    assert png.stat().st_size
    return svg.read_text(encoding="utf-8")


def test_texts_that_the_own_font_has_need_no_other():
    assert fonts.settings("plain") == {}
    assert fonts.settings("10⁻³ × σ, ≥ Ångström, Ελληνικά, Кириллица, ∞") == {}


def test_a_font_that_has_what_is_missing_follows_the_own():
    assert fonts.settings(f"a {STIX_HAS} cone") == {"font.family": ["sans-serif", "STIXGeneral"]}


def test_what_no_font_has_stays_text_in_an_svg():
    found = fonts.settings(STIX_HAS + NOBODY_HAS)
    assert found["font.family"] == ["sans-serif", "STIXGeneral"]
    assert found["svg.fonttype"] == "none"


# Warnings are errors in all tests, so that none of these may cause one.
@pytest.mark.parametrize(
    "text",
    ["甲乙丙丁", "悟道 3.0", "한국어", "ไทย", "हिन्दी", "نموذج", "🙂", NOBODY_HAS, "a\u0301x"],
)
def test_any_script_is_drawn_without_a_warning_and_kept_in_the_svg(text, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        svg = drawn(text, tmp_path)
    assert caplog.records == []
    assert text in svg
    if fonts.settings(text).get("svg.fonttype") == "none":
        assert svg.count(f">{text}</text>") >= 5  # title, two axes, legend, point, rule


def test_text_of_a_drawing_reaches_the_page(tmp_path):
    text = f'{NOBODY_HAS} 2 "quoted" words'
    taken = inline_svg.Sprite().add(drawn(text, tmp_path), "a label")
    assert text in taken


@pytest.mark.parametrize("text", ["$5", "from $1 to $2", r"$\frac$", "50 % of $x_1$"])
def test_a_dollar_is_a_dollar(text, tmp_path):
    assert drawn(text, tmp_path).count(f"<!-- {text} -->") >= 5
