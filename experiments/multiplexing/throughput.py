"""What N sequences per pass save: FLOPs counted at the paper's size, and measured throughput.

A pass with N inputs serves nearly N times as many inputs by construction, once the backbone
dominates. What remains is how much the prefix of N + 1 positions, the maps and the demultiplexer
cost: counted at the paper's size, which needs no hardware, and timed on a small Transformer, in
several processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.multiplexing import tokens
from jaxtrends import declare, timing
from jaxtrends.claims import Claim, Control, Evidence
from jaxtrends.settings import PositiveInt, Sizes
from jaxtrends.study import Figure, Panel, Run, Series, StudyResult, Table

PAPER = {"width": 768, "layers": 12, "length": 128}
COUNTED = (10, 20, 40)  # inputs per pass; the abstract gives a throughput for the last two


@dataclass(frozen=True)
class Throughput:
    """Sequences per second against sequences per pass."""

    inputs: Sizes = (1, 2, 5, 10)
    """Sequences per pass, N."""
    width: PositiveInt = 128
    """Width of the timed Transformer."""
    layers: PositiveInt = 4
    """Layers of the timed Transformer."""
    length: PositiveInt = 128
    """Tokens per sequence."""
    sequences: PositiveInt = 80
    """Sequences per batch, the same for every N, so that N = 1 is batched too."""
    rounds: PositiveInt = 9
    """Rounds of timing in each process, with programs interleaved."""
    processes: PositiveInt = 5
    """Processes, over which intervals are taken."""


def forward(inputs: int, groups: int, sizes: Mapping[str, int]) -> tuple[Any, tuple[Any, ...]]:
    """The network on a batch of groups (plain for one input), and the shapes of its arguments."""
    import jax

    made = tokens.network(
        inputs,
        sizes["width"],
        sizes["heads"],
        sizes["layers"],
        3,
        sizes["length"],
        plain=inputs == 1,
    )
    params = jax.eval_shape(made.init, jax.random.key(0))
    width, length = sizes["width"], sizes["length"]
    matrices = jax.ShapeDtypeStruct((inputs, width, width), np.float32)
    given = jax.ShapeDtypeStruct((groups, inputs, length), np.int32)

    def logits(params: Any, matrices: Any, given: Any) -> Any:
        return made.apply(params, matrices, given, jax.random.key(0))[0]

    return logits, (params, matrices, given)


def gain(inputs: int, *, each_token: bool = False, prefix: bool = True) -> float:
    """The factor of MACs saved per sequence at the paper's size: below N L / (L + N + 1).

    A layer takes 12 d^2 per position and attention 2 d per pair of positions; the demultiplexer
    takes 2 d^2 per output, with one output per sentence, or one per token. Without ``prefix``, the
    N + 1 extra positions are not counted.
    """
    width, layers, length = PAPER["width"], PAPER["layers"], PAPER["length"]

    def cost(places: int) -> float:
        return layers * (12 * width**2 * places + 2 * places**2 * width)

    apart = 2 * width**2 * (length if each_token else 1)
    return cost(length) / (cost(length + (inputs + 1) * prefix) / inputs + apart)


def seconds(asked: Mapping[str, Any]) -> dict[str, list[float]]:
    """Seconds per sequence for each N and round in this process: see `jaxtrends.timing`."""
    import jax

    draw = np.random.default_rng(0)
    programs = {}
    for inputs in asked["inputs"]:
        groups = max(1, asked["sequences"] // inputs)
        function, shapes = forward(inputs, groups, asked)
        params, matrices, given = shapes
        arguments = (
            jax.tree.map(lambda leaf: 0.02 * draw.standard_normal(leaf.shape, np.float32), params),
            draw.standard_normal(matrices.shape, np.float32),
            draw.integers(tokens.VOCABULARY, size=given.shape, dtype=np.int32),
        )
        programs[str(inputs)] = timing.calls(function, *arguments)
    found = timing.interleaved(programs, range(asked["rounds"]))
    return {
        n: [taken / (int(n) * max(1, asked["sequences"] // int(n))) for taken in times]
        for n, times in found.items()
    }


def run(config: Any, run: Run) -> StudyResult:
    """Count at the paper's size, then time a small network in every process."""
    part: Throughput = config.throughput
    asked = {
        "inputs": list(part.inputs),
        "width": part.width,
        "heads": 4,
        "layers": part.layers,
        "length": part.length,
        "sequences": part.sequences,
        "rounds": part.rounds,
    }
    each = run.each("processes", range(part.processes))
    found = timing.over_processes(f"{__name__}:seconds", asked, each)
    taken = {n: [float(np.median(process[n])) for process in found] for n in found[0]}
    first = str(part.inputs[0])
    ratios = {
        n: [a / b for a, b in zip(taken[first], times, strict=True)] for n, times in taken.items()
    }
    counted = {str(n): gain(n) for n in COUNTED}
    bare = {str(n): n * PAPER["length"] / (PAPER["length"] + n + 1) for n in COUNTED}
    ours = {
        str(n): tokens.macs(1, part.width, part.layers, part.length, plain=True)
        / tokens.macs(n, part.width, part.layers, part.length, plain=n == 1)
        for n in part.inputs
    }
    rows = [[int(n), counted[n], bare[n]] for n in counted]
    measured = [
        [int(n), 1 / float(np.median(taken[n])), float(np.median(ratios[n])), ours[n]]
        for n in taken
    ]
    return StudyResult(
        values={"counted": counted, "linear": bare, "no prefix": gain(20, prefix=False)},
        tables=[
            Table(
                "throughput-counted",
                "What N inputs per pass can save at the paper's size",
                ["N", "FLOPs saved", "linear layers only"],
                rows,
                "12 layers, width 768, 128 tokens, one output per sequence; computed by formula.",
            )
        ],
        measurements={"ratios": ratios, "seconds": taken},
        measured_tables=[
            Table(
                "throughput-measured",
                "Sequences per second against N",
                ["N", "sequences per second", "over N = 1", "by FLOPs"],
                measured,
                "Medians over processes. By FLOPs: the ratio expected from counting.",
            )
        ],
        measured_figures=[
            Figure(
                "throughput",
                "Sequences per second against sequences per pass",
                "Throughput over that of one sequence per pass: median and range over processes. "
                "By FLOPs: the ratio expected from counting, which approaches N by construction.",
                [
                    Panel(
                        "",
                        "sequences per pass, N",
                        "throughput over that of N = 1",
                        [
                            Series(
                                "measured",
                                [int(n) for n in ratios],
                                [float(np.median(r)) for r in ratios.values()],
                                [min(r) for r in ratios.values()],
                                [max(r) for r in ratios.values()],
                            ),
                            Series(
                                "by FLOPs",
                                [int(n) for n in ours],
                                list(ours.values()),
                                style="theory",
                            ),
                        ],
                        "log",
                        "log",
                    )
                ],
            )
        ],
    )


