"""Making a record again: what counts as agreement, and what is told of the rest."""

from __future__ import annotations

import dataclasses
import math
import shlex
import shutil
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxtrends import claims, experiment, golden, record, running
from jaxtrends.errors import Problem
from jaxtrends.flags import PLACES
from jaxtrends.record import ROOT
from jaxtrends.study_run import Interrupted
from scripts import verify
from tests.example_record import example, write_example, write_golden

INF, NAN = math.inf, math.nan


# --- numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (1.0, 1.0, 0.0),
        (2.0, 1.0, 0.5),
        (-1.0, 1.0, 2.0),
        (0.0, 1e-30, 1.0),
        (3, 3.0, 0.0),
        (NAN, NAN, 0.0),
        (INF, INF, 0.0),
        (INF, 1.0, INF),
        (NAN, 1.0, INF),
        ("a", "a", 0.0),
        ("a", "b", INF),
        (None, None, 0.0),
        (True, True, 0.0),
        (True, 1, INF),
        ("1", 1, INF),
    ],
)
def test_relative_difference(old, new, expected):
    assert verify.relative_difference(old, new) == pytest.approx(expected)
    assert verify.relative_difference(new, old) == pytest.approx(expected)


@given(st.floats(1e-3, 1e3), st.floats(-1e-3, 1e-3), st.floats(0.1, 10.0))
def test_relative_difference_does_not_depend_on_the_unit(value, error, factor):
    one = verify.relative_difference(value, value * (1 + error))
    other = verify.relative_difference(factor * value, factor * value * (1 + error))
    assert one == pytest.approx(other, abs=1e-12)
    assert one == pytest.approx(abs(error), rel=2e-3, abs=1e-12)


def test_differences_name_every_leaf_of_either_side():
    old = {"a": [1.0, "nan"], "b": {"c": 2}, "gone": 1}
    new = {"a": [1.5, "nan"], "b": {"c": 2}, "new": [1]}
    assert verify.differences(old, new) == {
        "a.0": pytest.approx(1 / 3),
        "a.1": 0.0,
        "b.c": 0.0,
        "gone": INF,
        "new.0": INF,
    }


def test_closeness_in_words():
    assert verify.closeness({"a": [1, 2]}, {"a": [1, 2]}) == "all 2 values are bit-identical"
    assert verify.closeness({"a": [1.0, 2.0]}, {"a": [1.0, 2.5]}) == (
        "1 of 2 values are bit-identical; largest relative difference: 2.0e-01 (at a.1)"
    )
    assert "another type or missing (at b)" in verify.closeness({"a": 1}, {"a": 2, "b": 1})


# --- the command -------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Write the example, and make `rerun` give a changed copy of it."""

    def run(change, *flags):
        write_example(tmp_path / "old")
        again = example()
        change(again)
        seen = []

        def rerun(done, output, **_):
            seen.append((done["experiment"], output))
            return again

        monkeypatch.setattr(running, "rerun", rerun)
        status = verify.main([str(tmp_path / "old"), *flags])
        return status, capsys.readouterr().out, seen

    return run


def verdict(made, name):
    return next(e["verdict"] for e in record.entries(made) if e["claim"]["id"] == name)


def test_a_record_made_again_with_the_same_bits(run, tmp_path):
    status, text, seen = run(lambda again: None, "--output", str(tmp_path / "new"))
    assert status == 0
    assert seen == [("slopes", tmp_path / "new")]
    assert "About results 7 of 7 verdicts agree." in text
    assert "About time and memory 1 of 1 verdicts agree." in text
    assert "training: all 5 values are bit-identical; curves: bit-identical" in text
    assert "data set mnist_5k: same digest" in text
    assert "DIFFERS" not in text
    assert "then," not in text


