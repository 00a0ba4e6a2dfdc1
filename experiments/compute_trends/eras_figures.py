"""Tables and figures of `experiments.compute_trends.eras`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.compute_trends import fits
from experiments.compute_trends.rules import Labels, Rules
from experiments.compute_trends.segments import MODELS, PAPERS_KINK
from experiments.compute_trends.systems import Systems, day, iso, year
from jaxtrends.study import Figure, Panel, Series, Table

LANDMARKS = (  # of all the years; those of the deep-learning era are named in a figure of their own
    *("Theseus", "Perceptron Mark I", "Samuel Neural Checkers", "Neocognitron", "NetTalk"),
    *("TD-Gammon", "System 11", "LeNet-5", "NPLM", "AlexNet", "AlphaGo Fan", "AlphaGo Zero"),
    *("DeepStack", "GPT-3 175B"),
)
DEEP_LANDMARKS = (
    *("AlexNet", "DQN", "Word2Vec (large)", "VGG16", "GoogLeNet / InceptionV1", "AlphaGo Fan"),
    *(
        "ResNet-152 (ImageNet)",
        "GNMT",
        "AlphaGo Master",
        "AlphaGo Zero",
        "Transformer",
        "DeepStack",
    ),
    *("BERT-Large", "GPT", "GPT-2", "AlphaStar", "GPT-3 175B", "ERNIE 3.0", "Hide and Seek"),
    *("Megatron-Turing NLG 530B", "DALL-E", "AlphaFold"),
)
DATE = "publication date [year]"
COMPUTE = "training compute [FLOP]"


def tables(values: Mapping[str, Any], rules: Rules) -> list[Table]:
    """The models compared, and the recovery of known breaks."""
    kink = np.array(values["models"]["kink"]["errors"])
    rows = []
    for name, found in values["models"].items():
        errors = np.array(found["errors"])
        more = errors**2 - kink**2
        rows.append(
            [
                name,
                found["parameters"],
                found["bic"],
                ", ".join(f"{date:.1f}" for date in found["breaks"]) or "none",
                ", ".join(f"{time:.1f}" for time in found["months"]),
                float(np.sqrt((errors**2).mean())),
                float(more.mean()),
                float(more.std(ddof=1) / np.sqrt(len(more))),
            ]
        )
    free = values["models"]["three segments"]["free"]
    columns = (
        *("trend", "k", "BIC", "breaks [year]", "doubling [months]"),
        *("error of prediction [OOM]", "square more than the kink's", "standard error"),
    )
    compared = Table(
        "eras",
        "Trends in one, two and three pieces",
        columns,
        rows,
        f"{values['systems']} systems. BIC = n ln(RSS / n) + k ln n; lower is better. Predictions "
        "are of each system from all the others, breaks searched anew. With pieces of four systems "
        f"allowed, three segments come to a BIC of {free['bic']:.1f} with breaks at "
        f"{free['breaks'][0]:.1f} and {free['breaks'][1]:.1f}.",
    )
    rows = []
    for name, found in values["simulated"].items():
        bic = np.array([found["bic"][model] for model in MODELS])
        chosen = np.bincount(bic.argmin(axis=0), minlength=len(MODELS)) / bic.shape[1]
        rows.append([name, bic.shape[1], *chosen.tolist()])
    recovered = Table(
        "recovery",
        "Which trend the BIC chooses on simulated data with known breaks",
        ("simulated", "data sets", *MODELS),
        rows,
        "Shares of the data sets. Three eras have the doubling times of the paper's Table 2 in "
        f"turn, 21.3, 5.7 and 9.9 months, with breaks in 2010 and after {rules.large_from}; the "
        "jump is of two orders of magnitude at the second; clear eras have a quarter of the "
        "scatter.",
    )
    low, middle, high = values["kink"]["dates"]
    rows = [["date of the kink [year]", middle, low, high]]
    for piece in ("before", "after"):
        low, middle, high = values["kink"][f"months {piece}"]
        rows.append([f"doubling time {piece} [months]", middle, low, high])
    return [compared, recovered, Table("kink", "The kink, by resampling", COLUMNS, rows)]


COLUMNS = ("quantity", "median", "2.5%", "97.5%")


def figures(
    systems: Systems, labels: Labels, values: Mapping[str, Any], dates: np.ndarray, rules: Rules
) -> list[Figure]:
    """All years, the deep-learning era, and the date of the kink."""
    return [
        _main(systems, labels, rules),
        _deep(systems, labels, rules),
        _kink(values, dates),
    ]


def _points(
    name: str, systems: Systems, chosen: np.ndarray, landmarks: tuple[str, ...]
) -> list[Series]:
    """Some of the systems, landmarks named without what stands in brackets; none where none are."""
    rows = np.flatnonzero(chosen)
    if not rows.size:
        return []
    texts = [
        systems.names[row].partition(" (")[0] if systems.names[row] in landmarks else ""
        for row in rows
    ]
    flop = 10 ** systems.log_compute[rows]
    return [Series(name, year(systems.dates[rows]), flop, style="points", texts=texts)]


def _fit(name: str, systems: Systems, chosen: np.ndarray, rules: Rules) -> list[Series]:
    """The line through some of the systems, with the 95% band of its mean (Student's t)."""
    from scipy import special

    x, y = systems.dates[chosen], systems.log_compute[chosen]
    if len(np.unique(x)) < 3:
        return []
    fitted = fits.line(x, y)
    at = np.linspace(x.min(), x.max(), 60)
    distance = (at - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum()
    half = special.stdtrit(len(x) - 2, 0.975) * fitted.residual_sd * np.sqrt(1 / len(x) + distance)
    middle = fitted.intercept + fitted.slope * at
    months = fits.doubling_months(fitted.slope, rules.days_per_month)
    return [
        Series(
            f"{name}: doubling in {months:.1f} months",
            year(at),
            10**middle,
            10 ** (middle - half),
            10 ** (middle + half),
            style="theory",
        )
    ]


def _marks(rules: Rules) -> dict[str, float]:
    return {
        f"{name}, {iso(day(date) + 1)[:7]}": float(year(day(date)))
        for name, date in (("deep learning", rules.dl_from), ("large scale", rules.large_from))
    }


def _main(systems: Systems, labels: Labels, rules: Rules) -> Figure:
    groups = {
        "before deep learning": labels.pre,
        "deep learning, regular": labels.regular,
        "large-scale": labels.large,
        "low outliers": labels.low,
    }
    series = [
        one for name, chosen in groups.items() for one in _points(name, systems, chosen, LANDMARKS)
    ]
    for name in ("before deep learning", "deep learning, regular", "large-scale"):
        series += _fit(name, systems, groups[name], rules)
    return Figure(
        "training_compute",
        "Training compute of machine-learning systems",
        "Training compute against publication date, with the labels of the paper's rules, "
        "straight-line fits and the 95% bands of their means. Months have "
        f"{rules.days_per_month:g} days. Large-scale systems are selected for lying high, so their "
        "line must be read beside the simulations of selection.",
        [Panel("", DATE, COMPUTE, series, y_scale="log", marks=_marks(rules))],
    )


def _deep(systems: Systems, labels: Labels, rules: Rules) -> Figure:
    deep = systems.dates > day(rules.dl_from)
    series = [
        *_points("regular", systems, labels.regular, DEEP_LANDMARKS),
        *_points("large-scale", systems, labels.large, DEEP_LANDMARKS),
        *_points("low outliers", systems, labels.low & deep, DEEP_LANDMARKS),
        *_fit("regular", systems, labels.regular, rules),
        *_fit("large-scale", systems, labels.large, rules),
    ]
    return Figure(
        "deep_learning",
        "Training compute in the deep-learning era",
        "As in the figure of all years, from the beginning of the deep-learning era on.",
        [Panel("", DATE, COMPUTE, series, y_scale="log")],
    )


def _kink(values: Mapping[str, Any], dates: np.ndarray) -> Figure:
    profile = values["profile"]
    kept = (np.array(profile["dates"]) > 1995) & (np.array(profile["dates"]) < 2019)
    kept |= not kept.any()  # systems of other years
    edges = np.arange(2 * dates.min() // 1, 2 * dates.max() + 2) / 2  # half-years, whole months
    heights, _ = np.histogram(dates, edges, density=True)
    low, middle, high = values["kink"]["dates"]
    return Figure(
        "break_date",
        "When the trend breaks",
        f"(a) The date of the kink in {len(dates)} resamples of the systems, each fitted anew: "
        f"median {middle:.1f}, 95% interval {low:.1f} to {high:.1f}. (b) BIC of two lines that "
        "meet at each date, and of one line.",
        [
            Panel(
                "Resampled",
                "date of the kink [year]",
                "density [1/year]",
                [Series("resamples", edges, [*heights, 0.0], style="steps")],
                marks={"the paper's 2010": PAPERS_KINK, "AlexNet": float(year(day("2012-09-30")))},
            ),
            Panel(
                "By BIC",
                "date of the kink [year]",
                "BIC",
                [
                    Series(
                        "two lines that meet",
                        np.array(profile["dates"])[kept],
                        np.array(profile["bic"])[kept],
                        style="theory",
                    )
                ],
                threshold=values["models"]["one line"]["bic"],
                threshold_label="one line",
                marks={"the paper's 2010": PAPERS_KINK},
            ),
        ],
    )
