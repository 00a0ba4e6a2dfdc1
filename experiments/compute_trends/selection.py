"""Is the large-scale era more than an effect of the rule that selects it? (claim C6)

The paper calls systems large-scale if they are 0.76 standard deviations above their neighbours in
time, and finds that they are orders of magnitude higher and double more slowly. Any scatter around
a single trend contains such systems, so both effects would appear to some extent without a second
trend. Here systems are simulated from one trend at the observed dates, the paper's rule selects
large-scale systems among them, and the result is compared with the observed one.

The primary statistic, named beforehand, is the large-scale doubling time. Secondary ones, corrected
by Holm's method, are the number of large-scale systems, their distance above the regular ones, and
R squared. Everything after September 2015 is simulated; low outliers and earlier systems stay as
observed and take part in the windows.

The difficulty is the scatter around the one trend, which must come from the data. Estimated from
all systems, it includes the distance between two trends, if there are two, and the test has too
little power. Estimated from the regular systems, it has lost its upper tail to the rule, and the
test finds too much. Both are used, and both tests are evaluated on simulated data sets of one trend
and of two, each tested against its own simulations. If a test misses the paper's two trends, or
finds two trends where there is one, its verdict is worthless, and the claim is inconclusive. The
same simulations with more systems say how many it would take (`needed`).

A mixture of two lines is also compared with one line by the full likelihood, without the rule.

How this could be rigged: by choosing statistics, spreads or rules after seeing the results. The
statistic is named above, both spreads are reported, and the rule is the paper's.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from experiments.compute_trends import fits, mixture, needed
from experiments.compute_trends.fits import FLAT, TAILS
from experiments.compute_trends.rules import Labels, Rules, Thresholds, label, labels_of
from experiments.compute_trends.systems import DATASET, Systems, year
from jaxtrends import charts, declare, stats
from jaxtrends.settings import PositiveInt
from jaxtrends.study import Figure, Panel, Run, StudyResult, Table

FEWEST = 10  # regular and large-scale systems each, to simulate from
STREAM = 5  # of random numbers, after the seed
SPREADS = ("all", "regular")  # systems that give the scatter around one trend
STATISTICS = {  # the first is the primary one
    "doubling": "large-scale doubling [months]",
    "number": "large-scale systems",
    "gap": "gap to the regular line [order of magnitude]",
    "r_squared": "R squared of the large-scale line",
}
RESAMPLED = {spread: f"scatter of {spread}, resampled" for spread in SPREADS}
ALL = RESAMPLED["all"]
DOUBLING = {spread: f"the doubling time against the scatter of {spread}" for spread in SPREADS}
MIXTURE = "the mixture of two lines"
FAR = 8.0  # orders of magnitude between two trends for the positive control


@dataclass(frozen=True)
class SelectionConfig:
    """Whether the large-scale era is more than an effect of selection."""

    simulations: PositiveInt = 2000
    """Simulated data sets of one trend, for each way to draw the scatter."""
    data_sets: PositiveInt = 100
    """Simulated data sets of one and of two trends, to evaluate the test itself."""
    simulations_each: PositiveInt = 159
    """Simulations to compare each of those with; one less than a multiple of 40, so that exactly
    2.5% of ranks are the slowest."""


class Scene(NamedTuple):
    """What every simulation shares: n systems in order of date, late ones and their neighbours.

    x:         (n,) years relative to the mean of the simulated ones.
    y:         (n,) log10 FLOP as observed.
    late:      (n,) after the large-scale date, within the dates.
    simulated: (n,) late, and not low outliers.
    """

    dates: np.ndarray
    x: np.ndarray
    y: np.ndarray
    late: np.ndarray
    simulated: np.ndarray
    thresholds: Thresholds


def scene(systems: Systems, rules: Rules) -> Scene:
    """The scene of the observed systems: late ones, and those within reach of their windows."""
    limits = rules.thresholds()
    near = systems.dates >= limits.large_from - limits.window
    dates = systems.dates[near]
    labels = Labels(*(of_all[near] for of_all in labels_of(systems, rules)))
    late = labels.inside & (dates > limits.large_from)
    simulated = late & ~labels.low
    x = year(dates)
    x = x - x[simulated].mean()
    return Scene(dates, x, systems.log_compute[near], late, simulated, limits)


def select(scene: Scene, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The paper's rule on data sets (b, n): which systems are large-scale and which regular."""
    labels = label(scene.dates, y, scene.thresholds)
    return labels.large, labels.regular & scene.late


