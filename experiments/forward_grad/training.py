"""Training: forward gradients against backprop, at shared and at tuned learning rates.

Every method trains the same networks from the same initialisations on the same batches, by plain
SGD whose rate decays as exp(-1e-4 t). Two comparisons are made, because they answer two questions:

* *shared rates*, as in the paper's Figure 4: one rate for all methods, not tuned for any;
* *tuned rates*, as the paper's critics asked: each method at the rate of a common grid that gave
  the lowest validation loss on tuning seeds, then trained anew on the reporting seeds.

The loss compared is the mean training cross-entropy over the last tenth of the steps; validation
data chooses, and test data is looked at once, after training. A lane that diverged counts as
infinitely bad. A ladder of widths at tuned rates asks whether the gap grows with the network.

A task's arms are its methods at the rates of a comparison: ``gaussian, shared 0.0002``, or
``backprop, tuned``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt

from jaxtrends import charts, losses, models, timing, train, tuning
from jaxtrends.data import DATASETS
from jaxtrends.errors import Problem, choose
from jaxtrends.estimators import backprop, estimate
from jaxtrends.settings import (
    TUNING_SEED_OFFSET,
    Names,
    NonNegativeInt,
    PositiveInt,
    Rising,
)
from jaxtrends.study import Figure, Panel, Run, StudyResult, Table

METHODS: dict[str, Callable[..., Any]] = {
    "backprop": backprop,
    "gaussian": partial(estimate, law="gaussian"),
    "rademacher": partial(estimate, law="rademacher"),
    "gaussian-4": partial(estimate, law="gaussian", tangents=4),
    "gaussian-16": partial(estimate, law="gaussian", tangents=16),
    "rademacher-16": partial(estimate, law="rademacher", tangents=16),
    "central": partial(estimate, law="gaussian", mode="central_difference"),
    # Biased: the directional derivative is cut to [-1, 1], as some public ports do.
    "clipped": partial(estimate, law="gaussian", clip=1.0),
}
SMALLEST, LARGEST = "smallest shared rate", "largest shared rate"  # values of a task
TASKS = ("logistic", "mlp", "cnn", "figure4")
GRID = (1e-4, 3.2e-4, 1e-3, 3.2e-3, 1e-2, 3.2e-2, 0.1, 0.32, 1.0, 3.2)
Rates = Annotated[tuple[float, ...], Gt(0), Rising(0)]


@dataclass(frozen=True)
class Task:
    """One network on one data set."""

    hidden: Annotated[tuple[int, ...], Gt(0)] = (64,)
    """Widths of the hidden layers; none make a linear model (logistic regression)."""
    channels: NonNegativeInt = 0
    """Channels of the CNN's four convolutions; 0 for a network without."""
    dataset: str = ""
    """Data set of this task; that of --dataset if empty."""
    methods: Names[METHODS] = ("backprop", "gaussian")
    """Arms to train."""
    steps: PositiveInt = 1000
    """Training steps."""
    log_every: PositiveInt = 20
    """Steps between two points of the curves; divides --steps."""
    shared_rates: Rates = (2e-4, 2e-3)
    """Learning rates that all methods share. The defaults times the steps are about those of the
    paper's Figure 4, whose 20,000 decaying steps come to 8,600 whole ones."""
    grid: Rates = GRID
    """Learning rates that each method is tuned over."""
    tuning_steps: PositiveInt = 1000
    """Steps of a tuning lane."""
    tuning_seeds: PositiveInt = 2
    """Seeds of each tuning point."""
    seeds: NonNegativeInt = 0
    """Reporting seeds of this task; those of --seeds if 0."""

    def check(self, flag: str) -> None:
        """Refuse data that is not there, steps between log points and a CNN without its end.

        Raises:
            Problem: names the flags.
        """
        if self.dataset:
            choose("data set", self.dataset, DATASETS)
        if len({f"{rate:g}" for rate in self.shared_rates}) < len(self.shared_rates):
            raise Problem(f"--{flag}.shared-rates must differ in their first six digits.")
        for name in ("steps", "tuning_steps"):
            if getattr(self, name) % self.log_every:
                raise Problem(
                    f"--{flag}.{name.replace('_', '-')} {getattr(self, name)} is not a multiple of "
                    f"--{flag}.log-every {self.log_every}."
                )
        if self.channels and not self.hidden:
            raise Problem(f"--{flag}.hidden must name the width of the CNN's dense layer.")


