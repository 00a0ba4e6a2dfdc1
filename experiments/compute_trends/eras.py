"""How many eras the data support: piecewise linear trends over all years (claim C7).

All pieces of a trend are fitted jointly, and break dates are searched on a grid. Six trends are
compared: one line; two lines that meet at the paper's 2010; two that meet where they fit best; two
that need not meet (a kink and a jump); three that meet; three that need not. The criteria are the
BIC, n ln(RSS / n) + k ln n, where k counts coefficients, searched break dates and the variance, and
the leave-one-out prediction error, with breaks searched again each time.

The date of the kink has a bootstrap interval over systems. Only the continuous kink has one: a
jump's date is known up to a gap between two systems, its error shrinks as 1/n, and the bootstrap is
not valid for it. How reliable criterion and interval are is measured on simulated data with known
breaks, at the observed dates: one line, one kink, and three eras.

How this could be rigged: by the minimum size of a piece. With four systems allowed, a third line
runs through the four oldest, which is none of the paper's eras. We require ten, and report what
four would give.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from experiments.compute_trends import needed, segments
from experiments.compute_trends.fits import TAILS
from experiments.compute_trends.rows import ALEXNET
from experiments.compute_trends.rules import Labels, Rules, labels_of
from experiments.compute_trends.segments import MODELS, PAPERS_KINK, Search
from experiments.compute_trends.systems import DATASET, DAYS_PER_YEAR, Systems, day, iso, year
from jaxtrends import charts, declare
from jaxtrends.settings import PositiveInt
from jaxtrends.study import Figure, Panel, Run, Series, StudyResult, Table

FREE = 4  # systems per piece in the fit with a loose minimum
STARTS = ("1980-01-01", "2010-01-01", ALEXNET)
PIECES = np.array([model.pieces for model in MODELS.values()])
ERAS = ("three eras", "three eras and a jump")  # the paper's, simulated
STREAM = 4  # of random numbers, after the seed


@dataclass(frozen=True)
class ErasConfig:
    """How many eras there are."""

    step: PositiveInt = 1
    """Step in months of the grid of break dates, for lines that meet."""
    coarse_step: PositiveInt = 6
    """The same where two breaks are searched many times (leave-one-out, simulations)."""
    fewest: Annotated[int, Ge(FREE)] = 10
    """Minimum number of systems per piece. With four, the best fit of three pieces has the four
    systems of 1952-1959 as one piece, which is none of the paper's eras."""
    resamples: PositiveInt = 2000
    """Bootstrap resamples for the interval of the kink's date."""
    simulations: PositiveInt = 100
    """Simulated data sets of each kind, to test whether the method recovers the truth."""
    simulated_resamples: PositiveInt = 200
    """Bootstrap resamples per simulated data set, for the coverage of the kink's interval."""

    @property
    def fine(self) -> Search:
        """The grid for single searches."""
        return Search(self.step / 12, self.fewest)

    @property
    def coarse(self) -> Search:
        """The grid for repeated searches of two breaks."""
        return Search(self.coarse_step / 12, self.fewest)


def compare(name: str, x: np.ndarray, y: np.ndarray, config: ErasConfig, rules: Rules) -> Any:
    """A model's k, BIC, break dates, doubling times and leave-one-out errors."""
    model, how = MODELS[name], config.fine
    fit = model.fit(x, y, how)
    fitted = segments.coefficients(name, x, y, fit.breaks[0], x.mean())
    errors, _ = segments.leave_one_out(name, x, y, config.coarse if name == "two kinks" else how)
    found = {
        "parameters": model.parameters,
        "rss": float(fit.rss[0]),
        "bic": float(model.bic(fit.rss, len(x))[0]),
        "breaks": fit.breaks[0].tolist(),
        "months": rules.months_of_yearly(segments.slopes(name, fitted)).tolist(),
        "errors": errors.tolist(),
    }
    if name == "three segments":
        free = model.fit(x, y, Search(how.step, FREE))
        bic = float(model.bic(free.rss, len(x))[0])
        found["free"] = {"bic": bic, "breaks": free.breaks[0].tolist()}
    return found


