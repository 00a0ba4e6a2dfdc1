"""Golden values: what counts as moved, what raises an edition, which records are stale then."""

from __future__ import annotations

import copy
import math
import types

import numpy as np
import pytest

from jaxtrends import golden, record, running
from jaxtrends.errors import Problem
from scripts import golden as command
from tests import toy_experiment
from tests.example_record import example, write_golden
from tests.plain_run import PlainRun

INF, NAN = math.inf, math.nan
EVERY = ["estimators", "training", "cost"]


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(golden, "RESULTS", tmp_path)
    return tmp_path


def smoke(**values):
    """The record of a smoke run, with a study's values if they are given."""
    made = example("smoke")
    for study, found in values.items():
        made["results"]["studies"][study]["values"] = found
    return made


def write(done, why="a reason", **options):
    """Make its values the golden ones; the editions."""
    made = golden.updated(done, EVERY, why, "2027-01-02", **options)
    golden.path_of("slopes").parent.mkdir(exist_ok=True)
    record.write_json(golden.path_of("slopes"), made)
    return golden.editions("slopes")


# --- what is kept ------------------------------------------------------------------------------


def test_numbers_are_kept_to_six_digits_and_all_else_as_it_is():
    values = {"a": [1 / 3, 2, True, None, "nan"], "b": {"c": [["x"], []]}, "d": 1e300 / 7}
    assert golden.kept(values) == {
        **values,
        "a": [0.333333, 2, True, None, "nan"],
        "d": 1.42857e299,
    }


def test_a_large_array_is_kept_as_a_summary_that_tells_any_of_its_numbers():
    array = np.arange(600.0).reshape(3, 200) - 7
    values = array.tolist()
    found = golden.kept(values)
    assert found["shape"] == [3, 200]
    assert found["finite"] == 600
    assert found["mean, mean size"] == [292.5, pytest.approx(np.abs(array).mean(), rel=1e-5)]
    assert len(found["some"]) == golden.KEPT
    assert (found["some"][0], found["some"][-1]) == (-7, 592)
    for place in ((0, 1), (2, 198)):
        other = array.copy()
        other[place] += 1000
        assert golden.difference(found, golden.kept(other.tolist()), 1e-4).moved
    array[1, 1] = NAN
    assert golden.difference(found, golden.kept(record.plain(array)), 1e-4).moved
    assert golden.kept([NAN] * 100)["mean, mean size"] == []
    assert golden.kept(["text"] * 100) == ["text"] * 100


# --- what has moved ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "moved", "first"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0, ""),
        ([1.0, 2.0], [1.00015, 2.0], 0, ""),  # the larger one is the measure of both
        ([1.0, 2.0], [1.0, 2.0003], 1, "a is 2.0003, not 2.0"),
        (1.0, 1.0002, 1, "a is 1.0002, not 1.0"),
        (100, 101, 1, "a is 101, not 100"),
        (3e-31, 2e-31, 0, ""),
        (1.0, -1.0, 1, "a is -1.0, not 1.0"),
        ("nan", "nan", 0, ""),
        ("inf", "inf", 0, ""),
        ("inf", "-inf", 1, "a is -inf, not inf"),
        (1.0, "nan", 1, "a is nan, not 1.0"),
        ("inf", 1.0, 1, "a is 1.0, not inf"),
        ([1.0, 1e9], [2.0, 1e9], 0, ""),
        (True, False, 1, "a is False, not True"),
        (True, 1, 1, "a is 1, not True"),
        (None, 0, 1, "a is 0, not None"),
        ("gelu", "relu", 1, "a is 'relu', not 'gelu'"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], 2, "a has another length"),
        ([1.0, 2.0], {"b": 1.0}, 2, "a is missing"),
        ([{"b": 1.0}], [{"b": 2.0}], 1, "a.0.b is 2.0, not 1.0"),
        ([], [], 0, ""),
    ],
)
def test_what_has_moved(old, new, moved, first):
    found = golden.difference({"a": old}, {"a": new}, 1e-4)
    assert (found.moved, found.first) == (moved, first)


def test_what_is_new_has_not_moved():
    found = golden.difference({"a": 1.0}, {"a": 1.0, "b": {"c": [1.0, 2.0]}}, 1e-4)
    assert found == golden.Difference(moved=0, added=2, count=1, first="b.c is new")


def moved_by(change, results):
    """The faults of a smoke run with 20 values, one or more of which are changed."""
    write(smoke(training={"loss": [1.0] * 20}))
    again = smoke(training={"loss": [1.0] * 20})
    change(again)
    return golden.faults(again, EVERY)


def losses(*values):
    def change(again):
        again["results"]["studies"]["training"]["values"]["loss"][: len(values)] = values

    return change