def lines(x: np.ndarray, y: np.ndarray, chosen: np.ndarray) -> fits.Line:
    """`fits.line` by matrix products, for x (n,), y (b, n) and selected rows (b, n)."""
    weights = chosen.astype(np.float64)
    n, sx, sxx = (weights @ np.stack([np.ones_like(x), x, x**2], axis=1)).T
    product = weights * y
    sy, sxy, syy = product.sum(1), product @ x, (product * y).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        xx, xy, yy = sxx - sx**2 / n, sxy - sx * sy / n, syy - sy**2 / n
        slope = xy / xx
        rss = yy - slope * xy
        return fits.Line(
            slope=slope,
            intercept=(sy - slope * sx) / n,
            r_squared=1 - rss / yy,
            rss=rss,
            residual_sd=np.sqrt(np.maximum(rss, 0) / (n - 2)),
            n=n,
        )


def measure(scene: Scene, y: np.ndarray) -> dict[str, np.ndarray]:
    """The statistics of data sets (b, n), each (b,).

    doubling:  minus the slope of the large-scale line, in orders of magnitude a year, so that
               higher is slower; unlike months, it keeps its order for negative slopes.
    number:    of large-scale systems.
    gap:       orders of magnitude from the regular line up to the large-scale one, at the mean of
               the simulated years.
    r_squared: of the large-scale line.
    regular_sd: residual standard deviation of the regular line.

    NaN where there are too few large-scale systems.
    """
    large, regular = select(scene, y)
    upper, lower = lines(scene.x, y, large), lines(scene.x, y, regular)
    with np.errstate(invalid="ignore"):  # lines through a single date
        gap = upper.intercept - lower.intercept
    return {
        "doubling": -upper.slope,
        "number": upper.n,
        "gap": gap,
        "r_squared": upper.r_squared,
        "regular_sd": lower.residual_sd,
    }


def denser(scene: Scene, times: int) -> Scene:
    """A scene with several systems in place of each, on its date."""
    *arrays, thresholds = scene
    return Scene(*(np.repeat(array, times) for array in arrays), thresholds)


class OneTrend(NamedTuple):
    """One trend to simulate: mean (n,), residuals to draw from, and their spread."""

    mean: np.ndarray
    residuals: np.ndarray
    sd: float


def one_trend(scene: Scene, y: np.ndarray, spread: str) -> OneTrend:
    """The line through all simulated systems, or only the regular ones, of one data set (n,).

    Residuals are scaled up for the two degrees of freedom of the line.
    """
    chosen = scene.simulated
    if spread == "regular":
        chosen = select(scene, y[None])[1][0]
    fitted = lines(scene.x, y[None], chosen[None])
    mean = (fitted.intercept + fitted.slope * scene.x[:, None])[:, 0]
    n = int(chosen.sum())
    return OneTrend(mean, (y - mean)[chosen] * np.sqrt(n / (n - 2)), float(fitted.residual_sd[0]))


def simulate(
    generator: np.random.Generator, scene: Scene, trend: OneTrend, draws: str, count: int
) -> np.ndarray:
    """Data sets (count, n) from one trend; the scatter is ``resampled`` or ``Gaussian``."""
    shape = (count, int(scene.simulated.sum()))
    if draws == "resampled":
        scatter = generator.choice(trend.residuals, shape)
    else:
        scatter = trend.sd * generator.standard_normal(shape)
    y = np.tile(scene.y, (count, 1))
    y[:, scene.simulated] = trend.mean[scene.simulated] + scatter
    return y


