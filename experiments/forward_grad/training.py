"""Training: forward gradients against backprop, at shared and at tuned learning rates.

Every method trains the same networks from the same initialisations on the same batches, by plain
SGD with a learning rate that decays as exp(-1e-4 t). There are two comparisons, because they answer
two questions:

* *shared rates*, as in the paper's Figure 4: one learning rate for all methods, tuned for none;
* *tuned rates*, as the paper's critics asked: each method uses the rate of a common grid with the
  lowest validation loss on tuning seeds, and is then retrained on the reporting seeds.

We compare the mean training cross-entropy over the last tenth of the steps. Rates are chosen on
validation data, and test data is used once, after training. A diverged lane counts as infinitely
bad. A ladder of widths at tuned rates shows whether the gap grows with the network.

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
from jaxtrends.declare import LadderView, Quantity, TaskView
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
    ladder: Task = field(default_factory=Task)
    """Settings of every rung of the ladder of widths; the widths themselves are in `widths`."""
    widths: Annotated[tuple[int, ...], Gt(0)] = (4, 16, 64, 256)
    """Hidden widths of the ladder's MLPs; empty to skip the ladder."""

    @property
    def networks(self) -> dict[str, Task]:
        """All networks by name: the tasks, and the rungs of the ladder (tuned rates only)."""
        rung = replace(self.ladder, shared_rates=())
        return {
            **{name: getattr(self, name) for name in self.tasks},
            **{f"width {width}": replace(rung, hidden=(width,)) for width in self.widths},
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


def to_backprop(network: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Steps of each arm to backprop's lowest validation loss in the same comparison."""
    found = {}
    for arm in network["arms"]:
        reference = curves.get(f"{arm.partition('/')[0]}/backprop/validation_loss")
        if reference is not None:
            target, own = np.fmin.reduce(reference, axis=1), curves[f"{arm}/validation_loss"]
            steps = tuning.first_reach(own, target, network["log_every"])
            found[arm] = {"steps_to_backprop": steps}
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
        also=to_backprop,
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


def loss(task: TaskView, method: str, rate: str = TUNED) -> np.ndarray:
    """A method's final training loss at the `SMALLEST`, `LARGEST` or `TUNED` rate."""
    kind = rate if rate == TUNED else task.of(rate)
    return task[f"{kind}/{method}"]["training_loss"]


def start(task: TaskView) -> np.ndarray:
    """The loss of an untrained network."""
    return np.asarray(task.of("initial_loss"), np.float64)


def pair(rate: str) -> Quantity:
    """The final losses of the forward gradient and of backprop."""
    return lambda task: (loss(task, "gaussian", rate), loss(task, "backprop", rate))


def gap(task: TaskView, forward: np.ndarray) -> np.ndarray:
    """How far a loss is behind backprop's, in units of backprop's progress."""
    base = loss(task, "backprop", SMALLEST)
    return (forward - base) / (start(task) - base)


def slopes(ladder: LadderView) -> np.ndarray:
    """Per seed, the slope of log(loss ratio) against log(parameters)."""
    rungs = [rung for rung in ladder.rungs if {"tuned/gaussian", "tuned/backprop"} <= {*rung}]
    if len(rungs) < 3:
        raise KeyError("a ladder of at least three widths")
    ratios = [np.log(np.divide(*pair(TUNED)(rung))) for rung in rungs]
    return declare.slope_of([rung.size for rung in rungs], ratios, per=math.e)


def _keeps_up(id: str, statement: str, tasks: tuple[str, ...], **declared: Any) -> Claim:
    return declare.derive(
        id,
        statement,
        lambda task: gap(task, loss(task, "gaussian", SMALLEST)),
        quantity="(forward gradient's loss - backprop's loss) / (initial loss - backprop's loss), "
        "smallest shared rate",
        region=(-0.1, 0.1),
        reason="a tenth of backprop's progress; an untrained network scores 1",
        fails={"untrained net": (lambda task: gap(task, start(task)), _UNTRAINED)},
        tasks=tasks,
        **declared,
    )


_UNTRAINED = "an untrained network must fail this test"
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
        "F4b",
        "At the small shared learning rate backprop does learn, so keeping up with it means "
        "something.",
        lambda task: start(task) - loss(task, "backprop", SMALLEST),
        quantity="initial loss - backprop's final training loss (nats), smallest shared rate",
        region=(0.05, math.inf),
        reason="0.05 nats is about 2% of the loss of a uniform guess over ten classes",
        fails={"untrained net": (lambda task: start(task) - start(task), _UNTRAINED)},
        tasks=(*PAPER_TASKS, *OWN_TASKS),
        source="derived",
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
            "untrained net": (
                lambda task: (start(task), loss(task, "backprop", LARGEST)),
                _UNTRAINED,
            )
        },
        tasks=PAPER_TASKS,
        reported="final validation loss about 0.5 against about 0.88, at learning rate 2e-4",
        where="Figure 4, lower row",
        known="figure",
        headline=True,
    ),
    declare.derive(
        "F5c",
        "At a shared learning rate, forward gradients reach backprop's lowest validation loss "
        "sooner than backprop does.",
        lambda task: tuple(
            task[method]["steps_to_backprop"] * task[method]["seconds"]
            for method in ("gaussian", "backprop")
        ),
        quantity="time to that loss, forward gradient / backprop: steps times the median time of a "
        "step; never reached counts as infinite",
        statistic="paired ratio",
        region=(-math.inf, 1.0),
        reason="a ratio of 1 is no difference",
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
        pair(TUNED),
        quantity="forward gradient's final training loss / backprop's, tuned rates",
        statistic="paired ratio",
        region=(4.0, math.inf),
        reason="a factor of four is far more than a seed or one grid step changes",
        fails={
            SMALLEST: (
                pair(SMALLEST),
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
    declare.across(
        "F7b",
        "The gap between tuned forward gradients and tuned backprop grows with the number of "
        "parameters.",
        slopes,
        quantity="slope of log(loss ratio) against log(parameters) over the ladder of widths, "
        "per seed",
        region=(0.0, math.inf),
        reason="a slope of 0 is a gap that does not depend on size",
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
