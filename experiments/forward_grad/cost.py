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
milliseconds; outputs are donated, so that no sample pays for fresh memory. Programs take turns in
rounds that begin with each in turn (`jaxtrends.timing.interleaved`). Ratios are taken within a
round, and the medians and quartiles over rounds are reported.
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
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt
from jax import lax

from jaxtrends import charts, declare, devices, estimators, flops, losses, models, timing
from jaxtrends.settings import PositiveFloat, PositiveInt, Sizes
from jaxtrends.study import Figure, Panel, Run, Series, StudyResult, Table

FEATURES, CLASSES = 784, 10  # of MNIST
FUNCTION, JVP, BACKPROP = "function", "jvp", "backprop"
GAUSSIAN, RADEMACHER = "forward gradient, gaussian", "forward gradient, rademacher"
BACKPROP_AGAIN = "backprop again"  # the same program, timed as if it were another one
PROJECTED = "backprop, projected"
SETTLED_DEPTH = 4  # hidden layers from which the memory of a jvp is that of a deep network


@dataclass(frozen=True)
class Cost:
    """What is counted, compiled and timed."""

    depths: Sizes = (1, 4, 16)
    """Hidden layers of the networks."""
    widths: Sizes = (256,)
    """Units of a hidden layer; every width is run at every depth."""
    figure_4: bool = True
    """Whether the paper's MLP of two hidden layers of 1024 is timed as well."""
    batch: PositiveInt = 64
    """Examples in a batch that is timed."""
    memory_batches: Annotated[tuple[int, ...], Gt(0)] = (1024,)
    """Examples in further batches, for which programs are compiled, to see their memory, only."""
    rounds: PositiveInt = 19
    """Samples of every program."""
    sample_seconds: PositiveFloat = 0.01
    """Duration of a sample: shorter programs are repeated within it."""


SMOKE = Cost(
    depths=(1,), widths=(32,), figure_4=False, memory_batches=(), rounds=7, sample_seconds=0.001
)
FULL = Cost(depths=(1, 2, 4, 8, 16, 40), widths=(256, 512, 1024), sample_seconds=0.02)


# --- the programs --------------------------------------------------------------------------------


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


def shapes_of(model: models.Model, batch: int) -> tuple[Any, ...]:
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

    _, params, tangent, inputs, _ = shapes_of(model, batch)
    params, tangent, inputs = (jax.tree.map(draw, tree) for tree in (params, tangent, inputs))
    labels = jnp.asarray(generator.integers(CLASSES, size=batch), jnp.int32)
    return jax.random.key(int(generator.integers(2**31))), params, tangent, inputs, labels


def count(network: Network, batch: int) -> dict[str, Any]:
    """The operations of function, jvp and backprop, counted in their products."""
    model = network.model
    shapes = shapes_of(model, batch)
    counted = {m: int(flops.count(program(m, model), *shapes)) for m in (FUNCTION, JVP, BACKPROP)}
    return network._asdict() | {"parameters": models.count_parameters(shapes[1]), **counted}


# --- the loop that they run in -------------------------------------------------------------------


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


def clock(call: Program, compiled: Any, given: Any, held: dict[Any, Any]) -> timing.Timed:
    """Turns of a compiled program, into memory ``held`` for all programs of equal output."""
    shapes = jax.eval_shape(call, *given)
    structure = jax.tree.structure(shapes)
    held.setdefault(structure, zeros(shapes))

    def run(count: int) -> float:
        turns, outputs = jax.block_until_ready(jnp.int32(count)), held[structure]
        started = time.perf_counter()
        held[structure] = jax.block_until_ready(compiled(turns, given, outputs))
        return time.perf_counter() - started

    return run


# --- the study -----------------------------------------------------------------------------------


def networks(cost: Cost) -> list[Network]:
    """Every network that is counted and timed, each once."""
    grid = [Network(depth, width) for width in cost.widths for depth in cost.depths]
    return list(dict.fromkeys(grid + [FIGURE_4] * cost.figure_4))


def compiled_row(network: Network, batch: int, method: str, compiled: Any) -> dict[str, Any]:
    """`compiled_costs` with what they are the costs of."""
    return network._asdict() | {"batch": batch, "program": method} | compiled_costs(compiled)


