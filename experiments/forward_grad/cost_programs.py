"""The programs whose cost is compared: on one batch, and in a loop that cannot be shortened."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxtrends import estimators, flops, losses, models, timing

FEATURES, CLASSES = 784, 10  # of MNIST
FUNCTION, JVP, BACKPROP = "function", "jvp", "backprop"
GAUSSIAN, RADEMACHER = "forward gradient, gaussian", "forward gradient, rademacher"
BACKPROP_AGAIN = "backprop again"  # the same program, timed as if it were another one
PROJECTED = "backprop, projected"


class Network(NamedTuple):
    """A multilayer perceptron on MNIST's format: equal hidden layers, ReLU between them."""

    depth: int
    width: int

    @property
    def name(self) -> str:
        return f"{self.depth} x {self.width}"

    @property
    def model(self) -> models.Model:
        return models.mlp((FEATURES, *[self.width] * self.depth, CLASSES))


FIGURE_4 = Network(depth=2, width=1024)


def timed(network: Network) -> tuple[str, ...]:
    """The programs that are timed on a network.

    Signs are for Figure 4's alone: the paper draws Gaussian tangents, and the programs that draw
    take most of the time that this study spends on compiling.
    """
    signs = (RADEMACHER,) if network == FIGURE_4 else ()
    return (FUNCTION, JVP, GAUSSIAN, *signs, BACKPROP)


def _projected(loss: Any, params: Any, tangent: Any, key: jax.Array) -> tuple[Any, Any]:
    """What jvp gives, from backprop's gradient: so one public port simulates forward gradients."""
    value, gradient = estimators.backprop(loss, params, key)
    products = jax.tree.map(lambda g, v: jnp.sum(g * v), gradient, tangent)
    return value, sum(jax.tree.leaves(products), start=jnp.zeros_like(value))


# (loss, params, tangent, key) -> the loss; jvp adds the derivative along the tangent, backprop and
# the forward gradients a gradient shaped like the parameters.
METHODS: dict[str, Callable[..., Any]] = {
    FUNCTION: lambda loss, params, tangent, key: loss(params),
    JVP: lambda loss, params, tangent, key: jax.jvp(loss, (params,), (tangent,)),
    GAUSSIAN: lambda loss, params, tangent, key: estimators.estimate(
        loss, params, key, law="gaussian"
    ),
    RADEMACHER: lambda loss, params, tangent, key: estimators.estimate(
        loss, params, key, law="rademacher"
    ),
    BACKPROP: lambda loss, params, tangent, key: estimators.backprop(loss, params, key),
    PROJECTED: _projected,
}

Program = Callable[..., Any]  # (key, params, tangent, inputs, labels) -> outputs


def program(method: str, model: models.Model) -> Program:
    """One of `METHODS` on one batch: (key, params, tangent, inputs, labels) -> its outputs."""

    def call(key: jax.Array, params: Any, tangent: Any, inputs: Any, labels: Any) -> Any:
        def loss(params: Any) -> jax.Array:
            return losses.cross_entropy(model.apply(params, inputs), labels)

        return METHODS[method](loss, params, tangent, key)

    return call


