"""Comparing runs: what differs, paired or not, and W&B's own files read back."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from jaxtrends import differences, record, stats, tracking
from jaxtrends.differences import Side
from jaxtrends.errors import Problem
from jaxtrends.tracking import LaneHistory, Tracker, Tracking
from scripts import compare
from tests.example_record import example, write_example

DATA = {"mnist_5k": "d" * 64}


def side(values, *, data=DATA, label="", config=None):
    return Side(label, config or {}, data, {"loss": values})


def lanes(values, first=0):
    return dict(enumerate(values, first))


# --- configs -------------------------------------------------------------------------------------


def test_only_fields_that_differ_are_shown_and_absent_ones_are_none():
    sides = [
        side({}, config=differences.flatten({"a": {"b": 1, "c": [1, 2]}, "d": {}})),
        side({}, config=differences.flatten({"a": {"b": 2, "c": [1, 2]}, "e": "x"})),
        side({}, config=differences.flatten({"a": {"b": 1, "c": [1, 2]}, "d": {}})),
    ]
    found = differences.differing(sides)
    assert found == {"a.b": [1, 2, 1], "d": [{}, None, {}], "e": [None, "x", None]}
    assert differences.differing(sides[::2]) == {}


# --- outcomes ------------------------------------------------------------------------------------


def test_outcomes_are_lists_with_a_value_a_seed():
    values = {
        "tasks": {
            "mlp": {
                "seeds": [3, 4],
                "tuning_seeds": [8, 9],
                "tuned": {"forward": {"loss": [0.5, "inf"], "rates": [1, 2, 3], "name": "ab"}},
                "flags": [True, False],
                "texts": ["a", "b"],
                "cnn": {"seeds": [7], "loss": [1.5]},
            }
        },
        "no seeds": [1.0, 2.0],
    }
    found = differences.outcomes(values)
    assert found == {
        "tasks/mlp/tuned/forward/loss": {3: 0.5, 4: math.inf},
        "tasks/mlp/cnn/loss": {7: 1.5},
    }


def test_a_records_outcomes_have_the_ends_of_its_curves():
    made = example()
    made["results"]["studies"]["training"]["values"] = {"mlp": {"seeds": [5, 6]}}
    arrays = {"training/mlp/tuned/forward/loss": np.array([[3, 2.5], [3, np.inf]], np.float32)}
    found = differences.side_of(made, arrays, "", {}).outcomes
    assert found["training/mlp/tuned/forward/loss, last"] == {5: 2.5, 6: math.inf}


# --- differences ---------------------------------------------------------------------------------


def test_shared_seeds_on_the_same_data_are_paired():
    first, second = side(lanes([1.0, 2.0, 4.0, 9.0])), side(lanes([2.5, 4.5, 7.0], first=1))
    found = differences.difference(first, second, "loss")
    pairs = {"treatment": [2.5, 4.5, 7.0], "reference": [2.0, 4.0, 9.0]}
    assert found == stats.paired_difference(pairs, 0.95)
    assert found.method == "paired Student t"


@pytest.mark.parametrize("data", [None, {}, {"mnist_5k": "e" * 64}, {**DATA, "more": "f" * 64}])
def test_on_other_or_unknown_data_nothing_is_paired(data):
    first, second = side(lanes([1.0, 2.0, 4.0])), side(lanes([2.5, 4.5, 7.0]), data=data)
    assert differences.difference(first, second, "loss").method == "Welch t"
    assert differences.difference(second, first, "loss").method == "Welch t"


def test_seeds_that_are_not_shared_are_unpaired():
    first, second = side(lanes([1.0, 2.0, 4.0])), side(lanes([2.5, 4.5, 7.0], first=2))
    assert differences.shared_seeds(first, second, "loss") == []
    assert differences.difference(first, second, "loss").method == "Welch t"


samples = st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=2, max_size=12)


@given(samples, samples)
def test_welch_is_scipys(a, b):
    if np.var(a) + np.var(b) < 1e-6:
        return
    found = differences.welch(a, b)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a sample of equal numbers
        expected = scipy_stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    np.testing.assert_allclose([found.low, found.high], [expected.low, expected.high], rtol=1e-9)


def test_pairing_by_the_wrong_seeds_would_be_seen():
    random = np.random.default_rng(0)
    base = random.normal(size=10) * 5
    first, second = side(lanes(base)), side(lanes(base + 1 + 0.1 * random.normal(size=10)))
    paired = differences.difference(first, second, "loss")
    shifted = Side("", {}, DATA, {"loss": lanes(second.outcomes["loss"].values(), first=1)})
    assert paired.low > 0.8
    assert differences.difference(first, shifted, "loss").low < 0


def test_lanes_that_diverged_cost_the_mean_its_interval():
    whole, part = side(lanes([1.0, 2.0, 4.0])), side(lanes([2.5, math.inf, 7.0]))
    assert differences.difference(whole, part, "loss").method == "median, order statistics"
    unpaired = differences.difference(whole, side(part.outcomes["loss"], data=None), "loss")
    assert (unpaired.low, unpaired.high) == (-math.inf, math.inf)
    assert differences.middle({0: 1.0, 1: math.inf, 2: math.nan}) == math.inf
    assert differences.middle({0: 1.0, 1: 3.0}) == 2.0


# --- W&B's files ---------------------------------------------------------------------------------


def write(folder, made, arrays):
    """Write a record with curves that are its own."""
    for name, study in made["results"]["studies"].items():
        study["curves_digest"] = record.array_digest(record.curves_of(arrays, name))
    record.write_json(folder / "record.json", made)
    record.write_arrays(folder / "curves.npz", arrays)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder with a record, curves and W&B runs of the same lanes."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    made = write_example(folder)
    random = np.random.default_rng(5)
    values, arrays, histories = {}, {}, []
    for method in ("backprop", "forward"):
        curve = random.lognormal(size=(2, 300)).astype(np.float32)
        arrays[f"training/mlp/tuned/{method}/loss"] = curve
        histories += [
            LaneHistory(
                study="training",
                method=f"mlp/tuned/{method}",
                seed=seed,
                lane=seed - 3,
                config={"learning_rate": 0.1, "task": "mlp"},
                steps=np.arange(1, 301) * 10,
                metrics={"loss": curve[seed - 3]},
            )
            for seed in (3, 4)
        ]
    made["results"]["studies"]["training"]["values"] = {"mlp": {"seeds": [3, 4], **values}}
    write(folder, made, arrays)
    tracker = Tracker(Tracking("offline", folder, "slopes/1", ("paper:x",), pytest.fail))
    tracker.lanes(histories)
    tracker.table("training", "tuning", [{"rate": 0.1}])
    tracker.close()
    return folder


def test_wandbs_own_command_reads_back_the_records_numbers(run):
    ours = compare.read_side(run)
    theirs = compare.read_side(run / "wandb")
    assert theirs.data is None
    assert theirs.config["training/mlp/tuned/forward: learning_rate"] == 0.1
    assert len(theirs.outcomes) == 2
    for name, values in theirs.outcomes.items():
        assert values == ours.outcomes[name]
    found = differences.difference(ours, theirs, "training/mlp/tuned/forward/loss, last")
    assert (found.estimate, found.method) == (0.0, "Welch t")


def test_one_wandb_run_is_a_side_too(run):
    found = {path: tracking.read_lanes([path]) for path in tracking.offline_runs(run)}
    assert sorted(map(len, found.values())) == [0, 1, 1, 1, 1]
    lane = next(path for path, held in found.items() if held)
    table = next(path for path, held in found.items() if not held)
    assert len(compare.read_side(lane).outcomes) == 1
    with pytest.raises(Problem, match="have no lanes"):
        compare.read_side(table)


def test_a_damaged_wandb_file_is_one_sentence(tmp_path):
    folder = tmp_path / "offline-run-1"
    folder.mkdir()
    (folder / "run-1.wandb").write_bytes(b"nonsense")
    with pytest.raises(Problem, match="W&B cannot read its runs"):
        compare.read_side(folder)


# --- the command ---------------------------------------------------------------------------------


def test_the_command_shows_configs_finals_and_verdicts(run, tmp_path, capsys):
    made = record.read(run)
    made["results"]["config"]["seeds"] = 7
    made["results"]["claims"][0]["verdict"]["verdict"] = "inconclusive"
    other = tmp_path / "theirs" / "mine"
    other.mkdir(parents=True)
    arrays = {name: curve + 1 for name, curve in record.read_arrays(run / "curves.npz").items()}
    write(other, made, arrays)
    paths = [str(run), str(other / "record.json"), str(run / "wandb")]
    assert compare.main([*paths, "--match", "mlp", "forward"]) == 0
    out = capsys.readouterr().out
    assert out.index("Config differences") < out.index("Final values") < out.index("Verdicts")
    lines = {line.split("  ")[0].strip(): line for line in out.splitlines()}
    assert lines["seeds"].split()[1:4] == ["10", "7", "-"]
    assert "paired Student t" in out
    assert "Welch t" in out
    assert "mlp/tuned/backprop" not in out[out.index("Final values") :]
    assert "inconclusive" in lines["slopes T1"]


def test_equal_runs_are_said_to_be_equal(run, capsys):
    assert compare.main([str(run), str(run)]) == 0
    out = capsys.readouterr().out
    assert "Their configs are the same." in out
    assert "(1)" in out
    assert "(2)" in out


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["."], "needs at least two runs"),
        ([".", "nothing"], "nothing is not a run"),
        ([".", "record.txt"], "cannot be read as a record"),
    ],
)
def test_a_mistake_is_one_sentence(run, tmp_path, capsys, paths, message):
    (tmp_path / "record.txt").write_text("{")
    given_paths = [str(run) if path == "." else str(tmp_path / path) for path in paths]
    assert compare.main(given_paths) == 2
    assert message in capsys.readouterr().err
