"""The driver: blocks, segments and devices change no bit; a block that stops goes on exactly."""

from __future__ import annotations

import dataclasses
import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtrends import losses, models, sweep, train
from jaxtrends.estimators import backprop

RNG = np.random.default_rng(0)
SPLIT = (RNG.normal(size=(64, 4, 4, 1)).astype(np.float32), RNG.integers(0, 3, 64).astype(np.int32))
DATA = {"train": SPLIT, "validation": SPLIT, "test": SPLIT}
TRAINER = train.supervised(
    models.mlp((16, 8, 3)),
    losses.cross_entropy,
    {"accuracy": losses.accuracy},
    backprop,
    train.decayed_sgd(1e-3),
    batch_size=8,
)


def lanes(count):
    rates = np.linspace(0.05, 0.2, count, dtype=np.float32)
    return {"seed": np.arange(count, dtype=np.uint32), "learning_rate": rates}


def run(count=5, block=2, steps=12, log_every=3, **options):
    return sweep.run(
        TRAINER, lanes(count), DATA, steps=steps, log_every=log_every, block=block, **options
    )


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_shapes_and_padding_never_shows():
    metrics = run(count=5, block=2)
    assert metrics["training_loss"].shape == (5, 4)
    assert metrics["validation_accuracy"].shape == (5, 4)
    assert metrics["test_loss"].shape == (5,)
    assert all(np.isfinite(values).all() for values in metrics.values())


def test_a_lane_in_a_block_is_the_lane_alone():
    block, alone = run(count=4, block=4, steps=10, log_every=1), []
    for lane in range(4):
        mine = jax.tree.map(lambda leaf, lane=lane: leaf[lane : lane + 1], lanes(4))
        alone.append(sweep.run(TRAINER, mine, DATA, steps=10, log_every=1, block=1))
    for name in block:
        together = np.concatenate([one[name] for one in alone])
        np.testing.assert_allclose(block[name], together, rtol=2e-5, atol=1e-6, err_msg=name)


def test_lanes_differ():
    losses_at_the_end = run(count=4)["training_loss"][:, -1]
    assert len(set(losses_at_the_end.tolist())) == 4


def test_the_length_of_a_segment_changes_no_bit():
    by_ones = run(effects=sweep.Effects(points=lambda: 1))
    assert_same_bits(by_ones, run(effects=sweep.Effects(points=lambda: 3)))
    assert_same_bits(by_ones, run(effects=sweep.Effects(points=lambda: 100)))


def test_two_devices_give_the_bits_of_one():
    devices = jax.local_devices()
    assert len(devices) >= 2, "the tests ask for two host devices"
    assert_same_bits(run(devices=devices[:1]), run(devices=devices[:2]))


def test_blocks_in_flight_change_no_bit():
    devices = jax.local_devices()[:1]
    alone = run(count=5, block=2, devices=devices)
    assert_same_bits(alone, run(count=5, block=2, devices=devices * 3))


class Stop(Exception):
    """Ends a sweep in a test."""


@pytest.mark.parametrize("stop_at", range(1, 7))
@pytest.mark.parametrize("width", [1, 2])
def test_a_sweep_stopped_anywhere_goes_on_to_the_same_bits(stop_at, width):
    saved, ended, calls = {}, {}, []

    def stop(segment, snapshots):
        calls.append(segment.done)
        saved.clear()
        saved.update({block: jax.device_get(take()) for block, take in snapshots.items()})
        if len(calls) == stop_at:
            raise Stop

    effects = sweep.Effects(
        stop=stop,
        finished=lambda block, metrics: ended.__setitem__(block, metrics),
        recall=ended.get,
        restore=lambda block, like: saved.get(block),
    )
    with pytest.raises(Stop):
        run(effects=effects)
    resumed = run(effects=effects, devices=jax.local_devices()[:width])
    assert_same_bits(resumed, run())


def test_progress_counts_every_lane_step_once():
    seen = []
    run(effects=sweep.Effects(stop=lambda segment, _: seen.append((segment.done, segment.total))))
    done = [amount for amount, _ in seen]
    assert done == sorted(set(done))
    assert seen[-1][0] == seen[-1][1] == 3 * 2 * 12


