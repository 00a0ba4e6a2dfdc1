"""Mixture of experts: every token picks its experts, which have places for so many.

Notation: G routing groups of T tokens of width d; E experts with a hidden width f; each token makes
k choices (top-k), each expert has C places in every group. What finds no place is dropped: its
expert adds nothing to the token, and the residual connection around the layer carries it on.

Tokens go into the experts' buffers and come back by index: a token knows its places and a place
knows its token, so forward and backward are gathers, which add no numbers in an order that could
change.

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
    "one_hot": "the same by products with one-hot matrices, as the papers define it; slow",
    "ragged": "no buffers and no drops: jax.lax.ragged_dot over tokens sorted by expert",
}
ROUTER_DTYPES = ("float32", "bfloat16")
STACKED = ("up", "down")  # the parameters of a layer that have a leading axis of experts
ASSIGNMENTS = {
    "learned": "by a router that learns",
    "fixed": "by a router that stays as it was initialised, its logits evened out over the group: "
    "a random function of the token that loads all experts alike, nearly",
    "position": "in turn, token t of a group to expert t modulo E: even, and blind to the token",
}


@dataclass(frozen=True)
class Mixture:
    """A layer of experts."""

    experts: int = 16
    """Experts in the layer, E."""
    top: int = 1
    """Experts that each token chooses, k. The router's probability weighs what a single expert
    says; the probabilities of several are scaled to a sum of one."""
    capacity_factor: float = 1.25
    """Places of an expert as a multiple of its fair share of tokens: ceil(factor * T / E) in each
    group of T tokens, whatever k is (flaxformer's convention; others multiply by k)."""
    residual: bool = False
    """Add a dense layer of the same hidden width, which every token passes (DeepSpeed-MoE)."""
    router_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the router's product and softmax, whatever that of the model."""
    jitter: float = 0.0
    """In training, the router's inputs are multiplied by uniform numbers from 1 +- this."""
    dispatch: Literal["index", "one_hot", "ragged"] = "index"
    """How tokens reach their experts."""
    assignment: Literal["learned", "fixed", "position"] = "learned"
    """Who says which experts a token goes to. Unless that is learned, no gradient reaches the
    router or passes through it to what is below, and all of a token's experts weigh alike, one in
    sum: a router that learns may weigh them so, and the two differ in nothing but who goes where
    (as in Roller et al., "Hash Layers", 2021)."""


def check(mixture: Mixture, tokens: int) -> None:
    """Refuse a layer that cannot be, for groups of so many tokens.

    Raises:
        Problem: names the setting at fault.
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
            f"{mixture.experts} experts are more than the {tokens} tokens of a routing group: "
            "take fewer experts, or larger groups."
        )
    if not 0 <= mixture.jitter < 1:
        raise Problem(f"jitter must be at least 0 and below 1, not {mixture.jitter}.")


def places(tokens: int, mixture: Mixture) -> int:
    """C, the places of an expert in a group of so many tokens; at most one a token."""
    return min(tokens, math.ceil(mixture.capacity_factor * tokens / mixture.experts))


# --- routing -------------------------------------------------------------------------------------


class Routing(NamedTuple):
    """Who goes where, in one group.

    expert: (k, T) int32, what each token chose.
    place:  (k, T) int32, of each choice in the experts' buffers laid end to end; E C if dropped.
    token:  (E C,) int32, who is in each place; T if nobody.
    gate:   (k, T) float, the weight of each choice.
    """

    expert: jax.Array
    place: jax.Array
    token: jax.Array
    gate: jax.Array


def route(probabilities: jax.Array, top: int, capacity: int) -> Routing:
    """Choose the ``top`` likeliest experts of each token and give out their places.

    First choices come before second ones, and tokens from left to right. Ties go to the expert of
    the lowest number.

    Args:
        probabilities: (T, E) float.
        top:           k.
        capacity:      C.
    """
    tokens, experts = probabilities.shape
    numbers = jnp.arange(experts, dtype=jnp.int32)
    left, chosen, gates = probabilities, [], []
    for _ in range(top):
        # As argmax, of which XLA's CPU compiler makes a slow loop.
        largest = jnp.max(left, axis=-1, keepdims=True)
        expert = jnp.min(jnp.where(left == largest, numbers, experts), axis=-1)
        expert = jnp.minimum(expert, experts - 1)  # where probabilities are not numbers
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
    """How many before it in the line chose the same expert: (n,) int32 -> (n,) int32.

    Counted block by block, then within a block: a quarter of the time of a cumulative sum over n
    one-hot rows on a CPU, at 64 experts.
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
    """Share of the choices that fall on each expert, before any drop: (..., n) int -> (..., E)."""
    return jnp.mean(jax.nn.one_hot(chosen, experts, dtype=jnp.float32), axis=-2)


def load_balance(share: jax.Array, probability: jax.Array) -> jax.Array:
    """E times the sum over experts of share x probability: (..., E), (..., E) -> (...).

    ``share`` is that of first choices, before any drop; ``probability`` the mean over the same
    tokens, which alone carries a gradient. The loss is 1 where both are uniform, and E where all
    goes to one expert. (Switch Transformers, equation 4; ST-MoE, appendix A.)
    """
    return share.shape[-1] * jnp.sum(jax.lax.stop_gradient(share) * probability, axis=-1)


def router_z(logits: jax.Array) -> jax.Array:
    """Mean over tokens of the squared logarithm of the sum of exp(logits) (ST-MoE, equation 5)."""
    return jnp.mean(jnp.square(jax.nn.logsumexp(logits, axis=-1)))


class Report(NamedTuple):
    """What a layer says of itself beside its outputs: losses to add, and what to watch.

    All are () float32 but the last two. Balance and z come without a coefficient.
    """

    balance: jax.Array  # of the load over all tokens, of all groups and devices
    group_balance: jax.Array  # of the load over each routing group by itself, mean over groups
    z: jax.Array
    dropped: jax.Array  # share of choices that found no place
    entropy: jax.Array  # of the router's probabilities, mean over tokens, in nats
    confidence: jax.Array  # the largest probability, mean over tokens
    largest_logit: jax.Array  # in absolute value
    load: jax.Array  # (E,) float32: share of all choices, before any drop
    expert: jax.Array  # (G, k, T) int32: what each token chose, before any drop


# --- moving tokens -------------------------------------------------------------------------------


@jax.custom_vjp
def dispatch(inputs: jax.Array, routing: Routing) -> jax.Array:
    """Copy tokens into their places: (T, d) -> (E C, d), zeros where nobody is."""
    return inputs.at[routing.token].get(mode="fill", fill_value=0)


def _dispatch_forward(inputs: jax.Array, routing: Routing) -> tuple[jax.Array, Routing]:
    return dispatch(inputs, routing), routing


def _dispatch_backward(routing: Routing, cotangent: jax.Array) -> tuple[jax.Array, None]:
    return _sum_of(_fetch(cotangent, routing.place)), None


dispatch.defvjp(_dispatch_forward, _dispatch_backward)


@jax.custom_vjp
def combine(outputs: jax.Array, gate: jax.Array, routing: Routing) -> jax.Array:
    """Add up what a token's experts said, weighted: (E C, d), (k, T) -> (T, d)."""
    weight = gate.astype(outputs.dtype)[..., None]
    return _sum_of(weight * _fetch(outputs, routing.place))


def _combine_forward(
    outputs: jax.Array, gate: jax.Array, routing: Routing
) -> tuple[jax.Array, Any]:
    return combine(outputs, gate, routing), (outputs, gate, routing)


def _combine_backward(saved: Any, cotangent: jax.Array) -> tuple[jax.Array, jax.Array, None]:
    outputs, gate, routing = saved
    # The weight of the choice that holds a place: a place has one token, and one of its choices.
    weights = jnp.zeros(outputs.shape[0] + 1, gate.dtype).at[routing.place].set(gate)[:-1]
    back = weights.astype(cotangent.dtype)[:, None] * dispatch(cotangent, routing)
    heard = _fetch(outputs, routing.place)
    slope = jnp.sum(heard.astype(gate.dtype) * cotangent.astype(gate.dtype)[None], axis=-1)
    return back.astype(outputs.dtype), slope, None


combine.defvjp(_combine_forward, _combine_backward)


def _fetch(outputs: jax.Array, place: jax.Array) -> jax.Array:
    """What lies in some places, zeros for none: (E C, d), (k, T) -> (k, T, d)."""
    return outputs.at[place].get(mode="fill", fill_value=0)


def _sum_of(parts: jax.Array) -> jax.Array:
    """Sum over the leading axis in its order; one part is itself."""
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
    """Send every token to its experts and add up what they say.

    Args:
        params:  ``router`` (d, E), ``up`` (E, d, f), ``down`` (E, f, d); with ``residual`` also
                 ``dense_up`` (d, f) and ``dense_down`` (f, d).
        inputs:  (G, T, d): groups that are routed apart.
        mixture: the layer's settings.
        key:     for the jitter; None, as in evaluation, leaves it out.
        axes:    the mesh axes that groups are sharded over, and experts over the last of them,
                 inside `jax.shard_map`: ``params`` then holds this device's experts, ``inputs``
                 its groups.

    Returns:
        (G, T, d) outputs in the dtype of the inputs, and the report, over all devices.

    Raises:
        Problem: settings that do not fit each other or the inputs.
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
    """Each expert's logits less their mean over the group, over their deviation: (G, T, E).

    What all tokens have in common would otherwise send most of them to a few experts. The mean is
    over later tokens, too, which is no model's way of routing but a fair stand-in for one.
    """
    apart = logits - jnp.mean(logits, axis=1, keepdims=True)
    return apart * jax.lax.rsqrt(jnp.mean(jnp.square(apart), axis=1, keepdims=True) + 1e-12)


def _turns(tokens: int, experts: int) -> jax.Array:
    """(T, E) float32: largest at expert t modulo E for token t, then falling around the circle."""
    token = jnp.arange(tokens, dtype=jnp.int32)[:, None]
    return -((jnp.arange(experts, dtype=jnp.int32) - token) % experts).astype(jnp.float32)


def _experts(params: Params, buffers: jax.Array, axes: tuple[str, ...]) -> jax.Array:
    """What the experts say to their buffers: (E, G, C, d) -> the same shape."""
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
    """Every choice served: tokens of all groups sorted by expert, products of ragged rows.

    On a CPU `jax.lax.ragged_dot` is a masked dense product, whose cost grows with E.
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
    """`dispatch` as its definition reads."""
    seats = _seats(routing, inputs.dtype)
    return jnp.einsum("ktp,td->pd", seats, inputs)


def _take(outputs: jax.Array, gate: jax.Array, routing: Routing) -> jax.Array:
    """`combine` as its definition reads."""
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
    # The largest is no mean, and each device keeps the choices of its own groups.
    apart = {"largest_logit": report.largest_logit, "expert": report.expert}
    means = jax.tree.map(over_devices, report._replace(**dict.fromkeys(apart, jnp.zeros(()))))
    return means._replace(**apart)


def make_layer(mixture: Mixture, width: int, hidden: int, rngs: nnx.Rngs) -> nnx.Module:
    """The layer as a Flax NNX module: (G, T, d) -> ((G, T, d), `Report`).

    The router starts normal with deviation 0.02, so that nearly all experts are nearly as likely;
    an expert starts as a dense layer of its size would.

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
        params:  of the whole layer; experts are sharded over the last axis, the rest is on each
                 device. Jit this with its caller.
        inputs:  (G, T, d); G is a multiple of the devices along all axes, E of those along the
                 last.
        mixture: settings.
        over:    a `jax.sharding.Mesh`, or an abstract one.
        axes:    its axes.

    Returns:
        What `mixture_layer` gives for the same groups, up to rounding.

    Raises:
        Problem: groups or experts do not divide evenly, or tokens do not go through buffers.
    """
    sizes = [over.shape[axis] for axis in axes]
    for name, count, size in (
        ("experts", mixture.experts, sizes[-1]),
        ("routing groups", inputs.shape[0], math.prod(sizes)),
    ):
        if count % size:
            raise Problem(
                f"{count} {name} cannot be shared evenly by {size} devices: take a multiple of "
                f"{size}."
            )
    if mixture.dispatch == "ragged":
        raise Problem("Dispatch ragged has no buffers to send to other devices: take index.")
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
