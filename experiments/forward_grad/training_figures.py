"""The training study's tables and figures, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.forward_grad.methods import LABELS
from jaxtrends.study import Figure, Panel, Series, Table, thin

MOST_POINTS = 100  # of a curve


def label(method: str) -> str:
    """A method's name in a figure; a user's own method has none but its own."""
    return LABELS.get(method, method)


def band(method: str, x: np.ndarray, curve: np.ndarray) -> Series:
    """Median of the lanes and the band of their middle four fifths: (lanes, points).

    Points at which more than a tenth of the lanes are not finite have no finite band and end the
    line: a diverged method stops in the figure where it diverged.
    """
    ranked = np.where(np.isfinite(curve), curve, np.inf).astype(np.float64)
    middle = np.median(ranked, axis=0)
    low, high = np.quantile(ranked, [0.1, 0.9], axis=0, method="nearest")
    keep = thin(x.size, MOST_POINTS)
    keep = keep[np.isfinite(high[keep])]
    return Series(label(method), x[keep], middle[keep], low[keep], high[keep])


def comparisons(task: Mapping[str, Any]) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Title -> (key of the curves, arms): one shared rate after the other, then the tuned rates."""
    found = {
        f"shared rate {float(rate):g}": (f"shared {float(rate):g}", arms)
        for rate, arms in task["shared"].items()
        if arms
    }
    if task["tuned"]:
        found["tuned rates"] = ("tuned", task["tuned"])
    return found


def _panels(
    name: str,
    task: Mapping[str, Any],
    curves: Mapping[str, np.ndarray],
    x_label: str,
    unit: Mapping[str, float],
) -> list[Panel]:
    panels = []
    for title, (key, arms) in comparisons(task).items():
        series = []
        for method in arms:
            curve = curves[f"{name}/{key}/{method}/validation_loss"]
            steps = np.arange(1, curve.shape[1] + 1) * task["log_every"]
            series.append(band(method, steps * unit[method], curve))
        panels.append(Panel(title, x_label, "validation loss (nats)", series, y_scale="log"))
    return panels


def _what(name: str, task: Mapping[str, Any]) -> str:
    return (
        f"{name} ({task['parameters']:,} parameters) on {task['dataset']}, "
        f"{len(task['seeds'])} seeds: median and the middle four fifths."
    )


def iterations(name: str, task: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> Figure:
    """Validation loss against iterations, at shared and at tuned rates."""
    unit = dict.fromkeys([*LABELS, *task["tuned"], *_arms(task)], 1.0)
    return Figure(
        f"training-{name}-iterations",
        f"Loss against iterations: {name}",
        "Validation loss per iteration. " + _what(name, task),
        _panels(name, task, curves, "iteration", unit),
    )


def _arms(task: Mapping[str, Any]) -> list[str]:
    return [method for arms in task["shared"].values() for method in arms]


def seconds(
    name: str,
    task: Mapping[str, Any],
    curves: Mapping[str, np.ndarray],
    step_seconds: Mapping[str, Sequence[float]],
) -> Figure:
    """The same curves against time: steps times the median time of a step of one lane."""
    unit = {method: float(np.median(samples)) for method, samples in step_seconds.items()}
    return Figure(
        f"training-{name}-seconds",
        f"Loss against time: {name}",
        "Validation loss per second of training: steps times the median time of a step, measured "
        "apart. " + _what(name, task),
        _panels(name, task, curves, "time (s)", unit),
    )


def ladder(rungs: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Tuned final loss and its ratio to backprop's against the number of parameters."""
    complete = [rung for rung in rungs.values() if rung["tuned"]]
    sizes = [rung["parameters"] for rung in complete]
    methods = list(complete[0]["tuned"]) if complete else []
    absolute, ratio = [], []
    for method in methods:
        finals = [np.asarray(rung["tuned"][method]["final_loss"]) for rung in complete]
        absolute.append(_spread(method, sizes, finals))
        if method != "backprop" and "backprop" in methods:
            base = [np.asarray(rung["tuned"]["backprop"]["final_loss"]) for rung in complete]
            ratio.append(_spread(method, sizes, [f / b for f, b in zip(finals, base, strict=True)]))
    axes = {"x_label": "parameters", "x_scale": "log", "y_scale": "log"}
    return Figure(
        "training-ladder",
        "Does the gap grow with the network?",
        "MLPs with one hidden layer, each method at its tuned rate: final training loss, and its "
        "ratio to backprop's; median and range over seeds.",
        [
            Panel("final training loss", y_label="loss (nats)", series=absolute, **axes),
            Panel(
                "ratio to backprop",
                y_label="loss / backprop's loss",
                series=ratio,
                threshold=1.0,
                threshold_label="equal",
                **axes,
            ),
        ],
    )


def _spread(method: str, sizes: Sequence[int], samples: Sequence[np.ndarray]) -> Series:
    kept = [(size, s) for size, s in zip(sizes, samples, strict=True) if np.isfinite(s).all()]
    return Series(
        label(method),
        [size for size, _ in kept],
        [float(np.median(s)) for _, s in kept],
        [float(np.min(s)) for _, s in kept],
        [float(np.max(s)) for _, s in kept],
        style="points",
    )


def outcomes(values: Mapping[str, Any]) -> Table:
    """One row an arm: medians over seeds, diverged lanes counted in."""
    rows = []
    for name, task in [*values["tasks"].items(), *_rungs(values["ladder"])]:
        for title, (_, arms) in comparisons(task).items():
            for method, outcome in arms.items():
                rate = outcome.get("learning_rate")
                rows.append(
                    [
                        name,
                        title if rate is None else f"tuned, {rate:g}",
                        label(method),
                        _median(outcome["final_loss"]),
                        _median(outcome["test_loss"]),
                        100 * float(np.mean(outcome["test_accuracy"])),
                        f"{outcome['diverged']} of {len(task['seeds'])}",
                    ]
                )
    return Table(
        "training-outcomes",
        "Training outcomes",
        ["task", "rate", "method", "training loss", "test loss", "test accuracy (%)", "diverged"],
        rows,
        "Losses are medians over seeds, in nats; the training loss is the mean over the last tenth "
        "of the steps. A diverged lane counts as infinitely bad.",
    )


def _rungs(rungs: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(f"width {width}", rung) for width, rung in rungs.items()]


def _median(samples: Sequence[float]) -> float:
    ranked = np.sort(np.asarray(samples, np.float64))
    return float(ranked[ranked.size // 2]) if ranked.size % 2 else float(np.median(ranked))


def step_times(tasks: Mapping[str, Any], seconds: Mapping[str, Any]) -> Table:
    """Milliseconds of a training step, per task and method."""
    rows = []
    for name in tasks:
        base = np.median(seconds[name]["backprop"]) if "backprop" in seconds[name] else np.nan
        for method, samples in seconds[name].items():
            middle = float(np.median(samples))
            spread = float(np.max(samples) - np.min(samples))
            rows.append([name, label(method), 1e3 * middle, 1e3 * spread, middle / float(base)])
    return Table(
        "training-step-times",
        "Time of a training step",
        ["task", "method", "median (ms)", "range (ms)", "ratio to backprop"],
        rows,
        "One lane, batch and tangents drawn inside the step; methods interleaved, warmed up.",
    )
