"""What W&B is given is what W&B's own tools read back, and W&B never stands in the way."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxtrends import tracking
from jaxtrends.errors import Problem
from jaxtrends.study import thin
from jaxtrends.tracking import LaneHistory, Tracker, Tracking
from tests import free_port
from tests.wandb_server import Protocol, Refusing, serving

KEY = "0123456789" * 4


def make_lane(method="backprop", seed=0, *, lane=0, points=5, study="training", **metrics):
    curves = metrics or {"loss": np.linspace(2.0, 1.0, points, dtype=np.float32) + seed}
    return LaneHistory(
        study=study,
        method=method,
        seed=seed,
        lane=lane,
        config={"rate": jnp.float32(0.1), "widths": (64, 128)},
        steps=np.arange(points) * 10,
        metrics=curves,
    )


def make_tracking(directory: Path, mode="offline", said=None):
    return Tracking(
        mode=mode,
        directory=directory,
        group="forward_grad/1a2b3c4d",
        tags=("paper:2202.08587", "tier:default", "git:" + "f" * 80),
        say=(said if said is not None else []).append,
    )


CLAIMS = [
    {
        **{"claim": "F1", "statement": "It is exact.", "reported": ""},
        **{"estimate": np.float64(1 / 3), "low": "-inf", "high": 0.5, "verdict": "reproduced"},
    },
    {
        **{"claim": "F2", "statement": "It is fast.", "reported": "1.28 (Table 3)"},
        **{"estimate": 1.5, "low": 1.25, "high": 2.0, "verdict": "not reproduced"},
    },
    {
        **{"claim": "F3", "statement": "It is small.", "reported": ""},
        **{"estimate": None, "low": None, "high": None, "verdict": "not testable here"},
    },
]
RECORD = {
    **{"experiment": "forward_grad", "preset": "full", "changed": {}, "own_methods": []},
    **{"lead": "F2", "caveat": "small networks"},
    "provenance": {"commit": "abc", "code": {"cost": {"device": {"platform": "gpu"}}}},
}


# --- the pure parts -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requested", "variable", "preset", "expected"),
    [
        (None, None, "default", "offline"),
        (None, None, "full", "offline"),
        (None, "", "default", "offline"),
        (None, "online", "default", "online"),
        (None, "disabled", "full", "disabled"),
        (None, None, "smoke", "disabled"),
        (None, "online", "smoke", "disabled"),
        ("offline", None, "smoke", "offline"),
        ("online", "disabled", "smoke", "online"),
        ("online", "offline", "default", "online"),
        ("disabled", "online", "default", "disabled"),
    ],
)
def test_mode(requested, variable, preset, expected):
    environment = {} if variable is None else {"WANDB_MODE": variable}
    assert tracking.mode(requested, environment, preset) == expected


def test_an_unknown_mode_is_a_problem():
    with pytest.raises(Problem, match="Did you mean 'offline'"):
        tracking.mode("ofline", {}, "smoke")
    with pytest.raises(Problem, match="WANDB_MODE"):
        tracking.mode(None, {"WANDB_MODE": "shared"}, "default")


@given(st.integers(1, 5000), st.integers(2, 300))
def test_thinning_keeps_the_ends_and_spreads_the_rest(points, limit):
    kept = thin(points, limit)
    assert len(kept) == min(points, limit)
    assert (kept[0], kept[-1]) == (0, points - 1)
    gaps = np.diff(kept)
    assert (gaps > 0).all()
    if len(gaps):
        assert gaps.max() - gaps.min() <= 1


@dataclass(frozen=True)
class Config:
    rate: float
    folder: Path


def test_native_types():
    given = {
        "jax": jnp.float32(0.5),
        "bfloat16": jnp.bfloat16(1.5),
        "numpy": np.int64(3),
        "flag": np.bool_(True),
        "array": jnp.arange(2, dtype=jnp.int8),
        "tuple": (1, (2.0, "x")),
        "nested": Config(np.float32(0.25), Path("a")),
        "bad": [float("nan"), float("-inf"), np.float64("inf")],
        "none": None,
        7: max,
    }
    found = tracking.native(given)
    assert found == {
        "jax": 0.5,
        "bfloat16": 1.5,
        "numpy": 3,
        "flag": True,
        "array": [0, 1],
        "tuple": [1, [2.0, "x"]],
        "nested": {"rate": 0.25, "folder": "a"},
        "bad": ["nan", "-inf", "inf"],
        "none": None,
        "7": str(max),
    }
    assert [type(found[k]) for k in ("jax", "bfloat16", "numpy", "flag")] == [
        float,
        float,
        int,
        bool,
    ]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


class KeepingWriter:
    """In the place of the process that writes: keeps what it is given."""

    def __init__(self, _: Tracking) -> None:
        self.runs = []

    def write(self, run):
        self.runs.append(json.loads(json.dumps(run)))

    def close(self):
        pass


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """A tracker whose runs are kept as plain data."""
    monkeypatch.setattr(tracking, "_Writer", KeepingWriter)
    said = []
    with Tracker(make_tracking(tmp_path, said=said)) as tracker:
        yield tracker
    assert said == []


def test_every_lane_has_the_same_keys(kept):
    kept.lanes(
        [
            make_lane("a", loss=np.ones(5), accuracy=np.zeros(5)),
            make_lane("b", loss=np.ones(5), jvp=np.arange(5)),
        ]
    )
    one, other = kept._writer.runs
    assert list(one["metrics"]) == list(other["metrics"]) == ["loss", "accuracy", "jvp"]
    assert np.isnan(one["metrics"]["jvp"]).all()
    assert other["metrics"]["jvp"] == [0, 1, 2, 3, 4]
    assert set(one["config"]) == set(other["config"])


def test_names_that_are_too_long_for_wandb_are_cut_and_stay_apart(kept):
    long = "x" * 300
    kept.lanes([make_lane(f"{long}{end}", loss=np.ones(5)) for end in "ab"])
    for end in "ab":
        kept.table("training", f"tuning/{long}{end}", [{"rate": 0.1}])
    lanes, tables = kept._writer.runs[:2], kept._writer.runs[2:]
    for names in ([run["name"] for run in lanes], [run["table"][0] for run in tables]):
        assert len(set(names)) == 2
        assert max(map(len, names)) <= 128
    assert [run["config"]["method"][-1] for run in lanes] == ["a", "b"]


def test_curves_are_thinned_with_their_steps(kept):
    kept.lanes([make_lane(points=10_001, loss=np.arange(10_001.0))])
    (run,) = kept._writer.runs
    assert len(run["steps"]) == 200
    assert (run["steps"][-1], run["metrics"]["loss"][-1]) == (100_000, 10_000.0)
    assert run["steps"] == [10 * loss for loss in run["metrics"]["loss"]]


def test_lanes_past_the_limit_become_one_table_and_every_method_keeps_some(kept):
    kept.lanes([make_lane(method, seed) for method in "abc" for seed in range(40)])
    *runs, table = kept._writer.runs
    methods = [run["config"]["method"] for run in runs]
    assert len(runs) == 64
    assert [methods.count(method) for method in "abc"] == [22, 21, 21]
    assert table["job_type"] == "table"
    name, columns, rows = table["table"]
    assert (name, len(rows)) == ("other lanes", 120 - 64)
    assert columns == ["method", "seed", "lane", "rate", "widths", "loss"]
    assert ["a", 22, 0, pytest.approx(0.1), [64, 128], 23.0] == rows[0]


def test_a_missing_cell_is_none(kept):
    kept.table("training", "tuning", [{"rate": 0.1}, {"rate": 0.2, "loss": np.float32("nan")}])
    (run,) = kept._writer.runs
    assert run["table"] == ["tuning", ["rate", "loss"], [[0.1, None], [0.2, "nan"]]]


def test_disabled_writes_nothing_and_starts_nothing(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)  # another test may have imported it
    said = []
    with Tracker(make_tracking(tmp_path / "run", "disabled", said)) as tracker:
        tracker.lanes([make_lane()])
        tracker.table("training", "tuning", [{"rate": 0.1}])
        tracker.record(RECORD, tmp_path / "record.json", [], "")
        assert tracker.close() == ""
    assert (said, list(tmp_path.iterdir()), "wandb" in sys.modules) == ([], [], False)


# --- what W&B's own command reads back ----------------------------------------------------------


def inspect(run: Path):
    """The records of a run: type -> list of contents."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run)]
    found = {}
    for line in subprocess.check_output(command, text=True).splitlines():
        record = json.loads(line)
        found.setdefault(record["type"], []).append(record.get(record["type"]))
    return found


