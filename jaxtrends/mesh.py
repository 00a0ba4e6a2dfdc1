"""One lane over several devices: a mesh, whose axes split the batch and the experts.

Code traced inside `over` becomes one program for all devices of the mesh. Each device has a part of
every batch, a part of every layer's experts, and a copy of everything else. XLA's partitioner does
the rest, except that `jaxtrends.moe` itself sends tokens to experts on other devices. Without a
mesh, these functions do nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

PyTree = Any

DATA, EXPERT = "data", "expert"
AXES = (DATA, EXPERT)  # all devices split a batch; those along the last axis split the experts


def make(data: int, expert: int, devices: Sequence[jax.Device]) -> Mesh:
    """A mesh of data x expert devices, with neighbours along the expert axis."""
    kinds = (AxisType.Auto,) * len(AXES)
    return jax.make_mesh((data, expert), AXES, axis_types=kinds, devices=devices)


@contextlib.contextmanager
def over(mesh: Mesh | None) -> Iterator[None]:
    """Trace and run the body over a mesh; None changes nothing."""
    with contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh):
        yield


def everywhere(mesh: Mesh) -> NamedSharding:
    """A copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def around() -> Any:
    """The mesh of the current trace, or None."""
    found = jax.sharding.get_abstract_mesh()
    return None if found.empty else found


def share_out(batch: jax.Array) -> jax.Array:
    """The batch, with its leading axis split over all devices of the mesh."""
    return batch if around() is None else jax.lax.with_sharding_constraint(batch, _spec(AXES))


def place(tree: PyTree, stacked: Callable[[str, Any], bool] | None) -> PyTree:
    """The tree, with stacks of experts split over devices and everything else replicated.

    Args:
        tree:    arrays.
        stacked: (a leaf's name, the leaf) -> whether its leading axis counts experts; None if there
                 are no experts.
    """
    if around() is None:
        return tree

    def one(path: Any, leaf: jax.Array) -> jax.Array:
        name = str(getattr(path[-1], "key", "")) if path else ""
        spec = _spec(EXPERT) if stacked and stacked(name, leaf) else _spec()
        return jax.lax.with_sharding_constraint(leaf, spec)

    return jax.tree.map_with_path(one, tree)


@cache
def spread(trainer: Any) -> Any:
    """The `jaxtrends.train.Trainer` with its state placed by `place`.

    Cached by trainer, as programs are.
    """
    stacked = trainer.stacked

    def init(lane: PyTree, data: PyTree) -> PyTree:
        return place(trainer.init(lane, data), stacked)

    def step(lane: PyTree, state: PyTree, data: PyTree) -> tuple[PyTree, Any]:
        stepped, metrics = trainer.step(lane, place(state, stacked), data)
        return place(stepped, stacked), metrics

    return dataclasses.replace(trainer, init=init, step=step)


def _spec(*axes: Any) -> PartitionSpec:
    return PartitionSpec(*axes)
