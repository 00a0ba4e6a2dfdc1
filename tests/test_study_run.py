"""What the driver does around a study's training: the size of blocks, and that it is kept."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import pytest

from jaxtrends import devices, record, running
from jaxtrends.command import Command
from jaxtrends.distributed import Processes
from jaxtrends.rundir import StudyDirectory
from jaxtrends.study_run import StudyRun, Wiring
from jaxtrends.terminal import Quiet
from tests import test_sweep, toy_experiment
from tests.test_sweep import assert_same_bits

GO_ON = SimpleNamespace(due=False, check=lambda: None)


def study(folder, block="auto", **more):
    for part in ("blocks", "metrics"):
        (folder / part).mkdir(exist_ok=True)
    place = StudyDirectory(folder)
    used = jax.local_devices()[:1]
    wiring = Wiring(used, None, block, None, Quiet(""), lambda name: None, {}, Processes())
    return StudyRun("training", place, GO_ON, wiring, **more), place


def trained(run, lanes=5):
    call = ("digits", test_sweep.TRAINER, test_sweep.lanes(lanes), test_sweep.DATA)
    return run.train(*call, steps=12, log_every=3)


@pytest.mark.parametrize(("block", "size"), [("auto", 1), (2, 2), (5, 5), (64, 5)])
def test_blocks_are_as_asked_for_and_of_one_lane_on_a_cpu(block, size, tmp_path):
    run, place = study(tmp_path, block)
    assert_same_bits(trained(run), test_sweep.run(count=5, block=size))
    assert run.blocks == place.block_sizes() == {"digits": size}


@pytest.fixture
def accelerator(monkeypatch):
    """The devices are taken for such as have room for three lanes."""
    monkeypatch.setattr(devices, "block", lambda lanes, *_: min(lanes, 3))


def test_on_an_accelerator_auto_takes_what_fits(accelerator, tmp_path):
    run, _ = study(tmp_path)
    assert_same_bits(trained(run), test_sweep.run(count=5, block=3))


def test_what_was_begun_goes_on_in_its_own_blocks_on_another_device(accelerator, tmp_path):
    _, place = study(tmp_path)
    place.keep_block_size("digits", 2)
    run, _ = study(tmp_path)
    trained(run)
    assert run.blocks == {"digits": 2}


def test_a_record_made_again_has_the_records_blocks(accelerator, tmp_path):
    run, _ = study(tmp_path, known_blocks={"digits": 4})
    assert_same_bits(trained(run), test_sweep.run(count=5, block=4))


def test_no_flipped_bit_gives_another_size(tmp_path):
    _, place = study(tmp_path)
    place.keep_block_size("digits", 2)
    file = tmp_path / "blocks.json"
    whole = file.read_bytes()
    for at in range(len(whole)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        said = []
        place._report = said.append
        found = place.block_sizes()
        assert found in ({}, {"digits": 2})
        assert len(said) == (not found)


def test_blocks_of_another_size_are_no_part_of_a_call(tmp_path):
    """Where their size was lost, they are trained again, and said to have other lanes."""
    run, place = study(tmp_path, 2)
    trained(run)
    (tmp_path / "blocks.json").unlink()
    said = []
    run, place = study(tmp_path, 3)
    place._report = said.append
    assert_same_bits(trained(run), test_sweep.run(count=5, block=3))
    assert any("has other lanes" in sentence for sentence in said)


def test_what_a_study_took_counts_the_runs_that_were_stopped(tmp_path, monkeypatch):
    _, place = study(tmp_path)
    assert place.spent() == (0, 0)
    place.keep_spent(1000.0, 2**50)
    monkeypatch.setattr(GO_ON, "due", True)
    again, _ = study(tmp_path)
    trained(again)
    assert again.seconds >= place.spent()[0] > 1000
    assert again.peak_memory_bytes == place.spent()[1] == 2**50  # more than this process can have
    (tmp_path / "spent.json").write_text("{")
    with pytest.warns(UserWarning, match="spent.json is damaged"):
        assert place.spent() == (0, 0)


# --- whole runs ----------------------------------------------------------------------------------


def run_toy(folder, *arguments):
    where = ["--output", str(folder), "--wandb", "disabled", "--devices", "1", "--steps", "20"]
    status = running.main(toy_experiment.EXPERIMENT, [*where, *arguments])
    return status, folder / "record.json"


def sizes(path):
    return {name: code["blocks"] for name, code in record.read(path)["provenance"]["code"].items()}


def test_the_record_says_what_blocks_were_used_and_a_rerun_uses_them(tmp_path):
    status, path = run_toy(tmp_path / "run", "--block", "2")
    assert status == 0
    assert sizes(path) == {"training": {"digits": 2}, "counting": {}}
    done = record.read(path)
    assert "--block" in done["provenance"]["command"]
    toy = toy_experiment.EXPERIMENT
    how = {"experiments": {"toy": toy}, "beside": tmp_path, "command": Command((), (), "main")}
    again = running.rerun(done, tmp_path / "again", **how)
    assert again["results"] == done["results"]
    assert sizes(tmp_path / "again") == sizes(path)
    for code in done["provenance"]["code"].values():
        del code["blocks"]  # as in a record of before
    running.rerun(done, tmp_path / "of before", **how)
    assert sizes(tmp_path / "of before")["training"] == {"digits": 1}


def test_a_resume_with_other_blocks_is_refused_in_one_sentence(tmp_path, capsys):
    status, path = run_toy(tmp_path / "run", "--block", "2")
    path.unlink()
    capsys.readouterr()
    for other in (["--block", "3"], []):
        status, _ = run_toy(tmp_path / "run", "--resume", *other)
        said = capsys.readouterr().err
        assert status == 2
        assert "has a run with another configuration: block is 2 there but" in said
        assert said.count("\n") == 1
    assert run_toy(tmp_path / "run", "--resume", "--block", "2")[0] == 0
