"""What is claimed, declared before any run, and the values that only claims need."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxtrends import tuning
from jaxtrends.claims import Answers
from jaxtrends.declare import (
    ABOVE_ZERO,
    BELOW_ZERO,
    TaskView,
    compare,
    derive,
    slope,
    slope_of,
    untestable,
)

TARGET = 0.95  # validation accuracy: that of the fact sheet
LOW_TARGET = 0.9  # one that the smallest population and network reach too
SHARES = (0.25, 0.5, 1.0)  # of the budget
RIVALS = ("openes", "ars", "sep_cma_es")
PAGE = "benchmark page of the authors' repository, one seed"


def progress(
    task: Mapping[str, Any], curves: Mapping[str, np.ndarray], target: float
) -> dict[str, Any]:
    """Arms with steps and examples until validation accuracy first is at a target, and log-odds.

    The log-odds are of validation accuracy at `SHARES` of the steps, (shares, seeds), each the mean
    over the tenth of the curve that ends there.
    """
    arms = {}
    for name, arm in task["arms"].items():
        curve = curves[f"{name}/validation_accuracy"]
        steps = tuning.first_reach(curve, np.full(len(curve), target), task["log_every"], "higher")
        ends = [max(1, round(share * curve.shape[1])) for share in SHARES]
        odds = [log_odds(tuning.final(curve[:, :end], "higher")) for end in ends]
        reached = {"steps_to_target": steps}
        if "examples" in arm["facts"]:
            reached["examples_to_target"] = steps * arm["facts"]["examples"]
        metrics = {**arm["metrics"], **reached}
        arms[name] = {**arm, "metrics": metrics, "log_odds": np.stack(odds)}
    return {"arms": arms}


def log_odds(accuracy: np.ndarray, images: int = 200) -> np.ndarray:
    """ln of right to wrong answers among so many images, half of one added to both."""
    right = np.clip(np.where(np.isfinite(accuracy), accuracy, 0.0), 0, 1) * images
    return np.log((right + 0.5) / (images - right + 0.5))


def _climb(task: TaskView, arm: str) -> np.ndarray:
    """Slope of an arm's log-odds per doubling of the budget, seed by seed."""
    found = task[arm]  # notes the edge of its grid
    steps = [share * found.values["steps"] for share in SHARES]
    return slope_of(steps, list(np.asarray(found.values["log_odds"], np.float64)))


def _lead(task: TaskView, arm: str, metric: str) -> np.ndarray:
    """An arm's lead over the rival that validation data put first."""
    means = {rival: task[rival][f"validation_{metric}"].mean() for rival in RIVALS}
    return task[arm][f"test_{metric}"] - task[max(means, key=means.__getitem__)][f"test_{metric}"]


def _lag(rung: TaskView) -> np.ndarray:
    """How many doublings of examples PGPE takes beyond the gradient."""
    reached = [np.log2(rung[arm]["examples_to_target"]) for arm in ("pgpe", "gradient")]
    with np.errstate(invalid="ignore"):
        return reached[0] - reached[1]


BUDGET = "64 members, 2,000 generations of 256 images"
FAULTS = {
    "random_search": "at equal evaluations; a task that chance solves would let it pass",
    "shuffled": "scores of other members; a leak of labels into the test would let it pass",
    "flipped": "its update's sign is turned; a sign that does not matter would let it pass",
}

