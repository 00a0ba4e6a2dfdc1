"""Overhead of the driver, as ratios within one process: ``python -m scripts.bench_driver``.

*Sharding*: the same blocks of lanes on two host devices and on one, alternating, in wall time and
in CPU time. 1 means no overhead; in wall time two idle cores should be close to 0.5.

*Effects*: the share of a run in which the devices wait while the host streams metrics, stores
blocks, checkpoints and results, and writes the record. The run is the training study of
forward_grad on its small MLP, in the preset given. Checkpoints are also written in the background;
what that takes from the devices counts as run time, not in the share.

*Blocks*: lane-steps per second of the MLP of forward_grad and the mixture of moe_scaling, at the
sizes of their default presets, in blocks of 1 to 32 lanes on all devices. Block sizes alternate,
and each round gives the ratio to one lane. This shows what ``--block auto`` should do on this kind
of device.

The last line is one JSON object of named ratios. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jaxtrends import (
    backend,
    estimators,
    losses,
    models,
    moe,
    optimizers,
    record,
    rundir,
    sequences,
    study_run,
    sweep,
    train,
    transformer,
)
from jaxtrends.errors import Problem, choose, require_positive
from jaxtrends.experiment import discover
from jaxtrends.running import main as run_experiment
from jaxtrends.terminal import mend_streams

BLOCKS, STEPS, LOG_EVERY = 8, 2000, 50
HOST = (  # what the host does while the devices wait
    *((rundir.StudyDirectory, name) for name in ("log", "keep_block", "block", "finish")),
    *((study_run._Saver, name) for name in ("save", "restore", "drop", "close")),
    *((record, name) for name in ("write_json", "write_arrays")),
)


def mlp() -> tuple[train.Trainer, Any]:
    """A small MLP, as forward_grad trains it, and its data."""
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(2000, 28, 28, 1)).astype(np.float32)
    split = (inputs, generator.integers(0, 10, 2000).astype(np.int32))
    data = {"train": split, "validation": (inputs[:200], split[1][:200]), "test": split}
    trainer = train.supervised(
        models.mlp((784, 64, 10)),
        losses.cross_entropy,
        {},
        estimators.backprop,
        train.decayed_sgd(1e-4),
        batch_size=64,
    )
    return trainer, data


def mixture() -> tuple[train.Trainer, Any]:
    """A small transformer with 16 experts, as moe_scaling trains it, and its data."""
    context, batch = 32, 32
    found = sequences.lookup(clusters=4, context=context, training=4096, held_out=32, seed=4)
    sizes = transformer.Transformer(
        vocabulary=found.vocabulary,
        context=context,
        width=32,
        heads=2,
        hidden=64,
        experts=(0, 16),
        mixture=moe.Mixture(experts=16, capacity_factor=1.25),
        group=batch * context,
    )
    trainer = train.supervised(
        transformer.transformer(sizes),
        transformer.language_loss(0.01, 0.001),
        {"cross_entropy": transformer.next_token_loss},
        estimators.backprop,
        optimizers.adam(20),
        batch,
    )
    splits = ("train", "validation", "test")
    return trainer, {n: (getattr(found, n).inputs, getattr(found, n).labels) for n in splits}


def lanes_of(count: int) -> dict[str, np.ndarray]:
    """``count`` lanes with one seed each."""
    seeds = np.arange(count, dtype=np.uint32)
    return {"seed": seeds, "learning_rate": np.full(count, 1e-3, np.float32)}


SIZES = (1, 2, 4, 8, 16, 32)  # of blocks
LANES = 2 * SIZES[-1]  # so that two devices have a block of each size
NETWORKS = {"mlp": (mlp, 200), "mixture": (mixture, 20)}  # and steps: some seconds on a CPU


def blocks(rounds: int) -> dict[str, float]:
    """Median lane-steps per second by block size, and their ratio to one lane.

    The ratio is in wall time and in CPU time of this process, which other load disturbs less.
    """
    used = jax.local_devices()
    found: dict[str, float] = {}
    for name, (make, steps) in NETWORKS.items():
        trainer, data = make()

        def speed(block: int, steps: int, trainer: Any = trainer, data: Any = data) -> np.ndarray:
            how = {"devices": used, "effects": sweep.Effects(points=lambda: 10), "test": False}
            before = np.array([time.perf_counter(), time.process_time()])
            sweep.run(
                *(trainer, lanes_of(LANES), data), steps=steps, log_every=20, block=block, **how
            )
            return LANES * steps / (np.array([time.perf_counter(), time.process_time()]) - before)

        for block in SIZES:
            speed(block, 20)
        taken: dict[int, list[np.ndarray]] = {block: [] for block in SIZES}
        for number in range(rounds):
            first = number % len(SIZES)
            for block in SIZES[first:] + SIZES[:first]:
                taken[block].append(speed(block, steps))
        for block, speeds in taken.items():
            wall, busy = np.median(np.array(speeds) / np.array(taken[1]), axis=0)
            found[f"{name}_block_{block}"] = float(np.median(speeds, axis=0)[0])
            found[f"{name}_block_{block}_over_1"] = float(wall)
            found[f"{name}_block_{block}_over_1_processor"] = float(busy)
    return found


def sharding(rounds: int) -> dict[str, float]:
    """Two devices over one on the same work: medians of wall and of processor time."""
    trainer, data = mlp()
    lanes = lanes_of(BLOCKS)
    pair = jax.local_devices()[:2]

    def once(used: Sequence[Any], steps: int) -> tuple[float, float]:
        wall, busy = time.perf_counter(), time.process_time()
        sweep.run(
            trainer,
            lanes,
            data,
            steps=steps,
            log_every=LOG_EVERY,
            block=1,
            devices=used,
            effects=sweep.Effects(points=lambda: 10),
        )
        return time.perf_counter() - wall, time.process_time() - busy

    once(pair, LOG_EVERY)
    once(pair[:1], LOG_EVERY)
    walls, busies = [], []
    for number in range(rounds):
        order = (1, 2) if number % 2 else (2, 1)
        took = {count: once(pair[:count], STEPS) for count in order}
        walls.append(took[2][0] / took[1][0])
        busies.append(took[2][1] / took[1][1])
    return {
        "sharding_wall": statistics.median(walls),
        "sharding_processor": statistics.median(busies),
    }


class Clock:
    """Adds up the time inside functions; nested calls count once."""

    def __init__(self) -> None:
        self.seconds, self._depth = 0.0, 0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time added."""

        def call(*arguments: Any, **named: Any) -> Any:
            self._depth += 1
            started = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self._depth -= 1
                if not self._depth:
                    self.seconds += time.perf_counter() - started

        return call


