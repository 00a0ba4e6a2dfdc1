"""Bias and variance of forward gradients, and of finite differences (claims F1 and F2).

**Bias and variance.** f(x) = Σ log(2 cosh(x - c)) has the known gradient tanh(x - c); c is random,
so the gradient is dense. Many independent estimates are drawn for every distribution of tangents,
number of parameters d and number of averaged tangents k. Bias is measured by projections: the mean
error along the gradient and along a random direction, both over ||g||. Variance is measured by the
relative mean squared error E||estimate - g||² / ||g||² over its closed form: (d - 2 + κ) / k for
independent components of kurtosis κ, (d - 1) / k for the sphere and for coordinates, d / k - 1 for
k orthogonal tangents. The number of tangents per cell is fixed in advance, large enough to resolve
2% of the closed form; with few draws, anything would pass a test for "no significant difference".
The samples of every claim are the means of 20 independent batches. With as many orthogonal
tangents as parameters, the estimate equals the gradient.

**Finite differences.** The same f in 256 dimensions, in float32 and float64: the estimate along one
tangent by jvp, and by one-sided and central differences of every step size, against g·v from the
closed form in float64. SPSA, MeZO and evolution strategies with mirrored pairs use the same
arithmetic as central differences.

How this could be rigged: by too few draws to tell anything apart, by a gradient along one axis,
or, for finite differences, by one badly chosen step size. Deliberately wrong estimators take every
test and must fail it, and finite differences are judged at their best step size.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxtrends import charts, declare
from jaxtrends.errors import Problem
from jaxtrends.estimators import LAWS, draw, estimate
from jaxtrends.settings import PositiveInt, Sizes, Some
from jaxtrends.study import Figure, Panel, Run, Series, StudyResult, Table

BATCHES = 20  # of draws, whose means are the samples of every claim
EXACT_DRAWS = 32  # of the estimates that must equal the gradient
DIRECTIONS = 64  # tangents along which differences are taken
DIFFERENCES = ("forward_difference", "central_difference")
EPSILONS = {  # sizes of the differences, two a decade
    "float32": tuple(10.0 ** (exponent / 2) for exponent in range(-16, 1)),
    "float64": tuple(10.0 ** (exponent / 2) for exponent in range(-28, 1)),
}


@dataclass(frozen=True)
class Cell:
    """One estimator: k tangents of one distribution in d dimensions; ``clip`` bounds the slopes."""

    law: str
    dimension: int
    tangents: int
    draws: int
    clip: float | None = None

    @property
    def name(self) -> str:
        return f"{self.law}, d={self.dimension}, k={self.tangents}"


@dataclass(frozen=True)
class Estimators:
    """Bias and variance of forward gradients; finite differences."""

    laws: Some[LAWS] = tuple(LAWS)
    """Distributions of the tangents."""
    dimensions: Sizes = (8, 32, 128)
    """Numbers of parameters."""
    tangents: Sizes = (1, 4, 16)
    """Tangents averaged per estimate; values above the number of parameters are skipped."""
    draws: PositiveInt = 2**19
    """Tangents drawn per cell; more below 32 parameters, where estimates vary more."""
    difference_dimension: PositiveInt = 256
    """Number of parameters for finite differences."""

    def cell(self, law: str, dimension: int, tangents: int) -> Cell:
        """An estimator, with as many draws as its variance needs."""
        return Cell(law, dimension, tangents, self.draws * max(1, 32 // dimension))

    def check(self, flag: str) -> None:
        """Refuse an empty grid.

        Raises:
            Problem: names the flag at fault.
        """
        if not any(grid(self, law) for law in self.laws):
            raise Problem(f"--{flag}.tangents must include a number below one of the dimensions.")


SMOKE = Estimators(laws=("gaussian",), dimensions=(8,), tangents=(1,))
FULL = Estimators(dimensions=(8, 32, 128, 512), tangents=(1, 2, 4, 8, 16, 32, 64), draws=2**20)


def closed_form(law: str, dimension: int, tangents: int) -> float:
    """E||estimate - g||² / ||g||² of the mean over k tangents, averaged over directions of g.

    Derived from E||v (v·g)||² = (d - 1 + κ) ||g||² for independent components of kurtosis κ; for
    k orthogonal tangents the estimate is d / k times a projection.
    """
    if law == "orthogonal":
        return dimension / tangents - 1
    kurtosis = {"gaussian": 3, "rademacher": 1, "laplace": 6, "sphere": 1, "coordinate": 1}[law]
    return (dimension - 2 + kurtosis) / tangents


def loss(x: jax.Array, centre: jax.Array) -> jax.Array:
    """Σ log(2 cosh(x - c)), of which tanh(x - c) is the gradient."""
    return jnp.sum(jnp.logaddexp(x - centre, centre - x))


@functools.partial(jax.jit, static_argnames=("cells",))
def measure(
    keys: jax.Array,
    centre: jax.Array,
    direction: jax.Array,
    scale: jax.Array,
    *,
    cells: tuple[Cell, ...],
) -> list[jax.Array]:
    """Draw estimates of the gradient at 0 for some cells, a key a cell: one program for them all.

    Each cell uses the first d numbers of ``centre`` and ``direction``. Every estimate is multiplied
    by ``scale``, which is 1 except for a deliberately wrong estimator. Returns for each cell
    (BATCHES, 3) float32, the batch means of: the squared error over ||g||²; the error's projection
    on the gradient over ||g||; and its projection on the direction over ||g||.
    """

    def batches(key: jax.Array, cell: Cell) -> jax.Array:
        centre_here, along = centre[: cell.dimension], direction[: cell.dimension]
        gradient = -jnp.tanh(centre_here)
        along = along / jnp.linalg.norm(along)
        square = jnp.sum(gradient**2)

        def one(key: jax.Array) -> jax.Array:
            _, guess = estimate(
                lambda x: loss(x, centre_here),
                jnp.zeros_like(centre_here),
                key,
                law=cell.law,
                tangents=cell.tangents,
                clip=cell.clip,
            )
            error = scale * guess - gradient
            return jnp.stack(
                [
                    jnp.sum(error**2) / square,
                    jnp.sum(error * gradient) / square,
                    jnp.sum(error * along) / jnp.sqrt(square),
                ]
            )

        each = math.ceil(cell.draws / (BATCHES * cell.tangents))
        keys = jax.random.split(key, (BATCHES, each))
        return jax.lax.map(lambda keys: jnp.mean(jax.vmap(one)(keys), axis=0), keys)

    return [batches(keys[index], cell) for index, cell in enumerate(cells)]


def grid(config: Estimators, law: str) -> tuple[Cell, ...]:
    """The cells of one distribution: every d and k ≤ d, except those whose error is zero."""
    return tuple(
        config.cell(law, dimension, tangents)
        for dimension in config.dimensions
        for tangents in config.tangents
        if tangents <= dimension and closed_form(law, dimension, tangents) > 0
    )


def measure_cells(
    key: jax.Array,
    centre: jax.Array,
    direction: jax.Array,
    cells: tuple[Cell, ...],
    scale: float = 1.0,
) -> dict[str, Any]:
    """`measure` as values: cell name -> its settings, closed form and batch means."""
    if not cells:
        return {}
    keys = jax.random.split(key, len(cells))
    measured = measure(keys, centre, direction, jnp.float32(scale), cells=cells)
    return {
        cell.name: {
            "law": cell.law,
            "dimension": cell.dimension,
            "tangents": cell.tangents,
            "closed_form": closed_form(cell.law, cell.dimension, cell.tangents),
            **dict(zip(("error", "along", "across"), np.asarray(found).T.tolist(), strict=True)),
        }
        for cell, found in zip(cells, measured, strict=True)
    }


@functools.partial(jax.jit, static_argnames=("law", "dimension"))
def largest_error(key: jax.Array, centre: jax.Array, *, law: str, dimension: int) -> jax.Array:
    """Largest ||estimate - g||² / ||g||² of some estimates with k = d tangents, in float64."""
    near = centre[:dimension].astype(jnp.float64)
    gradient = -jnp.tanh(near)

    def error(key: jax.Array) -> jax.Array:
        at = jnp.zeros_like(near)
        _, guess = estimate(lambda x: loss(x, near), at, key, law=law, tangents=dimension)
        return jnp.sum((guess - gradient) ** 2) / jnp.sum(gradient**2)

    return jnp.max(jax.vmap(error)(jax.random.split(key, EXACT_DRAWS)))


@jax.jit
def slopes(
    keys: jax.Array, centre: jax.Array, epsilons: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Tangents, and the estimates along each of them by jvp and by differences.

    All in the dtype of ``centre`` (d,). Returns the tangents (keys, d), and mode -> estimates
    (epsilons, keys, d); those by jvp have one row.
    """

    def of(mode: str, key: jax.Array, epsilon: jax.Array | None) -> jax.Array:
        at = jnp.zeros_like(centre)
        return estimate(lambda x: loss(x, centre), at, key, mode=mode, epsilon=epsilon)[1]

    found = {"jvp": jax.vmap(lambda key: of("jvp", key, None))(keys)[None]}
    for mode in DIFFERENCES:
        over_keys = jax.vmap(functools.partial(of, mode), in_axes=(0, None))
        found[mode] = jax.vmap(over_keys, in_axes=(None, 0))(keys, epsilons)
    return jax.vmap(lambda key: draw("gaussian", key, centre))(keys), found


