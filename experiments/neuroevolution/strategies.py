"""Evolution strategies: ask a distribution over parameters for members, and tell it their scores.

A strategy is three pure functions on a state, a dict whose ``mean`` (d,) is the answer: the mean is
tested, never the member that did best on training noise. Higher scores are better. A lane has the
``learning_rate`` and the initial ``sigma`` of a search.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any


@dataclass(frozen=True)
class Strategy:
    """How to search.

    start: (lane, mean (d,)) -> state.
    ask:   (state, key, n) -> members (n, d).
    tell:  (lane, state, members (n, d), scores (n,)) -> state.
    """

    start: Callable[[PyTree, jax.Array], PyTree]
    ask: Callable[[PyTree, jax.Array, int], jax.Array]
    tell: Callable[[PyTree, PyTree, jax.Array, jax.Array], PyTree]


# --- what strategies share -----------------------------------------------------------------------


def ranks(scores: jax.Array) -> jax.Array:
    """Scores (n,) as r / (n - 1) - 1/2, from -1/2 for the worst to 1/2 for the best.

    Ties share their mean rank, so a population of equal scores moves nothing.
    """
    above = jnp.sign(scores[:, None] - scores).sum(axis=1)  # scores below minus scores above
    return above / (2 * (scores.size - 1))


def mirrored(state: PyTree, key: jax.Array, n: int) -> jax.Array:
    """n / 2 members mean + noise, then the n / 2 with the opposite noise."""
    mean = state["mean"]
    noise = state["sigma"] * jax.random.normal(key, (n // 2, mean.size), mean.dtype)
    return jnp.concatenate([mean + noise, mean - noise])


def pairs(
    state: PyTree, members: jax.Array, scores: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The noise (n / 2, d) of mirrored members, and the scores (n / 2,) of its two sides."""
    half = scores.size // 2
    return members[:half] - state["mean"], scores[:half], scores[half:]


def ascend(lane: PyTree, state: PyTree, gradient: jax.Array) -> PyTree:
    """Move the mean up a gradient by Adam (Kingma and Ba 2015)."""
    import optax

    with jax.numpy_dtype_promotion("standard"):  # optax mixes Python and array numbers
        update, adam = optax.scale_by_adam().update(gradient, state["adam"])
    return {**state, "mean": state["mean"] + lane["learning_rate"] * update, "adam": adam}


def with_adam(mean: jax.Array, sigma: jax.Array) -> PyTree:
    """An initial state with Adam's moments at zero."""
    import optax

    return {"mean": mean, "sigma": sigma, "adam": optax.scale_by_adam().init(mean)}


# --- the strategies ------------------------------------------------------------------------------


