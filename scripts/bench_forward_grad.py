"""Cost of a step, as ratios within one process: ``python -m scripts.bench_forward_grad``.

A training step is measured inside a jitted, donated ``lax.scan``: draw, slope and update, for the
MLP 784-1024-1024-10 with ReLU and cross-entropy at batch 64, with data as an argument. Programs
alternate, in one order and then in reverse, so that other load on the machine affects all equally.
Each first runs once unmeasured. Training inside the driver is measured on the MLP 64-128-10 and the
digits, with backprop at batch 64: against a bare scan of the same step, against a Python loop over
the jitted step, and eight lanes against one. The last line is one JSON object of named ratios of
medians over the repetitions.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxtrends import backend, data, estimators, losses, models, sweep, train
from jaxtrends.errors import Problem, require_positive
from jaxtrends.terminal import mend_streams

PyTree = Any

WIDTHS = (784, 1024, 1024, 10)
BATCH = 64
STEPS = 10  # in a scan: some 0.1 s
LEARNING_RATE = 1e-5
DRIVER_STEPS = 2000
LOG_EVERY = 500  # as often as that the driver scores 200 validation images


def loss(params: PyTree, images: jax.Array, labels: jax.Array) -> jax.Array:
    hidden = images
    for number, layer in enumerate(params):
        hidden = hidden @ layer["kernel"] + layer["bias"]
        if number < len(params) - 1:
            hidden = jax.nn.relu(hidden)
    return losses.cross_entropy(hidden, labels)


def initial(key: jax.Array) -> PyTree:
    keys = jax.random.split(key, len(WIDTHS) - 1)
    return [
        {
            "kernel": jax.random.normal(key, (fan_in, fan_out)) * (2 / fan_in) ** 0.5,
            "bias": jnp.zeros(fan_out),
        }
        for key, fan_in, fan_out in zip(keys, WIDTHS[:-1], WIDTHS[1:], strict=True)
    ]


def plain_normal(loss: estimators.Loss, params: PyTree, key: jax.Array) -> tuple[jax.Array, PyTree]:
    """A first version of the forward gradient: one key and one `jax.random.normal` per leaf."""
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    tangent = treedef.unflatten(
        [jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    )
    value, slope = jax.jvp(loss, (params,), (tangent,))
    return value, jax.tree.map(lambda v: slope * v, tangent)


def steps(estimator: estimators.Estimator) -> Callable[[], float]:
    """Compile ``STEPS`` steps of plain gradient descent; a call returns the seconds per step."""

    def train(params: PyTree, key: jax.Array, batches: PyTree) -> tuple[PyTree, jax.Array]:
        def step(params: PyTree, now: PyTree) -> tuple[PyTree, jax.Array]:
            key, images, labels = now
            value, gradient = estimator(lambda p: loss(p, images, labels), params, key)
            params = jax.tree.map(lambda p, g: p - LEARNING_RATE * g, params, gradient)
            return params, value

        return jax.lax.scan(step, params, (jax.random.split(key, STEPS), *batches))

    key = jax.random.key(0)
    params = initial(key)
    images = jax.random.uniform(key, (STEPS, BATCH, WIDTHS[0]))
    labels = jax.random.randint(key, (STEPS, BATCH), 0, WIDTHS[-1])
    batches = jax.block_until_ready((images, labels))
    program = jax.jit(train, donate_argnums=0).lower(params, key, batches).compile()

    def run() -> float:
        nonlocal params
        start = time.perf_counter()
        params, _ = jax.block_until_ready(program(params, key, batches))
        return (time.perf_counter() - start) / STEPS

    return run


def forward(law: str) -> estimators.Estimator:
    return lambda loss, params, key: estimators.estimate(loss, params, key, law=law)


def digits() -> tuple[train.Trainer, PyTree]:
    """The MLP 64-128-10 trained with backprop, and its data."""
    loaded = data.load("digits")
    splits = ("train", "validation", "test")
    arrays = {name: (getattr(loaded, name).inputs, getattr(loaded, name).labels) for name in splits}
    model, optimizer = models.mlp((64, 128, 10)), train.decayed_sgd(1e-4)
    trainer = train.supervised(
        model, losses.cross_entropy, {}, estimators.backprop, optimizer, batch_size=BATCH
    )
    return trainer, arrays


def driver(count: int) -> Callable[[], float]:
    """Train ``count`` lanes with the driver, one lane per block; seconds per step and lane."""
    trainer, arrays = digits()
    rates = np.full(count, 0.1, np.float32)
    lanes = {"seed": np.arange(count, dtype=np.uint32), "learning_rate": rates}
    effects = sweep.Effects(points=lambda: DRIVER_STEPS // LOG_EVERY)

    def run() -> float:
        start = time.perf_counter()
        sweep.run(
            trainer,
            lanes,
            arrays,
            steps=DRIVER_STEPS,
            log_every=LOG_EVERY,
            block=1,
            effects=effects,
        )
        return (time.perf_counter() - start) / DRIVER_STEPS / count

    return run


def bare(looped: bool) -> Callable[[], float]:
    """The same steps of one lane, in one scan or in a Python loop; seconds per step."""
    trainer, arrays = digits()
    arrays = jax.device_put(arrays)
    lane = {"seed": jnp.uint32(0), "learning_rate": jnp.float32(0.1)}
    step = lambda state, data: trainer.step(lane, state, data)  # noqa: E731
    one = jax.jit(step, donate_argnums=0)
    scan = jax.jit(
        lambda state, data: jax.lax.scan(
            lambda carry, _: step(carry, data), state, None, length=DRIVER_STEPS
        ),
        donate_argnums=0,
    )
    start_state = jax.jit(trainer.init)

    def run() -> float:
        start = time.perf_counter()
        state = start_state(lane, arrays)
        if looped:
            for _ in range(DRIVER_STEPS):
                state, _ = one(state, arrays)
        else:
            state, _ = scan(state, arrays)
        jax.block_until_ready(state)
        return (time.perf_counter() - start) / DRIVER_STEPS

    return run


# What is measured: makers of a function whose call gives seconds of one step.
PROGRAMS: dict[str, Callable[[], Callable[[], float]]] = {
    "backprop": lambda: steps(estimators.backprop),
    "rademacher": lambda: steps(forward("rademacher")),
    "gaussian": lambda: steps(forward("gaussian")),
    "plain normal": lambda: steps(plain_normal),
    "driver": lambda: driver(1),
    "driver, 8 lanes": lambda: driver(8),
    "bare scan": lambda: bare(looped=False),
    "python loop": lambda: bare(looped=True),
}

# The ratios: name -> (program above the line, program below it).
RATIOS = {
    "forward_gradient_step_rademacher/backprop": ("rademacher", "backprop"),
    "forward_gradient_step_gaussian/backprop": ("gaussian", "backprop"),
    "forward_gradient_step_plain_normal/backprop": ("plain normal", "backprop"),
    "driver/bare_scan": ("driver", "bare scan"),
    "driver/python_loop": ("driver", "python loop"),
    "driver_8_lanes/driver": ("driver, 8 lanes", "driver"),
}


def measure(repeats: int) -> dict[str, list[float]]:
    """Seconds per step of every program, ``repeats`` times each, alternating."""
    runs = {name: make() for name, make in PROGRAMS.items()}
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repetition in range(repeats):
        for name in list(runs)[:: 1 if repetition % 2 else -1]:
            seconds[name].append(runs[name]())
    return seconds


def main(arguments: list[str] | None = None) -> None:
    mend_streams()
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench_forward_grad", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--repeats", type=int, default=30, help="repetitions of every program")
    repeats = parser.parse_args(arguments).repeats
    require_positive(repeats=repeats)

    with backend.explained():
        device = jax.devices()[0]
    print(f"jax {jax.__version__} on {jax.device_count()} x {device.device_kind}")
    seconds = measure(repeats)

    print(f"\n{'ms a step':<16}{'median':>9}{'fastest':>9}{'middle half':>18}")
    for name, values in seconds.items():
        low, middle, high = (1e3 * q for q in statistics.quantiles([*values, *values], n=4))
        print(f"{name:<16}{middle:9.2f}{1e3 * min(values):9.2f}{low:9.2f} to {high:5.2f}")

    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = {
        name: round(medians[top] / medians[below], 3) for name, (top, below) in RATIOS.items()
    }
    print()
    for name, ratio in ratios.items():
        print(f"{name:<46}{ratio:8.3f}")
    print(json.dumps(ratios))


if __name__ == "__main__":
    try:
        main()
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
