"""Training as pure functions: against a loop written out by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxtrends import losses, models, train
from jaxtrends.estimators import backprop

MODEL = models.mlp((6, 3))
RNG = np.random.default_rng(0)
SPLIT = (RNG.normal(size=(32, 6)).astype(np.float32), RNG.integers(0, 3, 32).astype(np.int32))
DATA = {"train": SPLIT, "validation": SPLIT, "test": SPLIT}
LANE = {"seed": jnp.uint32(3), "learning_rate": jnp.float32(0.5)}


def trainer(estimator=backprop, batch_size=8, decay=0.1):
    return train.supervised(
        MODEL,
        losses.cross_entropy,
        {"accuracy": losses.accuracy},
        estimator,
        train.decayed_sgd(decay),
        batch_size,
    )


def test_cross_entropy_and_accuracy_against_numpy():
    logits = RNG.normal(size=(5, 4)).astype(np.float32)
    labels = np.array([0, 3, 2, 2, 1], np.int32)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = -np.log(shares[np.arange(5), labels]).mean()
    np.testing.assert_allclose(losses.cross_entropy(logits, labels), expected, rtol=1e-5)
    assert losses.accuracy(logits, labels) == np.mean(logits.argmax(axis=1) == labels)


def test_three_steps_are_those_of_a_loop_by_hand():
    ours = trainer()
    state = ours.init(LANE, DATA)
    params = state["params"]
    _, order, _ = train.streams(LANE["seed"])
    for step in range(3):
        state, metrics = ours.step(LANE, state, DATA)
        rows = jax.random.randint(jax.random.fold_in(order, step), (8,), 0, 32, jnp.int32)
        loss = lambda p, rows=rows: losses.cross_entropy(  # noqa: E731
            MODEL.apply(p, SPLIT[0][rows]), SPLIT[1][rows]
        )
        value, gradient = jax.value_and_grad(loss)(params)
        rate = 0.5 * np.exp(np.float32(-0.1 * step))
        params = jax.tree.map(lambda p, g, rate=rate: p - rate * g, params, gradient)
        np.testing.assert_allclose(metrics["training_loss"], value, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), state["params"], params)


def test_a_seed_gives_every_method_the_same_start_and_batches():
    seen = []

    def spy(loss, params, key):
        value, gradient = backprop(loss, params, key)
        seen.append(value)
        return value, jax.tree.map(jnp.zeros_like, gradient)

    still, moving = trainer(spy), trainer()
    one, other = still.init(LANE, DATA), moving.init(LANE, DATA)
    jax.tree.map(np.testing.assert_array_equal, one["params"], other["params"])
    _, first = still.step(LANE, one, DATA)
    _, second = moving.step(LANE, other, DATA)
    assert first["training_loss"] == second["training_loss"] == seen[0]


def test_another_seed_gives_others():
    lane = {**LANE, "seed": jnp.uint32(4)}
    one, other = (trainer().init(a, DATA)["params"]["layers"]["0"]["kernel"] for a in (LANE, lane))
    assert not np.array_equal(one, other)


def test_the_three_streams_of_a_seed_differ():
    words = {tuple(np.asarray(jax.random.key_data(key)).tolist()) for key in train.streams(5)}
    assert len(words) == 3


def test_evaluation_names_its_split():
    ours = trainer()
    state = ours.init(LANE, DATA)
    assert set(ours.evaluate(LANE, state, DATA)) == {"validation_loss", "validation_accuracy"}
    assert set(ours.test(LANE, state, DATA)) == {"test_loss", "test_accuracy"}
