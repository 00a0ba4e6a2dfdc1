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
of a forward gradient and of backprop over that of the function, round by round.

How. Every program is compiled into a loop that the compiler cannot shorten, so that calls of
microseconds fill a sample of many milliseconds, and its outputs are donated, so that no sample pays
for fresh memory. Programs take turns. Backprop stands in every round twice: its ratio to itself is
the noise of the measurement, and must not look like a saving.

How it could be rigged: by leaving the draw out of the forward gradient's time (it is in, and jvp
alone is printed beside it), by timing one method cold or with its memory still to be allocated, or
by comparing programs whose results differ in size (both return a gradient).
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt
from jax import lax

from jaxtrends import charts, declare, devices, estimators, flops, losses, models, stats, timing
from jaxtrends.claims import CONFIDENCE
from jaxtrends.declare import LadderView, TaskView
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

    def at(self, batch: int) -> str:
        """Its name at a batch."""
        return f"{self.name}, batch {batch}"

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


def rung(network: Network, batch: int, programs: Mapping[str, Any]) -> dict[str, Any]:
    """A network at a batch, as a rung of its width's ladder: compiled programs are its arms."""
    return {
        "task": f"width {network.width}, batch {batch}",
        "size": network.depth,
        "arms": {
            method: {"metrics": {}, "facts": compiled_costs(compiled)}
            for method, compiled in programs.items()
        },
    }


def run(config: Any, run: Run) -> StudyResult:
    """Count, compile and time every program on every network."""
    cost: Cost = config.cost
    found, load_before = networks(cost), timing.load_average()
    tasks: dict[str, Any] = {}
    turns: dict[tuple[str, str], timing.Timed] = {}
    for index, network in enumerate(run.each("compiling", found)):
        model, held = network.model, {}
        calls = {method: program(method, model) for method in METHODS}
        given = jax.block_until_ready(arguments(model, cost.batch, (config.seed, index)))
        compiled = {m: compile_repeated(calls[m], given) for m in timed(network)}
        name = network.at(cost.batch)
        tasks[name] = rung(network, cost.batch, compiled)
        for method in compiled:
            turns[name, method] = clock(calls[method], compiled[method], given, held)
        turns[name, BACKPROP_AGAIN] = turns[name, BACKPROP]
        for batch in cost.memory_batches if network.width in cost.widths else ():
            shapes = shapes_of(model, batch)
            kept = {m: compile_repeated(calls[m], shapes) for m in (JVP, BACKPROP, PROJECTED)}
            tasks[network.at(batch)] = rung(network, batch, kept)
    rounds = run.each("timing", range(cost.rounds))
    for (name, method), taken in timing.interleaved(turns, rounds, cost.sample_seconds).items():
        arm = tasks[name]["arms"].setdefault(method, {"metrics": {}, "facts": {}})
        arm["metrics"]["seconds"] = taken
    measurements = {
        "device": devices.describe(jax.local_devices()[:1]),
        "load_average": {"before": load_before, "after": timing.load_average()},
        "batch": cost.batch,
        "rounds": cost.rounds,
        "tasks": tasks,
    }
    values = {"operations": [count(network, cost.batch) for network in found]}
    return StudyResult(
        values,
        measurements=measurements,
        measured_tables=[table(values, measurements)],
        measured_figures=figures(measurements) if len(cost.depths) > 1 else [],
    )


# --- what is claimed -----------------------------------------------------------------------------

Values = Mapping[str, Any]


