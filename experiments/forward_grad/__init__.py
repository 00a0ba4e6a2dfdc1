"""Gradients without backpropagation: forward gradients against backprop (Baydin et al. 2022)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from experiments.forward_grad import cost, estimators, headline, scaling, test_functions, training
from experiments.forward_grad.training import METHODS, TASKS, Task, Training
from jaxtrends import running, settings
from jaxtrends.claims import NO, PARTLY, UNDECIDED, YES, Answers, Paper
from jaxtrends.data import DATASETS
from jaxtrends.design import Study
from jaxtrends.errors import Problem, choose
from jaxtrends.experiment import Experiment
from jaxtrends.formats import powers
from jaxtrends.settings import Name, Settings

# --- settings ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Config(Settings):
    """What to run; everything that a result depends on."""

    dataset: Name[DATASETS] = "mnist_5k"
    """Data set of the training study: mnist_5k (5,000 MNIST images), digits or mnist."""
    methods: tuple[str, ...] = ()
    """Methods of the training study; empty for all that its tasks name."""
    estimators: estimators.Estimators = field(default_factory=estimators.Estimators)
    """Bias and variance of the estimators, and finite differences."""
    test_functions: test_functions.TestFunctions = field(
        default_factory=test_functions.TestFunctions
    )
    """Beale and Rosenbrock."""
    training: Training = field(default_factory=Training)
    """Training of networks at shared and at tuned learning rates."""
    cost: cost.Cost = field(default_factory=cost.Cost)
    """FLOPs, memory and time of one gradient."""
    scaling: scaling.Scaling = field(default_factory=scaling.Scaling)
    """Slow-down with the number of parameters."""


def check(config: Config, own_methods: tuple[str, ...] = ()) -> None:
    """Refuse a config that cannot be run.

    Raises:
        Problem: names the flag at fault.
    """
    for method in own_methods:
        if method in METHODS:
            raise Problem(f"{method} is already a method of this experiment: rename yours.")
    for method in config.methods:
        choose("method", method, [*METHODS, *own_methods])
    settings.check(config)


def datasets(config: Config) -> tuple[str, ...]:
    """The data sets that the training study reads."""
    if config.studies and "training" not in config.studies:
        return ()
    tasks = config.training.networks.values()
    return tuple(dict.fromkeys(task.dataset or config.dataset for task in tasks))


SMOKE = Config(
    seeds=2,
    dataset="digits",
    estimators=estimators.SMOKE,
    test_functions=test_functions.SMOKE,
    training=Training(
        tasks=("mlp",),
        mlp=Task(
            hidden=(32,),
            steps=40,
            log_every=4,
            shared_rates=(2e-4, 2e-3),
            grid=(1e-3, 1e-2, 1e-1),
            tuning_steps=40,
            tuning_seeds=1,
        ),
        widths=(),
        timing_processes=1,
    ),
    cost=cost.SMOKE,
    scaling=scaling.SMOKE,
)
DEFAULT = Config(
    training=Training(
        logistic=Task(hidden=(), methods=("backprop", "gaussian", "rademacher")),
        mlp=Task(methods=("backprop", "gaussian", "rademacher", "central", "clipped")),
        ladder=Task(steps=500, tuning_steps=500, log_every=10, shared_rates=(2e-3,)),
    ),
)
FULL = replace(
    DEFAULT,
    estimators=estimators.FULL,
    test_functions=test_functions.FULL,
    training=Training(
        tasks=TASKS,
        logistic=Task(hidden=(), methods=tuple(METHODS)),
        mlp=Task(methods=tuple(METHODS)),
        cnn=Task(
            channels=8,
            hidden=(64,),
            dataset="digits",
            methods=("backprop", "gaussian", "rademacher"),
            steps=1500,
            log_every=50,
            shared_rates=(2e-3,),  # at a tenth of it even backprop learns nothing
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

# --- what is reported ----------------------------------------------------------------------------

WHOLE = "mnist"


def scale(config: Config, data: Mapping[str, Any]) -> str:
    """Size of the networks and images of the training study, and where the paper's network is."""
    named = datasets(config)
    own = "the paper's MLP (Figure 4) on all of MNIST for its 20,000 iterations"
    if not named:
        return f"No network is trained here; the full preset trains {own}."
    sides = sorted({data[name].train.inputs.shape[1] for name in named})
    images = " or ".join(f"{side}x{side}" for side in sides)
    figure4 = config.training.figure4
    kept = (figure4.hidden, figure4.dataset or config.dataset, figure4.steps)
    here = "figure4" in config.training.tasks and kept == ((1024, 1024), WHOLE, 20_000)
    where = f"one of them is {own}" if here else f"the full preset trains {own}"
    sizes = [
        training.parameters(training.make_model(task, found.train.inputs, found.classes))
        for task in config.training.networks.values()
        for found in [data[task.dataset or config.dataset]]
    ]
    return f"Networks of about {powers(sizes)} parameters on {images} images; {where}."


