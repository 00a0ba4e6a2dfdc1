"""A record as pandas tables: the numbers are the record's own, and damage is named."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pandas as pd
import pytest

from jaxtrends import record
from jaxtrends.errors import Problem
from tests.example_record import write_example

RESULTS = record.ROOT / "results"
COMMITTED = sorted(path.parent for path in RESULTS.glob("*/*/record.json"))
BY_NAME = [f"{path.parent.name}/{path.name}" for path in COMMITTED]


@pytest.fixture(scope="module", params=COMMITTED, ids=BY_NAME)
def done(request):
    return record.read(request.param)


def test_every_claim_of_a_committed_record_has_a_row_with_its_estimate(done):
    found = done.claims()
    entries = record.entries(done)
    assert list(found.claim) == [entry["claim"]["id"] for entry in entries]
    assert list(found.verdict) == [entry["verdict"]["verdict"] for entry in entries]
    for row, entry in zip(found.itertuples(), entries, strict=True):
        decisive = entry["verdict"]["parts"].get(row.part)
        if decisive is None:
            assert row.verdict == "not testable here"
            assert math.isnan(row.estimate)
            assert row.n is pd.NA
        else:
            assert (row.estimate, row.n) == (float(decisive["estimate"]), decisive["n"])
            assert not row.low > row.high  # either may be nan
    assert {kind.kind for kind in found[["estimate", "low", "high", "region_low"]].dtypes} == {"f"}


def test_the_samples_of_a_committed_record_give_its_estimates_again(done):
    seeds, claims = done.seeds(), done.claims().set_index("claim")
    assert list(seeds.columns) == ["claim", "part", "arm", "seed", "value"]
    checked = 0
    for name, about in claims[claims.statistic.isin(["mean", "paired difference"])].iterrows():
        mine = seeds[(seeds.claim == name) & (seeds.part == about.part)]
        wide = mine.pivot(index="seed", columns="arm", values="value")
        if mine.empty:
            assert about.verdict == "not testable here"
            continue
        values = wide["values"] if "values" in wide else wide.treatment - wide.reference
        if np.isfinite(values).all() and np.isfinite(about.estimate):
            assert values.mean() == pytest.approx(about.estimate, rel=1e-9, abs=1e-15)
            checked += 1
    assert checked or done["experiment"] in ("compute_trends",)


def test_every_point_of_a_committed_record_has_a_row(done):
    arrays = record.read_curves(done.folder, done)
    found = done.curves()
    assert len(found) == sum(array.size for array in arrays.values() if array.ndim == 2)
    lanes = ["study", "task", "arm", "metric", "seed"]
    assert not found.duplicated([*lanes, "point"]).any()
    assert found.value.dtype == found.step.dtype == np.float64
    assert found.point.min() == 1 or found.empty


def test_a_curve_ends_with_the_value_that_the_study_reports():
    done = record.read(RESULTS / "neuroevolution" / "full")
    curves = done.curves().query("study == 'populations' and metric == 'validation_loss'")
    tasks = done["results"]["studies"]["populations"]["values"]["tasks"]
    assert set(curves.task) == set(tasks)
    for (task, name), mine in curves.groupby(["task", "arm"]):
        arm = tasks[task]["arms"][name]
        ends = mine[mine.step == arm["steps"]]
        assert list(ends.seed) == tasks[task]["seeds"]
        assert list(ends.value) == pytest.approx(arm["metrics"]["validation_loss"])
        assert set(ends.learning_rate) == {arm["learning_rate"]}


def test_what_is_not_finite_is_a_float():
    done = record.read(RESULTS / "forward_grad" / "default-gpu")
    late = done.claims().set_index("claim").loc["F5c"]
    assert (late.estimate, late.high) == (math.inf, math.inf)
    reached = done.seeds().query("claim == 'F5c' and part == @late.part")
    assert np.isinf(reached.value).any()


def test_seeds_count_up_from_the_first_of_the_run(tmp_path):
    made = write_example(tmp_path / "run")
    made["results"]["config"]["seed"] = 100
    record.write_json(tmp_path / "run" / "record.json", made)
    found = record.read(tmp_path / "run").seeds().query("claim == 'T3' and arm == 'reference'")
    assert list(found.seed) == list(range(100, 110))


def test_a_record_stays_the_dict_that_it_was(tmp_path):
    made = write_example(tmp_path / "run")
    done = record.read(str(tmp_path / "run" / "record.json"))
    assert done == made
    assert done.folder == tmp_path / "run"
    assert isinstance(done, dict)
    assert repr(done) == "<record of slopes, preset default>"
    assert record.dumps(done) == record.dumps(made)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda run: (run / "curves.npz").unlink(), "There is no curves.npz in"),
        (lambda run: (run / "curves.npz").write_bytes(b"x"), "cannot be read as curves"),
        (
            lambda run: shutil.copy(RESULTS / "moe_design/default/curves.npz", run),
            "are not those of the record",
        ),
    ],
)
def test_curves_that_are_not_the_records_are_refused(tmp_path, damage, sentence):
    write_example(tmp_path / "run")
    damage(tmp_path / "run")
    done = record.read(tmp_path / "run")
    assert len(done.claims()) == len(record.entries(done))
    with pytest.raises(Problem, match=sentence):
        done.curves()


@pytest.mark.parametrize("odd", ["fast", None, [0.1, 0.2], {"a": 1}, 10**40, -1])
def test_values_of_any_kind_do_no_harm(tmp_path, odd):
    made = write_example(tmp_path / "run")
    made["results"]["config"]["seed"] = odd
    made["results"]["studies"]["training"]["values"] = {
        "seeds": [odd, odd],
        "arms": {"loss": {"learning_rate": odd}},
    }
    record.write_json(tmp_path / "run" / "record.json", made)
    done = record.read(tmp_path / "run")
    found = done.curves().query("study == 'training'")
    assert list(found.seed) == [0, 0, 0, 1, 1, 1]
    assert done.seeds().seed.min() == 0
    known = isinstance(odd, int)
    assert list(found.learning_rate.isna()) == [not known] * 6


def test_arrays_that_are_no_curves_have_no_rows(tmp_path):
    made = write_example(tmp_path / "run")
    arrays = {"texts": np.array([["a", "b"]]), "sample": np.ones(5), "cube": np.ones((2, 2, 2))}
    for study in made["results"]["studies"]:
        made["results"]["studies"][study]["curves_digest"] = record.array_digest(arrays)
    record.write_json(tmp_path / "run" / "record.json", made)
    named = {f"{s}/{n}": a for s in made["results"]["studies"] for n, a in arrays.items()}
    record.write_arrays(tmp_path / "run" / "curves.npz", named)
    assert record.read(tmp_path / "run").curves().empty


def test_a_record_without_claims_or_curves_has_empty_tables(tmp_path):
    made = write_example(tmp_path / "run")
    for part in ("results", "measurements"):
        made[part]["claims"] = []
    for study in made["results"]["studies"].values():
        study["curves_digest"] = record.array_digest({})
    record.write_json(tmp_path / "run" / "record.json", made)
    (tmp_path / "run" / "curves.npz").unlink()
    done = record.read(tmp_path / "run")
    for table in (done.claims(), done.seeds(), done.curves()):
        assert table.empty
        assert set(table.dtypes.map(str)) <= {"str", "float64", "int64", "Int64", "bool"}
    assert "verdict" in done.claims()


def test_a_home_that_nobody_has_is_named(tmp_path):
    with pytest.raises(Problem, match="There is no home folder for ~nobody-of-that-name"):
        record.read("~nobody-of-that-name/run")
