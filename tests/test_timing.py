"""Timing takes turns, repeats what is short, and counts what it repeats."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtrends import sweep, timing, tuning
from tests import toy_comparison


class Pretended:
    """A program that takes so many seconds a repetition, and notes when it is called."""

    def __init__(self, name, seconds, journal):
        self.name, self.seconds, self.journal = name, seconds, journal

    def __call__(self, count):
        self.journal.append((self.name, count))
        return self.seconds * count


def test_programs_take_turns_and_samples_are_of_one_repetition():
    journal = []
    programs = {n: Pretended(n, s, journal) for n, s in {"a": 0.01, "b": 0.5, "c": 1e-7}.items()}
    found = timing.interleaved(programs, range(4))
    assert {name: len(samples) for name, samples in found.items()} == {"a": 4, "b": 4, "c": 4}
    for name, program in programs.items():
        assert found[name] == pytest.approx([program.seconds] * 4)
    measured = journal[6:]  # after a warm-up and a look at the length, each
    assert [name for name, _ in measured] == list("abcbcacababc")
    assert dict(measured) == {"a": 10, "b": 1, "c": timing.MOST_REPETITIONS}


def test_a_sample_may_be_shorter():
    journal = []
    timing.interleaved({("a", 1): Pretended("a", 0.01, journal)}, range(1), sample_seconds=0.02)
    assert journal == [("a", 1), ("a", 1), ("a", 2)]


def test_what_is_called_is_run_as_often_as_asked():
    run = timing.calls(lambda x: x + 1, jnp.zeros(3))
    assert run(2) > 0
    assert len(timing.interleaved({"add": run}, range(2))["add"]) == 2


def test_a_chain_goes_on_from_where_it_was():
    seen = []

    def program(state):
        seen.append(int(state))
        return state + 1

    run = timing.chained(program, jnp.int32(5))
    assert run(2) > 0
    assert run(1) > 0
    assert seen == [5, 6, 7]


def twice(argument):
    """What `over_processes` runs in the test below, in processes of its own."""
    return {"pid": os.getpid(), "twice": 2 * argument["number"]}


def refuse(argument):
    raise ValueError(f"not {argument}")


def test_processes_are_fresh_and_take_what_json_holds(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
    found = timing.over_processes("tests.test_timing:twice", {"number": 4}, range(2))
    assert [one["twice"] for one in found] == [8, 8]
    assert len({one["pid"] for one in found} | {os.getpid()}) == 3
    with pytest.raises(RuntimeError, match=r"tests\.test_timing:refuse failed: ValueError: not 3"):
        timing.over_processes("tests.test_timing:refuse", 3, range(1))


def test_a_busy_machine_is_said_to_be_busy():
    assert timing.told_of_load(None, 1.0, 2) == ""
    assert "Warning" not in timing.told_of_load(0.5, 2.3, 2)
    assert "not idle" in timing.told_of_load(0.5, 2.6, 2)


def toy():
    """A trainer, its data, and rates -> a block of lanes."""
    data = toy_comparison.data(SimpleNamespace(size=3, task="noisy"), None)

    def block(rates):
        weights = {"weight": np.ones(len(rates), np.float32)}
        return tuning.lanes(rates, [0]) | weights

    return toy_comparison.trainer(3), data, block


def test_steps_handed_to_another_process_are_those_of_the_trainer(monkeypatch, tmp_path):
    """To the last bit: from the start of a block of lanes on, with the programs read back."""
    trainer, data, block = toy()
    lanes = block([0.1, 0.2])
    seen = []
    monkeypatch.setattr(timing, "chained", lambda program, state: seen.append((program, state)))
    np.savez(tmp_path / "kept.npz", **timing._exported(trainer, lanes, data, 5))
    timing.steps(
        timing._arrays(tmp_path / "kept.npz"), [np.asarray(leaf) for leaf in jax.tree.leaves(data)]
    )
    ((advance, state),) = seen
    program = sweep.program(trainer, 5)
    expected = program.start(lanes, data)
    for _ in range(2):
        for mine, theirs in zip(state, jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(mine, theirs)
        state, expected = advance(state), program.advance(lanes, expected, data)[0]


def test_the_seconds_of_a_step_are_a_process_each_and_of_one_lane(monkeypatch):
    trainer, data, block = toy()
    programs = {"one": (trainer, block([0.1])), "two": (trainer, block([0.1, 0.2]))}
    found = timing.step_seconds(programs, data, 5, range(2))
    assert {name: len(seconds) for name, seconds in found.items()} == {"one": 2, "two": 2}
    assert all(second > 0 for seconds in found.values() for second in seconds)
    monkeypatch.setattr(timing, "over_processes", lambda *_: [{"one": 10.0, "two": 20.0}])
    found = timing.step_seconds(programs, data, 5, range(1))
    assert found == {"one": [2.0], "two": [2.0]}  # 5 steps of one lane, and of two
