"""Training: forward gradients against backprop, at shared and at tuned learning rates.

Every method trains the same networks from the same initialisations on the same batches, by plain
SGD with a learning rate that decays as exp(-1e-4 t). There are two comparisons, because they answer
two questions:

* *shared rates*, as in the paper's Figure 4: one learning rate for all methods, tuned for none;
* *tuned rates*, as the paper's critics asked: each method uses the rate of a common grid with the
  lowest validation loss on tuning seeds, and is then retrained on the reporting seeds.

At shared rates, which nothing has chosen, we compare the mean training cross-entropy over the last
tenth of the steps, as the paper does; at tuned rates, which validation data have chosen, the test
loss. Test data is used once, after training. A diverged lane counts as infinitely
bad. A ladder of widths, with data and steps held, shows whether a lead grows with the network, at
a shared rate and at tuned rates. For the latter it is judged by the log-odds of the test accuracy:
losses have a floor, and that of backprop on it would look like a growing gap.

Arms are methods within a comparison: ``shared 0.0002/gaussian``, ``tuned/backprop``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt

from jaxtrends import charts, comparison, declare, losses, models, train, tuning
from jaxtrends.claims import Claim
from jaxtrends.comparison import Arm, Comparison, Setting
from jaxtrends.data import DATASETS
from jaxtrends.declare import Quantity, TaskView
from jaxtrends.errors import Problem
from jaxtrends.estimators import backprop, estimate
from jaxtrends.settings import Name, Names, NonNegativeInt, PositiveInt, Rising, Schedule
from jaxtrends.study import Run, StudyResult

METHODS: dict[str, Callable[..., Any]] = {
    "backprop": backprop,
    "gaussian": partial(estimate, law="gaussian"),
    "rademacher": partial(estimate, law="rademacher"),
    "gaussian-4": partial(estimate, law="gaussian", tangents=4),
    "gaussian-16": partial(estimate, law="gaussian", tangents=16),
    "rademacher-16": partial(estimate, law="rademacher", tangents=16),
    "central": partial(estimate, law="gaussian", mode="central_difference"),
    # Biased: the directional derivative is clipped to [-1, 1], as in some public ports.
    "clipped": partial(estimate, law="gaussian", clip=1.0),
}
SMALLEST, LARGEST = "smallest shared rate", "largest shared rate"  # values of a network
TUNED = "tuned"
MOST = 0.8  # of backprop's progress, which all seeds make
TASKS = ("logistic", "mlp", "cnn", "figure4")
DATASET = ("", *DATASETS)
Rates = Annotated[tuple[float, ...], Gt(0), Rising(0)]


@dataclass(frozen=True)
class Task(Schedule):
    """One network on one data set."""

    hidden: Annotated[tuple[int, ...], Gt(0)] = (64,)
    """Widths of the hidden layers; empty for a linear model (logistic regression)."""
    channels: NonNegativeInt = 0
    """Channels of the CNN's four convolutions; 0 for an MLP."""
    dataset: Name[DATASET] = ""
    """Data set of this task; --dataset if empty."""
    methods: Names[METHODS] = ("backprop", "gaussian")
    """Methods to train."""
    shared_rates: Rates = (2e-4, 2e-3)
    """Learning rates shared by all methods. Rate x steps is about that of the paper's Figure 4,
    whose 20,000 decaying steps equal 8,600 steps at the full rate."""
    grid: Rates = (1e-4, 3.2e-4, 1e-3, 3.2e-3, 1e-2, 3.2e-2, 0.1, 0.32, 1.0, 3.2)
    """Learning rates to tune each method over; empty to skip the tuned comparison."""
    extensions: NonNegativeInt = 0
    """How often the grid is extended, by its own ratio, when its edge is chosen."""
    seeds: NonNegativeInt = 0
    """Reporting seeds of this task; --seeds if 0."""

    @property
    def schedule(self) -> Schedule:
        """How its arms are tuned and trained: a task is its own schedule."""
        return self

    def check(self, flag: str) -> None:
        """Refuse rates whose names collide, and a CNN without a dense layer.

        Raises:
            Problem: names the flags.
        """
        super().check(flag)
        if len({f"{rate:g}" for rate in self.shared_rates}) < len(self.shared_rates):
            raise Problem(f"--{flag}.shared-rates must differ in their first six digits.")
        if self.channels and not self.hidden:
            raise Problem(f"--{flag}.hidden must give the width of the CNN's dense layer.")


