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

from jaxtrends import devices, estimators, losses, models
from jaxtrends.claims import Claim, Control, Evidence
from jaxtrends.errors import Problem, require_positive
from jaxtrends.study import Figure, Panel, Run, Series, StudyResult, Table

FEATURES, CLASSES = 784, 10  # of MNIST
SETTLED_DEPTH = 4  # hidden layers from which the memory of a jvp is that of a deep network

FUNCTION, JVP, BACKPROP = "function", "jvp", "backprop"
GAUSSIAN, RADEMACHER = "forward gradient, gaussian", "forward gradient, rademacher"
BACKPROP_AGAIN = "backprop again"  # the same program, timed as if it were another one
PROJECTED = "backprop, projected"


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


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Least-squares slope of y over x.

    Raises:
        KeyError: fewer than two different x: this run cannot tell.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(set(x)) < 2:
        raise KeyError("two sizes to fit a slope to")
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())


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
    return StudyResult(
        values,
        measurements=measurements,
        measured_tables=[time_table(measurements), operation_table(values, measurements)]
        + ([memory_table(values, measurements)] if cost.memory_batches else []),
        measured_figures=[cost_figure(values, measurements)] if len(cost.depths) > 1 else [],
    )


# --- tables and figures ------------------------------------------------------------------------


def quotients(seconds: Mapping[str, Sequence[float]], method: str, reference: str) -> np.ndarray:
    """Time of a program over that of another on one network, round by round."""
    return np.asarray(seconds[method]) / np.asarray(seconds[reference])


def _spread(values: np.ndarray) -> str:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def conditions(measurements: Mapping[str, Any]) -> str:
    """Where and under what load the times were taken; a warning where they prove little."""
    device, load = measurements["device"], measurements["load_average"]
    noise = [quotients(s, BACKPROP_AGAIN, BACKPROP) for s in measurements["seconds"].values()]
    text = (
        f"Batch {measurements['batch']}. Medians over rounds, quartiles in brackets. "
        f"Device: {device['platform']} {device['kind']}, {device['processor']}, "
        f"{device['cores']} cores. "
        f"Backprop's time over its own, all networks: {_spread(np.concatenate(noise))}."
    )
    loads = [value for value in load.values() if value is not None]
    if len(loads) == len(load):
        text += f" Load average {load['before']:.1f} before and {load['after']:.1f} after."
    # This process alone keeps every core busy, and its own threads at times wait for one.
    if any(value > device["cores"] + 0.5 for value in loads):
        text += " Warning: the machine was not idle; the times prove nothing."
    return text


def time_table(measurements: Mapping[str, Any]) -> Table:
    """R_f, R_b and their quotient for every network and law of tangents."""
    rows = []
    for network in measurements["networks"]:
        seconds = measurements["seconds"][network["name"]]
        for method, law in ((GAUSSIAN, "gaussian"), (RADEMACHER, "signs")):
            if method in seconds:
                rows.append(
                    [
                        network["depth"],
                        network["width"],
                        law,
                        1e3 * float(np.median(seconds[FUNCTION])),
                        _spread(quotients(seconds, method, FUNCTION)),
                        _spread(quotients(seconds, BACKPROP, FUNCTION)),
                        _spread(quotients(seconds, method, BACKPROP)),
                        _spread(quotients(seconds, JVP, BACKPROP)),
                    ]
                )
    return Table(
        "cost_time",
        "Time of a forward gradient (R_f) and of backprop (R_b) over that of the function",
        ("layers", "width", "tangent", "f [ms]", "R_f", "R_b", "R_f / R_b", "jvp alone / R_b"),
        rows,
        conditions(measurements),
    )


