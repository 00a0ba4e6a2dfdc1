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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxtrends import estimators
from jaxtrends.claims import Claim, Control, Evidence
from jaxtrends.errors import Problem, choose, require_positive
from jaxtrends.study import Figure, Panel, Run, Series, StudyResult, Table

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
    settings, gradient = FUNCTIONS[function], METHODS[method]

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

    for method in METHODS:
        seconds(method, 0)
    rounds = [{method: seconds(method, i) for method in METHODS} for i in range(repetitions)]
    return {method: [taken[method] for taken in rounds] for method in METHODS}


# Figures and tables


LABELS = {
    "backprop": "backprop",
    "gaussian": "forward gradient",
    "rademacher": "forward gradient, Rademacher",
}


def _curve(label: str, iterations: np.ndarray, losses: np.ndarray) -> Series:
    """The median loss with the band of the middle 80% of the lanes; one lane has no band."""
    losses = np.where(np.isfinite(losses), losses, np.inf)
    if losses.shape[1] == 1:
        return Series(label, iterations.tolist(), losses[:, 0].tolist())
    low, middle, high = np.quantile(losses, [0.1, 0.5, 0.9], axis=1, method="nearest")
    return Series(label, iterations.tolist(), middle.tolist(), low.tolist(), high.tolist())


def _figures(arrays: Mapping[str, Any]) -> list[Figure]:
    losses, paths = [], []
    for name, arms in arrays.items():
        function = FUNCTIONS[name]
        iterations = (1 + np.arange(POINTS)) * (function.iterations // POINTS)
        losses.append(
            Panel(
                name.capitalize(),
                "iteration",
                "f",
                [_curve(LABELS[method], iterations, arms[method][1]) for method in METHODS],
                y_scale="log",
            )
        )
        trails = []
        for method, lanes in (("gaussian", 3), ("backprop", 1)):
            for lane in range(min(lanes, arms[method][0].shape[1])):
                trail = np.vstack([function.start, arms[method][0][:, lane]])
                label = LABELS[method] + (f", run {lane + 1}" if lanes > 1 else "")
                trails.append(Series(label, trail[:, 0].tolist(), trail[:, 1].tolist()))
        for label, point in (("start", function.start), ("optimum", function.optimum)):
            trails.append(Series(label, [point[0]], [point[1]], style="points"))
        paths.append(Panel(name.capitalize(), "x", "y", trails))
    return [
        Figure(
            "test_functions",
            "Forward gradients keep up with backpropagation in two dimensions, per iteration",
            "Loss against iteration at the paper's settings: median of the runs, with the band of "
            "the middle 80% of them; backpropagation has no randomness.",
            losses,
        ),
        Figure(
            "trajectories",
            "Ways to the optimum",
            "The first three forward-gradient runs, and backpropagation, from the paper's starts; "
            f"{POINTS} points of each, evenly spaced over the iterations.",
            paths,
        ),
    ]


def _table(values: Mapping[str, Any]) -> Table:
    rows = []
    for name, found in values.items():
        for method in METHODS:
            finals = np.array(found[method]["finals"])
            ratio = float(np.median(finals)) / found["backprop"]["finals"][0]
            spread = np.quantile(finals, [0.1, 0.9], method="nearest").tolist()
            lost = sum(found[method]["diverged"])
            rows.append(
                [name, LABELS[method], len(finals), float(np.median(finals)), *spread, ratio, lost]
            )
    columns = ("function", "method", "runs", "median f", "10%", "90%", "over backprop", "diverged")
    return Table("finals", "Final loss on the test functions", columns, rows)


def _times_table(times: Mapping[str, Any]) -> Table:
    rows = []
    for name, found in times.items():
        middle = {method: float(np.median(found[method])) for method in METHODS}
        for method in METHODS:
            over = middle[method] / middle["backprop"]
            rows.append([name, LABELS[method], middle[method], over])
    columns = ("function", "method", "seconds", "over backprop")
    note = "Median of the repetitions: one run, all its iterations, compiled."
    return Table("times", "Time of a whole descent", columns, rows, note)


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
        tables=[_table(values)],
        figures=_figures(arrays),
        measurements=times,
        measured_tables=[_times_table(times)],
    )


