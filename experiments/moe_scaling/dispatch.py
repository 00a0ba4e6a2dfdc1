"""The cost of dispatching tokens to experts: one-hot products against indexing.

One layer with a growing number of experts, forward only and forward plus backward. Both ways give
the same numbers, so only time is compared, in several processes: rounds within one process agree
better with each other than with the next process, so intervals are taken over processes. A dense
layer of as many active FLOPs is the control: indexing cannot be much faster than the products that
it must do as well, unless the compiler left them out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxtrends import charts, declare, moe, stats, timing
from jaxtrends.claims import CONFIDENCE, Claim
from jaxtrends.design import Study
from jaxtrends.moe import Mixture
from jaxtrends.settings import PositiveInt, Sizes
from jaxtrends.study import Figure, Panel, Run, StudyResult, Table

PASSES = ("forward", "forward and backward")
Programs = dict[str, dict[str, timing.Timed]]
WAYS = {"one-hot": "one_hot", "index": "index"}
DENSE = "dense"


@dataclass(frozen=True)
class Dispatch:
    """The layer to time."""

    tokens: PositiveInt = 2048
    """Tokens routed together."""
    width: PositiveInt = 128
    """Width of a token."""
    hidden: PositiveInt = 512
    """Hidden width of an expert."""
    experts: Sizes = (8, 32)
    """Numbers of experts, rising; claims are about the last."""
    rounds: PositiveInt = 7
    """Rounds of timing in each process, with programs interleaved; the median is used."""
    processes: PositiveInt = 5
    """Processes, over which intervals are taken."""

    def check(self, flag: str) -> None:
        """Refuse more experts than tokens.

        Raises:
            Problem: gives both numbers.
        """
        for experts in self.experts:
            moe.check(Mixture(experts=experts), self.tokens)


def programs(experts: int, tokens: int, width: int, hidden: int) -> Programs:
    """Pass -> way -> program to time."""
    generator = np.random.default_rng(0)

    def normal(scale: float, *shape: int) -> np.ndarray:
        return scale * generator.standard_normal(shape, np.float32)

    params = {
        "router": normal(0.02, width, experts),
        "up": normal(width**-0.5, experts, width, hidden),
        "down": normal(hidden**-0.5, experts, hidden, width),
    }
    inputs = normal(1.0, 1, tokens, width)
    layers = {
        way: partial(_mixture, Mixture(experts=experts, dispatch=dispatch))
        for way, dispatch in WAYS.items()
    }
    found: Programs = {name: {} for name in PASSES}
    for way, forward in {**layers, DENSE: _dense}.items():
        both = jax.grad(partial(_loss, forward), argnums=(0, 1))
        for name, function in zip(PASSES, (forward, both), strict=True):
            found[name][way] = timing.calls(function, params, inputs)
    return found


def _mixture(mixture: Mixture, params: Any, inputs: jax.Array) -> jax.Array:
    return moe.mixture_layer(params, inputs, mixture)[0]


def _dense(params: Any, inputs: jax.Array) -> jax.Array:
    """The first expert on all tokens."""
    return jax.nn.relu(inputs @ params["up"][0]) @ params["down"][0]


def _loss(forward: Callable[..., jax.Array], params: Any, inputs: jax.Array) -> jax.Array:
    return jnp.mean(jnp.square(forward(params, inputs)))


def seconds(asked: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """In one process: "pass, experts" -> way -> median seconds of one pass."""
    sizes = [int(asked[name]) for name in ("tokens", "width", "hidden")]
    found = {}
    for experts in asked["experts"]:
        for name, timed in programs(int(experts), *sizes).items():
            taken = timing.interleaved(timed, range(int(asked["rounds"])))
            found[f"{name}, {experts}"] = {way: float(np.median(s)) for way, s in taken.items()}
    return found


def run(config: Any, run: Run) -> StudyResult:
    """Time every pass at every number of experts, in several processes; each pass is a ladder."""
    chosen: Dispatch = config.dispatch
    asked = {
        name: getattr(chosen, name) for name in ("tokens", "width", "hidden", "experts", "rounds")
    }
    each = run.each("processes", range(chosen.processes))
    found = timing.over_processes(f"{__name__}:seconds", asked, each)
    tasks: dict[str, Any] = {}
    for experts in chosen.experts:
        for name in PASSES:
            task = f"{name}, {experts}"
            taken = {way: [process[task][way] for process in found] for way in found[0][task]}
            arms = {way: {"metrics": {"seconds": s}, "facts": {}} for way, s in taken.items()}
            tasks[task] = {"task": name, "size": experts, "arms": arms}
    places = {str(e): moe.places(chosen.tokens, Mixture(experts=e)) for e in chosen.experts}
    return StudyResult(
        values={"places": places},  # slots per expert, a dimension of the one-hot products
        measurements={"tasks": tasks},
        measured_tables=[times(tasks)],
        measured_figures=[ratios(tasks)],
    )


# --- what is claimed and drawn -------------------------------------------------------------------


def slower(id: str, statement: str, of: str, factor: float, **declared: Any) -> Claim:
    """One-hot products are slower than indexing by a factor, at the most experts timed."""
    return declare.compare(
        id,
        statement,
        "one-hot",
        "index",
        on="seconds",
        quantity=f"time of a whole layer, one-hot / by index, {of}, at the most experts timed, "
        "process by process",
        statistic="paired ratio",
        region=(factor, math.inf),
        fails={
            DENSE: "a dense layer of as many active FLOPs must not be slower by the factor: it "
            "would be if the compiler had left out the experts' products, or all tokens were lost"
        },
        tasks=(of,),
        top=True,
        about="measurements",
        **declared,
    )


CLAIMS = (
    slower(
        "D7a",
        "Dispatching tokens by index makes the forward pass of a mixture layer at least six times "
        "faster than one-hot products.",
        "forward",
        6.0,
        reason="the paper's factor",
        reported="over 6x, for the kernels of the layer",
        where="Section 5.4",
    ),
    slower(
        "D7b",
        "Dispatching tokens by index makes the forward and backward pass together at least three "
        "times faster.",
        "forward and backward",
        3.0,
        reason="half the paper's factor for the forward pass: the backward pass adds expert "
        "products that cost the same either way",
        source="derived",
    ),
    declare.untestable(
        "D8",
        "Inference is up to 7.3 times faster than with other mixture-of-experts systems, and 4.5 "
        "times faster and 9 times cheaper than with a dense model of the same quality.",
        "The paper measures it on 8 to 256 GPUs, where communication between experts on different "
        "devices dominates; a single machine has none.",
        quantity="latency of inference",
        statistic="paired ratio",
        region=(7.3, math.inf),
        reason="the paper's figure",
        reported="7.3x; 4.5x faster, 9x cheaper",
        where="Section 5.5",
        about="measurements",
    ),
)


def _over_index(task: Mapping[str, Any], way: str) -> tuple[Sequence[float], Sequence[float]]:
    arms = task["arms"]
    return arms[way]["metrics"]["seconds"], arms["index"]["metrics"]["seconds"]


def times(tasks: Mapping[str, Any]) -> Table:
    """Milliseconds per pass."""

    def milliseconds(task: Mapping[str, Any], way: str) -> float:
        return 1e3 * float(np.median(task["arms"][way]["metrics"]["seconds"]))

    def ratio(task: Mapping[str, Any], way: str) -> str:
        samples = dict(zip(("treatment", "reference"), _over_index(task, way), strict=True))
        return f"{stats.paired_ratio(samples, CONFIDENCE):.2f}"

    rows = [
        {
            "pass": task["task"],
            "experts": task["size"],
            "one-hot (ms)": milliseconds(task, "one-hot"),
            "by index (ms)": milliseconds(task, "index"),
            "dense layer (ms)": milliseconds(task, DENSE),
            "one-hot / index": ratio(task, "one-hot"),
            "dense layer / index": ratio(task, DENSE),
        }
        for task in tasks.values()
    ]
    return charts.table(
        "dispatch-times",
        "Time of a mixture layer, by dispatch method",
        rows,
        "Medians over processes of the median over rounds. Ratios are geometric means over "
        "processes with 95% intervals. The dense layer has as many active FLOPs.",
    )


def ratios(tasks: Mapping[str, Any]) -> Figure:
    """One-hot over index against the number of experts."""
    series = []
    for name in PASSES:
        rungs = [task for task in tasks.values() if task["task"] == name]
        found = [np.divide(*_over_index(rung, "one-hot")) for rung in rungs]
        series.append(charts.points(name, [rung["size"] for rung in rungs], found))
    return Figure(
        "dispatch-ratios",
        "Dispatch by one-hot products against indexing",
        "Time of a layer with one-hot dispatch over that with index dispatch: median and range "
        "over processes.",
        [
            Panel(
                "one layer",
                "experts",
                "ratio of time",
                series,
                x_scale="log",
                threshold=6.0,
                threshold_label="the paper's factor",
            )
        ],
    )


STUDY = Study(
    "time of a mixture layer with one-hot and with index dispatch",
    run,
    CLAIMS,
    timed=True,
)
