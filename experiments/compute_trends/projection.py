"""Where each trend puts training compute after the data, and how it has done before.

Every trend is fitted to all systems up to a date and carried on: one line, the paper's line since
2010, two lines that meet, two that need not, and the paper's regular and large-scale trends side by
side, mixed in the proportion of their numbers. The interval of the trend is that of its mean, the
interval of a system holds its scatter too (Student's t); break dates are taken as found, which
makes both too narrow by what these are uncertain.

In the backtest the same is done up to the beginnings of 2016, 2018 and 2020: labels and break dates
are found anew from what was known, and all systems that came later are scored, low outliers among
them, since nobody knows beforehand which these will be. The score is the logarithm of the density
that a trend gave to a system, which rewards a trend for being near and for knowing how near.

How this could be rigged: by labels taken with knowledge of what came later, which would leave low
outliers out of the score, or by trends with many breaks, which fit what is past. Labels are of the
time, and the trends are scored on what they have not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from experiments.compute_trends import fits, segments
from experiments.compute_trends import projection_figures as drawn
from experiments.compute_trends.rules import Labels, Rules, label
from experiments.compute_trends.segments import MODELS, Search
from experiments.compute_trends.systems import DATASET, Systems, day, iso, year
from jaxtrends.errors import Problem, require_positive
from jaxtrends.study import Run, StudyResult

CONFIDENCE = 0.95
STEP = 1 / 12  # of break dates, in years
WORSE = 5.0  # orders of magnitude by which one line is moved down, to be predicted worse by
FEWEST = 3  # systems for a line


@dataclass(frozen=True)
class ProjectionConfig:
    """Projections, and how they have done before."""

    years: tuple[int, ...] = (2023, 2024, 2025, 2026)
    """Beginnings of years to project to."""
    cutoffs: tuple[str, ...] = ("2016-01-01", "2018-01-01", "2020-01-01")
    """Dates from which on systems are scored, the trends being fitted to those before."""
    fewest: int = 10
    """Systems that a piece between breaks must have."""


SMOKE = ProjectionConfig(years=(2024,), cutoffs=("2018-01-01",))


def check(config: ProjectionConfig) -> None:
    """Refuse settings that cannot be run.

    Raises:
        Problem: names the flag at fault.
    """
    require_positive(**{"projection.fewest": config.fewest})
    for text in config.cutoffs:
        try:
            day(text)
        except ValueError:
            raise Problem(
                f"--projection.cutoffs {text!r} is not a date: write it as 2018-01-01."
            ) from None
    for number in config.years:
        if not 1900 <= number <= 2100:
            raise Problem(f"--projection.years must be from 1900 to 2100, not {number}.")


class Component(NamedTuple):
    """One least-squares trend, ready to be carried on.

    columns(x) is the design (m, p); coefficients (p,); unscaled (p, p) the inverse of its Gram
    matrix; sd the residual standard deviation on ``freedom`` degrees of freedom; share its weight.
    """

    model: str
    breaks: np.ndarray
    centre: float
    coefficients: np.ndarray
    unscaled: np.ndarray
    sd: float
    freedom: int
    share: float

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean, its standard error, and the standard deviation of a system, at x (m,) years."""
        columns = segments.design(self.model, x, self.breaks, self.centre)
        leverage = np.einsum("mp,pq,mq->m", columns, self.unscaled, columns)
        return (
            columns @ self.coefficients,
            self.sd * np.sqrt(leverage),
            self.sd * np.sqrt(1 + leverage),
        )


def component(
    model: str, x: np.ndarray, y: np.ndarray, how: Search, share: float = 1.0
) -> Component | None:
    """Fit a model of `segments` to systems in order of date.

    None where they are too few, of too few dates, or lie on the trend to the last digit: there is
    no telling then how far others scatter.
    """
    pieces = 1 + {"one line": 0, "two kinks": 2, "three segments": 2}.get(model, 1)
    if len(x) < max(FEWEST, how.fewest * pieces if pieces > 1 else 0) or x[0] == x[-1]:
        return None
    found = MODELS[model].search(x, y[None], np.ones((1, len(x))), how)
    if not np.isfinite(found.rss[0]):
        return None
    breaks = found.breaks[0]
    columns = segments.design(model, x, breaks, x.mean())
    fitted = segments.coefficients(model, x, y, breaks, x.mean())
    # A searched break costs a degree of freedom as a coefficient does; k counts the variance too.
    freedom = len(x) - (MODELS[model].parameters - 1)
    sd = float(np.sqrt(((y - columns @ fitted) ** 2).sum() / freedom))
    if sd < fits.FLAT:
        return None
    unscaled = np.linalg.pinv(columns.T @ columns)
    return Component(model, breaks, float(x.mean()), fitted, unscaled, sd, freedom, share)


