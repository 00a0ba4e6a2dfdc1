"""The tasks: classifying digits, and the cart-pole swing-up."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.neuroevolution.trainers import Task
from jaxtrends import data, losses, models

PyTree = Any

# --- digits --------------------------------------------------------------------------------------


@functools.cache
def digits(hidden: int, batch: int) -> Task:
    """8x8 digits by an MLP 64-hidden-10; the score is minus the cross-entropy of a batch."""
    model = models.mlp((64, hidden, 10))

    def draw(key: jax.Array, data: PyTree) -> PyTree:
        inputs, labels = data["train"]
        rows = jax.random.randint(key, (batch,), 0, labels.shape[0], jnp.int32)
        return inputs[rows], labels[rows]

    def score(params: PyTree, drawn: PyTree) -> jax.Array:
        inputs, labels = drawn
        return -losses.cross_entropy(model.apply(params, inputs), labels)

    def measure(params: PyTree, split: PyTree) -> dict[str, jax.Array]:
        inputs, labels = split
        outputs = model.apply(params, inputs)
        loss, accuracy = losses.cross_entropy(outputs, labels), losses.accuracy(outputs, labels)
        # NaN outputs would otherwise count as predicting the first class
        return {"loss": loss, "accuracy": jnp.where(jnp.isnan(loss), jnp.nan, accuracy)}

    return Task(model.init, draw, score, measure)


# --- cart-pole swing-up --------------------------------------------------------------------------

GRAVITY = 9.82  # m/s^2
CART, POLE = 0.5, 0.5  # kg
LENGTH = 0.6  # m
FRICTION = 0.1  # N s/m
FORCE = 10.0  # N
INTERVAL = 0.01  # s, of an Euler step
LIMIT = 2.4  # m to either side, beyond which an episode ends
EPISODE = 1000  # steps, hence the largest return
HANGING = np.asarray([0.0, 0.0, np.pi, 0.0], np.float32)
WIDTHS = np.asarray([LIMIT, 10.0, np.pi / 2, 10.0], np.float32)  # of hard starts around hanging
EPISODES = {"validation": 200, "test": 2000}  # few would add an error shared by all seeds


def forces(state: jax.Array, force: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Accelerations of cart (m/s^2) and pole (rad/s^2) at states (..., 4) under forces (...) in N.

    A state is position, velocity, angle (0 upright) and angular velocity; the pole a uniform rod.
    """
    _, speed, angle, spin = (state[..., place] for place in range(4))
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    total, moment = CART + POLE, POLE * LENGTH
    push = force - FRICTION * speed
    cart = (-2 * moment * spin**2 * sine + 3 * POLE * GRAVITY * sine * cosine + 4 * push) / (
        4 * total - 3 * POLE * cosine**2
    )
    pole = (
        -3 * moment * spin**2 * sine * cosine + 6 * total * GRAVITY * sine + 6 * push * cosine
    ) / (4 * LENGTH * total - 3 * moment * cosine**2)
    return cart, pole


def advance(state: jax.Array, action: jax.Array, interval: float = INTERVAL) -> jax.Array:
    """One Euler step of states (..., 4) under actions (...); positions use the old velocities."""
    cart, pole = forces(state, FORCE * jnp.clip(action, -1.0, 1.0))
    rates = jnp.stack([state[..., 1], cart, state[..., 3], pole], axis=-1)
    return state + interval * rates


def reward(state: jax.Array) -> jax.Array:
    """The reward of a step that ends in states (..., 4): at most 1, upright at the centre."""
    return (jnp.cos(state[..., 2]) + 1) / 2 * jnp.cos(jnp.pi * state[..., 0] / (2 * LIMIT))


def starts(key: jax.Array, episodes: int, *, hard: bool) -> jax.Array:
    """Initial states (episodes, 4): hanging nearly at rest, or anywhere, moving, not upright."""
    if not hard:
        return HANGING + 0.2 * jax.random.normal(key, (episodes, 4))
    return HANGING + WIDTHS * jax.random.uniform(key, (episodes, 4), minval=-1.0, maxval=1.0)