def abstract_arguments(model: models.Model, batch: int) -> tuple[Any, ...]:
    """Shapes and dtypes of a program's arguments: inputs are (batch, 784), labels (batch,)."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    params = jax.eval_shape(model.init, key)
    inputs = jax.ShapeDtypeStruct((batch, FEATURES), jnp.float32)
    return key, params, params, inputs, jax.ShapeDtypeStruct((batch,), jnp.int32)


def arguments(model: models.Model, batch: int, seed: Sequence[int]) -> tuple[Any, ...]:
    """Arguments for a program, random: no cost depends on them, so that drawing them may be cheap.

    Weights have He's scale, at which the activations of a deep network neither grow nor vanish
    (numbers too small for the normal format would be slow).
    """
    generator = np.random.default_rng(seed)

    def draw(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        scale = np.sqrt(2 / leaf.shape[0], dtype=leaf.dtype)
        return jnp.asarray(generator.standard_normal(leaf.shape, leaf.dtype) * scale)

    _, params, tangent, inputs, _ = abstract_arguments(model, batch)
    params, tangent, inputs = (jax.tree.map(draw, tree) for tree in (params, tangent, inputs))
    labels = jnp.asarray(generator.integers(CLASSES, size=batch), jnp.int32)
    return jax.random.key(int(generator.integers(2**31))), params, tangent, inputs, labels


def count(network: Network, batch: int) -> dict[str, Any]:
    """The operations of function, jvp and backprop, counted in their products."""
    model = network.model
    shapes = abstract_arguments(model, batch)
    counted = {m: int(flops.count(program(m, model), *shapes)) for m in (FUNCTION, JVP, BACKPROP)}
    return network._asdict() | {"parameters": models.count_parameters(shapes[1]), **counted}


def repeated(call: Program) -> Program:
    """Jit a loop of calls: (count, arguments, outputs) -> outputs of the last call.

    ``outputs`` is donated: it is memory for every turn to write into, and holds nothing of use.
    The key is a new one in every turn, and the other arguments come out of a barrier into the
    next turn, so that the compiler must take them for new ones too. (A barrier on arguments that
    the loop hands on as they came is no help: the whole program then moves out of the loop.)
    """

    def run(count: jax.Array, arguments: tuple[Any, ...], outputs: Any) -> Any:
        def turn(index: jax.Array, carry: Any) -> Any:
            arguments = lax.optimization_barrier(carry[0])
            key, *rest = arguments
            return arguments, call(jax.random.fold_in(key, index), *rest)

        return lax.fori_loop(0, count, turn, (arguments, outputs))[1]

    return jax.jit(run, donate_argnames="outputs")


def compile_repeated(call: Program, arguments: Sequence[Any]) -> Any:
    """Compile `repeated` for arguments, or their shapes, of a program."""
    outputs = jax.eval_shape(call, *arguments)
    count = jax.ShapeDtypeStruct((), jnp.int32)
    return repeated(call).lower(count, tuple(arguments), outputs).compile()


def compiled_costs(compiled: Any) -> dict[str, int]:
    """What the compiler says of a program in its loop: ``temporary`` bytes and ``operations``.

    ``temporary`` is the most that it holds at once beside arguments and outputs, and includes a
    few hundred bytes for the loop. ``operations`` are those of one turn, as the number of turns is
    not known to the compiler. Both analyses are best effort: what a backend does not tell is left
    out.
    """
    memory = compiled.memory_analysis()
    costs = {"operations": (compiled.cost_analysis() or {}).get("flops")}
    costs["temporary"] = getattr(memory, "temp_size_in_bytes", None)
    return {name: int(value) for name, value in costs.items() if value is not None}


def zeros(shapes: Any) -> Any:
    """Arrays of zeros in the shapes and dtypes given."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def clock(
    network: Network, batch: int, seed: Sequence[int]
) -> tuple[dict[str, timing.Timed], dict[str, Any]]:
    """The timed programs of one network by name, and what was compiled of each method."""
    given = jax.block_until_ready(arguments(network.model, batch, seed))
    held: dict[Any, Any] = {}  # by structure: programs of equal output share memory
    compiled: dict[str, Any] = {}

    def timed_calls(method: str, structure: Any) -> timing.Timed:
        def run(count: int) -> float:
            turns, outputs = jax.block_until_ready(jnp.int32(count)), held[structure]
            started = time.perf_counter()
            held[structure] = jax.block_until_ready(compiled[method](turns, given, outputs))
            return time.perf_counter() - started

        return run

    clocks: dict[str, timing.Timed] = {}
    for method in timed(network):
        call = program(method, network.model)
        compiled[method] = compile_repeated(call, given)
        shapes = jax.eval_shape(call, *given)
        structure = jax.tree.structure(shapes)
        held.setdefault(structure, zeros(shapes))
        clocks[method] = timed_calls(method, structure)
    return {**clocks, BACKPROP_AGAIN: clocks[BACKPROP]}, compiled
