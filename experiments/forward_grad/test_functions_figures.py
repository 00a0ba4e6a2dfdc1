"""The tables and figures of the study of test functions, as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxtrends.study import Figure, Panel, Series, Table

LABELS = {
    "backprop": "backprop",
    "gaussian": "forward gradient",
    "rademacher": "forward gradient, Rademacher",
}


def _curve(label: str, iterations: np.ndarray, losses: np.ndarray) -> Series:
    """The median loss with the band of the middle 80% of the lanes; one lane has no band."""
    losses = np.where(np.isfinite(losses), losses, np.inf)
    if losses.shape[1] == 1:
        return Series(label, iterations.tolist(), losses[:, 0].tolist())
    low, middle, high = np.quantile(losses, [0.1, 0.5, 0.9], axis=1, method="nearest")
    return Series(label, iterations.tolist(), middle.tolist(), low.tolist(), high.tolist())


def descents(arrays: Mapping[str, Any], functions: Mapping[str, Any], points: int) -> list[Figure]:
    """Losses against iterations, and ways to the optimum, in ``points`` points of every run."""
    losses, paths = [], []
    for name, arms in arrays.items():
        function = functions[name]
        iterations = (1 + np.arange(points)) * (function.iterations // points)
        losses.append(
            Panel(
                name.capitalize(),
                "iteration",
                "f",
                [_curve(LABELS[method], iterations, arms[method][1]) for method in LABELS],
                y_scale="log",
            )
        )
        trails = []
        for method, lanes in (("gaussian", 3), ("backprop", 1)):
            for lane in range(min(lanes, arms[method][0].shape[1])):
                trail = np.vstack([function.start, arms[method][0][:, lane]])
                label = LABELS[method] + (f", run {lane + 1}" if lanes > 1 else "")
                trails.append(Series(label, trail[:, 0].tolist(), trail[:, 1].tolist()))
        for label, point in (("start", function.start), ("optimum", function.optimum)):
            trails.append(Series(label, [point[0]], [point[1]], style="points"))
        paths.append(Panel(name.capitalize(), "x", "y", trails))
    return [
        Figure(
            "test_functions",
            "Forward gradients keep up with backpropagation in two dimensions, per iteration",
            "Loss against iteration at the paper's settings: median of the runs, with the band of "
            "the middle 80% of them; backpropagation has no randomness.",
            losses,
        ),
        Figure(
            "trajectories",
            "Ways to the optimum",
            "The first three forward-gradient runs, and backpropagation, from the paper's starts; "
            f"{points} points of each, evenly spaced over the iterations.",
            paths,
        ),
    ]


def finals(values: Mapping[str, Any]) -> Table:
    """Final losses of every method on every function: median, spread and share of backprop's."""
    rows = []
    for name, found in values.items():
        for method in LABELS:
            ends = np.array(found[method]["finals"])
            ratio = float(np.median(ends)) / found["backprop"]["finals"][0]
            spread = np.quantile(ends, [0.1, 0.9], method="nearest").tolist()
            lost = sum(found[method]["diverged"])
            rows.append(
                [name, LABELS[method], len(ends), float(np.median(ends)), *spread, ratio, lost]
            )
    columns = ("function", "method", "runs", "median f", "10%", "90%", "over backprop", "diverged")
    return Table("finals", "Final loss on the test functions", columns, rows)


def times(seconds: Mapping[str, Any]) -> Table:
    """Seconds of a whole descent, median over the repetitions."""
    rows = []
    for name, found in seconds.items():
        middle = {method: float(np.median(taken)) for method, taken in found.items()}
        for method, seconds_of_one in middle.items():
            label = LABELS.get(method, f"forward gradient, {method}")
            rows.append([name, label, seconds_of_one, seconds_of_one / middle["backprop"]])
    columns = ("function", "method", "seconds", "over backprop")
    note = (
        "Median of the repetitions: one run, all its iterations, compiled. With nothing drawn the "
        "tangent is always the same: the rest of a forward gradient's time, at two parameters "
        "nearly all, is for its random numbers."
    )
    return Table("times", "Time of a whole descent", columns, rows, note)