def against_backprop(found: Values, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of a program and of backprop, on the paper's MLP."""
    name = FIGURE_4.at(found["batch"])
    task = TaskView(name, found["tasks"][name])
    return task[method]["seconds"], task[BACKPROP]["seconds"]


def ladders(found: Values) -> list[LadderView]:
    """The networks of one width at one batch, by depth, where depth was varied; the widest last.

    Raises:
        KeyError: it never was.
    """
    several = [ladder for ladder in declare.ladders_of(found) if len(ladder) > 1]
    if not several:
        raise KeyError("two depths of one width")
    return several


def clocked(found: Values) -> dict[str, LadderView]:
    """Those that were timed, by their width."""
    end = f", batch {found['batch']}"
    every = [ladder for ladder in ladders(found) if ladder.name.endswith(end)]
    return {ladder.name.removesuffix(end): ladder for ladder in every}


def rises(ladder: LadderView, method: str) -> np.ndarray:
    """Slope of log (program / backprop) over log depth, one a round."""
    ratios = [rung[method]["seconds"] / rung[BACKPROP]["seconds"] for rung in ladder.rungs]
    return declare.slope_of([*ladder], np.log(ratios), per=math.e)


def bytes_per_layer(ladder: LadderView, method: str) -> float:
    """Growth of a program's temporary memory with depth, by least squares.

    From `SETTLED_DEPTH` on: a jvp holds two neighbouring layers and their tangents at once, which
    the shallowest networks do not have.

    Raises:
        KeyError: the backend did not tell, or there are not two such depths.
    """
    deep = [rung for rung in ladder.rungs if rung.size >= SETTLED_DEPTH]
    held = [rung[method]["temporary"] for rung in deep]
    if len(deep) < 2:
        raise KeyError("two depths from which memory grows evenly")
    return float(np.polyfit([rung.size for rung in deep], held, 1)[0])


def share(ladder: LadderView, method: str) -> float:
    """Growth of a program's memory with depth over that of backprop's."""
    return bytes_per_layer(ladder, method) / bytes_per_layer(ladder, BACKPROP)


def largest(found: Values) -> LadderView:
    """The ladder of the greatest width and batch, on which controls are measured."""
    return max(ladders(found), key=_sizes)


def _sizes(ladder: LadderView) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", ladder.name))  # width, batch


def not_kept(found: Values) -> float:
    """Share of the activations, a float a unit and example, that backprop's growth lacks."""
    ladder = largest(found)
    kept = bytes_per_layer(ladder, BACKPROP) / (4 * math.prod(_sizes(ladder)))
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
        headline=True,
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
    ),
    declare.fact(
        "F6a",
        "The forward gradient's saving of time shrinks as networks get deeper.",
        lambda found: {width: rises(ladder, GAUSSIAN) for width, ladder in clocked(found).items()},
        quantity="slope of log(R_f/R_b) over log(hidden layers), one a round",
        statistic="median",
        region=(0.045, math.inf),
        reason="half of the rise read off the paper's figure: log(0.85/0.56)/log(100) = 0.09",
        fails={
            "backprop timed twice": (
                lambda found: rises([*clocked(found).values()][-1], BACKPROP_AGAIN),
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
        lambda found: {ladder.name: share(ladder, JVP) for ladder in ladders(found)},
        quantity="temporary bytes per hidden layer of compiled jvp over those of compiled "
        f"backprop, from {SETTLED_DEPTH} layers on; the tangent, an argument, not counted",
        statistic="exact",
        region=(-0.05, 0.05),
        reason="forward mode needs no memory per layer; 5% leave room for a compiler's small ends",
        fails={
            PROJECTED: (
                lambda found: share(largest(found), PROJECTED),
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
        about="measurements",
    ),
)


# --- what is shown -------------------------------------------------------------------------------

SHOWN = (FUNCTION, GAUSSIAN, JVP, BACKPROP)


def quotients(task: Values, method: str, reference: str) -> np.ndarray:
    """Time of a program over that of another on one network, round by round."""
    return np.divide(*(task["arms"][of]["metrics"]["seconds"] for of in (method, reference)))


def _median(ratios: np.ndarray) -> str:
    return f"{stats.median({'values': ratios}, CONFIDENCE):.3g}"


def conditions(found: Values) -> str:
    """Under what noise and load the times were taken; a warning where they prove little."""
    timed = [task for task in found["tasks"].values() if BACKPROP_AGAIN in task["arms"]]
    noise = np.concatenate([quotients(task, BACKPROP_AGAIN, BACKPROP) for task in timed])
    load, cores = found["load_average"], found["device"]["cores"]
    return (
        f"Batch {found['batch']}, {found['rounds']} rounds. Backprop's time over its own, all "
        f"networks: {_median(noise)}." + timing.told_of_load(load["before"], load["after"], cores)
    )


def table(values: Values, found: Values) -> Table:
    """Time, operations and memory of every program on every network."""
    counted = {(row["depth"], row["width"]): row for row in values["operations"]}
    rows = []
    for task in found["tasks"].values():
        width, batch = map(int, re.findall(r"\d+", task["task"]))
        products = counted[task["size"], width]
        for method, arm in task["arms"].items():
            seconds = arm["metrics"].get("seconds")
            rows.append(
                {
                    "layers": task["size"],
                    "width": width,
                    "batch": batch,
                    "program": method,
                    "time [ms]": 1e3 * float(np.median(seconds)) if seconds else None,
                    "over function": _median(quotients(task, method, FUNCTION)) if seconds else "",
                    "over backprop": _median(quotients(task, method, BACKPROP)) if seconds else "",
                    "products [Mflop]": products.get(method, math.nan) / 1e6 if seconds else None,
                    "XLA [Mflop]": arm["facts"].get("operations", math.nan) / 1e6,
                    "temporary [MB]": arm["facts"].get("temporary", math.nan) / 1e6,
                    "parameters [MB]": 4 * products["parameters"] / 1e6,
                }
            )
    note = (
        f"{conditions(found)} Ratios of times are medians over rounds with their 95 % intervals. "
        "Products are those of the traced programs; XLA counts all floating-point operations of "
        "the compiled ones, and so the arithmetic of the draw, though not its random bits. "
        "Temporary memory is the compiler's figure. Every program holds the parameters besides, "
        "jvp the tangent too, backprop and forward gradients the gradient; a forward gradient's "
        "tangent is among the temporaries unless it is in the gradient's place, or drawn again. "
        f"“{PROJECTED}” computes what jvp does from backprop's gradient, and is the control."
    )
    return charts.table("cost", "Time, operations and memory of one gradient", rows, note)


def figures(found: Values) -> list[Figure]:
    """Times, R_f / R_b, and temporary memory against depth."""
    tasks = {
        rung.name: {**rung.values, "rounds": range(found["rounds"])}
        for ladder in clocked(found).values()
        for rung in ladder.rungs
    }
    shown = charts.Shown("cost", "seconds", "s", "hidden layers", tasks, {}, samples="rounds")
    climb = charts.climb(
        "seconds",
        SHOWN,
        relative_to=BACKPROP,
        y_scale="log",
        title="Time of a gradient against depth",
    )
    panels = [
        Panel(
            f"Temporary memory, {ladder.name}",
            "hidden layers",
            "temporary memory [MB]",
            [
                Series(method, [*ladder], [r[method]["temporary"] / 1e6 for r in ladder.rungs])
                for method in (GAUSSIAN, JVP, BACKPROP)
                if all(method in r and "temporary" in r[method] for r in ladder.rungs)
            ],
        )
        for ladder in ladders(found)
    ]
    told = [panel for panel in panels if panel.series]
    caption = f"Temporary bytes of the compiled programs. {conditions(found)}"
    memory = Figure("cost-memory", "Memory of a gradient against depth", caption, told)
    return [climb(shown), *([memory] if told else [])]