def resample_kink(
    generator: np.random.Generator, x: np.ndarray, y: np.ndarray, resamples: int, how: Search
) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap kink dates (resamples,) and slopes (resamples, 2) per year.

    A resample is represented by how often each system was drawn.
    """
    n = len(x)
    counts = generator.multinomial(n, np.full(n, 1 / n), resamples).astype(np.float64)
    found, slopes = segments.kink_and_slopes(x, np.broadcast_to(y, counts.shape), counts, how)
    return found.breaks[:, 0], slopes


def worlds(
    x: np.ndarray, y: np.ndarray, found: Mapping[str, Any], rules: Rules
) -> dict[str, dict[str, Any]]:
    """Known trends to simulate at the observed dates: (n,) log10 FLOP, breaks, spread.

    One line and one kink are fitted to the data. Three eras have the doubling times of the paper's
    Table 2; there is also a version with a jump of two orders of magnitude, the smallest in its
    conclusion, and an easy version with a quarter of the scatter.
    """

    def fitted(name: str) -> dict[str, Any]:
        breaks = np.array(found[name]["breaks"])
        coefficients = segments.coefficients(name, x, y, breaks, x.mean())
        left = max(found[name]["rss"], 0.0)  # rounding may make it negative
        return {
            "mean": segments.design(name, x, breaks, x.mean()) @ coefficients,
            "breaks": breaks.tolist(),
            "spread": float(np.sqrt(left / (len(x) - found[name]["parameters"] + 1))),
        }

    line, kink = fitted("one line"), fitted("kink")
    breaks = [PAPERS_KINK, float(year(day(rules.large_from)))]
    early, deep, large = (
        np.log10(2) / (rules.days_per_month * time) * DAYS_PER_YEAR for time in (21.3, 5.7, 9.9)
    )
    first, second = (np.maximum(x - date, 0) for date in breaks)
    mean = early * (x - PAPERS_KINK) + (deep - early) * first + (large - deep) * second
    eras = {"mean": mean, "breaks": breaks, "spread": kink["spread"]}
    return {
        "one line": line,
        "one kink": kink,
        "three eras": eras,
        "three eras and a jump": {**eras, "mean": mean + 2.0 * (x > breaks[1])},
        "three clear eras": {**eras, "spread": kink["spread"] / 4},
    }


def recover(
    generator: np.random.Generator, x: np.ndarray, world: Mapping[str, Any], config: ErasConfig
) -> dict[str, Any]:
    """Simulate a known trend many times, and record which model the BIC chooses.

    Returns the BIC of each model for every simulation. With one break, also its estimated date,
    whether the 95% interval covers it, and whether the middle half of the resamples does.
    """
    noise = generator.standard_normal((config.simulations, len(x)))
    y = world["mean"] + world["spread"] * noise
    weights = np.ones_like(y)
    found = {name: model.search(x, y, weights, config.coarse) for name, model in MODELS.items()}
    bic = {name: MODELS[name].bic(fit.rss, len(x)).tolist() for name, fit in found.items()}
    values: dict[str, Any] = {"bic": bic}
    if len(world["breaks"]) == 1:
        (date,) = world["breaks"]
        values["dates"] = found["kink"].breaks[:, 0].tolist()
        values |= {"covered": [], "covered by the middle half": []}
        for one in y:
            dates, _ = resample_kink(generator, x, one, config.simulated_resamples, config.coarse)
            low, first, third, high = np.quantile(dates, (TAILS[0], 0.25, 0.75, TAILS[2]))
            values["covered"].append(int(low <= date <= high))
            values["covered by the middle half"].append(int(first <= date <= third))
    return values


def found_three(
    generator: np.random.Generator,
    x: np.ndarray,
    world: Mapping[str, Any],
    times: int,
    config: ErasConfig,
) -> float:
    """The share of data sets with several systems a date in which the BIC chooses three pieces.

    Only the mean of the systems of a date matters to a fit, and the squares within dates, which are
    the same for all models and have a chi-squared distribution.
    """
    shape = (config.simulations, len(x))
    y = world["mean"] + world["spread"] / np.sqrt(times) * generator.standard_normal(shape)
    weights = np.full(shape, float(times))
    freedom = len(x) * (times - 1)
    within = world["spread"] ** 2 * generator.chisquare(max(freedom, 1), shape[0]) * (freedom > 0)
    bic = [
        model.bic(model.search(x, y, weights, config.coarse).rss + within, times * len(x))
        for model in MODELS.values()
    ]
    return float((PIECES[np.argmin(bic, axis=0)] == 3).mean())


def kinks_before(
    generator: np.random.Generator, x: np.ndarray, y: np.ndarray, date: float, config: ErasConfig
) -> list[float]:
    """In data sets whose trend breaks at a date, the share of resampled kinks before it."""
    breaks = np.array([date])
    mean = segments.design("kink", x, breaks, x.mean()) @ segments.coefficients(
        "kink", x, y, breaks, x.mean()
    )
    spread = float(np.sqrt(((y - mean) ** 2).sum() / (len(x) - 3)))
    shares = []
    for _ in range(config.simulations):
        drawn = mean + spread * generator.standard_normal(len(x))
        kinks, _ = resample_kink(generator, x, drawn, config.simulated_resamples, config.coarse)
        shares.append(float((kinks < date).mean()))
    return shares


def run(config: Any, run: Run) -> StudyResult:
    """Fit and compare the trends, bootstrap the kink, and recover known breaks."""
    settings: ErasConfig = config.eras
    rules: Rules = config.rules
    systems: Systems = run.dataset(DATASET)
    labels = labels_of(systems, rules)
    x, y = year(systems.dates[labels.kept]), systems.log_compute[labels.kept]
    if not all(segments.has_three_pieces(x, how) for how in (settings.fine, settings.coarse)):
        return StudyResult({"systems": len(x)})
    generator = np.random.default_rng((config.seed, STREAM))
    tried, rss = segments.kink_profile(x, y, settings.fine)
    values: dict[str, Any] = {
        "systems": len(x),
        "models": {
            name: compare(name, x, y, settings, rules) for name in run.each("trends", list(MODELS))
        },
        "profile": {"dates": tried.tolist(), "bic": MODELS["kink"].bic(rss, len(x)).tolist()},
        "simulated": {},
    }
    dates, slopes = resample_kink(generator, x, y, settings.resamples, settings.fine)
    with np.errstate(invalid="ignore"):  # between an infinite doubling time and the next
        before, after = (np.quantile(rules.months_of_yearly(of), TAILS).tolist() for of in slopes.T)
    values["kink"] = {
        "earlier than": {date: float((dates < year(day(date))).mean()) for date in STARTS},
        "dates": np.quantile(dates, TAILS).tolist(),
        "months before": before,
        "months after": after,
    }
    known = worlds(x, y, values["models"], rules)
    for name in run.each("simulated trends", list(known)):
        values["simulated"][name] = recover(generator, x, known[name], settings)
    values["needed"] = {
        name: needed.climb(
            lambda times, name=name: tuple(
                found_three(generator, x, known[world], times, settings)
                for world in (name, "one kink")
            ),
            len(x),
        )
        for name in ERAS
    }
    alexnet = float(year(day(ALEXNET)))
    values["kink"]["break with AlexNet"] = kinks_before(generator, x, y, alexnet, settings)
    return StudyResult(
        values=values,
        curves={"kink": dates.astype(np.float32)},
        tables=[*_tables(values, rules), needed.table("eras_needed", values["needed"])],
        figures=[*_clouds(systems, labels, rules), _kink(values, dates)],
    )


# --- claims --------------------------------------------------------------------------------------


def lead(bic: Mapping[str, Any], pieces: int) -> Any:
    """How much lower the best BIC with ``pieces`` is than with one piece fewer."""
    fewer, best = (
        np.min([bic[name] for name, model in MODELS.items() if model.pieces == count], axis=0)
        for count in (pieces - 1, pieces)
    )
    return fewer - best


def observed(pieces: int) -> declare.Measured:
    """The BIC lead of ``pieces`` on the observed systems."""
    return lambda values: lead({name: m["bic"] for name, m in values["models"].items()}, pieces)


def typical(world: str, pieces: int) -> declare.Measured:
    """The median BIC lead of ``pieces`` over simulated data sets."""
    return lambda values: np.median(lead(values["simulated"][world]["bic"], pieces))


def chosen(world: str, pieces: int) -> declare.Measured:
    """In which simulated data sets the BIC chooses ``pieces``, as zeros and ones."""

    def where(values: Mapping[str, Any]) -> np.ndarray:
        bic = values["simulated"][world]["bic"]
        return (PIECES[np.argmin([bic[name] for name in MODELS], axis=0)] == pieces).astype(int)

    return where


def earlier(date: str) -> declare.Measured:
    """The share of resampled kinks before a date."""
    return lambda values: values["kink"]["earlier than"][date]


def simplest(world: str, pieces: int) -> declare.Measured:
    """In which simulated data sets the smallest sum of squares has ``pieces``."""

    def where(values: Mapping[str, Any]) -> np.ndarray:
        squares = [
            np.array(values["simulated"][world]["bic"][name])
            - model.parameters * np.log(values["systems"])
            for name, model in MODELS.items()
        ]
        return (PIECES[np.argmin(squares, axis=0)] == pieces).astype(int)

    return where


def weak(values: Mapping[str, Any]) -> str:
    """Why three eras cannot be judged, and how many systems it would take."""
    said = {name: needed.undecided(values["needed"][name], "the BIC") for name in ERAS}
    if not all(said.values()):
        return ""
    plain, jump = said.values()
    return (
        f"with the paper's three eras (Table 2), {plain}; with a jump of two orders of magnitude "
        f"between the last two, {jump}"
    )


CLAIMS = (
    declare.fact(
        "C7a",
        "Training compute grew faster from about 2010 on: two trends fit all years better than "
        "one.",
        observed(2),
        source="paper",
        reported="doubling in 21.3 months before 2010, in 5.7 months after",
        where="Table 2",
        quantity="BIC of one line - best BIC of two pieces",
        region=(10.0, math.inf),
        reason="a lead of ten counts as very strong evidence (Kass and Raftery 1995)",
        fails={
            "one line": (
                typical("one line", 2),
                "data simulated from one line have no second trend",
            )
        },
        passes={
            "one kink": (typical("one kink", 2), "data simulated from the fitted kink have two")
        },
    ),
    declare.fact(
        "C7b",
        "The data support three successive trends: three pieces fit all systems better than two.",
        observed(3),
        source="paper",
        reported="three eras, the third from September 2015 on, 2 to 3 orders of magnitude above",
        where="Table 2 and conclusion",
        quantity="best BIC of two pieces - best BIC of three",
        region=(0.0, math.inf),
        reason="any lead would support the paper; a large-scale trend parallel to the regular one, "
        "not after it, is the subject of C6",
        fails={
            "one kink": (typical("one kink", 3), "data simulated from one kink have no third trend")
        },
        passes={
            "three clear eras": (
                typical("three clear eras", 3),
                "with a quarter of the scatter, three eras are found",
            )
        },
        doubt=weak,
    ),
    declare.fact(
        "C7c",
        "The faster trend begins around 2010: that date is inside the 95% interval of the kink.",
        lambda values: {"2010": earlier("2010-01-01")(values)},
        source="paper",
        reported="2010",
        where="Table 2",
        quantity="share of resampled kinks before 1 January 2010",
        region=(0.025, 0.975),
        reason="the middle 95% of resamples; the share's Monte Carlo error is below 0.012",
        fails={
            "1980": (
                earlier("1980-01-01"),
                "the trend did not break in 1980; kinks all over the years would include it",
            )
        },
    ),
    declare.fact(
        "C7d",
        "The faster trend begins before AlexNet (30 September 2012), the paper's alternative date: "
        "it is above the 95% interval of the kink.",
        lambda values: {"AlexNet": earlier(ALEXNET)(values)},
        quantity="share of resampled kinks before 30 September 2012",
        region=(0.975, math.inf),
        reason="the upper end of the middle 95% of resamples",
        fails={
            "a break with AlexNet": (
                lambda values: np.median(values["kink"]["break with AlexNet"]),
                "in a typical data set whose trend breaks on that day, about half of the resampled "
                "kinks are before it; a search that finds kinks too early would have them all",
            )
        },
    ),
    declare.fact(
        "C7e",
        "On simulated data at the observed dates, the BIC finds the true number of trends: one, "
        "two that meet in a kink, or three with a quarter of the scatter.",
        lambda values: {
            world: chosen(world, pieces)(values)
            for world, pieces in (("one line", 1), ("one kink", 2), ("three clear eras", 3))
        },
        quantity="share of simulated data sets with the right number of pieces",
        statistic="proportion",
        region=(needed.LEAST_POWER, math.inf),
        reason="the usual requirement for a test's power",
        fails={
            "too much scatter, or no penalty": (
                lambda values: {
                    "one line": simplest("one line", 1)(values),
                    "one kink": simplest("one kink", 2)(values),
                    "three clear eras": chosen("three eras", 3)(values),
                },
                "by the sum of squares alone, every data set has three pieces; with the scatter of "
                "the data, the paper's three eras are not found. A penalty that is forgotten, or "
                "scatter that is not added, would pass",
            )
        },
    ),
    declare.fact(
        "C7f",
        "On simulated data, the 95% interval of the kink's date covers the true date about as "
        "often as it should.",
        lambda values: {"one kink": values["simulated"]["one kink"]["covered"]},
        quantity="share of simulated data sets whose 95% interval covers the kink",
        statistic="proportion",
        region=(0.8, 1.01),
        reason="an interval with a coverage below 80% could not tell 2010 from 2012",
        fails={
            "middle half": (
                lambda values: values["simulated"]["one kink"]["covered by the middle half"],
                "the middle half covers it only half the time",
            )
        },
    ),
)


# --- tables --------------------------------------------------------------------------------------


def _tables(values: Mapping[str, Any], rules: Rules) -> list[Table]:
    """The comparison of models, and the recovery of known breaks."""
    kink = np.array(values["models"]["kink"]["errors"])
    rows = []
    for name, found in values["models"].items():
        squares = np.array(found["errors"]) ** 2
        more = squares - kink**2
        rows.append(
            {
                "trend": name,
                "k": found["parameters"],
                "BIC": found["bic"],
                "breaks [year]": ", ".join(f"{date:.1f}" for date in found["breaks"]) or "none",
                "doubling [months]": ", ".join(f"{time:.1f}" for time in found["months"]),
                "error of prediction [OOM]": float(np.sqrt(squares.mean())),
                "square more than the kink's": float(more.mean()),
                "standard error": float(more.std(ddof=1) / np.sqrt(len(more))),
            }
        )
    recovered = []
    for name, found in values["simulated"].items():
        best = np.argmin([found["bic"][model] for model in MODELS], axis=0)
        shares = {model: float((best == place).mean()) for place, model in enumerate(MODELS)}
        recovered.append({"simulated": name, "data sets": best.size, **shares})
    resampled = {
        "date of the kink [year]": "dates",
        "doubling time before [months]": "months before",
        "doubling time after [months]": "months after",
    }
    quantiles = []
    for quantity, name in resampled.items():
        low, middle, high = values["kink"][name]
        quantiles.append({"quantity": quantity, "median": middle, "2.5%": low, "97.5%": high})
    free = values["models"]["three segments"]["free"]
    return [
        charts.table(
            "eras",
            "Trends in one, two and three pieces",
            rows,
            f"{values['systems']} systems. BIC = n ln(RSS / n) + k ln n; lower is better. "
            "Prediction errors are leave-one-out, with breaks searched again. With pieces of four "
            f"systems allowed, three segments have a BIC of {free['bic']:.1f} with breaks at "
            f"{free['breaks'][0]:.1f} and {free['breaks'][1]:.1f}.",
        ),
        charts.table(
            "recovery",
            "Which trend the BIC chooses on simulated data with known breaks",
            recovered,
            "Shares of data sets. Three eras have the doubling times of the paper's Table 2 (21.3, "
            f"5.7 and 9.9 months), with breaks in 2010 and after {rules.large_from}. The jump is "
            "two orders of magnitude at the second break. Clear eras have a quarter of the "
            "scatter.",
        ),
        charts.table("kink", "Bootstrap of the kink", quantiles),
    ]


# --- figures -------------------------------------------------------------------------------------

LANDMARKS = (  # of all years; the deep-learning era has its own figure and landmarks
    "Theseus; Perceptron Mark I; Samuel Neural Checkers; Neocognitron; NetTalk; TD-Gammon; "
    "System 11; LeNet-5; NPLM; AlexNet; AlphaGo Fan; AlphaGo Zero; DeepStack; GPT-3 175B"
)
DEEP_LANDMARKS = (
    "AlexNet; DQN; Word2Vec (large); VGG16; GoogLeNet / InceptionV1; AlphaGo Fan; "
    "ResNet-152 (ImageNet); GNMT; AlphaGo Master; AlphaGo Zero; Transformer; DeepStack; "
    "BERT-Large; GPT; GPT-2; AlphaStar; GPT-3 175B; ERNIE 3.0; Hide and Seek; "
    "Megatron-Turing NLG 530B; DALL-E; AlphaFold"
)
LINE = Search(0.0, 0)  # one line has no break to search


def _clouds(systems: Systems, labels: Labels, rules: Rules) -> list[Figure]:
    """All years, and the deep-learning era."""
    low = labels.low & (systems.dates > day(rules.dl_from))
    deep = {"regular": labels.regular, "large-scale": labels.large, "low outliers": low}
    every = {
        "before deep learning": labels.pre,
        "deep learning, regular": labels.regular,
        "large-scale": labels.large,
        "low outliers": labels.low,
    }
    marks = {
        f"{name}, {iso(day(date) + 1)[:7]}": float(year(day(date)))
        for name, date in (("deep learning", rules.dl_from), ("large scale", rules.large_from))
    }
    axes = ("publication date [year]", "training compute [FLOP]")
    clouds = (
        _cloud(systems, groups, names, rules)
        for groups, names in ((every, LANDMARKS), (deep, DEEP_LANDMARKS))
    )
    all_years, deep_learning = (Panel("", *axes, series, y_scale="log") for series in clouds)
    return [
        Figure(
            "training_compute",
            "Training compute of machine-learning systems",
            "Training compute against publication date, labelled by the paper's rules, with "
            "straight-line fits and 95% bands of their means. Months have "
            f"{rules.days_per_month:g} days. Large-scale systems are selected for being high, so "
            "read their line together with the simulations of selection.",
            [replace(all_years, marks=marks)],
        ),
        Figure(
            "deep_learning",
            "Training compute in the deep-learning era",
            "As in the figure of all years, from the start of the deep-learning era.",
            [deep_learning],
        ),
    ]


def _cloud(
    systems: Systems, groups: Mapping[str, np.ndarray], landmarks: str, rules: Rules
) -> list[Series]:
    """The systems of each group with named landmarks, and lines with 95% bands of their means.

    Low outliers have no line.
    """
    clouds, lines = [], []
    for name, chosen in groups.items():
        x, y = year(systems.dates[chosen]), systems.log_compute[chosen]
        if not x.size:
            continue
        names = [systems.names[row] for row in np.flatnonzero(chosen)]
        texts = [text.partition(" (")[0] if text in landmarks.split("; ") else "" for text in names]
        clouds.append(Series(name, x, 10**y, style="points", texts=texts))
        trend = segments.trend("one line", x, y, LINE)
        if trend is not None and name != "low outliers":
            at = np.linspace(x.min(), x.max(), 60)
            middle, low, high = (10**end for end in trend.band(at))
            time = rules.months_of_yearly(trend.coefficients[1])
            label = f"{name}: doubling in {time:.1f} months"
            lines.append(Series(label, at, middle, low, high, style="theory"))
    return clouds + lines


def _kink(values: Mapping[str, Any], dates: np.ndarray) -> Figure:
    tried, bic = (np.array(values["profile"][name]) for name in ("dates", "bic"))
    kept = (tried > 1995) & (tried < 2019)
    kept |= not kept.any()  # for systems of other years
    edges = np.arange(2 * dates.min() // 1, 2 * dates.max() + 2) / 2  # half-years, whole months
    low, middle, high = values["kink"]["dates"]
    date, papers = "date of the kink [year]", {"the paper's 2010": PAPERS_KINK}
    return Figure(
        "break_date",
        "When the trend breaks",
        f"(a) Date of the kink in {len(dates)} bootstrap resamples: median {middle:.1f}, 95% "
        f"interval {low:.1f} to {high:.1f}. (b) BIC of two lines that meet at each date, and of "
        "one line.",
        [
            Panel(
                *("Resampled", date, "density [1/year]"),
                [charts.histogram("resamples", dates, edges, density=True)],
                marks={**papers, "AlexNet": float(year(day(ALEXNET)))},
            ),
            Panel(
                *("By BIC", date, "BIC"),
                [Series("two lines that meet", tried[kept], bic[kept], style="theory")],
                threshold=values["models"]["one line"]["bic"],
                threshold_label="one line",
                marks=papers,
            ),
        ],
    )