def test_numbers_that_differ_a_little_are_told_and_do_not_fail(run):
    def change(again):
        values = again["results"]["studies"]["training"]["values"]
        values["losses"][1] = 0.2500001
        again["results"]["studies"]["cost"]["curves_digest"] = "f" * 64
        again["provenance"]["versions"]["jax"] = "0.12.0"
        for code in again["provenance"]["code"].values():
            code["device"]["kind"] = "NVIDIA H100"

    status, text, _ = run(change)
    assert status == 0
    assert "training: 4 of 5 values are bit-identical; " in text
    assert "largest relative difference: 4.0e-07 (at losses.1)" in text
    assert "cost: all 5 values are bit-identical; curves: differ" in text
    assert "jax 0.10.2 then, 0.12.0 now" in text
    assert "1 x NVIDIA H100 (Abacus 3, 2 cores) now" in text


def test_a_verdict_about_results_that_differs_fails(run):
    def change(again):
        verdict(again, "T4")["verdict"] = claims.INCONCLUSIVE

    status, text, _ = run(change)
    assert status == 1
    assert "DIFFERS T4    reproduced 10.5 [7.8, 14.2]  ->  inconclusive" in text
    assert "About results 6 of 7 verdicts agree." in text


def test_a_verdict_about_time_that_differs_is_told_and_does_not_fail(run):
    def change(again):
        verdict(again, "T6")["verdict"] = claims.REPRODUCED

    status, text, _ = run(change)
    assert status == 0
    assert "DIFFERS T6    not reproduced" in text
    assert "About time and memory 0 of 1 verdicts agree." in text


def test_a_claim_that_was_not_run_again_does_not_agree(run):
    status, text, _ = run(lambda again: again["results"]["claims"].pop(0))
    assert status == 1
    assert "DIFFERS T1    reproduced 3.27e-31  ->  not run" in text


def test_other_data_and_other_settings_are_told(run):
    def change(again):
        again["results"]["data"]["mnist_5k"]["digest"] = "f" * 64
        again["results"]["config_digest"] = "f" * 64

    _, text, _ = run(change)
    assert "data set mnist_5k: DIFFERENT DIGEST" in text
    assert "configuration: DIFFERENT DIGEST" in text


def test_what_changed_on_purpose_since_is_told(run, tmp_path, monkeypatch):
    monkeypatch.setattr(golden, "RESULTS", tmp_path)
    write_golden(tmp_path, training=3)
    _, text, _ = run(lambda again: None)
    assert "behaviour of training: golden edition 1 then, 3 now" in text
    assert "behaviour of cost" not in text


def test_judging_only_runs_nothing(run):
    status, text, seen = run(lambda again: None, "--judge-only")
    assert (status, seen) == (0, [])
    assert "8 of 8 verdicts agree." in text
    assert "all 48 values are bit-identical" in text


def test_judging_only_finds_a_verdict_that_the_samples_do_not_give(tmp_path, capsys):
    made = write_example(tmp_path / "old")
    verdict(made, "T3")["verdict"] = claims.REPRODUCED
    record.write_json(tmp_path / "old" / "record.json", made)
    assert verify.main([str(tmp_path / "old"), "--judge-only"]) == 1
    assert "DIFFERS T3    reproduced  ->  inconclusive" in capsys.readouterr().out