def pgpe_gradient(
    noise: jax.Array, plus: jax.Array, minus: jax.Array, sigma: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Gradients for mean and sigma: sigma^2 times those of the expected score J.

    Args:
        noise: (pairs, d), drawn from N(0, diag sigma^2).
        plus:  (pairs,) scores at mean + noise; ``minus`` those at mean - noise.
        sigma: (d,).
    """
    baseline = jnp.mean(plus + minus) / 2
    of_mean = jnp.mean(noise * (plus - minus)[:, None] / 2, axis=0)
    above = (plus + minus)[:, None] / 2 - baseline
    of_sigma = jnp.mean(above * (noise**2 - sigma**2) / sigma, axis=0)
    return of_mean, of_sigma


def pgpe(sigma_rate: float, most_change: float = 0.2) -> Strategy:
    """Parameter-exploring policy gradients, mirrored, on ranks (Sehnke et al. 2010; EvoJAX).

    Args:
        sigma_rate:  learning rate of sigma.
        most_change: largest relative change of sigma per generation; below 1, it stays positive.
    """

    def start(lane: PyTree, mean: jax.Array) -> PyTree:
        return with_adam(mean, jnp.full_like(mean, lane["sigma"]))

    def tell(lane: PyTree, state: PyTree, members: jax.Array, scores: jax.Array) -> PyTree:
        noise, plus, minus = pairs(state, members, ranks(scores))
        sigma = state["sigma"]
        of_mean, of_sigma = pgpe_gradient(noise, plus, minus, sigma)
        change = jnp.clip(sigma_rate * of_sigma, -most_change * sigma, most_change * sigma)
        return {**ascend(lane, state, of_mean), "sigma": sigma + change}

    return Strategy(start, mirrored, tell)


def openes(decay: float = 0.999, floor: float = 0.01) -> Strategy:
    """Mirrored finite differences on ranks, sigma by a schedule (Salimans et al. 2017).

    Args:
        decay: factor on sigma per generation.
        floor: lower bound for sigma, unless it starts below.
    """

    def start(lane: PyTree, mean: jax.Array) -> PyTree:
        return with_adam(mean, lane["sigma"])

    def tell(lane: PyTree, state: PyTree, members: jax.Array, scores: jax.Array) -> PyTree:
        noise, plus, minus = pairs(state, members, ranks(scores))
        sigma = state["sigma"]
        gradient = jnp.mean(noise * (plus - minus)[:, None], axis=0) / (2 * sigma**2)
        return {**ascend(lane, state, gradient), "sigma": _decayed(sigma, decay, floor)}

    return Strategy(start, mirrored, tell)


def ars(best: float = 0.5, decay: float = 0.999, floor: float = 0.01) -> Strategy:
    """Augmented random search: the best directions, over the standard deviation of their scores.

    (Mania et al. 2018, without their normalisation of observations; the mean is updated by Adam, as
    in the public code.)

    Args:
        best:  share of the directions to use, by the better of their two scores.
        decay: factor on sigma per generation, down to ``floor``.
        floor: see `openes`.
    """

    def start(lane: PyTree, mean: jax.Array) -> PyTree:
        return with_adam(mean, lane["sigma"])

    def tell(lane: PyTree, state: PyTree, members: jax.Array, scores: jax.Array) -> PyTree:
        noise, plus, minus = pairs(state, members, scores)
        kept = max(1, round(best * plus.size))
        _, rows = jax.lax.top_k(jnp.maximum(plus, minus), kept)
        deviation = jnp.std(jnp.concatenate([plus[rows], minus[rows]])) + 1e-8
        sides = (plus - minus)[rows, None]
        gradient = jnp.mean(noise[rows] * sides, axis=0) / (state["sigma"] * deviation)
        sigma = _decayed(state["sigma"], decay, floor)
        return {**ascend(lane, state, gradient), "sigma": sigma}

    return Strategy(start, mirrored, tell)


def _decayed(sigma: jax.Array, decay: float, floor: float) -> jax.Array:
    return jnp.maximum(sigma * decay, jnp.minimum(sigma, floor))


def sep_cma_es() -> Strategy:
    """CMA-ES with a diagonal covariance (Ros and Hansen 2008; constants of Hansen's tutorial).

    Its only learning rate is c_m, the share of the way to the weighted mean. The textbook's c_m = 1
    is at the rate that the lane calls ``textbook_rate``, so that one grid serves all strategies.
    """

    def start(lane: PyTree, mean: jax.Array) -> PyTree:
        return {
            "mean": mean,
            "sigma": lane["sigma"],
            "variance": jnp.ones_like(mean),
            "path": jnp.zeros_like(mean),
            "sigma_path": jnp.zeros_like(mean),
            "generation": jnp.zeros((), jnp.float32),
        }

    def ask(state: PyTree, key: jax.Array, n: int) -> jax.Array:
        mean = state["mean"]
        noise = jax.random.normal(key, (n, mean.size), mean.dtype)
        return mean + state["sigma"] * jnp.sqrt(state["variance"]) * noise

    def tell(lane: PyTree, state: PyTree, members: jax.Array, scores: jax.Array) -> PyTree:
        n, d = members.shape
        weights = [math.log((n + 1) / 2) - math.log(i) for i in range(1, n // 2 + 1)]
        weights = [weight / sum(weights) for weight in weights]
        effective = 1 / sum(weight**2 for weight in weights)
        c_path = (4 + effective / d) / (d + 4 + 2 * effective / d)
        c_sigma = (effective + 2) / (d + effective + 5)
        damping = 1 + 2 * max(0.0, math.sqrt((effective - 1) / (d + 1)) - 1) + c_sigma
        c_one = (d + 2) / 3 * 2 / ((d + 1.3) ** 2 + effective)
        c_rank = 2 * (effective - 2 + 1 / effective) / ((d + 2) ** 2 + effective)
        c_rank = min(1 - c_one, (d + 2) / 3 * c_rank)
        expected = math.sqrt(d) * (1 - 1 / (4 * d) + 1 / (21 * d**2))  # E ||N(0, I)||

        _, rows = jax.lax.top_k(scores, n // 2)
        steps = (members[rows] - state["mean"]) / state["sigma"]
        step = jnp.asarray(weights, members.dtype) @ steps
        share = lane["learning_rate"] / lane["textbook_rate"]
        mean = state["mean"] + share * state["sigma"] * step
        keep = math.sqrt(c_sigma * (2 - c_sigma) * effective)
        sigma_path = (1 - c_sigma) * state["sigma_path"] + keep * step / jnp.sqrt(state["variance"])
        length = jnp.sqrt(jnp.sum(sigma_path**2))
        generation = state["generation"] + 1
        unbiased = length / jnp.sqrt(1 - (1 - c_sigma) ** (2 * generation))
        rising = (unbiased < (1.4 + 2 / (d + 1)) * expected).astype(members.dtype)
        keep = math.sqrt(c_path * (2 - c_path) * effective)
        path = (1 - c_path) * state["path"] + rising * keep * step
        lost = (1 - rising) * c_path * (2 - c_path)
        spread = jnp.asarray(weights, members.dtype) @ steps**2
        variance = (
            (1 - c_one - c_rank + c_one * lost) * state["variance"]
            + c_one * path**2
            + c_rank * spread
        )
        return {
            "mean": mean,
            "sigma": state["sigma"] * jnp.exp(c_sigma / damping * (length / expected - 1)),
            "variance": variance,
            "path": path,
            "sigma_path": sigma_path,
            "generation": generation,
        }

    return Strategy(start, ask, tell)


def random_search() -> Strategy:
    """Members around the start; the answer is the one with the best score so far."""

    def start(lane: PyTree, mean: jax.Array) -> PyTree:
        worst = jnp.full((), -jnp.inf, mean.dtype)
        return {"mean": mean, "origin": mean, "sigma": lane["sigma"], "best": worst}

    def ask(state: PyTree, key: jax.Array, n: int) -> jax.Array:
        origin = state["origin"]
        return origin + state["sigma"] * jax.random.normal(key, (n, origin.size), origin.dtype)

    def tell(lane: PyTree, state: PyTree, members: jax.Array, scores: jax.Array) -> PyTree:
        first = jnp.argmax(scores)
        better = scores[first] > state["best"]
        mean = jnp.where(better, members[first], state["mean"])
        return {**state, "mean": mean, "best": jnp.maximum(state["best"], scores[first])}

    return Strategy(start, ask, tell)