LANES = [
    make_lane("backprop", 3, lane=0, points=7),
    make_lane("forward", 3, lane=1, points=1000, loss=np.random.default_rng(0).random(1000)),
]


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """What was written offline: a run's name -> its folder and its records."""
    directory = tmp_path_factory.mktemp("offline")
    (directory / "record.json").write_text('{"schema": 1}')
    said, before = [], set(Path(os.environ["HOME"]).rglob("*wandb*"))
    with Tracker(make_tracking(directory, said=said)) as tracker:
        tracker.lanes(LANES)
        tracker.record(RECORD, directory / "record.json", CLAIMS, "One held; one may.")
    assert said == []
    assert set(Path(os.environ["HOME"]).rglob("*wandb*")) == before
    runs = sorted((directory / "wandb").glob("offline-run-*"))
    found = {run: inspect(run) for run in runs}
    by_name = {found[run]["run"][0]["display_name"]: (run, found[run]) for run in runs}
    assert len(by_name) == len(runs) == 3
    return by_name


@pytest.mark.parametrize("lane", LANES, ids=lambda lane: lane.method)
def test_a_lane_reads_back_as_it_was(offline, lane):
    _, found = offline[f"training/{lane.method}-s3"]
    kept = thin(len(lane.steps), 200)
    items = [record["item"] for record in found["history"]]
    assert [item["step"] for item in items] == lane.steps[kept].tolist()
    assert [item["loss"] for item in items] == lane.metrics["loss"].astype(float)[kept].tolist()

    (run,) = found["run"]
    assert run["config"]["update"] == {
        "_wandb": {},
        "study": "training",
        "method": lane.method,
        "seed": 3,
        "lane": lane.lane,
        "rate": float(np.float32(0.1)),
        "widths": [64, 128],
    }
    assert run["project"] == "jaxtrends"
    assert run["run_group"] == f"forward_grad/1a2b3c4d/{lane.study}/{lane.method}"
    assert run["job_type"] == "lane"
    assert run["tags"] == ["paper:2202.08587", "tier:default", "git:" + "f" * 60]

    metrics = {m.get("name") or m.get("glob_name"): m.get("step_metric") for m in found["metric"]}
    assert metrics == {"step": None, "*": "step"}
    assert [end["exit_code"] for end in found["exit"]] == [0]
    assert set(found) <= {"header", "run", "telemetry", "metric", "summary", "history", "exit"}


