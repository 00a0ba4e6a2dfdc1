"""The cost of a forward gradient against backprop: FLOPs, memory and time (claims F5 and F6).

The three are reported separately. *FLOPs* are counted, not timed: those of every matrix product in
the traced program, next to XLA's count for the compiled program where it has one. *Memory* is what
XLA reports for the compiled program. *Time* is measured, and is meaningful only on an otherwise
idle machine.

What to expect. A dense layer of n inputs and m outputs on a batch of N takes one product of 2Nnm
FLOPs to evaluate. Backprop adds two: the gradient of the weights and that of the layer's inputs.
The derivative along a tangent V of the weights W also adds two: x V and, because x changes too,
dx W. The first layer needs neither an input gradient nor dx, so both methods save the same product.
Function, directional derivative and gradient therefore cost 1 : 3 : 3 in a deep network and
1 : 2 : 2 in a single layer. The ratio of the last two is exactly one: with one compiler for all
three, arithmetic cannot give R_f / R_b near 0.6. The paper compares its own forward-mode engine
(operator overloading) with a stock reverse mode, so its ratio compares two implementations. A
forward gradient also draws its tangent. That is not a product and is in none of these counts. Its
cost per parameter does not depend on the batch, so it matters most for small batches, and for
shallow networks, whose backprop is cheapest per parameter.

What forward mode does save is memory: it drops a layer's activations once the next layer has used
them, while backprop keeps them all. The net saving depends on the tangent, which is as large as
the parameters. As an argument, which is how jvp takes it here, it is an extra copy that backprop
does not need; a program that draws it may overwrite it with the gradient. At a small batch one
copy of the parameters is larger than all activations, so the table says which programs hold one.

What is timed. ``function`` is the loss on one batch; ``backprop`` the loss and its gradient;
``forward gradient`` the loss and the estimate, from drawing the tangent (Gaussian as in the paper,
or random signs) to the last product d v; ``jvp`` the loss and the derivative along a given tangent,
without draw and product. Parameter updates are not timed. R_f and R_b are the times of a forward
gradient and of backprop divided by that of the function, process by process.

How. Every program is compiled into a loop that the compiler cannot shorten, so that calls of
microseconds fill a sample of many milliseconds. Its outputs are donated, so that no sample pays
for fresh memory. Programs are interleaved in rounds, and the whole is repeated in several
processes: intervals are over these, each with its median over rounds. Backprop is timed twice in
every round: its ratio to itself is the measurement noise, and must not look like a saving.

How it could be rigged: by leaving the draw out of the forward gradient's time (it is included, and
jvp alone is shown next to it), by timing one method cold or before its memory is allocated, or
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
    """Also time the paper's MLP, with two hidden layers of 1024."""
    batch: PositiveInt = 64
    """Batch size for timing."""
    memory_batches: Annotated[tuple[int, ...], Gt(0)] = (1024,)
    """Further batch sizes; programs are only compiled for these, to read their memory."""
    rounds: PositiveInt = 5
    """Timed samples of each program in each process."""
    processes: PositiveInt = 5
    """Processes, over which intervals are taken."""
    sample_seconds: PositiveFloat = 0.01
    """Length of a sample in seconds; shorter programs are repeated to fill it."""


SMOKE = Cost(
    depths=(1,),
    widths=(32,),
    figure_4=False,
    memory_batches=(),
    rounds=3,
    processes=2,
    sample_seconds=0.001,
)
FULL = Cost(depths=(1, 2, 4, 8, 16, 40), widths=(256, 512, 1024), sample_seconds=0.02)


# --- the programs --------------------------------------------------------------------------------


