"""Whatever happens to a run, no finished work is lost and no result is wrong without saying so."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxtrends import (
    in_turn,
    losses,
    models,
    record,
    rundir,
    running,
    train,
    webpage,
    webpage_record,
)
from jaxtrends.errors import Problem
from jaxtrends.estimators import backprop
from jaxtrends.study import Figure, Panel, Series, StudyResult
from scripts import fault_campaign
from tests import toy_experiment
from tests.toy_run import TOY, finish, start

SHORT = ("--wandb", "disabled", "--steps", "120", "--seeds", "2")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert finish("--output", folder, *SHORT)[0] == 0
    return folder


def same_results(folder, other):
    one, two = (json.dumps(record.read(path)["results"]) for path in (folder, other))
    return one == two


# --- killed ------------------------------------------------------------------------------------


def test_a_short_campaign_of_kills_ends_in_the_results_of_an_unbroken_run(capsys):
    assert fault_campaign.main([str(TOY), "--kills", "3", "--seed", "5", "--", *SHORT]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["kills"] == sum(found["where"].values()) == 3
    assert (found["unequal"], found["faults"]) == (0, [])
    assert found["runs"] >= 1


def test_without_a_target_it_is_a_papers_turn(monkeypatch, capsys):
    said = {"unequal": 0, "faults": []}
    monkeypatch.setenv(in_turn.VARIABLE, "moe_design forward_grad")
    monkeypatch.setattr(
        fault_campaign, "campaign", lambda target, flags, *_: {**said, "of": [target, *flags]}
    )
    assert fault_campaign.main([]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["of"] == ["experiments.moe_design", "--preset", "smoke"]


@pytest.mark.parametrize("within", ["half a file", "before renaming", "after renaming"])
def test_a_write_that_is_killed_leaves_the_old_file_or_the_new(tmp_path, within):
    record.write_json(tmp_path / "record.json", {"version": "old"})
    program = (
        "from pathlib import Path; import sys\n"
        "from jaxtrends import record\nfrom scripts.fault_campaign import lie_in_wait\n"
        f"lie_in_wait({within!r}, 1)\n"
        "record.write_json(Path(sys.argv[1]), {'version': 'new'})\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "record.json")])
    assert done.returncode == -9
    found = json.loads((tmp_path / "record.json").read_text())["version"]
    assert found == ("new" if within == "after renaming" else "old")


# --- damaged -----------------------------------------------------------------------------------

METRICS = {"loss": np.array([[1.5, np.nan]], np.float32), "accuracy": np.array([0.5])}
RESULT = {"results": {"values": {"x": [1.0, float("inf")]}}, "seconds": 2.5}


def study_folder(path, said):
    folder = rundir.StudyDirectory(path, said.append)
    (path / "blocks").mkdir(parents=True, exist_ok=True)
    return folder


def flipped(content, position):
    return content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :]


def test_a_flipped_bit_anywhere_in_a_block_is_never_a_wrong_number(tmp_path):
    said = []
    folder = study_folder(tmp_path, said)
    folder.keep_block("some lanes", 0, METRICS)
    (file,) = (tmp_path / "blocks").iterdir()
    content, lost = file.read_bytes(), 0
    digest = record.array_digest(METRICS)
    for position in range(0, len(content), 3):
        file.write_bytes(flipped(content, position))
        found = folder.block("some lanes", 0)
        lost += found is None
        assert found is None or record.array_digest(found) == digest
    assert lost == len(said) > len(content) / 8
    assert all(str(file) in sentence and "are made again" in sentence for sentence in said)
    file.write_bytes(content)
    assert record.array_digest(folder.block("some lanes", 0)) == digest


@pytest.mark.parametrize("name", ["result.json", "curves.npz"])
def test_a_damaged_result_or_its_curves_are_made_again_and_said(tmp_path, name):
    said = []
    folder = study_folder(tmp_path, said)

    folder.finish(RESULT, METRICS)
    assert folder.result() == RESULT
    kept = {file: (tmp_path / file).read_bytes() for file in ("result.json", "curves.npz")}

    def damaged(content):
        for file, whole in kept.items():
            (tmp_path / file).write_bytes(content if file == name else whole)
        said.clear()
        found = folder.result()
        if found is None:
            assert len(said) == 1
            assert name in said[0]
            assert folder.result() is None  # it is gone, and not named again
            assert len(said) == 1
        return found

    content = kept[name]
    for part in (b"", content[: len(content) // 2], content[:-3], b"{}", b"[" * 5000):
        assert damaged(part) is None
    for position in range(0, len(content), 7):
        assert damaged(flipped(content, position)) in (None, RESULT)
    assert damaged(content) == RESULT
    (tmp_path / "curves.npz").unlink()
    assert folder.result() is None


@pytest.mark.parametrize("content", [b"", b'{"digest', b"\xff", b"[" * 5000])
def test_damaged_markers_are_named(tmp_path, content):
    said = []
    folder = rundir.RunDirectory(tmp_path, {"a": 1}, resume=False, report=said.append)
    study = folder.study("training", "code")
    study.finish(RESULT, METRICS)
    (study.path / "code.json").write_bytes(content)
    assert folder.study("training", "code").result() is None
    assert len(said) == 1
    assert "code.json is damaged" in said[0]
    folder.close()
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(Problem, match=r"run\.json is damaged"):
        rundir.RunDirectory(tmp_path, {"a": 1}, resume=True)


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    rundir.RunDirectory(tmp_path, {}, resume=False).close()
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / ".result.json.123.tmp").write_bytes(b"{")
    rundir.RunDirectory(tmp_path, {}, resume=True).close()
    assert list(tmp_path.rglob("*.tmp")) == []


def test_a_run_with_a_damaged_result_is_resumed_to_the_same_results(tmp_path, whole):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    for name in ("record.json", "studies/training/result.json"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(Problem, match="cannot be read as a record"):
        record.read(folder)
    status, out, err = finish("--output", folder, *SHORT, "--resume")
    assert status == 0
    assert err.count("result.json is damaged") == 1
    assert "counting: done before, kept" in out
    assert same_results(folder, whole)


# --- no room, no folder ------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [200, 1500, 6000])
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_afterwards(tmp_path, whole, limit):
    """No file may grow beyond the limit: one by one, other files are the first to fail."""
    folder = tmp_path / "run"
    status, _, err = finish(
        *("--output", folder, *SHORT),
        env=os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"},
        largest_file=limit,
    )
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (status, len(errors)) == (2, 1), err
    assert "written" in errors[0]
    with pytest.raises(Problem):
        record.read(folder)
    resume = ["--resume"] if (folder / "run.json").exists() else []
    assert finish("--output", folder, *SHORT, *resume)[0] == 0
    assert same_results(folder, whole)


@pytest.mark.parametrize("instead", ["nothing", "a file"])
def test_a_folder_that_goes_away_in_mid_run_is_one_sentence(tmp_path, instead):
    folder = tmp_path / "run"
    process = start("--output", folder, "--wandb", "disabled", "--steps", "20000")
    stream = folder / "studies" / "training" / "metrics" / "digits.jsonl"
    for _ in range(3000):
        if stream.exists() and stream.stat().st_size:
            break
        assert process.poll() is None
        time.sleep(0.02)
    while folder.exists():  # the run may be making a file at this very moment
        with contextlib.suppress(OSError):
            folder.rename(tmp_path / "gone")
    if instead == "a file":
        folder.write_text("")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("error: ")]) == 1
    assert str(folder) in err


# Root may write everywhere; without this capability it is held to what a folder's mode says.
BARRED = () if os.geteuid() else ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@pytest.mark.skipif(not all(map(shutil.which, BARRED[:1])), reason="there is no setpriv")
def test_a_folder_made_read_only_in_mid_run_is_one_sentence_and_the_run_goes_on_afterwards(
    tmp_path,
):
    folder, flags = tmp_path / "run", ("--wandb", "disabled", "--steps", "20000", "--seeds", "2")
    process = subprocess.Popen(
        [*BARRED, sys.executable, str(TOY), "--output", str(folder), *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    study = folder / "studies" / "training"
    stream = study / "metrics" / "digits.jsonl"
    for _ in range(3000):
        if stream.exists() and stream.stat().st_size:
            break
        assert process.poll() is None
        time.sleep(0.02)
    places = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for place in places:
        with contextlib.suppress(FileNotFoundError):  # of a checkpoint that is just being named
            place.chmod(0o500)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "Traceback" not in err
    [said] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert str(folder) in said
    with pytest.raises(Problem):
        record.read(folder)
    for place in places:
        with contextlib.suppress(FileNotFoundError):
            place.chmod(0o700)
    assert finish("--output", folder, *flags, "--resume")[0] == 0


# --- no time -----------------------------------------------------------------------------------


def test_a_run_out_of_time_saves_its_state_and_goes_on_to_the_results_of_a_whole_one(
    tmp_path, whole
):
    folder = tmp_path / "run"
    status, out, err = finish("--output", folder, *SHORT, "--time-limit", "0.00001")
    assert status == 128 + signal.SIGALRM
    assert "Stopped by the time limit; the state is saved." in err
    assert "--resume" in out
    with pytest.raises(Problem):
        record.read(folder)
    assert finish("--output", folder, *SHORT, "--resume", "--time-limit", "60")[0] == 0
    assert same_results(folder, whole)


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "inf", "1e30"])
def test_a_time_limit_that_is_none_is_refused(limit, tmp_path):
    status, _, err = finish("--output", tmp_path / "run", "--time-limit", limit)
    assert status == 2
    assert "--time-limit must lie above 0 and within a year" in err


def test_a_full_disk_under_standard_output_is_one_sentence(tmp_path):
    with open("/dev/full", "w") as full:
        process = start("--preset", "smoke", "--output", tmp_path / "run", stdout=full)
        _, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "Traceback" not in err
    assert "No space left on device" in err


def test_of_two_runs_started_at_once_in_one_folder_one_is_refused(tmp_path):
    runs = [start("--output", tmp_path / "run", *SHORT) for _ in range(2)]
    said = [process.communicate(timeout=300)[1] for process in runs]
    assert sorted(process.returncode for process in runs) == [0, 2]
    (refused,) = (text for text, run in zip(said, runs, strict=True) if run.returncode == 2)
    assert "Another run is writing" in refused or "already has a run" in refused
    assert record.read(tmp_path / "run")


# --- lanes that diverge ------------------------------------------------------------------------


def diverging(rates):
    """The toy with a study whose lanes have these learning rates, and a claim about their loss."""

    def training(config, run):
        trainer = train.supervised(
            *(models.mlp((64, 10)), losses.cross_entropy, {"accuracy": losses.accuracy}),
            *(backprop, train.decayed_sgd(1e-4)),
            batch_size=16,
        )
        lanes = {
            "seed": np.arange(len(rates), dtype=np.uint32),
            "learning_rate": np.asarray(rates, np.float32),
        }
        data = toy_experiment.digits(run, config)
        found = run.train("digits", trainer, lanes, data, steps=20, log_every=4)
        loss = found["training_loss"]
        run.log_lanes("sgd", [0] * len(rates), {}, np.arange(5), {"loss": loss})
        curves = [
            Series(str(rate), list(range(5)), list(row))
            for rate, row in zip(rates, loss, strict=True)
        ]
        return StudyResult(
            values={"loss": loss[:, -1], "all": loss},
            curves={"loss": loss},
            figures=[Figure("loss", "Loss", "A toy.", [Panel("toy", "x", "y", curves)])],
        )

    toy = toy_experiment.EXPERIMENT
    claim = toy_experiment._claim("T1", "training", "loss", (0.0, 5.0))
    study = dataclasses.replace(toy.studies["training"], run=training, claims=(claim,))
    return dataclasses.replace(toy, studies={"training": study})


@pytest.mark.parametrize(
    ("rates", "verdict"),
    [
        ((0.1, 0.1, 0.1), "reproduced"),
        ((0.1, np.inf, 0.1), "inconclusive"),
        ((np.nan, np.inf, -np.inf), "inconclusive"),
    ],
)
def test_lanes_that_diverge_are_in_the_record_and_judged(tmp_path, capsys, rates, verdict):
    folder = tmp_path / "run"
    assert running.main(diverging(rates), ["--preset", "smoke", "--output", str(folder)]) == 0
    done = record.read(folder)
    losses_kept = done["results"]["studies"]["training"]["values"]["loss"]
    assert [isinstance(value, str) for value in losses_kept] == [not 0 < rate < 1 for rate in rates]
    (entry,) = record.entries(done)
    assert record.judge_again(entry) == entry["verdict"]
    assert entry["verdict"]["verdict"] == verdict
    assert {path.suffix for path in (folder / "figures").iterdir()} == {".svg", ".png"}
    site = webpage.site([webpage_record.load(folder, published=False, place="run")])
    assert f"{verdict}</span>" in site["index.html"]
    out, err = capsys.readouterr()
    assert verdict in out
    assert "Traceback" not in err
