"""A row a paper: what README and the index of results show before everything else."""

from __future__ import annotations

import pytest

from jaxtrends import experiment, overview, record, webpage
from tests.example_record import example

PAPERS = webpage.papers()
NAMES = [name for paper in PAPERS for name in paper["experiments"]]


def of(name, preset="default", **fields):
    """The example as a record of another experiment."""
    return example(preset) | {"experiment": name} | fields


def without_headlines(done):
    for entry in record.entries(done):
        entry["claim"]["headline"] = False
    return done


def cells(row):
    return [cell.strip().replace("\N{NO-BREAK SPACE}", " ") for cell in row.strip("|").split(" | ")]


def rows(text):
    return [line for line in text.splitlines() if line.startswith("| [")]


def test_the_newsletters_papers_name_every_experiment_once():
    assert len(PAPERS) == 21
    assert len(NAMES) == len(set(NAMES)) == 21
    assert set(NAMES) >= {*experiment.discover(), *overview.FIRST}


def test_a_row_says_what_was_claimed_what_came_out_and_what_limits_it():
    (row,) = rows(overview.table([example()], "results/"))
    claim, reported, ours, verdict, caveat = cells(row)
    assert claim == (
        "[Slopes without Hills &amp; Other Shortcuts](results/slopes/README.md) "
        "<sub>slopes</sub><br>A step takes little more than half the time."
    )
    assert reported == "0.586, 0.598 (Figure 4)"
    assert ours == ("**1.0180 [1.0116, 1.0245]**<br><sub>time of a step, shortcut / long way</sub>")
    assert verdict == "**not reproduced**; 1 more headline: inconclusive"
    assert caveat == "made-up numbers"


def test_a_family_shows_that_its_least_favourable_part_is_meant():
    done = example() | {"lead": "T2"}
    next(e for e in record.entries(done) if e["claim"]["id"] == "T2")["claim"]["headline"] = True
    _, reported, ours, verdict, _ = cells(rows(overview.table([done], ""))[0])
    assert reported == "none given"
    assert ours.endswith("<sub>measured variance / law (least favourable of 4)</sub>")
    assert verdict.endswith("; 2 more headlines: inconclusive, not reproduced")


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([], ""),
        (["invalid"], "; 1 more headline: invalid"),
        (["invalid"] * 2, "; 2 more headlines: both invalid"),
        (["invalid"] * 3, "; 3 more headlines: invalid, invalid, invalid"),
    ],
)
def test_how_further_headlines_came_out_is_told_in_few_words(others, said):
    assert overview._more([{"verdict": {"verdict": verdict}} for verdict in others]) == said


def test_a_record_without_a_headline_has_a_row_with_its_totals():
    (row,) = rows(overview.table([without_headlines(example())], ""))
    assert cells(row)[0].endswith("<br>no claim is marked as a headline")
    assert cells(row)[3].startswith("Paper and critics: 1 reproduced")


def test_a_claim_that_is_not_testable_has_no_number():
    done = example() | {"lead": "T10"}
    next(e for e in record.entries(done) if e["claim"]["id"] == "T10")["claim"]["headline"] = True
    _, _, ours, verdict, _ = cells(rows(overview.table([done], ""))[0])
    assert ours == ""
    assert verdict.startswith("**not testable here**")


def test_rows_are_in_the_order_of_first_and_then_of_the_newsletters():
    names = ["slopes", "vision_language", "autorl", "compute_trends", "forward_grad"]
    found = overview.answering([of(name) for name in names] + [of("autorl", "full")])
    assert [(done["experiment"], done["preset"]) for done in found] == [
        ("forward_grad", "default"),
        ("compute_trends", "default"),
        ("autorl", "full"),
        ("vision_language", "default"),
        ("slopes", "default"),
    ]


def test_totals_count_what_the_papers_claim_apart_from_what_we_derived():
    assert overview.totals([example(), example()]) == (
        "6 claims of the papers and their critics: 2 reproduced, 2 not reproduced, 2 inconclusive. "
        "10 claims derived by us: 6 reproduced, 2 invalid, 2 not testable here."
    )


def test_papers_without_a_record_stand_in_one_line():
    text = overview.missing([of(name) for name in NAMES if name not in ("guidance", "autorl")])
    assert text == (
        "Still to come (2): [Automated Reinforcement Learning (AutoRL)]"
        "(https://arxiv.org/abs/2201.03916), [GLIDE](https://arxiv.org/abs/2112.10741).\n"
    )
    assert overview.missing([of(name) for name in NAMES]) == ""


def test_readme_begins_with_the_answer_of_the_main_job_in_its_own_words():
    text = overview.summary([of("autorl"), of("forward_grad", answer="No: 1.5 [1.2, 1.8] times.")])
    first, _, rest = text.partition("\n\n")
    assert first.endswith("](results/forward_grad/README.md)?** No: 1.5 [1.2, 1.8] times.")
    assert rest.startswith("| Paper and its headline claim |")
    for other in ([of("autorl")], [of("forward_grad", answer="")], [without_answer()]):
        assert overview.summary(other).startswith("| Paper and its headline claim |")


def without_answer():
    done = of("forward_grad")
    del done["answer"]
    return done


def test_readme_shows_the_headline_figures_of_the_first_three_that_have_one():
    figure = example()["results"]["studies"]["training"]["figures"][0] | {"name": "headline"}
    names = [*overview.FIRST, "autorl"]
    records = [of(name, figure=figure) for name in reversed(names)]
    del records[-2]["figure"]
    text = overview.summary(records)
    shown = [line for line in text.splitlines() if line.startswith("![")]
    left = [overview.FIRST[0], *overview.FIRST[2:4]]
    assert shown == [
        f"![{figure['title']}](results/{name}/default/figures/headline.svg)" for name in left
    ]


def test_the_index_has_a_row_a_paper_and_every_record_with_its_old_anchor():
    text = overview.index([example(), example("full")])
    assert len([row for row in rows(text) if "](slopes/README.md)" in row]) == 1
    for preset in ("default", "full"):
        anchor = f"slopes-preset-{preset}"
        assert f'| <a id="{anchor}"></a>[slopes, preset {preset}](slopes/README.md#{anchor}) |' in (
            text
        )
    assert text.index("slopes-preset-full") < text.index("slopes-preset-default")


def test_without_records_there_is_still_a_page():
    assert "There are none yet." in overview.index([])
    assert overview.summary([]).startswith("None yet.\n\nStill to come (21): ")