def elsewhere(again):
    for code in again["provenance"]["code"].values():
        code["device"]["processor"] = "Abacus 4"


def other_versions(again):
    again["provenance"]["versions"]["jax"] = "0.12.0"


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ([], 0),
        ([losses(1.00005)], 0),
        ([losses(1.0005)], 1),
        ([losses(1.0005, 1.0005), elsewhere], 0),
        ([losses(1.0005, 1.0005, 1.0005), elsewhere], 1),
        ([losses(*[1.0005] * 20), other_versions], 0),
        ([losses(1.005, 1.005), other_versions], 0),
        ([losses(1.005, 1.005, 1.005), other_versions], 1),
    ],
)
def test_some_may_go_astray_on_another_device_and_none_on_the_same(changes, faults, results):
    found = moved_by(lambda again: [change(again) for change in changes], results)
    assert len(found) == faults
    if found:
        assert found[0].startswith("slopes: training has changed: loss is 1.00")


def test_a_smoke_run_lacks_nothing_that_is_golden(results):
    assert golden.faults(smoke(), EVERY) == [
        f"slopes: {name} has no golden values yet" for name in EVERY
    ]
    write(smoke())
    assert golden.faults(smoke(), EVERY) == []
    less = smoke()
    del less["results"]["studies"]["cost"]
    assert golden.faults(less, EVERY) == [
        "slopes: cost has golden values but is not in the smoke run"
    ]
    assert golden.faults(less, EVERY[:2]) == ["slopes: cost no longer exists"]


# --- editions ----------------------------------------------------------------------------------


def test_an_edition_rises_where_values_move_and_nowhere_else(results):
    first = smoke(training={"loss": [1.0, 2.0]}, cost={"steps": [3, 4]})
    assert write(first, "the first") == {"estimators": 1, "training": 1, "cost": 1}
    assert write(first) == {"estimators": 1, "training": 1, "cost": 1}
    second = smoke(training={"loss": [1.0, 3.0]}, cost={"steps": [3, 4], "more": 1})
    assert write(second, "a better loss") == {"estimators": 1, "training": 2, "cost": 1}
    assert golden.faults(second, EVERY) == []
    assert golden.read("slopes")["history"] == [
        {"date": "2027-01-02", "why": "the first", "editions": dict.fromkeys(EVERY, 1)},
        {"date": "2027-01-02", "why": "a better loss", "editions": {"training": 2, "cost": 1}},
    ]


def test_small_steps_do_not_add_up_unseen(results):
    write(smoke(training={"loss": [1.0]}))
    assert write(smoke(training={"loss": [1.00008]}))["training"] == 1
    assert write(smoke(training={"loss": [1.00016]}))["training"] == 2


def test_another_name_may_keep_the_edition_and_what_no_smoke_run_sees_may_raise_it(results):
    write(smoke(training={"loss": [1.0]}))
    renamed = smoke(training={"final_loss": [1.0]})
    assert write(renamed, keep=True)["training"] == 1
    assert golden.faults(renamed, EVERY) == []
    assert write(renamed, raised=["cost"]) == {"estimators": 1, "training": 1, "cost": 2}


def test_a_study_outside_the_smoke_run_has_an_edition_and_no_values(results):
    done = smoke()
    del done["results"]["studies"]["cost"]
    assert write(done)["cost"] == 1
    assert golden.faults(done, EVERY) == []
    assert write(done, raised=["cost"])["cost"] == 2
    assert golden.faults(smoke(), EVERY) == ["slopes: cost has no golden values yet"]
    assert write(smoke())["cost"] == 2
    assert golden.faults(smoke(), EVERY) == []


def test_a_record_is_stale_once_an_edition_has_risen(results):
    made = example()
    assert golden.stale_studies(made) == []  # nothing is known of it
    write_golden(results)
    assert golden.stale_studies(made) == []
    write_golden(results, cost=2)
    assert golden.stale_studies(made) == ["cost"]
    made["provenance"]["code"]["cost"]["golden"] = 2
    assert golden.stale_studies(made) == []
    made["provenance"]["code"]["gone"] = made["provenance"]["code"]["cost"]
    assert golden.stale_studies(made) == ["gone"]


def test_a_record_from_before_there_were_editions_is_of_the_first(results):
    made = example()
    for code in made["provenance"]["code"].values():
        del code["golden"]
        code |= {"modules": ["jaxtrends.stats"], "digest": "f" * 64}
    record.write_json(results / "record.json", made)
    old = record.read(results)
    assert golden.editions_of(old) == dict.fromkeys(EVERY, 1)
    write_golden(results, training=2)
    assert golden.stale_studies(old) == ["training"]