def measure_differences(key: jax.Array, centre: jax.Array, precision: str) -> dict[str, Any]:
    """Mode -> relative error of the slope at every step size.

    The error is the root mean square over the tangents, against the closed form in float64.
    """
    keys = jax.random.split(key, DIRECTIONS)
    gradient = -np.tanh(np.asarray(centre, np.float64))
    dtype = jnp.dtype(precision)
    tangents, guesses = slopes(keys, centre.astype(dtype), jnp.asarray(EPSILONS[precision], dtype))
    tangents = np.asarray(tangents, np.float64)
    exact = (tangents @ gradient)[:, None] * tangents

    def error(guess: jax.Array) -> list[float]:
        squares = np.square(np.asarray(guess, np.float64) - exact).sum(axis=(1, 2))
        return np.sqrt(squares / np.square(exact).sum()).tolist()

    return {mode: error(guess) for mode, guess in guesses.items()}


# --- the study ------------------------------------------------------------------------------------


def run(config: Any, run: Run) -> StudyResult:
    """Measure every distribution, the wrong estimators, the exact cells and finite differences."""
    settings: Estimators = config.estimators
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    longest = max(*settings.dimensions, settings.difference_dimension)
    centre, direction = jax.random.normal(jax.random.fold_in(key, 0), (2, longest), jnp.float32)

    cells: dict[str, Any] = {}
    for law in run.each("laws of tangents", settings.laws):
        law_key = jax.random.fold_in(key, 1 + list(LAWS).index(law))
        cells |= measure_cells(law_key, centre, direction, grid(settings, law))
    plain = settings.cell("gaussian", settings.dimensions[len(settings.dimensions) // 2], 1)
    wrong = {"10% too long": (plain, 1.1), "clipped at 1": (replace(plain, clip=1.0), 1.0)}
    wrong_key, controls = jax.random.fold_in(key, 101), {}
    for name in run.each("wrong on purpose", list(wrong)):
        cell, scale = wrong[name]
        (controls[name],) = measure_cells(wrong_key, centre, direction, (cell,), scale).values()
    square = functools.partial(largest_error, jax.random.fold_in(key, 102), centre)
    with jax.enable_x64(True):
        exact = {
            str(d): float(square(law="orthogonal", dimension=d))
            for d in run.each("as many tangents as parameters", settings.dimensions)
        }
        inexact = {str(d): float(square(law="gaussian", dimension=d)) for d in settings.dimensions}
        near, difference_key = centre[: settings.difference_dimension], jax.random.fold_in(key, 103)
        differences = {
            precision: measure_differences(difference_key, near, precision)
            for precision in run.each("finite differences", list(EPSILONS))
        }
    values = {
        "cells": cells,
        "controls": controls,
        "orthogonal_square": exact,
        "gaussian_square": inexact,
        "epsilons": {precision: list(sizes) for precision, sizes in EPSILONS.items()},
        "differences": differences,
    }
    return StudyResult(
        values=values,
        tables=[errors(cells), best_differences(differences)],
        figures=[relative_error(cells, settings), finite_differences(differences, settings)],
    )


# --- what is claimed -----------------------------------------------------------------------------

Values = Mapping[str, Any]


def biases(values: Values) -> dict[str, list[float]]:
    """Projections of the mean error, for every cell."""
    return {
        f"{name}, along {line}": cell[way]
        for name, cell in values["cells"].items()
        for way, line in (("along", "the gradient"), ("across", "a random direction"))
    }


def over_closed_form(cell: Values) -> list[float]:
    """Relative mean squared error over what it should be."""
    return [error / cell["closed_form"] for error in cell["error"]]


def best(found: Values, mode: str) -> float:
    """Relative error of the slope at its best step size, over that of central differences."""
    return min(found[mode]) / min(found["central_difference"])


def depth(errors: Sequence[float]) -> float:
    """The lower end of a curve of errors over its lowest point."""
    return min(errors[0], errors[-1]) / min(errors)


def off(values: Values) -> dict[str, list[float]]:
    """The `biases` of estimates that are off by a tenth of the gradient's norm, along each line."""
    return {name: [error + 0.1 for error in errors] for name, errors in biases(values).items()}


def wrong(of: Callable[[Values], Any], name: str = "10% too long") -> Callable[[Values], Any]:
    """The same quantity for an estimator that is wrong on purpose."""
    return lambda values: of(values["controls"][name])


TOO_LONG = "an estimate multiplied by 1.1 is off by 10%"
CLAIMS = (
    declare.fact(
        "F1a",
        "Forward gradients are unbiased, whatever the distribution of their tangents.",
        biases,
        quantity="mean error along a direction / norm of the gradient",
        region=(-0.02, 0.02),
        reason="equivalence within 2%, a fifth of the error that the control has",
        fails={
            "off by a tenth": (
                off,
                "the same estimates moved by a tenth of the gradient's norm; too few of them, or "
                "an error in another unit, could not tell",
            ),
            "10% too long": (wrong(lambda cell: cell["along"]), TOO_LONG),
            "clipped at 1": (
                wrong(lambda cell: cell["along"], "clipped at 1"),
                "clipping the slope to [-1, 1] biases the estimate",
            ),
        },
        reported="unbiased",
        where="abstract",
        known="abstract",
        statistic="mean",
        source="paper",
        headline=True,
    ),
    declare.fact(
        "F1b",
        "The relative mean squared error of a forward gradient matches its closed form, (d + 1) / "
        "k for k Gaussian tangents in d dimensions.",
        lambda values: {name: over_closed_form(cell) for name, cell in values["cells"].items()},
        quantity="relative mean squared error / closed form: (d - 2 + κ) / k for independent "
        "components of kurtosis κ, (d - 1) / k for the sphere and for coordinates, d / k - 1 for "
        "orthogonal tangents",
        region=(0.98, 1.02),
        reason="equivalence within 2%; an estimate 10% too long is off by 21%",
        fails={
            "21% more": (
                lambda values: {
                    name: [1.21 * ratio for ratio in over_closed_form(cell)]
                    for name, cell in values["cells"].items()
                },
                "errors as large as those of estimates 10% too long; too few estimates could not "
                "tell",
            ),
            "10% too long": (wrong(over_closed_form), TOO_LONG),
        },
        statistic="mean",
    ),
    declare.fact(
        "F1c",
        "With as many orthogonal tangents as parameters, a forward gradient equals the gradient.",
        lambda values: {f"d=k={d}": error for d, error in values["orthogonal_square"].items()},
        quantity=f"largest relative squared error of {EXACT_DRAWS} estimates in float64",
        statistic="exact",
        region=(-math.inf, 1e-20),
        reason="squared rounding error, with room for the orthogonalisation",
        fails={
            "gaussian": (
                lambda values: {f"d=k={d}": e for d, e in values["gaussian_square"].items()},
                "Gaussian tangents have an error even at k = d; draws that are never used would "
                "hide it",
            )
        },
    ),
    declare.fact(
        "F2a",
        "Along its tangent, a forward gradient is exact up to rounding.",
        lambda values: {"float32": values["differences"]["float32"]["jvp"]},
        quantity="relative error of the slope in float32",
        statistic="exact",
        region=(-math.inf, 1e-5),
        reason="about a hundred float32 rounding errors",
        fails={
            "central difference": (
                lambda values: min(values["differences"]["float32"]["central_difference"]),
                "central differences are worse even at their best step size",
            )
        },
        reported="exact",
        where="abstract",
        known="abstract",
        source="paper",
    ),
    declare.fact(
        "F2b",
        "At no step size do finite differences come close to the accuracy of forward mode.",
        lambda values: {name: best(found, "jvp") for name, found in values["differences"].items()},
        quantity="relative error of jvp / that of central differences at their best step size",
        statistic="exact",
        region=(-math.inf, 0.1),
        reason="at least ten times better",
        fails={
            "forward difference": (
                lambda values: {
                    name: best(found, "forward_difference")
                    for name, found in values["differences"].items()
                },
                "one-sided differences do not beat central ones; a search that stops before the "
                "best step size of central differences would have them do so",
            )
        },
    ),
    declare.fact(
        "F2c",
        "Finite differences have a best step size, and fail far from it in either direction.",
        lambda values: {
            f"{mode.replace('_', ' ')}, {precision}": depth(found[mode])
            for precision, found in values["differences"].items()
            for mode in DIFFERENCES
        },
        quantity="error at the better end of the range of step sizes / error at the best one",
        statistic="exact",
        region=(10.0, math.inf),
        reason="the minimum is an order of magnitude below both ends",
        fails={
            "jvp": (
                lambda values: {
                    f"{mode.replace('_', ' ')}, {precision}": depth(found["jvp"])
                    for precision, found in values["differences"].items()
                    for mode in DIFFERENCES
                },
                "jvp has no step size, so its curve is flat; errors that depend on the place in "
                "the list would not be",
            )
        },
    ),
)


# --- what is shown -------------------------------------------------------------------------------


def relative_error(cells: Values, settings: Estimators) -> Figure:
    """Relative error against k and against d for every distribution, with its closed form."""
    most, fewest = settings.tangents[-1], settings.tangents[0]
    widest = settings.dimensions[-1]
    wide = next((d for d in settings.dimensions if d >= most), widest)
    panels = []
    for axis, label, fixed, at, title in (
        ("tangents", "averaged tangents k", "dimension", wide, f"{wide} parameters"),
        ("dimension", "parameters d", "tangents", fewest, f"k = {fewest}"),
    ):
        series: list[Series] = []
        for law in settings.laws:
            shown = [c for c in cells.values() if c["law"] == law and c[fixed] == at]
            measured = ([c[name] for c in shown] for name in (axis, "error", "closed_form"))
            series += charts.beside_law(law, *measured) if shown else []
        panels.append(Panel(title, label, "relative mean squared error", series, "log", "log"))
    return Figure(
        "relative_error",
        "The error of a forward gradient follows its closed form",
        "Relative mean squared error with 95% intervals (within the markers). Dashed: the closed "
        "form for each distribution of tangents.",
        panels,
    )


def finite_differences(differences: Values, settings: Estimators) -> Figure:
    """Relative error of the slope by finite differences and by jvp, against step size."""
    panels = []
    for precision, found in differences.items():
        sizes = EPSILONS[precision]
        series = [Series(mode.replace("_", " "), sizes, found[mode]) for mode in DIFFERENCES]
        series.append(Series("jvp (no step size)", sizes, found["jvp"] * len(sizes)))
        axes = ("step size", "relative error", series, "log", "log")
        panels.append(Panel(precision, *axes))
    return Figure(
        "finite_differences",
        "A forward gradient is exact along its tangent; a finite difference is not",
        f"Relative error of the estimate along one tangent against step size (root mean square "
        f"over {DIRECTIONS} tangents, {settings.difference_dimension} parameters).",
        panels,
    )


def errors(cells: Values) -> Table:
    """Error of every cell."""
    rows = [
        {
            "law": cell["law"],
            "d": cell["dimension"],
            "k": cell["tangents"],
            "closed form": cell["closed_form"],
            **charts.plus_minus("relative MSE", cell["error"]),
            "bias along g": float(np.mean(cell["along"])),
            "bias across": float(np.mean(cell["across"])),
        }
        for cell in cells.values()
    ]
    note = "± is half a 95% interval. Biases are projections of the mean error, over ||g||."
    return charts.table("errors", "Error of forward gradients", rows, note)


def best_differences(differences: Values) -> Table:
    """Error of the slope at the best step size of each kind of difference."""
    rows = [
        {
            "precision": precision,
            "slope by": mode.replace("_", " "),
            "relative error": min(found[mode]),
            "size": "" if mode == "jvp" else EPSILONS[precision][np.argmin(found[mode])],
        }
        for precision, found in differences.items()
        for mode in (*DIFFERENCES, "jvp")
    ]
    title = "Relative error along one tangent, at the best step size"
    return charts.table("differences", title, rows)
