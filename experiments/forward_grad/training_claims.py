"""What the training study's values decide: claims F4, F5c, F7 and F11."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from experiments.forward_grad.training import LARGEST, SMALLEST
from jaxtrends import declare
from jaxtrends.claims import Claim
from jaxtrends.declare import LadderView, Quantity, TaskView

PAPER_TASKS, OWN_TASKS = ("mlp", "figure4"), ("logistic", "cnn")


def loss(task: TaskView, method: str, rate: str = "tuned") -> np.ndarray:
    """A method's final training loss at the `SMALLEST` or `LARGEST` shared rate, or at its own."""
    kind = rate if rate == "tuned" else task.of(rate)
    return task[f"{method}, {kind}"]["training_loss"]


def start(task: TaskView) -> np.ndarray:
    """The loss of a net that learned nothing."""
    return np.asarray(task.of("initial_loss"), np.float64)


def pair(rate: str) -> Quantity:
    """The forward gradient's final loss beside backprop's."""
    return lambda task: (loss(task, "gaussian", rate), loss(task, "backprop", rate))


def gap(task: TaskView, forward: np.ndarray) -> np.ndarray:
    """How far a loss is behind backprop's, in units of backprop's own progress."""
    base = loss(task, "backprop", SMALLEST)
    return (forward - base) / (start(task) - base)


def slopes(ladder: LadderView) -> np.ndarray:
    """Per seed, the slope of log(loss ratio) against log(parameters)."""
    rungs = [rung for rung in ladder.rungs if {"gaussian, tuned", "backprop, tuned"} <= {*rung}]
    if len(rungs) < 3:
        raise KeyError("ladder of at least three widths")
    ratios = [np.log(np.divide(*pair("tuned")(rung))) for rung in rungs]
    return declare.slope_of([rung.size for rung in rungs], ratios, per=math.e)


def _keeps_up(id: str, statement: str, tasks: tuple[str, ...], **declared: Any) -> Claim:
    return declare.derive(
        id,
        statement,
        lambda task: gap(task, loss(task, "gaussian", SMALLEST)),
        quantity="(forward gradient's loss - backprop's loss) / (initial loss - backprop's loss), "
        "smallest shared rate",
        region=(-0.1, 0.1),
        reason="a tenth of backprop's own progress: an untrained net scores 1",
        fails={"untrained net": (lambda task: gap(task, start(task)), _UNTRAINED)},
        tasks=tasks,
        **declared,
    )


_UNTRAINED = "a net that learned nothing must not pass for one that kept up"
CLAIMS = (
    _keeps_up(
        "F4a",
        "At a small learning rate shared by both, forward gradients lower the training loss per "
        "iteration as backprop does.",
        PAPER_TASKS,
        reported="final validation loss about 2.21 for both, at learning rate 2e-5",
        where="Figure 4, upper row",
        known="figure",
    ),
    declare.derive(
        "F4b",
        "At that shared rate backprop does learn, so that keeping up with it means something.",
        lambda task: start(task) - loss(task, "backprop", SMALLEST),
        quantity="initial loss - backprop's final training loss (nats), smallest shared rate",
        region=(0.05, math.inf),
        reason="0.05 nats is a fiftieth of the loss of a uniform guess over ten classes",
        fails={"untrained net": (lambda task: start(task) - start(task), _UNTRAINED)},
        tasks=(*PAPER_TASKS, *OWN_TASKS),
        source="derived",
    ),
    declare.derive(
        "F4c",
        "At a larger learning rate shared by both, forward gradients are ahead of backprop per "
        "iteration.",
        pair(LARGEST),
        quantity="forward gradient's training loss / backprop's, largest shared rate",
        statistic="paired ratio",
        region=(-math.inf, 1.0),
        reason="the sign of the difference, as the paper's figure shows it",
        fails={
            "untrained net": (
                lambda task: (start(task), loss(task, "backprop", LARGEST)),
                _UNTRAINED,
            )
        },
        tasks=PAPER_TASKS,
        reported="final validation loss about 0.5 against about 0.88, at learning rate 2e-4",
        where="Figure 4, lower row",
        known="figure",
    ),
    declare.compare(
        "F5c",
        "At a shared learning rate, forward gradients reach backprop's lowest validation loss in "
        "less time than backprop.",
        "gaussian",
        "backprop",
        on="seconds_to_backprop",
        quantity="time of the forward gradient / time of backprop to that loss, as steps times the "
        "median time of a step; never reached counts as infinite",
        statistic="paired ratio",
        region=(-math.inf, 1.0),
        reason="1 is no difference",
        fails={},
        tasks=PAPER_TASKS,
        reported="T_f / T_b = 0.567 at rate 2e-5 and 0.229 at rate 2e-4",
        where="Figure 4; the meaning of T is inferred from its guide lines",
        known="figure",
        about="measurements",
    ),
    declare.derive(
        "F7a",
        "With the learning rate tuned for each method, backprop is far ahead after the same number "
        "of iterations.",
        pair("tuned"),
        quantity="forward gradient's final training loss / backprop's, tuned rates",
        statistic="paired ratio",
        region=(4.0, math.inf),
        reason="a factor of four is far beyond what a seed or a step of the grid changes",
        fails={
            SMALLEST: (
                pair(SMALLEST),
                "at an untuned rate the two are close: the gap must come from tuning",
            )
        },
        tasks=PAPER_TASKS,
        source="critic",
        reported="test loss 0.332 for forward gradients against 0.000 for backprop, MNIST MLP, "
        "50 epochs",
        where="Rike and Forland (2022), Table I",
        known="code",
    ),
    declare.across(
        "F7b",
        "The gap between tuned forward gradients and tuned backprop grows with the number of "
        "parameters.",
        slopes,
        quantity="slope of log(loss ratio) against log(parameters) over the ladder of widths, "
        "per seed",
        region=(0.0, math.inf),
        reason="0 is a gap that does not depend on size",
        fails={
            "the same slopes, centred": (
                lambda ladder: slopes(ladder) - slopes(ladder).mean(),
                "slopes around 0 must not pass for growth",
            )
        },
        tasks=("ladder",),
        source="derived",
    ),
    _keeps_up(
        "F11a",
        "Logistic regression, too, descends at a small shared learning rate as under backprop.",
        ("logistic",),
        source="derived",
    ),
    _keeps_up(
        "F11b",
        "A small CNN, too, descends at a small shared learning rate as under backprop.",
        ("cnn",),
        source="derived",
    ),
)
