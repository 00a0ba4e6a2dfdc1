"""How a run ends: the answer first, then the claims that matter, and all of them when asked."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from jaxtrends import claims, conclusion
from tests.example_record import example


def shown(done, width=100, *, every=False, **options):
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False, **options)
    conclusion.show(done, console, every=every, command="python -m it --claims")
    return out.getvalue()


def answered(preset="full", **changes):
    return example(preset) | {"answer": "Half of it held.", **changes}


def first_column(text):
    return re.findall(r"^(T\d+) ", text, re.MULTILINE)


def test_the_answer_comes_first_then_the_headline_claims_then_the_totals():
    text = shown(answered())
    assert text.split()[0] == "Half"
    assert first_column(text) == ["T6", "T3"]
    totals = text.index("Paper and critics: 1 reproduced")
    assert text.index("Half of it") < text.index("T6") < text.index("T3") < totals
    assert text.rstrip().endswith("All 8 claims:\n  python -m it --claims")


def test_all_claims_are_shown_where_they_are_asked_for_with_those_that_did_not_run():
    done = answered()
    text = shown(done, every=True)
    ids = [entry["claim"]["id"] for entry in claims_of(done)]
    assert sorted(first_column(text)) == sorted([*ids, done["results"]["not_run"][0]["id"]])
    assert "Not run: " in text
    assert "--claims" not in text


def claims_of(done):
    return [*done["results"]["claims"], *done["measurements"]["claims"]]


def test_a_record_without_headlines_shows_the_papers_claims():
    done = answered()
    for entry in claims_of(done):
        del entry["claim"]["headline"]
    of_the_paper = [e["claim"]["id"] for e in claims_of(done) if e["claim"]["source"] == "paper"]
    assert of_the_paper
    assert first_column(shown(done)) == sorted(of_the_paper)


def test_a_lead_that_did_not_run_is_missed():
    done = answered()
    (missing,) = done["results"]["not_run"]
    text = shown(done | {"lead": missing["id"]})
    assert f"{missing['id']}  " in text
    assert "Not run: " in text.partition("Paper and critics")[0]


def test_a_smoke_run_says_first_that_it_proves_nothing():
    assert shown(answered("smoke")).split("\n")[1].startswith("A smoke run shows that everything")
    assert conclusion.answer(answered("smoke")).endswith(
        "proves nothing about the paper.\nHalf of it held."
    )
    assert "smoke" not in shown(answered())


def test_an_answer_that_lacks_claims_is_said_to_be_missing_but_only_then():
    done = answered(answer="")
    assert conclusion.answer(done) == conclusion.NO_ANSWER
    done["results"]["not_run"] = []
    assert conclusion.answer(done) == ""


@pytest.mark.parametrize("soft_wrap", [False, True])
@pytest.mark.parametrize("width", [80, 100])
def test_it_fits_and_needs_no_colour(width, soft_wrap):
    text = shown(answered(), width, every=True, soft_wrap=soft_wrap)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "\x1b" not in text
    if width == 100:
        words = " ".join(text.split())
        for part in ("not reproduced", "invalid", "1.0180 [1.0116, 1.0245]", "critics: 0.332"):
            assert part in words


def test_verdicts_have_colours_besides():
    assert set(conclusion.STYLES) == set(claims.VERDICTS)
    text = shown(answered(), every=True, force_terminal=True, color_system="standard")
    assert "\x1b[32mreproduced" in text
    assert "\x1b[31mnot reproduced" in text