def trends(
    systems: Systems, labels: Labels, config: ProjectionConfig
) -> dict[str, list[Component]]:
    """Trend name -> its components: one, or the regular and the large-scale one."""
    how = Search(STEP, config.fewest)

    def fit(model: str, chosen: np.ndarray, share: float = 1.0) -> Component | None:
        return component(
            model, year(systems.dates[chosen]), systems.log_compute[chosen], how, share
        )

    large = float(labels.large.sum() / max((labels.large | labels.regular).sum(), 1))
    late = labels.regular
    found = {
        "one line": [fit("one line", labels.kept)],
        "deep-learning era": [fit("one line", labels.deep)],
        "kink": [fit("kink", labels.kept)],
        "kink and jump": [fit("kink and jump", labels.kept)],
        "regular and large-scale": [
            fit("one line", late, 1 - large),
            fit("one line", labels.large, large),
        ],
    }
    return {name: parts for name, parts in found.items() if None not in parts}


def log_density(parts: Sequence[Component], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The logarithm of the density (nat per order of magnitude) of systems (m,), Student's t."""
    from scipy import special

    logs = []
    for part in parts:
        mean, _, sd = part.predict(x)
        half = part.freedom / 2
        scale = np.log(sd) + 0.5 * np.log(part.freedom) + special.betaln(half, 0.5)
        tail = (half + 0.5) * np.log1p(((y - mean) / sd) ** 2 / part.freedom)
        logs.append(np.log(part.share) - scale - tail)
    return np.logaddexp.reduce(logs)


def below(parts: Sequence[Component], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The probability that a trend gives to less compute than y, for systems (m,)."""
    from scipy import special  # the distributions of scipy.stats take a second to import

    total = np.zeros(len(x))
    for part in parts:
        mean, _, sd = part.predict(x)
        total += part.share * special.stdtr(part.freedom, (y - mean) / sd)
    return total


def interval(parts: Sequence[Component], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the 95% interval of a system, by bisection on `below`."""
    predicted = [part.predict(x) for part in parts]
    reach = 50 * max(sd.max() for _, _, sd in predicted)
    least = np.min([mean for mean, _, _ in predicted], axis=0) - reach
    most = np.max([mean for mean, _, _ in predicted], axis=0) + reach
    ends = []
    for tail in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2):
        low, high = least.copy(), most.copy()
        for _ in range(50):
            middle = (low + high) / 2
            under = below(parts, x, middle) < tail
            low, high = np.where(under, middle, low), np.where(under, high, middle)
        ends.append((low + high) / 2)
    return ends[0], ends[1]


def mean(parts: Sequence[Component], x: np.ndarray) -> np.ndarray:
    """The mean of log10 FLOP that a trend expects at x (m,) years."""
    return np.sum([part.share * part.predict(x)[0] for part in parts], axis=0)


def backtest(
    systems: Systems, rules: Rules, cutoff: str, config: ProjectionConfig
) -> dict[str, Any]:
    """Fit every trend to what was known before a date, and score all that came later."""
    then = replace(rules, end=cutoff)
    labels = label(systems.dates, systems.log_compute, then.thresholds())
    later = (systems.dates >= day(cutoff)) & (systems.dates < day(rules.end))
    x, y = year(systems.dates[later]), systems.log_compute[later]
    scores = {}
    fitted = trends(systems, labels, config)
    if not later.any() or "one line" not in fitted:
        return {"fitted": int(labels.kept.sum()), "scored": 0, "trends": {}}
    for name, parts in fitted.items():
        low, high = interval(parts, x)
        scores[name] = {
            "errors": (y - mean(parts, x)).tolist(),
            "covered": ((low < y) & (y < high)).astype(int).tolist(),
            "log density": log_density(parts, x, y).tolist(),
        }
    (line,) = fitted["one line"]
    lower = line.coefficients - WORSE * (np.arange(line.coefficients.size) == 0)
    return {
        "fitted": int(labels.kept.sum()),
        "scored": int(later.sum()),
        "trends": scores,
        "moved line": log_density([line._replace(coefficients=lower)], x, y).tolist(),
    }


def run(config: Any, run: Run) -> StudyResult:
    """Carry every trend on, and put it to the test on what is past."""
    from scipy import special

    settings: ProjectionConfig = config.projection
    rules: Rules = config.rules
    systems: Systems = run.dataset(DATASET)
    labels = label(systems.dates, systems.log_compute, rules.thresholds())
    fitted = trends(systems, labels, settings)
    x = np.array([float(number) for number in settings.years])
    values: dict[str, Any] = {"data until": iso(systems.dates[labels.inside].max()), "trends": {}}
    for name, parts in fitted.items():
        low, high = interval(parts, x)
        values["trends"][name] = {
            "shares": [part.share for part in parts],
            "system": {"low": low.tolist(), "high": high.tolist()},
            "components": [],
        }
        for part in parts:
            middle, error, _ = part.predict(x)
            half = special.stdtrit(part.freedom, (1 + CONFIDENCE) / 2) * error
            values["trends"][name]["components"].append(
                {
                    "mean": middle.tolist(),
                    "low": (middle - half).tolist(),
                    "high": (middle + half).tolist(),
                }
            )
    values["backtest"] = {
        cutoff: backtest(systems, rules, cutoff, settings)
        for cutoff in run.each("backtests", settings.cutoffs)
    }
    return StudyResult(
        values=values,
        tables=drawn.tables(values, settings.years),
        figures=drawn.figures(systems, labels, fitted, values, interval, max(x)),
    )
