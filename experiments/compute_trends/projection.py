"""Extrapolating each trend, and testing how well it would have predicted (claims P1 and P2).

Every trend is fitted to all systems up to a date and extrapolated: one line, the paper's line since
2010, two lines that meet, two that need not, and the paper's regular and large-scale trends in
parallel, mixed in proportion to their numbers. The interval of a trend is for its mean; the
interval of a system includes the scatter (Student's t). Break dates are taken as known, so both are
too narrow.

The backtest does the same up to the start of 2016, 2018 and 2020. Labels and break dates are found
from what was known then, and all later systems are scored, including low outliers, since nobody
knows those in advance. The score is the log density that a trend gave to a system, which rewards
both accuracy and calibration.

How this could be rigged: by labels that use later systems, which would leave low outliers out of
the score, or by trends with many breaks, which fit the past. Labels use only what was known, and
trends are scored on systems they have not seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from experiments.compute_trends import needed, segments
from experiments.compute_trends.fits import TAILS
from experiments.compute_trends.rules import Labels, Rules, label, labels_of
from experiments.compute_trends.segments import Search, Trend
from experiments.compute_trends.systems import DATASET, Dates, Systems, day, iso, year
from jaxtrends import charts, declare, power, stats
from jaxtrends.claims import CONFIDENCE, Claim
from jaxtrends.settings import PositiveInt, Rising
from jaxtrends.study import Figure, Panel, Run, Series, StudyResult, Table

STREAM = 7  # of random numbers, after the seed
STEP = 1 / 12  # of break dates, in years
WORSE = 5.0  # orders of magnitude by which the control lowers one line
SIDE_BY_SIDE = "regular and large-scale"


@dataclass(frozen=True)
class ProjectionConfig:
    """Projections, and how well they would have predicted in the past."""

    years: Annotated[tuple[int, ...], Ge(1900), Le(2100), Rising()] = (2023, 2024, 2025, 2026)
    """Years to project to (1 January)."""
    cutoffs: Dates = ("2016-01-01", "2018-01-01", "2020-01-01")
    """Backtest dates: trends are fitted to earlier systems and scored on later ones."""
    fewest: PositiveInt = 10
    """Minimum number of systems between breaks."""
    data_sets: PositiveInt = 200
    """Simulated data sets of one and of two trends, to test whether the backtest can tell them."""


def trends(systems: Systems, labels: Labels, config: ProjectionConfig) -> dict[str, list[Trend]]:
    """Trend name -> its components: one, or the regular and the large-scale trend."""
    large = float(labels.large.sum() / max((labels.large | labels.regular).sum(), 1))
    how = Search(STEP, config.fewest)
    chosen = {
        "one line": [("one line", labels.kept, 1.0)],
        "deep-learning era": [("one line", labels.deep, 1.0)],
        "kink": [("kink", labels.kept, 1.0)],
        "kink and jump": [("kink and jump", labels.kept, 1.0)],
        SIDE_BY_SIDE: [
            ("one line", labels.regular, 1 - large),
            ("one line", labels.large, large),
        ],
    }
    found = {
        name: [
            segments.trend(model, year(systems.dates[of]), systems.log_compute[of], how, share)
            for model, of, share in parts
        ]
        for name, parts in chosen.items()
    }
    return {name: parts for name, parts in found.items() if None not in parts}


def log_density(parts: Sequence[Trend], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Log density (nat per order of magnitude) of systems (m,), Student's t."""
    from scipy import special

    logs = []
    for part in parts:
        mean, _, sd = part.predict(x)
        half = part.freedom / 2
        scale = np.log(sd) + 0.5 * np.log(part.freedom) + special.betaln(half, 0.5)
        tail = (half + 0.5) * np.log1p(((y - mean) / sd) ** 2 / part.freedom)
        logs.append(np.log(part.share) - scale - tail)
    return np.logaddexp.reduce(logs)


