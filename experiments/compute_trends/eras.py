"""How many eras the data support: trends in one, two and three pieces over all years (claim C7).

All pieces of a trend are fitted together, and break dates are searched on a grid. Six trends are
compared: one line; two that meet at the paper's 2010; two that meet wherever they fit best; two
that need not meet (a kink and a jump); three that meet; three that need not. They are compared by
the Bayesian information criterion, n ln(RSS / n) + k ln n, with k counting coefficients, searched
break dates and the variance, and by the error of predicting each system from the others, the breaks
being searched anew each time.

The date of the kink has an interval by resampling systems. Only that of the continuous kink has
one: a jump's date is known to a gap between two systems, its error shrinks as 1/n, and the
bootstrap is not valid for it. What both criterion and interval are worth is measured on simulated
data with known breaks: one line, one kink, and three eras, with the observed dates.

How this could be rigged: by the smallest piece that is allowed. Pieces of four systems let a third
line run through the four oldest, which is no era of the paper's; ten are asked for, and what four
would give is printed beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from experiments.compute_trends import eras_figures as drawn
from experiments.compute_trends import fits, segments
from experiments.compute_trends.rules import Labels, Rules, label
from experiments.compute_trends.segments import MODELS, PAPERS_KINK, Search
from experiments.compute_trends.systems import DATASET, Systems, day, year
from jaxtrends.errors import Problem, require_positive
from jaxtrends.study import Run, StudyResult

TAILS = (0.025, 0.5, 0.975)
FREE = 4  # systems in a piece where hardly any are asked for
STARTS = ("1980-01-01", "2010-01-01", "2012-09-30")  # the last is AlexNet's
DAYS_PER_YEAR = 365.2425  # of `systems.year`
STREAM = 4  # of random numbers, after the seed


@dataclass(frozen=True)
class ErasConfig:
    """How many eras there are."""

    step: int = 1
    """Break dates of lines that meet are tried every so many months."""
    coarse_step: int = 6
    """The same, where two breaks are searched many times (leave-one-out, simulations)."""
    fewest: int = 10
    """Systems that a piece must have. With four, three pieces fit best with the four systems of
    1952-1959 as one of them: the oldest ones, and no era of the paper's."""
    resamples: int = 2000
    """Resamples of the systems for the interval of the kink's date."""
    simulations: int = 100
    """Simulated data sets of each kind, on which the method must find what was put in."""
    simulated_resamples: int = 200
    """Resamples of each simulated data set for its interval of the kink's date."""


SMOKE = ErasConfig(step=6, coarse_step=24, resamples=100, simulations=20, simulated_resamples=40)
FULL = ErasConfig(resamples=20_000, simulations=1000, simulated_resamples=1000)


def check(config: ErasConfig) -> None:
    """Refuse settings that cannot be run.

    Raises:
        Problem: names the flag at fault.
    """
    names = ("step", "coarse_step", "resamples", "simulations", "simulated_resamples")
    require_positive(**{f"eras.{name}": getattr(config, name) for name in names})
    if config.fewest < FREE:
        raise Problem(f"--eras.fewest must be {FREE} or more, not {config.fewest}.")


class Data(NamedTuple):
    """What is fitted: dates (n,) in years and log10 FLOP (n,), sorted by date."""

    x: np.ndarray
    y: np.ndarray


def kept(systems: Systems, rules: Rules) -> tuple[Data, Labels]:
    """The systems without low outliers, and the labels of all of them."""
    labels = label(systems.dates, systems.log_compute, rules.thresholds())
    return Data(year(systems.dates[labels.kept]), systems.log_compute[labels.kept]), labels


def months(slopes: Any, rules: Rules) -> Any:
    """Doubling times in months, from slopes in log10 FLOP per year."""
    return fits.doubling_months(np.asarray(slopes) / DAYS_PER_YEAR, rules.days_per_month)


def compare(data: Data, config: ErasConfig, rules: Rules) -> dict[str, Any]:
    """Model name -> its k, BIC, break dates, doubling times, and leave-one-out errors."""
    x, y = data
    n = len(x)
    fine = Search(config.step / 12, config.fewest)
    coarse = Search(config.coarse_step / 12, config.fewest)
    found = {}
    for name, model in MODELS.items():
        fit = model.search(x, y[None], np.ones((1, n)), fine)
        breaks = fit.breaks[0]
        fitted = segments.coefficients(name, x, y, breaks, x.mean())
        how = coarse if name == "two kinks" else fine
        errors, _ = segments.leave_one_out(name, x, y, how)
        found[name] = {
            "parameters": model.parameters,
            "rss": float(fit.rss[0]),
            "bic": float(fits.bic(fit.rss, n, model.parameters)[0]),
            "breaks": breaks.tolist(),
            "months": months(segments.slopes(name, fitted), rules).tolist(),
            "errors": errors.tolist(),
        }
    free = MODELS["three segments"].search(x, y[None], np.ones((1, n)), Search(fine.step, FREE))
    found["three segments"]["free"] = {
        "bic": float(fits.bic(free.rss, n, MODELS["three segments"].parameters)[0]),
        "breaks": free.breaks[0].tolist(),
    }
    return found


def profile(data: Data, config: ErasConfig) -> dict[str, list[float]]:
    """The kink's BIC at every date that is tried."""
    dates, rss = segments.kink_profile(*data, Search(config.step / 12, config.fewest))
    bic = fits.bic(rss, len(data.x), MODELS["kink"].parameters)
    return {"dates": dates.tolist(), "bic": bic.tolist()}