def test_a_users_mistake_is_one_sentence(tmp_path, capsys, monkeypatch):
    assert verify.main([str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.startswith("error: There is no record at")

    def refuse(done, output, **_):
        raise Problem("The output folder is full: choose another with --output.")

    write_example(tmp_path / "old")
    monkeypatch.setattr(running, "rerun", refuse)
    assert verify.main([str(tmp_path / "old")]) == 2
    assert capsys.readouterr().err == (
        "error: The output folder is full: choose another with --output.\n"
    )


# --- making it again -----------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch):
    """In the place of running: keep what would be run, with the data that it would read."""
    seen = []

    def run(found, config, options, started, *_, **__):
        data = {name: found.load(config, name, None) for name in found.datasets(config)}
        seen.append((config, options, started, data))
        return running.Finished(example(), None, {})

    monkeypatch.setattr(running, "run", run)
    return seen


def a_record_of(folder, name, config, **more):
    """A record whose config is that of an experiment of this release."""
    made = {**example(), "experiment": name, "preset": "smoke", **more}
    made["results"]["config"] = record.plain(config)
    folder.mkdir(parents=True)
    record.write_json(folder / "record.json", made)


def test_without_an_output_the_new_run_goes_beside_other_runs(tmp_path, monkeypatch, asked):
    monkeypatch.chdir(tmp_path)
    found = experiment.discover()["forward_grad"]
    a_record_of(tmp_path / "old", "forward_grad", found.presets["smoke"])
    verify.main(["old"])
    verify.main(["old", "--output", "new"])
    (config, first, started, _), (_, second, _, _) = asked
    assert config == found.presets["smoke"]
    assert first.output.startswith("runs/forward_grad/verify-smoke-2")
    assert second.output == "new"
    assert started.recorded(PLACES) == "python -m scripts.verify old"
    assert shlex.split(started.to_resume(tmp_path / "a b"))[1:] == [
        *("-m", "scripts.verify", "old", "--output", str(tmp_path / "a b"), "--resume")
    ]


def test_a_run_with_a_method_of_ones_own_is_not_made_again_and_this_is_said(
    tmp_path, monkeypatch, capsys, asked
):
    monkeypatch.chdir(tmp_path)
    found = experiment.discover()["forward_grad"]
    a_record_of(
        tmp_path / "old", "forward_grad", found.presets["smoke"], own_methods=["mine", "yours"]
    )
    assert verify.main(["old"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("error: The run had methods of its user's own (mine, yours)")
    assert verify.main(["old", "--judge-only"]) == 0
    # Of a release that did not note them, but whose flags named one.
    config = dataclasses.replace(found.presets["smoke"], methods=("backprop", "mine"))
    a_record_of(tmp_path / "older", "forward_grad", config)
    assert verify.main(["older"]) == 2
    assert "There is no method 'mine'" in capsys.readouterr().err
    assert asked == []
    assert not (tmp_path / "runs").exists()


def test_a_relative_table_is_found_from_any_folder(tmp_path, monkeypatch, capsys, asked):
    found = experiment.discover()["compute_trends"]
    paper = ROOT / "experiments" / "compute_trends" / "milestone_systems.csv"
    there, elsewhere = tmp_path / "there", tmp_path / "elsewhere"
    elsewhere.mkdir()
    config = dataclasses.replace(found.presets["smoke"], table="data/mine.csv")
    old = there / "runs" / "compute_trends" / "smoke-1"
    a_record_of(old, "compute_trends", config)
    monkeypatch.chdir(elsewhere)
    assert verify.main([str(old)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "read data/mine.csv, which is neither here nor in a folder above" in said
    assert "--table" not in said  # which is no flag of this command
    (there / "data").mkdir()
    shutil.copy(paper, there / "data" / "mine.csv")
    assert verify.main([str(old)]) == 0
    monkeypatch.chdir(there)
    assert verify.main(["runs/compute_trends/smoke-1"]) == 0
    for config_run, _, _, data in asked:
        assert config_run == config  # so that its digest is that of the record
        (systems,) = data.values()
        assert len(systems.names) == 123
    assert len(asked) == 2


def test_a_stopped_verification_goes_on_with_resume(tmp_path, monkeypatch, capsys):
    found = experiment.discover()["forward_grad"]
    a_record_of(tmp_path / "old", "forward_grad", found.presets["smoke"])
    seen = []

    def run(found, config, options, *_, **__):
        seen.append(options.resume)
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(running, "run", run)
    with pytest.raises(SystemExit) as stop:
        verify.main([str(tmp_path / "old"), "--output", str(tmp_path / "new"), "--resume"])
    assert stop.value.code == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "Stopped by SIGTERM; the state is saved.\n"
    assert seen == [True]
    assert verify.main([str(tmp_path / "old"), "--resume"]) == 2
    assert "name it with --output" in capsys.readouterr().err
