"""Networks: defined in Flax NNX, used as two pure functions over nested dicts of arrays.

The rest of the library only sees `Model`; Flax is imported only inside this module's functions,
when a network is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from flax import nnx

Params = Any  # nested dict of arrays


@dataclass(frozen=True)
class Model:
    """A network as pure functions.

    init:  key -> params, nested dicts of float32 arrays.
    apply: (params, inputs) -> outputs; params of any float dtype, differentiable throughout.
    stacked: (name of a leaf of params, the leaf) -> whether its leading axis counts experts, which
             a mesh splits (`jaxtrends.mesh`). None: there are no experts.
    """

    init: Callable[[jax.Array], Params]
    apply: Callable[[Params, jax.Array], jax.Array]
    stacked: Callable[[str, Any], bool] | None = None


def from_nnx(make: Callable[[nnx.Rngs], nnx.Module]) -> Model:
    """Adapt a Flax NNX module whose variables are all parameters.

    Every call of ``apply`` merges the module from the given parameters, so no state leaks from one
    call to the next.

    Raises:
        TypeError: the module has state other than parameters (batch statistics, dropout keys).
    """
    from flax import nnx

    abstract = nnx.eval_shape(lambda: make(nnx.Rngs(params=0)))
    graph, state, rest = nnx.split(abstract, nnx.Param, ...)
    if jax.tree.leaves(nnx.filter_state(rest, nnx.Not(nnx.RngState))):
        raise TypeError("from_nnx takes modules whose variables are all parameters")
    paths = [path for path, _ in nnx.to_flat_state(state)]

    def init(key: jax.Array) -> Params:
        fresh = nnx.state(make(nnx.Rngs(params=key)), nnx.Param)
        return _nest({path: leaf[...] for path, leaf in nnx.to_flat_state(fresh)})

    def apply(params: Params, inputs: jax.Array) -> jax.Array:
        variables = [(path, nnx.Param(_at(params, path))) for path in paths]
        return nnx.merge(graph, nnx.from_flat_state(variables), rest)(inputs)

    return Model(init, apply)


def _nest(leaves: dict[tuple, jax.Array]) -> Params:
    """Nested dicts with text keys, as checkpoints and JSON require."""
    nested: dict = {}
    for path, leaf in leaves.items():
        branch = nested
        for part in path[:-1]:
            branch = branch.setdefault(str(part), {})
        branch[str(path[-1])] = leaf
    return nested


def _at(params: Params, path: tuple) -> jax.Array:
    for part in path:
        params = params[str(part)]
    return params


def mlp(widths: Sequence[int]) -> Model:
    """Dense layers with ReLU between them; inputs are flattened.

    Args:
        widths: of the input, the hidden layers and the output; two widths give a linear model.

    ``apply`` takes (batch, …) with ``widths[0]`` values each and returns (batch, ``widths[-1]``).
    """
    from flax import nnx

    class MLP(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            pairs = pairwise(widths)
            self.layers = nnx.List(
                nnx.Linear(fan_in, fan_out, rngs=rngs) for fan_in, fan_out in pairs
            )

        def __call__(self, inputs: jax.Array) -> jax.Array:
            hidden = inputs.reshape(inputs.shape[0], -1)
            for layer in self.layers[:-1]:
                hidden = nnx.relu(layer(hidden))
            return self.layers[-1](hidden)

    return from_nnx(MLP)


def convnet(side: int, channels: int, hidden: int, classes: int, convolutions: int = 4) -> Model:
    """3x3 convolutions with ReLU, 2x2 max-pooling after every second one, two dense layers.

    A convolution is computed as a product of 3x3 patches with the kernel: inside a scan on a CPU
    this is ten times faster than XLA's convolution, with the same numbers.

    ``apply`` takes (batch, side, side, 1) and returns (batch, classes).
    """
    from flax import nnx

    class ConvNet(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            depths = [1] + [channels] * convolutions
            pairs = pairwise(depths)
            self.convolutions = nnx.List(nnx.Linear(9 * i, o, rngs=rngs) for i, o in pairs)
            flat = (side // 2 ** (convolutions // 2)) ** 2 * channels
            self.dense = nnx.Linear(flat, hidden, rngs=rngs)
            self.output = nnx.Linear(hidden, classes, rngs=rngs)

        def __call__(self, inputs: jax.Array) -> jax.Array:
            images = inputs
            for index, convolution in enumerate(self.convolutions):
                images = nnx.relu(convolution(patches(images)))
                if index % 2 == 1:
                    images = max_pool(images)
            flat = images.reshape(images.shape[0], -1)
            return self.output(nnx.relu(self.dense(flat)))

    return from_nnx(ConvNet)


def patches(images: jax.Array) -> jax.Array:
    """All 3x3 neighbourhoods, zero-padded: (batch, h, w, c) -> (batch, h, w, 9 c)."""
    height, width = images.shape[1:3]
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifts = [padded[:, r : r + height, c : c + width] for r in range(3) for c in range(3)]
    return jnp.concatenate(shifts, axis=-1)


def max_pool(images: jax.Array) -> jax.Array:
    """2x2 max-pooling: (batch, h, w, c) -> (batch, h // 2, w // 2, c); odd edges are dropped."""
    batch, height, width, channels = images.shape
    even = images[:, : height // 2 * 2, : width // 2 * 2]
    return even.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


def count_parameters(params: Params) -> int:
    """The number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