def departures(config: Config, data: Mapping[str, Any]) -> tuple[str, ...]:
    """Where the runs differ from the paper's settings."""
    said = [
        "jax.jvp compiled by XLA replaces the paper's own forward-mode engine inside PyTorch, so "
        "claims about run time are claims about this implementation.",
        "Batches are drawn with replacement.",
        "Weights have Flax's default initialisation (LeCun normal, zero biases); the paper does "
        "not give its own.",
    ]
    said += [
        f"{name} has {len(data[name].train.labels):,} training images; learning rates are set for "
        "that size."
        for name in datasets(config)
        if name != WHOLE
    ]
    batch, decay = config.training.batch_size, f"{config.training.decay:g}".replace("e-0", "e-")
    theirs = "Batch size 64 and the decay exp(-1e-4 t) come from public ports"
    here = "" if (batch, decay) == (64, "0.0001") else f"; here they are {batch} and {decay}"
    return (*said, f"{theirs}{here}.")


def answer(found: Answers) -> str:
    """Are forward gradients unbiased, faster, and do they learn as well?"""
    words, said = [], []
    with contextlib.suppress(KeyError):
        unbiased = found["F1a"]
        words.append(unbiased.word)
        said.append(
            unbiased.pick(
                "forward gradients are unbiased",
                f"forward gradients are biased by {unbiased.estimate:.1%} of the gradient",
                "whether forward gradients are unbiased is undecided",
            )
        )
    with contextlib.suppress(KeyError):
        time = found["F5a"]
        words.append(time.word)
        compared = time.pick("faster", "no faster", "perhaps faster")
        said.append(
            f"on XLA they are {compared} than backprop ({time:.2f} times its time; the paper has "
            "0.59)"
        )
    with contextlib.suppress(KeyError):
        shared = found["F4c"]
        parts = [found["F4c", part] for part in ("mlp", "figure4") if ("F4c", part) in found]
        places = " and ".join(f"{one:.2f}" for one in parts or [shared])
        said.append(
            f"at the paper's untuned learning rate they end at {places} times backprop's training "
            "loss"
        )
    for id, metric in (("F7d", "test"), ("F7a", "training")):  # F7a until November 2026
        with contextlib.suppress(KeyError):
            said.append(
                f"with the rate tuned for each method, at {found[id]:.1f} times its {metric} loss"
            )
            break
    word = words[0] if len({*words}) == 1 else PARTLY if {YES, NO} <= {*words} else UNDECIDED
    return f"{word}: {'; '.join(said)}."


# --- the paper -----------------------------------------------------------------------------------

EXPERIMENT = Experiment(
    name="forward_grad",
    paper=Paper(
        key="baydin2022gradients",
        title="Gradients without Backpropagation",
        authors="Baydin, Pearlmutter, Syme, Wood, Torr",
        year=2022,
        arxiv="2202.08587",
        bibtex="""@article{baydin2022gradients,
  title = {Gradients without Backpropagation},
  author = {Baydin, Atılım Güneş and Pearlmutter, Barak A. and Syme, Don and Wood, Frank
            and Torr, Philip},
  journal = {arXiv preprint arXiv:2202.08587},
  year = {2022}
}""",
    ),
    about="Forward gradients: unbiased gradient estimates from one forward pass, against backprop.",
    presets={"smoke": SMOKE, "default": DEFAULT, "full": FULL},
    studies={
        "estimators": Study(
            "bias and variance for each distribution of tangents; finite differences",
            estimators.run,
            estimators.CLAIMS,
        ),
        "test_functions": Study(
            "Beale and Rosenbrock at the paper's settings",
            test_functions.run,
            test_functions.CLAIMS,
            timed=True,
        ),
        "scaling": Study(
            "slow-down with the number of parameters, on quadratics and linear regression",
            scaling.run,
            scaling.CLAIMS,
        ),
        "cost": Study(
            "FLOPs, memory and time of one gradient, over depth and width",
            cost.run,
            cost.CLAIMS,
            timed=True,
        ),
        "training": Study(
            "training networks at shared and at tuned learning rates; a ladder of widths",
            training.run,
            training.CLAIMS,
            timed=True,
        ),
    },
    answer=answer,
    headline_figure=headline.figure,
    lead="F5a",
    caveat="MNIST and smaller images, networks of up to 10^6 parameters",
    scale=scale,
    rigging="A shared learning rate that suits one method would decide the comparison, so the "
    "paper's shared rates and rates tuned for each method on one grid are both reported. At a rate "
    "too small to learn anything all methods look equal, so an untrained network is a control that "
    "keeps up where backprop itself has learned nothing. Timing optimised code against "
    "unoptimised code would decide the race, so one compiler compiles both methods from one "
    "definition of the network.",
    departures=departures,
    check=check,
    datasets=datasets,
)


def main(
    arguments: Sequence[str] | None = None, methods: Mapping[str, Callable[..., Any]] | None = None
) -> int:
    """Run the experiment; ``methods`` are your own estimators, trained along with the others."""
    return running.main(EXPERIMENT, arguments, methods)
