"""The transformer sees no future, counts its arithmetic right, and learns."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtrends import estimators, losses, models, moe, train, transformer
from jaxtrends.errors import Problem
from jaxtrends.transformer import Transformer

SIZES = Transformer(vocabulary=11, context=8, width=16, heads=2, hidden=24, experts=(0, 4))
ROOMY = dataclasses.replace(SIZES, mixture=moe.Mixture(capacity_factor=4.0))


def some_tokens(batch=6, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(0, 11, (batch, 8)), jnp.int32)


@pytest.fixture(scope="module")
def roomy():
    model = transformer.transformer(ROOMY)
    return jax.jit(model.apply), jax.jit(model.init)(jax.random.key(0))


def test_a_token_sees_itself_and_the_past_and_nothing_else(roomy):
    apply, params = roomy
    tokens = some_tokens()
    before = apply(params, tokens)[0]
    after = apply(params, tokens.at[:, 5].set((tokens[:, 5] + 1) % 11))[0]
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert np.abs(before[:, 5:] - after[:, 5:]).max(axis=(0, 2)).min() > 1e-3


def test_sequences_of_a_batch_do_not_see_each_other_when_experts_have_room(roomy):
    apply, params = roomy
    tokens = some_tokens()
    alone = jnp.concatenate([apply(params, jnp.tile(row, (6, 1)))[0][:1] for row in tokens])
    np.testing.assert_allclose(apply(params, tokens)[0], alone, atol=1e-5)


def products_of(program, *arguments):
    """Operations of the matrix products of a traced program, an oracle beside the formula."""

    def count(jaxpr):
        total = 0
        for equation in jaxpr.eqns:
            if equation.primitive.name == "dot_general":
                (contracted, _), _ = equation.params["dimension_numbers"]
                sizes = [equation.invars[0].aval.shape[axis] for axis in contracted]
                total += 2 * equation.outvars[0].aval.size * int(np.prod(sizes))
            inner = [getattr(value, "jaxpr", value) for value in equation.params.values()]
            total += sum(count(value) for value in inner if hasattr(value, "eqns"))
        return total

    return count(jax.make_jaxpr(program)(*arguments).jaxpr)


@pytest.mark.parametrize("experts", [(0,), (0, 0, 0), (4,), (4, 0)])
@pytest.mark.parametrize("residual", [False, True])
def test_operations_are_those_of_the_traced_products(experts, residual):
    # A capacity factor of one fills the buffers exactly, so that padded and unpadded agree; what
    # routing itself multiplies (places are counted by a small product) is told apart.
    mixture = moe.Mixture(capacity_factor=1.0, residual=residual)
    sizes = dataclasses.replace(SIZES, experts=experts, mixture=mixture)
    model = transformer.transformer(sizes)
    params = jax.eval_shape(model.init, jax.eval_shape(lambda: jax.random.key(0)))
    tokens = jax.ShapeDtypeStruct((32, 8), jnp.int32)
    traced = products_of(model.apply, params, tokens)
    layers = sum(count > 0 for count in experts)
    placing = sum(2 * 8 * 8 * count for count in experts)  # 256 tokens in blocks of 32
    assert layers == 0 or placing > 0
    expected = transformer.training_operations(sizes) / 3 * 32 * 8
    assert traced - placing == pytest.approx(expected, rel=1e-12)
    assert transformer.training_operations(sizes, padded=True) == pytest.approx(3 * expected / 256)


def test_padding_costs_the_capacity_factor():
    plain, padded = (
        transformer.training_operations(SIZES, padded=padded) for padded in (False, True)
    )
    assert padded - plain == 3 * 0.25 * 2 * 2 * 16 * 24


@pytest.mark.parametrize("experts", [(0, 0), (4, 0)])
def test_it_learns_a_cycle(experts):
    sizes = dataclasses.replace(SIZES, experts=experts)
    windows = (np.arange(9)[None] + np.arange(11)[:, None]) % 11
    split = (windows[:, :-1].astype(np.int32), windows[:, 1:].astype(np.int32))
    metrics = transformer.router_metrics() if any(experts) else {}
    trainer = train.supervised(
        transformer.transformer(sizes),
        transformer.language_loss(0.01, 0.001),
        {"cross_entropy": transformer.next_token_loss, **metrics},
        estimators.backprop,
        train.decayed_sgd(0.0),
        batch_size=8,
    )
    lane = {"seed": jnp.uint32(0), "learning_rate": jnp.float32(0.3)}
    data = dict.fromkeys(("train", "validation", "test"), split)

    def run(data):
        state = trainer.init(lane, data)
        state, _ = jax.lax.scan(
            lambda state, _: trainer.step(lane, state, data), state, None, length=300
        )
        return trainer.evaluate(lane, state, data)

    scores = jax.jit(run)(data)
    assert float(scores["validation_cross_entropy"]) < 0.5  # a guess costs 2.4
    if any(experts):
        assert 0 <= float(scores["validation_dropped"]) < 0.5
        assert 1 <= float(scores["validation_busiest"]) <= 4


def test_next_token_loss_is_the_cross_entropy_of_all_places():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 11)), jnp.float32)
    labels = some_tokens(3)
    flat = losses.cross_entropy(logits.reshape(-1, 11), labels.reshape(-1))
    assert float(transformer.next_token_loss((logits, ()), labels)) == pytest.approx(float(flat))


def test_a_mixture_has_more_parameters_and_the_same_active_arithmetic():
    def size(experts):
        sizes = dataclasses.replace(SIZES, experts=experts)
        key = jax.eval_shape(lambda: jax.random.key(0))
        params = jax.eval_shape(transformer.transformer(sizes).init, key)
        return models.count_parameters(params), transformer.training_operations(sizes)

    (dense, dense_cost), (sparse, sparse_cost) = size((0,)), size((4,))
    assert sparse - dense == 3 * 2 * 16 * 24 + 16 * 4
    assert sparse_cost - dense_cost == 3 * 2 * 16 * 4  # the router


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heads": 3}, "is not divisible by 3 heads"),
        ({"group": 7}, "do not divide into routing groups"),
        ({"experts": (0, 100)}, "100 experts are more than the 48 tokens"),
        ({"hidden": 0}, "hidden"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, words):
    with pytest.raises(Problem, match=words):
        transformer.check(dataclasses.replace(SIZES, **changes), batch=6)


@pytest.mark.parametrize("experts", [(0,), (4,), (0, 4, 8)])
@pytest.mark.parametrize("residual", [False, True])
def test_parameters_are_counted_without_making_them(experts, residual):
    mixture = dataclasses.replace(SIZES.mixture, residual=residual)
    sizes = dataclasses.replace(SIZES, experts=experts, mixture=mixture)
    key = jax.eval_shape(lambda: jax.random.key(0))
    made = jax.eval_shape(transformer.transformer(sizes).init, key)
    assert transformer.parameter_count(sizes) == models.count_parameters(made)
