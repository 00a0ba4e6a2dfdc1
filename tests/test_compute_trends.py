"""compute_trends as a whole: any table gives a record, and the record tells of that table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from experiments import compute_trends
from experiments.compute_trends import EXPERIMENT, BootstrapConfig, main, systems
from jaxtrends import record, recording
from jaxtrends.claims import Answers
from jaxtrends.errors import Problem
from jaxtrends.study import StudyResult
from tests.compute_trends_run import Run

PAPER = systems.read()
THREE = ("A,2012-01-01,1e18,", "B,2015-01-01,1e20,", "C,2020-01-01,1e24,")
SIZES = (1, 2, 3, 4, 9, 17, 22, 31, 40, 50)  # few, since each of them is compiled for
FIRST, LAST = (int(systems.day(text)) for text in ("1950-02-01", "2022-02-01"))


def record_of(table):
    """What the driver writes of a table's studies, through JSON and back."""
    made = {}
    for name, study in EXPERIMENT.studies.items():
        found: StudyResult = study.run(compute_trends.SMOKE, Run(table))
        results = {"values": found.values, "tables": found.tables, "figures": found.figures}
        measured = {
            "values": found.measurements,
            "tables": found.measured_tables,
            "figures": found.measured_figures,
        }
        whole = {"results": results, "measurements": measured, "seconds": 0.0}
        plain = json.loads(json.dumps(record.plain(whole)))
        kept = {part: record.numbers(plain[part]) for part in ("results", "measurements")}
        made[name] = {**plain, **kept, "peak_memory_bytes": 0}
    loaded = {systems.DATASET: table}
    return recording.record_of(EXPERIMENT, compute_trends.SMOKE, "smoke", made, loaded, (), {})


def table_of(days, log_compute):
    """A user-provided table; days since 1970 and log10 FLOP, (n,) each."""
    order = np.argsort(days, kind="stable")
    names = tuple(f"S{number}" for number in range(len(order)))
    return systems.Systems(
        names=names,
        dates=np.asarray(days, np.float64)[order],
        log_compute=np.asarray(log_compute, np.float64)[order],
        without_compute=0,
        without_date=0,
        version="mine.csv",
        digest="0" * 64,
        origin="A user-provided table.",
        licence="unknown",
    )


