"""Tables of claims and of studies: what they say, how they say it, and that they say all of it."""

from __future__ import annotations

import csv
import io
import re

import pytest

from jaxtrends import publish, record, tables
from jaxtrends.errors import Problem
from jaxtrends.report import COLUMNS
from tests.example_record import example


@pytest.fixture(scope="module")
def made():
    return example()


# --- the table of claims -----------------------------------------------------------------------


def markdown_rows(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [re.split(r"(?<!\\)\|", line.strip("|")) for line in lines]


def test_markdown_has_a_row_a_claim_and_every_row_as_many_cells(made):
    header, _, *rows = markdown_rows(tables.claims_table(made, "markdown"))
    assert {len(row) for row in rows} == {len(header)} == {len(COLUMNS)}
    assert [row[0].strip() for row in rows] == ["T1", "T2", "T3", "T4", "T5", "T6", "T7", "T10"]


def row_of(made, name):
    rows = markdown_rows(tables.claims_table(made, "markdown"))
    return next([cell.strip() for cell in row] for row in rows if row[0].strip() == name)


def test_a_row_says_what_was_reported_where_and_how_that_is_known(made):
    assert row_of(made, "T3")[2] == r"2.21 \| 2.21 (Figure 4, lower row; read off the figure)"
    assert row_of(made, "T4")[2] == (
        "critics: 0.332 against 0.000 (Table I of the replication; public code)"
    )
    assert row_of(made, "T1")[2] == ""


def test_how_a_figure_is_known_is_not_said_twice():
    made = example()
    entry = next(e for e in record.entries(made) if e["claim"]["id"] == "T3")
    entry["claim"] |= {"where": "abstract", "known": "abstract"}
    assert row_of(made, "T3")[2] == r"2.21 \| 2.21 (abstract)"


def test_a_row_says_what_would_have_been_accepted(made):
    assert row_of(made, "T1")[3] == "relative squared error: below 1e-20"
    assert row_of(made, "T4")[3].endswith(": above 4")
    assert row_of(made, "T2")[3].endswith(": between 0.98 and 1.02")


def test_an_inconclusive_claim_shows_what_it_could_have_detected(made):
    entry = next(e for e in record.entries(made) if e["claim"]["id"] == "T3")
    effect = entry["verdict"]["parts"]["mlp"]["minimum_detectable_effect"]
    assert row_of(made, "T3")[5] == f"inconclusive (detectable effect: {effect:.2g})"
    assert row_of(made, "T4")[5] == "reproduced"


@pytest.mark.parametrize(
    ("scale", "effect", "text"),
    [
        ("log", 1.832, "inconclusive (detectable factor: 1.83)"),
        ("log", 1.0287, "inconclusive (detectable factor: 1.029)"),
        ("linear", "inf", "inconclusive (the interval has no end)"),
    ],
)
def test_a_detectable_effect_may_be_a_factor_or_none(scale, effect, text):
    made = example()
    entry = next(e for e in record.entries(made) if e["claim"]["id"] == "T3")
    entry["verdict"]["parts"]["mlp"] |= {"scale": scale, "minimum_detectable_effect": effect}
    assert row_of(made, "T3")[5] == text


def test_a_claim_left_open_says_why():
    made = example()
    entry = next(e for e in record.entries(made) if e["claim"]["id"] == "T4")
    entry["evidence"]["undecided"] = "the best rate lies on its grid's edge"
    entry["verdict"]["verdict"] = "inconclusive"
    assert row_of(made, "T4")[5] == "inconclusive (the best rate lies on its grid's edge)"


def test_a_family_shows_its_least_favourable_part_and_the_correction(made):
    entry = next(e for e in record.entries(made) if e["claim"]["id"] == "T2")
    name = entry["verdict"]["headline"]
    assert row_of(made, "T2")[4].endswith(f"at {name}, least favourable of 4")
    assert "4 parts (Holm-corrected): 4 reproduced" in tables.claims_table(made, "markdown")


def test_diverged_lanes_are_counted(made):
    assert row_of(made, "T5")[6] == "10 (3 diverged)"


@pytest.mark.parametrize("format", ["markdown", "latex"])
def test_controls_and_what_was_not_run_are_told(made, format):
    text = tables.claims_table(made, format)
    assert "(its memory grows with depth) must fail, but does NOT: reproduced, 0.01." in text
    assert "(no depth, no memory) must pass, and does: reproduced, 0." in text
    assert "(an estimator made 10 " in text
    assert "must fail, and does: not reproduced, 1.2" in text
    assert "The run has no 'cnn'." in text
    assert "Needs an accelerator with 40 GiB." in text


def test_csv_has_every_digit_and_what_was_not_run(made):
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(tables.claims_table(made, "csv")))}
    assert set(rows) == {"T1", "T2", "T3", "T4", "T5", "T6", "T7", "T9", "T10"}
    for entry in record.entries(made):
        row, verdict = rows[entry["claim"]["id"]], entry["verdict"]
        assert row["verdict"] == verdict["verdict"]
        assert row["claim"] == entry["claim"]["statement"]
        if verdict["parts"]:
            found = verdict["parts"][verdict["headline"]]
            assert float(row["estimate"]) == float(found["estimate"])
            assert float(row["high"]) == float(found["high"])
            assert float(row["region_high"]) == float(entry["claim"]["region"][1])
    assert (rows["T9"]["verdict"], rows["T9"]["estimate"]) == ("not run", "")
    assert rows["T5"]["diverged"] == "3"


def test_latex_is_balanced_and_every_row_has_as_many_cells(made):
    text = publish.tables_latex(made)
    bare = re.sub(r"\\.", "", text)
    assert bare.count("{") == bare.count("}")
    assert text.count("$") % 2 == 0
    for environment in ("longtable", "table", "tabular"):
        assert text.count(rf"\begin{{{environment}}}") == text.count(rf"\end{{{environment}}}") > 0
    assert text.count(r"\begingroup") == text.count(r"\endgroup")
    rows = [line for line in text.splitlines() if line.endswith(r"\addlinespace")]
    assert len(rows) == 8
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(COLUMNS) - 1}
    assert re.search(r"[^\x00-\x7f]", text) is None


def test_an_unknown_format_is_a_mistake_with_a_hint(made):
    with pytest.raises(Problem, match="Did you mean 'latex'"):
        tables.claims_table(made, "latx")


# --- tables of studies -------------------------------------------------------------------------

TABLE = {
    "name": "steps",
    "title": "Steps to 1e-3",
    "columns": ["Law", "Steps", "Note"],
    "rows": [["[a]", 3541.25, None], ["b|c", "inf", "50 %"], ["d", 7, True]],
    "note": "Ten seeds",
}


def test_a_studys_table_in_markdown():
    text = tables.study_table(TABLE, "markdown")
    assert text.startswith("**Steps to 1e-3.**\n\n| Law | Steps | Note |\n| :-- |")
    assert "| [a] | 3541 |  |\n| b\\|c | ∞ | 50 % |\n| d | 7 | True |\n" in text
    assert text.endswith("\nTen seeds.\n")


def test_a_studys_table_in_latex():
    text = tables.study_table(TABLE, "latex")
    assert r"\caption{Steps to $10^{-3}$. Ten seeds.}" in text
    assert "\n{}[a] & 3541 &  \\\\\n" in text
    assert "\n{}b\\textbar{}c & $\\infty$ & 50 \\% \\\\\n" in text
