"""Training: forward gradients against backprop, at shared and at tuned learning rates.

Every method trains the same networks from the same initialisations on the same batches, by plain
SGD whose rate decays as exp(-1e-4 t). Two comparisons are made, because they answer two questions:

* *shared rates*, as in the paper's Figure 4: one rate for all methods, not tuned for any;
* *tuned rates*, as the paper's critics asked: each method at the rate of a common grid that gave
  the lowest validation loss on tuning seeds, then trained anew on the reporting seeds.

The loss compared is the mean training cross-entropy over the last tenth of the steps; validation
data chooses, and test data is looked at once, after training. A lane that diverged counts as
infinitely bad. A ladder of widths at tuned rates asks whether the gap grows with the network.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.forward_grad import training_figures as figures
from experiments.forward_grad.methods import METHODS
from jaxtrends import losses, models, train
from jaxtrends.study import Run, StudyResult

TUNING_SEED_OFFSET = 1_000_000
SAMPLE_SECONDS = 0.1
GRID = (1e-4, 3.2e-4, 1e-3, 3.2e-3, 1e-2, 3.2e-2, 0.1, 0.32, 1.0, 3.2)


@dataclass(frozen=True)
class Task:
    """One network on one data set."""

    hidden: tuple[int, ...] = (64,)
    """Widths of the hidden layers; none make a linear model (logistic regression)."""
    channels: int = 0
    """Channels of the CNN's four convolutions; 0 for a network without."""
    dataset: str = ""
    """Data set of this task; that of --dataset if empty."""
    methods: tuple[str, ...] = ("backprop", "gaussian")
    """Arms to train."""
    steps: int = 1000
    """Training steps."""
    log_every: int = 20
    """Steps between two points of the curves; divides --steps."""
    shared_rates: tuple[float, ...] = (2e-4, 2e-3)
    """Learning rates that all methods share. The defaults times the steps are about those of the
    paper's Figure 4, whose 20,000 decaying steps come to 8,600 whole ones."""
    grid: tuple[float, ...] = GRID
    """Learning rates that each method is tuned over."""
    tuning_steps: int = 1000
    """Steps of a tuning lane."""
    tuning_seeds: int = 2
    """Seeds of each tuning point."""
    seeds: int = 0
    """Reporting seeds of this task; those of --seeds if 0."""


@dataclass(frozen=True)
class TrainingConfig:
    """Which networks are trained, and how."""

    tasks: tuple[str, ...] = ("logistic", "mlp")
    """Tasks to run: logistic, mlp, cnn, figure4."""
    batch_size: int = 64
    """Examples in a step."""
    decay: float = 1e-4
    """The learning rate at step t is its start times exp(-decay t)."""
    timing_rounds: int = 7
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
    widths: tuple[int, ...] = (4, 16, 64, 256)
    """Hidden widths of the ladder's MLPs; none leave the ladder out."""


# --- one task ----------------------------------------------------------------------------------


def make_model(task: Task, inputs: np.ndarray, classes: int) -> models.Model:
    """The task's network for inputs (n, height, width, 1)."""
    if task.channels:
        return models.convnet(inputs.shape[1], task.channels, task.hidden[0], classes)
    return models.mlp((int(np.prod(inputs.shape[1:])), *task.hidden, classes))