def test_the_claims_and_the_record_read_back(offline):
    folder, found = offline["forward_grad, preset full, GPU"]
    assert found["run"][0]["job_type"] == "claims"
    assert found["run"][0]["config"]["update"] == {
        "_wandb": {},
        "experiment": "forward_grad",
        "preset": "full",
        **RECORD["provenance"],
    }
    (path,) = (folder / "files" / "media" / "table").glob("*.json")
    table = json.loads(path.read_text())
    assert table["columns"] == list(CLAIMS[0])
    assert [row[0] for row in table["data"]] == ["F1", "F2", "F3"]
    assert table["data"][1] == list(CLAIMS[1].values())
    (artifact,) = [a for a in found["artifact"] if a["type"] == "record"]
    assert artifact["name"] == "forward_grad-1a2b3c4d-record"
    (entry,) = artifact["manifest"]["contents"]
    assert Path(entry["local_path"]).read_text() == '{"schema": 1}'
    assert entry["path"] == "record.json"


def test_a_runs_summary_is_a_row_of_a_table_of_results(offline):
    _, found = offline["forward_grad, preset full, GPU"]
    summary = {}
    for part in found["summary"]:
        summary |= part["update"]
    ours = {
        name: value
        for name, value in summary.items()
        if re.match(r"answer|caveat|headline/|claims/", name)
    }
    assert ours == {
        "answer": "One held; one may.",
        "caveat": "small networks",
        "headline/claim": "F2",
        "headline/statement": "It is fast.",
        "headline/reported": "1.28 (Table 3)",
        "headline/estimate": 1.5,
        "headline/low": 1.25,
        "headline/high": 2,
        "headline/verdict": "not reproduced",
        "claims/F1/estimate": 1 / 3,
        "claims/F1/low": "-Infinity",  # as W&B writes it down
        "claims/F1/high": 0.5,
        "claims/F1/verdict": "reproduced",
        "claims/F2/estimate": 1.5,
        "claims/F2/low": 1.25,
        "claims/F2/high": 2,
        "claims/F2/verdict": "not reproduced",
        "claims/F3/verdict": "not testable here",
    }


