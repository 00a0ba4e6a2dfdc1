"""Networks as pure functions: shapes, oracles, nothing left behind between calls."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxtrends import models


def test_the_mlp_is_what_numpy_says():
    model = models.mlp((6, 5, 3))
    params = model.init(jax.random.key(1))
    inputs = np.random.default_rng(0).normal(size=(4, 2, 3, 1)).astype(np.float32)
    layers = params["layers"]
    hidden = inputs.reshape(4, 6) @ layers["0"]["kernel"] + layers["0"]["bias"]
    expected = np.maximum(hidden, 0) @ layers["1"]["kernel"] + layers["1"]["bias"]
    np.testing.assert_allclose(model.apply(params, inputs), expected, rtol=1e-5, atol=1e-6)


def test_two_widths_make_a_linear_model():
    params = models.mlp((784, 10)).init(jax.random.key(0))
    assert models.count_parameters(params) == 7850


def test_patches_make_the_convolution_of_xla():
    images = jax.random.normal(jax.random.key(0), (2, 7, 6, 3))
    kernel = jax.random.normal(jax.random.key(1), (27, 4))
    ours = jnp.matmul(models.patches(images), kernel, precision="highest")
    theirs = jax.lax.conv_general_dilated(
        images,
        kernel.reshape(3, 3, 3, 4),
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_max_pool_is_flax_own():
    images = jax.random.normal(jax.random.key(0), (2, 7, 6, 3))
    np.testing.assert_array_equal(
        models.max_pool(images), nnx.max_pool(images, window_shape=(2, 2), strides=(2, 2))
    )


@pytest.mark.parametrize(
    "make", [lambda: models.mlp((16, 4, 3)), lambda: models.convnet(4, 2, 5, 3)]
)
def test_a_model_is_pure_and_differentiable_both_ways(make):
    model = make()
    params = model.init(jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (2, 4, 4, 1))
    before = jax.tree.map(np.array, params)
    first, second = model.apply(params, inputs), model.apply(params, inputs)
    np.testing.assert_array_equal(first, second)
    jax.tree.map(np.testing.assert_array_equal, before, params)
    tangent = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(2), leaf.shape), params)
    loss = lambda p: jnp.sum(model.apply(p, inputs) ** 2)  # noqa: E731
    _, slope = jax.jvp(loss, (params,), (tangent,))
    products = jax.tree.map(jnp.vdot, jax.grad(loss)(params), tangent)
    np.testing.assert_allclose(slope, sum(jax.tree.leaves(products)), rtol=1e-4)
    batched = jax.vmap(model.init)(jax.random.split(jax.random.key(0), 3))
    assert all(leaf.shape[0] == 3 for leaf in jax.tree.leaves(batched))


def test_keys_of_params_are_text():
    params = models.mlp((4, 3, 2)).init(jax.random.key(0))
    assert set(params["layers"]) == {"0", "1"}


def test_a_module_with_other_state_is_refused():
    class Normalised(nnx.Module):
        def __init__(self, rngs):
            self.norm = nnx.BatchNorm(3, rngs=rngs)

        def __call__(self, inputs):
            return self.norm(inputs)

    with pytest.raises(TypeError, match="all parameters"):
        models.from_nnx(Normalised)