def operation_table(values: Mapping[str, Any], measurements: Mapping[str, Any]) -> Table:
    """Operations counted in products beside XLA's count, in units of the function's."""
    told = {
        (row["depth"], row["width"], row["batch"], row["program"]): row.get("operations", math.nan)
        for row in measurements["compiled"]
    }
    rows = []
    for row in values["operations"]:
        network, f = (row["depth"], row["width"], measurements["batch"]), row[FUNCTION]
        xla = [told[*network, m] / told[*network, FUNCTION] for m in (JVP, GAUSSIAN, BACKPROP)]
        counted = [row["parameters"], f / 1e6, row[JVP] / f, row[BACKPROP] / f]
        rows.append([row["depth"], row["width"], *counted, *xla])
    return Table(
        "cost_operations",
        "Operations of one gradient over those of the function",
        (
            *("layers", "width", "parameters", "f [Mflop]", "jvp / f", "backprop / f"),
            *("XLA: jvp / f", "XLA: forward gradient / f", "XLA: backprop / f"),
        ),
        rows,
        "Counted in the matrix products of the traced programs; XLA counts all floating-point "
        "operations of the compiled ones, and so the arithmetic of the draw, though not its "
        "random bits.",
    )


def temporaries(
    compiled: Sequence[Mapping[str, Any]], method: str, width: int, batch: int
) -> dict[int, int]:
    """Depth -> temporary bytes of a program, as far as the backend told."""
    return {
        row["depth"]: row["temporary"]
        for row in sorted(compiled, key=lambda row: row["depth"])
        if (row["program"], row["width"], row["batch"]) == (method, width, batch)
        and "temporary" in row
    }


def bytes_per_layer(
    compiled: Sequence[Mapping[str, Any]], method: str, width: int, batch: int
) -> float:
    """Growth of a program's temporary memory with depth, by least squares.

    From `SETTLED_DEPTH` on: a jvp holds two neighbouring layers and their tangents at once, which
    the shallowest networks do not have.

    Raises:
        KeyError: the backend did not tell, or there are not two such depths.
    """
    held = temporaries(compiled, method, width, batch)
    deep = [depth for depth in held if depth >= SETTLED_DEPTH]
    return slope(deep, [held[depth] for depth in deep])


def memory_table(values: Mapping[str, Any], measurements: Mapping[str, Any]) -> Table:
    """Memory of every program at the least and the greatest depth, and its growth between."""
    compiled, rows = measurements["compiled"], []
    sizes = {(row["depth"], row["width"]): 4 * row["parameters"] for row in values["operations"]}
    for program, width, batch in dict.fromkeys(
        (row["program"], row["width"], row["batch"]) for row in compiled
    ):
        try:
            held = temporaries(compiled, program, width, batch)
            growth = bytes_per_layer(compiled, program, width, batch)
            backprop = bytes_per_layer(compiled, BACKPROP, width, batch)
        except KeyError:  # one depth only, or the backend did not tell
            continue
        copies = 1 if program == FUNCTION else 2
        span = f"{min(held)} to {max(held)}"
        of_parameters = copies * sizes[max(held), width] / 1e6
        growths = [growth / 1e3, growth / backprop]
        megabytes = [held[min(held)] / 1e6, held[max(held)] / 1e6]
        rows.append([width, batch, span, program, *megabytes, of_parameters, *growths])
    return Table(
        "cost_memory",
        "Memory of the compiled programs",
        (
            *("width", "batch", "layers", "program", "temporary, shallowest [MB]"),
            *("temporary, deepest [MB]", "parameter copies, deepest [MB]"),
            *("temporary per layer [kB]", "share of backprop's"),
        ),
        rows,
        "Temporary memory is the compiler's figure. Parameter copies are counted: every program "
        "holds the parameters, jvp the tangent too, backprop and forward gradients the gradient. "
        "A forward gradient's tangent is among the temporaries unless it is in the gradient's "
        f"place, or drawn again. Growth is taken from {SETTLED_DEPTH} layers on. "
        f"'{PROJECTED}' computes what jvp does from backprop's gradient, and is the control.",
    )


LABELS = {GAUSSIAN: "forward gradient", JVP: "jvp alone", BACKPROP: "backprop"}