@pytest.mark.parametrize("text", ["<<<<<<< HEAD", "[]", '{"studies": {"cost": {"edition": 1}}}'])
def test_a_damaged_file_is_named(text, results):
    write_golden(results)
    golden.path_of("slopes").write_text(text)
    with pytest.raises(Problem, match=r"golden\.json cannot be read as golden values .*git"):
        golden.editions("slopes")


def test_a_learning_rate_that_is_a_hundredth_off_has_moved():
    """The control: what it takes to be seen. Rounding of the same size as between processors."""
    config = toy_experiment.EXPERIMENT.presets["smoke"]

    class Run(PlainRun):
        factor = 1.0

        def train(self, label, trainer, lanes, data, **options):
            rates = (lanes["learning_rate"] * self.factor).astype(np.float32)
            return super().train(label, trainer, {**lanes, "learning_rate": rates}, data, **options)

    def values(factor):
        run = Run("training", {"digits": toy_experiment.EXPERIMENT.load(config, "digits", None)})
        run.factor = factor
        return golden.kept(record.plain(toy_experiment.training(config, run).values))

    once = values(1.0)
    for tolerance in (golden.TOLERANCE, golden.OTHER_VERSIONS):
        assert not golden.difference(once, values(1 + 1e-6), tolerance).moved
        assert golden.difference(once, values(1.01), tolerance).beyond(golden.ASTRAY)


# --- the command -------------------------------------------------------------------------------


@pytest.fixture
def lying(results, monkeypatch):
    """An experiment whose smoke run lies in a folder; what changes that run."""
    done = smoke(training={"loss": [1.0, 2.0]})
    config = {"studies": EVERY}
    made = types.SimpleNamespace(presets={"smoke": config}, studies=dict.fromkeys(EVERY))
    monkeypatch.setattr(command, "discover", lambda: {"slopes": made})
    done["results"]["config_digest"] = record.digest(config)

    def change(values=None):
        again = copy.deepcopy(done)
        if values is not None:
            again["results"]["studies"]["training"]["values"] = values
        record.write_json(results / "record.json", again)
        return str(results)

    return change


def test_the_command_compares_and_says_how_to_go_on(lying, capsys):
    assert command.main([lying(), "--update", "--why", "the first"]) == 0
    said = capsys.readouterr().out
    assert said == (
        "slopes: golden values written; current editions: estimators 1, training 1, cost 1.\n"
    )
    assert command.main([lying()]) == 0
    assert command.main([lying({"loss": [1.0, 3.0]})]) == 1
    out, err = capsys.readouterr()
    assert "slopes: 1 of 3 studies differ." in out
    assert "fault: slopes: training has changed: loss is 3.0, not 2.0 (1 of 2 golden values" in err
    assert "--update --why" in err
    assert command.main([lying({"loss": [1.0, 3.0]}), "--update", "--why", "a better loss"]) == 0
    assert (
        capsys.readouterr().out == "slopes: golden values written; current editions: training 2.\n"
    )
    assert command.main([lying({"loss": [1.0, 3.0]}), "--update", "--why", "nothing"]) == 0
    assert "nothing was written" in capsys.readouterr().out
    assert golden.editions("slopes") == {"estimators": 1, "training": 2, "cost": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--update"], "--update and --why REASON must be used together"),
        (["--why", "x"], "--update and --why REASON must be used together"),
        (["--keep"], "need --update"),
        (["--update", "--why", "x", "--raise", "cost"], "name it"),
        (["slopes", "--update", "--why", "x", "--raise", "cost", "--keep"], "choose one"),
        (["slope"], "There is no experiment 'slope'"),
    ],
)
def test_a_users_mistake_is_one_sentence(arguments, message, lying, capsys):
    assert command.main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err


def test_an_unknown_study_and_another_record_are_refused(lying, capsys):
    where = lying()
    assert command.main([where, "--update", "--why", "x", "--raise", "costs"]) == 2
    assert "There is no study 'costs'" in capsys.readouterr().err
    assert not golden.path_of("slopes").exists()
    done = record.read(golden.RESULTS)
    done["results"]["config_digest"] = "f" * 64
    record.write_json(golden.RESULTS / "record.json", done)
    assert command.main([where]) == 2
    assert "not a run of the current smoke preset" in capsys.readouterr().err


def test_a_run_names_the_editions_it_was_made_under(results, tmp_path):
    """And one of an experiment that has none names none."""
    parts = {"versions": None, "device": None, "values": None}
    (results / "toy").mkdir()
    made = {"experiment": "toy", "history": [], "studies": {"counting": {"edition": 4, **parts}}}
    record.write_json(results / "toy" / "golden.json", made)
    flags = ["--preset", "smoke", "--output", str(tmp_path / "run")]
    assert running.main(toy_experiment.EXPERIMENT, flags) == 0
    code = record.read(tmp_path / "run")["provenance"]["code"]
    assert code["counting"]["golden"] == 4
    assert "golden" not in code["training"]
