"""Neuroevolution on accelerators, rerun (Tang, Tian, Ha 2022: EvoJAX).

Evolution strategies on digits and on the cart-pole swing-up, tuned alike in learning rate and
first sigma, at equal evaluations; random search, a gradient rival and three controls beside them;
and what a population costs as one program against the fastest loop over its members.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from experiments.neuroevolution import claims, cost, strategies, tasks
from experiments.neuroevolution.trainers import Task, descent, search
from jaxtrends import charts, experiment
from jaxtrends.claims import Paper
from jaxtrends.comparison import Arm, Comparison, Setting, splits
from jaxtrends.errors import Problem
from jaxtrends.experiment import Experiment, Study
from jaxtrends.settings import Grid, Names, PositiveInt, Schedule, Settings, Sizes
from jaxtrends.study import Run
from jaxtrends.train import Trainer

# --- arms ----------------------------------------------------------------------------------------

STRATEGIES = {
    "pgpe": strategies.pgpe(sigma_rate=0.1),
    "openes": strategies.openes(),
    "ars": strategies.ars(),
    "sep_cma_es": strategies.sep_cma_es(textbook_rate=0.03),
    "random_search": strategies.random_search(),
}
CONTROLS = {  # arm -> how PGPE is spoilt
    "shuffled": {"shuffled": 1},
    "flipped": {"sign": -1.0},
    "untrained": {"sign": 0.0},
}
UPDATES = {"gradient": 1, "gradient_at_equal_examples": 0}  # of a step; 0: one for each member
IMAGES = ("digits",)
STARTS = ("easy", "hard")
ARMS = (*STRATEGIES, *CONTROLS, *UPDATES)
LADDER_ARMS = ("pgpe", "gradient")
CART_POLE_ARMS = (*STRATEGIES, *CONTROLS)


@cache
def searcher(name: str, task: Task, population: int) -> Trainer:
    """Kept, so that an arm and its controls share what is compiled."""
    return search(STRATEGIES[name], task, population)


@cache
def climber(task: Task, updates: int) -> Trainer:
    """The gradient rival."""
    return descent(task, updates)


def arm(name: str, task: Task, part: Any, facts: Mapping[str, Any], population: int) -> Arm:
    """One arm; a generation costs ``facts``, what a step of it costs follows."""
    if name in UPDATES:
        updates = UPDATES[name] or population
        share = updates / population
        own = {**facts, "population": 1, "examples": share * facts["examples"]}
        return Arm(climber(task, updates), {"sigma": 0.0}, own)
    whole = {**facts, "population": population}
    plain = {"sign": 1.0, "shuffled": 0}
    if name in CONTROLS:
        steps = part.schedule.log_every if name == "untrained" else part.control_steps
        numbers = {**plain, **CONTROLS[name]}
        return Arm(searcher("pgpe", task, population), numbers, whole, steps, rate_of="pgpe")
    rate = 1.0 if name == "random_search" else 0.0  # which has none to tune
    trainer = searcher(name, task, population)
    return Arm(trainer, plain, whole, grids={"sigma": part.sigmas}, rate=rate)


def digits_arm(name: str) -> Callable[[Setting], Arm]:
    """An arm on digits; on a ladder the population or the hidden units are the rung's."""

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
        return arm(name, task, part, facts, part.population)

    return make


# --- settings ------------------------------------------------------------------------------------


def _even(flag: str, *populations: int) -> None:
    for population in populations:
        if population < 4 or population % 2:
            raise Problem(
                f"--{flag} must be even and at least 4, not {population}: mirrored pairs."
            )


@dataclass(frozen=True)
class Digits:
    """All arms on 8 x 8 images."""

    tasks: Names[IMAGES] = IMAGES
    """Data sets."""
    arms: Names[ARMS] = ARMS
    """Arms to run."""
    population: PositiveInt = 64
    """Members of a generation, in mirrored pairs where the strategy has them."""
    hidden: PositiveInt = 32
    """Hidden units of the network."""
    batch: PositiveInt = 256
    """Images of a generation, the same for all members."""
    control_steps: PositiveInt = 500
    """Steps of the spoilt searches; a multiple of the log points."""
    sigmas: Grid = (0.02, 0.06, 0.18)
    """First deviations of the members that each search is tuned over, with its learning rate."""
    schedule: Schedule = field(
        default_factory=lambda: Schedule(
            steps=2000, log_every=5, grid=(0.01, 0.03, 0.09), tuning_steps=400
        )
    )
    """How each arm is tuned and run; a step is a generation."""

    def check(self, flag: str) -> None:
        """Refuse odd populations, and controls that the log points do not divide."""
        _even(f"{flag}.population", self.population)
        _check_controls(self, flag)


def _check_controls(part: Any, flag: str) -> None:
    if part.control_steps % part.schedule.log_every:
        raise Problem(
            f"--{flag}.control-steps {part.control_steps} is not a multiple of "
            f"--{flag}.schedule.log-every {part.schedule.log_every}."
        )


