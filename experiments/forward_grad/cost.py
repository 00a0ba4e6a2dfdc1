"""What a forward gradient costs beside backprop: operations, memory and time (claims F5 and F6).

Three columns, kept apart. *Operations* are counted, not timed: those of every matrix product in
the traced program, with XLA's own count of the compiled program beside them where there is one.
*Memory* is what XLA's compiler says that the compiled program holds. *Time* is measured, and means
something only on an otherwise idle machine.

What to expect. A dense layer of n inputs and m outputs on a batch of N takes one product of 2Nnm
operations to evaluate. Backprop adds two: the gradient of the weights, and that of the layer's
inputs. The derivative along a tangent V of the weights W adds two as well: x V and, since x moves
too, dx W. The first layer has no gradient of its inputs to compute, and no dx, so both save the
same product. Function, directional derivative and gradient therefore cost 1 : 3 : 3 in a deep
network and 1 : 2 : 2 in a single layer, and their quotient is one exactly: with one compiler under
all three, R_f / R_b near 0.6 is not to be had from the arithmetic. The paper has its own
forward-mode engine, by operator overloading, beside a stock reverse mode, and its ratio is that of
two implementations. A forward gradient draws its tangent besides, which is no product and is in
none of these counts: per parameter it costs as much at every batch, so that it weighs most on small
batches, and on shallow networks, whose backprop is the cheapest per parameter.

What forward mode does save is memory: it forgets a layer's activations once the next one has them,
where backprop keeps them all. How much of that is left depends on the tangent, which is as large as
the parameters: as an argument, as jvp has it here, it is a copy of them that backprop does not
need; a program that draws it may put the gradient in its place. At a small batch a copy of the
parameters is more than all activations together, so the table says which programs hold one.

What is timed. ``function`` is the loss on one batch; ``backprop`` the loss and its gradient;
``forward gradient`` the loss and its estimate, from the draw of the tangent to the last product
d v, Gaussian as in the paper or of signs; ``jvp`` the loss and the derivative along a tangent that
is given, without draw and product. No update of the parameters is timed. R_f and R_b are the times
of a forward gradient and of backprop over that of the function.

How. Every program is compiled into a loop that the compiler cannot shorten (its arguments pass a
barrier, and the key is new, in every turn), so that calls of microseconds fill a sample of many
milliseconds; outputs are donated, so that no sample pays for fresh memory. Programs run once
before anything counts. Then follow rounds: each visits the networks in a random order, and takes
one sample of every program of a network, again in a random order, waiting for the device to
finish. Ratios are taken within a round, and the medians and quartiles over rounds are reported.
Backprop stands in every round twice: its ratio to itself is the noise of the measurement, and
must not look like a saving.

How it could be rigged: by leaving the draw out of the forward gradient's time (it is in, and jvp
alone is printed beside it), by timing one method cold or with its memory still to be allocated, or
by comparing programs whose results differ in size (both return a gradient).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.forward_grad import cost_figures as figures
from experiments.forward_grad.cost_readings import (
    BACKPROP,
    BACKPROP_AGAIN,
    FUNCTION,
    GAUSSIAN,
    JVP,
    PROJECTED,
    RADEMACHER,
)
from jaxtrends import devices, estimators, losses, models
from jaxtrends.errors import Problem, require_positive
from jaxtrends.study import Run, StudyResult

FEATURES, CLASSES = 784, 10  # of MNIST


@dataclass(frozen=True)
class CostConfig:
    """What is counted, compiled and timed."""

    depths: tuple[int, ...] = (1, 4, 16)
    """Hidden layers of the networks."""
    widths: tuple[int, ...] = (256,)
    """Units of a hidden layer; every width is run at every depth."""
    figure_4: bool = True
    """Whether the paper's MLP of two hidden layers of 1024 is timed as well."""
    batch: int = 64
    """Examples in a batch that is timed."""
    memory_batches: tuple[int, ...] = (1024,)
    """Examples in further batches, for which programs are compiled, to see their memory, only."""
    rounds: int = 19
    """Samples of every program."""
    sample_seconds: float = 0.01
    """Least duration of a sample: shorter programs are repeated within it."""


