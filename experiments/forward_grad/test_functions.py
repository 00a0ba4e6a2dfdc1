"""Beale and Rosenbrock, at the settings of the paper's Figure 2 (claim F3).

Two classic functions of two variables are minimised by plain gradient descent, with backpropagated
gradients and with forward gradients (one tangent a step), at the paper's learning rates and
iterations, from the starts read off its plots, in float64. Gaussian tangents are the paper's;
rademacher ones stand beside. Backpropagation has no randomness; forward gradients are run with
many seeds, whose median, spread and share of diverged runs are reported. A run has diverged if its
loss is not finite, or above where it started.

Time is taken of the same compiled descent with either gradient, one run at a time, interleaved:
what is compared is a loop of the same number of steps, draws of tangents included.

How this could be rigged: by a start or a rate other than the paper's (that backpropagation ends
where a separate calculation with these settings ended is a claim of its own), by few seeds, or by
leaving diverged runs out.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.forward_grad import test_functions_figures as figures
from jaxtrends import estimators
from jaxtrends.errors import Problem, choose, require_positive
from jaxtrends.study import Run, StudyResult

POINTS = 250  # of every curve


@dataclass(frozen=True)
class TestFunctionsConfig:
    """Beale and Rosenbrock, at the settings of the paper's Figure 2."""

    functions: tuple[str, ...] = ("beale", "rosenbrock")
    """Functions to minimise."""
    seeds: int = 200
    """Runs of each randomised method."""
    repetitions: int = 19
    """Timed runs of each method."""


SMOKE = TestFunctionsConfig(functions=("beale",), seeds=1, repetitions=2)
FULL = TestFunctionsConfig(seeds=400, repetitions=51)


@dataclass(frozen=True)
class TestFunction:
    """A function of two variables, with the paper's settings for it.

    ``backprop_final`` is the loss at which backpropagation ends with these settings in a separate
    float64 calculation.
    """

    loss: Callable[[jax.Array], jax.Array]
    start: tuple[float, float]
    optimum: tuple[float, float]
    learning_rate: float
    iterations: int
    backprop_final: float


def beale(point: jax.Array) -> jax.Array:
    """Beale's function of (x, y); its minimum is 0 at (3, 1/2)."""
    x, y = point
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def rosenbrock(point: jax.Array) -> jax.Array:
    """Rosenbrock's function of (x, y); its minimum is 0 at (1, 1)."""
    x, y = point
    return (1.0 - x) ** 2 + 100.0 * (y - x**2) ** 2


FUNCTIONS = {
    "beale": TestFunction(beale, (0.0, 0.5), (3.0, 0.5), 0.01, 1000, 5.560e-5),
    "rosenbrock": TestFunction(rosenbrock, (-1.0, 0.0), (1.0, 1.0), 5e-4, 25000, 5.322e-6),
}

METHODS: dict[str, Callable[..., Any]] = {
    "backprop": estimators.backprop,
    "gaussian": functools.partial(estimators.estimate, law="gaussian"),
    "rademacher": functools.partial(estimators.estimate, law="rademacher"),
}


