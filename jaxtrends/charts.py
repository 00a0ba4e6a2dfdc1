"""The figures and tables that comparisons share, as data.

Two bands, and each says in its caption which it is: `spread` (median and the middle four fifths of
the lanes) and `interval` (mean and its 95% interval). A chart is a function of what a comparison
shows; an experiment adds one of its own only where its paper has one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxtrends import stats
from jaxtrends.claims import CONFIDENCE
from jaxtrends.study import Figure, Map, Panel, Series, Table, thin

MOST_POINTS = 100  # of a curve
AXES = {"steps": "step", "flops": "training FLOPs", "seconds": "time (s)"}
SPREAD = "median and the middle four fifths"
INTERVAL = "mean and its 95% interval"
RANGE = "median and range over seeds"


@dataclass(frozen=True)
class Shown:
    """What charts read of a comparison.

    study:  its name, with which the names of its figures begin.
    metric: by which it judges, with its unit.
    size:   what the number of a rung is.
    tasks:  name -> values.
    curves: ``task/arm/metric`` -> (seeds, points).
    more:   metrics that the table of outcomes shows beside the one on test data.
    samples: what the numbers of a metric are of, a list of the task's: seeds, or rounds of timing.
    """

    study: str
    metric: str
    unit: str
    size: str
    tasks: Mapping[str, Mapping[str, Any]]
    curves: Mapping[str, np.ndarray]
    more: Sequence[str] = ()
    samples: str = "seeds"

    def label(self, metric: str) -> str:
        """A metric as an axis calls it."""
        words = metric.replace("_", " ")
        return f"{words} ({self.unit})" if self.unit and metric.endswith(self.metric) else words


Chart = Callable[[Shown], Figure]


# --- series --------------------------------------------------------------------------------------


def spread(label: str, x: np.ndarray, lanes: np.ndarray) -> Series:
    """Median of the lanes (lanes, points) and the band of their middle four fifths.

    The line ends where more than a tenth of the lanes are not finite: a method stops in the figure
    where it diverged.
    """
    ranked = np.where(np.isfinite(lanes), lanes, np.inf).astype(np.float64)
    middle = np.median(ranked, axis=0)
    low, high = np.quantile(ranked, [0.1, 0.9], axis=0, method="nearest")
    keep = thin(x.size, MOST_POINTS)
    keep = keep[np.isfinite(high[keep])]
    return Series(label, x[keep], middle[keep], low[keep], high[keep])


def interval(label: str, x: Sequence[float], lanes: np.ndarray) -> Series:
    """Mean of the lanes (lanes, points) with its 95% interval (Student's t), if all are finite."""
    x = np.asarray(x)
    keep = thin(x.size, MOST_POINTS)
    keep = keep[np.isfinite(lanes[:, keep]).all(axis=0)]
    found = [stats.mean({"values": lanes[:, point]}, CONFIDENCE) for point in keep]
    return Series(
        label,
        x[keep],
        [one.estimate for one in found],
        [one.low for one in found],
        [one.high for one in found],
    )


def beside_law(
    label: str, x: Sequence[float], samples: Sequence[Sequence[float]], law: Sequence[float]
) -> list[Series]:
    """Means with their 95% intervals, a sample a point, and what a law says of them, dashed."""
    measured = interval(label, x, np.transpose(samples))
    return [replace(measured, style="points"), Series(label, x, law, style="theory")]


def points(label: str, x: Sequence[float], samples: Sequence[Sequence[float]]) -> Series:
    """Medians over seeds with their range, a sample a point, where all are finite."""
    kept = [(at, s) for at, s in zip(x, samples, strict=True) if np.isfinite(s).all()]
    return Series(
        label,
        [at for at, _ in kept],
        [float(np.median(s)) for _, s in kept],
        [float(np.min(s)) for _, s in kept],
        [float(np.max(s)) for _, s in kept],
        style="points",
    )


def histogram(
    label: str,
    values: np.ndarray,
    bins: int | np.ndarray,
    within: tuple[float, float] | None = None,
    density: bool = False,
) -> Series:
    """Shares of the values a bin, or their density; the last step ends at zero.

    Args:
        label:   of the series.
        values:  (n,) finite.
        bins:    edges (bins + 1,), or how many of one width.
        within:  the ends of so many; those of the values by default.
        density: of probability, in 1 over the unit of the values.
    """
    heights, edges = np.histogram(values, bins, within, density=density)
    if not density:
        heights = heights / len(values)
    return Series(label, edges.tolist(), [*heights.tolist(), 0.0], style="steps")


def median(samples: Sequence[float]) -> float:
    """The median, in which a value that is not finite ranks highest."""
    ranked = np.sort(np.where(np.isfinite(samples), samples, np.inf).astype(np.float64))
    low, high = ranked[(ranked.size - 1) // 2], ranked[ranked.size // 2]
    return float(high if np.isinf(high) else (low + high) / 2)


# --- figures -------------------------------------------------------------------------------------


def over(
    axis: str = "steps",
    metric: str = "",
    arms: Sequence[str] = (),
    x_scale: str = "linear",
    y_scale: str = "linear",
    rule: str = "",
    **title: str,
) -> Chart:
    """Every arm's curve, a panel a task.

    Args:
        axis:    ``steps``, or a fact of a step that adds up over them: ``flops``, ``examples``, or
                 ``seconds`` where steps are timed. An arm without that fact is left out.
        metric:  of the curves; the comparison's own on validation data if empty.
        arms:    those shown; all if none is named.
        x_scale: ``linear`` or ``log``.
        y_scale: likewise.
        rule:    a value of the task, ``target`` say, whose median over seeds is drawn across.
        title:   ``title=…`` for the figure.
    """

    def chart(shown: Shown) -> Figure:
        what = metric or f"validation_{shown.metric}"
        panels = []
        for name, task in shown.tasks.items():
            series = []
            for arm, found in task["arms"].items():
                curve = shown.curves.get(f"{name}/{arm}/{what}")
                known = axis == "steps" or axis in found["facts"]
                if curve is None or not known or (arms and arm not in arms):
                    continue
                steps = np.arange(1, curve.shape[1] + 1) * float(task["log_every"])
                each = 1.0 if axis == "steps" else float(found["facts"][axis])
                series.append(spread(_words(arm), steps * each, curve))
            panels.append(
                Panel(
                    _words(name),
                    AXES.get(axis, _words(axis)),
                    shown.label(what),
                    series,
                    x_scale,
                    y_scale,
                    threshold=median(np.atleast_1d(task[rule])) if rule in task else None,
                    threshold_label=_words(rule),
                )
            )
        return Figure(
            _name(shown.study, what, axis),
            title.get("title", f"{_words(what).capitalize()} against {_words(axis)}"),
            f"{_words(what).capitalize()}, {_seeds(shown)}: {SPREAD}.",
            panels,
        )

    return chart


def difference(treatment: str | Sequence[str], reference: str, metric: str = "") -> Chart:
    """By how much an arm's curve, or each of several, lies above another's, paired by seed."""
    treatments = (treatment,) if isinstance(treatment, str) else tuple(treatment)
    of = ", ".join(map(_words, treatments))

    def chart(shown: Shown) -> Figure:
        what = metric or f"validation_{shown.metric}"
        panels = []
        for name, task in shown.tasks.items():
            series = []
            for arm in treatments:
                pair = [shown.curves.get(f"{name}/{one}/{what}") for one in (arm, reference)]
                if any(curve is None for curve in pair):
                    continue
                count = min(curve.shape[1] for curve in pair)
                first, second = (curve[:, :count].astype(np.float64) for curve in pair)
                steps = np.arange(1, count + 1) * float(task["log_every"])
                words = f"{_words(arm)} - {_words(reference)}"
                series.append(interval(words, steps, first - second))
            if not series:
                continue
            panels.append(
                Panel(
                    _words(name),
                    "step",
                    f"difference of {shown.label(what)}",
                    series,
                    threshold=0.0,
                    threshold_label="no difference",
                )
            )
        return Figure(
            _name(shown.study, *treatments, reference, "difference"),
            f"{of.capitalize()} against {_words(reference)}",
            f"Difference of the {_words(what)}, paired by seed, {_seeds(shown)}: {INTERVAL}.",
            panels,
        )

    return chart


def marked(chart: Chart, marks: Callable[[Mapping[str, Any]], Mapping[str, float]]) -> Chart:
    """The chart with vertical rules on each task's panel: marks of its values -> label -> x."""

    def with_marks(shown: Shown) -> Figure:
        found, tasks = chart(shown), {_words(name): task for name, task in shown.tasks.items()}
        panels = [replace(panel, marks=marks(tasks[panel.title])) for panel in found.panels]
        return replace(found, panels=panels)

    return with_marks


def finals(against: str, on: str = "", x_scale: str = "log", **title: str) -> Chart:
    """Final metrics against a fact of the arms (``parameters``, ``flops``), a panel a task."""

    def chart(shown: Shown) -> Figure:
        what = on or f"test_{shown.metric}"
        return Figure(
            _name(shown.study, what, against),
            title.get("title", f"{_words(what).capitalize()} against {_words(against)}"),
            f"{_words(what).capitalize()}, {_seeds(shown)}: {RANGE}.",
            [
                Panel(
                    _words(name),
                    _words(against),
                    shown.label(what),
                    [
                        points(_words(arm), [found["facts"][against]], [found["metrics"][what]])
                        for arm, found in task["arms"].items()
                    ],
                    x_scale,
                )
                for name, task in shown.tasks.items()
            ],
        )

    return chart


def climb(
    on: str = "",
    arms: Sequence[str] = (),
    effect: tuple[str, str] | None = None,
    relative_to: str = "",
    x_scale: str = "log",
    y_scale: str = "linear",
    **title: str,
) -> Chart:
    """A ladder: final metrics against size, and the paired effect of one arm over another.

    Args:
        on:      the metric; the comparison's own on test data if empty.
        arms:    those shown; all if none is named.
        effect:  (treatment, reference): a second panel with their difference.
        relative_to: an arm: a further panel with the others' metrics over that arm's.
        x_scale: of the sizes.
        y_scale: of the metric.
        title:   ``title=…`` for the figure.
    """

    def chart(shown: Shown) -> Figure:
        what = on or f"test_{shown.metric}"
        kinds = list(dict.fromkeys(task["task"] for task in shown.tasks.values()))
        panels = []
        for kind in kinds:
            rungs = [task for task in shown.tasks.values() if task["task"] == kind]
            names = dict.fromkeys(arm for rung in rungs for arm in rung["arms"])
            drawn = [arm for arm in names if not arms or arm in arms]
            found = [_climbing(rungs, what, arm) for arm in drawn]
            label = shown.label(what)
            panels.append(Panel(_words(kind), shown.size, label, found, x_scale, y_scale))
            if effect:
                words = f"{_words(effect[0])} - {_words(effect[1])}"
                apart = _climbing(rungs, what, *effect, np.subtract, words)
                words += f", {kind}" if kind else ""
                rule = {"threshold": 0.0, "threshold_label": "no difference"}
                label = f"difference of {label}"
                if len(apart.x):
                    panels.append(Panel(words, shown.size, label, [apart], x_scale, **rule))
            if relative_to in names:
                others = [arm for arm in drawn if arm != relative_to]
                ratios = [_climbing(rungs, what, arm, relative_to, np.divide) for arm in others]
                rule = {"threshold": 1.0, "threshold_label": "equal"}
                words = f"{_words(what)} over that of {_words(relative_to)}"
                panels.append(
                    Panel(_words(kind), shown.size, words, ratios, x_scale, y_scale, **rule)
                )
        return Figure(
            _name(shown.study, "ladder", what),
            title.get("title", f"{_words(what).capitalize()} against {shown.size}"),
            f"{_words(what).capitalize()}, {_seeds(shown)}: {INTERVAL}; differences and ratios are "
            f"paired by {shown.samples.removesuffix('s')}.",
            panels,
        )

    return chart


def _climbing(
    rungs: Sequence[Mapping[str, Any]],
    metric: str,
    arm: str,
    reference: str = "",
    compared: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    words: str = "",
) -> Series:
    """An arm's metric against size, or how it compares with that of another."""
    had = [rung for rung in rungs if {arm, reference or arm} <= set(rung["arms"])]
    samples = [np.asarray(rung["arms"][arm]["metrics"][metric], np.float64) for rung in had]
    if compared is not None:
        others = [np.asarray(rung["arms"][reference]["metrics"][metric]) for rung in had]
        with np.errstate(invalid="ignore"):  # a point of which a lane diverged is left out
            samples = [
                np.where(np.isfinite(b), compared(a, b), np.nan)
                for a, b in zip(samples, others, strict=True)
            ]
    lanes = np.transpose(samples) if had else np.empty((0, 0))
    return interval(words or _words(arm), [rung["size"] for rung in had], lanes)


def images(
    name: str, title: str, caption: str, rows: Mapping[str, np.ndarray], label: str = "brightness"
) -> Figure:
    """A grid of grey images on one scale, a row a label: (images, height, width) each."""
    grids = [np.concatenate(list(np.asarray(row, np.float64)), axis=1) for row in rows.values()]
    whole = np.concatenate(grids, axis=0)
    middles = np.cumsum([0, *(grid.shape[0] for grid in grids)])
    legend = ", ".join(f"row {place + 1} {row}" for place, row in enumerate(rows))
    return Figure(
        name,
        title,
        f"{caption} From the top: {legend}.",
        [
            Panel(
                "",
                "pixel",
                "pixel",
                [],
                map=Map(
                    list(range(whole.shape[1])),
                    list(range(int(middles[-1]))),
                    whole[::-1].tolist(),
                    label,
                ),
            )
        ],
    )


# --- of records: for headline figures -------------------------------------------------------------


def headline(
    title: str, caption: str, x_label: str, y_label: str, series: Sequence[Series], **more: Any
) -> Figure:
    """A headline figure: one panel that needs no caption, its title the finding in words.

    Args:
        title:   what was found, with its number.
        caption: what a page adds below it: seeds, bands, sources.
        x_label: with its unit in brackets.
        y_label: likewise.
        series:  five at most, each named in words.
        more:    other fields of the `Panel`.
    """
    panel = Panel("", x_label, y_label, series, **more)
    return Figure("headline", title, caption, [panel], standalone=True)


def recorded(done: Mapping[str, Any], study: str, *places: str) -> Panel:
    """A panel of a record's figures: the first of the places, ``figure/panel``, that it has.

    Raises:
        KeyError: it has none of them.
    """
    parts = (done["results"]["studies"], done["measurements"]["studies"])
    found = {
        f"{figure['name']}/{panel['title']}": panel
        for part in parts
        for figure in part[study]["figures"]
        for panel in figure["panels"]
    }
    for place in places:
        if place in found:
            panel = found[place]
            return Panel(**{**panel, "series": [Series(**one) for one in panel["series"]]})
    raise KeyError(" or ".join(places))


def renamed(panel: Panel, names: Mapping[str, str]) -> list[Series]:
    """The series of a panel that have a name among these, by label, under that name."""
    return [replace(one, label=names[one.label]) for one in panel.series if one.label in names]


# --- tables --------------------------------------------------------------------------------------


def outcomes(shown: Shown) -> Table:
    """One row an arm and task: its facts, its rate, and its metric on test data with its interval.

    A mean is given only where no lane diverged; a median else.
    """
    arms = [arm for task in shown.tasks.values() for arm in task["arms"].values()]
    facts = dict.fromkeys(
        name
        for arm in arms
        for name, value in arm["facts"].items()
        if isinstance(value, (int, float, str))
    )
    tuned = dict.fromkeys(name for arm in arms for name in arm.get("tuned", {}))
    what = f"test_{shown.metric}"
    rows = []
    for name, task in shown.tasks.items():
        for label, arm in task["arms"].items():
            values = np.asarray(arm["metrics"][what], np.float64)
            found = stats.mean({"values": values}, CONFIDENCE)
            kept = arm["diverged"] == 0
            rows.append(
                [
                    _words(name),
                    _words(label),
                    *(arm["facts"].get(fact) for fact in facts),
                    *(
                        median(arm["metrics"][name]) if name in arm["metrics"] else None
                        for name in shown.more
                    ),
                    arm["steps"],
                    arm["learning_rate"],
                    *(arm.get("tuned", {}).get(name) for name in tuned),
                    found.estimate if kept else median(values),
                    found.low if kept else None,
                    found.high if kept else None,
                    f"{arm['diverged']} of {len(task['seeds'])}",
                ]
            )
    return Table(
        _name(shown.study, "outcomes"),
        f"Outcomes of {_words(shown.study)}",
        [
            *("task", "arm", *map(_words, facts), *map(_words, shown.more)),
            *("steps", "learning rate", *map(_words, tuned)),
            *(shown.label(what), "low", "high", "diverged"),
        ],
        rows,
        f"{_words(what).capitalize()}: mean over seeds with its 95% interval; the median alone "
        "where a lane diverged. FLOPs are of one training step of one lane, products alone."
        + (" Other metrics are medians over seeds." if shown.more else ""),
    )


def table(name: str, title: str, rows: Sequence[Mapping[str, Any]], note: str = "") -> Table:
    """A table of rows that say for themselves what stands in each column; at least one row.

    Raises:
        ValueError: the rows have not the same columns.
    """
    columns = list(rows[0])
    if any(list(row) != columns for row in rows):
        raise ValueError(f"table {name}: rows of other columns than {columns}")
    return Table(name, title, columns, [list(row.values()) for row in rows], note)


def plus_minus(label: str, values: Sequence[float]) -> dict[str, float]:
    """Two cells of a row: the mean, and half of its 95% interval as ``±``."""
    found = stats.mean({"values": values}, CONFIDENCE)
    return {label: found.estimate, "±": found.high - found.estimate}


def points_tried(grid: Mapping[str, Any]) -> list[dict[str, float]]:
    """The rows of an arm's ``grid``: what was tried, by name."""
    beside = grid.get("beside", {})
    return [
        {"learning_rate": rate, **{name: tried[row] for name, tried in beside.items()}}
        for row, rate in enumerate(grid["rates"])
    ]


def grids(shown: Shown) -> Table:
    """One row an arm, task and point tried: what tuning saw."""
    arms = [arm for task in shown.tasks.values() for arm in task["arms"].values()]
    beside = dict.fromkeys(name for arm in arms for name in arm.get("grid", {}).get("beside", {}))
    names = ["learning_rate", *beside]
    rows = [
        [
            *(_words(name), _words(label)),
            *(point.get(number) for number in names),
            median(scores),
            point == {"learning_rate": arm["learning_rate"], **arm.get("tuned", {})},
        ]
        for name, task in shown.tasks.items()
        for label, arm in task["arms"].items()
        if "grid" in arm
        for point, scores in zip(points_tried(arm["grid"]), arm["grid"]["scores"], strict=True)
    ]
    return Table(
        _name(shown.study, "tuning"),
        f"Tuning of {_words(shown.study)}",
        ["task", "arm", *map(_words, names), f"final validation {_words(shown.metric)}", "chosen"],
        rows,
        "Medians over tuning seeds, none of which is reported.",
    )


def step_times(shown: Shown, seconds: Mapping[str, Mapping[str, Sequence[float]]]) -> Table:
    """One row an arm and task: the time of a step, and that to a target.

    Args:
        shown:   what was timed; metrics ``steps_to_…`` have a column each.
        seconds: task -> arm -> of a step, a sample a round.
    """
    arms = [arm for task in shown.tasks.values() for arm in task["arms"].values()]
    until = dict.fromkeys(n for arm in arms for n in arm["metrics"] if n.startswith("steps_to_"))
    rows = []
    for name, samples in seconds.items():
        first = float(np.median(next(iter(samples.values()))))
        for label, taken in samples.items():
            arm = shown.tasks[name]["arms"][label]
            middle = float(np.median(taken))
            rows.append(
                [
                    *(_words(name), _words(label), 1e3 * middle),
                    *(1e3 * float(np.ptp(taken)), middle / first),
                    arm["facts"]["flops"] / middle / 1e9,
                    *(middle * median(arm["metrics"][metric]) for metric in until),
                ]
            )
    return Table(
        _name(shown.study, "step-times"),
        f"Time of a training step of {_words(shown.study)}",
        [
            *("task", "arm", "median (ms)", "range (ms)", "ratio to the first arm", "GFLOP/s"),
            *(f"time {_words(metric.removeprefix('steps_'))} (s)" for metric in until),
        ],
        rows,
        "One lane, with its share of evaluation; arms interleaved, warmed up. Times to a target "
        "are the steps needed times the median of a step, and medians over seeds.",
    )


def _name(*parts: str) -> str:
    """A name for a figure or table; arms may have any characters in theirs."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(parts)).strip("-")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _seeds(shown: Shown) -> str:
    return f"{len(next(iter(shown.tasks.values()))[shown.samples])} {shown.samples}"
