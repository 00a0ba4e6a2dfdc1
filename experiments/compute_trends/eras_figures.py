"""Tables and figures of `experiments.compute_trends.eras`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.compute_trends import fits
from experiments.compute_trends.rules import Labels, Rules
from experiments.compute_trends.segments import MODELS, PAPERS_KINK
from experiments.compute_trends.systems import Systems, day, iso, year
from jaxtrends import charts
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
AXES = ("publication date [year]", "training compute [FLOP]")
ALEXNET = float(year(day("2012-09-30")))


def tables(values: Mapping[str, Any], rules: Rules) -> list[Table]:
    """The models compared, and the recovery of known breaks."""
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
        bic = np.array([found["bic"][model] for model in MODELS])
        shares = np.bincount(bic.argmin(axis=0), minlength=len(MODELS)) / bic.shape[1]
        each = dict(zip(MODELS, shares.tolist(), strict=True))
        recovered.append({"simulated": name, "data sets": bic.shape[1], **each})
    free = values["models"]["three segments"]["free"]
    resampled = {
        "date of the kink [year]": "dates",
        "doubling time before [months]": "months before",
        "doubling time after [months]": "months after",
    }
    quantiles = []
    for quantity, name in resampled.items():
        low, middle, high = values["kink"][name]
        quantiles.append({"quantity": quantity, "median": middle, "2.5%": low, "97.5%": high})
    return [
        charts.table(
            "eras",
            "Trends in one, two and three pieces",
            rows,
            f"{values['systems']} systems. BIC = n ln(RSS / n) + k ln n; lower is better. "
            "Predictions are of each system from all the others, breaks searched anew. With pieces "
            f"of four systems allowed, three segments come to a BIC of {free['bic']:.1f} with "
            f"breaks at {free['breaks'][0]:.1f} and {free['breaks'][1]:.1f}.",
        ),
        charts.table(
            "recovery",
            "Which trend the BIC chooses on simulated data with known breaks",
            recovered,
            "Shares of the data sets. Three eras have the doubling times of the paper's Table 2 in "
            f"turn, 21.3, 5.7 and 9.9 months, with breaks in 2010 and after {rules.large_from}; "
            "the jump is of two orders of magnitude at the second; clear eras have a quarter of "
            "the scatter.",
        ),
        charts.table("kink", "The kink, by resampling", quantiles),
    ]


def figures(
    systems: Systems, labels: Labels, values: Mapping[str, Any], dates: np.ndarray, rules: Rules
) -> list[Figure]:
    """All years, the deep-learning era, and the date of the kink."""
    groups = {
        "before deep learning": labels.pre,
        "deep learning, regular": labels.regular,
        "large-scale": labels.large,
        "low outliers": labels.low,
    }
    deep = {
        "regular": labels.regular,
        "large-scale": labels.large,
        "low outliers": labels.low & (systems.dates > day(rules.dl_from)),
    }
    marks = {
        f"{name}, {iso(day(date) + 1)[:7]}": float(year(day(date)))
        for name, date in (("deep learning", rules.dl_from), ("large scale", rules.large_from))
    }
    every = _cloud(systems, groups, LANDMARKS, rules)
    return [
        Figure(
            "training_compute",
            "Training compute of machine-learning systems",
            "Training compute against publication date, with the labels of the paper's rules, "
            "straight-line fits and the 95% bands of their means. Months have "
            f"{rules.days_per_month:g} days. Large-scale systems are selected for lying high, so "
            "their line must be read beside the simulations of selection.",
            [Panel("", *AXES, every, y_scale="log", marks=marks)],
        ),
        Figure(
            "deep_learning",
            "Training compute in the deep-learning era",
            "As in the figure of all years, from the beginning of the deep-learning era on.",
            [Panel("", *AXES, _cloud(systems, deep, DEEP_LANDMARKS, rules), y_scale="log")],
        ),
        _kink(values, dates),
    ]


def _cloud(
    systems: Systems, groups: Mapping[str, np.ndarray], landmarks: tuple[str, ...], rules: Rules
) -> list[Series]:
    """The systems of each group, and the lines through all groups but the low outliers."""
    clouds = [_points(name, systems, chosen, landmarks) for name, chosen in groups.items()]
    lines = [
        _fit(name, systems, chosen, rules)
        for name, chosen in groups.items()
        if name != "low outliers"
    ]
    return [one for part in clouds + lines for one in part]


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
    label = f"{name}: doubling in {rules.months(fitted.slope):.1f} months"
    band = (10 ** (middle - half), 10 ** (middle + half))
    return [Series(label, year(at), 10**middle, *band, style="theory")]


def _kink(values: Mapping[str, Any], dates: np.ndarray) -> Figure:
    tried, bic = (np.array(values["profile"][name]) for name in ("dates", "bic"))
    kept = (tried > 1995) & (tried < 2019)
    kept |= not kept.any()  # systems of other years
    edges = np.arange(2 * dates.min() // 1, 2 * dates.max() + 2) / 2  # half-years, whole months
    low, middle, high = values["kink"]["dates"]
    date, papers = "date of the kink [year]", {"the paper's 2010": PAPERS_KINK}
    return Figure(
        "break_date",
        "When the trend breaks",
        f"(a) The date of the kink in {len(dates)} resamples of the systems, each fitted anew: "
        f"median {middle:.1f}, 95% interval {low:.1f} to {high:.1f}. (b) BIC of two lines that "
        "meet at each date, and of one line.",
        [
            Panel(
                *("Resampled", date, "density [1/year]"),
                [charts.histogram("resamples", dates, edges, density=True)],
                marks={**papers, "AlexNet": ALEXNET},
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