# Claims


def settings_are_right(values: Mapping[str, Any]) -> Evidence:
    """F3a: backpropagation's final loss over that of the separate calculation."""
    return Evidence(
        {
            name: {"values": [found["backprop"]["finals"][0] / FUNCTIONS[name].backprop_final]}
            for name, found in values.items()
        }
    )


def _over_backprop(found: Mapping[str, Any], arm: str) -> dict[str, list[float]]:
    finals = found[arm]["finals"]
    return {"treatment": finals, "reference": found["backprop"]["finals"] * len(finals)}


def finals(values: Mapping[str, Any]) -> Evidence:
    """F3b: final losses of the forward gradient over backpropagation's, run by run."""
    parts = {name: _over_backprop(found, "gaussian") for name, found in values.items()}
    (control,) = (found for found in values.values() if "half as long" in found)
    return Evidence(parts, {"half as long": _over_backprop(control, "half as long")})


def divergence(values: Mapping[str, Any]) -> Evidence:
    """F3c: which runs of the forward gradient diverged."""
    parts = {name: {"values": found["gaussian"]["diverged"]} for name, found in values.items()}
    (control,) = (found for found in values.values() if "rate x 10" in found)
    return Evidence(parts, {"rate x 10": {"values": control["rate x 10"]["diverged"]}})


def times(measurements: Mapping[str, Any]) -> Evidence:
    """F3d: seconds of the forward gradient over backpropagation's, repetition by repetition."""
    return Evidence(
        {
            name: {"treatment": found["gaussian"], "reference": found["backprop"]}
            for name, found in measurements.items()
        }
    )


CLAIMS = (
    Claim(
        id="F3a",
        study="test_functions",
        statement="The starts read off the paper's plots, with its rates and iterations, give "
        "final losses of 5.560e-5 (Beale) and 5.322e-6 (Rosenbrock) by backpropagation.",
        source="derived",
        quantity="final loss of backpropagation, over that of a separate float64 calculation",
        statistic="exact",
        kind="exact",
        region=(0.99, 1.01),
        reason="the same deterministic descent: rounding moves it by far less than 1%, another "
        "start or rate by far more",
        evidence=settings_are_right,
    ),
    Claim(
        id="F3b",
        study="test_functions",
        statement="On Beale and Rosenbrock forward gradients match backpropagation per iteration.",
        source="paper",
        reported="final f about 5e-5 on Beale and about 5e-6 on Rosenbrock",
        where="Figure 2",
        known="figure",
        quantity="final loss of the forward gradient, over backpropagation's",
        statistic="median ratio",
        region=(0.5, 2.0),
        reason="as near as a logarithmic axis over six decades can be read",
        controls=(
            Control(
                "half as long",
                "fail",
                "forward gradients of half the length end far above backpropagation",
            ),
        ),
        evidence=finals,
    ),
    Claim(
        id="F3c",
        study="test_functions",
        statement="At the paper's rates forward gradients do not diverge on Beale and Rosenbrock.",
        source="derived",
        quantity="share of diverged runs",
        statistic="proportion",
        region=(-1.0, 0.05),
        reason="at most one run in twenty",
        controls=(Control("rate x 10", "fail", "at ten times the paper's rate runs must diverge"),),
        evidence=divergence,
    ),
    Claim(
        id="F3d",
        study="test_functions",
        statement="On Beale and Rosenbrock forward gradients take a little less time than "
        "backpropagation for the same iterations.",
        source="paper",
        reported="0.19 s against 0.21 s on Beale, 3.1 s against 4.1 s on Rosenbrock",
        where="Figure 2",
        known="figure",
        quantity="seconds of a descent with forward gradients, over backpropagation's",
        statistic="median ratio",
        region=(0.0, 1.0),
        reason="less time is a ratio below one",
        about="measurements",
        evidence=times,
    ),
)