def cost_figure(values: Mapping[str, Any], measurements: Mapping[str, Any]) -> Figure:
    """Times and temporary memory against depth."""
    widths = widths_of_several_depths(measurements)
    widest = widths[-1]
    counted = sorted(
        (row["depth"], row[JVP] / row[FUNCTION])
        for row in values["operations"]
        if row["width"] == widest
    )
    depths, operations = zip(*counted, strict=True)
    over_function = Panel(
        title=f"Width {widest}, batch {measurements['batch']}",
        x_label="hidden layers",
        y_label="time over that of the function (R_f, R_b)",
        series=[
            *(_ratios(measurements, LABELS[m], widest, m, FUNCTION) for m in LABELS),
            Series("operations, jvp and backprop", depths, operations, style="theory"),
        ],
        x_scale="log",
    )
    over_backprop = Panel(
        title="Forward gradient over backprop",
        x_label="hidden layers",
        y_label="R_f / R_b",
        series=[
            _ratios(measurements, f"width {width}", width, GAUSSIAN, BACKPROP) for width in widths
        ],
        x_scale="log",
        threshold=1.0,
        threshold_label="no saving",
    )
    compiled = measurements["compiled"]
    memory_panels = [
        Panel(
            title=f"Temporary memory, width {widest}, batch {batch}",
            x_label="hidden layers",
            y_label="temporary memory [MB]",
            series=[
                Series(label, list(held), [size / 1e6 for size in held.values()])
                for method, label in LABELS.items()
                if (held := temporaries(compiled, method, widest, batch))
            ],
        )
        for batch in sorted({row["batch"] for row in compiled if row["width"] == widest})
    ]
    return Figure(
        "cost",
        "What a gradient costs against depth",
        "Bands are quartiles over rounds. " + conditions(measurements),
        [over_function, over_backprop, *memory_panels],
    )


def _ratios(
    measurements: Mapping[str, Any], label: str, width: int, method: str, reference: str
) -> Series:
    """`quotients` against depth: their medians, in a band of their quartiles."""
    grid = networks_of_width(measurements, width)
    ratios = [
        quotients(measurements["seconds"][network["name"]], method, reference) for network in grid
    ]
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75), axis=1)
    depths = [network["depth"] for network in grid]
    return Series(label, depths, list(middle), list(low), list(high))


def networks_of_width(measurements: Mapping[str, Any], width: int) -> list[Mapping[str, Any]]:
    """The networks of one width, by increasing depth."""
    found = [network for network in measurements["networks"] if network["width"] == width]
    return sorted(found, key=lambda network: network["depth"])


def widths_of_several_depths(measurements: Mapping[str, Any]) -> list[int]:
    """The widths at which depth was varied, in increasing order.

    Raises:
        KeyError: there are none.
    """
    all_widths = [network["width"] for network in measurements["networks"]]
    widths = sorted({width for width in all_widths if all_widths.count(width) > 1})
    if not widths:
        raise KeyError("two depths of one width")
    return widths


# --- claims ------------------------------------------------------------------------------------


def _time_evidence(measurements: Mapping[str, Any]) -> Evidence:
    seconds = measurements["seconds"][FIGURE_4.name]

    def against_backprop(method: str) -> dict[str, Sequence[float]]:
        return {"treatment": seconds[method], "reference": seconds[BACKPROP]}

    return Evidence(
        {"gaussian": against_backprop(GAUSSIAN), "signs": against_backprop(RADEMACHER)},
        {
            "backprop timed twice": against_backprop(BACKPROP_AGAIN),
            "function alone": against_backprop(FUNCTION),
        },
    )


def _operation_evidence(values: Mapping[str, Any]) -> Evidence:
    rows = values["operations"]
    parts = {
        Network(row["depth"], row["width"]).name: {"values": [row[JVP] / row[BACKPROP]]}
        for row in rows
    }
    control = {"values": [rows[-1][FUNCTION] / rows[-1][BACKPROP]]}
    return Evidence(parts, {"function alone": control})


