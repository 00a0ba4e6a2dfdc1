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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import numpy as np
from annotated_types import Gt

from experiments.forward_grad.cost_programs import (
    BACKPROP,
    BACKPROP_AGAIN,
    FIGURE_4,
    FUNCTION,
    GAUSSIAN,
    JVP,
    PROJECTED,
    RADEMACHER,
    Network,
    abstract_arguments,
    clock,
    compile_repeated,
    compiled_costs,
    count,
    program,
)
from jaxtrends import declare, devices, timing
from jaxtrends.settings import PositiveFloat, PositiveInt, Sizes
from jaxtrends.study import Figure, Panel, Run, Series, StudyResult, Table

Values = Mapping[str, Any]
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


def networks(cost: Cost) -> list[Network]:
    """Every network that is counted and timed, each once."""
    grid = [Network(depth, width) for width in cost.widths for depth in cost.depths]
    return list(dict.fromkeys(grid + [FIGURE_4] * cost.figure_4))


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


def load_average() -> float | None:
    """Processes that wanted to run, averaged over the last minute; None where nobody counts."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def run(config: Any, run: Run) -> StudyResult:
    """Count, compile and time every program on every network."""
    cost: Cost = config.cost
    found = networks(cost)
    load_before = load_average()
    clocks, compiled = {}, []
    for index, network in enumerate(run.each("compiling", found)):
        clocks[network.name], own = clock(network, cost.batch, (config.seed, index))
        compiled += [compiled_row(network, cost.batch, method, own[method]) for method in own]
        if network.width in cost.widths:
            for batch in cost.memory_batches:
                compiled += memory(network, batch)
    rounds = run.each("timing", range(cost.rounds))
    turns = {(name, label): one for name, of in clocks.items() for label, one in of.items()}
    samples = timing.interleaved(turns, rounds, cost.sample_seconds)
    values = {"operations": [count(network, cost.batch) for network in found]}
    measurements = {
        "device": devices.describe(jax.local_devices()[:1]),
        "load_average": {"before": load_before, "after": load_average()},
        "batch": cost.batch,
        "networks": [{"name": network.name} | network._asdict() for network in found],
        "compiled": compiled,
        "seconds": {
            name: {label: samples[name, label] for label in of} for name, of in clocks.items()
        },
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


def quotients(seconds: Mapping[str, Sequence[float]], method: str, reference: str) -> np.ndarray:
    """Time of a program over that of another on one network, round by round."""
    return np.asarray(seconds[method]) / np.asarray(seconds[reference])


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Least-squares slope of y over x.

    Raises:
        KeyError: fewer than two different x: this run cannot tell.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(set(x)) < 2:
        raise KeyError("two sizes to fit a slope to")
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())


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


def networks_of_width(measurements: Values, width: int) -> list[Mapping[str, Any]]:
    """The networks of one width, by increasing depth."""
    found = [network for network in measurements["networks"] if network["width"] == width]
    return sorted(found, key=lambda network: network["depth"])


def widths_of_several_depths(measurements: Values) -> list[int]:
    """The widths at which depth was varied, in increasing order.

    Raises:
        KeyError: there are none.
    """
    all_widths = [network["width"] for network in measurements["networks"]]
    widths = sorted({width for width in all_widths if all_widths.count(width) > 1})
    if not widths:
        raise KeyError("two depths of one width")
    return widths


# --- what is claimed -----------------------------------------------------------------------------


def against_backprop(measurements: Values, method: str) -> tuple[list[float], list[float]]:
    """Seconds of a program and of backprop, on the paper's MLP."""
    seconds = measurements["seconds"][FIGURE_4.name]
    return seconds[method], seconds[BACKPROP]


def rises(measurements: Values, method: str, width: int) -> list[float]:
    """Slope of log (program / backprop) over log depth, one a round."""
    grid = networks_of_width(measurements, width)
    seconds = [measurements["seconds"][network["name"]] for network in grid]
    logs = np.log([quotients(of, method, BACKPROP) for of in seconds])
    depths = np.log([network["depth"] for network in grid])
    return [slope(depths, ratios) for ratios in logs.T]


def share(measurements: Values, method: str, width: int, batch: int) -> float:
    """Growth of a program's memory with depth over that of backprop's."""
    mine, backprop = (
        bytes_per_layer(measurements["compiled"], of, width, batch) for of in (method, BACKPROP)
    )
    return mine / backprop


def batches(measurements: Values) -> list[int]:
    """The batches that programs were compiled for."""
    return sorted({row["batch"] for row in measurements["compiled"]})


def largest(measurements: Values) -> tuple[int, int]:
    """The greatest width and batch, on which controls are measured."""
    return widths_of_several_depths(measurements)[-1], batches(measurements)[-1]


def not_kept(measurements: Values) -> float:
    """Share of the activations, a float a unit and example, that backprop's growth lacks."""
    width, batch = largest(measurements)
    kept = bytes_per_layer(measurements["compiled"], BACKPROP, width, batch) / (4 * width * batch)
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


def _spread(values: np.ndarray) -> str:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def conditions(measurements: Values) -> str:
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


def time_table(measurements: Values) -> Table:
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


def operation_table(values: Values, measurements: Values) -> Table:
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


def memory_table(values: Values, measurements: Values) -> Table:
    """Memory of every program at the least and the greatest depth, and its growth between."""
    compiled, rows = measurements["compiled"], []
    sizes = {(row["depth"], row["width"]): 4 * row["parameters"] for row in values["operations"]}
    for method, width, batch in dict.fromkeys(
        (row["program"], row["width"], row["batch"]) for row in compiled
    ):
        try:
            held = temporaries(compiled, method, width, batch)
            growth = bytes_per_layer(compiled, method, width, batch)
            backprop = bytes_per_layer(compiled, BACKPROP, width, batch)
        except KeyError:  # one depth only, or the backend did not tell
            continue
        copies = 1 if method == FUNCTION else 2
        span = f"{min(held)} to {max(held)}"
        of_parameters = copies * sizes[max(held), width] / 1e6
        growths = [growth / 1e3, growth / backprop]
        megabytes = [held[min(held)] / 1e6, held[max(held)] / 1e6]
        rows.append([width, batch, span, method, *megabytes, of_parameters, *growths])
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


def cost_figure(values: Values, measurements: Values) -> Figure:
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


def _ratios(measurements: Values, label: str, width: int, method: str, reference: str) -> Series:
    """`quotients` against depth: their medians, in a band of their quartiles."""
    grid = networks_of_width(measurements, width)
    ratios = [
        quotients(measurements["seconds"][network["name"]], method, reference) for network in grid
    ]
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75), axis=1)
    depths = [network["depth"] for network in grid]
    return Series(label, depths, list(middle), list(low), list(high))
