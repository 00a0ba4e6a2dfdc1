"""What the training study's values decide: claims F4, F5c, F7 and F11."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxtrends.claims import Claim, Control, Evidence

PAPER_TASKS = ("mlp", "figure4")
OWN_TASKS = ("logistic", "cnn")


def _arm(task: Mapping[str, Any], rate: str, method: str) -> np.ndarray:
    return np.asarray(task["shared"][rate][method]["final_loss"], np.float64)


def _rates(task: Mapping[str, Any]) -> tuple[str, str]:
    """The smallest and the largest shared rate, as the record spells them."""
    ordered = sorted(task["shared"], key=float)
    if not ordered:
        raise KeyError("shared learning rate")
    return ordered[0], ordered[-1]


def _tasks(values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Mapping[str, Any]]:
    found = {name: values["tasks"][name] for name in names if name in values["tasks"]}
    if not found:
        raise KeyError(f"task {' or '.join(names)}")
    return found


def _progress_gap(names: tuple[str, ...]) -> Any:
    def evidence(values: Mapping[str, Any]) -> Evidence:
        parts, untrained = {}, {}
        for name, task in _tasks(values, names).items():
            rate, _ = _rates(task)
            start = np.asarray(task["initial_loss"])
            backprop, forward = _arm(task, rate, "backprop"), _arm(task, rate, "gaussian")
            parts[name] = {"values": list((forward - backprop) / (start - backprop))}
            untrained = {"values": list((start - backprop) / (start - backprop))}
        return Evidence(parts, {"untrained net": untrained})

    return evidence


def _progress(values: Mapping[str, Any]) -> Evidence:
    parts = {}
    for name, task in _tasks(values, (*PAPER_TASKS, *OWN_TASKS)).items():
        rate, _ = _rates(task)
        gained = np.asarray(task["initial_loss"]) - _arm(task, rate, "backprop")
        parts[name] = {"values": list(gained)}
    zero = {"values": [0.0] * len(next(iter(parts.values()))["values"])}
    return Evidence(parts, {"untrained net": zero})


def _larger_rate(values: Mapping[str, Any]) -> Evidence:
    parts, untrained = {}, {}
    for name, task in _tasks(values, PAPER_TASKS).items():
        _, rate = _rates(task)
        backprop = list(_arm(task, rate, "backprop"))
        parts[name] = {"treatment": list(_arm(task, rate, "gaussian")), "reference": backprop}
        untrained = {"treatment": list(task["initial_loss"]), "reference": backprop}
    return Evidence(parts, {"untrained net": untrained})


def _tuned(values: Mapping[str, Any]) -> Evidence:
    parts, shared, edges = {}, {}, []
    for name, task in _tasks(values, PAPER_TASKS).items():
        if not task["tuned"]:
            continue
        forward, backprop = task["tuned"]["gaussian"], task["tuned"]["backprop"]
        parts[name] = {
            "treatment": list(forward["final_loss"]),
            "reference": list(backprop["final_loss"]),
        }
        edges += [
            f"{name}: {method} is tuned to the edge of its grid"
            for method in ("gaussian", "backprop")
            if task["grid"][method]["edge"]
        ]
        rate, _ = _rates(task)
        shared = {
            "treatment": list(_arm(task, rate, "gaussian")),
            "reference": list(_arm(task, rate, "backprop")),
        }
    if not parts:
        raise KeyError("tuned arm")
    return Evidence(parts, {"smallest shared rate": shared}, "; ".join(edges))


def slopes(rungs: Mapping[str, Any]) -> np.ndarray:
    """Per seed, the least-squares slope of log(loss ratio) against log(parameters)."""
    complete = [rung for rung in rungs.values() if rung["tuned"]]
    if len(complete) < 3:
        raise KeyError("ladder of at least three widths")
    sizes = np.log([rung["parameters"] for rung in complete])
    ratios = np.log(
        [
            np.asarray(rung["tuned"]["gaussian"]["final_loss"])
            / np.asarray(rung["tuned"]["backprop"]["final_loss"])
            for rung in complete
        ]
    )
    centred = sizes - sizes.mean()
    return centred @ ratios / (centred @ centred)


def _growing(values: Mapping[str, Any]) -> Evidence:
    rungs = values["ladder"]
    edges = [
        f"width {width}: {method} is tuned to the edge of its grid"
        for width, rung in rungs.items()
        for method, point in rung["grid"].items()
        if point["edge"]
    ]
    found = slopes(rungs)
    flat = {"values": list(found - found.mean())}
    parts = {"ladder": {"values": list(found)}}
    return Evidence(parts, {"the same slopes, centred": flat}, "; ".join(edges))


def _sooner(times: Mapping[str, Any]) -> Evidence:
    parts = {}
    for name in PAPER_TASKS:
        for kind, arms in times["seconds_to_backprop"].get(name, {}).items():
            if kind != "tuned":
                parts[f"{name}, {kind}"] = {
                    "treatment": list(arms["gaussian"]),
                    "reference": list(arms["backprop"]),
                }
    if not parts:
        raise KeyError("shared learning rate")
    return Evidence(parts)


_UNTRAINED = Control(
    "untrained net", "fail", "a net that learned nothing must not pass for one that kept up"
)

CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="F4a",
        study="training",
        statement="At a small learning rate shared by both, forward gradients lower the training "
        "loss per iteration as backprop does.",
        source="paper",
        reported="final validation loss about 2.21 for both, at learning rate 2e-5",
        where="Figure 4, upper row",
        known="figure",
        quantity="(forward gradient's loss - backprop's loss) / (initial loss - backprop's loss), "
        "smallest shared rate",
        statistic="mean",
        region=(-0.1, 0.1),
        reason="a tenth of backprop's own progress: an untrained net scores 1",
        evidence=_progress_gap(PAPER_TASKS),
        controls=(_UNTRAINED,),
    ),
    Claim(
        id="F4b",
        study="training",
        statement="At that shared rate backprop does learn, so that keeping up with it means "
        "something.",
        source="derived",
        quantity="initial loss - backprop's final training loss (nats), smallest shared rate",
        statistic="mean",
        region=(0.05, math.inf),
        reason="0.05 nats is a fiftieth of the loss of a uniform guess over ten classes",
        evidence=_progress,
        controls=(_UNTRAINED,),
    ),
    Claim(
        id="F4c",
        study="training",
        statement="At a larger learning rate shared by both, forward gradients are ahead of "
        "backprop per iteration.",
        source="paper",
        reported="final validation loss about 0.5 against about 0.88, at learning rate 2e-4",
        where="Figure 4, lower row",
        known="figure",
        quantity="forward gradient's training loss / backprop's, largest shared rate",
        statistic="paired ratio",
        region=(-math.inf, 1.0),
        reason="the sign of the difference, as the paper's figure shows it",
        evidence=_larger_rate,
        controls=(_UNTRAINED,),
    ),
    Claim(
        id="F5c",
        study="training",
        statement="At a shared learning rate, forward gradients reach backprop's lowest validation "
        "loss in less time than backprop.",
        source="paper",
        reported="T_f / T_b = 0.567 at rate 2e-5 and 0.229 at rate 2e-4",
        where="Figure 4; the meaning of T is inferred from its guide lines",
        known="figure",
        quantity="time of the forward gradient / time of backprop to that loss, as steps times the "
        "median time of a step; never reached counts as infinite",
        statistic="paired ratio",
        region=(-math.inf, 1.0),
        reason="1 is no difference",
        evidence=_sooner,
        about="measurements",
    ),
    Claim(
        id="F7a",
        study="training",
        statement="With the learning rate tuned for each method, backprop is far ahead after the "
        "same number of iterations.",
        source="critic",
        reported="test loss 0.332 for forward gradients against 0.000 for backprop, MNIST MLP, "
        "50 epochs",
        where="Rike and Forland (2022), Table I",
        known="code",
        quantity="forward gradient's final training loss / backprop's, tuned rates",
        statistic="paired ratio",
        region=(4.0, math.inf),
        reason="a factor of four is far beyond what a seed or a step of the grid changes",
        evidence=_tuned,
        controls=(
            Control(
                "smallest shared rate",
                "fail",
                "at an untuned rate the two are close: the gap must come from tuning",
            ),
        ),
    ),
    Claim(
        id="F7b",
        study="training",
        statement="The gap between tuned forward gradients and tuned backprop grows with the "
        "number of parameters.",
        source="derived",
        quantity="slope of log(loss ratio) against log(parameters) over the ladder of widths, "
        "per seed",
        statistic="mean",
        region=(0.0, math.inf),
        reason="0 is a gap that does not depend on size",
        evidence=_growing,
        controls=(
            Control("the same slopes, centred", "fail", "slopes around 0 must not pass for growth"),
        ),
    ),
    Claim(
        id="F11a",
        study="training",
        statement="Logistic regression, too, descends at a small shared learning rate as under "
        "backprop.",
        source="derived",
        quantity="(forward gradient's loss - backprop's loss) / (initial loss - backprop's loss), "
        "smallest shared rate",
        statistic="mean",
        region=(-0.1, 0.1),
        reason="a tenth of backprop's own progress: an untrained net scores 1",
        evidence=_progress_gap(("logistic",)),
        controls=(_UNTRAINED,),
    ),
    Claim(
        id="F11b",
        study="training",
        statement="A small CNN, too, descends at a small shared learning rate as under backprop.",
        source="derived",
        quantity="(forward gradient's loss - backprop's loss) / (initial loss - backprop's loss), "
        "smallest shared rate",
        statistic="mean",
        region=(-0.1, 0.1),
        reason="a tenth of backprop's own progress: an untrained net scores 1",
        evidence=_progress_gap(("cnn",)),
        controls=(_UNTRAINED,),
    ),
)
