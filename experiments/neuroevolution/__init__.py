"""Neuroevolution on accelerators, rerun (Tang, Tian, Ha 2022: EvoJAX).

Evolution strategies on digits and on the cart-pole swing-up, with learning rate and initial sigma
tuned on one grid, at equal evaluations, against random search, a gradient rival and three controls;
and the cost of a population as one program against the fastest loop over its members.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from experiments.neuroevolution import claims, cost, headline, strategies, tasks
from experiments.neuroevolution.trainers import Task, descent, search
from jaxtrends import charts, running
from jaxtrends.claims import Paper
from jaxtrends.comparison import Arm, Comparison, Setting, splits
from jaxtrends.design import Study
from jaxtrends.errors import Problem
from jaxtrends.experiment import Experiment
from jaxtrends.settings import Grid, Names, PositiveInt, Schedule, Settings, Sizes
from jaxtrends.study import Run
from jaxtrends.train import Trainer

# --- arms ----------------------------------------------------------------------------------------

STRATEGIES = {
    "pgpe": strategies.pgpe(sigma_rate=0.1),
    "openes": strategies.openes(),
    "ars": strategies.ars(),
    "sep_cma_es": strategies.sep_cma_es(),
    "random_search": strategies.random_search(),
}
CONTROLS = {  # arm -> how PGPE is broken, and for which share of the steps
    "shuffled": ({"shuffled": 1}, 1.0),
    "flipped": ({"sign": -1.0}, 0.25),
    "untrained": ({"sign": 0.0}, 0.0),
}
UPDATES = {  # gradient updates per step; 0: one for each member
    "gradient": 1,
    "gradient_twice": 2,
    "gradient_at_equal_examples": 0,
}
IMAGES = ("digits",)
STARTS = ("easy", "hard")
ARMS = (*STRATEGIES, *CONTROLS, *UPDATES)
LADDER_ARMS = ("pgpe", "gradient", "gradient_twice")
CART_POLE_ARMS = (*STRATEGIES, *CONTROLS)


@cache
def searcher(name: str, task: Task, population: int) -> Trainer:
    """Cached, so that an arm and its controls share a compiled program."""
    return search(STRATEGIES[name], task, population)


@cache
def climber(task: Task, updates: int) -> Trainer:
    """The gradient rival."""
    return descent(task, updates)


def arm(name: str, task: Task, part: Any, facts: Mapping[str, Any], population: int) -> Arm:
    """One arm; ``facts`` are the costs of a generation, from which its own costs follow."""
    schedule: Schedule = part.schedule
    steps, updates = schedule.steps, population
    plain = {"sign": 1.0, "shuffled": 0, "textbook_rate": schedule.grid[len(schedule.grid) // 2]}
    if name in UPDATES:
        updates = UPDATES[name] or population
        made = Arm(climber(task, updates), {"sigma": 0.0})
    elif name in CONTROLS:
        spoilt, share = CONTROLS[name]
        steps = schedule.log_every * max(1, round(share * steps / schedule.log_every))
        trainer = searcher("pgpe", task, population)
        made = Arm(trainer, {**plain, **spoilt}, steps=steps, rate_of="pgpe")
    else:
        rate = 1.0 if name == "random_search" else None  # random search has no rate to tune
        trainer = searcher(name, task, population)
        made = Arm(trainer, plain, grids={"sigma": part.sigmas}, rate=rate)
    unit = "episodes" if "episodes" in facts else "examples"
    each = facts[unit] * updates // population
    members = 1 if name in UPDATES else population
    own = {**facts, unit: each, f"{unit}_in_all": each * steps, "population": members}
    return dataclasses.replace(made, facts=own)


def digits_arm(name: str) -> Callable[[Setting], Arm]:
    """An arm on digits; a ladder's rung sets the population or the hidden units."""

    def make(setting: Setting) -> Arm:
        part = setting.part
        hidden = getattr(part, "hidden", None) or int(setting.size)
        population = getattr(part, "population", None) or int(setting.size)
        task = tasks.digits(hidden, part.batch)
        facts = {"parameters": 75 * hidden + 10, "examples": population * part.batch}
        return arm(name, task, part, facts, population)

    return make


