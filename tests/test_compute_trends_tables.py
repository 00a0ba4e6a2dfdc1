"""The paper's tables: rows, what counts as rounding, and the claims that rest on them."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from experiments import compute_trends
from experiments.compute_trends import bootstrap, rows, systems, tables
from experiments.compute_trends.rules import Rules
from jaxtrends import claims, record
from tests.compute_trends_run import Run

PAPER = systems.read()
CONFIG = replace(compute_trends.SMOKE, bootstrap=bootstrap.BootstrapConfig(resamples=20_000))


def values_of(result):
    """A study's values, as a record gives them back."""
    return record.numbers(json.loads(json.dumps(record.plain(result.values))))


@pytest.fixture(scope="module")
def result():
    return tables.run(CONFIG, Run(PAPER))


@pytest.fixture(scope="module")
def verdicts(result):
    values = values_of(result)
    return {
        claim.id: claims.judge(claim, claim.evidence(values))
        for claim in tables.CLAIMS
        if claim.evidence
    }


def test_the_tables_round_to_the_printed_digits(verdicts):
    for name in ("C1", "C2", "C3", "C4", "C5", "T3", "T6", "T8", "I1"):
        assert verdicts[name].verdict == claims.REPRODUCED, (name, verdicts[name])


def test_one_cell_does_not(verdicts):
    """5.9 months are printed where the systems give 5.76, and the paper's own notebook 5.8."""
    found = verdicts["T4"]
    assert found.verdict == claims.PARTLY_REPRODUCED
    assert [name for name, part in found.parts.items() if part.verdict != claims.REPRODUCED] == [
        "Table 4, 2016-2022 regular, doubling time"
    ]


def test_slopes_made_wrong_by_a_tenth_round_to_nothing(result):
    values = values_of(result)
    for row in values["rows"].values():
        row["doubling"] *= 1.1
    for claim in tables.CLAIMS[1:5]:
        assert claims.judge(claim, claim.evidence(values)).verdict == claims.NOT_REPRODUCED


def test_refits_found_apart_from_this_code():
    """n, doubling time and R squared, as a separate calculation has them."""
    expected = {
        "Table 3, 1952-2009": (19, 21.27, 0.767),
        "Table 3, 1952-2011": (26, 19.62, 0.834),
        "Table 3, 2010-2022 all": (98, 5.57, 0.699),
        "Table 3, 2010-2022 regular": (77, 5.58, 0.783),
        "Table 3, 2012-2022 all": (91, 5.68, 0.581),
        "Table 3, 2012-2022 regular": (72, 5.70, 0.687),
        "Table 4, 2010-2016 all": (20, 5.30, 0.546),
        "Table 4, 2016-2022 all": (79, 6.66, 0.335),
        "Table 4, 2016-2022 regular": (60, 5.76, 0.483),
        "Table 4, 2016-2022 large": (19, 10.67, 0.665),
        "Table 6, pre-DL": (10, 19.93, 0.832),
        "Table 6, DL": (7, 7.19, 0.807),
        "Table 6, large": (7, 8.54, 0.658),
        "Table 6, large, no AlphaGo": (9, 7.52, 0.929),
    }
    found = {
        row.key: tables.refit(PAPER, row.systems, Rules()) for row in rows.rows(PAPER, Rules())
    }
    assert len(found) == 23
    for key, (n, doubling, r_squared) in expected.items():
        ours = found[key]["n"], round(found[key]["doubling"], 2), round(found[key]["r_squared"], 3)
        assert ours == (n, doubling, r_squared), key


def test_what_rounds_and_what_does_not():
    assert tables.off(21.2692, 21.3, 1) == 0
    assert tables.off(20.96, 21.3, 1) == -3
    assert tables.off(5.7589, 5.9, 1) == -1
    assert tables.off(0.66465, 0.66, 2) == 0
    assert tables.off(18, 19, 0) == -1
    assert math.isnan(tables.off(math.nan, 21.3, 1))


def test_ties_are_records_too():
    compute, everyone = np.array([1.0, 3.0, 2.0, 3.0, 4.0]), np.ones(5, bool)
    assert rows.records(compute, everyone).tolist() == [True, True, False, True, True]
    assert rows.records(compute, everyone, strict=True).tolist() == [True, True, False, False, True]
    assert rows.records(compute, np.array([False, False, True, True, False])).tolist() == [
        *(False, False, True, True, False)
    ]


def test_alexnet_and_vgg16_are_in_neither_part_of_the_whole_window():
    found = {row.key: row.systems for row in rows.rows(PAPER, Rules())}
    every, regular, large = (
        found[f"Table 8, {rows.WHOLE} {name}"] for name in ("all", "regular", "large")
    )
    neither = every & ~regular & ~large
    assert np.array(PAPER.names)[neither].tolist() == ["AlexNet", "VGG16"]