@dataclass(frozen=True)
class Training:
    """Which networks to train, and how."""

    tasks: Names[TASKS] = ("logistic", "mlp")
    """Tasks to run: logistic, mlp, cnn, figure4."""
    batch_size: PositiveInt = 64
    """Examples per step."""
    decay: float = 1e-4
    """The learning rate at step t is the initial one times exp(-decay t)."""
    timing_processes: PositiveInt = 5
    """Processes in which training steps are timed, with methods interleaved."""
    logistic: Task = field(default_factory=lambda: Task(hidden=()))
    """Logistic regression."""
    mlp: Task = field(default_factory=Task)
    """A small MLP."""
    cnn: Task = field(default_factory=lambda: Task(channels=8, hidden=(64,), dataset="digits"))
    """A small CNN: four 3x3 convolutions, pooling after the second and fourth, two dense layers. It
    runs on 8x8 digits; a step on 28x28 images takes twelve times as long."""
    figure4: Task = field(default_factory=lambda: Task(hidden=(1024, 1024), dataset="mnist"))
    """The MLP of the paper's Figure 4 on all of MNIST."""
    ladder: Task = field(default_factory=lambda: Task(shared_rates=(2e-3,)))
    """Settings of every rung of the ladder of widths; the widths themselves are in `widths`."""
    widths: Annotated[tuple[int, ...], Gt(0)] = (4, 16, 64, 256)
    """Hidden widths of the ladder's MLPs; empty to skip the ladder."""

    @property
    def networks(self) -> dict[str, Task]:
        """All networks by name: the tasks, and the rungs of the ladder."""
        return {
            **{name: getattr(self, name) for name in self.tasks},
            **{f"width {width}": replace(self.ladder, hidden=(width,)) for width in self.widths},
        }


# --- one network ---------------------------------------------------------------------------------


def make_model(task: Task, inputs: np.ndarray, classes: int) -> models.Model:
    """The task's network for inputs (n, height, width, 1)."""
    if task.channels:
        return models.convnet(inputs.shape[1], task.channels, task.hidden[0], classes)
    return models.mlp((int(np.prod(inputs.shape[1:])), *task.hidden, classes))


def parameters(model: models.Model) -> int:
    """Number of parameters of the network."""
    return models.count_parameters(jax.eval_shape(model.init, jax.random.key(0)))


def initial_loss(model: models.Model, data: Mapping[str, Any], seeds: Iterable[int]) -> list[float]:
    """Cross-entropy on at most 5,000 training examples before training, seed by seed."""

    @jax.jit
    def at(seed: jax.Array, inputs: jax.Array, labels: jax.Array) -> jax.Array:
        key, _, _ = train.streams(seed)
        return losses.cross_entropy(model.apply(model.init(key), inputs), labels)

    some = [jnp.asarray(part[:5000]) for part in data["train"]]
    return [float(at(jnp.uint32(seed), *some)) for seed in seeds]