SMOKE = CostConfig(
    depths=(1,), widths=(32,), figure_4=False, memory_batches=(), rounds=7, sample_seconds=0.001
)
FULL = CostConfig(depths=(1, 2, 4, 8, 16, 40), widths=(256, 512, 1024), sample_seconds=0.02)


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


# --- the programs ------------------------------------------------------------------------------


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


# --- operations and memory ---------------------------------------------------------------------


def product_operations(program: Program, *arguments: Any) -> int:
    """Floating-point operations of all matrix products in ``program``, traced and not compiled.

    A product of (n, k) and (k, m) counts 2nkm. Everything else is left out: per product that is a
    few operations for each of its outputs.

    Raises:
        ValueError: the program has a loop or a branch, whose turns a trace does not tell.
    """

    def count(jaxpr: Any) -> int:
        total = 0
        for equation in jaxpr.eqns:
            if equation.primitive.name in ("while", "scan", "cond"):
                raise ValueError(f"cannot count the operations of a {equation.primitive.name}")
            if equation.primitive.name == "dot_general":
                (contracted, _), _ = equation.params["dimension_numbers"]
                sizes = [equation.invars[0].aval.shape[axis] for axis in contracted]
                total += 2 * equation.outvars[0].aval.size * math.prod(sizes)
            inner = [getattr(value, "jaxpr", value) for value in equation.params.values()]
            total += sum(count(value) for value in inner if hasattr(value, "eqns"))
        return total

    return count(jax.make_jaxpr(program)(*arguments).jaxpr)


# --- compiled programs -----------------------------------------------------------------------


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


class Stopwatch:
    """The timed programs of one network, compiled and warm, to be timed in any order."""

    def __init__(self, network: Network, batch: int, sample_seconds: float, seed: Sequence[int]):
        """Compile every program, run it, and choose how many calls make a sample."""
        model = network.model
        self._arguments = jax.block_until_ready(arguments(model, batch, seed))
        self._outputs: dict[Any, Any] = {}  # by structure: programs of equal output share memory
        self._structures: dict[str, Any] = {}
        self._calls: dict[str, int] = {}
        self.compiled: dict[str, Any] = {}
        for method in timed(network):
            call = program(method, model)
            shapes = jax.eval_shape(call, *self._arguments)
            self._structures[method] = structure = jax.tree.structure(shapes)
            self._outputs.setdefault(structure, zeros(shapes))
            self._calls[method] = 1
            self.compiled[method] = compile_repeated(call, self._arguments)
            self.seconds(method)
            fastest = min(self.seconds(method) for _ in range(3))
            self._calls[method] = max(1, math.ceil(sample_seconds / fastest))

    def seconds(self, method: str) -> float:
        """Take one sample, to the end of the device's work: seconds per call."""
        structure, calls = self._structures[method], self._calls[method]
        count = jax.block_until_ready(jnp.int32(calls))
        outputs = self._outputs[structure]
        start = time.perf_counter()
        outputs = jax.block_until_ready(self.compiled[method](count, self._arguments, outputs))
        elapsed = time.perf_counter() - start
        self._outputs[structure] = outputs
        return elapsed / calls


def zeros(shapes: Any) -> Any:
    """Arrays of zeros in the shapes and dtypes given."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def load_average() -> float | None:
    """Processes that wanted to run, averaged over the last minute; None where nobody counts."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


# --- the study ---------------------------------------------------------------------------------


