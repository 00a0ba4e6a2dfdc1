"""A decoder-only transformer whose layers are dense or mixtures of experts.

Pre-norm blocks of causal attention and a two-layer ReLU network, learned positions, no biases: a
plain form in which a dense layer and a mixture of the same hidden width differ only in the choice
of experts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jaxtrends import losses, mesh, models, moe
from jaxtrends.errors import Problem, require_positive

if TYPE_CHECKING:
    from flax import nnx


@dataclass(frozen=True)
class Transformer:
    """Sizes of a transformer.

    ``experts`` has the number of experts of every layer, 0 for a dense layer. ``group`` is the
    number of tokens that are routed together; 0 routes the whole batch together.
    """

    vocabulary: int
    context: int
    width: int = 64
    heads: int = 4
    hidden: int = 128
    experts: tuple[int, ...] = (0, 0)
    mixture: moe.Mixture = field(default_factory=moe.Mixture)
    group: int = 0


def check(sizes: Transformer, batch: int) -> None:
    """Refuse inconsistent sizes, for batches of ``batch`` sequences.

    Raises:
        Problem: names the sizes.
    """
    require_positive(
        vocabulary=sizes.vocabulary,
        context=sizes.context,
        width=sizes.width,
        heads=sizes.heads,
        hidden=sizes.hidden,
        batch=batch,
    )
    if sizes.width % sizes.heads:
        raise Problem(
            f"A width of {sizes.width} is not divisible by {sizes.heads} heads: use a multiple."
        )
    tokens = batch * sizes.context
    if sizes.group and tokens % sizes.group:
        raise Problem(
            f"{batch} sequences of {sizes.context} tokens do not divide into routing groups "
            f"of {sizes.group}."
        )
    for experts in sizes.experts:
        if experts:
            moe.check(_mixture(sizes, experts), sizes.group or tokens)


def check_mesh(sizes: Transformer, sequences: int, data: int, expert: int) -> None:
    """Refuse a mesh that does not fit the network and its batches.

    Args:
        sizes:     the network's.
        sequences: per batch.
        data:      devices along the mesh's first axis.
        expert:    devices along its second axis, which splits the experts.

    Raises:
        Problem: names what does not divide.
    """
    devices = data * expert
    if sequences % devices:
        raise Problem(
            f"{sequences} sequences per batch cannot be split evenly over {devices} devices."
        )
    mixtures = [experts for experts in sizes.experts if experts]
    groups = sequences * sizes.context // sizes.group if sizes.group else 1
    if mixtures and groups % devices:
        raise Problem(
            f"A batch has {groups} routing group{'s' * (groups > 1)}, which cannot be split evenly "
            f"over {devices} devices: use a multiple of {devices} groups."
        )
    for experts in mixtures:
        if experts % expert:
            raise Problem(f"{experts} experts cannot be split evenly over {expert} devices.")


def with_experts(name: str, leaf: Any) -> bool:
    """Whether an array of that name, a parameter or optimizer state, stacks experts."""
    return name in moe.STACKED and leaf.ndim == 3


def _mixture(sizes: Transformer, experts: int) -> moe.Mixture:
    return replace(sizes.mixture, experts=experts)


def transformer(sizes: Transformer) -> models.Model:
    """The network as two pure functions.

    ``apply`` takes (batch, context) int32 tokens and returns logits (batch, context, vocabulary)
    and a tuple with the `jaxtrends.moe.Report` of every mixture, lowest layer first.
    """
    return replace(models.from_nnx(_module(sizes)), stacked=with_experts)


def _module(sizes: Transformer) -> Callable[[nnx.Rngs], nnx.Module]:
    from flax import nnx

    def linear(fan_in: int, fan_out: int, rngs: nnx.Rngs) -> nnx.Linear:
        return nnx.Linear(fan_in, fan_out, use_bias=False, rngs=rngs)

    class Attention(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.into = linear(sizes.width, 3 * sizes.width, rngs)
            self.out = linear(sizes.width, sizes.width, rngs)

        def __call__(self, inputs: jax.Array) -> jax.Array:
            batch, length, width = inputs.shape
            heads = self.into(inputs).reshape(batch, length, 3, sizes.heads, -1)
            query, key, value = (heads[:, :, part] for part in range(3))
            scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) * (width // sizes.heads) ** -0.5
            past = jnp.tril(jnp.ones((length, length), bool))
            weights = jax.nn.softmax(jnp.where(past, scores, -1e30))
            mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, value)
            return self.out(mixed.reshape(batch, length, width))

    class Dense(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.up = linear(sizes.width, sizes.hidden, rngs)
            self.down = linear(sizes.hidden, sizes.width, rngs)

        def __call__(self, inputs: jax.Array) -> tuple[jax.Array, None]:
            return self.down(nnx.relu(self.up(inputs))), None

    class Experts(nnx.Module):
        def __init__(self, experts: int, rngs: nnx.Rngs) -> None:
            mixture = _mixture(sizes, experts)
            self.layer = moe.make_layer(mixture, sizes.width, sizes.hidden, rngs)

        def __call__(self, inputs: jax.Array) -> tuple[jax.Array, moe.Report]:
            group = sizes.group or inputs.shape[0] * inputs.shape[1]
            outputs, report = self.layer(inputs.reshape(-1, group, inputs.shape[-1]))
            return outputs.reshape(inputs.shape), report

    class Block(nnx.Module):
        def __init__(self, experts: int, rngs: nnx.Rngs) -> None:
            self.first_norm = nnx.RMSNorm(sizes.width, rngs=rngs)
            self.attention = Attention(rngs)
            self.second_norm = nnx.RMSNorm(sizes.width, rngs=rngs)
            self.feed_forward = Experts(experts, rngs) if experts else Dense(rngs)

        def __call__(self, inputs: jax.Array) -> tuple[jax.Array, moe.Report | None]:
            hidden = inputs + self.attention(self.first_norm(inputs))
            added, report = self.feed_forward(self.second_norm(hidden))
            return hidden + added, report

    class Decoder(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.tokens = nnx.Embed(sizes.vocabulary, sizes.width, rngs=rngs)
            self.positions = nnx.Embed(sizes.context, sizes.width, rngs=rngs)
            self.blocks = nnx.List(Block(experts, rngs) for experts in sizes.experts)
            self.norm = nnx.RMSNorm(sizes.width, rngs=rngs)
            self.output = linear(sizes.width, sizes.vocabulary, rngs)

        def __call__(self, tokens: jax.Array) -> tuple[jax.Array, tuple[moe.Report, ...]]:
            places = jnp.arange(tokens.shape[1], dtype=jnp.int32)
            hidden = mesh.share_out(self.tokens(tokens) + self.positions(places))
            reports = []
            for block in self.blocks:
                hidden, report = block(hidden)
                if report is not None:
                    reports.append(report)
            return self.output(self.norm(hidden)), tuple(reports)

    return Decoder


def training_operations(sizes: Transformer, *, padded: bool = False) -> float:
    """FLOPs of training on one token: three times those of a forward pass.

    Only matrix products count: a product of (n, k) and (k, m) takes 2nkm, and the backward pass
    twice as much. Attention counts all ``context`` squared scores, since all are computed. Experts
    count for the tokens that chose them, k per token, or with ``padded`` for all slots, including
    unused capacity.
    """
    width, layers = sizes.width, len(sizes.experts)
    attention = 2 * 4 * width * width + 2 * 2 * sizes.context * width
    dense = 2 * 2 * width * sizes.hidden
    total = float(layers * attention + 2 * width * sizes.vocabulary)
    for experts in sizes.experts:
        served = float(sizes.mixture.top)
        if padded and sizes.mixture.dispatch != "ragged":
            served = sizes.mixture.capacity_factor
        total += dense * served + 2 * width * experts if experts else dense
        total += dense if experts and sizes.mixture.residual else 0
    return 3 * total


def parameter_count(sizes: Transformer) -> int:
    """The number of parameters, by formula, since creating a large network takes seconds."""
    width = sizes.width
    total = (2 * sizes.vocabulary + sizes.context + 1) * width
    for experts in sizes.experts:
        layer = 2 * width * sizes.hidden
        total += 4 * width * width + 2 * width
        total += experts * (layer + width) if experts else layer
        total += layer if experts and sizes.mixture.residual else 0
    return total


def cost(sizes: Transformer, batch: int) -> dict[str, Any]:
    """Facts of an arm about its network.

    Experts layer by layer, parameters, and the FLOPs of a training step on ``batch`` sequences;
    those of ``flops_padded`` include unused capacity.
    """
    tokens = batch * sizes.context
    return {
        "experts": " ".join(map(str, sizes.experts)),
        "parameters": parameter_count(sizes),
        "flops": tokens * training_operations(sizes),
        "flops_padded": tokens * training_operations(sizes, padded=True),
    }


def language_loss(
    balance: float, z: float, group_balance: float = 0.0
) -> Callable[[tuple[jax.Array, tuple[moe.Report, ...]], jax.Array], jax.Array]:
    """Next-token cross-entropy plus the router losses, each averaged over the mixtures.

    Args:
        balance:       coefficient of the load-balancing loss, over all tokens.
        z:             coefficient of the router z-loss.
        group_balance: coefficient of the load-balancing loss over each routing group.
    """

    def loss(outputs: tuple[jax.Array, tuple[moe.Report, ...]], labels: jax.Array) -> jax.Array:
        total = next_token_loss(outputs, labels)
        reports = outputs[1]
        for report in reports:
            routed = balance * report.balance + group_balance * report.group_balance + z * report.z
            total = total + routed / len(reports)
        return total

    return loss


def next_token_loss(
    outputs: tuple[jax.Array, tuple[moe.Report, ...]], labels: jax.Array
) -> jax.Array:
    """Cross-entropy in nats per token: (logits (..., vocabulary), reports), (...) int -> ()."""
    return losses.cross_entropy(outputs[0].astype(jnp.float32), labels)


def watched(sizes: Transformer) -> dict[str, Callable[[Any, jax.Array], jax.Array]]:
    """Metrics of outputs and labels: the cross-entropy, and those of routers if there are any."""
    routers = router_metrics() if any(sizes.experts) else {}
    return {"cross_entropy": next_token_loss, **routers}


def router_metrics() -> dict[str, Callable[[Any, jax.Array], jax.Array]]:
    """Router metrics, as functions of outputs and labels; means over the mixtures.

    ``busiest`` is the largest load over the fair share; ``largest_logit`` is the largest of all.
    """

    def mean(read: Callable[[moe.Report], jax.Array]) -> Callable[[Any, jax.Array], jax.Array]:
        return lambda outputs, labels: jnp.mean(jnp.stack([read(r) for r in outputs[1]]))

    return {
        "balance": mean(lambda report: report.balance),
        "dropped": mean(lambda report: report.dropped),
        "router_entropy": mean(lambda report: report.entropy),
        "router_confidence": mean(lambda report: report.confidence),
        "busiest": mean(lambda report: jnp.max(report.load) * report.load.shape[0]),
        "largest_logit": lambda outputs, labels: jnp.max(
            jnp.stack([report.largest_logit for report in outputs[1]])
        ),
    }