def _depth_evidence(measurements: Mapping[str, Any]) -> Evidence:
    def rises(method: str, width: int) -> dict[str, list[float]]:
        """Slope of log (program / backprop) over log depth, one a round."""
        grid = networks_of_width(measurements, width)
        logs = [
            np.log(quotients(measurements["seconds"][network["name"]], method, BACKPROP))
            for network in grid
        ]
        depths = np.log([network["depth"] for network in grid])
        return {"values": [slope(depths, ratios) for ratios in np.transpose(logs)]}

    widths = widths_of_several_depths(measurements)
    return Evidence(
        {f"width {width}": rises(GAUSSIAN, width) for width in widths},
        {"backprop timed twice": rises(BACKPROP_AGAIN, widths[-1])},
    )


def _memory_evidence(measurements: Mapping[str, Any]) -> Evidence:
    compiled = measurements["compiled"]
    widths = widths_of_several_depths(measurements)
    batches = sorted({row["batch"] for row in compiled})

    def share(method: str, width: int, batch: int) -> dict[str, list[float]]:
        backprop = bytes_per_layer(compiled, BACKPROP, width, batch)
        return {"values": [bytes_per_layer(compiled, method, width, batch) / backprop]}

    parts = {
        f"width {width}, batch {batch}": share(JVP, width, batch)
        for width in widths
        for batch in batches
    }
    return Evidence(parts, {PROJECTED: share(PROJECTED, widths[-1], batches[-1])})


CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="F5a",
        study="cost",
        statement="A forward gradient takes much less time than backprop.",
        source="paper",
        reported="R_f/R_b = 0.586 and 0.598",
        where="Figure 4, upper and lower row",
        known="figure",
        quantity="seconds of a forward gradient over seconds of backprop, MLP 784-1024-1024-10, "
        "batch 64, no update",
        statistic="median ratio",
        region=(0.0, 0.8),
        reason="0.8 lies midway between the paper's 0.6 and no saving at all",
        about="measurements",
        controls=(
            Control("backprop timed twice", "fail", "a program saves nothing against itself"),
            Control("function alone", "pass", "it does about a third of backprop's operations"),
        ),
        evidence=_time_evidence,
    ),
    Claim(
        id="F5b",
        study="cost",
        statement="A directional derivative in all weights takes as many operations as backprop.",
        source="derived",
        quantity="operations of jvp over those of backprop, in the products of the traced programs",
        statistic="exact",
        kind="exact",
        region=(0.95, 1.05),
        reason="the count is of products, beside which 5% stand for all other operations",
        controls=(Control("function alone", "fail", "it has no derivative to compute"),),
        evidence=_operation_evidence,
    ),
    Claim(
        id="F6a",
        study="cost",
        statement="The forward gradient's saving of time shrinks as networks get deeper.",
        source="paper",
        reported="R_f/R_b from about 0.56 at 1 layer to about 0.85 at 100",
        where="Figure 6",
        known="figure",
        quantity="slope of log(R_f/R_b) over log(hidden layers), one a round",
        statistic="median",
        region=(0.045, math.inf),
        reason="half of the rise read off the paper's figure: log(0.85/0.56)/log(100) = 0.09",
        about="measurements",
        controls=(
            Control("backprop timed twice", "fail", "its ratio to itself is 1 at every depth"),
        ),
        evidence=_depth_evidence,
    ),
    Claim(
        id="F6b",
        study="cost",
        statement="A directional derivative keeps no activations: its temporary memory does not "
        "grow with depth as backprop's does.",
        source="derived",
        quantity="temporary bytes per hidden layer of compiled jvp over those of compiled "
        f"backprop, from {SETTLED_DEPTH} layers on; the tangent, an argument, not counted",
        statistic="exact",
        kind="exact",
        region=(-0.05, 0.05),
        reason="forward mode needs no memory per layer; 5% leave room for a compiler's small ends",
        about="measurements",
        controls=(
            Control(PROJECTED, "fail", "the same derivative by way of backprop keeps activations"),
        ),
        evidence=_memory_evidence,
    ),
)