def memory(network: Network, batch: int) -> list[dict[str, Any]]:
    """What the compiler says of jvp, of backprop and of the control, at a batch not timed."""
    model = network.model
    shapes = shapes_of(model, batch)
    return [
        compiled_row(network, batch, method, compile_repeated(program(method, model), shapes))
        for method in (JVP, BACKPROP, PROJECTED)
    ]


def load_average() -> float | None:
    """Processes that wanted to run, averaged over the last minute; None where nobody counts."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def run(config: Any, run: Run) -> StudyResult:
    """Count, compile and time every program on every network."""
    cost: Cost = config.cost
    found, load_before = networks(cost), load_average()
    turns: dict[tuple[str, str], timing.Timed] = {}
    rows = []
    for index, network in enumerate(run.each("compiling", found)):
        model, held = network.model, {}
        given = jax.block_until_ready(arguments(model, cost.batch, (config.seed, index)))
        for method in timed(network):
            call = program(method, model)
            compiled = compile_repeated(call, given)
            turns[network.name, method] = clock(call, compiled, given, held)
            rows.append(compiled_row(network, cost.batch, method, compiled))
        turns[network.name, BACKPROP_AGAIN] = turns[network.name, BACKPROP]
        for batch in cost.memory_batches if network.width in cost.widths else ():
            rows += memory(network, batch)
    rounds = run.each("timing", range(cost.rounds))
    samples = timing.interleaved(turns, rounds, cost.sample_seconds)
    seconds: dict[str, dict[str, list[float]]] = {network.name: {} for network in found}
    for (name, method), taken in samples.items():
        seconds[name][method] = taken
    values = {"operations": [count(network, cost.batch) for network in found]}
    measurements = {
        "device": devices.describe(jax.local_devices()[:1]),
        "load_average": {"before": load_before, "after": load_average()},
        "batch": cost.batch,
        "networks": [{"name": network.name} | network._asdict() for network in found],
        "compiled": rows,
        "seconds": seconds,
    }
    return StudyResult(
        values,
        measurements=measurements,
        measured_tables=[
            time_table(measurements),
            operation_table(values, measurements),
            *([memory_table(values, measurements)] if cost.memory_batches else []),
        ],
        measured_figures=[cost_figure(values, measurements)] if len(cost.depths) > 1 else [],
    )


# --- what is read off ----------------------------------------------------------------------------

Values = Mapping[str, Any]


def quotients(seconds: Mapping[str, Sequence[float]], method: str, reference: str) -> np.ndarray:
    """Time of a program over that of another on one network, round by round."""
    return np.asarray(seconds[method]) / np.asarray(seconds[reference])


def against_depth(
    measurements: Values, width: int, method: str, reference: str = BACKPROP
) -> tuple[list[int], np.ndarray]:
    """Depths of the networks of one width, rising; and `quotients` on them, (depths, rounds)."""
    found = [network for network in measurements["networks"] if network["width"] == width]
    found.sort(key=lambda network: network["depth"])
    seconds = [measurements["seconds"][network["name"]] for network in found]
    ratios = [quotients(of, method, reference) for of in seconds]
    return [network["depth"] for network in found], np.array(ratios)


def temporaries(measurements: Values, method: str, width: int, batch: int) -> dict[int, int]:
    """Depth -> temporary bytes of a program, as far as the backend told."""
    return {
        row["depth"]: row["temporary"]
        for row in sorted(measurements["compiled"], key=lambda row: row["depth"])
        if (row["program"], row["width"], row["batch"]) == (method, width, batch)
        and "temporary" in row
    }


def bytes_per_layer(measurements: Values, method: str, width: int, batch: int) -> float:
    """Growth of a program's temporary memory with depth, by least squares.

    From `SETTLED_DEPTH` on: a jvp holds two neighbouring layers and their tangents at once, which
    the shallowest networks do not have.

    Raises:
        KeyError: the backend did not tell, or there are not two such depths.
    """
    held = temporaries(measurements, method, width, batch)
    deep = [depth for depth in held if depth >= SETTLED_DEPTH]
    if len(deep) < 2:
        raise KeyError("two depths whose memory is known")
    return float(np.polyfit(deep, [held[depth] for depth in deep], 1)[0])


def widths_of_several_depths(measurements: Values) -> list[int]:
    """The widths at which depth was varied, in increasing order.

    Raises:
        KeyError: there are none.
    """
    every = [network["width"] for network in measurements["networks"]]
    widths = sorted({width for width in every if every.count(width) > 1})
    if not widths:
        raise KeyError("two depths of one width")
    return widths


def batches(measurements: Values) -> list[int]:
    """The batches that programs were compiled for."""
    return sorted({row["batch"] for row in measurements["compiled"]})


# --- what is claimed -----------------------------------------------------------------------------


def against_backprop(measurements: Values, method: str) -> tuple[list[float], list[float]]:
    """Seconds of a program and of backprop, on the paper's MLP."""
    seconds = measurements["seconds"][FIGURE_4.name]
    return seconds[method], seconds[BACKPROP]


