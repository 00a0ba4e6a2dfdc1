"""Which conclusions hold whatever the choices, and which hang on one.

The paper's rules hold five choices that others would make otherwise: when deep learning begins, how
wide the window of the z-scores is, above which z-score a system is large-scale, from which date on,
and below which it is an outlier. The lines are fitted for every combination of them, tens of
thousands in one compiled program, and each of the paper's conclusions is put to all of them. Then
one choice at a time is moved away from the paper's, which tells what a conclusion hangs on.

How this could be rigged: by a grid so narrow that nothing changes, or so wide that nothing holds.
Its ends are readings that the paper itself or its critics name, or about half and twice the paper's
value. The same conclusions are put to systems whose compute is dealt out anew among the dates,
which must not bear them out.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.compute_trends import fits
from experiments.compute_trends import sensitivity_figures as drawn
from experiments.compute_trends.rules import Rules, Thresholds, label
from experiments.compute_trends.systems import DATASET, Systems, day, iso
from jaxtrends.errors import Problem, require_positive
from jaxtrends.study import Run, StudyResult

CHOICES = ("dl_from", "window", "z_high", "large_from", "z_low")
GROUPS = ("before", "all", "regular", "large")
STREAM = 3  # of random numbers, after the seed


@dataclass(frozen=True)
class SensitivityConfig:
    """The choices that are varied; the paper's own values are added to each."""

    dl_from: tuple[str, ...] = tuple(
        f"{year}-{end}" for year in range(2005, 2014) for end in ("06-30", "12-31")
    )
    """Last days before the deep-learning era. The paper's are 2009-12-31 and, in its Appendix D,
    2012-09-30."""
    window: tuple[float, ...] = (182, 240, 300, 420, 485, 546, 637, 728)
    """Half-widths of the z-scores' window, in days. The paper's text has 1.5 and 2 years."""
    z_high: tuple[float, ...] = (0.46, 0.54, 0.6, 0.68, 0.84, 0.92, 1.0, 1.08)
    """z-scores above which a system is large-scale. The paper's Table 9 has 0.6 and 0.54."""
    large_from: tuple[str, ...] = tuple(
        f"{year}-{month}-01" for year in range(2014, 2018) for month in ("03", "06", "09", "12")
    )
    """Dates after which systems may be large-scale."""
    z_low: tuple[float, ...] = (-1000.0, -2.5, -1.5)
    """z-scores below which a system is an outlier; -1000 leaves none out."""


SMOKE = SensitivityConfig(
    dl_from=("2007-12-31", "2011-12-31"),
    window=(546,),
    z_high=(0.6,),
    large_from=("2016-09-01",),
    z_low=(-1000.0,),
)
FULL = SensitivityConfig(
    dl_from=tuple(
        f"{year}-{end}"
        for year in range(2005, 2015)
        for end in ("03-31", "06-30", "09-30", "12-31")
    ),
    window=tuple(range(154, 1100, 42)),
    z_high=tuple(round(0.40 + 0.04 * step, 2) for step in range(20)),
    large_from=tuple(f"{year}-{month}-01" for year in range(2013, 2019) for month in ("03", "09")),
    z_low=(-1000.0, -3.0, -2.5, -1.75, -1.5),
)


def check(config: SensitivityConfig) -> None:
    """Refuse settings that cannot be run.

    Raises:
        Problem: names the flag at fault.
    """
    for name in ("dl_from", "large_from"):
        for text in getattr(config, name):
            try:
                day(text)
            except ValueError:
                flag = f"--sensitivity.{name.replace('_', '-')}"
                raise Problem(f"{flag} {text!r} is not a date: write it as 2015-09-01.") from None
    require_positive(**{f"sensitivity.window[{i}]": w for i, w in enumerate(config.window)})
    if max(config.z_low, default=-1.0) >= min(config.z_high, default=1.0):
        raise Problem("--sensitivity.z-low must be below --sensitivity.z-high.")


def axes(config: SensitivityConfig, rules: Rules) -> dict[str, np.ndarray]:
    """Choice -> its values as numbers, in order, the rules' own among them; dates in days."""
    limits = rules.thresholds()
    given = {
        "dl_from": [day(text) for text in config.dl_from],
        "window": config.window,
        "z_high": config.z_high,
        "large_from": [day(text) for text in config.large_from],
        "z_low": config.z_low,
    }
    return {name: np.unique([*given[name], getattr(limits, name)]) for name in CHOICES}


class Fitted(NamedTuple):
    """What is fitted at every combination; arrays of the grid's shape, in the order of CHOICES.

    slopes: group -> per day; n: group -> systems; gap: orders of magnitude from the regular line up
    to the large-scale one, in the middle of the large-scale systems' years.
    """

    slopes: dict[str, Any]
    n: dict[str, Any]
    gap: Any


@functools.partial(jax.jit, static_argnames=("fixed",))
def fit(
    dates: jax.Array, log_compute: jax.Array, grid: dict[str, jax.Array], fixed: Thresholds
) -> Fitted:
    """Fit the lines of every combination of the choices in ``grid``; float64.

    Nested maps rather than one over a flat list: a z-score then depends on the window alone, and
    is taken once for each.
    """

    def one(*choices: jax.Array) -> Fitted:
        labels = label(
            dates, log_compute, fixed._replace(**dict(zip(CHOICES, choices, strict=True)))
        )
        chosen = {
            "before": labels.pre,
            "all": labels.deep,
            "regular": labels.regular,
            "large": labels.large,
        }
        lines = {
            group: fits.line(dates, log_compute, rows.astype(dates.dtype))
            for group, rows in chosen.items()
        }
        upper, lower = lines["large"], lines["regular"]
        middle = jnp.sum(jnp.where(labels.large, dates, 0.0)) / upper.n
        gap = upper.intercept - lower.intercept + (upper.slope - lower.slope) * middle
        return Fitted(
            {group: line.slope for group, line in lines.items()},
            {group: line.n for group, line in lines.items()},
            gap,
        )

    mapped = one
    for place in reversed(range(len(CHOICES))):
        mapped = jax.vmap(
            mapped, in_axes=tuple(0 if i == place else None for i in range(len(CHOICES)))
        )
    return mapped(*(grid[name] for name in CHOICES))


