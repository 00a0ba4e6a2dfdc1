"""The method: map inputs and average them into one, run the network once, separate the outputs.

A multiplexer maps input i of a group by a fixed matrix Q_i and passes on the sum over sqrt(N): one
input for the backbone, which runs once. A demultiplexer turns its output into N outputs. The
matrices are drawn for every seed and kept in the state with the parameters, so that one compiled
program serves all kinds of maps: the kind is a number of the lane.

The bound for a slot. With the same map for all inputs (the identity, say) the mix is symmetric in
them, so a network can at best know which classes are in the group, but not where. With C balanced
classes it is right on E[max n_c] / N of the slots, where n_c counts the inputs of class c
(`floor`). That, not 1/C, is the score of a network that cannot tell slots apart; above it, slots
are separated. A network trained with labels shuffled within each group still has distinct maps, so
for it the bound holds only in the mean over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxtrends import models, optimizers, train

PyTree = Any

MAPS = {"identity": 0, "orthogonal": 1, "hadamard": 2}  # kind -> the lane's number for it
POLAR_STEPS = 40  # the smallest singular value grows by 1.5 per step, and 1.5^30 is 2e5
REDRAWS = 20  # groupings of the test set
SECOND_STAGE = 10**6  # its first step, so that its batches differ from those of the first stage
LEFT_ALONE, IN_GROUPS, OVERALL = range(3)  # how a lane's training labels are shuffled


def maps(kind: jax.Array, key: jax.Array, inputs: int, width: int) -> jax.Array:
    """The matrices of a multiplexer, (inputs, width, width) float32.

    ``orthogonal``: Haar, as the orthogonal polar factors of Gaussian matrices. ``hadamard``: the
    elementwise product with a Gaussian vector of norm sqrt(width). All preserve an input's mean
    square, so mixes of every kind have the same scale.
    """
    drawn = jax.random.normal(key, (inputs, width, width))
    vectors = drawn[:, 0]
    vectors = vectors / jnp.sqrt(jnp.mean(vectors**2, axis=-1, keepdims=True))
    identity = jnp.broadcast_to(jnp.eye(width), drawn.shape)
    found = (identity, polar(drawn), vectors[:, :, None] * identity)
    return jnp.select([kind == number for number in MAPS.values()], found)


def polar(matrices: jax.Array) -> jax.Array:
    """Orthogonal polar factors, (..., n, n), by Newton and Schulz's iteration.

    X <- X (3 - X'X) / 2 takes every singular value below sqrt(3) to one (Higham, "Functions of
    Matrices", 2008, section 8.3). It uses only products: LAPACK under vmap can deadlock on two CPU
    devices.
    """

    def body(_: int, x: jax.Array) -> jax.Array:
        gram = jnp.einsum("...ji,...jk->...ik", x, x, precision="highest")
        return 1.5 * x - 0.5 * jnp.einsum("...ij,...jk->...ik", x, gram, precision="highest")

    # The Frobenius norm over half of sqrt(n) is, for a Gaussian matrix, about the largest.
    norms = jnp.sqrt(jnp.sum(matrices**2, axis=(-2, -1), keepdims=True))
    start = matrices / norms * (0.4 * math.sqrt(matrices.shape[-1]))
    return jax.lax.fori_loop(0, POLAR_STEPS, body, start)


def mix(matrices: jax.Array, inputs: jax.Array) -> jax.Array:
    """sum_i Q_i x_i / sqrt(N): (N, d, d), (groups, N, …, d) -> (groups, …, d)."""
    mixed = jnp.einsum("nij,gn...j->g...i", matrices, inputs)
    return mixed / math.sqrt(matrices.shape[0])


def floor(inputs: int, classes: int) -> float:
    """E[max_c n_c] / N for N inputs of C balanced classes: the bound of a symmetric network.

    P(max <= m) is N! times the coefficient of x^N in (sum_{k <= m} x^k / k!)^C, over C^N.
    """
    below = []
    for most in range(inputs):
        series = np.array([1 / math.factorial(k) for k in range(most + 1)])
        power = np.array([1.0])
        for _ in range(classes):
            power = np.convolve(power, series)[: inputs + 1]
        coefficient = power[inputs] if power.size > inputs else 0.0
        below.append(coefficient * math.factorial(inputs) / classes**inputs)
    return float(inputs - sum(below)) / inputs


@dataclass(frozen=True)
class Network:
    """A multiplexed network.

    init:  key -> params.
    width: of the multiplexer's maps.
    apply: (params, maps, inputs (groups, N, …), key) -> logits (groups, N, classes), and anything
           else that the loss needs. The key is for random draws.
    loss:  (lane, outputs of apply, inputs, labels (groups, N)) -> scalar.
    watch: (outputs of apply, inputs) -> further metrics on validation data.
    """

    init: Callable[[jax.Array], PyTree]
    width: int
    apply: Callable[[PyTree, jax.Array, jax.Array, jax.Array], Any]
    loss: Callable[[PyTree, Any, jax.Array, jax.Array], jax.Array]
    watch: Callable[[Any, jax.Array], Mapping[str, jax.Array]] = lambda outputs, inputs: {}


def trainer(
    network: Network, inputs: int, groups: int, *, learned: bool = False, warm_up: int = 20
) -> train.Trainer:
    """Adam on fresh random groups, drawn with replacement; tested on redrawn groups.

    A lane has ``seed``, ``learning_rate``, ``maps`` (a number of `MAPS`), ``shuffled`` (how its
    training labels are shuffled) and, in a second stage, the parameters ``start``. Data comes from
    `with_orders`.

    Args:
        network: the network.
        inputs:  inputs per group, N.
        groups:  groups per training step.
        learned: whether the maps are trained too, from their initial draw.
        warm_up: steps of learning-rate warm-up.
    """
    optimizer = optimizers.adam(warm_up)

    def fixed(lane: PyTree) -> jax.Array:
        key = jax.random.fold_in(train.streams(lane["seed"])[0], 1)
        return maps(lane["maps"], key, inputs, network.width)

    def init(lane: PyTree, data: PyTree) -> PyTree:
        matrices = fixed(lane)
        if "start" in lane:
            params = lane["start"]
        else:
            params = {"network": network.init(train.streams(lane["seed"])[0])}
            params |= {"maps": matrices} if learned else {}
        memory = train.relaxed(optimizer(lane).init)(params)
        return {
            "params": params,
            "maps": matrices,
            "optimizer": memory,
            "step": jnp.full((), SECOND_STAGE if "start" in lane else 0, jnp.int32),
        }

    def step(lane: PyTree, state: PyTree, data: PyTree) -> tuple[PyTree, PyTree]:
        _, order, noise = train.streams(lane["seed"])
        rows = jax.random.randint(
            jax.random.fold_in(order, state["step"]),
            (groups * inputs,),
            0,
            data["train"][1].shape[0],
            jnp.int32,
        )
        batch, labels = grouped(data["train"], rows, inputs)
        key = jax.random.fold_in(noise, state["step"])
        labels = shuffle(lane["shuffled"], state["step"], labels)

        def loss(params: PyTree) -> jax.Array:
            matrices = params.get("maps", state["maps"])
            outputs = network.apply(params["network"], matrices, batch, key)
            return network.loss(lane, outputs, batch, labels)

        value, gradient = jax.value_and_grad(loss)(state["params"])
        update, memory = train.relaxed(optimizer(lane).update)(
            gradient, state["optimizer"], state["params"]
        )
        params = jax.tree.map(jnp.add, state["params"], update)
        moved = {"params": params, "optimizer": memory, "step": state["step"] + 1}
        return {**state, **moved}, {"training_loss": value}

    def scores(state: PyTree, data: PyTree, name: str, order: jax.Array) -> tuple[Any, Any]:
        """Accuracy per slot (N,) over one grouping of a split; an incomplete group is dropped."""
        rows = order[: order.shape[0] // inputs * inputs]
        batch, labels = grouped(data[name], rows, inputs)
        matrices = state["params"].get("maps", state["maps"])
        params, key = state["params"]["network"], jax.random.key(0)
        outputs = network.apply(params, matrices, batch, key)
        right = (jnp.argmax(outputs[0], axis=-1) == labels).astype(jnp.float32)
        return jnp.mean(right, axis=0), network.watch(outputs, batch)

    def evaluate(lane: PyTree, state: PyTree, data: PyTree) -> PyTree:
        order = data["orders"]["validation"][0]
        each, watched = scores(state, data, "validation", order)
        watched = {f"validation_{name}": value for name, value in watched.items()}
        return {"validation_accuracy": jnp.mean(each), **watched}

    def test(lane: PyTree, state: PyTree, data: PyTree) -> PyTree:
        orders = data["orders"]["test"]
        each = jax.lax.map(lambda order: scores(state, data, "test", order)[0], orders)
        each = each.mean(axis=0)
        return {
            "test_accuracy": jnp.mean(each),
            "test_worst_slot": jnp.min(each),
            "test_slots": each,
        }

    return train.Trainer(init, step, evaluate, test)


def grouped(split: PyTree, rows: jax.Array, inputs: int) -> tuple[jax.Array, jax.Array]:
    """Rows of a split in groups of N: inputs (groups, N, …) and labels (groups, N)."""
    batch, labels = split[0][rows], split[1][rows]
    return batch.reshape(-1, inputs, *batch.shape[1:]), labels.reshape(-1, inputs)


def shuffle(how: jax.Array, step: jax.Array, labels: jax.Array) -> jax.Array:
    """Labels (groups, N): unchanged, rotated within each group, or those of another group.

    Inputs are drawn at random, so a rotation gives every slot the label of a random input of its
    group, which is all that a slot sees of a shuffle. Without random numbers XLA compiles faster.
    """
    groups, inputs = labels.shape
    places = jnp.arange(groups)[:, None] + jnp.arange(inputs)[None, :] + step.astype(jnp.int32)
    within = jnp.take_along_axis(labels, places % inputs, axis=1)
    others = jnp.roll(labels, 1, axis=0)
    return jnp.select([how == IN_GROUPS, how == OVERALL], [within, others], labels)


def initialiser(model: models.Model) -> Callable[[jax.Array], PyTree]:
    """Parameters of a model from one draw: matrices normal / sqrt(fan-in), the rest unchanged.

    The model's own init draws per layer, and every draw takes XLA half a second to compile.
    """

    def init(key: jax.Array) -> PyTree:
        params = model.init(jax.random.key(0))  # for the constants; its random draws are not used
        leaves, structure = jax.tree.flatten(params)
        drawn = jax.random.normal(key, (sum(leaf.size for leaf in leaves),))
        found, at = [], 0
        for leaf in leaves:
            if leaf.ndim > 1:
                part = drawn[at : at + leaf.size].reshape(leaf.shape)
                leaf = part / math.sqrt(leaf.shape[-2])
            found.append(leaf)
            at += leaf.size
        return jax.tree.unflatten(structure, found)

    return init


def with_orders(splits: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """The splits, and the orders that group validation and test data.

    The test set is grouped `REDRAWS` times, independently of training; all arms and seeds are
    tested on the same groups.
    """
    draw = np.random.default_rng(0)
    orders = {
        name: np.stack([draw.permutation(len(splits[name][1])) for _ in range(times)])
        for name, times in (("validation", 1), ("test", REDRAWS))
    }
    return {**splits, "orders": {name: order.astype(np.int32) for name, order in orders.items()}}


def log_odds(accuracy: Any, trials: int) -> np.ndarray:
    """log(right / wrong) of a share of ``trials``, with half a trial added to both.

    A quantity without a ceiling: it counts relative changes of the error, as from 2% to 1%.
    """
    right = np.asarray(accuracy, np.float64) * trials
    return np.log(right + 0.5) - np.log(trials - right + 0.5)


def late_gains(task: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
    """Points of validation accuracy gained in the last tenth of log points over the tenth before.

    Seed by seed; 0 for a lane that diverged.
    """
    arms = {}
    for name, curve in curves.items():
        arm, metric = name.rsplit("/", 1)
        tenth = max(1, curve.shape[1] // 10)
        if metric == "validation_accuracy" and curve.shape[1] >= 2 * tenth:
            last, before = curve[:, -tenth:], curve[:, -2 * tenth : -tenth]
            gain = 100 * (last.mean(axis=1) - before.mean(axis=1))
            arms[arm] = {"late_gain": np.where(np.isfinite(gain), gain, 0.0).astype(np.float64)}
    return {"arms": arms}


def climbing(*arms: Any) -> str:
    """Why arms cannot decide yet: they still gain at least half a point in the last tenth."""
    found = [arm["late_gain"].mean() for arm in arms if "late_gain" in arm]
    most = max(found, default=0.0)
    late = f"accuracy still rises, by {most:.1f} points in the last tenth of training"
    return late if most >= 0.5 else ""


def numbers(kind: str, shuffled: int = LEFT_ALONE, **more: float) -> Mapping[str, Any]:
    """A lane's numbers besides its seed and learning rate."""
    return {"maps": MAPS[kind], "shuffled": shuffled, **more}
