"""FLOPs of a function, counted on its jaxpr.

Only matrix products and convolutions count, with a multiplication and an addition as two
operations, as usual. Loops count as often as they run; of a branch, the more expensive side counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np


def count(function: Callable[..., Any], *arguments: Any) -> float:
    """FLOPs of one call; arguments may be arrays or `jax.ShapeDtypeStruct`.

    Raises:
        ValueError: products in a loop whose length is known only at run time
            (`jax.lax.while_loop`).
    """
    return _of(jax.make_jaxpr(function)(*arguments).jaxpr)


def traced(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """FLOPs of one call, and the shapes of its outputs.

    The FLOPs are NaN where `count` cannot determine them, such as in a user's own loop.
    """
    jaxpr, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    try:
        return _of(jaxpr.jaxpr), shapes
    except ValueError:
        return math.nan, shapes


def _of(jaxpr: Any) -> float:
    return sum(_equation(equation) for equation in jaxpr.eqns)


def _equation(equation: Any) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        depth = math.prod(shape[axis] for axis in contracted)
        return 2.0 * depth * math.prod(equation.outvars[0].aval.shape)
    if name in ("ragged_dot", "ragged_dot_general"):
        return 2.0 * equation.invars[0].aval.shape[-1] * math.prod(equation.outvars[0].aval.shape)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        outputs = kernel[params["dimension_numbers"].rhs_spec[0]]
        return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) / outputs
    if name == "scan":
        return params["length"] * _of(params["jaxpr"].jaxpr)
    if name == "while":
        inner = _of(params["body_jaxpr"].jaxpr)
        if inner:
            raise ValueError("a loop of unknown length contains products: their number is unknown")
        return 0.0
    if name == "cond":
        return max(_of(branch.jaxpr) for branch in params["branches"])
    return sum(map(_of, _inner(params)))


def _inner(params: Any) -> list[Any]:
    """The jaxprs that an equation calls once: for jit, checkpoints, custom derivatives."""
    found = []
    for value in params.values():
        if hasattr(value, "jaxpr") and hasattr(value.jaxpr, "eqns"):
            found.append(value.jaxpr)
        elif hasattr(value, "eqns"):
            found.append(value)
    return found


class Step(NamedTuple):
    """A `traced` training step: its FLOPs, and the shapes of state and metrics."""

    operations: float
    state: Any
    metrics: Any


def step(trainer: Any, lane: Any, data: Any) -> Step:
    """One training step of one lane; traces are cached.

    Args:
        trainer: a `jaxtrends.train.Trainer`.
        lane:    its numbers, a pytree of scalars.
        data:    in the trainer's format.
    """
    leaves, structure = jax.tree.flatten((lane, data))
    return _step(trainer, structure, tuple((np.shape(leaf), kind(leaf)) for leaf in leaves))


def of_step(trainer: Any, lane: Any, data: Any) -> float:
    """FLOPs of one training step of one lane; see `step`."""
    return step(trainer, lane, data).operations


@lru_cache(maxsize=64)
def _step(trainer: Any, structure: Any, leaves: tuple[Any, ...]) -> Step:
    shapes = [jax.ShapeDtypeStruct(*leaf) for leaf in leaves]
    lane, data = jax.tree.unflatten(structure, shapes)
    state = jax.eval_shape(trainer.init, lane, data)
    operations, (_, metrics) = traced(trainer.step, lane, state, data)
    return Step(operations, state, metrics)


def kind(leaf: Any) -> np.dtype:
    """The dtype of an array, of a number or of a `jax.ShapeDtypeStruct`."""
    return np.dtype(leaf.dtype) if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
