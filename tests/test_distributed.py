"""Several processes on one host: the bits of one, one story told, and no one waits for the dead."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxtrends import distributed, record
from jaxtrends.checkpoint import Checkpoints
from jaxtrends.errors import Problem
from tests import free_port, toy_experiment

TOY = Path(toy_experiment.__file__)
LANES = (
    "--seeds",
    "5",
    "--steps",
    "400",
    "--block",
    "2",
)  # three blocks of two lanes, the last one padded


HELD = contextlib.ExitStack()


@pytest.fixture(autouse=True)
def let_ports_go():
    yield
    HELD.close()


def coordinator():
    """An address that is no one else's until the test ends."""
    return f"127.0.0.1:{HELD.enter_context(free_port.held())}"


def start(folder, count, *arguments, of=lambda process: ()):
    """Start all processes of a run; ``of`` gives one of them flags of its own."""
    address = coordinator()
    return [
        subprocess.Popen(
            [
                *(sys.executable, str(TOY), "--output", str(folder), "--devices", "1"),
                *("--coordinator", address, "--processes", str(count), "--process", str(process)),
                *(*arguments, *of(process)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(count)
    ]


def finish(processes):
    """Wait for all: (status, output, errors) of each."""
    said = [process.communicate(timeout=300) for process in processes]
    assert not any("Traceback" in err for _, err in said), said
    return [(p.returncode, *each) for p, each in zip(processes, said, strict=True)]


def results(folder):
    """What a record says that was found, as it stands in the file."""
    return json.dumps(record.read(folder)["results"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The results of one process."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    command = [sys.executable, str(TOY), "--output", str(folder), "--devices", "1", *LANES]
    subprocess.run(command, check=True, capture_output=True)
    return results(folder)


def wait_for_points(folder, running):
    """Wait until both of two processes have trained some steps."""
    streams = [
        folder / "studies" / "training" / "metrics" / f"digits{of}.jsonl"
        for of in ("", "~process-1")
    ]
    for _ in range(10000):
        if all(stream.exists() and stream.read_text().count("\n") > 3 for stream in streams):
            return
        assert all(process.poll() is None for process in running), finish(running)
        time.sleep(0.02)
    raise AssertionError("the run never got that far")


def test_two_processes_give_the_bits_of_one_and_one_of_them_speaks(whole, tmp_path):
    ends = finish(start(tmp_path / "run", 2, *LANES))
    (first, out, _), (second, silence, warnings) = ends
    assert (first, second) == (0, 0), ends
    assert results(tmp_path / "run") == whole
    assert "record.json" in out
    assert (silence, warnings) == ("", "")
    made = record.read(tmp_path / "run")["provenance"]
    assert (made["device"]["processes"], made["device"]["count"]) == (2, 2)
    assert made["command"] == "python toy_experiment.py " + " ".join(LANES)


def test_of_four_processes_one_has_no_block(whole, tmp_path):
    ends = finish(start(tmp_path / "run", 4, *LANES))
    assert [status for status, _, _ in ends] == [0, 0, 0, 0], ends
    assert results(tmp_path / "run") == whole


def disturbed(folder, process, number):
    """Start two processes, send one of them a signal in training; how they end."""
    running = start(folder, 2, *LANES)
    wait_for_points(folder, running)
    running[process].send_signal(number)
    ends = finish(running)
    assert not (folder / "record.json").exists()
    return ends


def resumed(folder, count):
    ends = finish(start(folder, count, *LANES, "--resume"))
    assert [status for status, _, _ in ends] == [0] * count, ends
    assert [err for _, _, err in ends] == [""] * count  # no checkpoint was damaged, say
    return results(folder)


def test_a_signal_to_one_stops_both_and_one_alone_goes_on(whole, tmp_path):
    ends = disturbed(tmp_path, 1, signal.SIGTERM)
    assert [status for status, _, _ in ends] == [128 + signal.SIGTERM] * 2, ends
    assert "--resume" in ends[0][1]
    assert ends[1][2] == "process 1: Stopped by SIGTERM; the state is saved.\n"
    kept = tmp_path / "studies" / "training"
    assert len(list(kept.glob("checkpoints/digits/*")) + list(kept.glob("blocks/*"))) >= 2
    assert resumed(tmp_path, 1) == whole


def test_when_one_is_killed_the_first_says_so_and_three_go_on(whole, tmp_path):
    ends = disturbed(tmp_path, 1, signal.SIGKILL)
    assert (ends[0][0], ends[1][0]) == (1, -signal.SIGKILL), ends
    assert ends[0][2].startswith("error: process 1 has gone")
    assert "--resume" in ends[0][2]
    assert resumed(tmp_path, 3) == whole


def test_when_the_first_is_killed_the_others_say_so(tmp_path):
    ends = disturbed(tmp_path, 0, signal.SIGKILL)
    assert (ends[0][0], ends[1][0]) == (-signal.SIGKILL, 1), ends
    assert ends[1][2].splitlines()[-1].startswith("process 1: error: process 0 is gone")


def test_other_flags_in_one_are_refused_by_all_with_the_field(tmp_path):
    differ = finish(start(tmp_path, 2, of=lambda process: ("--seeds", str(2 + process))))
    sentence = "The processes are not the same: config.seeds is 2 in process 0 but 3 in"
    assert [status for status, _, _ in differ] == [2, 2], differ
    for process, (_, _, err) in enumerate(differ):
        assert err.startswith(f"{'process 1: ' if process else ''}error: {sentence}")
        assert err.count("\n") == 1
    assert not (tmp_path / "run.json").exists()


def test_what_one_meets_alone_stops_the_others_too(tmp_path):
    """The output folder is the first process's to judge."""
    (tmp_path / "record.json").write_text("{}")
    (first, _, reason), (second, _, err) = finish(start(tmp_path, 2, "--preset", "smoke"))
    assert (first, second) == (2, 1), (reason, err)
    assert "already has a record" in reason
    assert err.startswith("process 1: error: process 0 has stopped: ")


SAVE_AT_A_TIME = """
import sys, time
import jax
import numpy as np
from jaxtrends import private
from jaxtrends.checkpoint import Checkpoints
from orbax.checkpoint._src.path import atomicity

folder, address, process = sys.argv[1:]
jax.distributed.initialize(address, 2, int(process))
jax.devices()
(_, _, store), make = private.joined(), atomicity._create_paths

async def slowly(*paths, **options):
    time.sleep(0.5)
    await make(*paths, **options)

atomicity._create_paths = slowly
with Checkpoints(f"{folder}/{process}") as checkpoints:
    if process == "1":
        store.wait("process 0 saves", 60)
    checkpoints.save(1, {"a": np.ones(100)})
    if process == "0":
        store.put("process 0 saves", b"")
store.put(f"{process} has saved", b"")
store.wait(f"{1 - int(process)} has saved", 60)
jax.distributed.shutdown()
"""


def test_processes_that_save_at_a_time_do_not_take_the_others_folder_for_their_own(tmp_path):
    """The second is still making its step's folder when the first has made its own."""
    command, address = [sys.executable, "-c", SAVE_AT_A_TIME, tmp_path], coordinator()
    running = [
        subprocess.Popen(
            [*command, address, process], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for process in "01"
    ]
    ends = finish(running)
    assert [status for status, _, _ in ends] == [0, 0], ends
    for process in "01":
        step, state = Checkpoints(tmp_path / process).restore({"a": np.zeros(100)})
        assert (step, state["a"].tolist()) == (1, [1.0] * 100)


class Kept:
    """A store that holds what others have told, and says no to what it has not."""

    def __init__(self, told):
        self.told = told

    def put(self, key, value, *, anew=False):
        self.told[key] = value

    def wait(self, key, seconds):
        if key not in self.told:
            raise jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED")
        return self.told[key]


def test_what_a_process_told_before_it_stopped_is_heard():
    """Or a slow one would not learn why all of them stop, but only that another has."""
    slow = distributed.Processes(1, 2)
    slow._store, slow.lost = Kept({"jaxtrends/told/0/0": b"word\0theirs"}), "gone"
    assert slow.exchange("word", b"ours") == [b"theirs", b"ours"]
    slow._store.told.clear()
    with pytest.raises(distributed.Lost, match="gone"):
        slow._wait("jaxtrends/told/9/0", lambda: None)


class Told(distributed.Processes):
    """Processes that have said certain things."""

    def __init__(self, *said):
        super().__init__(0, len(said))
        self._said = said

    def all(self, label, mine, check=lambda: None):
        return self._said


@pytest.mark.parametrize(
    ("field", "theirs", "words"),
    [
        ("commit", "def", "commit is 'abc' in process 0 and 'def' in process 2"),
        ("data", {"digits": "2"}, "data.digits is '1' in process 0 and '2' in process 2"),
        ("config", {"seeds": 3}, "config.widths is [4] in process 0 and None in process 2"),
        ("jax", "0.12", "jax is '0.10' in process 0 and '0.12' in process 2"),
    ],
)
def test_a_difference_is_named(field, theirs, words):
    ours = {
        "commit": "abc",
        "config": {"seeds": 3, "widths": [4]},
        "data": {"digits": "1"},
        "jax": "0.10",
    }
    distributed.agree(Told(ours, ours, ours), ours)
    with pytest.raises(Problem) as raised:
        distributed.agree(Told(ours, ours, {**ours, field: theirs}), ours)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"coordinator": "localhost:1"}, "--coordinator needs"),
        ({"process": 0}, "--process needs"),
        ({"coordinator": "here", "processes": 2, "process": 0}, "HOST:PORT, not 'here'"),
        ({"coordinator": "a:99999", "processes": 2, "process": 0}, "HOST:PORT"),
        ({"coordinator": "a:1", "processes": 2, "process": 2}, "from 0 to 1"),
        ({"coordinator": "a:1", "processes": 0, "process": 0}, "not 0"),
        ({"how": "slurm"}, "choose from auto"),
        ({"how": "auto", "processes": 2}, "leave out --processes"),
        ({"how": "auto"}, "did not connect"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags, message):
    with pytest.raises(Problem, match=message):
        distributed.start(**flags)


def test_nothing_is_guessed_from_the_environment(monkeypatch):
    for name in ("JOB_ID", "STEP_NODELIST", "NTASKS", "PROCID", "LOCALID"):
        monkeypatch.setenv(f"SLURM_{name}", "1")
    assert distributed.start().count == 1
    assert distributed.start("127.0.0.1:1", 1, 0).count == 1


def test_alone_a_process_hears_itself():
    alone = distributed.Processes()
    alone.check()
    assert alone.tell("a word", {"a": [1]}) == {"a": [1]}
    values = {"loss": np.array([[1e-300, np.nan]]), "steps": np.array([2**40])}
    (heard,) = alone.gather("values", values)
    assert all(heard[name] is values[name] for name in values)
    alone.leave()
