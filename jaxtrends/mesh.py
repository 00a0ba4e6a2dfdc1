"""One lane over several devices: a mesh, whose axes share out the batch and the experts.

What is traced inside `over` is one program for all devices of the mesh. Each has a part of every
batch and a part of every layer's experts, and a copy of all else: XLA's partitioner splits what
follows from that, and `jaxtrends.moe` says itself how tokens reach experts on other devices. With
no mesh around it, nothing here does anything.
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
AXES = (DATA, EXPERT)  # a batch is shared by all devices, experts by those along the last axis


def make(data: int, expert: int, devices: Sequence[jax.Device]) -> Mesh:
    """A mesh of data x expert devices, neighbours along the experts."""
    kinds = (AxisType.Auto,) * len(AXES)
    return jax.make_mesh((data, expert), AXES, axis_types=kinds, devices=devices)


@contextlib.contextmanager
def over(mesh: Mesh | None) -> Iterator[None]:
    """Trace and run what is inside over a mesh; None changes nothing."""
    with contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh):
        yield


def everywhere(mesh: Mesh) -> NamedSharding:
    """A copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def around() -> Any:
    """The mesh that is being traced over, or None."""
    found = jax.sharding.get_abstract_mesh()
    return None if found.empty else found


def share_out(batch: jax.Array) -> jax.Array:
    """The batch, whose leading axis all devices of the mesh share."""
    return batch if around() is None else jax.lax.with_sharding_constraint(batch, _spec(AXES))


def place(tree: PyTree, stacked: Callable[[str, Any], bool] | None) -> PyTree:
    """The tree, with every stack of experts where its experts are and a copy of all else.

    Args:
        tree:    arrays.
        stacked: (a leaf's name, the leaf) -> whether its leading axis counts experts; None for a
                 tree without.
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
    """The `jaxtrends.train.Trainer` whose state is kept as `place` puts it.

    Kept by trainer, as programs are.
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
