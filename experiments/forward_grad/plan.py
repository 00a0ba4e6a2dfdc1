"""What the training study will train: the calls of `training.run`, from the config alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.forward_grad.training import METHODS, Task
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


def operations(config: Any, methods: Sequence[str] = ()) -> Mapping[str, Any]:
    """Study -> task -> method -> floating-point operations of one step of one lane.

    Those of the user's own ``methods`` are not known.
    """
    steps: dict[str, dict[str, float]] = {}
    for name, task in config.training.networks.items():
        network = _network(task, SPLITS[task.dataset or config.dataset][0])
        steps[name] = {m: _step(config, m, network) for m in _wanted(task, config, ())}
    return {"training": steps}


def parameters(config: Any) -> list[float]:
    """Of every network that is trained."""
    return [
        _network(task, SPLITS[task.dataset or config.dataset][0]).parameters
        for _, task in config.training.networks.items()
    ]


def _training(config: Any, methods: Sequence[str]) -> Iterator[Planned]:
    for name, task in config.training.networks.items():
        yield from _task(name, task, config, methods)


def _wanted(task: Task, config: Any, methods: Sequence[str]) -> list[str]:
    wanted = [*task.methods, *(method for method in methods if method not in task.methods)]
    return [method for method in wanted if not config.methods or method in config.methods]


def _step(config: Any, method: str, network: _Network) -> float:
    """Operations of one gradient of a batch, in matrix products; the update is nothing to them.

    A directional derivative takes two products a layer besides the function's one, for every
    tangent, and backprop as many; neither needs that with the first layer's input. A central
    difference takes two functions. A method of the user's own counts as backprop.
    """
    if method == "central":
        return config.training.batch_size * 2 * network.forward
    tangents = getattr(METHODS.get(method), "keywords", {}).get("tangents", 1)
    each = 2 * network.forward - network.first
    return config.training.batch_size * (network.forward + tangents * each)


def _task(name: str, task: Task, config: Any, methods: Sequence[str]) -> Iterator[Planned]:
    seeds = task.seeds or config.seeds
    side, training, validation, test = SPLITS[task.dataset or config.dataset]
    network = _network(task, side)
    images = training + validation + test
    for method in _wanted(task, config, methods):
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
                    block=1,
                    operations=_step(config, method, network)
                    + validation * network.forward / task.log_every,
                    numbers=network.parameters,
                    data=images * (side * side + 1),
                )


class _Network(NamedTuple):
    """Operations of a forward pass of one image, of its first layer alone, and parameters."""

    forward: float
    first: float
    parameters: float


def _network(task: Task, side: int) -> _Network:
    """A product of (n, k) and (k, m) takes 2nkm, that of a convolution at every pixel."""
    layers, parameters = [], 0.0
    widths = [side * side, *task.hidden, CLASSES]
    if task.channels:
        depths = [1, *[task.channels] * 4]
        sides = (side, side, side // 2, side // 2)
        for into, out, at in zip(depths, depths[1:], sides, strict=False):
            layers.append(2.0 * 9 * into * out * at * at)
            parameters += 9 * into * out + out
        widths = [(side // 4) ** 2 * task.channels, task.hidden[0], CLASSES]
    layers += [2.0 * into * out for into, out in itertools.pairwise(widths)]
    parameters += sum(into * out + out for into, out in itertools.pairwise(widths))
    return _Network(sum(layers), layers[0], parameters)
