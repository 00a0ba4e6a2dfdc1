"""A headline as it is pasted into a paper: whole, true to its record, and LaTeX that compiles."""

from __future__ import annotations

import re

import pytest

from jaxtrends import citing, overview, publish, record
from jaxtrends.errors import Problem
from tests.example_record import example


def led_by(claim, **changes):
    """The example with another claim in front, fields of which are changed."""
    done = example() | {"lead": claim}
    entry = next(e for e in record.entries(done) if e["claim"]["id"] == claim)
    entry["claim"] |= {"headline": True} | changes
    return done


def test_a_sentence_has_claim_source_verdict_number_region_and_commit():
    assert citing.sentence(example()) == (
        "Rerun by jaxtrends (slopes, preset default, commit c0ffeec0ffee), the claim “A step takes "
        "little more than half the time” (Doe and Roe, 2022; reported: 0.586, 0.598, Figure 4) is "
        "not reproduced: time of a step, shortcut / long way = 1.0180 [1.0116, 1.0245] (95% "
        "interval; accepted: below 0.8)."
    )


@pytest.mark.parametrize(
    ("claim", "part"),
    [
        ("T4", "(critics of Doe and Roe, 2022; reported: 0.332 against 0.000, Table I of the"),
        ("T1", "(derived from Doe and Roe, 2022) is reproduced: relative squared error = 3.27e-31"),
        ("T1", "(exact; accepted: below 1e-20)."),
        ("T2", ", the least favourable of 4; accepted: between 0.98 and 1.02)."),
        ("T10", "(derived from Doe and Roe, 2022) is not testable here."),
    ],
)
def test_a_sentence_says_who_claims_it_and_how_it_was_judged(claim, part):
    assert part in citing.sentence(led_by(claim))


def test_a_record_without_a_headline_has_no_sentence():
    done = example()
    for entry in record.entries(done):
        entry["claim"]["headline"] = False
    with pytest.raises(Problem, match="No claim of slopes/default is marked as a headline"):
        citing.sentence(done)


@pytest.mark.parametrize(
    ("authors", "named"),
    [
        ("Doe", "Doe"),
        ("Doe and Roe", "Doe and Roe"),
        ("Doe, Roe", "Doe and Roe"),
        ("Doe, Roe, Poe", "Doe et al."),
        ("Doe, Roe, and Poe", "Doe et al."),
        ("Doe, Roe and Poe", "Doe et al."),
        ("Anderson", "Anderson"),
    ],
)
def test_authors_are_named_as_in_a_text(authors, named):
    assert citing.authors({"authors": authors}) == named


def special(text):
    """What LaTeX would trip over in a text that was escaped."""
    bare = re.sub(r"\\cite\{[\w:./+,-]+\}|\\(textbackslash|textbar|\^|~)\{\}|\\[{}&%$#_]", "", text)
    bare = re.sub(r"\\times |\$[<>-]\$|\$[-\d.]* ?10\^\{-?\d+\}\$|\$\^\{-?\d+\}\$", "", bare)
    return set(bare) & set("\\{}$&%#_^")


HOSTILE = "50% of {x_1} & $y$ # ~ ^ \\input{passwd}"


def test_a_sentence_in_latex_cites_paper_and_record_by_the_keys_of_their_bibtex():
    done = led_by("T6", statement=HOSTILE, where=HOSTILE, quantity=HOSTILE)
    text = citing.sentence_latex(done)
    assert text.endswith(r"~\cite{doe2022slopes,jaxtrends-slopes-default}.")
    assert special(text) == set()
    assert r"\textbackslash{}input\{passwd\}" in text
    for key in ("doe2022slopes", "jaxtrends-slopes-default"):
        assert f"{{{key},\n" in publish.citation(done)


def test_the_table_of_headlines_has_a_row_a_headline_and_every_row_as_many_cells():
    text = citing.headlines_latex([example(), led_by("T6", statement=HOSTILE, reported=HOSTILE)])
    rows = [line for line in text.splitlines() if line.endswith(r" \\ \addlinespace")]
    assert len(rows) == 4
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(citing.COLUMNS) - 1}
    for row in rows:
        cells = re.split(r"(?<!\\)&", row.removesuffix(r" \\ \addlinespace"))
        assert set().union(*map(special, cells)) == set()
    assert rows[0].startswith(r"Doe and Roe (2022)~\cite{doe2022slopes}; slopes, preset default, ")
    assert rows[1].startswith(" & The shortcut ends with the loss of the long way. & 2.21 ")
    assert rows[0].endswith(r"shortcut / long way & not reproduced \\ \addlinespace")
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert re.search(r"[^\x00-\x7f]", text) is None


def test_a_key_cannot_leave_its_citation():
    done = example()
    done["paper"]["key"] = r"a}\input{b,c%"
    assert r"\cite{ainputbc}" in citing.headlines_latex([done])


def test_every_committed_paper_has_its_sentence_and_its_rows():
    answering = overview.answering(publish.read_records(record.ROOT / "results"))
    table = citing.headlines_latex(answering)
    for done in answering:
        text = citing.sentence_latex(done)
        assert re.sub(r"\\cite\{.*\}", "", text).count("$") % 2 == 0
        assert rf"\cite{{{done['paper']['key']},{publish.record_key(done)}}}" in text
        assert rf"\cite{{{done['paper']['key']}}}" in table
