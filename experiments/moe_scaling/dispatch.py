"""What it costs to move tokens to their experts: one-hot products against indices.

One layer, forward alone and forward with backward, of more and more experts. Both ways of moving
give the same numbers, so that time is all there is to compare. The same layer stands beside itself
as a control.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.moe_scaling import dispatch_figures as figures
from jaxtrends import moe, timing
from jaxtrends.errors import require_positive
from jaxtrends.moe import Mixture
from jaxtrends.study import Run, StudyResult

PASSES = ("forward", "forward and backward")
WAYS = {"one-hot": "one_hot", "index": "index", "index again": "index"}


@dataclass(frozen=True)
class DispatchConfig:
    """The layer that is timed."""

    tokens: int = 2048
    """Tokens routed together."""
    width: int = 128
    """Width of a token."""
    hidden: int = 512
    """Hidden width of an expert."""
    experts: tuple[int, ...] = (8, 32)
    """Experts, from few to many; claims are about the last."""
    rounds: int = 15
    """Rounds of timing, programs interleaved."""


def check(config: DispatchConfig) -> None:
    """Refuse what cannot be run.

    Raises:
        Problem: names the flag at fault.
    """
    require_positive(
        **{
            "dispatch.width": config.width,
            "dispatch.hidden": config.hidden,
            "dispatch.rounds": config.rounds,
            "dispatch.experts": len(config.experts),
        }
    )
    for experts in config.experts:
        moe.check(Mixture(experts=experts), config.tokens)


def programs(experts: int, config: DispatchConfig) -> dict[str, dict[str, timing.Timed]]:
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
    """Time every pass at every number of experts."""
    chosen: DispatchConfig = config.dispatch
    seconds: dict[str, Any] = {name: {} for name in PASSES}
    for experts in chosen.experts:
        for name, timed in programs(experts, chosen).items():
            rounds = run.each(f"{experts} experts, {name}", range(chosen.rounds))
            seconds[name][str(experts)] = timing.interleaved(timed, rounds)
    return StudyResult(
        values={"places": _places(chosen)},
        measurements={"seconds": seconds},
        measured_tables=[figures.times(seconds)],
        measured_figures=[figures.ratios(seconds)],
    )


def _places(config: DispatchConfig) -> Mapping[str, int]:
    """Places of an expert, C, which the one-hot products multiply by all tokens and experts."""
    return {
        str(experts): moe.places(config.tokens, Mixture(experts=experts))
        for experts in config.experts
    }