def two_trends(
    generator: np.random.Generator,
    scene: Scene,
    count: int,
    slope: float | None = None,
    apart: float | None = None,
) -> np.ndarray:
    """Data sets (count, n) from the observed regular and large-scale trends.

    Every system belongs to the trend that the rule assigns it to, with that trend's residual
    scatter. ``slope`` replaces the large-scale trend's slope, per year, and ``apart`` its distance
    from the regular trend.
    """
    large, regular = select(scene, scene.y[None])
    upper, lower = lines(scene.x, scene.y[None], large), lines(scene.x, scene.y[None], regular)
    slope = upper.slope if slope is None else slope
    level = upper.intercept if apart is None else lower.intercept + apart
    mean = np.where(large[0], level + slope * scene.x, lower.intercept + lower.slope * scene.x)
    sd = np.where(large[0], upper.residual_sd, lower.residual_sd)
    y = np.tile(scene.y, (count, 1))
    drawn = mean + sd * generator.standard_normal(y.shape)
    y[:, scene.simulated] = drawn[:, scene.simulated]
    return y


def typical(scene: Scene, data_sets: np.ndarray) -> dict[str, float]:
    """The median of each statistic over data sets (b, n)."""
    found = measure(scene, data_sets)
    return {name: float(quantiles(found[name])[1]) for name in STATISTICS}


def exchanged(scene: Scene) -> dict[str, float]:
    """The statistics with regular systems taken for large-scale ones, and the reverse."""
    large, regular = select(scene, scene.y[None])
    upper, lower = lines(scene.x, scene.y[None], regular), lines(scene.x, scene.y[None], large)
    gap = upper.intercept - lower.intercept
    found = {"doubling": -upper.slope, "number": upper.n, "gap": gap, "r_squared": upper.r_squared}
    return {name: float(values[0]) for name, values in found.items()}


