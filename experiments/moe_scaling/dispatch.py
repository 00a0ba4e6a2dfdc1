"""The cost of dispatching tokens to experts: one-hot products against indexing.

One layer with a growing number of experts, forward only and forward plus backward. Both ways give
the same numbers, so only time is compared. The same program timed twice is the control.
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
WAYS = {"one-hot": "one_hot", "index": "index", "index again": "index"}


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
    rounds: PositiveInt = 15
    """Rounds of timing, with programs interleaved."""

    def check(self, flag: str) -> None:
        """Refuse more experts than tokens.

        Raises:
            Problem: gives both numbers.
        """
        for experts in self.experts:
            moe.check(Mixture(experts=experts), self.tokens)


def programs(experts: int, config: Dispatch) -> dict[str, dict[str, timing.Timed]]:
    """Pass -> way -> program to time."""
    generator, width, hidden = np.random.default_rng(0), config.width, config.hidden

    def normal(scale: float, *shape: int) -> np.ndarray:
        return scale * generator.standard_normal(shape, np.float32)

    params = {
        "router": normal(0.02, width, experts),
        "up": normal(width**-0.5, experts, width, hidden),
        "down": normal(hidden**-0.5, experts, hidden, width),
    }
    inputs = normal(1.0, 1, config.tokens, width)
    found: dict[str, dict[str, timing.Timed]] = {name: {} for name in PASSES}
    for way, dispatch in WAYS.items():
        forward = partial(_forward, Mixture(experts=experts, dispatch=dispatch))
        both = jax.grad(partial(_loss, forward), argnums=(0, 1))
        for name, function in zip(PASSES, (forward, both), strict=True):
            found[name][way] = timing.calls(function, params, inputs)
    return found


def _forward(mixture: Mixture, params: Any, inputs: jax.Array) -> jax.Array:
    return moe.mixture_layer(params, inputs, mixture)[0]


def _loss(forward: Callable[..., jax.Array], params: Any, inputs: jax.Array) -> jax.Array:
    return jnp.mean(jnp.square(forward(params, inputs)))


def run(config: Any, run: Run) -> StudyResult:
    """Time every pass at every number of experts; each pass is a ladder."""
    chosen: Dispatch = config.dispatch
    tasks: dict[str, Any] = {}
    for experts in chosen.experts:
        for name, timed in programs(experts, chosen).items():
            rounds = run.each(f"{experts} experts, {name}", range(chosen.rounds))
            seconds = timing.interleaved(timed, rounds)
            arms = {w: {"metrics": {"seconds": s}, "facts": {}} for w, s in seconds.items()}
            tasks[f"{name}, {experts}"] = {"task": name, "size": experts, "arms": arms}
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
        quantity=f"time of a whole layer, one-hot / by index, {of}, at the most experts timed",
        statistic="paired ratio",
        region=(factor, math.inf),
        fails={"index again": "the same program timed twice must not look slower"},
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

    def ratio(task: Mapping[str, Any], way: str) -> str:
        samples = dict(zip(("treatment", "reference"), _over_index(task, way), strict=True))
        found = stats.paired_ratio(samples, CONFIDENCE)
        return f"{found:.2f}"

    rows = [
        [
            task["task"],
            task["size"],
            *(1e3 * float(np.median(samples)) for samples in _over_index(task, "one-hot")),
            ratio(task, "one-hot"),
            ratio(task, "index again"),
        ]
        for task in tasks.values()
    ]
    return Table(
        "dispatch-times",
        "Time of a mixture layer, by dispatch method",
        ["pass", "experts", "one-hot (ms)", "by index (ms)", "one-hot / index", "index / itself"],
        rows,
        "Medians over rounds. Ratios are geometric means with 95% intervals.",
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
        "over rounds.",
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