@dataclass(frozen=True)
class Training:
    """Which networks are trained, and how."""

    tasks: Names[TASKS] = ("logistic", "mlp")
    """Tasks to run: logistic, mlp, cnn, figure4."""
    batch_size: PositiveInt = 64
    """Examples in a step."""
    decay: float = 1e-4
    """The learning rate at step t is its start times exp(-decay t)."""
    timing_rounds: PositiveInt = 7
    """Rounds of the step timing, methods interleaved."""
    logistic: Task = field(default_factory=lambda: Task(hidden=()))
    """Logistic regression."""
    mlp: Task = field(default_factory=Task)
    """A small MLP."""
    cnn: Task = field(default_factory=lambda: Task(channels=8, hidden=(64,), dataset="digits"))
    """A small CNN: four 3x3 convolutions, pooling after the second and fourth, two dense layers; on
    8x8 digits, since a step on 28x28 images takes twelve times as long."""
    figure4: Task = field(default_factory=lambda: Task(hidden=(1024, 1024), dataset="mnist"))
    """The MLP of the paper's Figure 4 on the whole of MNIST."""
    ladder: Task = field(default_factory=Task)
    """What every rung of the ladder of widths trains; its hidden widths come from --widths."""
    widths: Annotated[tuple[int, ...], Gt(0)] = (4, 16, 64, 256)
    """Hidden widths of the ladder's MLPs; none leave the ladder out."""

    @property
    def networks(self) -> dict[str, Task]:
        """All that is trained by its name: the tasks, and the rungs at tuned rates alone."""
        rung = replace(self.ladder, shared_rates=())
        return {
            **{name: getattr(self, name) for name in self.tasks},
            **{f"width {width}": replace(rung, hidden=(width,)) for width in self.widths},
        }


# --- one task ------------------------------------------------------------------------------------


def make_model(task: Task, inputs: np.ndarray, classes: int) -> models.Model:
    """The task's network for inputs (n, height, width, 1)."""
    if task.channels:
        return models.convnet(inputs.shape[1], task.channels, task.hidden[0], classes)
    return models.mlp((int(np.prod(inputs.shape[1:])), *task.hidden, classes))


def initial_loss(model: models.Model, data: Mapping[str, Any], seeds: Sequence[int]) -> np.ndarray:
    """Cross-entropy on the training data before any step, per seed: what every method starts from.

    It is a mean over at most 5,000 examples.
    """

    def at(seed: jax.Array, inputs: jax.Array, labels: jax.Array) -> jax.Array:
        key, _, _ = train.streams(seed)
        return losses.cross_entropy(model.apply(model.init(key), inputs), labels)

    inputs, labels = (jnp.asarray(part[:5000]) for part in data["train"])
    program = jax.jit(at)
    return np.asarray(
        [float(program(jnp.uint32(seed), inputs, labels)) for seed in seeds], np.float64
    )


