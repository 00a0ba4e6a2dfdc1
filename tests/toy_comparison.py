"""A paper in one short file, for tests of the library: least squares by gradient descent."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np

from jaxtrends import charts, declare, models, train
from jaxtrends.claims import Paper
from jaxtrends.comparison import Arm, Comparison
from jaxtrends.declare import BELOW_ZERO
from jaxtrends.estimators import backprop
from jaxtrends.experiment import Experiment
from jaxtrends.running import main
from jaxtrends.settings import Names, Schedule, Settings, Sizes

TASKS = ("plain", "noisy")


@dataclass(frozen=True)
class Fit:
    """What is fitted."""

    tasks: Names[TASKS] = TASKS
    """Tasks."""
    arms: tuple[str, ...] = ()
    """Arms to train; all if none is named."""
    widths: Sizes = (2, 4, 8)
    """Inputs of the regression."""
    schedule: Schedule = field(
        default_factory=lambda: Schedule(
            steps=40, log_every=4, grid=(0.01, 0.1, 0.3), extensions=1, tuning_seeds=2
        )
    )
    """How."""


@dataclass(frozen=True)
class Config(Settings):
    """Settings of the toy."""

    seeds: int = 4
    """How many seeds."""
    fit: Fit = field(default_factory=Fit)
    """The study."""


def squared(outputs, labels):
    return jnp.mean((outputs[:, 0] - labels) ** 2)


def weighted(lane):
    return lambda outputs, labels: lane["weight"] * squared(outputs, labels)


@functools.cache
def trainer(width):
    """Least squares whose loss reads its lane: a weight of 0 learns nothing."""
    return train.supervised(
        models.mlp((width, 1)),
        train.PerLane(
            lambda lane: lambda outputs, labels: lane["weight"] * squared(outputs, labels)
        ),
        {"error": squared},
        backprop,
        train.decayed_sgd(0.0),
        batch_size=8,
    )


def data(setting, run):
    """Labels that are the sum of the inputs, with noise on one of the tasks."""
    random = np.random.default_rng(0)
    inputs = random.standard_normal((192, int(setting.size))).astype(np.float32)
    noise = 0.3 * (setting.task == "noisy") * random.standard_normal(192)
    labels = (inputs.sum(axis=1) + noise).astype(np.float32)
    names = ("train", "validation", "test")
    return {n: (inputs[i * 64 :][:64], labels[i * 64 :][:64]) for i, n in enumerate(names)}


def descent(weight=1.0, **more):
    return lambda setting: Arm(
        trainer(int(setting.size)), {"weight": weight}, {"parameters": setting.size + 1}, **more
    )


FIT = Comparison(
    about="least squares",
    arms={
        "descent": descent(),
        "still": descent(0.0, rate_of="descent"),
        "further": descent(after="descent"),
    },
    metric="error",
    unit="squared",
    data=data,
    ladder="widths",
    size="inputs",
    own=True,
    figures=(
        charts.over("flops"),
        charts.difference("descent", "still"),
        charts.finals("parameters"),
        charts.climb(effect=("descent", "still")),
    ),
    claims=(
        declare.compare(
            "T1",
            "Descent learns.",
            "descent",
            "still",
            on="test_error",
            region=BELOW_ZERO,
            reason="the sign",
            fails={"still": "what learned nothing must not pass"},
            headline=True,
        ),
        declare.slope(
            "T2",
            "More inputs make more to learn.",
            lambda rung: np.log(rung["still"]["test_error"]),
            quantity="log error of what learned nothing",
            region=declare.ABOVE_ZERO,
            reason="the sign",
            fails={"as it is": (lambda rung: 0 * rung["still"]["test_error"], "no slope at all")},
            tasks=("plain",),
        ),
        declare.untestable("T3", "It wins.", "There is nothing to win.", quantity="wins"),
    ),
)


EXPERIMENT = Experiment(
    name="toy_comparison",
    paper=Paper("gauss1809", "Theoria motus", "Gauss", 1809, "0000.00000", "@book{gauss1809}"),
    about="Least squares.",
    presets={"smoke": Config(), "default": Config(), "full": Config()},
    studies={"fit": FIT},
    scale="Small.",
    rigging="By a weight of zero.",
    departures=(),
    answer=lambda found: f"Descent lowers the error by {found['T1']:.2f}.",
)


if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