def check(cost: CostConfig) -> None:
    """Refuse settings that cannot be run.

    Raises:
        Problem: names the flag at fault.
    """
    for name in ("depths", "widths"):
        if not getattr(cost, name):
            raise Problem(f"--cost.{name} must name at least one.")
    sizes = {name: getattr(cost, name) for name in ("depths", "widths", "memory_batches")}
    for name, chosen in sizes.items():
        require_positive(**{f"cost.{name}[{i}]": size for i, size in enumerate(chosen)})
    for name in ("batch", "rounds", "sample_seconds"):
        require_positive(**{f"cost.{name}": getattr(cost, name)})


def networks(cost: CostConfig) -> list[Network]:
    """Every network that is counted and timed, each once."""
    grid = [Network(depth, width) for width in cost.widths for depth in cost.depths]
    return list(dict.fromkeys(grid + [FIGURE_4] * cost.figure_4))


def count(network: Network, batch: int) -> dict[str, Any]:
    """The operations of function, jvp and backprop, counted in their products."""
    model = network.model
    shapes = abstract_arguments(model, batch)
    counted = {m: product_operations(program(m, model), *shapes) for m in (FUNCTION, JVP, BACKPROP)}
    return network._asdict() | {"parameters": models.count_parameters(shapes[1]), **counted}


def memory(network: Network, batch: int) -> list[dict[str, Any]]:
    """What the compiler says of jvp, of backprop and of the control, at a batch not timed."""
    model = network.model
    shapes = abstract_arguments(model, batch)
    return [
        compiled_row(network, batch, method, compile_repeated(program(method, model), shapes))
        for method in (JVP, BACKPROP, PROJECTED)
    ]


def compiled_row(network: Network, batch: int, method: str, compiled: Any) -> dict[str, Any]:
    """`compiled_costs` with what they are the costs of."""
    return network._asdict() | {"batch": batch, "program": method} | compiled_costs(compiled)


def interleave(
    run: Run, stopwatches: Mapping[str, Stopwatch], rounds: int, seed: int
) -> dict[str, dict[str, list[float]]]:
    """Seconds per call, network -> program -> one number a round; orders drawn from ``seed``."""
    labels = {name: [*watch.compiled, BACKPROP_AGAIN] for name, watch in stopwatches.items()}
    seconds = {name: {label: [] for label in labels[name]} for name in stopwatches}
    generator = np.random.default_rng(seed)
    for _ in run.each("timing", range(rounds)):
        for name in generator.permutation(list(stopwatches)):
            for label in generator.permutation(labels[name]):
                method = BACKPROP if label == BACKPROP_AGAIN else label
                seconds[name][label].append(stopwatches[name].seconds(method))
    return seconds


def run(config: Any, run: Run) -> StudyResult:
    """Count, compile and time every program on every network."""
    cost: CostConfig = config.cost
    found = networks(cost)
    load_before = load_average()
    stopwatches, compiled = {}, []
    for index, network in enumerate(run.each("compiling", found)):
        watch = Stopwatch(network, cost.batch, cost.sample_seconds, (config.seed, index))
        stopwatches[network.name] = watch
        for method, own in watch.compiled.items():
            compiled.append(compiled_row(network, cost.batch, method, own))
        if network.width in cost.widths:
            for batch in cost.memory_batches:
                compiled += memory(network, batch)
    seconds = interleave(run, stopwatches, cost.rounds, config.seed)
    values = {"operations": [count(network, cost.batch) for network in found]}
    measurements = {
        "device": devices.describe(jax.local_devices()[:1]),
        "load_average": {"before": load_before, "after": load_average()},
        "batch": cost.batch,
        "networks": [{"name": network.name} | network._asdict() for network in found],
        "compiled": compiled,
        "seconds": seconds,
    }
    drawn = [figures.cost_figure(values, measurements)] if len(cost.depths) > 1 else []
    return StudyResult(
        values,
        measurements=measurements,
        measured_tables=[
            figures.time_table(measurements),
            figures.operation_table(values, measurements),
            *([figures.memory_table(values, measurements)] if cost.memory_batches else []),
        ],
        measured_figures=drawn,
    )