def test_news_are_each_log_point_once():
    rows = {}

    def stop(segment, _):
        for block, (points, metrics) in segment.news.items():
            for offset, point in enumerate(points):
                assert (block, point) not in rows
                rows[block, point] = metrics["training_loss"][:, offset]

    metrics = run(count=4, effects=sweep.Effects(points=lambda: 3, stop=stop))
    assert sorted(rows) == [(block, point) for block in range(2) for point in range(4)]
    np.testing.assert_array_equal(rows[1, 2], metrics["training_loss"][2:, 2])


def test_a_diverged_lane_carries_its_nan_and_harms_no_other():
    wild = lanes(2)
    wild["learning_rate"] = np.array([0.1, 1e30], np.float32)
    metrics = sweep.run(TRAINER, wild, DATA, steps=12, log_every=3, block=2)
    assert np.isfinite(metrics["training_loss"][0]).all()
    assert not np.isfinite(metrics["training_loss"][1, -1])


def test_test_data_is_left_alone_when_tuning():
    assert not any(name.startswith("test") for name in run(test=False))


def test_blocks_trained_apart_join_to_the_bits_of_all():
    """As several processes train them: each some, known by their numbers among all."""
    cut = dict(enumerate(sweep.blocks_of(lanes(5), 2)))
    seen, found = [], {}
    for mine in ({0: cut[0], 2: cut[2]}, {1: cut[1]}):
        effects = sweep.Effects(finished=lambda number, metrics: seen.append(number))
        how = {"steps": 12, "log_every": 3, "effects": effects}
        found |= sweep.run_blocks(TRAINER, mine, DATA, **how)
    assert seen == [0, 2, 1]
    assert_same_bits(sweep.joined(found, 5), run(count=5, block=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"steps": 10}, "steps=10"), ({"steps": 0}, "steps=0"), ({"block": 0}, "block=0")],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)


def test_uneven_lanes_are_refused():
    uneven = {"seed": np.arange(3, dtype=np.uint32), "learning_rate": np.ones(2, np.float32)}
    with pytest.raises(ValueError, match="different lengths"):
        sweep.run(TRAINER, uneven, DATA, steps=3, log_every=3, block=1)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_block_programs_lower_for_accelerators(platform):
    programs = sweep.program(TRAINER, 3)
    mine = lanes(2)
    state = jax.eval_shape(programs.start, mine, DATA)
    for program, arguments in (
        (programs.start, (mine, DATA)),
        (programs.advance, (mine, state, DATA)),
        (programs.finish, (mine, state, DATA)),
    ):
        assert jax.export.export(program, platforms=[platform])(*arguments).mlir_module()


def numbers_kept(function, *arguments):
    """How many numbers a function holds of itself, as constants, and all that it calls."""

    def within(jaxpr):
        held = sum(np.size(array) for array in getattr(jaxpr, "consts", ()))
        for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
            held += sum(np.size(var.val) for var in equation.invars if hasattr(var, "val"))
            for value in jax.tree.leaves(list(equation.params.values()), is_leaf=has_equations):
                held += within(value) if has_equations(value) else 0
        return held

    return within(jax.make_jaxpr(function)(*arguments))


def has_equations(value):
    return hasattr(getattr(value, "jaxpr", value), "eqns")


def test_data_is_an_argument_and_no_constant():
    """A closed-over data set would be copied into every program."""
    programs = sweep.program(TRAINER, 3)
    mine = lanes(2)
    state = jax.eval_shape(programs.start, mine, DATA)
    images = DATA["train"][0]
    assert numbers_kept(programs.advance, mine, state, DATA) < images.size
    # The control.
    assert numbers_kept(jax.jit(lambda x: x @ images.reshape(64, 16).T), jnp.ones(16)) == 1024


def test_programs_of_trainers_long_done_are_let_go():
    def another():
        return dataclasses.replace(TRAINER, test=lambda lane, state, data: {})

    kept = weakref.ref(sweep.program(another(), 3).advance)
    sweep.run(another(), lanes(1), DATA, steps=3, log_every=3, block=1)
    assert kept() is not None
    for _ in range(sweep.PROGRAMS):
        sweep.program(another(), 3)
    gc.collect()
    assert kept() is None
