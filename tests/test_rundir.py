"""What is kept of a run is found again as what it is, and as nothing else."""

from __future__ import annotations

import dataclasses
import shutil
import time

import jax
import numpy as np
import pytest

from jaxtrends import losses, models, record, rundir, running, train
from jaxtrends.errors import Problem
from jaxtrends.estimators import backprop
from jaxtrends.study import StudyResult
from tests import toy_experiment

METRICS = {"loss": np.array([[1.5, 2.5]], np.float32)}


# --- labels --------------------------------------------------------------------------------------


def nothing(loss, params, key):
    """A gradient of zero: what is trained with it stays at its first loss."""
    value, gradient = backprop(loss, params, key)
    return value, jax.tree.map(lambda leaf: 0 * leaf, gradient)


def labelled(labels):
    """The toy with one study, which trains the same lanes by backprop and then, under each label,
    by nothing."""

    def training(config, run):
        found = {}
        for number, label in enumerate(labels):
            trainer = train.supervised(
                *(models.mlp((64, 10)), losses.cross_entropy, {}),
                *(nothing if number else backprop, train.decayed_sgd(1e-4)),
                batch_size=16,
            )
            lanes = {"seed": np.arange(2, dtype=np.uint32), "learning_rate": np.float32([0.1, 0.1])}
            data = toy_experiment.digits(run, config)
            metrics = run.train(label, trainer, lanes, data, steps=40, log_every=20)
            found[label] = metrics["validation_loss"]
        return StudyResult(values=found)

    toy = toy_experiment.EXPERIMENT
    study = dataclasses.replace(toy.studies["training"], run=training, claims=())
    return dataclasses.replace(toy, studies={"training": study})


@pytest.mark.parametrize(
    "labels",
    [("backprop?", "backprop*"), ("甲", "乙"), ("a", "A"), ("x", "../x", "x/")],
)
def test_labels_that_look_alike_to_a_file_system_share_no_finished_block(tmp_path, labels):
    flags = ["--preset", "smoke", "--output", str(tmp_path / "run")]
    assert running.main(labelled(labels), flags) == 0
    values = record.read(tmp_path / "run")["results"]["studies"]["training"]["values"]
    first, *others = (np.array(values[label]) for label in labels)
    for other in others:
        assert (np.ptp(other, axis=1) == 0).all()  # it stays where it was
        assert (first < other).all()
    outside = {path.name for path in tmp_path.iterdir()} - {"run"}
    assert not outside


def test_each_label_has_a_stream_that_names_it(tmp_path):
    folder = rundir.StudyDirectory(tmp_path)
    (tmp_path / "metrics").mkdir()
    for label in ("甲", "乙"):
        folder.log(label, 0, range(1), METRICS)
    folder.log("甲", 0, range(1), METRICS, 1)  # of another process
    found = [path.read_text() for path in (tmp_path / "metrics").iterdir()]
    assert len(found) == 3
    assert sum(r'"label": "\u7532"' in text for text in found) == 2


# --- blocks --------------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path):
    """Make a study's folder of a run; the sentences that it said."""
    said = []

    def study(description, code="code", name="training"):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        run = rundir.RunDirectory(tmp_path / "run", description, resume=False, report=said.append)
        run.close()
        return run.study(name, code), said

    return study


OF = {"steps": 40, "lanes": "d" * 64}


@pytest.mark.parametrize(
    ("run", "code", "name", "label", "block", "of", "field"),
    [
        ({"seed": 1}, "code", "training", "a b", 0, OF, "run"),
        ({"seed": 0}, "other", "training", "a b", 0, OF, "code"),
        ({"seed": 0}, "code", "tuning", "a b", 0, OF, "study"),
        ({"seed": 0}, "code", "training", "a*b", 0, OF, "label"),
        ({"seed": 0}, "code", "training", "a b", 1, OF, "block"),
        ({"seed": 0}, "code", "training", "a b", 0, {**OF, "steps": 80}, "steps"),
        ({"seed": 0}, "code", "training", "a b", 0, {**OF, "lanes": "e" * 64}, "lanes"),
    ],
)
def test_a_block_that_is_another_is_made_again_with_a_word(
    tmp_path, study, run, code, name, label, block, of, field
):
    folder, _ = study({"seed": 0})
    folder.keep_block("a b", 0, METRICS, OF)
    assert folder.block("a b", 0, OF).keys() == METRICS.keys()
    (kept,) = (folder.path / "blocks").iterdir()
    shutil.copy(kept, tmp_path / "block")
    folder, said = study(run, code, name)
    folder.keep_block(label, block, METRICS, of)  # for its name
    (place,) = (folder.path / "blocks").iterdir()
    shutil.copy(tmp_path / "block", place)
    assert folder.block(label, block, of) is None
    (sentence,) = said
    assert f"({field} is " in sentence
    assert "trained again" in sentence
    assert not place.exists()


def test_checkpoints_are_found_by_what_their_lanes_are(study):
    folder, _ = study({"seed": 0})
    places = {folder.checkpoints("a", 0, of) for of in (OF, {**OF, "steps": 80}, None)}
    assert len(places) == 3
    assert folder.checkpoints("a", 0, OF) == study({"seed": 0})[0].checkpoints("a", 0, OF)
    assert folder.checkpoints("a", 0, OF) != study({"seed": 1})[0].checkpoints("a", 0, OF)


# --- new folders ---------------------------------------------------------------------------------


def test_runs_that_begin_within_a_second_have_folders_of_their_own(tmp_path, monkeypatch):
    class Still(rundir.datetime):
        @classmethod
        def now(cls, zone):
            return cls(2022, 2, 17, tzinfo=zone)

    monkeypatch.setattr(rundir, "datetime", Still)
    made = [rundir.new_folder(tmp_path / "runs", "smoke") for _ in range(3)]
    assert [path.name for path in made] == [
        f"smoke-20220217-000000{number}" for number in ("", "-2", "-3")
    ]
    assert sorted(made) == made  # the newest comes last
    assert all(path.is_dir() for path in made)


def test_a_place_where_no_folder_can_be_made_is_one_sentence(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(Problem, match="choose another with --output"):
        rundir.new_folder(tmp_path / "runs", "smoke")


def test_the_time_of_a_folder_is_that_of_its_making(tmp_path):
    before = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    made = rundir.new_folder(tmp_path, "smoke").name.removeprefix("smoke-")
    assert before <= made <= time.strftime("%Y%m%d-%H%M%S", time.gmtime())
