"""Gradients without backpropagation: forward gradients against backprop (Baydin et al. 2022)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from experiments.forward_grad import cost, estimators, headline, scaling, test_functions, training
from experiments.forward_grad.training import METHODS, PAPER_TASKS, TASKS, Task, Training
from jaxtrends import running, settings
from jaxtrends.claims import Answers, Paper
from jaxtrends.data import DATASETS
from jaxtrends.errors import Problem, choose
from jaxtrends.experiment import Experiment, Study
from jaxtrends.formats import powers
from jaxtrends.settings import Name, Settings

# --- settings ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Config(Settings):
    """What is run; everything that a result depends on."""

    dataset: Name[DATASETS] = "mnist_5k"
    """Data of the training study: mnist_5k (5,000 real MNIST images), digits or mnist."""
    methods: tuple[str, ...] = ()
    """Arms of the training study; all that its tasks name if none is."""
    estimators: estimators.Estimators = field(default_factory=estimators.Estimators)
    """Bias and variance of the estimators; finite differences."""
    test_functions: test_functions.TestFunctions = field(
        default_factory=test_functions.TestFunctions
    )
    """Beale and Rosenbrock."""
    training: Training = field(default_factory=Training)
    """Networks, at shared and at tuned rates."""
    cost: cost.Cost = field(default_factory=cost.Cost)
    """Arithmetic, memory and time of one gradient."""
    scaling: scaling.Scaling = field(default_factory=scaling.Scaling)
    """Slow-down with the number of parameters."""


def check(config: Config, own_methods: tuple[str, ...] = ()) -> None:
    """Refuse a config that cannot be run.

    Raises:
        Problem: names the flag at fault.
    """
    for method in own_methods:
        if method in METHODS:
            raise Problem(f"{method} is one of the experiment's methods: give yours another name.")
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
DEFAULT = Config(
    training=Training(
        logistic=Task(hidden=(), methods=("backprop", "gaussian", "rademacher")),
        mlp=Task(methods=("backprop", "gaussian", "rademacher", "central", "clipped")),
        ladder=Task(steps=500, tuning_steps=500, log_every=10),
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

# --- what is told --------------------------------------------------------------------------------

WHOLE = "mnist"


def scale(config: Config, data: Mapping[str, Any]) -> str:
    """Parameters and images of the training study, and where the paper's own network is."""
    named = datasets(config)
    own = "the paper's own MLP (Figure 4) on the whole of MNIST for the paper's 20,000 iterations"
    if not named:
        return f"No network is trained here; the full preset trains {own}."
    sides = sorted({data[name].train.inputs.shape[1] for name in named})
    images = " or ".join(f"{side}x{side}" for side in sides)
    figure4 = config.training.figure4
    kept = (figure4.hidden, figure4.dataset or config.dataset, figure4.steps)
    here = "figure4" in config.training.tasks and kept == ((1024, 1024), WHOLE, 20_000)
    where = f"among them {own}" if here else f"the full preset trains {own}"
    sizes = [
        training.parameters(training.make_model(task, found.train.inputs, found.classes))
        for task in config.training.networks.values()
        for found in [data[task.dataset or config.dataset]]
    ]
    return f"Networks of about {powers(sizes)} parameters on {images} images; {where}."


def departures(config: Config, data: Mapping[str, Any]) -> tuple[str, ...]:
    """Where the runs leave the paper's settings."""
    said = [
        "The paper's own forward-mode engine inside PyTorch is replaced by jax.jvp, compiled by "
        "XLA: claims about run time are claims about this implementation.",
        "Batches are drawn with replacement.",
        "Weights start from Flax's default (LeCun normal, zero biases); the paper does not say.",
    ]
    said += [
        f"On {name}, training is on {len(data[name].train.labels):,} images, at learning rates "
        "fit for that size."
        for name in datasets(config)
        if name != WHOLE
    ]
    batch, decay = config.training.batch_size, f"{config.training.decay:g}".replace("e-0", "e-")
    theirs = "Batch size 64 and the decay exp(-1e-4 t) are those of public ports"
    here = "" if (batch, decay) == (64, "0.0001") else f"; here they are {batch} and {decay}"
    return (*said, f"{theirs}{here}.")


def answer(found: Answers) -> str:
    """The paper's headlines and its critic's, as far as this run has them."""

    def each(id: str, spec: str, parts: Mapping[str, str]) -> str:
        """The numbers of a claim's parts, those that ran, and the claim's verdict."""
        numbers = []
        for part, words in parts.items():
            with contextlib.suppress(KeyError):
                numbers.append(f"{found[id, part]:{spec}} {words}")
        return f"{' and '.join(numbers)} ({id}: {found[id].verdict})"

    networks = {task: f"on {task}" for task in PAPER_TASKS}
    tangents = {"gaussian": "with Gaussian tangents", "signs": "with random signs"}
    phrases = (
        lambda: (
            f"where it is least favourable, the mean error is {found['F1a']:.2%} of the "
            f"gradient's length (F1a: {found['F1a'].verdict})"
        ),
        lambda: (
            "at the largest learning rate shared by both, their training loss over backprop's is "
            + each("F4c", ".2f", networks)
        ),
        lambda: "the time of one gradient over backprop's is " + each("F5a", ".2f", tangents),
        lambda: (
            "with the rate tuned for each, their training loss over backprop's is "
            + each("F7a", ".1f", networks)
        ),
    )
    said = []
    for phrase in phrases:
        with contextlib.suppress(KeyError):  # a run without this study
            said.append(phrase())
    return f"Forward gradients against backprop: {'; '.join(said)}." if said else ""


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
    about="Forward gradients: an unbiased gradient from one forward run, against backprop.",
    presets={"smoke": SMOKE, "default": DEFAULT, "full": FULL},
    studies={
        "estimators": Study(
            "bias and variance of every tangent law against its closed form; finite differences",
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
            "slow-down with the number of parameters on quadratics and linear regression",
            scaling.run,
            scaling.CLAIMS,
        ),
        "cost": Study(
            "arithmetic, memory and time of one gradient over depth and width",
            cost.run,
            cost.CLAIMS,
            timed=True,
        ),
        "training": Study(
            "networks at shared and at tuned learning rates; a ladder of widths",
            training.run,
            training.CLAIMS,
            timed=True,
        ),
    },
    answer=answer,
    headline_figure=headline.figure,
    lead="F5a",
    caveat="images of 8x8 and 28x28 pixels, networks of up to 10^6 parameters, two CPU cores",
    scale=scale,
    rigging="A shared learning rate that suits one side decides the comparison by itself, so the "
    "paper's shared rates and rates tuned for each method on one common grid stand side by side; "
    "a rate so small that nothing is learned would make any two methods equal, so backprop's own "
    "progress is a claim of its own and an untrained net is the negative control; timing one "
    "method's untuned code against another's tuned code would decide a race, so both are compiled "
    "by the same compiler from one definition of the network.",
    departures=departures,
    check=check,
    datasets=datasets,
)


def main(
    arguments: Sequence[str] | None = None, methods: Mapping[str, Callable[..., Any]] | None = None
) -> int:
    """Run the experiment; ``methods`` are estimators of your own, trained beside the others."""
    return running.main(EXPERIMENT, arguments, methods)
