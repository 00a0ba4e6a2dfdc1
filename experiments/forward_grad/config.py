"""The settings of every study, and the presets that fill them in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from experiments.forward_grad import cost, estimators, scaling, test_functions
from experiments.forward_grad.methods import METHODS
from experiments.forward_grad.training import Task, TrainingConfig
from jaxtrends.errors import Problem, choose, require_positive


@dataclass(frozen=True)
class Config:
    """What is run; everything that a result depends on."""

    seed: int = 0
    """First reporting seed; all randomness derives from it."""
    seeds: int = 10
    """Reporting seeds of the training study."""
    dataset: str = "mnist_5k"
    """Data of the training study: mnist_5k (5,000 real MNIST images), digits or mnist."""
    studies: tuple[str, ...] = ()
    """Studies to run; all of them if none is named."""
    methods: tuple[str, ...] = ()
    """Arms of the training study; all that its tasks name if none is."""
    estimators: estimators.EstimatorsConfig = field(default_factory=estimators.EstimatorsConfig)
    """Bias and variance of the estimators; finite differences."""
    test_functions: test_functions.TestFunctionsConfig = field(
        default_factory=test_functions.TestFunctionsConfig
    )
    """Beale and Rosenbrock."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Networks, at shared and at tuned rates."""
    cost: cost.CostConfig = field(default_factory=cost.CostConfig)
    """Arithmetic, memory and time of one gradient."""
    scaling: scaling.ScalingConfig = field(default_factory=scaling.ScalingConfig)
    """Slow-down with the number of parameters."""


def check(config: Config, own_methods: tuple[str, ...] = ()) -> None:
    """Refuse a config that cannot be run.

    Raises:
        Problem: names the flag at fault.
    """
    from jaxtrends.data import DATASETS

    choose("data set", config.dataset, DATASETS)
    for method in own_methods:
        if method in METHODS:
            raise Problem(f"{method} is one of the experiment's methods: give yours another name.")
    for method in config.methods:
        choose("method", method, [*METHODS, *own_methods])
    if config.seed < 0:
        raise Problem(f"--seed must not be negative, not {config.seed}.")
    require_positive(seeds=config.seeds)
    chosen = config.training
    named = {
        "training.batch-size": chosen.batch_size,
        "training.timing-rounds": chosen.timing_rounds,
    }
    require_positive(**named)
    for name in chosen.tasks:
        choose("task", name, ("logistic", "mlp", "cnn", "figure4"))
    for name in (*chosen.tasks, "ladder"):
        _check_task(f"training.{name}", getattr(chosen, name))
    require_positive(**{f"training.widths[{i}]": width for i, width in enumerate(chosen.widths)})
    for study in (estimators, test_functions, cost, scaling):
        study.check(getattr(config, study.__name__.rpartition(".")[2]))


def _check_task(flag: str, task: Task) -> None:
    if task.dataset:
        from jaxtrends.data import DATASETS

        choose("data set", task.dataset, DATASETS)
    for method in task.methods:
        choose("method", method, METHODS)
    counts = ("steps", "log_every", "tuning_steps", "tuning_seeds")
    require_positive(**{f"{flag}.{name}": getattr(task, name) for name in counts})
    require_positive(**{f"{flag}.hidden[{i}]": width for i, width in enumerate(task.hidden)})
    if task.channels < 0:
        raise Problem(f"--{flag}.channels must not be negative, not {task.channels}.")
    rates = {"shared_rates": task.shared_rates, "grid": task.grid}
    for name, values in rates.items():
        require_positive(**{f"{flag}.{name}[{i}]": rate for i, rate in enumerate(values)})
    if len({f"{rate:g}" for rate in task.shared_rates}) < len(task.shared_rates):
        raise Problem(f"--{flag}.shared-rates must differ in their first six digits.")
    for name in ("steps", "tuning_steps"):
        if getattr(task, name) % task.log_every:
            raise Problem(
                f"--{flag}.{name.replace('_', '-')} {getattr(task, name)} is not a multiple of "
                f"--{flag}.log-every {task.log_every}."
            )
    if task.channels and not task.hidden:
        raise Problem(f"--{flag}.hidden must name the width of the CNN's dense layer.")


def datasets(config: Config) -> tuple[str, ...]:
    """The data sets that the training study reads."""
    if config.studies and "training" not in config.studies:
        return ()
    tasks = [getattr(config.training, name) for name in config.training.tasks]
    if config.training.widths:
        tasks.append(config.training.ladder)
    return tuple(dict.fromkeys(task.dataset or config.dataset for task in tasks))


SMOKE = Config(
    seeds=2,
    dataset="digits",
    estimators=estimators.SMOKE,
    test_functions=test_functions.SMOKE,
    training=TrainingConfig(
        tasks=("mlp",),
        mlp=Task(
            hidden=(32,),
            steps=40,
            log_every=4,
            shared_rates=(2e-3,),
            grid=(1e-3, 1e-2, 1e-1),
            tuning_steps=40,
            tuning_seeds=1,
        ),
        widths=(),
        timing_rounds=2,
    ),
    cost=cost.SMOKE,
    scaling=scaling.SMOKE,
)
ALL_ARMS = tuple(METHODS)
DEFAULT = Config(
    training=TrainingConfig(
        logistic=Task(hidden=(), methods=("backprop", "gaussian", "rademacher")),
        mlp=Task(methods=("backprop", "gaussian", "rademacher", "central", "clipped")),
        ladder=Task(steps=500, tuning_steps=500, log_every=10),
    ),
)
FULL = replace(
    DEFAULT,
    estimators=estimators.FULL,
    test_functions=test_functions.FULL,
    training=TrainingConfig(
        tasks=("logistic", "mlp", "cnn", "figure4"),
        logistic=Task(hidden=(), methods=ALL_ARMS),
        mlp=Task(methods=ALL_ARMS),
        cnn=Task(
            channels=8,
            hidden=(64,),
            dataset="digits",
            methods=("backprop", "gaussian", "rademacher"),
            log_every=50,
        ),
        figure4=Task(
            hidden=(1024, 1024),
            dataset="mnist",
            steps=20000,
            log_every=200,
            shared_rates=(2e-5, 2e-4),
            grid=(1e-5, 3.2e-5, 1e-4, 3.2e-4, 1e-3, 1e-2, 0.1, 0.32, 1.0),
            tuning_steps=2000,
            tuning_seeds=1,
            seeds=5,
        ),
        widths=(4, 16, 64, 256, 1024),
    ),
    cost=cost.FULL,
    scaling=scaling.FULL,
)
PRESETS = {"smoke": SMOKE, "default": DEFAULT, "full": FULL}
