"""Mixture of experts: every token chooses its experts, which have a limited capacity.

Notation: G routing groups of T tokens of width d; E experts with hidden width f; each token makes k
choices (top-k); each expert has capacity for C tokens (slots) in every group. Choices beyond the
capacity are dropped: the expert adds nothing to the token, and the residual connection around the
layer passes it on.

Tokens move to the experts' buffers and back by index: a token knows its slots and a slot knows its
token, so forward and backward passes are gathers, without sums in an order that could change.

Papers: Shazeer et al. ("Outrageously Large Neural Networks", 2017), Lepikhin et al. ("GShard",
2020), Fedus et al. ("Switch Transformers", 2021), Zoph et al. ("ST-MoE", 2022), Rajbhandari et al.
("DeepSpeed-MoE", 2022).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxtrends import mesh
from jaxtrends.errors import Problem, choose, require_positive

if TYPE_CHECKING:
    from flax import nnx

Params = Any  # router (d, E); up (E, d, f), down (E, f, d); residual: dense_up, dense_down

DISPATCHES = {
    "index": "capacity buffers, filled and emptied by index",
    "one_hot": "the same with one-hot matrix products, as the papers define it; slow",
    "ragged": "no buffers, no drops: jax.lax.ragged_dot over tokens sorted by expert",
}
ROUTER_DTYPES = ("float32", "bfloat16")
STACKED = ("up", "down")  # the parameters of a layer that have a leading axis of experts
ASSIGNMENTS = {
    "learned": "a learned router",
    "fixed": "an untrained router with logits balanced over the group: a random function of the "
    "token with a nearly even load",
    "position": "round-robin: token t of a group goes to expert t modulo E, whatever the token is",
}


@dataclass(frozen=True)
class Mixture:
    """A layer of experts."""

    experts: int = 16
    """Experts in the layer, E."""
    top: int = 1
    """Experts per token, k. A single expert's output is weighted with the router's probability;
    with several, the probabilities are normalised to sum to one."""
    capacity_factor: float = 1.25
    """Slots per expert as a multiple of its fair share of tokens: ceil(factor * T / E) in each
    group of T tokens, regardless of k (flaxformer's convention; others multiply by k)."""
    residual: bool = False
    """Add a dense layer of the same hidden width for every token (DeepSpeed-MoE)."""
    router_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the router's product and softmax, independent of the model's."""
    jitter: float = 0.0
    """In training, the router's inputs are multiplied by uniform numbers from 1 +- this."""
    dispatch: Literal["index", "one_hot", "ragged"] = "index"
    """How tokens move to their experts."""
    assignment: Literal["learned", "fixed", "position"] = "learned"
    """How tokens are assigned to experts. Unless it is learned, no gradient flows into or through
    the router, and all of a token's experts have equal weights that sum to one. A learned router
    could use these weights, so the two differ only in the assignment (as in Roller et al., "Hash
    Layers", 2021)."""


def check(mixture: Mixture, tokens: int) -> None:
    """Refuse an invalid layer, for routing groups of ``tokens``.

    Raises:
        Problem: names the setting.
    """
    require_positive(
        experts=mixture.experts, top=mixture.top, capacity_factor=mixture.capacity_factor
    )
    choose("router dtype", mixture.router_dtype, ROUTER_DTYPES)
    choose("dispatch", mixture.dispatch, DISPATCHES)
    choose("assignment", mixture.assignment, ASSIGNMENTS)
    if mixture.top > mixture.experts:
        raise Problem(
            f"A token cannot choose {mixture.top} of {mixture.experts} experts: lower top, or "
            "raise experts."
        )
    if mixture.experts > tokens:
        raise Problem(
            f"{mixture.experts} experts are more than the {tokens} tokens of a routing group: use "
            "fewer experts or larger groups."
        )
    if not 0 <= mixture.jitter < 1:
        raise Problem(f"jitter must be at least 0 and below 1, not {mixture.jitter}.")


def places(tokens: int, mixture: Mixture) -> int:
    """C, the slots of an expert in a group of ``tokens``; at most one per token."""
    return min(tokens, math.ceil(mixture.capacity_factor * tokens / mixture.experts))


# --- routing -------------------------------------------------------------------------------------


class Routing(NamedTuple):
    """The routing of one group.

    expert: (k, T) int32, the experts that each token chose.
    place:  (k, T) int32, each choice's slot in the concatenated buffers; E C if dropped.
    token:  (E C,) int32, the token in each slot; T if empty.
    gate:   (k, T) float, the weight of each choice.
    """

    expert: jax.Array
    place: jax.Array
    token: jax.Array
    gate: jax.Array


def route(probabilities: jax.Array, top: int, capacity: int) -> Routing:
    """Choose the ``top`` likeliest experts of each token and assign slots.

    First choices come before second ones, and tokens in order. Ties go to the lowest expert.

    Args:
        probabilities: (T, E) float.
        top:           k.
        capacity:      C.
    """
    tokens, experts = probabilities.shape
    numbers = jnp.arange(experts, dtype=jnp.int32)
    left, chosen, gates = probabilities, [], []
    for _ in range(top):
        # An argmax, which XLA's CPU compiler turns into a slow loop.
        largest = jnp.max(left, axis=-1, keepdims=True)
        expert = jnp.min(jnp.where(left == largest, numbers, experts), axis=-1)
        expert = jnp.minimum(expert, experts - 1)  # for NaN probabilities
        taken = expert[:, None] == numbers
        chosen.append(expert)
        gates.append(jnp.sum(jnp.where(taken, probabilities, 0), axis=-1))
        left = jnp.where(taken, -jnp.inf, left)
    gate = jnp.stack(gates)
    if top > 1:
        gate = gate / jnp.sum(gate, axis=0)
    expert = jnp.concatenate(chosen)
    position = _earlier(expert, experts)
    nowhere = jnp.int32(experts * capacity)
    place = jnp.where(position < capacity, expert * capacity + position, nowhere)
    names = jnp.tile(jnp.arange(tokens, dtype=jnp.int32), top)
    token = jnp.full(experts * capacity + 1, tokens, jnp.int32).at[place].set(names)[:-1]
    shape = (top, tokens)
    return Routing(expert.reshape(shape), place.reshape(shape), token, gate)


def _earlier(expert: jax.Array, experts: int) -> jax.Array:
    """For each choice, how many earlier ones are of the same expert: (n,) int32 -> (n,) int32.

    Counted over blocks, then within a block: on a CPU with 64 experts this takes a quarter of the
    time of a cumulative sum over n one-hot rows.
    """
    block = 32
    blocks = -(-expert.size // block)
    line = jnp.pad(expert, (0, blocks * block - expert.size), constant_values=experts)
    line = line.reshape(blocks, block)
    one_hot = jax.nn.one_hot(line, experts, dtype=jnp.float32)  # whole numbers below 2^24: exact
    before = jnp.tril(jnp.ones((blocks, blocks), jnp.float32), -1) @ jnp.sum(one_hot, axis=1)
    elsewhere = jnp.sum(one_hot * before[:, None], axis=-1)
    same = (line[:, :, None] == line[:, None, :]) & jnp.tril(jnp.ones((block, block), bool), -1)
    here = jnp.sum(same.astype(jnp.int32), axis=-1)
    return (elsewhere.astype(jnp.int32) + here).reshape(-1)[: expert.size]


def shares(experts: int, chosen: jax.Array) -> jax.Array:
    """Share of choices for each expert, before drops: (..., n) int -> (..., E)."""
    return jnp.mean(jax.nn.one_hot(chosen, experts, dtype=jnp.float32), axis=-2)


def load_balance(share: jax.Array, probability: jax.Array) -> jax.Array:
    """E times the sum over experts of share x probability: (..., E), (..., E) -> (...).

    ``share`` is of first choices, before drops; ``probability`` is the mean over the same tokens,
    and only it carries a gradient. The loss is 1 if both are uniform, and E if everything goes to
    one expert. (Switch Transformers, equation 4; ST-MoE, appendix A.)
    """
    return share.shape[-1] * jnp.sum(jax.lax.stop_gradient(share) * probability, axis=-1)


def router_z(logits: jax.Array) -> jax.Array:
    """Mean over tokens of the squared logarithm of the sum of exp(logits) (ST-MoE, equation 5)."""
    return jnp.mean(jnp.square(jax.nn.logsumexp(logits, axis=-1)))


class Report(NamedTuple):
    """A layer's auxiliary outputs: losses to add, and metrics.

    All are () float32 except the last two. Balance and z have no coefficient yet.
    """

    balance: jax.Array  # of the load over all tokens of all groups and devices
    group_balance: jax.Array  # of the load within each routing group, mean over groups
    z: jax.Array
    dropped: jax.Array  # share of dropped choices
    entropy: jax.Array  # of the router's probabilities, mean over tokens, in nats
    confidence: jax.Array  # the largest probability, mean over tokens
    largest_logit: jax.Array  # in absolute value
    load: jax.Array  # (E,) float32: share of all choices, before drops
    expert: jax.Array  # (G, k, T) int32: each token's choices, before drops


# --- moving tokens -------------------------------------------------------------------------------


@jax.custom_vjp
def dispatch(inputs: jax.Array, routing: Routing) -> jax.Array:
    """Copy tokens into their slots: (T, d) -> (E C, d), zeros in empty slots."""
    return inputs.at[routing.token].get(mode="fill", fill_value=0)


def _dispatch_forward(inputs: jax.Array, routing: Routing) -> tuple[jax.Array, Routing]:
    return dispatch(inputs, routing), routing


def _dispatch_backward(routing: Routing, cotangent: jax.Array) -> tuple[jax.Array, None]:
    return _sum_of(_fetch(cotangent, routing.place)), None


dispatch.defvjp(_dispatch_forward, _dispatch_backward)


@jax.custom_vjp
def combine(outputs: jax.Array, gate: jax.Array, routing: Routing) -> jax.Array:
    """The weighted sum of each token's expert outputs: (E C, d), (k, T) -> (T, d)."""
    weight = gate.astype(outputs.dtype)[..., None]
    return _sum_of(weight * _fetch(outputs, routing.place))


def _combine_forward(
    outputs: jax.Array, gate: jax.Array, routing: Routing
) -> tuple[jax.Array, Any]:
    return combine(outputs, gate, routing), (outputs, gate, routing)


def _combine_backward(saved: Any, cotangent: jax.Array) -> tuple[jax.Array, jax.Array, None]:
    outputs, gate, routing = saved
    # The weight of each slot's choice: a slot has one token, and one of its choices.
    weights = jnp.zeros(outputs.shape[0] + 1, gate.dtype).at[routing.place].set(gate)[:-1]
    back = weights.astype(cotangent.dtype)[:, None] * dispatch(cotangent, routing)
    heard = _fetch(outputs, routing.place)
    slope = jnp.sum(heard.astype(gate.dtype) * cotangent.astype(gate.dtype)[None], axis=-1)
    return back.astype(outputs.dtype), slope, None


combine.defvjp(_combine_forward, _combine_backward)


def _fetch(outputs: jax.Array, place: jax.Array) -> jax.Array:
    """The contents of slots, zeros for dropped choices: (E C, d), (k, T) -> (k, T, d)."""
    return outputs.at[place].get(mode="fill", fill_value=0)


def _sum_of(parts: jax.Array) -> jax.Array:
    """Sum over the leading axis, in order."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


# --- the layer -----------------------------------------------------------------------------------


def mixture_layer(
    params: Params,
    inputs: jax.Array,
    mixture: Mixture,
    *,
    key: jax.Array | None = None,
    axes: tuple[str, ...] = (),
) -> tuple[jax.Array, Report]:
    """Send every token to its experts and sum their outputs.

    Args:
        params:  ``router`` (d, E), ``up`` (E, d, f), ``down`` (E, f, d); with ``residual`` also
                 ``dense_up`` (d, f) and ``dense_down`` (f, d).
        inputs:  (G, T, d): separately routed groups.
        mixture: the layer's settings.
        key:     for the jitter; None for no jitter, as in evaluation.
        axes:    inside `jax.shard_map`, the mesh axes that groups are sharded over; experts are
                 sharded over the last of them. ``params`` then has this device's experts and
                 ``inputs`` its groups.

    Returns:
        (G, T, d) outputs in the dtype of the inputs, and the report, over all devices.

    Raises:
        Problem: inconsistent settings, or settings that do not fit the inputs.
    """
    groups, tokens, width = inputs.shape
    check(mixture, tokens)
    logits = _logits(params["router"], inputs, mixture, key)
    if mixture.assignment == "fixed":
        logits = _evened(logits)
    elif mixture.assignment == "position":
        logits = jnp.broadcast_to(_turns(tokens, mixture.experts), logits.shape)
    probabilities = jax.nn.softmax(logits)
    capacity = places(tokens, mixture)
    routing = jax.vmap(lambda p: route(p, mixture.top, capacity))(probabilities)
    if mixture.assignment != "learned":
        logits, probabilities = jax.lax.stop_gradient((logits, probabilities))
        routing = routing._replace(gate=jnp.full_like(routing.gate, 1 / mixture.top))
    if mixture.dispatch == "ragged":
        outputs, dropped = _ragged(params, inputs, routing), jnp.zeros((), jnp.float32)
    else:
        put, take = (_put, _take) if mixture.dispatch == "one_hot" else (dispatch, combine)
        buffers = jax.vmap(put)(inputs, routing)  # (G, E C, d)
        buffers = buffers.reshape(groups, mixture.experts, capacity, width).swapaxes(0, 1)
        answers = _experts(params, buffers, axes).swapaxes(0, 1)
        answers = answers.reshape(groups, mixture.experts * capacity, width)
        outputs = jax.vmap(take)(answers, routing.gate, routing)
        nowhere = mixture.experts * capacity
        dropped = jnp.mean((routing.place == nowhere).astype(jnp.float32))
    if mixture.residual:
        outputs = outputs + jax.nn.relu(inputs @ params["dense_up"]) @ params["dense_down"]
    return outputs, _report(logits, probabilities, routing, dropped, mixture, axes)


def _logits(
    router: jax.Array, inputs: jax.Array, mixture: Mixture, key: jax.Array | None
) -> jax.Array:
    dtype = jnp.dtype(mixture.router_dtype)
    seen = inputs.astype(dtype)
    if mixture.jitter and key is not None:
        least, most = 1 - mixture.jitter, 1 + mixture.jitter
        seen = seen * jax.random.uniform(key, seen.shape, dtype, least, most)
    return jnp.matmul(seen, router.astype(dtype), precision="highest")


def _evened(logits: jax.Array) -> jax.Array:
    """Each expert's logits, standardised over the group: (G, T, E).

    Otherwise, what all tokens have in common would send most of them to a few experts. The mean
    includes later tokens, which a real router could not use, but it is a fair stand-in.
    """
    apart = logits - jnp.mean(logits, axis=1, keepdims=True)
    return apart * jax.lax.rsqrt(jnp.mean(jnp.square(apart), axis=1, keepdims=True) + 1e-12)


def _turns(tokens: int, experts: int) -> jax.Array:
    """(T, E) float32: largest at expert t modulo E for token t, then decreasing cyclically."""
    token = jnp.arange(tokens, dtype=jnp.int32)[:, None]
    return -((jnp.arange(experts, dtype=jnp.int32) - token) % experts).astype(jnp.float32)


def _experts(params: Params, buffers: jax.Array, axes: tuple[str, ...]) -> jax.Array:
    """The experts' outputs for their buffers: (E, G, C, d) -> the same shape."""
    experts, groups, capacity, width = buffers.shape
    rows = buffers.reshape(experts, groups * capacity, width)
    if axes:  # my groups, all experts -> all groups, my experts
        rows = jax.lax.all_to_all(rows, axes[-1], split_axis=0, concat_axis=1, tiled=True)
    hidden = jax.nn.relu(jnp.einsum("ecd,edf->ecf", rows, params["up"]))
    rows = jnp.einsum("ecf,efd->ecd", hidden, params["down"])
    if axes:
        rows = jax.lax.all_to_all(rows, axes[-1], split_axis=1, concat_axis=0, tiled=True)
    return rows.reshape(experts, groups, capacity, width)


def _ragged(params: Params, inputs: jax.Array, routing: Routing) -> jax.Array:
    """Without drops: tokens of all groups sorted by expert, with ragged products.

    On a CPU `jax.lax.ragged_dot` is a masked dense product whose cost grows with E.
    """
    top, experts = routing.expert.shape[1], params["up"].shape[0]
    flat = inputs.reshape(-1, inputs.shape[-1])
    expert, gate = (part.swapaxes(0, 1).reshape(top, -1) for part in (routing.expert, routing.gate))
    order = jnp.argsort(expert.reshape(-1), stable=True)
    sizes = jnp.sum(jax.nn.one_hot(expert, experts, dtype=jnp.int32), axis=(0, 1))
    rows = jnp.tile(flat, (top, 1))[order]
    hidden = jax.nn.relu(jax.lax.ragged_dot(rows, params["up"], sizes))
    answers = jax.lax.ragged_dot(hidden, params["down"], sizes)[jnp.argsort(order)]
    weighted = gate.astype(answers.dtype)[..., None] * answers.reshape(top, *flat.shape)
    return _sum_of(weighted).reshape(inputs.shape)


def _put(inputs: jax.Array, routing: Routing) -> jax.Array:
    """`dispatch` by its definition."""
    seats = _seats(routing, inputs.dtype)
    return jnp.einsum("ktp,td->pd", seats, inputs)


def _take(outputs: jax.Array, gate: jax.Array, routing: Routing) -> jax.Array:
    """`combine` by its definition."""
    seats = _seats(routing, outputs.dtype)
    return jnp.einsum("kt,ktp,pd->td", gate.astype(outputs.dtype), seats, outputs)


def _seats(routing: Routing, dtype: jnp.dtype) -> jax.Array:
    return jax.nn.one_hot(routing.place, routing.token.shape[0], dtype=dtype)


def _report(
    logits: jax.Array,
    probabilities: jax.Array,
    routing: Routing,
    dropped: jax.Array,
    mixture: Mixture,
    axes: tuple[str, ...],
) -> Report:
    logits, probabilities = logits.astype(jnp.float32), probabilities.astype(jnp.float32)
    over_devices = (lambda x: jax.lax.pmean(x, axes)) if axes else (lambda x: x)
    share = shares(mixture.experts, routing.expert[:, 0])  # (G, E)
    load = jnp.mean(shares(mixture.experts, routing.expert), axis=(0, 1))
    probability = jnp.mean(probabilities, axis=1)
    overall = (over_devices(jnp.mean(part, axis=0)) for part in (share, probability))
    entropy = -jnp.sum(jax.scipy.special.xlogy(probabilities, probabilities), axis=-1)
    largest = jnp.max(jnp.abs(jax.lax.stop_gradient(logits)))
    report = Report(
        balance=load_balance(*overall),
        group_balance=jnp.mean(load_balance(share, probability)),
        z=router_z(logits),
        dropped=dropped,
        entropy=jnp.mean(entropy),
        confidence=jnp.mean(jnp.max(probabilities, axis=-1)),
        largest_logit=jax.lax.pmax(largest, axes) if axes else largest,
        load=load,
        expert=routing.expert,
    )
    # The maximum is not averaged, and each device keeps the choices of its own groups.
    apart = {"largest_logit": report.largest_logit, "expert": report.expert}
    means = jax.tree.map(over_devices, report._replace(**dict.fromkeys(apart, jnp.zeros(()))))
    return means._replace(**apart)


def make_layer(mixture: Mixture, width: int, hidden: int, rngs: nnx.Rngs) -> nnx.Module:
    """The layer as a Flax NNX module: (G, T, d) -> ((G, T, d), `Report`).

    The router is initialised normal with standard deviation 0.02, so that all experts are about
    equally likely; an expert is initialised like a dense layer of its size.

    Args:
        mixture: settings.
        width:   d.
        hidden:  f.
        rngs:    Flax's streams; ``params`` is used.
    """
    from flax import nnx

    fan_in = jax.nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")
    stacked = jax.nn.initializers.variance_scaling(
        1.0, "fan_in", "truncated_normal", batch_axis=(0,)
    )
    shapes = {
        "router": (jax.nn.initializers.normal(0.02), (width, mixture.experts)),
        "up": (stacked, (mixture.experts, width, hidden)),
        "down": (stacked, (mixture.experts, hidden, width)),
    }
    if mixture.residual:
        shapes["dense_up"] = (fan_in, (width, hidden))
        shapes["dense_down"] = (fan_in, (hidden, width))

    class MixtureLayer(nnx.Module):
        def __init__(self) -> None:
            for name, (initialise, shape) in shapes.items():
                setattr(self, name, nnx.Param(initialise(rngs.params(), shape, jnp.float32)))

        def __call__(
            self, inputs: jax.Array, key: jax.Array | None = None
        ) -> tuple[jax.Array, Report]:
            params = {name: getattr(self, name)[...] for name in shapes}
            around = mesh.around()
            if around is not None and key is None:
                return expert_parallel(params, inputs, mixture, around, mesh.AXES)
            return mixture_layer(params, inputs, mixture, key=key)

    return MixtureLayer()


def expert_parallel(
    params: Params, inputs: jax.Array, mixture: Mixture, over: Any, axes: tuple[str, ...]
) -> tuple[jax.Array, Report]:
    """The layer with groups sharded over some axes of a mesh, and experts over the last of them.

    Args:
        params:  of the whole layer; experts are sharded over the last axis, the rest is
                 replicated. Jit this with its caller.
        inputs:  (G, T, d); G must be a multiple of the devices along all axes, E of those along
                 the last.
        mixture: settings.
        over:    a `jax.sharding.Mesh`, or an abstract one.
        axes:    its axes.

    Returns:
        The same as `mixture_layer` for these groups, up to rounding.

    Raises:
        Problem: groups or experts do not divide evenly, or the dispatch has no buffers.
    """
    sizes = [over.shape[axis] for axis in axes]
    for name, count, size in (
        ("experts", mixture.experts, sizes[-1]),
        ("routing groups", inputs.shape[0], math.prod(sizes)),
    ):
        if count % size:
            raise Problem(
                f"{count} {name} cannot be split evenly over {size} devices: use a multiple of "
                f"{size}."
            )
    if mixture.dispatch == "ragged":
        raise Problem("Dispatch ragged has no buffers to send to other devices: use index.")
    spec = jax.sharding.PartitionSpec
    split = {name: spec(axes[-1]) if name in STACKED else spec() for name in params}
    reports = Report(*(spec() for _ in Report._fields))._replace(expert=spec(axes))
    sharded = jax.shard_map(
        lambda params, inputs: mixture_layer(params, inputs, mixture, axes=axes),
        mesh=over,
        in_specs=(split, spec(axes)),
        out_specs=(spec(axes), reports),
    )
    return sharded(params, inputs)
