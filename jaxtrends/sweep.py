"""Lanes (grid points x seeds) trained in blocks of a fixed size, in segments between host stops.

The block is the unit of reproducibility: a block of lanes is one vmapped program on one device, so
the same blocks give the same bits on one device or on eight. Between two log points only that
program runs, and it does not depend on the length of a segment, so that changes no bits either. A
block is also the unit of progress: each is saved, restored and finished separately. Everything that
the host does comes in through `Effects`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxtrends.train import Trainer

PROGRAMS = 12
"""Trainers whose compiled programs are cached. The programs of one trainer take up to 2,000 memory
mappings, and Linux allows a process 65,530: a run with a hundred programs hit that limit."""

PyTree = Any
Metrics = dict[str, np.ndarray]


@dataclass(frozen=True)
class Segment:
    """The result of a segment: lane-steps done so far and in total, and new log points by block."""

    done: int
    total: int
    news: Mapping[int, tuple[range, Metrics]]  # block -> log points, name -> (lanes, new points)


@dataclass(frozen=True)
class Effects:
    """What the host does around the segments; the defaults do nothing.

    points:   () -> log points of the next segment, at least 1.
    stop:     (segment, snapshots) after each segment; a snapshot returns the tree from which its
              block resumes. It may raise to end the sweep.
    restore:  (block, like) -> the block's last snapshot, or None to start it from scratch.
    finished: (block, metrics) when a block is finished; recall(block) returns these, or None.
    """

    points: Callable[[], int] = lambda: 1
    stop: Callable[[Segment, Mapping[int, Callable[[], PyTree]]], None] = lambda segment, taken: (
        None
    )
    restore: Callable[[int, PyTree], PyTree | None] = lambda block, like: None
    finished: Callable[[int, Metrics], None] = lambda block, metrics: None
    recall: Callable[[int], Metrics | None] = lambda block: None


@dataclass(frozen=True)
class Program:
    """The three jitted programs of a trainer over one block of lanes."""

    start: Callable[[PyTree, PyTree], PyTree]
    advance: Callable[[PyTree, PyTree, PyTree], tuple[PyTree, PyTree]]
    finish: Callable[[PyTree, PyTree, PyTree], PyTree]


@lru_cache(maxsize=PROGRAMS)
def program(trainer: Trainer, log_every: int) -> Program:
    """Programs over a block: leaves of lanes and states have a leading axis of lanes.

    Cached for the last `PROGRAMS` trainers, so that tuning and reporting share compiled programs.

    ``advance`` runs ``log_every`` steps of every lane (its state is donated) and returns the mean
    of each step metric, and the metrics of `Trainer.evaluate` after the last step.
    """

    def advance(lanes: PyTree, states: PyTree, data: PyTree) -> tuple[PyTree, PyTree]:
        def one(lane: PyTree, state: PyTree) -> tuple[PyTree, PyTree]:
            def body(state: PyTree, _: None) -> tuple[PyTree, PyTree]:
                return trainer.step(lane, state, data)

            state, metrics = jax.lax.scan(body, state, None, length=log_every)
            means = jax.tree.map(partial(jnp.mean, axis=0), metrics)
            return state, {**means, **trainer.evaluate(lane, state, data)}

        return _over_lanes(one, lanes, states)

    def start(lanes: PyTree, data: PyTree) -> PyTree:
        return _over_lanes(lambda lane: trainer.init(lane, data), lanes)

    def finish(lanes: PyTree, states: PyTree, data: PyTree) -> PyTree:
        return _over_lanes(lambda lane, state: trainer.test(lane, state, data), lanes, states)

    return Program(jax.jit(start), jax.jit(advance, donate_argnums=1), jax.jit(finish))


def _over_lanes(function: Callable[..., PyTree], *trees: PyTree) -> PyTree:
    """Vmap over lanes; a single lane runs without vmap.

    XLA's CPU compiler handles products with a batch axis of length one on a path that is twice as
    slow for backprop, and does not always simplify the axis away.
    """
    if lane_count(trees[0]) > 1:
        return jax.vmap(function)(*trees)
    alone = function(*(jax.tree.map(lambda leaf: leaf[0], tree) for tree in trees))
    return jax.tree.map(lambda leaf: leaf[None], alone)


def blocks_of(lanes: PyTree, block: int) -> list[PyTree]:
    """Split lanes into blocks of exactly ``block``; the last is padded with its last lane.

    Raises:
        ValueError: the leaves of ``lanes`` do not all have the same leading axis, or ``block`` is
            below one.
    """
    if block < 1:
        raise ValueError(f"block={block}: a block must have at least one lane")
    count = lane_count(lanes)
    cuts = [np.arange(first, first + block).clip(max=count - 1) for first in range(0, count, block)]
    return [jax.tree.map(lambda leaf, rows=rows: np.asarray(leaf)[rows], lanes) for rows in cuts]


def lane_count(lanes: PyTree) -> int:
    """The number of lanes in a pytree of per-lane arrays.

    Raises:
        ValueError: its leaves disagree.
    """
    sizes = {np.shape(leaf)[0] for leaf in jax.tree.leaves(lanes)}
    if len(sizes) != 1:
        raise ValueError(f"lanes have leaves of different lengths: {sorted(sizes)}")
    return sizes.pop()


@dataclass
class _Flight:
    """One running block, on one device."""

    block: int
    device: jax.Device
    lanes: PyTree
    data: PyTree
    state: PyTree
    log: Metrics
    point: int
    pending: list[PyTree] = field(default_factory=list)

    def snapshot(self) -> PyTree:
        return {"state": self.state, "log": self.log, "point": np.asarray(self.point, np.int32)}

    def collect(self) -> tuple[range, Metrics]:
        """Move the metrics of the last segment to the host; waits for the device."""
        new = range(self.point, self.point + len(self.pending))
        for point, metrics in zip(new, jax.device_get(self.pending), strict=True):
            for name, values in metrics.items():
                self.log[name][:, point] = values
        self.point, self.pending = new.stop, []
        return new, {name: values[:, new.start : new.stop] for name, values in self.log.items()}


def run(trainer: Trainer, lanes: PyTree, data: PyTree, *, block: int, **how: Any) -> Metrics:
    """Train every lane and return its metrics: `blocks_of`, `run_blocks`, `joined`.

    Args:
        trainer: what a lane does.
        lanes:   pytree of arrays with a leading axis of lanes.
        data:    pytree of arrays, shared by all lanes; an argument of the compiled program.
        block:   lanes that run as one program on one device.
        how:     arguments of `run_blocks`.

    Returns:
        Metric name -> array: (lanes, log points) for training and evaluation metrics, (lanes,) for
        those of `Trainer.test`. A diverged lane keeps its nan or inf.

    Raises:
        ValueError: ``steps`` is not a multiple of ``log_every``, or ``block`` is below one.
    """
    cut = dict(enumerate(blocks_of(lanes, block)))
    return joined(run_blocks(trainer, cut, data, **how), lane_count(lanes))


def joined(blocks: Mapping[int, Metrics], count: int) -> Metrics:
    """The metrics of ``count`` lanes from those of all their blocks, without padding."""
    parts = [blocks[number] for number in sorted(blocks)]
    return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}


def run_blocks(
    trainer: Trainer,
    blocks: Mapping[int, PyTree],
    data: PyTree,
    *,
    steps: int,
    log_every: int,
    test: bool = True,
    devices: Sequence[jax.Device] | None = None,
    effects: Effects | None = None,
) -> dict[int, Metrics]:
    """Train blocks of lanes, all of one size, and return the metrics of each.

    Args:
        trainer:   what a lane does.
        blocks:    number of a block -> its lanes, from `blocks_of`: all of a call or, with several
                   processes, those of this one. ``effects`` uses the same numbers.
        data:      pytree of arrays, shared by all lanes; an argument of the compiled program.
        steps:     steps of each lane, a multiple of ``log_every``.
        log_every: steps between two log points.
        test:      whether to run `Trainer.test` at the end; tuning lanes do not use test data.
        devices:   each takes one block at a time; the first local device by default.
        effects:   what the host does between segments.

    Raises:
        ValueError: ``steps`` is not a multiple of ``log_every``.
    """
    if steps < 1 or steps % log_every:
        raise ValueError(f"steps={steps} is not a positive multiple of log_every={log_every}")
    effects = effects or Effects()
    devices = list(devices or jax.local_devices()[:1])
    copies = {device: jax.device_put(data, device) for device in devices}
    programs = program(trainer, log_every)
    points, block = steps // log_every, lane_count(next(iter(blocks.values())))
    results: dict[int, Metrics] = {}
    waiting, free, flights = deque(blocks), deque(devices), []

    def launch(index: int, device: jax.Device) -> _Flight:
        mine, shared = jax.device_put(blocks[index], device), copies[device]
        fresh = jax.eval_shape(programs.start, mine, shared)
        logged = jax.eval_shape(programs.advance, mine, fresh, shared)[1]
        log = {n: np.full((block, points), np.nan, v.dtype) for n, v in logged.items()}
        like = {"state": fresh, "log": log, "point": np.asarray(0, np.int32)}
        saved = effects.restore(index, like)
        if saved is None:
            return _Flight(index, device, mine, shared, programs.start(mine, shared), log, 0)
        state = jax.device_put(saved["state"], device)
        log = {name: np.array(values) for name, values in saved["log"].items()}
        return _Flight(index, device, mine, shared, state, log, int(saved["point"]))

    while waiting or flights:
        while waiting and free:
            index = waiting.popleft()
            remembered = effects.recall(index)
            if remembered is None:
                flights.append(launch(index, free.popleft()))
            else:
                results[index] = remembered
        length = max(1, effects.points())
        for _ in range(length):
            for flight in flights:
                if flight.point + len(flight.pending) < points:
                    flight.state, metrics = programs.advance(
                        flight.lanes, flight.state, flight.data
                    )
                    flight.pending.append(metrics)
        news = {flight.block: flight.collect() for flight in flights}
        for flight in [flight for flight in flights if flight.point == points]:
            results[flight.block] = flight.log
            if test:
                finals = programs.finish(flight.lanes, flight.state, flight.data)
                results[flight.block] = {**flight.log, **jax.device_get(finals)}
            effects.finished(flight.block, results[flight.block])
            flights.remove(flight)
            free.append(flight.device)
        ended = len(results) * points + sum(flight.point for flight in flights)
        each = block * log_every
        segment = Segment(ended * each, len(blocks) * points * each, news)
        effects.stop(segment, {flight.block: flight.snapshot for flight in flights})
    return results