@dataclass(frozen=True)
class Conclusion:
    """A conclusion of the paper's, as a quantity (of the doubling times) and where it must lie."""

    name: str
    quantity: str
    low: float
    high: float


CONCLUSIONS = (
    Conclusion("faster", "doubling before deep learning / since", 2.0, np.inf),
    Conclusion("twenty months", "doubling before deep learning [months]", 17.0, 25.0),
    Conclusion("six months", "doubling since deep learning [months]", 5.0, 7.0),
    Conclusion("six months, regular", "doubling, regular [months]", 5.0, 7.0),
    Conclusion("slower", "doubling, large-scale / regular", 1.0, np.inf),
    Conclusion("ten months", "doubling, large-scale [months]", 8.0, 13.0),
    Conclusion("a class apart", "gap, large-scale to regular [order of magnitude]", 1.0, np.inf),
)
FEWEST = 5  # systems in a group, below which a combination says nothing of it


def quantities(fitted: Fitted, rules: Rules) -> dict[str, np.ndarray]:
    """Conclusion -> its quantity over the grid; not a number where a group is too small."""
    months = {}
    for group in GROUPS:
        time = fits.doubling_months(np.asarray(fitted.slopes[group]), rules.days_per_month)
        months[group] = np.where(np.asarray(fitted.n[group]) >= FEWEST, time, np.nan)
    # A ratio of slopes keeps its sense where large-scale systems do not grow: it passes infinity.
    with np.errstate(divide="ignore", invalid="ignore"):
        slower = np.asarray(fitted.slopes["regular"]) / np.asarray(fitted.slopes["large"])
    slower = np.where(slower > 0, slower, np.inf)
    enough = np.isfinite(months["large"]) & np.isfinite(months["regular"])
    return {
        "faster": months["before"] / months["all"],
        "twenty months": months["before"],
        "six months": months["all"],
        "six months, regular": months["regular"],
        "slower": np.where(enough, slower, np.nan),
        "ten months": months["large"],
        "a class apart": np.where(enough, np.asarray(fitted.gap), np.nan),
    }


def holds(conclusion: Conclusion, values: np.ndarray) -> np.ndarray:
    """Where a conclusion holds; what is not a number is left out."""
    values = values[~np.isnan(values)]
    return (values > conclusion.low) & (values < conclusion.high)


def _named(choice: str, values: np.ndarray) -> list[Any]:
    """Values of a choice as a reader knows them: dates as 2015-09-01."""
    return [iso(v) for v in values] if choice.endswith("_from") else values.tolist()


def put(
    conclusion: Conclusion,
    values: np.ndarray,
    grid: Mapping[str, np.ndarray],
    paper: tuple[int, ...],
) -> dict[str, Any]:
    """A conclusion put to the whole grid, and to one choice at a time from the paper's."""
    alone = {}
    for place, name in enumerate(CHOICES):
        line = values[tuple(slice(None) if i == place else at for i, at in enumerate(paper))]
        told = ~np.isnan(line)
        right = (line > conclusion.low) & (line < conclusion.high)
        alone[name] = {
            "low": float(np.nanmin(line)),
            "high": float(np.nanmax(line)),
            "fails at": _named(name, grid[name][told & ~right]),
        }
    return {
        "quantity": conclusion.quantity,
        "region": [conclusion.low, conclusion.high],
        "paper": float(values[paper]),
        "low": float(np.nanmin(values)),
        "high": float(np.nanmax(values)),
        "quantiles": np.nanquantile(values, (0.025, 0.5, 0.975), method="nearest").tolist(),
        "combinations": int((~np.isnan(values)).sum()),
        "share": float(holds(conclusion, values).mean()),
        "alone": alone,
    }


def run(config: Any, run: Run) -> StudyResult:
    """Fit every combination, and put the conclusions to them."""
    rules: Rules = config.rules
    systems: Systems = run.dataset(DATASET)
    grid = axes(config.sensitivity, rules)
    limits = rules.thresholds()
    paper = tuple(int(np.searchsorted(grid[name], getattr(limits, name))) for name in CHOICES)
    generator = np.random.default_rng((config.seed, STREAM))
    dealt = generator.permutation(systems.log_compute)
    with jax.enable_x64(True):
        points = {name: jnp.asarray(values) for name, values in grid.items()}
        fitted, shuffled = (
            jax.device_get(fit(systems.dates, of, points, fixed=limits))
            for of in (systems.log_compute, dealt)
        )
    found, control = quantities(fitted, rules), quantities(shuffled, rules)
    small = [name for name, values in found.items() if np.isnan(values[paper])]
    if small:
        return StudyResult({"too few systems": small})
    values = {
        "combinations": int(np.prod([len(points) for points in grid.values()])),
        "conclusions": {one.name: put(one, found[one.name], grid, paper) for one in CONCLUSIONS},
        "dealt anew": {
            one.name: float(holds(one, control[one.name]).mean()) for one in CONCLUSIONS
        },
    }
    return StudyResult(
        values=values,
        tables=drawn.tables(values),
        figures=[drawn.maps(found, grid, paper)],
    )