class Network(NamedTuple):
    """An MLP for MNIST-shaped inputs: hidden layers of equal width, with ReLU."""

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

    Random signs are timed on Figure 4's network alone: the paper draws Gaussian tangents, and
    programs that draw random numbers dominate this study's compile time.
    """
    signs = (RADEMACHER,) if network == FIGURE_4 else ()
    return (FUNCTION, JVP, GAUSSIAN, *signs, BACKPROP)


def _projected(loss: Any, params: Any, tangent: Any, key: jax.Array) -> tuple[Any, Any]:
    """The result of jvp from backprop's gradient, as one public port computes forward gradients."""
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
    """Random arguments for a program; no cost depends on their values.

    Weights have He's scale, which keeps the activations of a deep network from vanishing
    (denormal numbers would be slow).
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
    """FLOPs of function, jvp and backprop, counted over their matrix products."""
    model = network.model
    shapes = shapes_of(model, batch)
    counted = {m: int(flops.count(program(m, model), *shapes)) for m in (FUNCTION, JVP, BACKPROP)}
    return network._asdict() | {"parameters": models.count_parameters(shapes[1]), **counted}


# --- the timing loop -----------------------------------------------------------------------------


def repeated(call: Program) -> Program:
    """Jit a loop of calls: (count, arguments, outputs) -> outputs of the last call.

    ``outputs`` is donated: it is memory for every iteration to write into; its values are not used.
    Every iteration has a new key, and the other arguments reach it through a barrier, so that the
    compiler must treat them as new too. (A barrier on arguments that the loop passes on unchanged
    does not help: the whole program is then hoisted out of the loop.)
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
    """The compiler's figures for a program in its loop: ``temporary`` bytes and ``operations``.

    ``temporary`` is the peak besides arguments and outputs, including a few hundred bytes for the
    loop. ``operations`` are those of one iteration, since the compiler does not know how many there
    are. Both are best effort: what a backend does not report is left out.
    """
    memory = compiled.memory_analysis()
    costs = {"operations": (compiled.cost_analysis() or {}).get("flops")}
    costs["temporary"] = getattr(memory, "temp_size_in_bytes", None)
    return {name: int(value) for name, value in costs.items() if value is not None}


def zeros(shapes: Any) -> Any:
    """Arrays of zeros in the shapes and dtypes given."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def clock(call: Program, compiled: Any, given: Any, held: dict[Any, Any]) -> timing.Timed:
    """Time a compiled program, which writes into memory ``held`` by all with the same output."""
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
    """The networks to count and time, without duplicates."""
    grid = [Network(depth, width) for width in cost.widths for depth in cost.depths]
    return list(dict.fromkeys(grid + [FIGURE_4] * cost.figure_4))


def rung(network: Network, batch: int, programs: Mapping[str, Any]) -> dict[str, Any]:
    """A network at a batch size, a rung of its width's ladder; its arms are compiled programs."""
    return {
        "task": f"width {network.width}, batch {batch}",
        "size": network.depth,
        "arms": {
            method: {"metrics": {}, "facts": compiled_costs(compiled)}
            for method, compiled in programs.items()
        },
    }


