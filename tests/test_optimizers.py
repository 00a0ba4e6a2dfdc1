"""Adam is Adam, and its rate rises in a straight line and stays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtrends import optimizers


def updates(warm_up, gradients, rate=0.1):
    """The updates that a sequence of gradients gets, strict promotion aside as in training."""
    with jax.numpy_dtype_promotion("standard"):
        optimizer = optimizers.adam(warm_up)({"learning_rate": jnp.float32(rate)})
        state, found = optimizer.init(jnp.zeros(())), []
        for gradient in gradients:
            update, state = optimizer.update(jnp.float32(gradient), state)
            found.append(float(update))
    return np.asarray(found)


def by_hand(gradients, rates):
    first = second = 0.0
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        mean, square = first / (1 - 0.9**step), second / (1 - 0.999**step)
        yield -rate * mean / (np.sqrt(square) + 1e-8)


GRADIENTS = [1.0, -0.5, 2.0, 0.25, 0.0, -3.0]


@pytest.mark.parametrize(
    ("warm_up", "shares"),
    [(0, [1.0] * 6), (1, [1.0] * 6), (4, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0])],
)
def test_updates_are_adams_at_a_rate_that_rises_and_stays(warm_up, shares):
    expected = list(by_hand(GRADIENTS, [0.1 * share for share in shares]))
    np.testing.assert_allclose(updates(warm_up, GRADIENTS), expected, rtol=1e-4)


def test_another_rise_gives_other_updates():
    assert not np.allclose(updates(4, GRADIENTS), updates(2, GRADIENTS), rtol=1e-2)