def outcome(rate: float, steps: int, metrics: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What an arm came to, seed by seed."""
    final = tuning.final(metrics["training_loss"])
    return {
        "learning_rate": rate,
        "steps": steps,
        "metrics": {
            "training_loss": final,
            "test_loss": np.where(np.isfinite(final), metrics["test_loss"], np.inf),
            "test_accuracy": metrics["test_accuracy"],
        },
        "facts": {},
        "diverged": int((~np.isfinite(final)).sum()),
    }


@dataclass(frozen=True)
class Trained:
    """A task that was trained.

    values:      for claims.
    comparisons: ``shared 0.0002`` or ``tuned`` -> method -> its outcome.
    curves:      ``task/comparison/method/metric`` -> (seeds, points).
    trainers:    by method, and the data that they take.
    """

    values: Mapping[str, Any]
    comparisons: Mapping[str, Mapping[str, Any]]
    curves: Mapping[str, np.ndarray]
    trainers: Mapping[str, train.Trainer]
    data: Any

    def shown(self, name: str, **facts: Any) -> dict[str, Any]:
        """The comparisons as charts read them; ``facts`` are of methods: fact -> method -> it."""
        return {
            f"{name}/{kind}": {
                **self.values,
                "arms": {
                    method: {**found, "facts": {fact: of[method] for fact, of in facts.items()}}
                    for method, found in arms.items()
                },
            }
            for kind, arms in self.comparisons.items()
            if arms
        }


def run_task(name: str, task: Task, config: Any, run: Run) -> Trained:
    """Train every method of a task, at the shared rates and at its tuned one."""
    dataset = run.dataset(task.dataset or config.dataset)
    splits = ("train", "validation", "test")
    data = {s: (getattr(dataset, s).inputs, getattr(dataset, s).labels) for s in splits}
    model = make_model(task, data["train"][0], dataset.classes)
    wanted = [*task.methods, *(method for method in run.methods if method not in task.methods)]
    seeds = [config.seed + lane for lane in range(task.seeds or config.seeds)]
    apart = [config.seed + TUNING_SEED_OFFSET + lane for lane in range(task.tuning_seeds)]
    shared = {f"shared {rate:g}": rate for rate in task.shared_rates}
    comparisons: dict[str, dict[str, Any]] = {kind: {} for kind in (*shared, "tuned")}
    curves: dict[str, np.ndarray] = {}
    trainers: dict[str, train.Trainer] = {}

    def report(kind: str, method: str, rate: float, metrics: Mapping[str, np.ndarray]) -> None:
        comparisons[kind][method] = outcome(rate, task.steps, metrics)
        for metric in ("training_loss", "validation_loss"):
            curves[f"{name}/{kind}/{method}/{metric}"] = metrics[metric]
        logged = {metric: curve for metric, curve in metrics.items() if curve.ndim == 2}
        told = {"task": name, "comparison": kind, "learning_rate": rate, "steps": task.steps}
        points = np.arange(1, task.steps // task.log_every + 1) * task.log_every
        run.log_lanes(f"{name}/{kind}/{method}", seeds, told, points, logged)

    for method in wanted:
        if config.methods and method not in config.methods:
            continue
        trainers[method] = train.supervised(
            model,
            losses.cross_entropy,
            {"accuracy": losses.accuracy},
            {**METHODS, **run.methods}[method],
            train.decayed_sgd(config.training.decay),
            config.training.batch_size,
        )

        def lanes(
            kind: str,
            rates: Sequence[float],
            seeds: Sequence[int],
            method: str = method,
            **how: Any,
        ) -> dict[str, np.ndarray]:
            """Metrics with leading axes (rates, seeds)."""
            metrics = run.train(
                f"{name} {method}, {kind}",
                trainers[method],
                tuning.lanes(rates, seeds),
                data,
                log_every=task.log_every,
                **how,
            )
            shape = (len(rates), len(seeds))
            return {name: found.reshape(shape + found.shape[1:]) for name, found in metrics.items()}

        if shared:
            found = lanes("shared rates", task.shared_rates, seeds, steps=task.steps)
            for index, (kind, rate) in enumerate(shared.items()):
                report(kind, method, rate, {key: array[index] for key, array in found.items()})
        if not task.grid:
            continue
        tried = lanes("tuning", task.grid, apart, steps=task.tuning_steps, test=False)
        scores = tuning.final(tried["validation_loss"])
        best, edge = tuning.choose(task.grid, scores)
        rate = task.grid[best]
        rows = [
            {"learning_rate": at, "seed": seed, "validation_loss": float(score)}
            for at, row in zip(task.grid, scores, strict=True)
            for seed, score in zip(apart, row, strict=True)
        ]
        run.log_table(f"{name}/tuning/{method}", rows)
        found = lanes("tuned", [rate], seeds, steps=task.steps)
        report("tuned", method, rate, {key: array[0] for key, array in found.items()})
        grid = {"rates": task.grid, "scores": scores, "edge": edge}
        comparisons["tuned"][method]["grid"] = grid
    for kind, arms in comparisons.items():
        for method, steps in steps_to_backprop(f"{name}/{kind}", arms, curves, task).items():
            arms[method]["metrics"]["steps_to_backprop"] = steps
    parameters = models.count_parameters(jax.eval_shape(model.init, jax.random.key(0)))
    values = {
        "task": name if name in TASKS else "ladder",
        "size": None if name in TASKS else parameters,
        "dataset": dataset.name,
        "parameters": parameters,
        "steps": task.steps,
        "log_every": task.log_every,
        "seeds": seeds,
        "tuning_seeds": apart,
        "initial_loss": initial_loss(model, data, seeds),
        **({SMALLEST: next(iter(shared)), LARGEST: [*shared][-1]} if shared else {}),
        "arms": {
            f"{method}, {kind}": found
            for kind, arms in comparisons.items()
            for method, found in arms.items()
        },
    }
    return Trained(values, comparisons, curves, trainers, data)


def steps_to_backprop(
    group: str, arms: Mapping[str, Any], curves: Mapping[str, np.ndarray], task: Task
) -> dict[str, np.ndarray]:
    """Steps that each method takes to backprop's lowest validation loss, seed by seed."""
    if "backprop" not in arms:
        return {}
    target = np.fmin.reduce(curves[f"{group}/backprop/validation_loss"], axis=1)
    return {
        method: tuning.first_reach(
            curves[f"{group}/{method}/validation_loss"], target, task.log_every
        )
        for method in arms
    }


def steps_of(trainer: train.Trainer, data: Any) -> timing.Timed:
    """Training steps of one lane in a compiled loop, with the draw of batches and tangents."""
    data, lane = jax.device_put(data), {"seed": jnp.uint32(0), "learning_rate": jnp.float32(1e-4)}
    state = jax.jit(trainer.init)(lane, data)

    @jax.jit
    def program(state: Any, data: Any, count: jax.Array) -> Any:
        return jax.lax.fori_loop(0, count, lambda _, s: trainer.step(lane, s, data)[0], state)

    def call(count: int) -> float:
        started = time.perf_counter()
        jax.block_until_ready(program(state, data, jnp.int32(count)))
        return time.perf_counter() - started

    return call


def run(config: Any, run: Run) -> StudyResult:
    """Train all tasks and the ladder; time a step of each method of each task."""
    training: Training = config.training
    trained: dict[str, Trained] = {}
    seconds: dict[str, Any] = {}
    measured: dict[str, Any] = {}
    drawn, timed = [], []
    for name, task in training.networks.items():
        trained[name] = found = run_task(name, task, config, run)
        if name not in TASKS or not found.shown(name):
            continue
        rounds = run.each(f"timing {name}", range(training.timing_rounds))
        programs = {m: steps_of(trainer, found.data) for m, trainer in found.trainers.items()}
        seconds[name] = timing.interleaved(programs, rounds)
        step = {method: float(np.median(taken)) for method, taken in seconds[name].items()}
        measured |= {f"{name}/{kind}": at for kind, at in times(name, found, step).items()}
        about = f"{name} ({found.values['parameters']:,} parameters) on {found.values['dataset']}"
        parts = partial(charts.Shown, f"training-{name}", "loss", "nats", "", curves=found.curves)
        steps = charts.over(y_scale="log", title=f"Loss against steps: {about}")
        drawn.append(steps(parts(found.shown(name))))
        against_time = charts.over("seconds", y_scale="log", title=f"Loss against time: {about}")
        timed.append(against_time(parts(found.shown(name, seconds=step))))
    rungs = [found for name, found in trained.items() if name not in TASKS]
    every = {k: v for name, found in trained.items() for k, v in found.shown(name).items()}
    curves = {key: curve for found in trained.values() for key, curve in found.curves.items()}
    more = ("training_loss", "test_accuracy")
    shown = charts.Shown("training", "loss", "nats", "", every, curves, more)
    return StudyResult(
        values={"tasks": {name: found.values for name, found in trained.items()}},
        curves=curves,
        tables=[charts.outcomes(shown), charts.grids(shown)],
        figures=[*drawn, *([climb(rungs)] if rungs else [])],
        measurements={"step_seconds": seconds, "tasks": measured},
        measured_tables=[step_times(seconds)],
        measured_figures=timed,
    )


def times(name: str, found: Trained, step: Mapping[str, float]) -> dict[str, Any]:
    """Seconds until backprop's lowest validation loss: the steps needed times a step's median."""
    return {
        kind: {
            "task": name if kind != "tuned" else f"{name}, tuned",
            "arms": {
                method: {
                    "metrics": {
                        "seconds_to_backprop": arm["metrics"]["steps_to_backprop"] * step[method]
                    },
                    "facts": {},
                }
                for method, arm in arms.items()
                if "steps_to_backprop" in arm["metrics"]
            },
        }
        for kind, arms in found.comparisons.items()
        if arms
    }


# --- what is shown -------------------------------------------------------------------------------


def climb(rungs: Sequence[Trained]) -> Figure:
    """Tuned final loss and its ratio to backprop's against the number of parameters."""
    had = [rung for rung in rungs if rung.comparisons["tuned"]]
    sizes = [rung.values["parameters"] for rung in had]
    found = {
        method: [rung.comparisons["tuned"][method]["metrics"]["training_loss"] for rung in had]
        for method in (had[0].comparisons["tuned"] if had else ())
    }
    base = found.get("backprop")
    ratios = {
        method: [mine / theirs for mine, theirs in zip(samples, base, strict=True)]
        for method, samples in found.items()
        if base is not None and method != "backprop"
    }
    axes = {"x_label": "parameters", "x_scale": "log", "y_scale": "log"}
    return Figure(
        "training-ladder",
        "Does the gap grow with the network?",
        "MLPs with one hidden layer, each method at its tuned rate: final training loss, and its "
        f"ratio to backprop's; {charts.RANGE}.",
        [
            Panel(
                "final training loss",
                y_label="loss (nats)",
                series=[charts.points(method, sizes, found[method]) for method in found],
                **axes,
            ),
            Panel(
                "ratio to backprop",
                y_label="loss / backprop's loss",
                series=[charts.points(method, sizes, ratios[method]) for method in ratios],
                threshold=1.0,
                threshold_label="equal",
                **axes,
            ),
        ],
    )


def step_times(seconds: Mapping[str, Mapping[str, Sequence[float]]]) -> Table:
    """Milliseconds of a training step, per task and method."""
    rows = [
        [
            *(name, method, 1e3 * float(np.median(samples)), 1e3 * float(np.ptp(samples))),
            float(np.median(samples) / np.median(of.get("backprop", np.nan))),
        ]
        for name, of in seconds.items()
        for method, samples in of.items()
    ]
    return Table(
        "training-step-times",
        "Time of a training step",
        ["task", "method", "median (ms)", "range (ms)", "ratio to backprop"],
        rows,
        "One lane, batch and tangents drawn inside the step; methods interleaved, warmed up.",
    )