def p_values(
    observed: Mapping[str, np.ndarray], null: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Two-sided Monte Carlo p-values of the statistics: twice the smaller tail."""
    found = {}
    for name in STATISTICS:
        values = null[name][np.isfinite(null[name])]
        above = (1 + (values >= observed[name][0]).sum()) / (1 + len(values))
        below = (1 + (values <= observed[name][0]).sum()) / (1 + len(values))
        found[name] = float(min(1.0, 2 * min(above, below)))
    return found


def corrected(p: Mapping[str, float]) -> dict[str, float]:
    """The p-values of all secondary statistics, corrected by Holm's method."""
    _, *others = STATISTICS
    return dict(zip(others, stats.holm([p[name] for name in others]), strict=True))


def trial(
    generator: np.random.Generator, scene: Scene, data_sets: np.ndarray, config: SelectionConfig
) -> dict[str, Any]:
    """Test data sets (b, n), each against its own simulations, with both spreads.

    Returns spread -> "slower", the share of simulations in which the large-scale doubling is as
    slow or slower; and the Holm-corrected p-values of the other statistics.
    """
    found: dict[str, Any] = {spread: defaultdict(list) for spread in SPREADS}
    for y in data_sets:
        observed = measure(scene, y[None])
        for spread, made in found.items():
            trend = one_trend(scene, y, spread)
            draws = simulate(generator, scene, trend, "resampled", config.simulations_each)
            null = measure(scene, draws)
            made["slower"].append(float((null["doubling"] >= observed["doubling"]).mean()))
            for name, p in corrected(p_values(observed, null)).items():
                made[name].append(p)
    return found


def rates(
    generator: np.random.Generator, scene: Scene, times: int, config: SelectionConfig
) -> dict[str, tuple[float, float]]:
    """Test -> the shares of data sets of two trends, and of one, in which it finds two.

    Both worlds are fitted to the observed systems; the data sets have more of them.
    """
    dense, shares = denser(scene, times), defaultdict(list)
    for simulated in (
        two_trends(generator, dense, config.data_sets),
        simulate(generator, dense, one_trend(dense, dense.y, "all"), "resampled", config.data_sets),
    ):
        tried = trial(generator, dense, simulated, config)
        for spread in SPREADS:
            shares[DOUBLING[spread]].append(found_slow(tried, spread))
        fitted = mixture.fit(dense.x[dense.simulated], simulated[:, dense.simulated])
        shares[MIXTURE].append(float((fitted.line_bic > fitted.bic).mean()))
    return {test: (power, false) for test, (power, false) in shares.items()}


def how_many(
    generator: np.random.Generator, scene: Scene, systems: int, config: SelectionConfig
) -> dict[str, Any]:
    """Test -> how many systems it would take (`needed.climb`)."""
    known: dict[int, dict[str, tuple[float, float]]] = {}

    def at(times: int, test: str) -> tuple[float, float]:
        if times not in known:
            known[times] = rates(generator, scene, times, config)
        return known[times][test]

    tests = (*DOUBLING.values(), MIXTURE)
    return {t: needed.climb(lambda times, t=t: at(times, t), systems) for t in tests}


def at_least(simulated: np.ndarray, value: float) -> list[int]:
    """Which simulations have at least this value, as zeros and ones."""
    return (simulated >= value).astype(int).tolist()


def quantiles(values: np.ndarray) -> np.ndarray:
    """Quantiles 2.5%, 50% and 97.5% without NaNs, (3,); all nan if nothing is left."""
    known = values[~np.isnan(values)]
    with np.errstate(invalid="ignore"):  # between an infinite value and the next
        return np.quantile(known, TAILS) if known.size else np.full(3, np.nan)


def describe(
    null: Mapping[str, np.ndarray], observed: Mapping[str, np.ndarray], trend: OneTrend
) -> dict[str, Any]:
    """The simulations of one trend compared with the observed values."""
    p = p_values(observed, null)
    return {
        "sd": trend.sd,
        "at least": {name: at_least(null[name], observed[name][0]) for name in STATISTICS},
        "quantiles": {name: quantiles(found).tolist() for name, found in null.items()},
        "p": p,
        "corrected": corrected(p),
    }


def run(config: Any, run: Run) -> StudyResult:
    """Simulate selection from one trend, evaluate the test itself, and fit the mixture."""
    settings: SelectionConfig = config.selection
    rules: Rules = config.rules
    systems: Systems = run.dataset(DATASET)
    labels = labels_of(systems, rules)
    late = systems.dates > rules.thresholds().large_from
    too_few = StudyResult({"large-scale systems": int(labels.large.sum())})
    if min(labels.large.sum(), (labels.regular & late).sum()) < FEWEST:
        return too_few
    set_up = scene(systems, rules)
    x, y, late = set_up.x, set_up.y, set_up.simulated
    observed = measure(set_up, y[None])
    told = all(np.isfinite(found).all() for found in observed.values())
    if not told or observed["regular_sd"][0] < FLAT:
        return too_few  # lines need different dates, R squared different computes
    generator = np.random.default_rng((config.seed, STREAM))
    values: dict[str, Any] = {
        "observed": {name: float(found[0]) for name, found in observed.items()},
        **{"null": {}, "trials": {}, "mixture": {}},
    }
    nulls = {}
    ways = [(spread, draws) for spread in SPREADS for draws in ("resampled", "Gaussian")]
    for spread, draws in run.each("ways to draw the scatter", ways):
        trend = one_trend(set_up, y, spread)
        simulated = simulate(generator, set_up, trend, draws, settings.simulations)
        name = f"scatter of {spread}, {draws}"
        nulls[name] = measure(set_up, simulated)
        values["null"][name] = describe(nulls[name], observed, trend)
    many = settings.data_sets
    one = one_trend(set_up, y, "all")
    worlds = {
        "one trend": simulate(generator, set_up, one, "resampled", many),
        "two trends": two_trends(generator, set_up, many),
        "flat": two_trends(generator, set_up, many, slope=0.0),
    }
    for name in run.each("data sets to try the test on", list(worlds)):
        values["trials"][name] = trial(generator, set_up, worlds[name], settings)
    values["typical"] = {
        name: {null: at_least(found["doubling"], of["doubling"]) for null, found in nulls.items()}
        for name, of in ((name, typical(set_up, worlds[name])) for name in ("one trend", "flat"))
    }
    flat, swapped = typical(set_up, worlds["flat"]), exchanged(set_up)
    values["unlike"] = {
        name: at_least(
            nulls[ALL][name], (flat if name in ("doubling", "r_squared") else swapped)[name]
        )
        for name in STATISTICS
    }
    values["needed"] = how_many(generator, set_up, len(systems.names), settings)
    worlds["far apart"] = two_trends(generator, set_up, many, apart=FAR)
    for name, simulated in worlds.items():
        fitted = mixture.fit(x[late], simulated[:, late])
        values["mixture"][name] = (fitted.line_bic - fitted.bic).tolist()
    fitted = mixture.fit(x[late], y[None, late])
    values["mixture"]["observed"] = {
        "line": float(fitted.line_bic[0]),
        "mixture": float(fitted.bic[0]),
        "slopes": fitted.slopes[0].tolist(),
        "share": float(fitted.share[0]),
        "gap": float(fitted.intercepts[0, 1] - fitted.intercepts[0, 0]),
        "spread": float(fitted.spread[0]),
    }
    return StudyResult(
        values=values,
        tables=[
            *(_against(values, rules), _worth(values), _mixture(values, rules)),
            needed.table("selection_needed", values["needed"]),
        ],
        figures=[_figure(values, nulls, rules)],
    )


# --- claims --------------------------------------------------------------------------------------


def found_slow(trial: Mapping[str, Any], spread: str) -> float:
    """The share of data sets in which the test finds a slower large-scale trend."""
    return float(np.mean(np.array(trial[spread]["slower"]) < TAILS[0]))


def untrusted(values: Mapping[str, Any]) -> str:
    """Why no verdict on a slower trend can be trusted; "" if one of the two tests can decide."""
    said = [needed.undecided(values["needed"][test], test) for test in DOUBLING.values()]
    return "; ".join(said) if all(said) else ""


def weak(values: Mapping[str, Any]) -> str:
    """Why the mixture cannot decide."""
    return needed.undecided(values["needed"][MIXTURE], MIXTURE)


def typically(world: str) -> declare.Measured:
    """Which simulations of one trend double as slowly as a typical data set of a world."""
    return lambda values: values["typical"][world]


def median_lead(world: str) -> declare.Measured:
    """The mixture's lead in a typical data set of a simulated world."""
    return lambda values: np.median(values["mixture"][world])


CLAIMS = (
    declare.fact(
        "C6a",
        "Large-scale systems follow a slower trend of their own: selecting systems from a single "
        "trend by the paper's rule does not give such slow doubling.",
        lambda values: {
            null: made["at least"]["doubling"] for null, made in values["null"].items()
        },
        source="paper",
        reported="doubling in 10.7 months [7.9; 25.6], against 5.9 of the regular systems",
        where="Table 4",
        quantity="share of simulations of one trend with a large-scale doubling as slow or slower",
        statistic="proportion",
        region=(-1.0, 0.025),
        reason="outside the middle 95% of simulations, on the slow side. The scatter is drawn in "
        "four ways; if no way gives a test with enough power and few enough false positives, "
        "nothing is decided",
        fails={
            "one trend": (
                typically("one trend"),
                "a typical data set of one trend is not slow; a test that does not apply the rule "
                "to its simulations would find it slow",
            )
        },
        passes={
            "flat": (
                typically("flat"),
                "large-scale systems that do not grow at all are slow; a reversed order of "
                "doubling times would miss them",
            )
        },
        doubt=untrusted,
        headline=True,
    ),
    declare.fact(
        "C6b",
        "A single trend with the scatter of all systems is not excluded as the explanation of the "
        "large-scale era: the paper's rule then gives such a number of systems, doubling time, gap "
        "and R squared.",
        lambda values: values["null"][ALL]["at least"],
        quantity="share of simulations of one trend with at least the observed value",
        statistic="proportion",
        region=(0.025, 0.975),
        reason="the middle 95% of simulations. What is not excluded is not shown: that one trend "
        "could explain the era does not rule out two",
        fails={
            "unlike one trend": (
                lambda values: values["unlike"],
                "a large-scale trend that does not grow (doubling time, R squared), and regular "
                "systems taken for large-scale ones (number, gap), must be excluded; simulations "
                "that are too wide, or labels exchanged, would let them pass",
            )
        },
    ),
    declare.fact(
        "C6c",
        "Since the start of the large-scale era there are two populations: a mixture of two lines "
        "fits better than one line.",
        lambda values: (
            values["mixture"]["observed"]["line"] - values["mixture"]["observed"]["mixture"]
        ),
        source="paper",
        reported="2 to 3 orders of magnitude over the previous trend",
        where="conclusion",
        quantity="BIC of one line - BIC of the mixture, by the full likelihood",
        region=(0.0, math.inf),
        reason="any lead would support the paper",
        fails={
            "one trend": (
                median_lead("one trend"),
                "data of one trend are not two populations; a BIC without its penalty would find "
                "two",
            )
        },
        passes={
            "far apart": (
                median_lead("far apart"),
                "trends eight orders of magnitude apart are two populations; a fit stuck at its "
                "start would miss them",
            )
        },
        doubt=weak,
    ),
)


# --- tables and figure ---------------------------------------------------------------------------

LONGEST = 20.0  # months, the longest doubling time drawn
WIDTHS = {"doubling": 0.5, "number": 1.0, "gap": 0.1, "r_squared": 0.05}  # of bins
WORLDS = {
    "one trend": "one trend",
    "two trends": "two trends, as fitted",
    "flat": "two trends, the large-scale one flat",
    "far apart": "two trends, eight orders of magnitude apart",
}


def months(doubling: Any, rules: Rules) -> np.ndarray:
    """Doubling times from minus slopes per year; infinite where there is no growth."""
    growing = np.where(np.asarray(doubling) < 0, -np.asarray(doubling), np.nan)
    return np.nan_to_num(rules.months_of_yearly(growing), nan=math.inf)


def _against(values: Mapping[str, Any], rules: Rules) -> Table:
    """The observed values against the simulations of one trend."""

    def shown(name: str, value: float) -> float | str:
        time = float(months(value, rules)) if name == "doubling" else value
        return time if name != "doubling" or math.isfinite(time) else "no growth"

    rows = []
    for null, made in values["null"].items():
        for name, title in STATISTICS.items():
            low, middle, high = (shown(name, q) for q in made["quantiles"][name])
            observed = shown(name, values["observed"][name])
            rows.append(
                {
                    **{"simulated": null, "statistic": title, "observed": observed},
                    **{"2.5%": low, "median": middle, "97.5%": high},
                    "p": made["p"][name],
                    "p by Holm": made["corrected"].get(name, "primary"),
                }
            )
    spreads = ", ".join(
        f"{made['quantiles']['regular_sd'][1]:.2f} ({null})"
        for null, made in values["null"].items()
    )
    return charts.table(
        "selection",
        "The large-scale systems against the paper's rule applied to one trend",
        rows,
        "p is two-sided, by simulation; Holm's correction is over the three secondary statistics. "
        "Residual standard deviation of the regular systems, which shows how much scatter the rule "
        f"leaves to one trend: {values['observed']['regular_sd']:.2f} observed; medians of the "
        f"simulations {spreads}.",
    )


def _worth(values: Mapping[str, Any]) -> Table:
    """What the tests find on simulated data whose truth is known."""
    rows = []
    for world, title in WORLDS.items():
        trial, lead = values["trials"].get(world), np.array(values["mixture"][world])
        slow, gap = (dict.fromkeys(SPREADS, "") for _ in range(2))
        if trial:
            slow = {spread: found_slow(trial, spread) for spread in SPREADS}
            gap = {
                spread: float(np.mean(np.less(trial[spread]["gap"], 0.05))) for spread in SPREADS
            }
        rows.append(
            {
                "simulated": title,
                "data sets": len(lead),
                **{f"slow, by scatter of {spread}": share for spread, share in slow.items()},
                **{f"gap, by scatter of {spread}": share for spread, share in gap.items()},
                "mixture by BIC": float((lead > 0).mean()),
                "median lead of the mixture": float(np.median(lead)),
            }
        )
    observed = np.mean(values["null"][RESAMPLED["regular"]]["at least"]["doubling"])
    as_far = np.mean(np.array(values["trials"]["one trend"]["regular"]["slower"]) <= observed)
    return charts.table(
        "selection_worth",
        "What the tests find in simulated data sets",
        rows,
        "Shares of data sets in which the large-scale doubling is slower than in 97.5% of "
        "simulations of one trend, in which the gap differs (5%, Holm), and in which the BIC "
        "prefers two lines. For one trend these are false positive rates. With the scatter of the "
        f"regular systems, {as_far:.0%} of data sets with one trend give a result as extreme as "
        "the observed one.",
    )


def _mixture(values: Mapping[str, Any], rules: Rules) -> Table:
    """The mixture of two lines against one line."""
    fitted = values["mixture"]["observed"]
    lower, upper = (float(months(-slope, rules)) for slope in fitted["slopes"])
    return charts.table(
        "mixture",
        "One line or two, by the full likelihood",
        [
            {"model": "one line", "k": mixture.LINE_PARAMETERS, "BIC": fitted["line"]},
            {"model": "two lines", "k": mixture.MIXTURE_PARAMETERS, "BIC": fitted["mixture"]},
        ],
        f"The lower line, with {1 - fitted['share']:.0%} of the systems, doubles in {lower:.1f} "
        f"months; the upper line is {fitted['gap']:.1f} orders of magnitude higher and doubles in "
        f"{upper:.1f} months; both scatter by {fitted['spread']:.2f} orders. BIC = -2 ln L + "
        "k ln n, not comparable with that of the piecewise trends.",
    )


def _figure(
    values: Mapping[str, Any], nulls: Mapping[str, Mapping[str, np.ndarray]], rules: Rules
) -> Figure:
    """The simulations of one trend against the observed values."""
    panels = []
    for name, title in STATISTICS.items():
        found = {spread: nulls[RESAMPLED[spread]][name] for spread in SPREADS}
        observed, longest, width = values["observed"][name], math.inf, WIDTHS[name]
        if name == "doubling":
            found = {spread: months(of, rules) for spread, of in found.items()}
            observed, longest = float(months(observed, rules)), LONGEST
        kept = np.concatenate(list(found.values()))
        kept = kept[np.isfinite(kept) & (kept < longest)]
        if not kept.size:
            continue
        start = kept.min() // width * width - (width / 2 if name == "number" else 0)
        edges = start + width * np.arange(math.ceil((kept.max() - start) / width) + 2)
        series = [
            charts.histogram(f"scatter of {spread} systems", of, edges)
            for spread, of in found.items()
        ]
        marks = {"observed": observed} if math.isfinite(observed) else {}
        panels.append(Panel("", title, "share of simulations", series, marks=marks))
    slow = (np.mean(values["null"][null]["at least"]["doubling"]) for null in RESAMPLED.values())
    return Figure(
        "selection",
        "What the paper's rule finds in a single trend",
        "The paper's rule for large-scale systems applied to simulated data from one trend at the "
        "observed dates: doubling time and number of the selected systems, distance of their line "
        "above the regular one at the mean of the simulated years, and R squared. Residuals are "
        f"resampled from all systems after {rules.large_from}, or only from the regular ones, "
        f"which have lost their upper tail to the rule. {next(slow):.1%} and {next(slow):.1%} are "
        f"as slow as observed or slower. Doubling times above {LONGEST:g} months and falling "
        "trends are not drawn.",
        panels,
    )