def _fixed_direction(
    loss: Callable[[jax.Array], jax.Array], point: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """A forward gradient without its random numbers: what is left of the time is the jvp's."""
    tangent = jnp.asarray([1.0, -1.0], point.dtype)
    value, slope = jax.jvp(loss, (point,), (tangent,))
    return value, slope * tangent


TIMED = {**METHODS, "nothing drawn": _fixed_direction}


def check(config: TestFunctionsConfig) -> None:
    """Refuse settings that cannot be run.

    Raises:
        Problem: names the flag at fault.
    """
    for name in config.functions:
        choose("test function", name, FUNCTIONS)
    if not config.functions:
        raise Problem(f"--test-functions.functions must name some of {', '.join(FUNCTIONS)}.")
    numbers = {"seeds": config.seeds, "repetitions": config.repetitions}
    require_positive(**{f"test_functions.{name}": number for name, number in numbers.items()})


@functools.partial(jax.jit, static_argnames=("function", "method"))
def descend(
    keys: jax.Array, learning_rate: jax.Array, *, function: str, method: str
) -> tuple[jax.Array, jax.Array]:
    """Minimise a test function by plain gradient descent, a lane a key.

    Returns, after every ``iterations / POINTS`` steps, where the lanes are, (POINTS, lanes, 2),
    and their losses, (POINTS, lanes); both float64, so 64-bit types must be enabled.
    """
    settings, gradient = FUNCTIONS[function], TIMED[method]

    def step(index: jax.Array, point: jax.Array, key: jax.Array) -> jax.Array:
        _, direction = gradient(settings.loss, point, jax.random.fold_in(key, index))
        return point - learning_rate * direction

    def stretch(points: jax.Array, first: jax.Array) -> tuple[jax.Array, jax.Array]:
        def every_lane(index: jax.Array, points: jax.Array) -> jax.Array:
            return jax.vmap(step, in_axes=(None, 0, 0))(index, points, keys)

        points = jax.lax.fori_loop(first, first + stride, every_lane, points)
        return points, points

    stride = settings.iterations // POINTS
    start = jnp.tile(jnp.asarray(settings.start, jnp.float64), (len(keys), 1))
    firsts = stride * jnp.arange(POINTS, dtype=jnp.int32)
    trail = jax.lax.scan(stretch, start, firsts)[1]
    return trail, jax.vmap(jax.vmap(settings.loss))(trail)


def diverged(finals: np.ndarray, first: float) -> np.ndarray:
    """Which of the final losses are not finite, or above the first one; zeros and ones."""
    return (~(finals <= first)).astype(int)


def minimise(
    key: jax.Array, name: str, seeds: int, *, controls: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run every method on one function, with the controls or without: (values, arrays to draw)."""
    function = FUNCTIONS[name]
    keys = jax.random.split(key, seeds)
    first = float(function.loss(np.asarray(function.start)))
    arms = {
        "backprop": ("backprop", keys[:1], 1.0),
        "gaussian": ("gaussian", keys, 1.0),
        "rademacher": ("rademacher", keys, 1.0),
    }
    if controls:
        arms |= {
            "half as long": ("gaussian", keys, 0.5),
            "rate x 10": ("gaussian", keys, 10.0),
        }
    values: dict[str, Any] = {"first": first}
    arrays = {}
    for arm, (method, lanes, factor) in arms.items():
        rate = jnp.float64(factor * function.learning_rate)
        trail, losses = descend(lanes, rate, function=name, method=method)
        trail, losses = np.asarray(trail), np.asarray(losses)
        finals = np.where(np.isfinite(losses[-1]), losses[-1], np.inf)
        values[arm] = {
            "finals": finals.tolist(),
            "diverged": diverged(finals, first).tolist(),
        }
        arrays[arm] = trail, losses
    return values, arrays


def measure_times(key: jax.Array, name: str, repetitions: int) -> dict[str, list[float]]:
    """Seconds of one whole descent with each method: warmed up, blocked on, interleaved."""
    function = FUNCTIONS[name]
    rate = jnp.float64(function.learning_rate)

    def seconds(method: str, repetition: int) -> float:
        keys = jax.random.split(jax.random.fold_in(key, repetition), 1)
        begin = time.perf_counter()
        jax.block_until_ready(descend(keys, rate, function=name, method=method))
        return time.perf_counter() - begin

    for method in TIMED:
        seconds(method, 0)
    rounds = [{method: seconds(method, i) for method in TIMED} for i in range(repetitions)]
    return {method: [taken[method] for taken in rounds] for method in TIMED}


# The study


def run(config: Any, run: Run) -> StudyResult:
    """Minimise every function with every method, then time it."""
    settings: TestFunctionsConfig = config.test_functions
    study_key = jax.random.fold_in(jax.random.key(config.seed), 2)
    values, arrays, times = {}, {}, {}
    with jax.enable_x64(True):
        for name in run.each("test functions", settings.functions):
            key = jax.random.fold_in(study_key, list(FUNCTIONS).index(name))
            values[name], arrays[name] = minimise(
                key, name, settings.seeds, controls=name == settings.functions[0]
            )
            times[name] = measure_times(key, name, settings.repetitions)
    return StudyResult(
        values=values,
        curves={
            f"{name}/{method}": arrays[name][method][1].T.astype(np.float32)
            for name in arrays
            for method in METHODS
        },
        tables=[figures.finals(values)],
        figures=figures.descents(arrays, FUNCTIONS, POINTS),
        measurements=times,
        measured_tables=[figures.times(times)],
    )
