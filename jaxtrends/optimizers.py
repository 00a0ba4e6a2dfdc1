"""Optimizers as functions of a lane, for `jaxtrends.train.supervised`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    import optax

PyTree = Any


def warmed_up(rate: jax.Array, warm_up: int) -> Callable[[jax.Array], jax.Array]:
    """A schedule: at step t = 0, 1, … the rate times min(1, (t + 1) / warm_up).

    It is constant afterwards, so that a short run is the beginning of a longer one.
    """

    def schedule(step: jax.Array) -> jax.Array:
        share = (step.astype(jnp.float32) + 1) / max(1, warm_up)
        return rate * jnp.minimum(1.0, share)

    return schedule


def adam(warm_up: int) -> Callable[[PyTree], optax.GradientTransformation]:
    """Adam at the lane's ``learning_rate``, with a linear warm-up.

    (Kingma and Ba, "Adam", 2015.)

    Args:
        warm_up: steps of warm-up; 0 or 1 for none.
    """

    def optimizer(lane: PyTree) -> optax.GradientTransformation:
        import optax

        return optax.adam(warmed_up(lane["learning_rate"], warm_up))

    return optimizer
