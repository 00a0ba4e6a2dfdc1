"""Which conclusions are robust to the paper's choices, and which depend on one.

The paper's rules contain five debatable choices: when deep learning starts, the width of the
window for z-scores, the z-score above which a system is large-scale, the date from which it may be,
and the z-score below which it is an outlier. The lines are fitted for every combination, tens of
thousands in one compiled program, and each of the paper's conclusions is tested on all of them.
Then one choice at a time is varied around the paper's, which shows what a conclusion depends on.

How this could be rigged: by a grid so narrow that nothing changes, or so wide that nothing holds.
Its ends are values named by the paper or its critics, or about half and twice the paper's value.
The control permutes compute among the dates; the conclusions must then fail.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt

from experiments.compute_trends import fits
from experiments.compute_trends.rules import Rules, Thresholds, label
from experiments.compute_trends.systems import DATASET, Dates, Systems, day, iso, year
from jaxtrends import charts, declare
from jaxtrends.errors import Problem
from jaxtrends.study import Figure, Map, Panel, Run, Series, StudyResult, Table

CHOICES = ("dl_from", "window", "z_high", "large_from", "z_low")
GROUPS = {"before": "pre", "all": "deep", "regular": "regular", "large": "large"}  # -> label
STREAM = 3  # of random numbers, after the seed


@dataclass(frozen=True)
class SensitivityConfig:
    """The choices to vary; the paper's own values are added to each."""

    dl_from: Dates = tuple(
        f"{year}-{end}" for year in range(2005, 2014) for end in ("06-30", "12-31")
    )
    """Last days before the deep-learning era. The paper has 2009-12-31 and, in its Appendix D,
    2012-09-30."""
    window: Annotated[tuple[float, ...], Gt(0)] = (182, 240, 300, 420, 485, 546, 637, 728)
    """Half-widths of the window for z-scores, in days. The paper's text has 1.5 and 2 years."""
    z_high: tuple[float, ...] = (0.46, 0.54, 0.6, 0.68, 0.84, 0.92, 1.0, 1.08)
    """z-scores above which a system is large-scale. The paper's Table 9 has 0.6 and 0.54."""
    large_from: Dates = tuple(
        f"{year}-{month}-01" for year in range(2014, 2018) for month in ("03", "06", "09", "12")
    )
    """Dates after which systems may be large-scale."""
    z_low: tuple[float, ...] = (-1000.0, -2.5, -1.5)
    """z-scores below which a system is an outlier; -1000 for no outliers."""

    def check(self, flag: str) -> None:
        """Refuse thresholds in the wrong order.

        Raises:
            Problem: names the flags.
        """
        if max(self.z_low, default=-1.0) >= min(self.z_high, default=1.0):
            raise Problem(f"--{flag}.z-low must be below --{flag}.z-high.")


def axes(config: SensitivityConfig, rules: Rules) -> dict[str, np.ndarray]:
    """Choice -> its values as sorted numbers, with the rules' own value; dates in days."""
    limits = rules.thresholds()
    given = {name: getattr(config, name) for name in CHOICES}
    for name in ("dl_from", "large_from"):
        given[name] = [day(text) for text in given[name]]
    return {name: np.unique([*values, getattr(limits, name)]) for name, values in given.items()}


class Fitted(NamedTuple):
    """The fits for every combination; arrays with the grid's shape, in the order of CHOICES.

    slopes: group -> per day; n: group -> systems; gap: orders of magnitude from the regular line up
    to the large-scale one, at the mean of the large-scale systems' dates.
    """

    slopes: dict[str, Any]
    n: dict[str, Any]
    gap: Any


@functools.partial(jax.jit, static_argnames=("fixed",))
def fit(
    dates: jax.Array, log_compute: jax.Array, grid: dict[str, jax.Array], fixed: Thresholds
) -> Fitted:
    """Fit the lines of every combination of the choices in ``grid``; float64."""

    def one(*choices: jax.Array) -> Fitted:
        changed = fixed._replace(**dict(zip(CHOICES, choices, strict=True)))
        labels = label(dates, log_compute, changed)
        lines = {
            group: fits.line(dates, log_compute, getattr(labels, rows).astype(dates.dtype))
            for group, rows in GROUPS.items()
        }
        upper, lower = lines["large"], lines["regular"]
        middle = jnp.sum(jnp.where(labels.large, dates, 0.0)) / upper.n
        gap = upper.intercept - lower.intercept + (upper.slope - lower.slope) * middle
        slopes = {group: line.slope for group, line in lines.items()}
        return Fitted(slopes, {group: line.n for group, line in lines.items()}, gap)

    # Nested maps instead of one over a flat list: z-scores depend only on the window, and are
    # computed once for each.
    mapped = one
    for place in reversed(range(len(CHOICES))):
        mapped = jax.vmap(mapped, [0 if i == place else None for i in range(len(CHOICES))])
    return mapped(*(grid[name] for name in CHOICES))


