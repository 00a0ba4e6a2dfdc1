"""A small experiment for tests of the driver: ``python toy_experiment.py FLAGS``."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from jaxtrends import distributed, losses, models, study_run, train
from jaxtrends.claims import Claim, Evidence, Paper
from jaxtrends.design import Study
from jaxtrends.errors import choose, require_positive
from jaxtrends.estimators import backprop
from jaxtrends.experiment import Experiment
from jaxtrends.running import main
from jaxtrends.study import Figure, Panel, Series, StudyResult, Table


@dataclass(frozen=True)
class Config:
    """Settings of the toy."""

    studies: tuple[str, ...] = ()
    """Studies to run."""
    dataset: str = "digits"
    """The data set."""
    seed: int = 0
    """First seed."""
    seeds: int = 3
    """How many seeds."""
    steps: int = 400
    """Training steps."""


def digits(run, config):
    """The data set's splits as the trainer takes them."""
    loaded = run.dataset(config.dataset)
    splits = ("train", "validation", "test")
    return {name: (getattr(loaded, name).inputs, getattr(loaded, name).labels) for name in splits}


def training(config, run):
    """Logistic regression on digits, some seeds."""
    data = digits(run, config)
    trainer = train.supervised(
        models.mlp((64, 10)),
        losses.cross_entropy,
        {"accuracy": losses.accuracy},
        backprop,
        train.decayed_sgd(1e-4),
        batch_size=16,
    )
    seeds = np.arange(config.seed, config.seed + config.seeds, dtype=np.uint32)
    lanes = {"seed": seeds, "learning_rate": np.full(config.seeds, 0.1, np.float32)}
    metrics = run.train("digits", trainer, lanes, data, steps=config.steps, log_every=4)
    run.log_lanes("sgd", list(seeds), {"rate": 0.1}, np.arange(0, config.steps, 4), {})
    curve = Series("loss", [1.0, 2.0], [2.0, 1.0])
    return StudyResult(
        values={"accuracy": metrics["test_accuracy"], "loss": metrics["training_loss"][:, -1]},
        curves={"validation_loss": metrics["validation_loss"]},
        tables=[Table("toy", "Toy", ["a"], [[1.0]])],
        figures=[Figure("toy", "Toy", "A toy.", [Panel("toy", "x", "y", [curve])])],
        measurements={"nothing": 0.0},
    )


def counting(config, run):
    """A study that trains nothing."""
    return StudyResult({"numbers": [float(n) for n in run.each("counting", range(5))]})


def _claim(name, study, key, region):
    return Claim(
        id=name,
        study=study,
        statement=f"The mean of {key} is in {region}.",
        source="derived",
        quantity=key,
        statistic="mean",
        region=region,
        reason="a toy",
        evidence=lambda values: Evidence({key: {"values": values[key]}}),
    )


def check(config, methods):
    """Refuse what cannot be run."""
    choose("data set", config.dataset, ("digits", "mnist_5k", "mnist"))
    require_positive(seeds=config.seeds, steps=config.steps)


EXPERIMENT = Experiment(
    name="toy",
    paper=Paper("toy2026", "A toy", "Nobody", 2026, "0000.00000", "@misc{toy2026}"),
    about="A toy.",
    presets={"smoke": Config(seeds=1, steps=20), "default": Config()},
    studies={
        "training": Study(
            "logistic regression",
            training,
            (_claim("T1", "training", "accuracy", (0.5, 1.0)),),
        ),
        "counting": Study(
            "counts",
            counting,
            (_claim("T2", "counting", "numbers", (10.0, 20.0)),),
        ),
    },
    scale="A toy.",
    rigging="A toy.",
    departures=(),
    check=check,
    datasets=lambda config: (config.dataset,),
)

if __name__ == "__main__":
    study_run.CHECKPOINT_SECONDS, study_run.SEGMENT_SECONDS = 0.25, 0.02
    distributed.BEAT_SECONDS, distributed.LOST_SECONDS = 0.2, 5.0
    sys.exit(main(EXPERIMENT))
