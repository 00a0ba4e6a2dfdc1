"""What the training study will train: the calls of `training.run`, from the config alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.forward_grad.methods import METHODS
from experiments.forward_grad.training import Task
from jaxtrends.plan import Planned

SPLITS = {  # side of an image; training, validation and test images
    "digits": (8, 1397, 200, 200),
    "mnist_5k": (28, 4000, 500, 500),
    "mnist": (28, 55000, 5000, 10000),
}
CLASSES = 10


def plan(config: Any, methods: Sequence[str] = ()) -> Mapping[str, Sequence[Planned]]:
    """Study -> the calls of its training, in their order; ``methods`` are the user's own."""
    return {"training": list(_training(config, methods))}


def _training(config: Any, methods: Sequence[str]) -> Iterator[Planned]:
    for name in config.training.tasks:
        yield from _task(name, getattr(config.training, name), config, methods)
    for width in config.training.widths:
        rung = dataclasses.replace(config.training.ladder, hidden=(width,), shared_rates=())
        yield from _task(f"width {width}", rung, config, methods)


def _task(name: str, task: Task, config: Any, methods: Sequence[str]) -> Iterator[Planned]:
    wanted = [*task.methods, *(method for method in methods if method not in task.methods)]
    seeds = task.seeds or config.seeds
    side, training, validation, test = SPLITS[task.dataset or config.dataset]
    forward, parameters = _network(task, side)
    images = training + validation + test
    for method in wanted:
        if config.methods and method not in config.methods:
            continue
        batch = config.training.batch_size * forward * _passes(method)
        kinds = {
            "shared rates": (len(task.shared_rates) * seeds, task.steps),
            "tuning": (len(task.grid) * task.tuning_seeds, task.tuning_steps),
            "tuned": (seeds if task.grid else 0, task.steps),
        }
        for kind, (lanes, steps) in kinds.items():
            if lanes:
                yield Planned(
                    label=f"{name} {method}, {kind}",
                    program=(name, method),
                    lanes=lanes,
                    steps=steps,
                    log_every=task.log_every,
                    block=task.block,
                    operations=batch + validation * forward / task.log_every,
                    numbers=parameters,
                    data=images * (side * side + 1),
                )


def _network(task: Task, side: int) -> tuple[float, float]:
    """Operations of a forward pass of one image, and parameters, of the task's network.

    A product of (n, k) and (k, m) takes 2nkm; a convolution's weights are used at every pixel.
    """
    weights, biases, operations = 0.0, 0.0, 0.0
    widths = [side * side, *task.hidden, CLASSES]
    if task.channels:
        depths = [1, *[task.channels] * 4]
        sides = (side, side, side // 2, side // 2)
        for into, out, at in zip(depths, depths[1:], sides, strict=False):
            weights += 9 * into * out
            biases += out
            operations += 2 * 9 * into * out * at * at
        widths = [(side // 4) ** 2 * task.channels, task.hidden[0], CLASSES]
    dense = float(np.dot(widths[:-1], widths[1:]))
    return operations + 2 * dense, weights + biases + dense + sum(widths[1:])


def _passes(method: str) -> float:
    """A gradient's operations as a multiple of those of a forward pass.

    Backprop takes three, a directional derivative as many and two for each further tangent, a
    central difference two. A method of the user's own counts as backprop.
    """
    if method == "central":
        return 2.0
    keywords = getattr(METHODS.get(method), "keywords", {})
    return 1.0 + 2.0 * keywords.get("tangents", 1)