# --- conclusions ---------------------------------------------------------------------------------


class Conclusion(NamedTuple):
    """A conclusion of the paper, as a quantity and the range in which it must be.

    claim, statement: of the claim that it does not depend on any one choice, if there is one.
    """

    name: str
    quantity: str
    low: float
    high: float
    claim: str = ""
    statement: str = ""


MOSTLY = "for at least 95% of the choices of dates and thresholds"
CONCLUSIONS = (
    Conclusion(
        *("faster", "doubling before deep learning / since", 2.0, np.inf, "S1"),
        f"Compute has doubled at least twice as fast since deep learning as before, {MOSTLY}.",
    ),
    Conclusion(
        *("twenty months", "doubling before deep learning [months]", 17.0, 25.0, "S2"),
        f"Before deep learning, compute doubled every 17 to 25 months, {MOSTLY}.",
    ),
    Conclusion(
        *("six months", "doubling since deep learning [months]", 5.0, 7.0, "S3"),
        f"Since deep learning, compute has doubled every 5 to 7 months, {MOSTLY}.",
    ),
    Conclusion("six months, regular", "doubling, regular [months]", 5.0, 7.0),
    Conclusion(
        *("slower", "doubling, large-scale / regular", 1.0, np.inf, "S4"),
        f"Large-scale systems double more slowly than regular ones, {MOSTLY}.",
    ),
    Conclusion(
        *("ten months", "doubling, large-scale [months]", 8.0, 13.0, "S5"),
        f"Large-scale systems double every 8 to 13 months, {MOSTLY}.",
    ),
    Conclusion("a class apart", "gap, large-scale to regular [order of magnitude]", 1.0, np.inf),
)
FEWEST = 5  # systems per group, below which a combination says nothing about it


def quantities(fitted: Fitted, rules: Rules) -> dict[str, np.ndarray]:
    """Conclusion -> its quantity over the grid; NaN where a group is too small."""
    enough = {group: n >= FEWEST for group, n in fitted.n.items()}
    months = {
        group: np.where(enough[group], rules.months(slope), np.nan)
        for group, slope in fitted.slopes.items()
    }
    regular, large = fitted.slopes["regular"], fitted.slopes["large"]
    # What does not grow never doubles: it is infinitely slower than what grows, and nothing is
    # slower than what does not grow.
    with np.errstate(divide="ignore", invalid="ignore"):
        slower = np.where(large > 0, np.maximum(regular, 0.0) / large, np.inf)
    slower = np.where(regular > 0, slower, 0.0)
    both = enough["large"] & enough["regular"]
    return {
        "faster": months["before"] / months["all"],
        "twenty months": months["before"],
        "six months": months["all"],
        "six months, regular": months["regular"],
        "slower": np.where(both, slower, np.nan),
        "ten months": months["large"],
        "a class apart": np.where(both, fitted.gap, np.nan),
    }


def share(conclusion: Conclusion, values: np.ndarray) -> float:
    """The share of combinations for which it holds, without NaNs."""
    values = values[~np.isnan(values)]
    return float(((values > conclusion.low) & (values < conclusion.high)).mean())


def put(
    conclusion: Conclusion,
    values: np.ndarray,
    grid: Mapping[str, np.ndarray],
    paper: tuple[int, ...],
) -> dict[str, Any]:
    """A conclusion over the whole grid, and with one choice at a time varied."""
    alone = {}
    for place, name in enumerate(CHOICES):
        line = values[tuple(slice(None) if i == place else at for i, at in enumerate(paper))]
        fails = grid[name][(line <= conclusion.low) | (line >= conclusion.high)].tolist()
        alone[name] = {
            "low": float(np.nanmin(line)),
            "high": float(np.nanmax(line)),
            "fails at": [iso(date) for date in fails] if name.endswith("_from") else fails,
        }
    return {
        "quantity": conclusion.quantity,
        "region": [conclusion.low, conclusion.high],
        "paper": float(values[paper]),
        "low": float(np.nanmin(values)),
        "high": float(np.nanmax(values)),
        "quantiles": np.nanquantile(values, fits.TAILS, method="nearest").tolist(),
        "combinations": int((~np.isnan(values)).sum()),
        "share": share(conclusion, values),
        "alone": alone,
    }