def rises(measurements: Values, method: str, width: int) -> np.ndarray:
    """Slope of log (program / backprop) over log depth, one a round."""
    depths, ratios = against_depth(measurements, width, method)
    return declare.slope_of(depths, np.log(ratios), per=math.e)


def share(measurements: Values, method: str, width: int, batch: int) -> float:
    """Growth of a program's memory with depth over that of backprop's."""
    mine, backprop = (bytes_per_layer(measurements, of, width, batch) for of in (method, BACKPROP))
    return mine / backprop


def largest(measurements: Values) -> tuple[int, int]:
    """The greatest width and batch, on which controls are measured."""
    return widths_of_several_depths(measurements)[-1], batches(measurements)[-1]


def not_kept(measurements: Values) -> float:
    """Share of the activations, a float a unit and example, that backprop's growth lacks."""
    width, batch = largest(measurements)
    kept = bytes_per_layer(measurements, BACKPROP, width, batch) / (4 * width * batch)
    return max(0.0, 1 - kept)


CLAIMS = (
    declare.fact(
        "F5a",
        "A forward gradient takes much less time than backprop.",
        lambda found: {
            "gaussian": against_backprop(found, GAUSSIAN),
            "signs": against_backprop(found, RADEMACHER),
        },
        quantity="seconds of a forward gradient over seconds of backprop, MLP 784-1024-1024-10, "
        "no update; the paper's batch is 64, as in the presets",
        statistic="median ratio",
        region=(0.0, 0.8),
        reason="0.8 lies midway between the paper's 0.6 and no saving at all",
        fails={
            "backprop timed twice": (
                lambda found: against_backprop(found, BACKPROP_AGAIN),
                "a program saves nothing against itself",
            )
        },
        passes={
            "function alone": (
                lambda found: against_backprop(found, FUNCTION),
                "it does about a third of backprop's operations",
            )
        },
        reported="R_f/R_b = 0.586 and 0.598",
        where="Figure 4, upper and lower row",
        known="figure",
        about="measurements",
        source="paper",
    ),
    declare.fact(
        "F5b",
        "A directional derivative in all weights takes as many operations as backprop.",
        lambda values: {
            Network(row["depth"], row["width"]).name: row[JVP] / row[BACKPROP]
            for row in values["operations"]
        },
        quantity="operations of jvp over those of backprop, in the products of the traced programs",
        statistic="exact",
        region=(0.95, 1.05),
        reason="the count is of products, beside which 5% stand for all other operations",
        fails={
            "function alone": (
                lambda values: (
                    values["operations"][-1][FUNCTION] / values["operations"][-1][BACKPROP]
                ),
                "it has no derivative to compute",
            )
        },
        source="derived",
    ),
    declare.fact(
        "F6a",
        "The forward gradient's saving of time shrinks as networks get deeper.",
        lambda found: {
            f"width {width}": rises(found, GAUSSIAN, width)
            for width in widths_of_several_depths(found)
        },
        quantity="slope of log(R_f/R_b) over log(hidden layers), one a round",
        statistic="median",
        region=(0.045, math.inf),
        reason="half of the rise read off the paper's figure: log(0.85/0.56)/log(100) = 0.09",
        fails={
            "backprop timed twice": (
                lambda found: rises(found, BACKPROP_AGAIN, widths_of_several_depths(found)[-1]),
                "its ratio to itself is 1 at every depth",
            )
        },
        reported="R_f/R_b from about 0.56 at 1 layer to about 0.85 at 100",
        where="Figure 6",
        known="figure",
        about="measurements",
        source="paper",
    ),
    declare.fact(
        "F6b",
        "A directional derivative keeps no activations: its temporary memory does not grow with "
        "depth as backprop's does.",
        lambda found: {
            f"width {width}, batch {batch}": share(found, JVP, width, batch)
            for width in widths_of_several_depths(found)
            for batch in batches(found)
        },
        quantity="temporary bytes per hidden layer of compiled jvp over those of compiled "
        f"backprop, from {SETTLED_DEPTH} layers on; the tangent, an argument, not counted",
        statistic="exact",
        region=(-0.05, 0.05),
        reason="forward mode needs no memory per layer; 5% leave room for a compiler's small ends",
        fails={
            PROJECTED: (
                lambda found: share(found, PROJECTED, *largest(found)),
                "the same derivative by way of backprop keeps activations",
            )
        },
        passes={
            "activations that backprop does not keep": (
                not_kept,
                "what a compiler reports must hold backprop's activations: XLA's report for a GPU "
                "holds none for networks of this size, so that nothing can be compared",
            )
        },
        source="derived",
        about="measurements",
    ),
)