def readings(network: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What is read off each arm's curves.

    ``steps_to_backprop``: to backprop's lowest validation loss in the same comparison;
    ``steps_to_target``: to four fifths of the way there from the initial loss;
    ``loss_a_fifth_earlier``: the mean training loss over a tenth of the run, a fifth earlier.
    """
    initial = np.asarray(network["initial_loss"], np.float64)
    found: dict[str, dict[str, np.ndarray]] = {}
    for arm in network["arms"]:
        training = curves[f"{arm}/training_loss"]
        points = training.shape[1]
        last, earlier = max(1, points // 10), points - max(1, points // 5)
        found[arm] = {"loss_a_fifth_earlier": training[:, earlier - last : earlier].mean(axis=1)}
        reference = curves.get(f"{arm.partition('/')[0]}/backprop/validation_loss")
        if reference is not None:
            lowest, own = np.fmin.reduce(reference, axis=1), curves[f"{arm}/validation_loss"]
            for name, target in (
                ("steps_to_backprop", lowest),
                ("steps_to_target", initial - MOST * (initial - lowest)),
            ):
                found[arm][name] = tuning.first_reach(own, target, network["log_every"])
    return {"arms": found}


@dataclass(frozen=True)
class Trained:
    """A trained network.

    values:  for claims.
    curves:  ``comparison/method/metric`` -> (seeds, points).
    seconds: method -> seconds per step, a sample per round; empty for a rung of the ladder.
    """

    values: Mapping[str, Any]
    curves: Mapping[str, np.ndarray]
    seconds: Mapping[str, Sequence[float]]


def train_network(name: str, task: Task, config: Any, run: Run) -> Trained:
    """Train a network with every method, at the shared rates and at each method's tuned rate."""
    dataset = run.dataset(task.dataset or config.dataset)
    splits = ("train", "validation", "test")
    data = {s: (getattr(dataset, s).inputs, getattr(dataset, s).labels) for s in splits}
    model = make_model(task, data["train"][0], dataset.classes)
    config = replace(config, seeds=task.seeds or config.seeds)
    estimators = {**{method: METHODS[method] for method in task.methods}, **run.methods}
    trainers = {
        method: train.supervised(
            model,
            losses.cross_entropy,
            {"accuracy": losses.accuracy},
            estimator,
            train.decayed_sgd(config.training.decay),
            config.training.batch_size,
        )
        for method, estimator in estimators.items()
        if not config.methods or method in config.methods
    }
    rates: dict[str, float | None] = {f"shared {rate:g}": rate for rate in task.shared_rates}
    ends = {SMALLEST: next(iter(rates)), LARGEST: [*rates][-1]} if rates else {}
    rates |= {TUNED: None} if task.grid else {}
    arms = {
        f"{kind}/{method}": Arm(trainer, rate=rate)
        for method, trainer in trainers.items()
        for kind, rate in rates.items()
    }
    size = parameters(model)
    facts = {
        "dataset": dataset.name,
        "parameters": size,
        "initial_loss": initial_loss(model, data, config.reporting),
        **ends,
    }
    compared = Comparison(
        about=name,
        arms={arm: lambda setting, made=made: made for arm, made in arms.items()},
        facts=lambda setting, run: facts,
        also=readings,
    )
    rung = name not in TASKS
    place = ("ladder", size) if rung else (name, None)
    values, curves, _ = compared.task(name, Setting(config, task, *place, data), run)
    if rung or not arms:
        return Trained(values, curves, {})
    lane = tuning.lanes([1e-4], [0])
    bare = {m: (replace(made, evaluate=lambda *_: {}), lane) for m, made in trainers.items()}
    processes = config.training.timing_processes
    seconds = run.step_seconds(
        f"timing {name}", bare, data, log_every=task.log_every, processes=processes
    )
    return Trained(values, curves, seconds)


# --- the study -----------------------------------------------------------------------------------


def comparisons(trained: Mapping[str, Trained]) -> dict[str, dict[str, Any]]:
    """Every comparison as its own task, ``mlp/tuned``, with methods as arms."""
    found: dict[str, dict[str, Any]] = {}
    for name, network in trained.items():
        for arm, values in network.values["arms"].items():
            kind, _, method = arm.partition("/")
            task = ", ".join([network.values["task"], *([TUNED] if kind == TUNED else [])])
            own = found.setdefault(f"{name}/{kind}", {**network.values, "task": task, "arms": {}})
            own["arms"][method] = values
    return found


def of(shown: charts.Shown, name: str) -> charts.Shown:
    """The comparisons of one network."""
    own = {group: task for group, task in shown.tasks.items() if group.startswith(f"{name}/")}
    return replace(shown, study=f"training-{name}", tasks=own)


def run(config: Any, run: Run) -> StudyResult:
    """Train all tasks and the ladder, and time a step of each method on each task."""
    networks = config.training.networks
    trained = {name: train_network(name, task, config, run) for name, task in networks.items()}
    curves = {
        f"{name}/{curve}": lanes
        for name, network in trained.items()
        for curve, lanes in network.curves.items()
    }
    found = comparisons(trained)
    more = ("training_loss", "test_accuracy")
    shown = charts.Shown("training", "loss", "nats", "parameters", found, curves, more)
    rungs = {group: task for group, task in found.items() if task["size"] is not None}
    seconds = {
        group: trained[group.partition("/")[0]].seconds for group in found if group not in rungs
    }
    timed = comparison.timed(shown, seconds)
    tasks = [name for name in networks if trained[name].seconds]
    climb = charts.climb(
        "training_loss",
        relative_to="backprop",
        y_scale="log",
        title="Does the gap between tuned methods grow with the network?",
    )
    return StudyResult(
        values={
            "tasks": {name: network.values for name, network in trained.items()},
            "step_flops": comparison.step_flops(found),
        },
        curves=curves,
        tables=[charts.outcomes(shown), charts.grids(shown)],
        figures=[
            *(charts.over(y_scale="log")(of(shown, name)) for name in tasks),
            *([climb(replace(shown, tasks=rungs))] if rungs else []),
        ],
        measurements={"step_seconds": seconds, "tasks": timed.tasks},
        measured_tables=[charts.step_times(timed, seconds)],
        measured_figures=[charts.over("seconds", y_scale="log")(of(timed, name)) for name in tasks],
    )


# --- what is claimed -----------------------------------------------------------------------------

PAPER_TASKS, OWN_TASKS = ("mlp", "figure4"), ("logistic", "cnn")
LADDER = ("ladder",)
LEARNED = 0.5  # nats: a tenth of it is the least progress that says anything


def loss(task: TaskView, method: str, rate: str, metric: str = "training_loss") -> np.ndarray:
    """A method's final loss at the `SMALLEST`, `LARGEST` or `TUNED` rate."""
    kind = rate if rate == TUNED else task.of(rate)
    return task[f"{kind}/{method}"][metric]


def pair(rate: str, metric: str = "training_loss") -> Quantity:
    """The final losses of the forward gradient and of backprop."""
    return lambda task: (
        loss(task, "gaussian", rate, metric),
        loss(task, "backprop", rate, metric),
    )


def start(task: TaskView) -> np.ndarray:
    """The loss of an untrained network."""
    return np.asarray(task.of("initial_loss"), np.float64)


def behind(task: TaskView, metric: str = "training_loss") -> np.ndarray:
    """How far the forward gradient is behind backprop, in units of backprop's progress."""
    base = loss(task, "backprop", SMALLEST)
    return (loss(task, "gaussian", SMALLEST, metric) - base) / (start(task) - base)


def progress(task: TaskView) -> np.ndarray:
    """How much backprop itself has learned, in units of `LEARNED`."""
    return (start(task) - loss(task, "backprop", SMALLEST)) / LEARNED


def time_to_target(task: TaskView, method: str, *, shift: int = 0) -> np.ndarray:
    """Seconds to the target: a seed takes the step time of the process of its place, in turn.

    ``shift`` takes that of a later process.
    """
    steps = task[method]["steps_to_target"]
    seconds = np.roll(task[method]["process_seconds"], -shift)
    return steps * np.resize(seconds, steps.shape)


def log_odds(task: TaskView, method: str, rate: str) -> np.ndarray:
    """Log-odds of the test accuracy, which have neither floor nor ceiling."""
    kind = rate if rate == TUNED else task.of(rate)
    share = task[f"{kind}/{method}"]["test_accuracy"]
    with np.errstate(divide="ignore"):
        return np.log(share) - np.log1p(-share)


def lead_in_accuracy(task: TaskView) -> np.ndarray:
    """Backprop's lead over the forward gradient, both tuned, in log-odds of the test accuracy."""
    return log_odds(task, "backprop", TUNED) - log_odds(task, "gaussian", TUNED)


def log_ratio(task: TaskView) -> np.ndarray:
    """Log of the ratio of the training losses at the largest shared rate."""
    return np.log(np.divide(*pair(LARGEST)(task)))


def _keeps_up(id: str, statement: str, tasks: tuple[str, ...], **declared: Any) -> Claim:
    return declare.derive(
        id,
        statement,
        behind,
        quantity="(forward gradient's loss - backprop's loss) / (initial loss - backprop's loss), "
        "training, smallest shared rate",
        region=(-0.1, 0.1),
        reason="a tenth of backprop's progress",
        fails={
            "a fifth fewer steps": (
                lambda task: behind(task, "loss_a_fifth_earlier"),
                "the forward gradient's loss a fifth of the run earlier; too few seeds, or an "
                "estimate that is a fifth too short, could not tell",
            ),
            "untrained net": (
                progress,
                f"an untrained network, in units of {LEARNED:g} nats: it keeps up with a backprop "
                "that has learned less than a tenth of that, and then keeping up means nothing",
            ),
        },
        tasks=tasks,
        **declared,
    )


CLAIMS = (
    _keeps_up(
        "F4a",
        "At a small shared learning rate, forward gradients lower the training loss as fast per "
        "iteration as backprop.",
        PAPER_TASKS,
        reported="final validation loss about 2.21 for both, at learning rate 2e-5",
        where="Figure 4, upper row",
        known="figure",
    ),
    declare.derive(
        "F4c",
        "At a larger shared learning rate, forward gradients are ahead of backprop per iteration.",
        pair(LARGEST),
        quantity="forward gradient's training loss / backprop's, largest shared rate",
        statistic="paired ratio",
        region=(-math.inf, 1.0),
        reason="the sign of the difference, as the paper's figure shows it",
        fails={
            "the smaller rate": (
                lambda task: (loss(task, "gaussian", SMALLEST), loss(task, "backprop", LARGEST)),
                "the forward gradient at the smaller rate is not ahead; rates taken for one "
                "another could put it there",
            )
        },
        tasks=PAPER_TASKS,
        reported="final validation loss about 0.5 against about 0.88, at learning rate 2e-4",
        where="Figure 4, lower row",
        known="figure",
        headline=True,
    ),
    declare.slope(
        "F4d",
        "At a shared learning rate, forward gradients get further ahead as networks get wider.",
        log_ratio,
        quantity="log of (forward gradient's training loss / backprop's), shared rate",
        region=declare.BELOW_ZERO,
        reason="a slope of 0 is a lead that does not depend on size",
        fails={"rungs mixed up": (declare.mixed_up(log_ratio), declare.RUNGS_MIXED_UP)},
        tasks=LADDER,
    ),
    declare.derive(
        "F5d",
        "At a shared learning rate, forward gradients make most of backprop's progress sooner than "
        "backprop does.",
        lambda task: (time_to_target(task, "gaussian"), time_to_target(task, "backprop")),
        quantity="time to a validation loss that is four fifths of the way from the initial one to "
        "backprop's lowest, forward gradient / backprop: steps times the time of a step, over "
        "seeds and processes",
        statistic="paired ratio",
        region=(-math.inf, 1.0),
        reason="a ratio of 1 is no difference. The paper's times are to backprop's lowest loss, "
        "which not every seed reaches",
        fails={
            "backprop in other processes": (
                lambda task: (
                    time_to_target(task, "backprop", shift=1),
                    time_to_target(task, "backprop"),
                ),
                "the same steps at the same program's time in another process; it would be sooner "
                "if processes differed by more than the interval knows",
            )
        },
        tasks=PAPER_TASKS,
        reported="T_f / T_b = 0.567 at rate 2e-5 and 0.229 at rate 2e-4",
        where="Figure 4; the meaning of T is inferred from its guide lines",
        known="figure",
        about="measurements",
    ),
    declare.derive(
        "F7d",
        "With the learning rate tuned for each method, backprop is far ahead after the same number "
        "of iterations.",
        pair(TUNED, "test_loss"),
        quantity="forward gradient's test loss / backprop's, tuned rates",
        statistic="paired ratio",
        region=(4.0, math.inf),
        reason="a factor of four is far more than a seed or one grid step changes",
        fails={
            SMALLEST: (
                pair(SMALLEST, "test_loss"),
                "at an untuned rate the two are close, so the gap must come from tuning",
            )
        },
        tasks=PAPER_TASKS,
        source="critic",
        reported="test loss 0.332 for forward gradients against 0.000 for backprop, MNIST MLP, "
        "50 epochs",
        where="Rike and Forland (2022), Table I",
        known="code",
    ),
    declare.slope(
        "F7e",
        "The gap between tuned forward gradients and tuned backprop grows with the width of the "
        "network.",
        lead_in_accuracy,
        quantity="log-odds of the test accuracy, backprop - forward gradient, tuned rates",
        region=declare.ABOVE_ZERO,
        reason="a slope of 0 is a gap that does not depend on size. Log-odds have no floor: in the "
        "ratio of losses, backprop's loss going to zero would count as a growing gap",
        fails={"rungs mixed up": (declare.mixed_up(lead_in_accuracy), declare.RUNGS_MIXED_UP)},
        tasks=LADDER,
    ),
    _keeps_up(
        "F11a",
        "On logistic regression, too, forward gradients learn as fast per iteration as backprop at "
        "a small shared learning rate.",
        ("logistic",),
        source="derived",
    ),
    _keeps_up(
        "F11b",
        "On a small CNN, too, forward gradients learn as fast per iteration as backprop at a small "
        "shared learning rate.",
        ("cnn",),
        source="derived",
    ),
)