# --- online -------------------------------------------------------------------------------------


@contextlib.contextmanager
def silent_server():
    """It takes connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield server.getsockname()[1]


def test_online_runs_arrive_at_the_server(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_RUN_ID", "one-for-all")  # would mix the lanes into one run
    monkeypatch.setattr(tracking, "LOGIN_SECONDS", 300.0)  # whatever else the machine does
    said = []
    with Tracker(make_tracking(tmp_path, "offline", said)) as tracker:
        tracker.lanes([make_lane(seed=0)])  # written by a process that did not upload it
    with serving(Protocol) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("WANDB_BASE_URL", address)
        tracker = Tracker(make_tracking(tmp_path, "online", said))
        tracker.lanes([make_lane(seed=1)])
        assert tracker.close() == f"{address}/me/jaxtrends"
    assert said == []
    losses = {}
    for path, body in server.streams:
        if path.endswith("file_stream"):
            history = json.loads(body).get("files", {}).get("wandb-history.jsonl", {})
            for line in history.get("content", []):
                losses.setdefault(path, []).append(json.loads(line)["loss"])
    assert sorted(losses.values()) == [[2, 1.75, 1.5, 1.25, 1], [3, 2.75, 2.5, 2.25, 2]]


@pytest.mark.parametrize("server", [free_port.held, silent_server])
def test_a_server_out_of_reach_costs_a_bounded_wait_and_one_warning(tmp_path, monkeypatch, server):
    assert tracking.LOGIN_SECONDS + tracking.CHECK_SECONDS < 20
    monkeypatch.setattr(tracking, "LOGIN_SECONDS", 3.0)
    monkeypatch.setattr(tracking, "_Writer", KeepingWriter)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    (tmp_path / "wandb" / "offline-run-1").mkdir(parents=True)
    said, asked, start = [], [], tracking._start

    def counted(folder, arguments, log, **options):
        asked.append(arguments[2])
        return start(folder, arguments, log, **options)

    monkeypatch.setattr(tracking, "_start", counted)
    with server() as port:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
        with Tracker(make_tracking(tmp_path, "online", said)) as tracker:
            for study in "abc":
                tracker.lanes([make_lane(study=study)])
            assert len(tracker._writer.runs) == 3
    assert asked == ["login"]  # one wait, whatever the number of runs
    assert len(said) == 1
    assert "did not answer within 3 s" in said[0]
    assert "wandb sync" in said[0]


@pytest.mark.parametrize("status", [401, 403, 500])  # a wrong key, a refusal, a broken server
def test_a_server_that_refuses_costs_a_bounded_wait_and_one_warning(tmp_path, monkeypatch, status):
    monkeypatch.setattr(tracking, "LOGIN_SECONDS", 5.0)
    monkeypatch.setattr(tracking, "_Writer", KeepingWriter)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    (tmp_path / "wandb" / "offline-run-1").mkdir(parents=True)
    said = []
    with serving(Refusing, status) as server:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        with Tracker(make_tracking(tmp_path, "online", said)) as tracker:
            tracker.lanes([make_lane()])
            assert len(tracker._writer.runs) == 1  # on disk, whatever the server says
    assert len(said) == 1
    assert "The runs stay offline" in said[0]
    assert KEY not in said[0]


def test_a_server_that_dies_in_mid_run_costs_one_warning(tmp_path, monkeypatch):
    """It knows the user, and has gone when the runs are to be uploaded."""
    monkeypatch.setattr(tracking, "LOGIN_SECONDS", 20.0)
    monkeypatch.setattr(tracking, "CHECK_SECONDS", 0.2)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    said = []
    with serving(Protocol) as server:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        tracker = Tracker(make_tracking(tmp_path, "online", said))
        tracker.lanes([make_lane()])
        assert tracker._uploader.refusal(wait=True) == ""
    monkeypatch.setattr(tracking, "LOGIN_SECONDS", 3.0)
    assert tracker.close() == ""
    assert len(said) == 1
    assert "The runs stay offline" in said[0]
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))


def test_online_without_a_run_says_and_waits_for_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "_Writer", KeepingWriter)
    said = []
    tracker = Tracker(make_tracking(tmp_path, "online", said))
    login = tracker._uploader._login
    assert tracker.close() == ""
    assert said == []
    assert login.poll() == -signal.SIGKILL


def test_a_server_that_goes_away_during_the_upload_ends_it(tmp_path, monkeypatch):
    """``wandb sync`` itself would go on for ever: here it is a process that sleeps."""
    monkeypatch.setattr(tracking, "CHECK_SECONDS", 0.05)
    answers = iter(["pass", "pass", "raise SystemExit('gone')"])
    started = []

    def start(folder, arguments, log, **_):
        program = next(answers) if arguments[2] == "login" else "import time; time.sleep(600)"
        with (folder / log).open("w") as errors:
            started.append(subprocess.Popen([sys.executable, "-c", program], stderr=errors))
        return started[-1]

    monkeypatch.setattr(tracking, "_start", start)
    monkeypatch.setattr(tracking, "_Writer", KeepingWriter)
    (tmp_path / "wandb" / "offline-run-1").mkdir(parents=True)
    said = []
    with Tracker(make_tracking(tmp_path, "online", said)) as tracker:
        tracker.lanes([make_lane()])
    assert len(said) == 1
    assert said[0].startswith("W&B: gone. The runs stay offline")
    assert all(process.poll() is not None for process in started)


def test_without_a_key_nothing_is_asked_and_the_runs_are_offline(tmp_path):
    """On a terminal, where W&B would open a menu and wait."""
    program = f"""
