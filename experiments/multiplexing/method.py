"""The method: inputs mapped and averaged into one, one pass of a network, outputs told apart.

A multiplexer maps input i of a group by a fixed matrix Q_i and passes on the sum over sqrt(N): one
input for the backbone, which runs once. A demultiplexer makes N outputs of what it gives. The
matrices are drawn anew for every seed and stand in the state beside the parameters, so that one
compiled program serves all kinds of them: which kind is a number of the lane.

What bounds a slot. With one map for all inputs (the identity, say) the mix is symmetric in them, so
a network can know at best which classes are in the group, and not where: with C balanced classes
it is right on E[max n_c] / N of the slots, n_c counting the inputs of class c (`floor`). This, and
not 1/C, is what a network scores that tells no slot from another; above it, slots are told apart.
A network trained with the labels of each group shuffled has maps to go by, so the bound holds for
it in the mean over seeds alone.
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
POLAR_STEPS = 40  # the smallest singular value grows by half a step, and 1.5^30 is 2e5
REDRAWS = 20  # groupings of the test set
SECOND_STAGE = 10**6  # its first step, so that it sees other batches than the stage before
LEFT_ALONE, IN_GROUPS, OVERALL = range(3)  # what is done to a lane's training labels


def maps(kind: jax.Array, key: jax.Array, inputs: int, width: int) -> jax.Array:
    """The matrices of a multiplexer, (inputs, width, width) float32.

    ``orthogonal``: Haar, as the orthogonal polar factors of Gaussian matrices. ``hadamard``: the
    elementwise product with a Gaussian vector of norm sqrt(width). All keep the mean square of an
    input, so that mixes of every kind have the same size.
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
    Matrices", 2008, section 8.3). Products alone: LAPACK under vmap can block on two CPU devices.
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
    """E[max_c n_c] / N for N inputs of C classes, balanced: what a symmetric network can reach.

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
    """A multiplexed network: what is learned, and what a group of inputs scores.

    init:  key -> params.
    width: of the multiplexer's maps.
    apply: (params, maps, inputs (groups, N, …), key) -> logits (groups, N, classes), and what else
           the loss reads. The key is for what is drawn at random.
    loss:  (lane, what apply gives, inputs, labels (groups, N)) -> scalar.
    watch: (what apply gives, inputs) -> further metrics on validation data.
    """

    init: Callable[[jax.Array], PyTree]
    width: int
    apply: Callable[[PyTree, jax.Array, jax.Array, jax.Array], Any]
    loss: Callable[[PyTree, Any, jax.Array, jax.Array], jax.Array]
    watch: Callable[[Any, jax.Array], Mapping[str, jax.Array]] = lambda outputs, inputs: {}


def trainer(
    network: Network, inputs: int, groups: int, *, learned: bool = False, warm_up: int = 20
) -> train.Trainer:
    """Adam on fresh random groups, drawn with replacement; tested on groups drawn anew.

    A lane has ``seed``, ``learning_rate``, ``maps`` (a number of `MAPS`) and ``shuffled`` (how its
    training labels are); and, in a second stage, the parameters ``start``. Data is
    what `with_orders` gives.

    Args:
        network: the network.
        inputs:  N, of a group.
        groups:  of a training step.
        learned: whether the maps are trained too, from where they are drawn.
        warm_up: steps until the whole learning rate.
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
        """Accuracy of every slot (N,), over one grouping of a split; what is left over is not."""
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
    """Labels (groups, N): as they are, turned within each group, or those of another group.

    Inputs are drawn at random, so a turn gives every slot the label of a random input of its group,
    which is all that a slot sees of a shuffle. What it needs no random numbers for takes XLA less
    time to compile.
    """
    groups, inputs = labels.shape
    places = jnp.arange(groups)[:, None] + jnp.arange(inputs)[None, :] + step.astype(jnp.int32)
    within = jnp.take_along_axis(labels, places % inputs, axis=1)
    others = jnp.roll(labels, 1, axis=0)
    return jnp.select([how == IN_GROUPS, how == OVERALL], [within, others], labels)


def initialiser(model: models.Model) -> Callable[[jax.Array], PyTree]:
    """Parameters of a model from one draw: matrices normal over sqrt(fan-in), the rest as it is.

    The model's own start draws for each layer, and every draw takes XLA half a second to compile.
    """

    def init(key: jax.Array) -> PyTree:
        params = model.init(jax.random.key(0))  # constants are read off; what is drawn is not used
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
    """The splits, and orders in which those that are not trained on fall into groups.

    The test set is grouped `REDRAWS` times, in ways that no training step knows; all arms and seeds
    are tested on the same groups.
    """
    draw = np.random.default_rng(0)
    orders = {
        name: np.stack([draw.permutation(len(splits[name][1])) for _ in range(times)])
        for name, times in (("validation", 1), ("test", REDRAWS))
    }
    return {**splits, "orders": {name: order.astype(np.int32) for name, order in orders.items()}}


def log_odds(accuracy: Any, trials: int) -> np.ndarray:
    """log(right / wrong) of a share of so many trials, with half a trial added to both.

    A quantity without a ceiling: between 98 and 99 % lies as much as between 2 and 1 % of errors.
    """
    right = np.asarray(accuracy, np.float64) * trials
    return np.log(right + 0.5) - np.log(trials - right + 0.5)


def late_gains(task: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
    """Points of validation accuracy that each arm gained in the last tenth of its log points.

    Beside those of the tenth before; seed by seed, 0 for a lane that diverged.
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
    """What keeps arms from deciding that still learn: half a point in the last tenth, or more."""
    found = [arm["late_gain"].mean() for arm in arms if "late_gain" in arm]
    most = max(found, default=0.0)
    return f"accuracy still climbs, by {most:.1f} points in the last tenth" if most >= 0.5 else ""


def numbers(kind: str, shuffled: int = LEFT_ALONE, **more: float) -> Mapping[str, Any]:
    """What a lane holds besides its seed and its learning rate."""
    return {"maps": MAPS[kind], "shuffled": shuffled, **more}