@st.composite
def any_table(draw):
    """1 to 50 systems, in years of their own or all years; dates and compute tied or not."""
    count = draw(st.sampled_from(SIZES))
    begin = draw(st.sampled_from((FIRST, *(int(systems.day(f"{y}")) for y in (2005, 2014, 2016)))))
    span = min(draw(st.sampled_from((100, 700, 3000, 30_000))), LAST - begin)
    dates = draw(st.integers(1, count)), draw(st.sampled_from((1, 30, 365)))
    compute = draw(st.integers(1, count))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    days = begin + dates[1] * (generator.integers(0, span + 1, dates[0]) // dates[1])
    scatter = draw(st.sampled_from((0.0, 1e-9, 0.5, 3.0)))
    rise = draw(st.sampled_from((0.0, 0.2, -0.2))) / 365
    levels = scatter * generator.standard_normal(compute)
    chosen = np.sort(generator.choice(days, count))
    log_compute = 12 + rise * (chosen - begin) + generator.choice(levels, count)
    return table_of(chosen, np.clip(log_compute, 0, 60))


def tied(years, each, generator):
    days = np.repeat([systems.day(f"{year}") for year in years], each)
    return table_of(days, 10 + generator.random(days.size) * 6)


@settings(max_examples=60)
@given(any_table())
@example(table_of([systems.day(row.split(",")[1]) for row in THREE], [18, 20, 24]))
@example(tied((2017, 2018), 25, np.random.default_rng(0)))  # two dates: no kink, no resample's line
@example(tied((2016, 2017, 2018, 2019, 2020), 10, np.random.default_rng(1)))
@example(table_of(np.linspace(FIRST, LAST, 50).round(), np.linspace(2, 24, 50)))  # no scatter
def test_any_table_is_refused_in_a_sentence_or_gives_a_record(table):
    try:
        systems.check_enough("mine.csv", table.dates, table.log_compute)
    except Problem:
        return  # its sentence is for the tests of systems
    done, unjudged = record_of(table)
    assert not unjudged
    for figure in (f for s in done["results"]["studies"].values() for f in s["figures"]):
        assert figure["panels"]
    for entry in done["results"]["claims"]:
        assert not entry["claim"]["reported"]
        assert entry["verdict"]["verdict"] != "invalid"
        assert record.judge_again(record.plain(entry)) == record.plain(entry["verdict"])


def run(tmp_path, *rows):
    path = tmp_path / "mine.csv"
    path.write_text("system,publication_date,training_compute_flop,domain\n" + "\n".join(rows))
    flags = ["--preset", "smoke", "--table", str(path), "--output", str(tmp_path / "run")]
    return main(flags), main([*flags, "--resume"]), record.read(tmp_path / "run")


@pytest.mark.parametrize("count", [3, 22])
def test_a_few_systems_give_a_record_that_tells_of_them(tmp_path, count, capfd):
    every = systems.PAPER.read_text().splitlines()[1:]
    rows = THREE if count == 3 else every[-44::2]
    first, again, done = run(tmp_path, *rows)
    assert (first, again) == (0, 0)
    assert "Warning" not in capfd.readouterr().err
    said = " ".join([done["scale"], *done["departures"], done["about"]])
    assert f"not the paper's systems but the {count} of mine.csv" in said
    assert "CC BY" not in said
    assert "123" not in said
    assert "its licence is unknown" in said
    assert "table" in done["changed"]
    assert all(not entry["claim"]["reported"] for entry in record.entries(done))
    figures = [f for s in done["results"]["studies"].values() for f in s["figures"]]
    for caption in (figure["caption"] + figure["title"] for figure in figures):
        assert "123" not in caption
        assert "milestone" not in caption


def told(chosen, table=PAPER):
    found = {systems.DATASET: table}
    return " ".join([EXPERIMENT.scale(chosen, found), *EXPERIMENT.departures(chosen, found)])


def test_the_papers_own_table_is_told_as_such():
    said = told(compute_trends.DEFAULT)
    for part in ("Nothing is shrunk", "the paper's 123 systems", "CC BY 4.0", "100,000 resamples"):
        assert part in said
    assert "has 30 days, as in the paper's code" in said
    assert EXPERIMENT.other_data(compute_trends.DEFAULT, {systems.DATASET: PAPER}) == ""


def test_rules_and_resamples_of_ones_own_are_told():
    rules = compute_trends.Rules(days_per_month=30.44)
    said = told(compute_trends.Config(rules=rules, bootstrap=BootstrapConfig(resamples=5000)))
    assert "has 30.44 days." in said
    assert "5,000 resamples" in said


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--rules.start", "when", "--rules.start 'when' is not a date: write it as 2015-09-01."),
        ("--rules.end", "1949-01-01", "must be before --rules.end 1949-01-01"),
        ("--rules.z-low", "1", "must be below --rules.z-high 0.76"),
        ("--sensitivity.z-low", "0.8", "--sensitivity.z-low must be below"),
    ],
)
def test_what_cannot_be_run_is_refused_by_its_flag(flag, value, said, capsys):
    assert main([flag, *value.split()]) == 2
    assert said in capsys.readouterr().err


def test_the_answer_holds_the_records_own_numbers_and_leaves_out_what_did_not_run():
    path = Path(__file__).resolve().parents[1] / "results/compute_trends/default/record.json"
    done = json.loads(path.read_text(encoding="utf-8"))
    entries = {entry["claim"]["id"]: entry for entry in done["results"]["claims"]}
    said = compute_trends.answer(Answers(list(entries.values())))
    assert said.startswith("Yes: training compute doubled every 5.6 months from 2010 to 2022")
    verdict = entries["C6a"]["verdict"]
    found = verdict["parts"][verdict["headline"]]
    assert f"in {found['estimate']:.1%} [{found['low']:.1%}, {found['high']:.1%}] of" in said
    assert "cannot be told from an effect of the paper's own selection rule" in said
    assert compute_trends.answer(Answers([entries["C6a"]])) in said
    assert compute_trends.answer(Answers([])) == ""
