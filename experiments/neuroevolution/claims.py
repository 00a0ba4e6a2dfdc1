"""The claims, declared before any run, and the values that only they need."""

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
    LadderView,
    TaskView,
    across,
    compare,
    derive,
    slope,
    slope_of,
    untestable,
)

TARGET = 0.95  # validation accuracy
LOW_TARGET = 0.9  # low enough for the smallest population and network
SHARES = (0.25, 0.5, 1.0)  # of the budget
RIVALS = ("openes", "ars", "sep_cma_es")
PAGE = "benchmark page of the authors' repository, one seed"


def progress(
    task: Mapping[str, Any], curves: Mapping[str, np.ndarray], target: float
) -> dict[str, Any]:
    """Each arm's steps and examples to a target validation accuracy, and its log-odds.

    The log-odds are of validation accuracy at `SHARES` of the steps, (seeds, shares), each averaged
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
        arms[name] = {**reached, "log_odds": np.stack(odds, axis=-1)}
    return {"arms": arms}


def log_odds(accuracy: np.ndarray, images: int = 200) -> np.ndarray:
    """log(right / wrong) among ``images``, with half an image added to both."""
    right = np.clip(np.where(np.isfinite(accuracy), accuracy, 0.0), 0, 1) * images
    return np.log((right + 0.5) / (images - right + 0.5))


def _climb(task: TaskView, arm: str) -> np.ndarray:
    """Slope of an arm's log-odds per doubling of the budget, seed by seed."""
    found = task[arm]  # notes the edge of its grid
    steps = [share * found.values["steps"] for share in SHARES]
    return slope_of(steps, list(found["log_odds"].T))


def _lead(task: TaskView, arm: str, metric: str) -> np.ndarray:
    """An arm's lead over the rival that is best on validation data."""
    means = {rival: task[rival][f"validation_{metric}"].mean() for rival in RIVALS}
    return task[arm][f"test_{metric}"] - task[max(means, key=means.__getitem__)][f"test_{metric}"]


def _lag(rung: TaskView, arm: str) -> np.ndarray:
    """log2 of the examples that an arm needs over those of the gradient."""
    reached = [np.log2(rung[name]["examples_to_target"]) for name in (arm, "gradient")]
    with np.errstate(invalid="ignore"):
        return reached[0] - reached[1]


BUDGET = "64 members, 2,000 generations of 256 images"
FAULTS = {
    "random_search": "it has the same evaluations; it would pass on a task that chance solves",
    "shuffled": "PGPE on other members' scores must not learn; it would pass if the start solved "
    "the task, or if the shuffle was not applied",
}

DIGITS = (
    derive(
        "E1a",
        "An evolution strategy (PGPE) classifies 8x8 digits with more than 95% accuracy.",
        lambda task: task["pgpe"]["test_accuracy"],
        quantity=f"test accuracy of PGPE's mean ({BUDGET})",
        region=(0.95, math.inf),
        reason="a threshold for 8x8 digits set after two pilot runs at 97%",
        fails={
            arm: (lambda task, arm=arm: task[arm]["test_accuracy"], why)
            for arm, why in FAULTS.items()
        },
        source="paper",
        reported="> 98% on MNIST with a ConvNet",
        where="README of the authors' repository",
        headline=True,
    ),
    derive(
        "E1b",
        "PGPE keeps improving on digits with more generations, to the end of the budget.",
        lambda task: _climb(task, "pgpe"),
        quantity="slope of PGPE's validation log-odds at a quarter, half and all of the "
        "generations, per doubling",
        region=(0.1, math.inf),
        reason="about 10% fewer errors; less would not be worth twice the generations",
        fails={
            "shuffled": (
                lambda task: _climb(task, "shuffled"),
                "shuffled scores must not improve; they would if the shuffle was not applied",
            )
        },
        source="derived",
    ),
    derive(
        "E4a",
        "On digits, PGPE is among the best simple evolution strategies.",
        lambda task: _lead(task, "pgpe", "accuracy"),
        quantity="test accuracy, PGPE - the best of OpenES, ARS and sep-CMA-ES by validation, "
        "tuned alike at equal evaluations",
        region=(-0.01, math.inf),
        reason="half the gap between the best and the worst of the benchmark page's four",
        fails={
            "random_search": (
                lambda task: _lead(task, "random_search", "accuracy"),
                "it would pass on a task that chance solves",
            )
        },
        source="paper",
        reported="PGPE .9743, OpenES .9669, ARS .9610, sep-CMA-ES .9545 on MNIST",
        where=PAGE,
        known="code",
    ),
    compare(
        "E5a",
        "On digits, PGPE needs more than 3 times as many examples as gradients.",
        "pgpe",
        "gradient",
        on="examples_to_target",
        statistic="median ratio",
        quantity="examples evaluated until validation accuracy is .95: PGPE / Adam on gradients",
        region=(3.0, math.inf),
        reason="a gradient costs about three forward passes, so up to 3 the two are equal in "
        "compute",
        fails={
            "gradient_twice": "Adam with two updates per step must fail; it would pass if its "
            "steps were charged for a whole population"
        },
        source="paper",
        reported="gradient descent is advised for supervised tasks",
        where="README of the authors' repository",
        headline=True,
    ),
    compare(
        "E5b",
        "Given as many examples as PGPE, gradients end at a higher accuracy on digits.",
        "gradient_at_equal_examples",
        "pgpe",
        on="test_accuracy",
        region=ABOVE_ZERO,
        reason="only the sign is claimed",
        fails={"shuffled": "it learns nothing; it would pass if the difference were reversed"},
        source="derived",
    ),
    derive(
        "C1",
        "With shuffled scores PGPE learns nothing: accuracy stays at chance.",
        lambda task: task["shuffled"]["test_accuracy"],
        quantity="test accuracy when members get each other's scores",
        region=(0.0, 0.2),
        reason="chance is .1, and an untrained network stays below .2",
        fails={
            "pgpe": (
                lambda task: task["pgpe"]["test_accuracy"],
                "PGPE must learn; it would pass if every arm were shuffled, or if the test did not "
                "use the trained parameters",
            )
        },
        source="derived",
    ),
    compare(
        "C2",
        "With the sign of its update flipped, PGPE ends worse than it started.",
        "flipped",
        "untrained",
        on="test_loss",
        statistic="paired ratio",
        region=(1.0, math.inf),
        reason="a ratio above 1 is a higher loss",
        fails={"pgpe": "PGPE must improve; it would pass if the sign were flipped in every arm"},
        source="derived",
    ),
)

