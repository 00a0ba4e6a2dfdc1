"""Losses and metrics as pure functions of outputs and targets."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean softmax cross-entropy in nats.

    Args:
        logits: (..., classes), float.
        labels: (...), int.
    """
    # A one-hot product instead of a gather, whose transpose is a slow scatter.
    chosen = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return -jnp.mean(jnp.sum(jax.nn.log_softmax(logits) * chosen, axis=-1))


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Share of rows whose largest logit is the label's: (batch, classes), (batch,) -> ()."""
    return jnp.mean((jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32))
