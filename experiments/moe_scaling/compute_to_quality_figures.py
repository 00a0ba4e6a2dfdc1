"""The compute-to-quality study's tables and figures, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.moe_scaling import drawing
from experiments.moe_scaling.targets import ARMS, DENSE, LARGER, needed
from jaxtrends.study import Figure, Panel, Series, Table


def _steps(task: Mapping[str, Any], curve: np.ndarray) -> np.ndarray:
    return np.arange(1, curve.shape[1] + 1) * float(task["log_every"])


def _series(
    name: str, task: Mapping[str, Any], curves: Mapping[str, np.ndarray], unit: Mapping[str, float]
) -> list[Series]:
    found = []
    for arm in task["arms"]:
        curve = curves[f"{name}/{arm}/validation_cross_entropy"]
        found.append(drawing.band(ARMS[arm], _steps(task, curve) * unit[arm], curve))
    return found


def compute(name: str, task: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> Figure:
    """Validation loss against training compute, without padding and with it; the ratio drawn in."""
    panels = []
    for unit, title in (("operations", "as chosen"), ("operations_padded", "padding counted")):
        per_step = {arm: a[unit] * task["tokens_per_step"] for arm, a in task["arms"].items()}
        panels.append(
            Panel(
                title,
                "training compute (FLOP)",
                "validation loss (nats a token)",
                _series(name, task, curves, per_step),
                x_scale="log",
                threshold=drawing.median(task["target"]),
                threshold_label="final loss of dense, 4x hidden width",
                marks=_marks(task, unit),
            )
        )
    return Figure(
        f"compute-{name}",
        f"Loss against training compute: {name}",
        "Validation loss against the arithmetic of training, tokens counted where their experts "
        "serve them, and with empty places counted too; "
        + ("" if task["floor"] is None else f"no model can go below {task['floor']:.3f} nats; ")
        + drawing.about(task),
        panels,
    )


def _marks(task: Mapping[str, Any], unit: str) -> dict[str, float]:
    """Where the cheaper dense arm and each mixture reach the target, by their medians."""
    dense = needed(task, "cheaper dense", unit)
    marks = {"dense": drawing.median(dense)}
    for arm in task["arms"]:
        if arm not in DENSE:
            mine = needed(task, arm, unit)
            if np.isfinite(mine).all():
                times = drawing.ratio(dense, mine).estimate
                marks[f"{ARMS[arm]}: {times:.1f}x less"] = drawing.median(mine)
    return {label: at for label, at in marks.items() if np.isfinite(at)}


def gains(tasks: Mapping[str, Any]) -> Figure:
    """How many times less compute each mixture needs, against its experts."""
    series = []
    for name, task in tasks.items():
        dense = needed(task, "cheaper dense")
        found = [
            (int(arm.removeprefix("moe_")), drawing.ratio(dense, needed(task, arm)))
            for arm in task["arms"]
            if arm.startswith("moe_") and np.isfinite(needed(task, arm)).all()
        ]
        if found:
            series.append(
                Series(
                    name,
                    [experts for experts, _ in found],
                    [interval.estimate for _, interval in found],
                    [interval.low for _, interval in found],
                    [interval.high for _, interval in found],
                    style="points",
                )
            )
    return Figure(
        "compute-gains",
        "Compute saved, by experts",
        "Training compute of the cheaper dense arm over that of a mixture for the final loss of "
        "the larger dense arm: geometric mean over seeds and 95 % interval. A mixture that some "
        "seed does not bring to that loss is left out.",
        [
            Panel(
                "dense / mixture",
                "experts",
                "ratio of compute",
                series,
                x_scale="log",
                y_scale="log",
                threshold=1.0,
                threshold_label="no gain",
            )
        ],
    )


def seconds(
    name: str,
    task: Mapping[str, Any],
    curves: Mapping[str, np.ndarray],
    step_seconds: Mapping[str, Sequence[float]],
) -> Figure:
    """The same curves against time: steps times the median time of a step of one lane."""
    unit = {arm: float(np.median(samples)) for arm, samples in step_seconds.items()}
    return Figure(
        f"compute-{name}-seconds",
        f"Loss against time: {name}",
        "Validation loss against seconds of training: steps times the median time of a step, "
        "measured apart. " + drawing.about(task),
        [
            Panel(
                name,
                "time (s)",
                "validation loss (nats a token)",
                _series(name, task, curves, unit),
                x_scale="log",
                threshold=drawing.median(task["target"]),
                threshold_label="final loss of dense, 4x hidden width",
            )
        ],
    )


def outcomes(tasks: Mapping[str, Any]) -> Table:
    """One row an arm and task."""
    rows = []
    for name, task in tasks.items():
        dense = {u: needed(task, "cheaper dense", u) for u in _UNITS}
        for arm, found in task["arms"].items():
            never = int((~np.isfinite(found["steps_to_target"])).sum())
            gained = [
                drawing.spelled(drawing.ratio(dense[unit], needed(task, arm, unit)))
                for unit in _UNITS
            ]
            rows.append(
                [
                    name,
                    ARMS[arm],
                    found["parameters"],
                    found["operations"] / 1e6,
                    found["operations_padded"] / 1e6,
                    found["learning_rate"],
                    drawing.median(found["final_loss"]),
                    drawing.median(found["test_loss"]),
                    100 * float(np.mean(found["dropped"])) if "dropped" in found else 0.0,
                    f"{never} of {len(task['seeds'])}",
                    *gained,
                ]
            )
    return Table(
        "compute-outcomes",
        "Compute to quality",
        [
            *("task", "arm", "parameters", "MFLOP a token", "padded", "learning rate"),
            *("validation loss", "test loss", "dropped (%)", "never at target"),
            *("compute saved", "compute saved, padded"),
        ],
        rows,
        "MFLOP are of training. Losses are medians over seeds, in nats a token; the validation "
        "loss is the mean over the last tenth of the curve. Saved is the compute of the cheaper "
        "dense arm over the arm's own, to the final loss of the larger dense arm, with its 95 % "
        "interval; an arm that never gets there counts as infinitely dear, and medians replace "
        "means.",
    )


_UNITS = ("operations", "operations_padded")


def step_times(
    tasks: Mapping[str, Any], seconds: Mapping[str, Any], to_target: Mapping[str, Any]
) -> Table:
    """Milliseconds of a step and seconds to the target, per task and arm."""
    rows = []
    for name, task in tasks.items():
        base = float(np.median(seconds[name][LARGER]))
        for arm in task["arms"]:
            samples = seconds[name][arm]
            middle = float(np.median(samples))
            spread = float(np.max(samples) - np.min(samples))
            flops = task["arms"][arm]["operations"] * task["tokens_per_step"]
            rows.append(
                [
                    name,
                    ARMS[arm],
                    1e3 * middle,
                    1e3 * spread,
                    middle / base,
                    flops / middle / 1e9,
                    drawing.median(to_target[name][arm]),
                ]
            )
    return Table(
        "compute-step-times",
        "Time of a training step",
        [
            *("task", "arm", "median (ms)", "range (ms)", "ratio to dense 4x"),
            *("GFLOP/s", "time to target (s)"),
        ],
        rows,
        "One lane, with its share of evaluation; arms interleaved, warmed up. GFLOP/s are of "
        "training, without padding. The time to the target is steps needed times that median.",
    )
