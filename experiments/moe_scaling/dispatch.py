"""What it costs to move tokens to their experts: one-hot products against indices.

One layer, forward alone and forward with backward, of more and more experts. Both ways of moving
give the same numbers, so that time is all there is to compare. The same layer stands beside itself
as a control.
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
    """The layer that is timed."""

    tokens: PositiveInt = 2048
    """Tokens routed together."""
    width: PositiveInt = 128
    """Width of a token."""
    hidden: PositiveInt = 512
    """Hidden width of an expert."""
    experts: Sizes = (8, 32)
    """Experts, from few to many; claims are about the last."""
    rounds: PositiveInt = 15
    """Rounds of timing, programs interleaved."""

    def check(self, flag: str) -> None:
        """Refuse more experts than tokens.

        Raises:
            Problem: says how many of each there are.
        """
        for experts in self.experts:
            moe.check(Mixture(experts=experts), self.tokens)


def programs(experts: int, config: Dispatch) -> dict[str, dict[str, timing.Timed]]:
    """Pass -> way -> something to time."""
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
    """Time every pass at every number of experts, the rungs of a ladder a pass."""
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
        values={"places": places},  # of an expert, by which one-hot products multiply all tokens
        measurements={"tasks": tasks},
        measured_tables=[times(tasks)],
        measured_figures=[ratios(tasks)],
    )


# --- what is claimed and drawn -------------------------------------------------------------------


def slower(id: str, statement: str, of: str, factor: float, **declared: Any) -> Claim:
    """One-hot products take so many times as long as indices, at the most experts timed."""
    return declare.compare(
        id,
        statement,
        "one-hot",
        "index",
        on="seconds",
        quantity=f"time of a whole layer, one-hot / by index, {of}, at the most experts timed",
        statistic="paired ratio",
        region=(factor, math.inf),
        fails={"index again": "the same program timed twice is not so many times slower"},
        tasks=(of,),
        top=True,
        about="measurements",
        **declared,
    )


CLAIMS = (
    slower(
        "D7a",
        "Moving tokens by index makes the forward pass of a mixture layer at least six times "
        "faster than one-hot products do.",
        "forward",
        6.0,
        reason="the factor that the paper names",
        reported="over 6x, for the kernels of the layer",
        where="Section 5.4",
    ),
    slower(
        "D7b",
        "It also makes training at least three times faster, forward and backward.",
        "forward and backward",
        3.0,
        reason="half the factor that the paper names for the forward pass: the backward pass adds "
        "expert products that cost the same either way",
        source="derived",
    ),
    declare.untestable(
        "D8",
        "Inference is up to 7.3 times faster than that of other mixtures of experts, and 4.5 times "
        "faster and 9 times cheaper than that of a dense model of the same quality.",
        "It is measured on 8 to 256 GPUs, where experts lie on many devices and their "
        "communication decides; one machine has nothing of that.",
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
    """Milliseconds of a pass."""

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
        "Time of a mixture layer, by how tokens are moved",
        ["pass", "experts", "one-hot (ms)", "by index (ms)", "one-hot / index", "index / itself"],
        rows,
        "Medians over rounds; ratios are geometric means with their 95 % intervals.",
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
        "One-hot products against indices",
        "Time of a layer that moves tokens by one-hot products over that of one that moves them by "
        "index: median and range over rounds.",
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
    "time of a layer that moves tokens by one-hot products, and by index",
    run,
    CLAIMS,
    timed=True,
)