def cart_pole_arm(name: str) -> Callable[[Setting], Arm]:
    """An arm on the swing-up."""

    def make(setting: Setting) -> Arm:
        part = setting.part
        task = tasks.cart_pole(part.hidden, part.repeats, hard=setting.task == "hard")
        facts = {"parameters": 7 * part.hidden + 1, "episodes": part.population * part.repeats}
        if setting.data is not None:
            facts["survivable"] = tasks.survivable(setting.data["test"])
        return arm(name, task, part, facts, part.population)

    return make


# --- settings ------------------------------------------------------------------------------------


SEARCHED = {"grid": (0.01, 0.03, 0.09), "tuning_steps": 400}


@dataclass(frozen=True)
class Search:
    """What all comparisons of searches share."""

    def check(self, flag: str) -> None:
        """Refuse odd populations.

        Raises:
            Problem: names the flag.
        """
        for name in ("population", "populations"):
            given = getattr(self, name, ())
            for count in given if isinstance(given, tuple) else (given,):
                if count < 4 or count % 2:
                    raise Problem(
                        f"--{flag}.{name} must be even and at least 4, not {count}: members come "
                        "in mirrored pairs."
                    )


@dataclass(frozen=True)
class Images(Search):
    """What all comparisons on images share."""

    tasks: Names[IMAGES] = IMAGES
    """Data sets."""
    batch: PositiveInt = 256
    """Images per generation, the same for all members."""
    sigmas: Grid = (0.02, 0.06, 0.18)
    """Initial sigmas to tune each search over, together with its learning rate."""


@dataclass(frozen=True)
class Digits(Images):
    """All arms on 8 x 8 images."""

    arms: Names[ARMS] = ARMS
    """Arms to run."""
    population: PositiveInt = 64
    """Members per generation, in mirrored pairs where the strategy has them."""
    hidden: PositiveInt = 32
    """Hidden units of the network."""
    schedule: Schedule = field(
        default_factory=lambda: Schedule(steps=2000, log_every=5, **SEARCHED)
    )
    """How each arm is tuned and run; a step is a generation."""


@dataclass(frozen=True)
class Populations(Images):
    """PGPE with more and more members."""

    arms: Names[LADDER_ARMS] = ("pgpe", "gradient")
    """Arms to run."""
    populations: Sizes = (16, 64, 256)
    """Members per generation."""
    hidden: PositiveInt = 32
    """Hidden units of the network."""
    schedule: Schedule = field(
        default_factory=lambda: Schedule(steps=1000, log_every=1, **SEARCHED)
    )
    """How each arm is tuned and run."""


@dataclass(frozen=True)
class Widths(Images):
    """PGPE and the gradient rival with more and more parameters."""

    arms: Names[LADDER_ARMS] = LADDER_ARMS
    """Arms to run."""
    widths: Sizes = (8, 32, 128)
    """Hidden units of the network; 75 parameters for each, plus 10."""
    population: PositiveInt = 64
    """Members per generation."""
    schedule: Schedule = field(
        default_factory=lambda: Schedule(steps=1000, log_every=1, **SEARCHED)
    )
    """How each arm is tuned and run; every step is logged, so that the target is timed exactly."""


@dataclass(frozen=True)
class CartPole(Search):
    """Searches on the cart-pole swing-up."""

    tasks: Names[STARTS] = ("easy",)
    """Starts of episodes: easy (hanging nearly at rest) or hard (anywhere and moving, where many
    starts cannot be saved)."""
    arms: Names[CART_POLE_ARMS] = (*STRATEGIES, "shuffled")
    """Arms to run."""
    population: PositiveInt = 64
    """Members per generation."""
    hidden: PositiveInt = 16
    """Hidden units of the policy."""
    repeats: PositiveInt = 4
    """Episodes per member and generation, the same for all members."""
    sigmas: Grid = (0.1, 0.3, 0.9)
    """Initial sigmas to tune each search over, together with its learning rate."""
    schedule: Schedule = field(
        default_factory=lambda: Schedule(
            steps=400, log_every=20, grid=(0.05, 0.15, 0.45), tuning_steps=100, extensions=1
        )
    )
    """How each arm is tuned and run; a step is a generation."""


@dataclass(frozen=True)
class Config(Settings):
    """What to run; everything that a result depends on."""

    digits: Digits = field(default_factory=Digits)
    """All arms on 8 x 8 images."""
    populations: Populations = field(default_factory=Populations)
    """A ladder of populations."""
    widths: Widths = field(default_factory=Widths)
    """A ladder of network widths."""
    cart_pole: CartPole = field(default_factory=CartPole)
    """The cart-pole swing-up."""
    cost: cost.Cost = field(default_factory=cost.Cost)
    """Time to evaluate a population."""