def _beside_one(values: Mapping[str, Any], inputs: str) -> dict[str, list[float]]:
    return {"treatment": values["seconds"]["1"], "reference": values["seconds"][inputs]}


CLAIMS = (
    declare.untestable(
        "M3",
        "Twenty and forty inputs per pass give 11 and 18 times the throughput.",
        "The paper measured 12 layers of width 768 on an accelerator, and two CPU cores say "
        "nothing about its speed. That N inputs per pass give nearly N times the throughput holds "
        "by construction.",
        quantity="inputs per second / those of N = 1",
        region=(5.0, np.inf),
        reason="at N = 10 on an accelerator, where the paper's figure shows 6.1",
        reported="11x at 20, 18x at 40",
        where="abstract",
        known="abstract",
    ),
    declare.fact(
        "M3c",
        "By FLOPs, the paper's network could reach more than the reported 11 times the throughput "
        "at N = 20.",
        lambda values: values["counted"]["20"],
        quantity="MACs per sequence, N = 1 / N = 20",
        region=(11.0, 20 * 128 / 149),
        reason="less would contradict the report; more than N L / (L + N + 1) would leave "
        "positions out",
        fails={
            "no prefix": (
                lambda values: values["no prefix"],
                "without counting the prefix, the factor is nearly 20",
            )
        },
    ),
    Claim(
        id="M3m",
        study="",
        statement="On this processor, ten sequences per pass give more than 5 times the "
        "throughput of a plain Transformer.",
        source="derived",
        quantity="seconds per sequence, plain Transformer / N = 10, process by process, at equal "
        "sequences per batch",
        statistic="paired ratio",
        region=(5.0, np.inf),
        reason="the threshold for an accelerator, where the paper's figure shows 6.1",
        about="measurements",
        controls=(
            Control(
                "two", "fail", "two per pass cannot give a factor of 5, unless work is skipped"
            ),
        ),
        evidence=lambda values: Evidence(
            {"": _beside_one(values, "10")}, {"two": _beside_one(values, "2")}
        ),
    ),
)
