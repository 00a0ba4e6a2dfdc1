"""A record in today's words: what was measured and how it was to be judged stay as they were."""

from __future__ import annotations

import copy

from jaxtrends import publish, record
from jaxtrends.experiment import discover
from jaxtrends.retelling import changed, retold

EXPERIMENT = discover()["multiplexing"]
FOLDER = record.ROOT / "results/multiplexing/default"
DONE = record.read(FOLDER)
CURVES = record.read_curves(FOLDER, DONE)


def old(**changes):
    """The record as it was before a rewording, with fields of its first claim changed."""
    done = copy.deepcopy(DONE) | {"answer": "", "lead": "", "about": "Something."}
    for entry in record.entries(done):
        entry["claim"] |= {"statement": "Put otherwise.", "headline": False}
    done["results"]["claims"][0]["claim"] |= changes
    return done


def test_words_and_headlines_are_todays():
    new, kept = retold(old(), EXPERIMENT, CURVES)
    said = {c.id: c.statement for study in EXPERIMENT.studies.values() for c in study.claims}
    assert not kept
    assert all(e["claim"]["statement"] == said[e["claim"]["id"]] for e in record.entries(new))
    assert new["lead"] == EXPERIMENT.lead
    assert new["answer"]
    assert new["about"] == EXPERIMENT.about


def test_what_was_measured_and_judged_stays():
    new, _ = retold(old(), EXPERIMENT, CURVES)
    for before, after in zip(record.entries(DONE), record.entries(new), strict=True):
        assert after["evidence"] == before["evidence"]
        assert after["verdict"] == before["verdict"]
        assert after["claim"]["region"] == before["claim"]["region"]
        assert record.judge_again(after) == after["verdict"]
    assert new["results"]["studies"] == DONE["results"]["studies"]
    assert new["measurements"]["studies"] == DONE["measurements"]["studies"]


def test_a_claim_that_is_judged_otherwise_today_keeps_its_words():
    for changes in ({"region": [-1.0, 7.5]}, {"statistic": "median"}, {"id": "M0"}):
        before = old(**changes)
        new, kept = retold(before, EXPERIMENT, CURVES)
        first = before["results"]["claims"][0]
        assert kept == [first["claim"]["id"]]
        assert new["results"]["claims"][0]["claim"] == first["claim"]
        assert new["results"]["claims"][0]["verdict"] == record.judge_again(first)


def test_a_verdict_by_a_statistic_that_was_corrected_is_given_anew_and_said():
    before = old()
    first = before["results"]["claims"][0]
    first["verdict"] = {**first["verdict"], "verdict": "invalid"}
    new, _ = retold(before, EXPERIMENT, CURVES)
    right = DONE["results"]["claims"][0]
    assert new["results"]["claims"][0]["verdict"] == right["verdict"]
    said = f"{right['claim']['id']} was invalid and is {right['verdict']['verdict']}"
    assert changed(before, new) == [said]
    assert changed(DONE, new) == []


def test_a_config_of_another_release_keeps_its_descriptions():
    before = old()
    before["results"]["config"]["forgotten"] = 1
    before["scale"] = "Small."
    new, _ = retold(before, EXPERIMENT, CURVES)
    assert new["scale"] == "Small."


def test_every_committed_record_can_be_told_anew(tmp_path):
    experiments = discover()
    for done in publish.read_records(record.ROOT / "results"):
        folder = record.ROOT / "results" / publish.folder(done)
        new, _ = retold(done, experiments[done["experiment"]], record.read_curves(folder, done))
        assert new["lead"]
        record.write_json(tmp_path / "record.json", new)
        assert record.read(tmp_path) == new