def policy(params: PyTree, state: jax.Array) -> jax.Array:
    """Actions (...) in -1 to 1 at states (..., 4), by an MLP 5-hidden-1 with tanh."""
    position, speed, angle, spin = (state[..., place] for place in range(4))
    seen = jnp.stack([position, speed, jnp.cos(angle), jnp.sin(angle), spin], axis=-1)
    hidden = jnp.tanh(seen @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    return jnp.tanh(hidden @ params["output"]["kernel"] + params["output"]["bias"])


def returns(params: PyTree, first: jax.Array) -> jax.Array:
    """The return of an episode from each initial state: (episodes, 4) -> (episodes,)."""

    def step(carry: PyTree, _: None) -> tuple[PyTree, None]:
        state, running, total = carry
        state = advance(state, policy(params, state))
        total = total + running * reward(state)
        running = jnp.where(jnp.abs(state[..., 0]) > LIMIT, 0.0, running)
        return (state, running, total), None

    begun = (first, jnp.ones(first.shape[:-1]), jnp.zeros(first.shape[:-1]))
    (_, _, total), _ = jax.lax.scan(step, begun, None, length=EPISODE)
    return total


def survivable(first: jax.Array) -> float:
    """The share of starts (episodes, 4) that full braking keeps on the track until the cart turns.

    The others fail under any policy, and lose most of their return.
    """
    first = jnp.asarray(first)
    brake = -jnp.sign(first[:, 1])

    def step(carry: PyTree, _: None) -> tuple[PyTree, None]:
        state, kept, turned = carry
        state = advance(state, brake)
        turned = turned | (state[:, 1] * brake >= 0)
        return (state, kept & (turned | (jnp.abs(state[:, 0]) <= LIMIT)), turned), None

    begun = (first, jnp.ones(len(first), bool), jnp.zeros(len(first), bool))
    (_, kept, _), _ = jax.lax.scan(step, begun, None, length=EPISODE // 2)
    return float(kept.mean())


@functools.cache
def cart_pole(hidden: int, repeats: int, *, hard: bool) -> Task:
    """Swing-up by an MLP; the score is the mean return of ``repeats`` episodes shared by all."""

    def init(key: jax.Array) -> PyTree:
        first, last = jax.random.split(key)
        return {
            "hidden": {
                "kernel": jax.random.normal(first, (5, hidden)) / 5**0.5,
                "bias": jnp.zeros(hidden),
            },
            "output": {
                "kernel": jax.random.normal(last, (hidden,)) / hidden**0.5,
                "bias": jnp.zeros(()),
            },
        }

    def score(params: PyTree, first: jax.Array) -> jax.Array:
        return jnp.mean(returns(params, first))

    return Task(
        init,
        lambda key, data: starts(key, repeats, hard=hard),
        score,
        lambda params, first: {"return": score(params, first)},
    )


@dataclass(frozen=True)
class Episodes:
    """Initial states of validation and test episodes, the same for all seeds and arms.

    ``starts`` maps splits to (episodes, 4) float32; the rest is for the record.
    """

    starts: dict[str, np.ndarray]
    digest: str
    version: str = "1.0.0"
    origin: str = "Generated: initial states of cart-pole swing-up episodes."
    licence: str = "none: random numbers"


def load(config: Any, name: str, folder: Path | None) -> Any:
    """Episodes of ``cart_pole_easy`` and ``cart_pole_hard``, or a data set of the library."""
    if not name.startswith("cart_pole_"):
        return data.load(name, folder)
    random = np.random.default_rng(2202_05008)
    drawn = {}
    for split, count in EPISODES.items():
        if name == "cart_pole_hard":
            drawn[split] = HANGING + WIDTHS * random.uniform(-1, 1, (count, 4))
        else:
            drawn[split] = HANGING + 0.2 * random.standard_normal((count, 4))
    found = {split: values.astype(np.float32) for split, values in drawn.items()}
    digest = hashlib.sha256(b"".join(values.tobytes() for values in found.values()))
    return Episodes(found, digest.hexdigest())
