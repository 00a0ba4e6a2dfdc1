"""Floating-point operations of a function, counted on its jaxpr.

What counts is matrix products and convolutions, a multiplication and an addition being two: the
field's convention. Loops count as often as they run; of a branch the dearer side counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def count(function: Callable[..., Any], *arguments: Any) -> float:
    """Operations of one call; arguments may be arrays or `jax.ShapeDtypeStruct`.

    Raises:
        ValueError: it holds a loop whose length is known only as it runs (`jax.lax.while_loop`)
            with products in it.
    """
    return _of(jax.make_jaxpr(function)(*arguments).jaxpr)


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
            raise ValueError("a loop of unknown length holds products: their number is unknown")
        return 0.0
    if name == "cond":
        return max(_of(branch.jaxpr) for branch in params["branches"])
    return sum(map(_of, _inner(params)))


def _inner(params: Any) -> list[Any]:
    """The jaxprs that an equation calls once: of jit, checkpoints, custom derivatives."""
    found = []
    for value in params.values():
        if hasattr(value, "jaxpr") and hasattr(value.jaxpr, "eqns"):
            found.append(value.jaxpr)
        elif hasattr(value, "eqns"):
            found.append(value)
    return found


def of_step(trainer: Any, lane: Any, data: Any) -> float:
    """Operations of one training step of one lane; not a number where `count` cannot tell.

    Args:
        trainer: a `jaxtrends.train.Trainer`.
        lane:    its numbers: a pytree of scalars.
        data:    as the trainer takes it.
    """

    def shape(leaf: Any) -> jax.ShapeDtypeStruct:
        leaf = np.asarray(leaf) if not hasattr(leaf, "dtype") else leaf
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)

    lane, data = jax.tree.map(shape, (lane, data))
    state = jax.eval_shape(trainer.init, lane, data)
    try:
        return count(trainer.step, lane, state, data)
    except ValueError:  # a loop of a user's own estimator, say
        return math.nan