def seconds(asked: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Network -> program -> its median seconds in this process: see `jaxtrends.timing`."""
    cost = Cost(**{name: asked[name] for name in TIMED_BY})
    turns: dict[tuple[str, str], timing.Timed] = {}
    for index, network in enumerate(networks(cost)):
        held: dict[Any, Any] = {}
        given = jax.block_until_ready(arguments(network.model, cost.batch, (asked["seed"], index)))
        for method in timed(network):
            call = program(method, network.model)
            turns[network.name, method] = clock(call, compile_repeated(call, given), given, held)
        turns[network.name, BACKPROP_AGAIN] = turns[network.name, BACKPROP]
    found: dict[str, dict[str, float]] = {}
    taken = timing.interleaved(turns, range(cost.rounds), cost.sample_seconds)
    for (name, method), samples in taken.items():
        found.setdefault(name, {})[method] = float(np.median(samples))
    return found


TIMED_BY = ("depths", "widths", "figure_4", "batch", "rounds", "sample_seconds")  # of `Cost`


def run(config: Any, run: Run) -> StudyResult:
    """Count and compile every program on every network, and time them in several processes."""
    cost: Cost = config.cost
    found, load_before = networks(cost), timing.load_average()
    tasks: dict[str, Any] = {}
    for network in run.each("compiling", found):
        calls = {method: program(method, network.model) for method in METHODS}
        batches = cost.memory_batches if network.width in cost.widths else ()
        for batch in (cost.batch, *batches):
            shapes = shapes_of(network.model, batch)
            further = timed(network) if batch == cost.batch else (JVP, BACKPROP)
            methods = (*further, PROJECTED)
            compiled = {m: compile_repeated(calls[m], shapes) for m in methods}
            tasks[network.at(batch)] = rung(network, batch, compiled)
    asked = {**{name: getattr(cost, name) for name in TIMED_BY}, "seed": config.seed}
    each = run.each("timing, processes", range(cost.processes))
    taken = timing.over_processes(f"{__name__}:seconds", asked, each)
    for network in found:
        arms = tasks[network.at(cost.batch)]["arms"]
        for method in taken[0][network.name]:
            arm = arms.setdefault(method, {"metrics": {}, "facts": {}})
            arm["metrics"]["seconds"] = [process[network.name][method] for process in taken]
    measurements = {
        "device": devices.describe(jax.local_devices()[:1]),
        "load_average": {"before": load_before, "after": timing.load_average()},
        "batch": cost.batch,
        "rounds": cost.rounds,
        "processes": list(range(cost.processes)),
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
    """The networks of each width and batch by depth, where depth was varied; the widest last.

    Raises:
        KeyError: depth was not varied.
    """
    several = [ladder for ladder in declare.ladders_of(found) if len(ladder) > 1]
    if not several:
        raise KeyError("two depths of one width")
    return several


def clocked(found: Values) -> dict[str, LadderView]:
    """The ladders that were timed, by width."""
    end = f", batch {found['batch']}"
    every = [ladder for ladder in ladders(found) if ladder.name.endswith(end)]
    return {ladder.name.removesuffix(end): ladder for ladder in every}


def rises(ladder: LadderView, method: str) -> np.ndarray:
    """Slope of log (program / backprop) over log depth, one a process."""
    ratios = [rung[method]["seconds"] / rung[BACKPROP]["seconds"] for rung in ladder.rungs]
    return declare.slope_of([*ladder], np.log(ratios), per=math.e)


def bytes_per_layer(ladder: LadderView, method: str) -> float:
    """Growth of a program's temporary memory with depth, by least squares.

    From `SETTLED_DEPTH` on: a jvp holds two neighbouring layers and their tangents at once, and the
    shallowest networks do not have as many.

    Raises:
        KeyError: the backend did not report it, or there are fewer than two such depths.
    """
    deep = [rung for rung in ladder.rungs if rung.size >= SETTLED_DEPTH]
    held = [rung[method]["temporary"] for rung in deep]
    if len(deep) < 2:
        raise KeyError(f"two depths of {SETTLED_DEPTH} layers or more")
    return float(np.polyfit([rung.size for rung in deep], held, 1)[0])


def share(ladder: LadderView, method: str) -> float:
    """Growth of a program's memory with depth, relative to backprop's."""
    return bytes_per_layer(ladder, method) / bytes_per_layer(ladder, BACKPROP)


def _sizes(ladder: LadderView) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", ladder.name))  # width, batch


def not_kept(ladder: LadderView) -> float:
    """Share of the activations (a float per unit and example) missing from backprop's growth."""
    kept = bytes_per_layer(ladder, BACKPROP) / (4 * math.prod(_sizes(ladder)))
    return max(0.0, 1 - kept)


LAWS = {"gaussian": GAUSSIAN, "signs": RADEMACHER}  # of tangents, in the paper's network
CLAIMS = (
    declare.fact(
        "F5a",
        "A forward gradient takes much less time than backprop.",
        lambda found: {law: against_backprop(found, method) for law, method in LAWS.items()},
        quantity="time of a forward gradient / time of backprop, MLP 784-1024-1024-10, without the "
        "update, over processes; the presets use the paper's batch of 64",
        statistic="paired ratio",
        region=(0.0, 0.8),
        reason="0.8 is midway between the paper's 0.6 and no saving",
        fails={
            "backprop timed twice": (
                lambda found: dict.fromkeys(LAWS, against_backprop(found, BACKPROP_AGAIN)),
                "a program cannot be faster than itself; it would be if whatever is timed later "
                "in a round found the machine in another state",
            )
        },
        passes={
            "function alone": (
                lambda found: dict.fromkeys(LAWS, against_backprop(found, FUNCTION)),
                "it takes about a third of backprop's FLOPs; a loop that the compiler removed "
                "would hide that",
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
        "A directional derivative in all weights takes as many FLOPs as backprop.",
        lambda values: {
            Network(row["depth"], row["width"]).name: row[JVP] / row[BACKPROP]
            for row in values["operations"]
        },
        quantity="FLOPs of jvp / FLOPs of backprop, matrix products of the traced programs",
        statistic="exact",
        region=(0.95, 1.05),
        reason="only matrix products are counted; 5% allow for all other operations",
        fails={
            "function alone": (
                lambda values: {
                    Network(row["depth"], row["width"]).name: row[FUNCTION] / row[BACKPROP]
                    for row in values["operations"]
                },
                "it computes no derivative; a count that stops at the function would not see it",
            )
        },
    ),
    declare.fact(
        "F6a",
        "The forward gradient's time saving shrinks as networks get deeper.",
        lambda found: {width: rises(ladder, GAUSSIAN) for width, ladder in clocked(found).items()},
        quantity="slope of log(R_f/R_b) against log(hidden layers), one per process",
        statistic="mean",
        region=(0.045, math.inf),
        reason="half the slope read off the paper's figure, log(0.85/0.56)/log(100) = 0.09",
        fails={
            "backprop timed twice": (
                lambda found: {
                    width: rises(ladder, BACKPROP_AGAIN) for width, ladder in clocked(found).items()
                },
                "its ratio to itself is 1 at every depth; times that drift over a round are not",
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
        "A directional derivative stores no activations, so its temporary memory does not grow "
        "with depth as backprop's does.",
        lambda found: {ladder.name: share(ladder, JVP) for ladder in ladders(found)},
        quantity="temporary bytes per hidden layer, compiled jvp / compiled backprop, from "
        f"{SETTLED_DEPTH} layers on; the tangent is an argument and not counted",
        statistic="exact",
        region=(-0.05, 0.05),
        reason="forward mode needs no memory per layer; 5% allow for small compiler buffers",
        fails={
            PROJECTED: (
                lambda found: {ladder.name: share(ladder, PROJECTED) for ladder in ladders(found)},
                "the same derivative computed by backprop stores activations",
            )
        },
        passes={
            "activations that backprop does not keep": (
                lambda found: {ladder.name: not_kept(ladder) for ladder in ladders(found)},
                "the compiler's report must include backprop's activations; XLA's report for a GPU "
                "leaves them out for networks of this size, and then nothing can be compared",
            )
        },
        about="measurements",
    ),
)


# --- what is shown -------------------------------------------------------------------------------

SHOWN = (FUNCTION, GAUSSIAN, JVP, BACKPROP)


def quotients(task: Values, method: str, reference: str) -> np.ndarray:
    """Time of one program over another's on one network, process by process."""
    return np.divide(*(task["arms"][of]["metrics"]["seconds"] for of in (method, reference)))


def _mean(ratios: np.ndarray) -> str:
    return f"{stats.mean({'values': ratios}, CONFIDENCE):.3g}"


def conditions(found: Values) -> str:
    """The noise and load during the timing, with a warning where the times prove little."""
    timed = [task for task in found["tasks"].values() if BACKPROP_AGAIN in task["arms"]]
    noise = np.concatenate([quotients(task, BACKPROP_AGAIN, BACKPROP) for task in timed])
    load, cores = found["load_average"], found["device"]["cores"]
    return (
        f"Batch {found['batch']}, {len(found['processes'])} processes of {found['rounds']} rounds. "
        f"Backprop timed twice, ratio over all networks: {_mean(noise)}."
        + timing.told_of_load(load["before"], load["after"], cores)
    )


def table(values: Values, found: Values) -> Table:
    """Time, FLOPs and memory of every program on every network."""
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
                    "over function": _mean(quotients(task, method, FUNCTION)) if seconds else "",
                    "over backprop": _mean(quotients(task, method, BACKPROP)) if seconds else "",
                    "products [Mflop]": products.get(method, math.nan) / 1e6 if seconds else None,
                    "XLA [Mflop]": arm["facts"].get("operations", math.nan) / 1e6,
                    "temporary [MB]": arm["facts"].get("temporary", math.nan) / 1e6,
                    "parameters [MB]": 4 * products["parameters"] / 1e6,
                }
            )
    note = (
        f"{conditions(found)} Time ratios are means over processes with 95% intervals. Products "
        "are the matrix products of the traced programs. XLA counts all FLOPs of the compiled "
        "programs, including the arithmetic of the draw but not its random bits. Temporary memory "
        "is the compiler's figure. In addition, every program holds the parameters, jvp also the "
        "tangent, backprop and forward gradients also the gradient. A forward gradient's tangent "
        "counts as temporary unless the gradient overwrites it or it is drawn again. "
        f"“{PROJECTED}” computes jvp's result from backprop's gradient; it is the control."
    )
    return charts.table("cost", "Time, FLOPs and memory of one gradient", rows, note)


def figures(found: Values) -> list[Figure]:
    """Times, R_f / R_b and temporary memory against depth."""
    tasks = {
        rung.name: {**rung.values, "processes": found["processes"]}
        for ladder in clocked(found).values()
        for rung in ladder.rungs
    }
    shown = charts.Shown("cost", "seconds", "s", "hidden layers", tasks, {}, samples="processes")
    climb = charts.climb(
        "seconds",
        SHOWN,
        relative_to=BACKPROP,
        y_scale="log",
        title="Time of one gradient against depth",
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
    caption = f"Temporary memory of the compiled programs. {conditions(found)}"
    memory = Figure("cost-memory", "Memory of one gradient against depth", caption, told)
    return [climb(shown), *([memory] if told else [])]