@dataclass(frozen=True)
class Populations:
    """PGPE with more and more members."""

    tasks: Names[IMAGES] = IMAGES
    """Data sets."""
    arms: Names[LADDER_ARMS] = ("pgpe",)
    """Arms to run."""
    populations: Sizes = (16, 64, 256)
    """Members of a generation."""
    hidden: PositiveInt = 32
    """Hidden units of the network."""
    batch: PositiveInt = 256
    """Images of a generation."""
    sigmas: Grid = (0.02, 0.06, 0.18)
    """As on digits."""
    schedule: Schedule = field(
        default_factory=lambda: Schedule(
            steps=1000, log_every=10, grid=(0.01, 0.03, 0.09), tuning_steps=400
        )
    )
    """How each is tuned and run."""

    def check(self, flag: str) -> None:
        """Refuse odd populations."""
        _even(f"{flag}.populations", *self.populations)


@dataclass(frozen=True)
class Widths:
    """PGPE and the gradient rival with more and more parameters."""

    tasks: Names[IMAGES] = IMAGES
    """Data sets."""
    arms: Names[LADDER_ARMS] = LADDER_ARMS
    """Arms to run."""
    widths: Sizes = (8, 32, 128)
    """Hidden units of the network; it has 75 parameters for each, and 10."""
    population: PositiveInt = 64
    """Members of a generation."""
    batch: PositiveInt = 256
    """Images of a generation."""
    sigmas: Grid = (0.02, 0.06, 0.18)
    """As on digits."""
    schedule: Schedule = field(
        default_factory=lambda: Schedule(
            steps=1000, log_every=5, grid=(0.01, 0.03, 0.09), tuning_steps=400
        )
    )
    """How each is tuned and run."""

    def check(self, flag: str) -> None:
        """Refuse odd populations."""
        _even(f"{flag}.population", self.population)


@dataclass(frozen=True)
class CartPole:
    """Searches on the cart-pole swing-up."""

    tasks: Names[STARTS] = STARTS
    """Starts of episodes: about hanging at rest, or anywhere and moving."""
    arms: Names[CART_POLE_ARMS] = (*STRATEGIES, "shuffled")
    """Arms to run."""
    population: PositiveInt = 64
    """Members of a generation."""
    hidden: PositiveInt = 16
    """Hidden units of the policy."""
    repeats: PositiveInt = 4
    """Episodes of a member in a generation, the same for all members."""
    control_steps: PositiveInt = 100
    """Steps of the spoilt searches; a multiple of the log points."""
    sigmas: Grid = (0.1, 0.3, 0.9)
    """First deviations of the members that each search is tuned over, with its learning rate."""
    schedule: Schedule = field(
        default_factory=lambda: Schedule(
            steps=400, log_every=20, grid=(0.05, 0.15, 0.45), tuning_steps=100, extensions=1
        )
    )
    """How each arm is tuned and run; a step is a generation."""

    def check(self, flag: str) -> None:
        """Refuse odd populations, and controls that the log points do not divide."""
        _even(f"{flag}.population", self.population)
        _check_controls(self, flag)


@dataclass(frozen=True)
class Config(Settings):
    """What is run; everything that a result depends on."""

    digits: Digits = field(default_factory=Digits)
    """All arms on 8 x 8 images."""
    populations: Populations = field(default_factory=Populations)
    """A ladder of populations."""
    widths: Widths = field(default_factory=Widths)
    """A ladder of networks."""
    cart_pole: CartPole = field(default_factory=CartPole)
    """The swing-up."""
    cost: cost.Cost = field(default_factory=cost.Cost)
    """What a population costs."""


BRIEF = Schedule(steps=40, log_every=10, grid=(0.03,), extensions=0, tuning_seeds=1)
SMOKE = Config(
    seeds=2,
    digits=Digits(population=8, batch=32, control_steps=40, sigmas=(0.06,), schedule=BRIEF),
    populations=Populations(populations=(8,), batch=32, sigmas=(0.06,), schedule=BRIEF),
    widths=Widths(widths=(32,), population=8, batch=32, sigmas=(0.06,), schedule=BRIEF),
    cart_pole=CartPole(
        tasks=("easy",),
        arms=("pgpe", "random_search", "shuffled"),
        population=8,
        repeats=1,
        control_steps=2,
        sigmas=(0.3,),
        schedule=Schedule(steps=2, log_every=2, grid=(0.15,), extensions=0, tuning_seeds=1),
    ),
    cost=cost.Cost(populations=(4,), batch=32, processes=1, rounds=2),
)
DEFAULT = Config(
    studies=("digits", "cost"),
    digits=Digits(arms=("pgpe", "random_search", *CONTROLS, "gradient")),
    cost=cost.Cost(populations=(16, 64, 256), rounds=5),
)
PRESETS = {"smoke": SMOKE, "default": DEFAULT, "full": Config()}