# --- what is shown -------------------------------------------------------------------------------

LABELS = {GAUSSIAN: "forward gradient", JVP: "jvp alone", BACKPROP: "backprop"}
QUARTILES = (0.25, 0.5, 0.75)


def _spread(values: np.ndarray) -> str:
    low, middle, high = np.quantile(values, QUARTILES)
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def conditions(measurements: Values) -> str:
    """Under what noise and load the times were taken; a warning where they prove little."""
    load, cores = measurements["load_average"], measurements["device"]["cores"]
    noise = [quotients(s, BACKPROP_AGAIN, BACKPROP) for s in measurements["seconds"].values()]
    text = (
        f"Batch {measurements['batch']}. Medians over rounds, quartiles in brackets. "
        f"Backprop's time over its own, all networks: {_spread(np.concatenate(noise))}."
    )
    if None in load.values():
        return text
    text += (
        f" Load average {load['before']:.1f} before and {load['after']:.1f} after, {cores} cores."
    )
    # This process alone keeps every core busy, and its own threads at times wait for one.
    if max(load.values()) > cores + 0.5:
        text += " Warning: the machine was not idle; the times prove nothing."
    return text


def time_table(measurements: Values) -> Table:
    """R_f, R_b and their quotient for every network and law of tangents."""
    rows = [
        {
            "layers": network["depth"],
            "width": network["width"],
            "tangent": law,
            "f [ms]": 1e3 * float(np.median(seconds[FUNCTION])),
            "R_f": _spread(quotients(seconds, method, FUNCTION)),
            "R_b": _spread(quotients(seconds, BACKPROP, FUNCTION)),
            "R_f / R_b": _spread(quotients(seconds, method, BACKPROP)),
            "jvp alone / R_b": _spread(quotients(seconds, JVP, BACKPROP)),
        }
        for network in measurements["networks"]
        for seconds in [measurements["seconds"][network["name"]]]
        for method, law in ((GAUSSIAN, "gaussian"), (RADEMACHER, "signs"))
        if method in seconds
    ]
    title = "Time of a forward gradient (R_f) and of backprop (R_b) over that of the function"
    return charts.table("cost_time", title, rows, conditions(measurements))


def operation_table(values: Values, measurements: Values) -> Table:
    """Operations counted in products beside XLA's count, in units of the function's."""
    told = {
        (row["depth"], row["width"], row["program"]): row.get("operations", math.nan)
        for row in measurements["compiled"]
        if row["batch"] == measurements["batch"]
    }

    def xla(row: Values, method: str) -> float:
        network = row["depth"], row["width"]
        return told[*network, method] / told[*network, FUNCTION]

    rows = [
        {
            "layers": row["depth"],
            "width": row["width"],
            "parameters": row["parameters"],
            "f [Mflop]": row[FUNCTION] / 1e6,
            "jvp / f": row[JVP] / row[FUNCTION],
            "backprop / f": row[BACKPROP] / row[FUNCTION],
            "XLA: jvp / f": xla(row, JVP),
            "XLA: forward gradient / f": xla(row, GAUSSIAN),
            "XLA: backprop / f": xla(row, BACKPROP),
        }
        for row in values["operations"]
    ]
    note = (
        "Counted in the matrix products of the traced programs; XLA counts all floating-point "
        "operations of the compiled ones, and so the arithmetic of the draw, though not its "
        "random bits."
    )
    title = "Operations of one gradient over those of the function"
    return charts.table("cost_operations", title, rows, note)


