"""Search and gradient descent as trainers: a step is a generation, or some gradient updates.

All arms are tested alike. One seed gives every arm the same initial parameters and, in every
generation, the same examples or episodes, shared by the whole population.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from experiments.neuroevolution import strategies
from experiments.neuroevolution.strategies import Strategy
from jaxtrends.train import Trainer, streams

PyTree = Any


@dataclass(frozen=True)
class Task:
    """A task.

    init:    key -> parameters, a pytree.
    draw:    (key, data) -> what all members of a generation share: a batch, or episode starts.
    score:   (parameters, the draw) -> scalar, higher is better.
    measure: (parameters, a split of the data) -> metrics.
    """

    init: Callable[[jax.Array], PyTree]
    draw: Callable[[jax.Array, PyTree], PyTree]
    score: Callable[[PyTree, PyTree], jax.Array]
    measure: Callable[[PyTree, PyTree], dict[str, jax.Array]]


def search(strategy: Strategy, task: Task, population: int) -> Trainer:
    """A strategy on a task.

    A lane's ``sign`` multiplies all scores: 1, -1 to search for the worst, or 0 to learn nothing.
    If its ``shuffled`` is 1, members get each other's scores.
    """
    parameters = _parameters(task)

    def init(lane: PyTree, data: PyTree) -> PyTree:
        return {**strategy.start(lane, _start(task, lane)), "step": jnp.zeros((), jnp.int32)}

    def step(lane: PyTree, state: PyTree, data: PyTree) -> tuple[PyTree, dict[str, jax.Array]]:
        _, order, noise = streams(lane["seed"])
        order, noise = (jax.random.fold_in(key, state["step"]) for key in (order, noise))
        drawn = task.draw(order, data)
        members = strategy.ask(state, noise, population)
        scores = jax.vmap(lambda member: task.score(parameters(member), drawn))(members)
        shuffled = jax.random.permutation(jax.random.fold_in(noise, 1), scores)
        told = lane["sign"] * jnp.where(lane["shuffled"] > 0, shuffled, scores)
        state = {**strategy.tell(lane, state, members, told), "step": state["step"] + 1}
        return state, {"training_score": jnp.mean(scores), "sigma": jnp.mean(state["sigma"])}

    return _measured(task, init, step)


def descent(task: Task, updates: int) -> Trainer:
    """Gradient ascent on the score by Adam, with ``updates`` per step, each on its own draw.

    The first update of a step uses the draw that a population gets in that generation.
    """
    parameters = _parameters(task)

    def init(lane: PyTree, data: PyTree) -> PyTree:
        still = strategies.with_adam(_start(task, lane), jnp.zeros(()))
        return {**still, "step": jnp.zeros((), jnp.int32)}

    def step(lane: PyTree, state: PyTree, data: PyTree) -> tuple[PyTree, dict[str, jax.Array]]:
        _, order, _ = streams(lane["seed"])
        first = jax.random.fold_in(order, state["step"])

        def update(moving: PyTree, number: jax.Array) -> tuple[PyTree, jax.Array]:
            key = jnp.where(number == 0, first, jax.random.fold_in(first, number))
            drawn = task.draw(key, data)
            score, gradient = jax.value_and_grad(lambda at: task.score(parameters(at), drawn))(
                moving["mean"]
            )
            return strategies.ascend(lane, moving, gradient), score

        state, scores = jax.lax.scan(update, state, jnp.arange(updates))
        return {**state, "step": state["step"] + 1}, {"training_score": jnp.mean(scores)}

    return _measured(task, init, step)


def _start(task: Task, lane: PyTree) -> jax.Array:
    """The initial parameters of a seed, as a vector."""
    key, _, _ = streams(lane["seed"])
    return ravel_pytree(task.init(key))[0]


def _parameters(task: Task) -> Callable[[jax.Array], PyTree]:
    """The function that turns a vector into a task's parameters."""
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    return ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes))[1]


def _measured(task: Task, init: Callable[..., PyTree], step: Callable[..., Any]) -> Trainer:
    parameters = _parameters(task)

    def score(split: str) -> Callable[[PyTree, PyTree, PyTree], dict[str, jax.Array]]:
        def scores(lane: PyTree, state: PyTree, data: PyTree) -> dict[str, jax.Array]:
            found = task.measure(parameters(state["mean"]), data[split])
            return {f"{split}_{name}": value for name, value in found.items()}

        return scores

    return Trainer(init, step, score("validation"), score("test"))
