"""Bias and variance of forward gradients, and of finite differences (claims F1 and F2).

**Bias and variance.** f(x) = Σ log(2 cosh(x - c)) has the known gradient tanh(x - c); c is random,
so the gradient is dense. For every law of tangents, number of parameters d and of averaged
tangents k, many independent estimates are drawn. Bias is measured by projections: the mean error
along the gradient, and along a direction drawn at random, both over ||g||. Variance is measured by
the relative mean squared error E||estimate - g||² / ||g||², over its closed form: (d - 2 + κ) / k
for independent numbers of kurtosis κ, (d - 1) / k for the sphere and for coordinates, d / k - 1 for
k orthogonal tangents. The number of tangents drawn for a cell is fixed beforehand, so that every
cell can be told from its closed form within 2%; a test for "no significant difference" would be
passed by anything, given few draws. The samples of every claim are the means of 20 independent
batches. With as many orthogonal tangents as parameters the estimate is the gradient itself.

**Finite differences.** The same f in 256 dimensions, in float32 and float64: the estimate along one
tangent by jvp and by one-sided and central differences of every size, against g·v from the closed
form in float64. Central differences are also the arithmetic of SPSA, of MeZO, and of evolution
strategies with mirrored pairs.

How this could be rigged: by draws so few that nothing can be told apart, by a gradient along one
axis, or, for differences, by one badly chosen size. Estimators made wrong on purpose are put to
every test and must fail it, and differences are judged at the size that suits them best.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.forward_grad import estimators_figures as figures
from jaxtrends.errors import Problem, choose, require_positive
from jaxtrends.estimators import LAWS, draw, estimate
from jaxtrends.study import Run, StudyResult

BATCHES = 20  # of draws, whose means are the samples of every claim
EXACT_DRAWS = 32  # of the estimates that must equal the gradient
DIRECTIONS = 64  # tangents along which differences are taken
DIFFERENCES = ("forward_difference", "central_difference")
EPSILONS = {  # sizes of the differences, two a decade
    "float32": tuple(10.0 ** (exponent / 2) for exponent in range(-16, 1)),
    "float64": tuple(10.0 ** (exponent / 2) for exponent in range(-28, 1)),
}


@dataclass(frozen=True)
class EstimatorsConfig:
    """Bias and variance of forward gradients; finite differences."""

    laws: tuple[str, ...] = tuple(LAWS)
    """Laws of the tangents."""
    dimensions: tuple[int, ...] = (8, 32, 128)
    """Numbers of parameters."""
    tangents: tuple[int, ...] = (1, 4, 16)
    """Tangents averaged in one estimate; those above the number of parameters are left out."""
    draws: int = 2**19
    """Tangents drawn for each cell; more below 32 parameters, where estimates spread more."""
    difference_dimension: int = 256
    """Number of parameters for finite differences."""


SMOKE = EstimatorsConfig(laws=("gaussian",), dimensions=(8,), tangents=(1,))
FULL = EstimatorsConfig(
    dimensions=(8, 32, 128, 512), tangents=(1, 2, 4, 8, 16, 32, 64), draws=2**20
)


def check(config: EstimatorsConfig) -> None:
    """Refuse settings that cannot be run.

    Raises:
        Problem: names the flag at fault.
    """
    for law in config.laws:
        choose("law", law, LAWS)
    for name in ("laws", "dimensions", "tangents"):
        if not getattr(config, name):
            raise Problem(f"--estimators.{name} must not be empty.")
    for name in ("dimensions", "tangents"):
        numbers = getattr(config, name)
        require_positive(**{f"estimators.{name}[{i}]": number for i, number in enumerate(numbers)})
    for name in ("draws", "difference_dimension"):
        require_positive(**{f"estimators.{name}": getattr(config, name)})
    if not any(grid(config, law) for law in config.laws):
        raise Problem("--estimators.tangents must hold a number below one of the dimensions.")


@dataclass(frozen=True)
class Cell:
    """One estimator: k tangents of a law in d dimensions, perhaps with its slopes cut."""

    law: str
    dimension: int
    tangents: int
    draws: int
    clip: float | None = None

    @property
    def name(self) -> str:
        return f"{self.law}, d={self.dimension}, k={self.tangents}"


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

    ``centre`` and ``direction`` are vectors of which each cell uses the first d numbers; every
    estimate is multiplied by ``scale``, which is 1 unless it is to be wrong. Returns for each cell
    (BATCHES, 3) float32, the batches' means of: the squared error over ||g||²; the error's
    projection on the gradient, over ||g||; and that on the direction, over ||g||.
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


def grid(config: EstimatorsConfig, law: str) -> tuple[Cell, ...]:
    """The cells of one law: every d and k ≤ d, without the degenerate ones of no error."""
    return tuple(
        Cell(law, dimension, tangents, config.draws * max(1, 32 // dimension))
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
    """`measure`, as values: cell name -> what it is, its closed form, and its batches."""
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


def measure_differences(key: jax.Array, centre: jax.Array) -> dict[str, Any]:
    """Precision -> mode -> relative error of the slope, for every size of the difference.

    The error is in the root mean square over the tangents, against the closed form in float64.
    """
    keys = jax.random.split(key, DIRECTIONS)
    gradient = -np.tanh(np.asarray(centre, np.float64))
    found: dict[str, Any] = {}
    for precision, epsilons in EPSILONS.items():
        dtype = jnp.dtype(precision)
        tangents, guesses = slopes(keys, centre.astype(dtype), jnp.asarray(epsilons, dtype))
        tangents = np.asarray(tangents, np.float64)
        exact = (tangents @ gradient)[:, None] * tangents
        found[precision] = {
            mode: np.sqrt(
                np.square(np.asarray(guess, np.float64) - exact).sum(axis=(1, 2))
                / np.square(exact).sum()
            ).tolist()
            for mode, guess in guesses.items()
        }
    return found


# The study


def run(config: Any, run: Run) -> StudyResult:
    """Measure every law, the estimators made wrong, the degenerate cells, and differences."""
    settings: EstimatorsConfig = config.estimators
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    longest = max(*settings.dimensions, settings.difference_dimension)
    centre, direction = jax.random.normal(jax.random.fold_in(key, 0), (2, longest), jnp.float32)

    cells: dict[str, Any] = {}
    for law in run.each("laws of tangents", settings.laws):
        law_key = jax.random.fold_in(key, 1 + list(LAWS).index(law))
        if own := grid(settings, law):
            cells |= measure_cells(law_key, centre, direction, own)
    middle = settings.dimensions[len(settings.dimensions) // 2]
    plain = Cell("gaussian", middle, 1, settings.draws * max(1, 32 // middle))
    wrong = {"10% too long": (plain, 1.1), "clipped at 1": (replace(plain, clip=1.0), 1.0)}
    wrong_key = jax.random.fold_in(key, 101)
    controls = {}
    for name in run.each("wrong on purpose", list(wrong)):
        cell, scale = wrong[name]
        (controls[name],) = measure_cells(wrong_key, centre, direction, (cell,), scale).values()
    with jax.enable_x64(True):
        exact_key = jax.random.fold_in(key, 102)
        exact = {
            str(d): float(largest_error(exact_key, centre, law="orthogonal", dimension=d))
            for d in settings.dimensions
        }
        fewest = settings.dimensions[0]
        inexact = float(largest_error(exact_key, centre, law="gaussian", dimension=fewest))
        differences = measure_differences(
            jax.random.fold_in(key, 103), centre[: settings.difference_dimension]
        )
    values = {
        "cells": cells,
        "controls": controls,
        "orthogonal_square": exact,
        "gaussian_square": inexact,
        "epsilons": {precision: list(sizes) for precision, sizes in EPSILONS.items()},
        "differences": differences,
    }
    drawn = [
        figures.relative_error(cells, settings.laws, settings.dimensions, settings.tangents),
        figures.finite_differences(values, DIFFERENCES, DIRECTIONS, settings.difference_dimension),
    ]
    return StudyResult(values=values, tables=figures.tables(values), figures=drawn)