def test_every_trap_but_one_changes_its_row():
    unchanged = [
        name
        for name, trap in tables.traps(PAPER, Rules()).items()
        if not any(
            tables.compared(
                tables.refit(PAPER, trap.systems, trap.rules), trap.row.printed
            ).values()
        )
    ]
    assert unchanged == ["sample deviation"]


def test_the_sample_deviation_changes_no_row():
    """As the table of traps says."""
    ours = rows.rows(PAPER, Rules())
    for row, other in zip(ours, rows.rows(PAPER, Rules(deviation="sample")), strict=True):
        np.testing.assert_array_equal(row.systems, other.systems)


def test_the_tables_are_whole(result):
    found = {table.name: table for table in result.tables}
    sizes = {name: len(table.rows) for name, table in found.items()}
    assert (sizes["table2"], sizes["table3"], sizes["table4"]) == (3, 6, 4)
    assert (sizes["table6"], sizes["table8"]) == (4, 9)
    (misprint,) = (row for row in found["table6"].rows if "no AlphaGo" in row[0])
    assert "7.1" in misprint[-1]
    assert "Hanabi" in found["systems"].note


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The paper's systems and one more, which makes them another's."""
    path = tmp_path_factory.mktemp("other") / "mine.csv"
    path.write_bytes(systems.PAPER.read_bytes() + b"Newer,2022-02-01,1e24,Language\nNone,2022,,\n")
    table = systems.read(path)
    return {study: study.run(compute_trends.SMOKE, Run(table)) for study in (tables, bootstrap)}


def test_claims_about_the_paper_are_not_judged_on_other_systems(other):
    values = values_of(other[tables])
    assert values["systems"]["read"] == 125
    assert values["systems"]["without compute"] == 1
    for claim in tables.CLAIMS:
        if claim.evidence:
            with pytest.raises(KeyError, match="table of the paper"):
                claim.evidence(values)
    assert other[bootstrap].values["groups"]


def test_no_figure_of_the_papers_stands_beside_other_systems(other, result):
    assert "table2" not in {table.name for table in other[tables].tables}
    for table in (table for found in other.values() for table in found.tables):
        assert "paper" not in " ".join(table.columns)
    for panel in (panel for found in other.values() for f in found.figures for panel in f.panels):
        assert "paper" not in " ".join(panel.marks)
    papers = [table for table in result.tables if table.name != "table2"]
    for table, its in zip(other[tables].tables, papers, strict=True):
        assert set(table.columns) <= set(its.columns)
        assert len(table.rows) == len(its.rows)


def test_the_claims_about_the_bootstrap():
    few = values_of(bootstrap.run(CONFIG, Run(PAPER)))
    with pytest.raises(KeyError, match="100,000 resamples"):  # so few settle nothing
        bootstrap.CLAIMS[0].evidence(few)
    values = values_of(bootstrap.run(compute_trends.DEFAULT, Run(PAPER)))
    for claim in bootstrap.CLAIMS:
        verdict = claims.judge(claim, claim.evidence(values))
        assert verdict.verdict == claims.REPRODUCED
        assert all(f.verdict == claims.NOT_REPRODUCED for f in verdict.controls.values())


@pytest.mark.parametrize("scatter", [0.5, 2.4])
def test_wide_noise_is_wide_enough_to_be_seen(scatter):
    """A factor of ten would not be, where systems scatter by much more than ten."""
    generator = np.random.default_rng(3)
    dates = np.floor(systems.day("2011-01-01") + 4000 * np.sort(generator.random(300)))
    log_compute = 18 + dates / 400 - dates[0] / 400 + scatter * generator.standard_normal(300)
    names = tuple(f"S{number}" for number in range(300))
    other = replace(PAPER, names=names, dates=dates, log_compute=log_compute, digest="another")
    values = values_of(bootstrap.run(compute_trends.SMOKE, Run(other)))
    (claim,) = (claim for claim in bootstrap.CLAIMS if claim.id == "B2")
    verdict = claims.judge(claim, claim.evidence(values))
    for name in verdict.parts:
        assert verdict.controls[f"wide noise, {name}"].verdict == claims.NOT_REPRODUCED, verdict
    assert verdict.verdict != claims.INVALID


def test_a_doubling_time_that_passes_through_infinity_has_no_interval():
    values = values_of(bootstrap.run(compute_trends.SMOKE, Run(PAPER)))
    values["groups"]["Table 3, 1952-2009"]["orders a year"][0] = -0.1
    assert "Table 3, 1952-2009" not in bootstrap.CLAIMS[1].evidence(values).parts
    values["groups"][bootstrap.REGULAR]["orders a year"][0] = -0.1
    with pytest.raises(KeyError, match="interval of the regular systems"):
        bootstrap.CLAIMS[1].evidence(values)