DIGITS = (
    derive(
        "E1a",
        "An evolution strategy (PGPE) learns to classify: digits by more than 95 %.",
        lambda task: task["pgpe"]["test_accuracy"],
        quantity=f"test accuracy of PGPE's mean ({BUDGET})",
        region=(0.95, math.inf),
        reason="the fact sheet's threshold for 8 x 8 digits, from two pilot runs of 97 %",
        fails={
            arm: (lambda task, arm=arm: task[arm]["test_accuracy"], why)
            for arm, why in FAULTS.items()
        },
        source="paper",
        reported="> 98 % on MNIST with a ConvNet",
        where="README of the authors' repository",
        headline=True,
    ),
    derive(
        "E1b",
        "More generations help: log-odds of a right answer rise with the budget.",
        lambda task: _climb(task, "pgpe"),
        quantity="slope of PGPE's validation log-odds over a quarter, a half and all of the "
        "generations, per doubling",
        region=ABOVE_ZERO,
        reason="the sign: it still learns at the end of the budget",
        fails={
            "shuffled": (
                lambda task: _climb(task, "shuffled"),
                "drift of a search that learns nothing must not look like learning",
            )
        },
        source="derived",
    ),
    derive(
        "E4a",
        "PGPE is among the best of simple evolution strategies, on digits.",
        lambda task: _lead(task, "pgpe", "accuracy"),
        quantity="test accuracy of PGPE - that of the best of OpenES, ARS and sep-CMA-ES by "
        "validation, tuned alike at equal evaluations",
        region=(-0.01, math.inf),
        reason="half of what lies between the best and the worst of the page's four",
        fails={
            "random_search": (
                lambda task: _lead(task, "random_search", "accuracy"),
                "a margin wide enough for anything would let it pass",
            )
        },
        source="paper",
        reported="PGPE .9743, OpenES .9669, ARS .9610, sep-CMA-ES .9545 on MNIST",
        where=PAGE,
        known="code",
    ),
    compare(
        "E5a",
        "Gradients are far cheaper on supervised tasks: PGPE takes more than 3 times the examples.",
        "pgpe",
        "gradient",
        on="examples_to_target",
        statistic="median ratio",
        quantity="examples evaluated until validation accuracy is .95: PGPE / Adam on gradients",
        region=(3.0, math.inf),
        reason="a gradient costs about three forward passes: up to 3 the two are equal in "
        "arithmetic",
        fails={"gradient": "examples of a step counted alike for both would let it pass"},
        source="paper",
        reported="gradient descent is advised for supervised tasks",
        where="README of the authors' repository",
        headline=True,
    ),
    compare(
        "E5b",
        "Given as many examples, gradients end with the higher accuracy.",
        "gradient_at_equal_examples",
        "pgpe",
        on="test_accuracy",
        region=ABOVE_ZERO,
        reason="the sign",
        fails={"shuffled": "arms that are swapped would let it pass"},
        source="derived",
    ),
    derive(
        "C1",
        "Shuffled scores teach nothing: accuracy stays at chance.",
        lambda task: task["shuffled"]["test_accuracy"],
        quantity="test accuracy where members get each other's scores",
        region=(0.0, 0.2),
        reason="chance is .1; .2 is beyond what a start without learning scores",
        fails={"pgpe": (lambda task: task["pgpe"]["test_accuracy"], "a region with room for all")},
        source="derived",
    ),
    compare(
        "C2",
        "With the sign of its update turned PGPE gets worse than it began.",
        "flipped",
        "untrained",
        on="test_loss",
        unit="nats",
        region=ABOVE_ZERO,
        reason="the sign",
        fails={"pgpe": "a loss that any search raises would let it pass"},
        source="derived",
    ),
)

POPULATIONS = (
    slope(
        "E2a",
        "A larger population takes fewer generations.",
        lambda rung: np.log2(rung["pgpe"]["steps_to_target"]),
        quantity=f"log2 of PGPE's generations until validation accuracy is {LOW_TARGET:g}",
        region=BELOW_ZERO,
        reason="the sign: members that are free are then worth having",
        fails={
            "examples": (
                lambda rung: np.log2(rung["pgpe"]["examples_to_target"]),
                "examples in place of generations must not fall too",
            )
        },
        source="derived",
    ),
    slope(
        "E2b",
        "A larger population takes more examples: members are not worth what they cost one by one.",
        lambda rung: np.log2(rung["pgpe"]["examples_to_target"]),
        quantity=f"log2 of the examples PGPE evaluates until validation accuracy is {LOW_TARGET:g}",
        region=ABOVE_ZERO,
        reason="the sign: a slope of 0 were a perfect use of more members",
        fails={
            "generations": (
                lambda rung: np.log2(rung["pgpe"]["steps_to_target"]),
                "generations in place of examples must not rise too",
            )
        },
        source="derived",
    ),
)

WIDTHS = (
    slope(
        "E5c",
        "The gradient's lead grows with the number of parameters.",
        _lag,
        quantity=f"log2 of examples until validation accuracy is {LOW_TARGET:g}, PGPE / gradient",
        region=ABOVE_ZERO,
        reason="the error of PGPE's gradient grows with the parameters, (d + 1) / (n / 2)",
        fails={
            "equal lag": (
                lambda rung: 0 * rung["pgpe"]["test_accuracy"],
                "a lead that does not change with the width has no slope",
            )
        },
        source="derived",
    ),
)


def _solves(id: str, kind: str, threshold: float, reported: str) -> Any:
    names = [arm for arm in FAULTS if arm != "flipped"]
    return derive(
        id,
        f"PGPE solves the {kind} cart-pole swing-up: a return above {threshold:g} of 1,000.",
        lambda task: task["pgpe"]["test_return"],
        quantity="mean return of PGPE's mean on 100 test episodes (64 members, 4 episodes each, "
        "400 generations)",
        region=(threshold, math.inf),
        reason="the fact sheet's threshold, set before any run of ours",
        fails={arm: (lambda task, arm=arm: task[arm]["test_return"], FAULTS[arm]) for arm in names},
        tasks=(kind,),
        source="paper",
        reported=reported,
        where=PAGE,
        known="code",
    )