@contextlib.contextmanager
def watched(clock: Clock) -> Iterator[None]:
    """Times all that the host does inside this context."""
    before = [(owner, name, getattr(owner, name)) for owner, name in HOST]
    for owner, name, function in before:
        setattr(owner, name, clock.timed(function))
    try:
        yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def host_share(preset: str) -> dict[str, float]:
    """The share of a run's time in which the devices wait for files."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, watched(clock):
        flags = ["--preset", preset, "--studies", "training", "--training.tasks", "mlp"]
        started = time.perf_counter()
        status = run_experiment(
            discover()["forward_grad"],
            [*flags, "--wandb", "disabled", "--devices", "2", "--output", f"{folder}/run"],
        )
        took = time.perf_counter() - started
    if status:
        raise Problem(f"The run ended with status {status}.")
    return {"effects_share": clock.seconds / took}


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    "sharding": lambda given: sharding(given.rounds),
    "effects": lambda given: host_share(given.preset),
    "blocks": lambda given: blocks(given.rounds),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the parts given and print the ratios; returns the exit status."""
    mend_streams()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(PARTS)} (default: all)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds of sharding and blocks (default 5)"
    )
    parser.add_argument("--preset", default="default", help="preset of the run (default: default)")
    given = parser.parse_args(arguments)
    try:
        require_positive(rounds=given.rounds)
        for part in given.parts:
            choose("part", part, PARTS)
        backend.use(None)
        backend.keep_compiled(lambda text: print(f"warning: {text}", file=sys.stderr))
        found: dict[str, float] = {}
        for part in given.parts or PARTS:
            found |= PARTS[part](given)
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    print(json.dumps({name: round(value, 4) for name, value in found.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