import numpy as np
from pathlib import Path
from jaxtrends.study import thin
from jaxtrends.tracking import LaneHistory, Tracker, Tracking
with Tracker(Tracking("online", Path({str(tmp_path)!r}), "g", (), print)) as tracker:
    tracker.lanes([LaneHistory("s", "m", 0, 0, {{}}, np.arange(2), {{"loss": np.ones(2)}})])
"""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    output = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while chunk := os.read(ours, 1000):
            output += chunk
    os.close(ours)
    assert process.wait() == 0
    (line,) = output.decode().splitlines()
    assert "No API key configured" in line
    assert "The runs stay offline" in line
    assert len(list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))) == 1


# --- failures -----------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written_is_one_warning(tmp_path):
    (tmp_path / "wandb").write_text("in the way")
    said = []
    with Tracker(make_tracking(tmp_path, said=said)) as tracker:
        tracker.lanes([make_lane()])
        tracker.table("training", "tuning", [{"rate": 0.1}])
    assert len(said) == 1
    assert re.match(r"W&B tracking is off from here on \(.*wandb", said[0])


def test_curves_of_another_length_are_one_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "_Writer", KeepingWriter)
    said = []
    with Tracker(make_tracking(tmp_path, said=said)) as tracker:
        tracker.lanes([make_lane(loss=np.ones(4))])
        tracker.lanes([make_lane()])
    assert len(said) == 1
    assert "loss has shape (4,) and steps (5,)" in said[0]


def test_a_tracker_that_has_settled_has_started_wandb_and_writes(tmp_path):
    said = []
    with Tracker(make_tracking(tmp_path, said=said)) as tracker:
        tracker.settle()
        assert tracker._writer._ready
        tracker.lanes([make_lane()])
    assert said == []
    assert len(tracking.offline_runs(tmp_path)) == 1


def test_a_wandb_that_does_not_start_is_one_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "WRITE_SECONDS", 0.01)
    said = []
    with Tracker(make_tracking(tmp_path, said=said)) as tracker:
        tracker.settle()
        tracker.lanes([make_lane()])
    assert len(said) == 1
    assert "no answer within" in said[0]


def test_what_goes_wrong_in_wandb_is_one_warning_and_a_hang_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "EXIT_SECONDS", 0.5)
    said = []
    with Tracker(make_tracking(tmp_path, said=said)) as tracker:
        tracker.lanes([make_lane()])
        monkeypatch.setattr(tracking, "WRITE_SECONDS", 0.5)
        stopped = tracker._writer._process
        stopped.send_signal(signal.SIGSTOP)
        tracker.lanes([make_lane()])
        tracker.table("training", "tuning", [{"rate": 0.1}])
    assert stopped.poll() == -signal.SIGKILL
    assert len(said) == 1
    assert "no answer within" in said[0]

    monkeypatch.undo()
    said.clear()
    with Tracker(make_tracking(tmp_path, said=said)) as tracker:
        tracker.record(RECORD, tmp_path / "missing.json", CLAIMS, "")
        tracker.lanes([make_lane()])
    assert len(said) == 1
    assert "missing.json" in said[0]