def below(parts: Sequence[Trend], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The probability that a trend gives to compute below y, for systems (m,)."""
    from scipy import special

    total = np.zeros(len(x))
    for part in parts:
        mean, _, sd = part.predict(x)
        total += part.share * special.stdtr(part.freedom, (y - mean) / sd)
    return total


def interval(parts: Sequence[Trend], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the 95% interval of a system, by bisection of `below`."""
    predicted = [part.predict(x) for part in parts]
    reach = 50 * max(sd.max() for _, _, sd in predicted)
    least = np.min([mean for mean, _, _ in predicted], axis=0) - reach
    most = np.max([mean for mean, _, _ in predicted], axis=0) + reach
    ends = []
    for tail in (TAILS[0], TAILS[2]):
        low, high = least.copy(), most.copy()
        for _ in range(50):
            middle = (low + high) / 2
            under = below(parts, x, middle) < tail
            low, high = np.where(under, middle, low), np.where(under, high, middle)
        ends.append((low + high) / 2)
    return ends[0], ends[1]


def mean(parts: Sequence[Trend], x: np.ndarray) -> np.ndarray:
    """The mean of log10 FLOP that a trend expects at x (m,) years."""
    return np.sum([part.share * part.predict(x)[0] for part in parts], axis=0)


def backtest(
    systems: Systems, rules: Rules, cutoff: str, config: ProjectionConfig
) -> dict[str, Any]:
    """Fit every trend to systems before a date, and score all later ones."""
    labels = labels_of(systems, replace(rules, end=cutoff))
    later = (systems.dates >= day(cutoff)) & (systems.dates < day(rules.end))
    x, y = year(systems.dates[later]), systems.log_compute[later]
    fitted = trends(systems, labels, config)
    made: dict[str, Any] = {"fitted": int(labels.kept.sum()), "scored": 0, "trends": {}}
    if not later.any() or "one line" not in fitted:
        return made
    for name, parts in fitted.items():
        low, high = interval(parts, x)
        made["trends"][name] = {
            "errors": (y - mean(parts, x)).tolist(),
            "covered": ((low < y) & (y < high)).astype(int).tolist(),
            "log density": log_density(parts, x, y).tolist(),
        }
    (line,) = fitted["one line"]
    lower = line._replace(coefficients=line.coefficients - np.array([WORSE, 0.0]))
    moved = log_density([lower], x, y).tolist()
    return {**made, "scored": int(later.sum()), "moved line": moved}


def told_apart(
    generator: np.random.Generator, systems: Systems, rules: Rules, cutoff: str, data_sets: int
) -> dict[str, float]:
    """How often separate trends predict better in data sets of two trends, and of one.

    Two: the regular and the large-scale systems' own lines and scatter; one: those of all systems
    of the deep-learning era. Scatter is Gaussian; other systems stay as observed.
    """
    labels = labels_of(systems, rules)
    x = year(systems.dates)

    def share(groups: Sequence[str]) -> float:
        mean, spread = systems.log_compute.copy(), np.zeros(len(x))
        for group in groups:
            of = getattr(labels, group)
            line = segments.trend("one line", x[of], systems.log_compute[of], Search(STEP, 0))
            if line is None:
                return math.nan
            mean[of], spread[of] = line.predict(x[of])[0], line.sd
        drawn = mean + spread * generator.standard_normal((data_sets, len(x)))
        return float(np.mean([separate_are_better(systems.dates, y, rules, cutoff) for y in drawn]))

    return {"power": share(("regular", "large")), "false": share(("deep",))}


def separate_are_better(dates: np.ndarray, y: np.ndarray, rules: Rules, cutoff: str) -> bool:
    """Whether the backtest of a cutoff finds separate trends better, in one data set (n,)."""
    labels = label(dates, y, rules.thresholds()._replace(end=day(cutoff)))
    later = (dates >= day(cutoff)) & (dates < day(rules.end))
    x = year(dates)
    groups = (labels.deep, labels.regular, labels.large)
    parts = [segments.trend("one line", x[of], y[of], Search(STEP, 0)) for of in groups]
    if None in parts or later.sum() < 2:
        return False
    deep, regular, large = parts
    share = float(labels.large.sum() / (labels.large | labels.regular).sum())
    sides = [regular._replace(share=1 - share), large._replace(share=share)]
    scores = [log_density(trend, x[later], y[later]).tolist() for trend in (sides, [deep])]
    samples = {"treatment": scores[0], "reference": scores[1]}
    return stats.paired_difference(samples, CONFIDENCE).low > 0


def run(config: Any, run: Run) -> StudyResult:
    """Extrapolate every trend, and backtest it."""
    settings: ProjectionConfig = config.projection
    rules: Rules = config.rules
    systems: Systems = run.dataset(DATASET)
    labels = labels_of(systems, rules)
    fitted = trends(systems, labels, settings)
    x = np.array([float(number) for number in settings.years])
    values: dict[str, Any] = {"data until": iso(systems.dates[labels.inside].max()), "trends": {}}
    for name, parts in fitted.items():
        low, high = interval(parts, x)
        bands = [[end.tolist() for end in part.band(x)] for part in parts]
        values["trends"][name] = {
            "shares": [part.share for part in parts],
            "system": {"low": low.tolist(), "high": high.tolist()},
            "components": [dict(zip(("mean", "low", "high"), band, strict=True)) for band in bands],
        }
    values["backtest"] = {
        cutoff: backtest(systems, rules, cutoff, settings)
        for cutoff in run.each("backtests", settings.cutoffs)
    }
    generator = np.random.default_rng((config.seed, STREAM))
    both = [c for c, made in values["backtest"].items() if SIDE_BY_SIDE in made["trends"]]
    values["told apart"] = {
        cutoff: told_apart(generator, systems, rules, cutoff, settings.data_sets)
        for cutoff in run.each("simulated backtests", both)
    }
    return StudyResult(
        values=values,
        tables=_tables(values, settings.years),
        figures=[_figure(systems, labels, fitted, values, x[-1])],
    )


# --- claims --------------------------------------------------------------------------------------


def too_few(differences: np.ndarray) -> str:
    """That so many later systems cannot decide, and how many would, at this effect and spread."""
    effect, spread = float(differences.mean()), float(differences.std(ddof=1))
    enough = power.fewest(effect, spread, (0.0, math.inf)) if spread else None
    return f"it cannot be decided with {differences.size} later systems" + (
        f"; at the effect and spread observed it would take about {enough:,}" if enough else ""
    )


def untold(values: Mapping[str, Any], cutoff: str) -> str:
    """Why a cutoff cannot tell separate trends from one; "" if it can."""
    power, false = values["told apart"][cutoff].values()
    if power >= needed.LEAST_POWER and false <= needed.MOST_FALSE:
        return ""
    return (
        f"so few systems cannot decide it: separate trends predict better in {power:.0%} of "
        f"simulated data sets with two trends, and in {false:.0%} of those with one"
    )


def _claim(
    id: str,
    statement: str,
    trend: str,
    than: str,
    blind: Callable[[Mapping[str, Any], str], str] = lambda values, cutoff: "",
) -> Claim:
    """Log densities that two trends gave to the same later systems; each cutoff is a part."""

    def scored(values: Mapping[str, Any]) -> dict[str, Any]:
        needed = {trend, than, "one line"}
        found = {c: b for c, b in values["backtest"].items() if needed <= set(b["trends"])}
        if not found:
            raise KeyError(f"a backtest of {trend}")
        return found

    def density(made: Mapping[str, Any], name: str) -> list[float]:
        return made["trends"][name]["log density"]

    def moved(values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            f"up to {cutoff}": (made["moved line"], density(made, "one line"))
            for cutoff, made in scored(values).items()
        }

    def undecided(values: Mapping[str, Any]) -> dict[str, str]:
        """Why a part is undecided: the later systems are too few, and how many it would take."""
        said: dict[str, str] = {}
        for cutoff, made in scored(values).items():
            part = f"up to {cutoff}"
            said[part] = blind(values, cutoff)
            pair = {"treatment": density(made, trend), "reference": density(made, than)}
            found = stats.paired_difference(pair, CONFIDENCE)
            if found.low < 0 < found.high:
                few = too_few(np.subtract(*pair.values()))
                said[part] = "; ".join(filter(None, [few, said[part]]))
        return said

    return declare.fact(
        id,
        statement,
        lambda values: {
            f"up to {cutoff}": (density(made, trend), density(made, than))
            for cutoff, made in scored(values).items()
        },
        quantity=f"log density of later systems, {trend} - {than} [nat]",
        statistic="paired difference",
        region=(0.0, math.inf),
        reason="a higher density is a better prediction; the samples are the later systems, whose "
        "errors are not quite independent, so the intervals are somewhat too narrow",
        fails={
            "moved line": (
                moved,
                "one line lowered by five orders of magnitude predicts worse; a score with the "
                "wrong sign would prefer it",
            )
        },
        doubt=undecided,
    )


CLAIMS = (
    _claim(
        "P1",
        "A trend with a kink predicts later systems better than one line.",
        "kink",
        "one line",
    ),
    _claim(
        "P2",
        "Separate regular and large-scale trends predict later systems better than one trend for "
        "the deep-learning era.",
        SIDE_BY_SIDE,
        "deep-learning era",
        untold,
    ),
)


# --- tables and figure ---------------------------------------------------------------------------


def _tables(values: Mapping[str, Any], years: Sequence[int]) -> list[Table]:
    """Projected training compute, and the backtest scores."""
    rows = [
        {
            "trend": name,
            "year": str(number),
            "mean of the trend [FLOP]": " and ".join(
                f"10^{part['mean'][place]:.1f} [10^{part['low'][place]:.1f}; "
                f"10^{part['high'][place]:.1f}]"
                for part in found["components"]
            ),
            "a system [FLOP]": "; ".join(
                f"10^{end[place]:.1f}" for end in found["system"].values()
            ),
        }
        for name, found in values["trends"].items()
        for place, number in enumerate(years)
    ]
    scores = [
        {
            "fitted before": cutoff,
            "systems fitted": made["fitted"],
            "systems scored": made["scored"],
            "trend": name,
            "mean error [OOM]": float(np.mean(found["errors"])),
            "root mean square error [OOM]": float(np.sqrt(np.mean(np.square(found["errors"])))),
            "share in the 95% interval": float(np.mean(found["covered"])),
            "log score [nat]": float(np.mean(found["log density"])),
        }
        for cutoff, made in values["backtest"].items()
        for name, found in made["trends"].items()
    ]
    carried = (
        "projection",
        "Training compute at the start of a year, if the trends continue",
        rows,
        "With 95% intervals, break dates taken as known. The data end on "
        f"{values['data until']}. These are extrapolations, not forecasts: the backtest shows how "
        "far off they would have been.",
    )
    tested = (
        "backtest",
        "Trends fitted up to a date, scored on later systems",
        scores,
        "Errors are in log10 FLOP, observed - expected: negative if the trend was too high. The "
        "log score is the mean log density of later systems; higher is better. The regular and "
        "large-scale trends need enough systems of both kinds.",
    )
    return [charts.table(*table) for table in (carried, tested) if table[2]]


def _figure(
    systems: Systems,
    labels: Labels,
    fitted: Mapping[str, Sequence[Trend]],
    values: Mapping[str, Any],
    last: float,
) -> Figure:
    """The trends extrapolated to the year ``last``, and their scores."""
    x = year(systems.dates)
    shown = labels.deep | (labels.low & (x > 2010))
    series = [Series("systems", x[shown], 10 ** systems.log_compute[shown], style="points")]
    ways = {name: (fitted[name][0], 2010.0) for name in ("kink", "one line") if name in fitted}
    sides = zip(("regular", "large-scale"), fitted.get(SIDE_BY_SIDE, ()), strict=False)
    ways |= {name: (part, 2015.67) for name, part in sides}
    for name, (part, start) in ways.items():
        at = np.linspace(start, last, 60)
        ends = interval([part], at) if name == "kink" else ()
        with np.errstate(over="ignore"):  # beyond the largest float64 it is infinite and not drawn
            drawn = [10.0**logs for logs in (part.predict(at)[0], *ends)]
        series.append(Series(f"{name}, extrapolated", at, *drawn, style="theory"))
    scores = []
    for place, name in enumerate(fitted):
        points = []
        for cutoff, made in values["backtest"].items():
            if name in made["trends"]:
                density = np.array(made["trends"][name]["log density"])
                half = 1.96 * density.std(ddof=1) / np.sqrt(len(density)) if len(density) > 1 else 0
                points.append((float(cutoff[:4]) + 0.12 * (place - 2), density.mean(), half))
        if points:
            when, middle, half = np.array(points).T
            scores.append(Series(name, when, middle, middle - half, middle + half, "points"))
    marks = {"end of the data": float(year(systems.dates[labels.inside].max()))}
    axes = ("publication date [year]", "training compute [FLOP]")
    panels = [Panel("Extrapolated", *axes, series, y_scale="log", marks=marks)]
    if scores:
        axes = ("fitted up to [year]", "log score of later systems [nat]")
        panels.append(Panel("Backtest", *axes, scores))
    return Figure(
        "projection",
        "Extrapolated trends, and how well they would have predicted",
        "(a) Trends beyond the data, with the 95% interval of a system for the kink. (b) Mean log "
        "density of later systems under trends fitted up to a date, with 95% intervals that assume "
        "independence; points are shifted sideways.",
        panels,
    )