def run(config: Any, run: Run) -> StudyResult:
    """Fit every combination, and test the conclusions on them."""
    rules: Rules = config.rules
    systems: Systems = run.dataset(DATASET)
    grid, limits = axes(config.sensitivity, rules), rules.thresholds()
    paper = tuple(int(np.searchsorted(grid[name], getattr(limits, name))) for name in CHOICES)
    dealt = np.random.default_rng((config.seed, STREAM)).permutation(systems.log_compute)
    tables = []
    for log_compute in run.each(
        "systems as they are, and dealt anew", [systems.log_compute, dealt]
    ):
        with jax.enable_x64(True):
            points = {name: jnp.asarray(values) for name, values in grid.items()}
            fitted = jax.device_get(fit(systems.dates, log_compute, points, fixed=limits))
        tables.append(quantities(fitted, rules))
    found, control = tables
    small = [name for name, values in found.items() if np.isnan(values[paper])]
    if small:
        return StudyResult({"too few systems": small})
    values = {
        "combinations": int(np.prod([len(points) for points in grid.values()])),
        "conclusions": {one.name: put(one, found[one.name], grid, paper) for one in CONCLUSIONS},
        "dealt anew": {one.name: share(one, control[one.name]) for one in CONCLUSIONS},
    }
    return StudyResult(
        values=values,
        tables=_tables(values),
        figures=[_maps(found, grid, paper)],
    )


CLAIMS = tuple(
    declare.fact(
        one.claim,
        one.statement,
        lambda values, name=one.name: values["conclusions"][name]["share"],
        quantity="share of the combinations of five choices for which it holds",
        region=(0.95, math.inf),
        reason="it should not depend on any one reading of the rules, so 95% must agree",
        fails={
            "dealt anew": (
                lambda values, name=one.name: values["dealt anew"][name],
                "with compute permuted among the dates it must not hold",
            )
        },
    )
    for one in CONCLUSIONS
    if one.claim
)


# --- tables and maps -----------------------------------------------------------------------------

TITLES = {
    "dl_from": "last day before deep learning [year]",
    "window": "half-width of the window [day]",
    "z_high": "z-score above which large-scale",
    "large_from": "large-scale after [year]",
    "z_low": "z-score below which an outlier",
}
MAPS = (  # title, what is shown, across, up
    ("All since deep learning", "six months", "dl_from", "window"),
    ("Regular systems", "six months, regular", "dl_from", "z_high"),
    ("Large-scale systems", "ten months", "large_from", "window"),
    ("Large-scale systems", "ten months", "large_from", "z_high"),
)


def _tables(values: Mapping[str, Any]) -> list[Table]:
    """Every conclusion over the grid, and what it depends on."""
    rows, hanging = [], []
    for name, found in values["conclusions"].items():
        (least, most), (low, middle, high) = found["region"], found["quantiles"]
        rows.append(
            {
                "quantity": found["quantity"],
                "holds if": f"above {least:g}" if np.isinf(most) else f"{least:g} to {most:g}",
                "the rules' choice": found["paper"],
                "lowest": found["low"],
                **{"2.5%": low, "median": middle, "97.5%": high},
                "highest": found["high"],
                "share that holds": found["share"],
                "share, compute dealt anew": values["dealt anew"][name],
            }
        )
        hanging += [
            {
                "quantity": found["quantity"],
                "choice": TITLES[choice],
                "lowest": alone["low"],
                "highest": alone["high"],
                "fails at": ", ".join(map(str, alone["fails at"])) or "nowhere",
            }
            for choice, alone in found["alone"].items()
            if alone["low"] != alone["high"]  # else it has no part in this quantity
        ]
    note = (
        f"{values['combinations']} combinations. They are readings of the rules and not a sample, "
        "so the shares are not probabilities. Last column: the share with compute permuted among "
        "the dates; a conclusion that still holds there is an artefact of the rule."
    )
    title = "The paper's conclusions over all combinations of choices"
    every = charts.table("sensitivity", title, rows, note)
    title = "One choice varied at a time, the others as in the rules"
    return [every, *([charts.table("sensitivity_alone", title, hanging)] if hanging else [])]


def _maps(
    found: Mapping[str, np.ndarray], grid: Mapping[str, np.ndarray], paper: tuple[int, ...]
) -> Figure:
    """Doubling times with two choices varied, the others as in the rules."""
    points = {
        name: year(values) if name.endswith("_from") else values for name, values in grid.items()
    }
    at = dict(zip(CHOICES, paper, strict=True))
    panels = []
    for title, name, across, up in MAPS:
        cut = found[name][tuple(slice(None) if c in (across, up) else at[c] for c in CHOICES)]
        # The remaining axes are in the order of the choices; maps need rows to be `up`.
        shown = cut.T if CHOICES.index(across) < CHOICES.index(up) else cut
        here = [float(points[choice][at[choice]]) for choice in (across, up)]
        mark = Series("the rules' choice", here[:1], here[1:], style="points")
        colours = Map(points[across], points[up], shown, "doubling [months]")
        panels.append(Panel(title, TITLES[across], TITLES[up], [mark], map=colours))
    return Figure(
        "sensitivity",
        "What the doubling times depend on",
        "Doubling times with two of the five choices varied, the others as in the rules. The "
        "colour scales differ between maps.",
        panels,
    )