def arrays(dataset: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The three splits of a data set, as the trainer takes them."""
    names = ("train", "validation", "test")
    return {name: (getattr(dataset, name).inputs, getattr(dataset, name).labels) for name in names}


def grid_lanes(rates: Sequence[float], seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """Lanes of every rate with every seed, rates outermost."""
    return {
        "learning_rate": np.repeat(np.asarray(rates, np.float32), len(seeds)),
        "seed": np.tile(np.asarray(seeds, np.uint32), len(rates)),
    }


def final_loss(curve: np.ndarray) -> np.ndarray:
    """Mean over the last tenth of the points (at least one); infinite where a lane diverged."""
    last = curve[..., -max(1, curve.shape[-1] // 10) :].astype(np.float64).mean(axis=-1)
    return np.where(np.isfinite(last), last, np.inf)


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


def choose_rate(rates: Sequence[float], validation: np.ndarray) -> tuple[int, bool]:
    """The tuned point: lowest mean validation loss over tuning seeds (rates, seeds).

    A rate at which any seed diverged cannot be chosen. Also says whether the choice lies on the
    edge of what could be chosen from: the grid's own ends, not the border of divergence.
    """
    means = np.where(np.isfinite(validation).all(axis=1), validation.mean(axis=1), np.inf)
    best = int(np.argmin(means))
    return best, best in (0, len(rates) - 1) or not np.isfinite(means[best])


def first_reach(curve: np.ndarray, target: np.ndarray, log_every: int) -> np.ndarray:
    """Steps until each lane's curve (lanes, points) first is at or below its target; else inf."""
    reached = curve <= target[:, None]
    steps = (np.argmax(reached, axis=1) + 1.0) * log_every
    return np.where(reached.any(axis=1), steps, np.inf)


def _outcome(metrics: Mapping[str, np.ndarray]) -> dict[str, Any]:
    final = final_loss(metrics["training_loss"])
    return {
        "final_loss": final,
        "test_loss": np.where(np.isfinite(final), metrics["test_loss"], np.inf),
        "test_accuracy": metrics["test_accuracy"],
        "diverged": int((~np.isfinite(final)).sum()),
    }


def trainer_of(
    config: TrainingConfig, model: models.Model, method: Callable[..., Any]
) -> train.Trainer:
    """SGD on cross-entropy with the method's gradient."""
    return train.supervised(
        model,
        losses.cross_entropy,
        {"accuracy": losses.accuracy},
        method,
        train.decayed_sgd(config.decay),
        config.batch_size,
    )


class _Arm:
    """One method on one task: its trainer, and its shared, tuning and tuned runs."""

    def __init__(self, name: str, task: Task, trainer: train.Trainer, data: Any, run: Run) -> None:
        self._name, self._task, self._trainer = name, task, trainer
        self._data, self._run = data, run

    def train(
        self, kind: str, rates: Sequence[float], seeds: Sequence[int], steps: int, test: bool
    ) -> dict[str, np.ndarray]:
        """Metrics with leading axes (rates, seeds)."""
        metrics = self._run.train(
            f"{self._name}, {kind}",
            self._trainer,
            grid_lanes(rates, seeds),
            self._data,
            steps=steps,
            log_every=self._task.log_every,
            test=test,
        )
        shape = (len(rates), len(seeds))
        return {name: values.reshape(shape + values.shape[1:]) for name, values in metrics.items()}


def run_task(
    name: str, task: Task, config: Any, run: Run
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, train.Trainer], Any]:
    """Train every arm of a task; its values, its curves, its trainers and data."""
    dataset = run.dataset(task.dataset or config.dataset)
    data = arrays(dataset)
    model = make_model(task, data["train"][0], dataset.classes)
    available = {**METHODS, **run.methods}
    wanted = [*task.methods, *(m for m in run.methods if m not in task.methods)]
    chosen = [m for m in wanted if not config.methods or m in config.methods]
    seeds = [config.seed + lane for lane in range(task.seeds or config.seeds)]
    tuning = [config.seed + TUNING_SEED_OFFSET + lane for lane in range(task.tuning_seeds)]
    values: dict[str, Any] = {
        "dataset": dataset.name,
        "parameters": models.count_parameters(jax.eval_shape(model.init, jax.random.key(0))),
        "steps": task.steps,
        "log_every": task.log_every,
        "seeds": seeds,
        "tuning_seeds": tuning,
        "initial_loss": initial_loss(model, data, seeds),
        "shared": {str(rate): {} for rate in task.shared_rates},
        "grid": {},
        "tuned": {},
    }
    curves: dict[str, np.ndarray] = {}
    trainers = {}
    steps = np.arange(1, task.steps // task.log_every + 1) * task.log_every

    def report(kind: str, method: str, rate: float, metrics: Mapping[str, np.ndarray]) -> None:
        for metric in ("training_loss", "validation_loss"):
            curves[f"{name}/{kind}/{method}/{metric}"] = metrics[metric]
        logged = {m: v for m, v in metrics.items() if v.ndim == 2}
        shared = {"task": name, "comparison": kind, "learning_rate": rate, "steps": task.steps}
        run.log_lanes(f"{name}/{kind}/{method}", seeds, shared, steps, logged)

    for method in chosen:
        trainers[method] = trainer_of(config.training, model, available[method])
        arm = _Arm(f"{name} {method}", task, trainers[method], data, run)
        if task.shared_rates:
            shared = arm.train("shared rates", task.shared_rates, seeds, task.steps, test=True)
            for index, rate in enumerate(task.shared_rates):
                metrics = {key: array[index] for key, array in shared.items()}
                values["shared"][str(rate)][method] = _outcome(metrics)
                report(f"shared {rate:g}", method, rate, metrics)
        if not task.grid:
            continue
        tried = arm.train("tuning", task.grid, tuning, task.tuning_steps, test=False)
        validation = final_loss(tried["validation_loss"])
        best, edge = choose_rate(task.grid, validation)
        values["grid"][method] = {
            "rates": task.grid,
            "validation_loss": validation,
            "chosen": task.grid[best],
            "edge": edge,
        }
        run.log_table(
            f"{name}/tuning/{method}",
            [
                {"learning_rate": rate, "seed": seed, "validation_loss": float(validation[r, s])}
                for r, rate in enumerate(task.grid)
                for s, seed in enumerate(tuning)
            ],
        )
        tuned = arm.train("tuned", task.grid[best : best + 1], seeds, task.steps, test=True)
        metrics = {key: array[0] for key, array in tuned.items()}
        values["tuned"][method] = {**_outcome(metrics), "learning_rate": task.grid[best]}
        report("tuned", method, task.grid[best], metrics)
    for rate in task.shared_rates:
        _steps_to_backprop(values, curves, name, f"shared {rate:g}", values["shared"][str(rate)])
    _steps_to_backprop(values, curves, name, "tuned", values["tuned"])
    return values, curves, trainers, data


def _steps_to_backprop(
    values: dict[str, Any],
    curves: Mapping[str, np.ndarray],
    name: str,
    kind: str,
    arms: dict[str, Any],
) -> None:
    """Note in each arm the steps it takes to backprop's lowest validation loss, seed by seed."""
    if "backprop" not in arms:
        return
    target = np.fmin.reduce(curves[f"{name}/{kind}/backprop/validation_loss"], axis=1)
    for method, outcome in arms.items():
        curve = curves[f"{name}/{kind}/{method}/validation_loss"]
        outcome["steps_to_backprop"] = first_reach(curve, target, values["log_every"])


def time_steps(
    trainers: Mapping[str, train.Trainer], data: Any, rounds: int, label: str, run: Run
) -> dict[str, list[float]]:
    """Seconds a training step takes, per method and round: one lane, methods interleaved.

    Each sample is a loop of about `SAMPLE_SECONDS`, compiled and warmed up before, and waited for.
    """
    data = jax.device_put(data)
    lane = {"seed": jnp.uint32(0), "learning_rate": jnp.float32(1e-4)}
    calls = {}
    for method, trainer in trainers.items():
        calls[method] = _timed_steps(trainer, lane, data)
        calls[method](10)
    lengths = {}
    for method, call in calls.items():
        lengths[method] = int(np.clip(10 * SAMPLE_SECONDS / call(10), 10, 2000))
    seconds: dict[str, list[float]] = {method: [] for method in calls}
    for number in run.each(f"timing {label}", range(rounds)):
        names = list(calls)
        first = number % len(names)
        for method in names[first:] + names[:first]:
            seconds[method].append(calls[method](lengths[method]) / lengths[method])
    return seconds


def _timed_steps(trainer: train.Trainer, lane: Any, data: Any) -> Callable[[int], float]:
    """A function that trains one lane for some steps and returns the seconds that took."""
    state = jax.jit(trainer.init)(lane, data)

    def steps(state: Any, data: Any, count: jax.Array) -> Any:
        return jax.lax.fori_loop(0, count, lambda _, s: trainer.step(lane, s, data)[0], state)

    program = jax.jit(steps)

    def call(count: int) -> float:
        started = time.perf_counter()
        jax.block_until_ready(program(state, data, jnp.int32(count)))
        return time.perf_counter() - started

    return call


# --- the study ------------------------------------------------------------------------------------


def time_ratios(task: Mapping[str, Any], seconds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Seconds until backprop's lowest validation loss, per comparison, method and seed.

    Steps needed times the median time of a step; infinite where the loss is never reached.
    """
    comparisons = {f"shared {rate}": arms for rate, arms in task["shared"].items()}
    return {
        kind: {
            method: np.asarray(outcome["steps_to_backprop"]) * float(np.median(seconds[method]))
            for method, outcome in arms.items()
            if "steps_to_backprop" in outcome
        }
        for kind, arms in {**comparisons, "tuned": task["tuned"]}.items()
    }


def run(config: Any, run: Run) -> StudyResult:
    """Train all tasks and the ladder; time a step of each method of each task."""
    training = config.training
    values: dict[str, Any] = {"tasks": {}, "ladder": {}}
    curves: dict[str, np.ndarray] = {}
    seconds: dict[str, Any] = {}
    for name in training.tasks:
        task = getattr(training, name)
        values["tasks"][name], found, trainers, data = run_task(name, task, config, run)
        curves.update(found)
        seconds[name] = time_steps(trainers, data, training.timing_rounds, name, run)
    for width in training.widths:
        rung = dataclasses.replace(training.ladder, hidden=(width,), shared_rates=())
        values["ladder"][str(width)], found, _, _ = run_task(f"width {width}", rung, config, run)
        curves.update(found)
    tasks = values["tasks"]
    times = {name: time_ratios(task, seconds[name]) for name, task in tasks.items()}
    drawn = [figures.iterations(name, task, curves) for name, task in tasks.items()]
    if values["ladder"]:
        drawn.append(figures.ladder(values["ladder"]))
    return StudyResult(
        values=values,
        curves=curves,
        tables=[figures.outcomes(values)],
        figures=drawn,
        measurements={"step_seconds": seconds, "seconds_to_backprop": times},
        measured_tables=[figures.step_times(tasks, seconds)],
        measured_figures=[
            figures.seconds(name, task, curves, seconds[name]) for name, task in tasks.items()
        ],
    )