POPULATIONS = (
    slope(
        "E2a",
        "A larger population needs fewer generations, but more examples.",
        lambda rung: np.log2(rung["pgpe"]["steps_to_target"]),
        quantity=f"log2 of PGPE's generations until validation accuracy is {LOW_TARGET:g}",
        region=(-1.0, 0.0),
        reason="at 0 more members save no generations; at -1 they save as much as they cost",
        fails={
            "gradient": (
                lambda rung: np.log2(rung["gradient"]["steps_to_target"]),
                "it has no population; it would pass if the sizes differed in anything else",
            )
        },
        source="derived",
    ),
)

WIDTHS = (
    slope(
        "E5c",
        "The gradient's lead over PGPE grows with the number of parameters.",
        lambda rung: _lag(rung, "pgpe"),
        quantity=f"log2 of examples until validation accuracy is {LOW_TARGET:g}, PGPE / gradient",
        region=(0.2, math.inf),
        reason="a fifth of the slope expected from the error of PGPE's gradient, (d + 1) / (n / 2)",
        fails={
            "gradient_twice": (
                lambda rung: _lag(rung, "gradient_twice"),
                "Adam with two updates per step; it would pass if the lead came from how examples "
                "are counted at each width",
            )
        },
        source="derived",
    ),
)


CART_POLE = (
    derive(
        "E1c",
        "PGPE solves the easy cart-pole swing-up, with a return above 850 of 1,000.",
        lambda task: task["pgpe"]["test_return"],
        quantity="mean return of PGPE's mean on 2,000 test episodes (64 members, 4 episodes each, "
        "400 generations)",
        region=(850.0, math.inf),
        reason="a threshold set before any run",
        fails={
            arm: (lambda task, arm=arm: task[arm]["test_return"], why)
            for arm, why in FAULTS.items()
        },
        tasks=("easy",),
        source="paper",
        reported="935.4",
        where=PAGE,
        known="code",
    ),
    untestable(
        "E1d",
        "PGPE solves the hard cart-pole swing-up, with a return above 600 of 1,000.",
        "A third of the hard starts leave the track whatever the policy does, so 600 is close to "
        "the maximum. At a fraction of the public episodes, generations and hidden units, a miss "
        "would say nothing about the paper.",
        quantity="mean return of PGPE's mean on test episodes",
        region=(600.0, math.inf),
        reason="a threshold set before any run",
        reported="631.1",
        where=PAGE,
        known="code",
    ),
    untestable(
        "E4b",
        "On the cart-pole swing-up, PGPE is among the best simple evolution strategies.",
        "A seed that fails to swing the pole up scores hundreds of points less than one that does, "
        "so ten seeds cannot resolve the few points between the benchmark page's strategies.",
        quantity="test return, PGPE - the best of its three rivals, easy starts",
        region=(-17.0, math.inf),
        reason="half the gap between the best and the worst of the benchmark page's four on easy "
        "starts",
        reported="easy / hard: PGPE 935.4 / 631.1, OpenES 929.4 / 604.7, ARS 902.1 / 666.6, "
        "sep-CMA-ES 924.3 / 627.0",
        where=PAGE,
        known="code",
    ),
)