# --- studies -------------------------------------------------------------------------------------


def starts(setting: Setting, run: Run) -> Any:
    """The episodes of validation and test."""
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
                "examples", arms=LEARNERS, x_scale="log", title="Gradients, searches and chance"
            ),
            charts.over("steps", metric="sigma", arms=("pgpe", "sep_cma_es"), y_scale="log"),
        ),
        own=True,
        seconds={"smoke": 8, "default": 110, "full": 260},
    ),
    "populations": Comparison(
        about="generations and examples that PGPE takes, over its population",
        arms={name: digits_arm(name) for name in LADDER_ARMS},
        metric="accuracy",
        better="higher",
        ladder="populations",
        size="population",
        claims=claims.POPULATIONS,
        also=partial(claims.progress, target=claims.LOW_TARGET),
        figures=(charts.climb(on="steps_to_target", y_scale="log"),),
        seconds={"smoke": 3, "full": 120},
    ),
    "widths": Comparison(
        about="how far PGPE is behind the gradient, over the width of the network",
        arms={name: digits_arm(name) for name in LADDER_ARMS},
        metric="accuracy",
        better="higher",
        ladder="widths",
        size="hidden units",
        claims=claims.WIDTHS,
        also=partial(claims.progress, target=claims.LOW_TARGET),
        figures=(charts.climb(on="examples_to_target", y_scale="log"),),
        seconds={"smoke": 3, "full": 150},
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
        seconds={"smoke": 5, "default": 110, "full": 500},
    ),
    "cost": Study(
        "time of one evaluation of a population: loops over members, vmap, a scan over vmap",
        cost.run,
        claims.COST,
        {"smoke": 5, "default": 80, "full": 330},
        timed=True,
    ),
}


def datasets(config: Config) -> tuple[str, ...]:
    """What the studies that are run read."""
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
    """What was shrunk, of the studies that ran."""
    studies, said = EXPERIMENT.studies_of(config), []
    hidden = [config.digits.hidden] if "digits" in studies else []
    hidden += [config.populations.hidden] if "populations" in studies else []
    hidden += config.widths.widths if "widths" in studies else ()
    if hidden:
        sizes = " to ".join(f"{75 * size + 10:,}" for size in sorted({min(hidden), max(hidden)}))
        said.append(
            f"Networks of {sizes} parameters on 8 x 8 digits, where the paper's has 11,274 on MNIST"
        )
    if "cart_pole" in studies:
        part = config.cart_pole
        said.append(
            f"on the swing-up a policy of {7 * part.hidden + 1} parameters, {part.repeats} "
            f"episodes and {part.schedule.steps} generations, where the public settings have 64 "
            "hidden units, 16 episodes and 1,000 generations"
        )
    text = "; ".join([*said, "sizes for two CPU cores, not for an accelerator"]) + "."
    return text[0].upper() + text[1:]


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
    about="Evolution strategies in JAX: what they solve, what a population costs, and a gradient.",
    presets=PRESETS,
    studies=STUDIES,
    scale=scale,
    rigging="A jitted loop over members measures dispatch, and a slow loop makes any program look "
    "fast, so the fastest of three loops is the baseline, one of them on two processes. Untuned "
    "rivals lose, so every search has one grid of learning rates and first sigmas and the same "
    "evaluations. A fixed batch is memorised by rank, and the best member on a batch is lucky, so "
    "each generation draws a batch that all members share, and the mean is tested. A task that "
    "chance solves proves nothing, so random search, shuffled scores and a flipped sign stand "
    "beside each strategy.",
    departures=(
        "Networks start from Flax's default (digits) or LeCun normal (swing-up) in place of zeros, "
        "so that the gradient rival can share the start.",
        "An MLP on 8 x 8 digits and a batch of 256 in place of the paper's network on MNIST with a "
        "batch of 1,024.",
        "All strategies have 64 members; the public benchmarks give OpenES and ARS 100.",
        "The sigma of PGPE has the learning rate 0.1; EvoJAX tunes it too.",
        "ARS does not normalise observations, and its centre moves by Adam, as in public code.",
        "Sep-CMA-ES has no learning rate: the grid's number moves c_m, 1 at 0.03.",
        "Rates and sigmas are chosen on runs of a fifth of the generations on digits and a quarter "
        "on the swing-up.",
    ),
    answer=claims.answer,
    datasets=datasets,
    load=tasks.load,
)


def main(
    arguments: Sequence[str] | None = None, methods: Mapping[str, Callable[..., Any]] | None = None
) -> int:
    """Run the experiment; ``methods`` are arms of your own, judged against PGPE.

    A method takes a setting and returns an `Arm`, or None for a task that it is not for.
    """
    return experiment.main(EXPERIMENT, arguments, methods)
