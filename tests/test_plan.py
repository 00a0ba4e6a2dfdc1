"""The plan is what the studies then train, call by call; and blocks in flight change no bit."""

from __future__ import annotations

import dataclasses
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtrends import experiment, plan, sweep, timing
from jaxtrends.plan import Machine, Planned

EXPERIMENTS = experiment.discover()


class MadeUp:
    """A run that notes what it is asked to train, and answers with noise of the right shapes."""

    def __init__(self, config, load):
        self._config, self._load, self._shapes = config, load, {}
        self.methods, self.calls = {}, []

    def dataset(self, name):
        return self._load(self._config, name, None)

    def each(self, label, items):
        return iter(items)

    def train(self, label, trainer, lanes, data, *, steps, log_every, block=1, test=True):
        count, points = sweep.lane_count(lanes), steps // log_every
        if trainer not in self._shapes:
            self._shapes[trainer] = self._outputs(trainer, lanes, data)
        held, logged, ends = self._shapes[trainer]
        self.calls.append((label, count, steps, log_every, block, trainer, held))
        shapes = {name: (count, points, *value.shape) for name, value in logged.items()}
        ends = ends if test else {}
        shapes |= {name: (count, *value.shape) for name, value in ends.items()}
        generator = np.random.default_rng(zlib.crc32(label.encode()))
        found = {
            name: generator.uniform(0.5, 1.5, shape).astype(np.float32)
            for name, shape in shapes.items()
        }
        if "experts" in found:
            found["experts"] = generator.integers(0, 4, shapes["experts"])
        return found

    def _outputs(self, trainer, lanes, data):
        """Numbers of a state, what is logged, what is measured at the end."""
        lane = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), lanes)
        state = jax.eval_shape(trainer.init, lane, data)
        logged = {
            **jax.eval_shape(trainer.step, lane, state, data)[1],
            **jax.eval_shape(trainer.evaluate, lane, state, data),
        }
        held = sum(leaf.size for leaf in jax.tree.leaves(state))
        return held, logged, jax.eval_shape(trainer.test, lane, state, data)

    def log_lanes(self, *_):
        pass

    def log_table(self, *_):
        pass


@pytest.fixture
def untimed(monkeypatch):
    """Nothing is timed, which would take longer than all the rest."""

    def ones(names, *_):
        return {name: [1.0] for name in names}

    monkeypatch.setattr(timing, "interleaved", ones)


def planned_studies():
    for name, found in EXPERIMENTS.items():
        config = dataclasses.replace(found.presets["smoke"], studies=())
        for study in found.plan(config, ()):
            yield name, study


@pytest.mark.parametrize(("name", "study"), list(planned_studies()))
def test_a_study_trains_what_its_plan_says(name, study, untimed):
    found = EXPERIMENTS[name]
    config = dataclasses.replace(found.presets["smoke"], studies=())
    made = MadeUp(config, found.load)
    found.studies[study].run(config, made)
    expected = found.plan(config, ())[study]
    extra = [call for call in made.calls if not any(_fits(call, row) for row in expected)]
    assert all(_extends(call, expected) for call in extra), extra
    firsts = [call for call in made.calls if call not in extra]
    assert len(firsts) == len(expected)
    for call, row in zip(firsts, expected, strict=True):
        assert _fits(call, row)
    trainers = {id(call[5]) for call in made.calls}
    assert plan.programs(expected) >= 1
    assert len({row.program for row in expected}) <= len(trainers)


def _fits(call, row):
    label, lanes, steps, log_every, block, _, held = call
    return (
        label.startswith(row.label)
        and (lanes, steps, log_every, block) == (row.lanes, row.steps, row.log_every, row.block)
        and 0.9 * held <= row.numbers <= 1.1 * held + 3
    )


def _extends(call, expected):
    """Whether a call tries one rate more, since the choice lay on the edge of the grid."""
    return "tuning" in call[0] and any(call[0].startswith(row.label) for row in expected)


CALL = Planned("a", "p", 5, 10, 5, 2, 100.0, 7.0, 50.0)


def test_what_follows_from_a_plan():
    other = dataclasses.replace(CALL, label="b", steps=20)
    assert CALL.blocks == 3
    assert plan.programs([CALL, other]) == 1
    assert plan.programs([CALL, dataclasses.replace(CALL, block=1)]) == 2
    assert plan.operations([CALL, other]) == 6 * 10 * 100.0 + 6 * 20 * 100.0  # padding counts
    assert CALL.bytes == 4 * (1.5 * 7 * 2 + 50)
    machine = Machine("slow", speed=50.0, least=1e-9, compiling=3.0, memory=1.0)
    assert plan.seconds([CALL], machine) == 3.0 + 3 * 10 * 2 * 100 / 50
    assert plan.seconds([CALL], machine, devices=2) == 3.0 + 2 * 10 * 2 * 100 / 50
    idle = dataclasses.replace(machine, least=100.0)
    assert plan.seconds([CALL], idle) == 3.0 + 3 * 10 * 100.0


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_explain_prints_the_plan_and_leaves_nothing(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert experiment.main(EXPERIMENTS[name], ["--preset", "smoke", "--explain"]) == 0
    said = capsys.readouterr().out
    assert "nothing is run" in said
    config = EXPERIMENTS[name].presets["smoke"]
    for study in EXPERIMENTS[name].studies_of(config):
        assert study in said
    assert list(tmp_path.iterdir()) == []


def test_explain_refuses_what_a_run_would_refuse(capsys):
    status = experiment.main(EXPERIMENTS["forward_grad"], ["--explain", "--seeds", "0"])
    assert status == 2
    assert "--seeds must be" in capsys.readouterr().err