BRIEF = Schedule(steps=40, log_every=10, grid=(0.03,), extensions=0, tuning_seeds=1)
SMOKE = Config(
    seeds=2,
    digits=Digits(population=8, batch=32, sigmas=(0.06,), schedule=BRIEF),
    populations=Populations(populations=(8,), batch=32, sigmas=(0.06,), schedule=BRIEF),
    widths=Widths(widths=(32,), population=8, batch=32, sigmas=(0.06,), schedule=BRIEF),
    cart_pole=CartPole(
        tasks=("easy",),
        arms=("pgpe", "random_search", "shuffled"),
        population=8,
        repeats=1,
        sigmas=(0.3,),
        schedule=Schedule(steps=2, log_every=2, grid=(0.15,), extensions=0, tuning_seeds=1),
    ),
    cost=cost.Cost(populations=(4,), batch=32, processes=1, rounds=2),
)
DEFAULT = Config(
    studies=("digits", "cost"),
    digits=Digits(arms=("pgpe", "random_search", *CONTROLS, "gradient", "gradient_twice")),
    cost=cost.Cost(populations=(4, 16, 64, 256), rounds=8),
)
PRESETS = {"smoke": SMOKE, "default": DEFAULT, "full": Config()}

# --- studies -------------------------------------------------------------------------------------


def starts(setting: Setting, run: Run) -> Any:
    """Starts of the validation and test episodes."""
    return run.dataset(f"cart_pole_{setting.task}").starts


LEARNERS = ("pgpe", "openes", "ars", "sep_cma_es", "random_search", *UPDATES)
STUDIES = {
    "digits": Comparison(
        about="evolution strategies, random search and gradients on digits, at equal evaluations",
        arms={name: digits_arm(name) for name in ARMS},
        metric="accuracy",
        better="higher",
        data=splits,
        claims=claims.DIGITS,
        also=partial(claims.progress, target=claims.TARGET),
        figures=(
            charts.over(
                "examples", arms=LEARNERS, x_scale="log", title="Gradients, searches, random search"
            ),
            charts.over("steps", metric="sigma", arms=("pgpe", "sep_cma_es"), y_scale="log"),
        ),
        own=True,
    ),
    "populations": Comparison(
        about="generations and examples that PGPE needs, against its population",
        arms={name: digits_arm(name) for name in LADDER_ARMS},
        metric="accuracy",
        better="higher",
        ladder="populations",
        size="population",
        claims=claims.POPULATIONS,
        also=partial(claims.progress, target=claims.LOW_TARGET),
        figures=(charts.climb(on="steps_to_target", y_scale="log"),),
    ),
    "widths": Comparison(
        about="how far PGPE is behind the gradient, against the width of the network",
        arms={name: digits_arm(name) for name in LADDER_ARMS},
        metric="accuracy",
        better="higher",
        ladder="widths",
        size="hidden units",
        claims=claims.WIDTHS,
        also=partial(claims.progress, target=claims.LOW_TARGET),
        figures=(charts.climb(on="examples_to_target", y_scale="log"),),
    ),
    "cart_pole": Comparison(
        about="evolution strategies on the cart-pole swing-up, at equal episodes",
        arms={name: cart_pole_arm(name) for name in CART_POLE_ARMS},
        metric="return",
        unit="of at most 1,000",
        better="higher",
        data=starts,
        claims=claims.CART_POLE,
        figures=(charts.over("steps", title="Cart-pole swing-up"),),
        own=True,
    ),
    "cost": Study(
        "time to evaluate a population: loops over members, vmap, and a scan over vmap",
        cost.run,
        claims.COST,
        timed=True,
    ),
}


def datasets(config: Config) -> tuple[str, ...]:
    """The data sets of the chosen studies."""
    wanted = EXPERIMENT.studies_of(config)
    images = [config.digits, config.populations, config.widths]
    names = [
        name
        for study, part in zip(("digits", "populations", "widths"), images, strict=True)
        if study in wanted
        for name in part.tasks
    ]
    if "cart_pole" in wanted:
        names += [f"cart_pole_{task}" for task in config.cart_pole.tasks]
    return tuple(dict.fromkeys(names))