def memory_table(values: Values, measurements: Values) -> Table:
    """Memory of every program at the least and the greatest depth, and its growth between."""
    sizes = {(row["depth"], row["width"]): 4 * row["parameters"] for row in values["operations"]}
    rows = []
    for method, width, batch in dict.fromkeys(
        (row["program"], row["width"], row["batch"]) for row in measurements["compiled"]
    ):
        try:
            growth = bytes_per_layer(measurements, method, width, batch)
            of_backprop = share(measurements, method, width, batch)
        except KeyError:  # one depth only, or the backend did not tell
            continue
        held = temporaries(measurements, method, width, batch)
        least, most = min(held), max(held)
        copies = 1 if method == FUNCTION else 2
        rows.append(
            {
                "width": width,
                "batch": batch,
                "layers": f"{least} to {most}",
                "program": method,
                "temporary, shallowest [MB]": held[least] / 1e6,
                "temporary, deepest [MB]": held[most] / 1e6,
                "parameter copies, deepest [MB]": copies * sizes[most, width] / 1e6,
                "temporary per layer [kB]": growth / 1e3,
                "share of backprop's": of_backprop,
            }
        )
    note = (
        "Temporary memory is the compiler's figure. Parameter copies are counted: every program "
        "holds the parameters, jvp the tangent too, backprop and forward gradients the gradient. "
        "A forward gradient's tangent is among the temporaries unless it is in the gradient's "
        f"place, or drawn again. Growth is taken from {SETTLED_DEPTH} layers on. "
        f"'{PROJECTED}' computes what jvp does from backprop's gradient, and is the control."
    )
    return charts.table("cost_memory", "Memory of the compiled programs", rows, note)


def _ratios(
    measurements: Values, label: str, width: int, method: str, reference: str = BACKPROP
) -> Series:
    """`quotients` against depth: their medians, in a band of their quartiles."""
    depths, ratios = against_depth(measurements, width, method, reference)
    low, middle, high = np.quantile(ratios, QUARTILES, axis=1)
    return Series(label, depths, list(middle), list(low), list(high))


def cost_figure(values: Values, measurements: Values) -> Figure:
    """Times and temporary memory against depth."""
    widths = widths_of_several_depths(measurements)
    widest, batch = widths[-1], measurements["batch"]
    counted = sorted(
        (row["depth"], row[JVP] / row[FUNCTION])
        for row in values["operations"]
        if row["width"] == widest
    )
    over_function = [_ratios(measurements, LABELS[m], widest, m, FUNCTION) for m in LABELS]
    theory = Series("operations, jvp and backprop", *zip(*counted, strict=True), style="theory")
    over_backprop = [_ratios(measurements, f"width {w}", w, GAUSSIAN) for w in widths]
    layers, y_label = "hidden layers", "time over that of the function (R_f, R_b)"
    panels = [
        Panel(f"Width {widest}, batch {batch}", layers, y_label, [*over_function, theory], "log"),
        Panel(
            "Forward gradient over backprop",
            layers,
            "R_f / R_b",
            over_backprop,
            "log",
            threshold=1.0,
            threshold_label="no saving",
        ),
    ]
    for batch in batches(measurements):
        memory = [
            Series(label, list(held), [size / 1e6 for size in held.values()])
            for method, label in LABELS.items()
            if (held := temporaries(measurements, method, widest, batch))
        ]
        title = f"Temporary memory, width {widest}, batch {batch}"
        panels += [Panel(title, layers, "temporary memory [MB]", memory)] if memory else []
    caption = "Bands are quartiles over rounds. " + conditions(measurements)
    return Figure("cost", "What a gradient costs against depth", caption, panels)