def _ratio(task: TaskView, way: str, other: str) -> np.ndarray:
    return task[way]["seconds"] / task[other]["seconds"]


def _first_doublings(ladder: LadderView, each: bool = False) -> np.ndarray:
    """Slope of log2 of the fastest program's seconds over the three smallest populations.

    With ``each``, of the seconds per member.
    """
    rungs = ladder.rungs[:3]
    if len(rungs) < 3:
        raise KeyError("a ladder of three populations")
    seconds = [rung["fastest_program"]["seconds"] / (rung.size if each else 1) for rung in rungs]
    return slope_of([rung.size for rung in rungs], [np.log2(values) for values in seconds])


AN_ACCELERATOR = "It needs an accelerator; the presets are for two CPU cores."

COST = (
    derive(
        "E2c",
        "One program that evaluates all members at once is faster than the fastest loop over them.",
        lambda task: _ratio(task, "fastest_program", "fastest_loop"),
        quantity="time to evaluate all members: the faster of vmap and a scan over vmap / the "
        "fastest of four loops",
        region=(0.0, 0.8),
        reason="1.25 times as fast, more than two timings of one program differ",
        fails={
            "vmap_again": (
                lambda task: _ratio(task, "vmap_again", "vmap"),
                "the same program timed twice must not look faster",
            )
        },
        source="derived",
        about="measurements",
        headline=True,
    ),
    slope(
        "E2d",
        "The gain of one program over the fastest loop grows by less than 0.1 doublings per "
        "doubling of the population.",
        lambda rung: np.log2(_ratio(rung, "fastest_loop", "fastest_program")),
        quantity="log2 of seconds, fastest loop / fastest program",
        region=(-math.inf, 0.1),
        reason="cores that are busy from the start gain nothing from more members; 0.1 per "
        "doubling is a factor of 1.5 over six doublings",
        fails={
            "fastest_loop": (
                lambda rung: np.log2(rung["fastest_loop"]["seconds"]),
                "the loop's own seconds must grow with the population; they would not if loops "
                "skipped members",
            )
        },
        source="derived",
        about="measurements",
    ),
    across(
        "E3a",
        "No member is free: evaluation time grows with the population from the start.",
        _first_doublings,
        quantity="slope of log2 of the fastest program's seconds over the three smallest "
        "populations, per doubling",
        region=(0.2, math.inf),
        reason="a slope below .2 counts as flat",
        fails={
            "each member": (
                lambda ladder: _first_doublings(ladder, each=True),
                "seconds per member must not grow; they would if time grew faster than the "
                "population, when memory runs out say",
            )
        },
        source="derived",
        about="measurements",
    ),
    untestable(
        "E2",
        "On an accelerator, evaluating a larger population is nearly free.",
        AN_ACCELERATOR,
        quantity="seconds, fastest CPU loop / one program on a GPU, 1,024 members",
        region=(10.0, math.inf),
        reason="at least ten times faster at 1,024 members",
        reported="minutes on one accelerator, hours or days on CPUs",
        where="abstract",
        known="abstract",
    ),
    untestable(
        "E3",
        "Time does not grow with the population until the device is fully used.",
        AN_ACCELERATOR,
        quantity="slope of log time against log population below the knee",
        region=(-math.inf, 0.2),
        reason="a fifth of linear growth",
        source="derived",
    ),
    untestable(
        "E6",
        "A search speeds up almost linearly with the number of devices.",
        "It needs several accelerators; the presets are for two CPU cores.",
        quantity="speed-up of ES-CLIP against the number of devices",
        reason="“almost linearly” is the paper's wording",
        reported="almost linearly with the number of devices",
        where="README of the authors' repository",
    ),
    untestable(
        "E1",
        "PGPE reaches the benchmark page's accuracy on MNIST with the public ConvNet.",
        "A generation at the public settings takes a second or more on a CPU core, so ten seeds of "
        "2,000 generations take hours.",
        quantity="test accuracy on MNIST with 64 members, a batch of 1,024, 2,000 generations",
        region=(0.97, math.inf),
        reason="the page's figure minus half a point",
        reported=".9743",
        where=PAGE,
        known="code",
    ),
)


def answer(found: Answers) -> str:
    """Is one program for a population faster, does PGPE learn, and what do gradients need?"""
    said = []
    with contextlib.suppress(KeyError):
        time = found["E2c"]
        at = f" (with {time.part} members, the weakest case)" if time.part else ""
        said.append(
            f"{time.word}: evaluating all members in one program took {time:.2f} times as long as "
            f"the fastest loop over them{at}. The paper's speed-up is on accelerators, and this is "
            "not tested."
        )
    with contextlib.suppress(KeyError):
        said.append(f"PGPE reached a test accuracy of {found['E1a']:.1%} on 8x8 digits.")
    with contextlib.suppress(KeyError):
        said.append(f"It needed {found['E5a']:.0f} times as many examples as gradients.")
    return " ".join(said)