def scale(config: Config, data: Mapping[str, Any]) -> str:
    """What was shrunk in the chosen studies."""
    studies, said = EXPERIMENT.studies_of(config), []
    hidden = [config.digits.hidden] if "digits" in studies else []
    hidden += [config.populations.hidden] if "populations" in studies else []
    hidden += config.widths.widths if "widths" in studies else ()
    if hidden:
        sizes = " to ".join(f"{75 * size + 10:,}" for size in sorted({min(hidden), max(hidden)}))
        said.append(
            f"networks of {sizes} parameters on 8x8 digits; the public code has 11,274 on MNIST"
        )
    if "cart_pole" in studies:
        part = config.cart_pole
        said.append(
            f"on the swing-up, a policy of {7 * part.hidden + 1} parameters, {part.repeats} "
            f"episodes and {part.schedule.steps} generations; the public settings have 64 hidden "
            "units, 16 episodes and 1,000 generations"
        )
    said.append("sizes are for two CPU cores, not for an accelerator")
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in said)


EXPERIMENT = Experiment(
    name="neuroevolution",
    paper=Paper(
        key="tang2022evojax",
        title="EvoJAX: Hardware-Accelerated Neuroevolution",
        authors="Tang, Tian, Ha",
        year=2022,
        arxiv="2202.05008",
        bibtex="""@article{tang2022evojax,
  title = {{EvoJAX}: Hardware-Accelerated Neuroevolution},
  author = {Tang, Yujin and Tian, Yingtao and Ha, David},
  journal = {arXiv preprint arXiv:2202.05008},
  year = {2022}
}""",
    ),
    about="Evolution strategies in JAX: what they solve, what a population costs, and how they "
    "compare with gradients.",
    presets=PRESETS,
    studies=STUDIES,
    scale=scale,
    rigging="A jitted Python loop over members measures dispatch, and a slow loop makes any "
    "program look fast, so the baseline is the fastest of four loops, one of them compiled; the "
    "gain over the jitted loop is drawn next to the gain over the fastest. Untuned rivals lose, so "
    "on each task all searches share one grid of initial sigmas, one grid of learning rates where "
    "they have one, and the same number of evaluations. A fixed batch gets memorised, and the best "
    "member on a batch is lucky, so each generation draws a new batch that all members share, and "
    "the mean is tested. A task that chance solves proves nothing, so random search and PGPE with "
    "shuffled scores or a flipped sign are run too.",
    departures=(
        "Networks start from Flax's default (digits) or LeCun normal (swing-up) instead of zeros, "
        "so that the gradient rival can share the start.",
        "An MLP on 8x8 digits with a batch of 256 replaces the public code's network on MNIST with "
        "a batch of 1,024.",
        "All strategies have 64 members; the public benchmarks give OpenES and ARS 100.",
        "PGPE's sigma has learning rate 0.1; EvoJAX tunes it too.",
        "PGPE's mean is updated by Adam; ClipUp is left out, and so is CMA-ES with a full "
        "covariance, one of the benchmark page's strategies.",
        "ARS does not normalise observations, and its mean is updated by Adam, as in public code.",
        "Sep-CMA-ES has no learning rate: the grid scales c_m, with the textbook's 1 in the "
        "middle.",
        "Rates and sigmas are chosen on short runs (a fifth of the generations on digits, a "
        "quarter on the swing-up) and then kept constant. This favours fast rates and holds down "
        "the gain of late generations (E1b). OpenES and ARS, whose sigma decays on a schedule, are "
        "tuned only on the start of that schedule (E4a).",
        "There is no gradient arm at equal time; at equal examples a gradient takes about three "
        "times the compute.",
        "There is no preset for an accelerator, which the paper's claims about time are about.",
    ),
    answer=claims.answer,
    headline_figure=headline.figure,
    lead="E2c",
    caveat="timed on two CPU cores, while the paper's claim is about accelerators",
    datasets=datasets,
    load=tasks.load,
)


def main(
    arguments: Sequence[str] | None = None, methods: Mapping[str, Callable[..., Any]] | None = None
) -> int:
    """Run the experiment; ``methods`` are your own arms, judged against PGPE.

    A method takes a setting and returns an `Arm`, or None for tasks that it does not cover.
    """
    return running.main(EXPERIMENT, arguments, methods)