CART_POLE = (
    _solves("E1c", "easy", 850.0, "935.4"),
    _solves("E1d", "hard", 600.0, "631.1"),
    derive(
        "E4b",
        "PGPE is among the best of simple evolution strategies, on the swing-up.",
        lambda task: _lead(task, "pgpe", "return"),
        quantity="test return of PGPE - that of the best of OpenES, ARS and sep-CMA-ES by "
        "validation, tuned alike at equal episodes",
        region=(-31.0, math.inf),
        reason="half of what lies between the best and the worst of the page's four on hard starts",
        fails={
            "random_search": (
                lambda task: _lead(task, "random_search", "return"),
                "a margin wide enough for anything would let it pass",
            )
        },
        source="paper",
        reported="easy / hard: PGPE 935.4 / 631.1, OpenES 929.4 / 604.7, ARS 902.1 / 666.6, "
        "sep-CMA-ES 924.3 / 627.0",
        where=PAGE,
        known="code",
    ),
)


def _faster(rung: TaskView, loop: str) -> np.ndarray:
    return np.log2(rung[loop]["seconds"] / rung["fastest_program"]["seconds"])


COST = (
    compare(
        "E2c",
        "On a CPU too one program for all members is faster than the fastest loop over them.",
        "fastest_program",
        "fastest_loop",
        on="seconds",
        statistic="paired ratio",
        quantity="seconds of one evaluation of all members: the faster of vmap and a scan over "
        "vmap / the fastest loop",
        region=(0.0, 0.8),
        reason="1.25 times as fast: beyond what two timings of one program differ by",
        fails={"fastest_loop": "a baseline that is timed otherwise would let it pass"},
        source="derived",
        about="measurements",
        headline=True,
    ),
    slope(
        "E2d",
        "On a CPU the gain of one program does not grow with the population.",
        lambda rung: _faster(rung, "fastest_loop"),
        quantity="log2 of seconds, fastest loop / fastest program",
        region=(-math.inf, 0.1),
        reason="two cores are full from the start; 0.1 for each doubling were 1.5 over the ladder",
        fails={
            "free members": (
                lambda rung: _faster(rung, "fastest_loop") * 0 + math.log2(rung.size),
                "a program that takes the same time for any population must not pass",
            )
        },
        source="derived",
        about="measurements",
    ),
    slope(
        "E3a",
        "On a CPU no member is free: time grows with the population from the start.",
        lambda rung: np.log2(rung["fastest_program"]["seconds"]),
        quantity="log2 of seconds of the fastest program",
        region=(0.2, math.inf),
        reason="below a slope of .2 the fact sheet calls time flat",
        fails={
            "constant time": (
                lambda rung: 0 * rung["fastest_program"]["seconds"],
                "time that does not depend on the population is flat",
            )
        },
        source="derived",
        about="measurements",
    ),
    untestable(
        "E2",
        "On an accelerator the population is nearly free.",
        "It takes an accelerator; this machine has two CPU cores.",
        quantity="seconds of the fastest CPU loop / of one program on a GPU, 1,024 members",
        region=(10.0, math.inf),
        reason="at least ten times faster at 1,024 members",
        reported="minutes on one accelerator, hours or days on CPUs",
        where="abstract",
        known="abstract",
    ),
    untestable(
        "E3",
        "Time is flat in the population until the device is full.",
        "It takes an accelerator; this machine has two CPU cores.",
        quantity="slope of log time against log population below the knee",
        region=(-math.inf, 0.2),
        reason="a fifth of proportional growth",
        source="derived",
    ),
    untestable(
        "E6",
        "Several devices speed a search up almost linearly.",
        "One machine without accelerators has no devices to add.",
        quantity="speed-up over devices of ES-CLIP",
        reason="almost linear, the paper's words",
        reported="almost linearly with the number of devices",
        where="README of the authors' repository",
    ),
    untestable(
        "E1",
        "PGPE reaches the paper's accuracy on MNIST with its ConvNet.",
        "A generation of the paper's settings takes a second or more on a CPU core: ten seeds of "
        "2,000 generations take hours.",
        quantity="test accuracy on MNIST at 64 members, a batch of 1,024, 2,000 generations",
        region=(0.97, math.inf),
        reason="the page's figure less half a point",
        reported=".9743",
        where=PAGE,
        known="code",
    ),
)


def answer(found: Answers) -> str:
    """The headline claims and their ladders, as far as this run has them."""
    said = [
        f"On 8 x 8 digits PGPE reaches an accuracy of {found['E1a']:.3f}; each doubling of its "
        f"generations changes the log-odds by {found['E1b']:.2f}",
        f"Gradients get to .95 with {found['E5a']:.0f} times fewer examples",
        f"On CPU cores one program for all members takes {found['E2c']:.2f} of the time of the "
        "fastest loop over them; an accelerator, where a population is claimed to be almost free, "
        "was not there",
    ]
    with contextlib.suppress(KeyError):  # a run without this ladder
        said[1] += f", a lead that changes by {found['E5c']:.2f} doublings with each of the width"
    return ". ".join(said) + "."