def resample_kink(
    generator: np.random.Generator, data: Data, resamples: int, how: Search
) -> tuple[np.ndarray, np.ndarray]:
    """Kink dates (resamples,) and slopes (resamples, 2) per year, systems drawn with replacement.

    A resample is a count of how often each system was drawn.
    """
    n = len(data.x)
    counts = generator.multinomial(n, np.full(n, 1 / n), resamples).astype(np.float64)
    values = np.broadcast_to(data.y, counts.shape)
    found, slopes = segments.kink_and_slopes(data.x, values, counts, how)
    return found.breaks[:, 0], slopes


def worlds(data: Data, found: Mapping[str, Any], rules: Rules) -> dict[str, dict[str, Any]]:
    """Known trends to simulate at the observed dates: (n,) log10 FLOP, their breaks, the spread.

    One line and one kink are those that fit the data. Three eras have the doubling times of the
    paper's Table 2 in turn; the same with a jump of two orders of magnitude, the least that its
    conclusion names; and, as trends that must be found, the same with a quarter of the scatter.
    """
    x, y = data

    def fit(name: str) -> np.ndarray:
        breaks = np.array(found[name]["breaks"])
        fitted = segments.coefficients(name, x, y, breaks, x.mean())
        return segments.design(name, x, breaks, x.mean()) @ fitted

    def spread(name: str) -> float:
        left = max(found[name]["rss"], 0.0)  # rounding may leave less than nothing
        return float(np.sqrt(left / (len(x) - found[name]["parameters"] + 1)))

    breaks = np.array([PAPERS_KINK, float(year(day(rules.large_from)))])
    early, deep, large = (
        np.log10(2) / (rules.days_per_month * time) * DAYS_PER_YEAR for time in (21.3, 5.7, 9.9)
    )

    first, second = (np.maximum(x - date, 0) for date in breaks)
    third = early * (x - PAPERS_KINK) + (deep - early) * first + (large - deep) * second
    kink = {"breaks": found["kink"]["breaks"], "spread": spread("kink")}
    two = {"breaks": breaks.tolist(), "spread": spread("kink")}
    return {
        "one line": {"mean": fit("one line"), "breaks": [], "spread": spread("one line")},
        "one kink": {"mean": fit("kink"), **kink},
        "three eras": {"mean": third, **two},
        "three eras and a jump": {"mean": third + 2.0 * (x > breaks[1]), **two},
        "three clear eras": {"mean": third, **two, "spread": two["spread"] / 4},
    }


def recover(
    generator: np.random.Generator, data: Data, world: Mapping[str, Any], config: ErasConfig
) -> dict[str, Any]:
    """Simulate a known trend many times, and see which model the BIC chooses.

    Returns, for every simulation, the BIC of each model. With one break also the estimate of its
    date, and whether the 95% interval holds it, and whether the middle half of the resamples does.
    """
    x = data.x
    n, how = len(x), Search(config.coarse_step / 12, config.fewest)
    noise = generator.standard_normal((config.simulations, n))
    y = world["mean"] + world["spread"] * noise
    weights = np.ones_like(y)
    found = {name: model.search(x, y, weights, how) for name, model in MODELS.items()}
    bic = {name: fits.bic(fit.rss, n, MODELS[name].parameters) for name, fit in found.items()}
    values = {"bic": {name: values.tolist() for name, values in bic.items()}}
    if len(world["breaks"]) == 1:
        covered, half_covered = [], []
        for one in y:
            dates, _ = resample_kink(generator, Data(x, one), config.simulated_resamples, how)
            low, _, high = np.quantile(dates, TAILS)
            covered.append(int(low <= world["breaks"][0] <= high))
            first, third = np.quantile(dates, [0.25, 0.75])
            half_covered.append(int(first <= world["breaks"][0] <= third))
        values |= {
            "dates": found["kink"].breaks[:, 0].tolist(),
            "covered": covered,
            "covered by the middle half": half_covered,
        }
    return values


def run(config: Any, run: Run) -> StudyResult:
    """Fit and compare the trends, resample the kink, and recover known breaks."""
    settings: ErasConfig = config.eras
    rules: Rules = config.rules
    systems: Systems = run.dataset(DATASET)
    data, labels = kept(systems, rules)
    steps = (settings.step / 12, settings.coarse_step / 12)
    if not all(segments.has_three_pieces(data.x, Search(step, settings.fewest)) for step in steps):
        return StudyResult({"systems": len(data.x)})
    generator = np.random.default_rng((config.seed, STREAM))
    values: dict[str, Any] = {
        "systems": len(data.x),
        "models": compare(data, settings, rules),
        "profile": profile(data, settings),
        "simulated": {},
    }
    how = Search(settings.step / 12, settings.fewest)
    dates, slopes = resample_kink(generator, data, settings.resamples, how)
    with np.errstate(invalid="ignore"):  # between an infinite doubling time and the next
        before, after = (np.quantile(months(of, rules), TAILS).tolist() for of in slopes.T)
    values["kink"] = {
        "earlier than": {date: float((dates < year(day(date))).mean()) for date in STARTS},
        "dates": np.quantile(dates, TAILS).tolist(),
        "months before": before,
        "months after": after,
    }
    known = worlds(data, values["models"], rules)
    for name in run.each("simulated trends", list(known)):
        values["simulated"][name] = recover(generator, data, known[name], settings)
    return StudyResult(
        values=values,
        curves={"kink": dates.astype(np.float32)},
        tables=drawn.tables(values, rules),
        figures=drawn.figures(systems, labels, values, dates, rules),
    )
