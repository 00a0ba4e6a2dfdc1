"""Fine-tuning a sparse and a dense network on a cluster that neither has seen. (S5, S6, S7)

Both are pretrained on the other clusters of the lookup task, each at its best learning rate, and
stopped at the same loss: the final loss of the worse network, seed by seed. Later differences are
therefore not due to the starting point. Both are then fine-tuned on 64 to 4,096 sequences of a new
cluster, with Adam's state reset, at rates tuned for each network and size; with less and with more
expert capacity; and over a grid of batch sizes and learning rates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt

from experiments.moe_design import language
from experiments.moe_design.language import LOSS, Network, PyTree, exchanged, train_at
from jaxtrends import charts, declare, sequences, train, transformer, tuning
from jaxtrends.claims import Claim
from jaxtrends.comparison import Arm, Comparison, Setting
from jaxtrends.declare import ABOVE_ZERO, BELOW_ZERO, LadderView, TaskView
from jaxtrends.design import Study
from jaxtrends.errors import Problem
from jaxtrends.settings import Grid, PositiveInt, Rising, Schedule, Sizes
from jaxtrends.study import Figure, Panel, Run, StudyResult, Table

MODELS = ("sparse", "dense")
FEW_PLACES, MANY_PLACES = 0.9, 2.0  # top-1 with capacity 0.9 drops at least 10% of tokens
DROPPED = (0.1, 0.2)  # accepted as the paper's 10 to 15%
MARGIN = 0.02  # nats


@dataclass(frozen=True)
class Finetuning:
    """The two networks, their pretraining and their fine-tuning."""

    network: Network = field(
        default_factory=lambda: Network(clusters=9, training=60_000, batch=64, steps=600)
    )
    """The sparse network and its pretraining; its last cluster is the new one."""
    dense_hidden: PositiveInt = 256
    """Hidden width of the dense network; all else is as in the sparse network."""
    examples: Sizes = (64, 256, 4096)
    """Fine-tuning sequences of the new cluster, rising; each must divide the last."""
    batches: Annotated[tuple[int, ...], Gt(0), Rising(2)] = (16, 32, 64)
    """Batch sizes of fine-tuning, rising; numbers of examples are compared at the second."""
    rates: Grid = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
    """Learning rates of fine-tuning."""
    grid_examples: PositiveInt = 256
    """Fine-tuning sequences for the grid of batch sizes and rates; one of --examples."""
    capacity_factors: Annotated[tuple[float, ...], Gt(0)] = (FEW_PLACES, MANY_PLACES)
    """Capacity factors to compare when fine-tuning the sparse network."""
    steps: PositiveInt = 200
    """Steps of fine-tuning."""

    def check(self, flag: str) -> None:
        """Refuse numbers of examples that do not fit together, and invalid networks.

        Raises:
            Problem: names the flag at fault.
        """
        if self.network.data != "lookup" or self.network.clusters < 2:
            raise Problem(f"--{flag}.network needs the lookup task with at least two clusters.")
        if any(self.examples[-1] % count for count in self.examples):
            raise Problem(f"--{flag}.examples must all divide the last.")
        if self.grid_examples not in self.examples:
            raise Problem(f"--{flag}.grid-examples must be one of {self.examples}.")
        transformer.check(self.pretrained("dense").sizes(), self.network.batch)
        for batch in self.batches:
            for factor in (self.network.capacity_factor, *self.capacity_factors):
                self.tuned("sparse", batch, factor).check(flag)

    def pretrained(self, model: str) -> Network:
        """The network of a model, as pretrained."""
        if model == "sparse":
            return self.network
        layers = (0,) * len(self.network.layers)
        return replace(self.network, layers=layers, hidden=self.dense_hidden)

    def tuned(self, model: str, batch: int = 0, factor: float = 0.0) -> Network:
        """The network as fine-tuned, with the second of the batch sizes unless one is given."""
        network = self.pretrained(model)
        return replace(
            network,
            batch=batch or self.batches[1],
            group=0,
            steps=self.steps,
            rates=self.rates,
            capacity_factor=factor or network.capacity_factor,
        )

    @property
    def networks(self) -> tuple[Network, ...]:
        """All networks trained."""
        sparse = (self.tuned("sparse", batch) for batch in self.batches)
        return (*map(self.pretrained, MODELS), *sparse)

    @property
    def source(self) -> Network:
        """The data, with enough held-out sequences of each cluster."""
        count = 2 * self.network.held_out * self.network.clusters
        return replace(self.network, held_out=count)

    @property
    def schedule(self) -> Schedule:
        """How networks are fine-tuned."""
        return self.tuned("sparse").schedule

    @property
    def seeds(self) -> int:
        """Reporting seeds; 0 for --seeds."""
        return self.network.seeds


# --- pretraining ---------------------------------------------------------------------------------


def limited(trainer: train.Trainer) -> train.Trainer:
    """The trainer, whose state is frozen from the lane's step ``limit`` on."""

    def step(lane: PyTree, state: PyTree, data: PyTree) -> tuple[PyTree, train.Metrics]:
        stepped, metrics = trainer.step(lane, state, data)
        going = state["step"] < lane["limit"]
        return jax.tree.map(lambda new, old: jnp.where(going, new, old), stepped, state), metrics

    return replace(trainer, step=step)


def stops(curves: Mapping[str, np.ndarray], log_every: int) -> dict[str, np.ndarray]:
    """The step at which each network is stopped, seed by seed: model -> (seeds,) int32.

    This is the first evaluation at which its validation loss is at most the final loss of the worse
    network; curves are (seeds, points). Where a loss is NaN, training runs to the end.
    """
    target = np.max([curve[:, -1] for curve in curves.values()], axis=0)
    return {
        model: np.minimum(
            tuning.first_reach(curve, target, log_every), curve.shape[1] * log_every
        ).astype(np.int32)
        for model, curve in curves.items()
    }


def of_clusters(
    data: sequences.Sequences, new: int, count: int, examples: int = 0
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The splits of the old clusters or, with ``examples``, of the new one; ``count`` held out.

    Raises:
        Problem: there are too few sequences.
    """
    splits = {}
    for name, wanted in (("train", examples), ("validation", count), ("test", count)):
        windows = getattr(data, name)
        mine = windows.clusters == new if examples else windows.clusters != new
        rows = np.flatnonzero(mine)
        if rows.size < max(wanted, 1):
            raise Problem(
                f"The new cluster has {rows.size} sequences in the {name} split, but {wanted} are "
                "needed: raise --finetuning.network.training or --finetuning.network.held-out."
            )
        rows = rows[:wanted] if wanted else rows
        splits[name] = (windows.inputs[rows], windows.labels[rows])
    return splits


@dataclass(frozen=True)
class Start:
    """A pretrained model: the values to record, and its parameters, seed by seed."""

    values: Mapping[str, Any]
    params: Mapping[int, PyTree]


def pretrain(setting: Setting, run: Run, data: Any) -> dict[str, Start]:
    """Pretrain both networks to equal loss, on the reporting and the tuning seeds."""
    part: Finetuning = setting.part
    every = [*setting.seeds, *setting.tuning_seeds]
    networks = {model: part.pretrained(model) for model in MODELS}
    arms, curves = {}, {}
    for model, network in networks.items():
        numbers = {**language.coefficients(network), "limit": network.steps}
        label, arm = f"pretraining, {model}", Arm(pretrainer(network), numbers)
        arms[model] = arm = language.tuned(
            run, f"{label}, tuning", arm, network, data, setting.tuning_seeds
        )
        found = train_at(run, f"{label}, whole", arm, network, data, [arm.rate], every, test=False)
        curves[model] = found["validation_cross_entropy"][0]
    limits = stops(curves, part.network.log_every)
    started = {}
    for model, network in networks.items():
        arm, label = arms[model], f"pretraining, {model}, to one loss"
        arm = replace(arm, numbers={**arm.numbers, "limit": limits[model]})
        found = train_at(run, label, arm, network, data, [arm.rate], every)
        found = {name: values[0] for name, values in found.items()}
        count = len(setting.seeds)
        values = {
            "learning_rate": arm.rate,
            "grid": arm.grid,
            "steps": limits[model][:count],
            "loss": found["validation_cross_entropy"][:count, -1].astype(np.float64),
        }
        started[model] = Start(values, dict(zip(every, train.kept(found), strict=True)))
    return started


@cache
def pretrainer(network: Network) -> train.Trainer:
    """Training that stops at the lane's limit and returns the parameters."""
    return train.keeping(limited(language.trainer(network.sizes(), network)))


# --- fine-tuning ---------------------------------------------------------------------------------


@cache
def trainer(network: Network) -> train.Trainer:
    """The plain trainer; the lane has the parameters to start from."""
    return language.trainer(network.sizes(), network)


def finetuned(network: Network, start: Start) -> Arm:
    """A network that starts from its pretraining."""
    return Arm(
        trainer(network),
        language.coefficients(network),
        transformer.cost(network.sizes(), network.batch),
        start=start.params,
    )


def with_places(factor: float, started: Mapping[str, Start], setting: Setting) -> Arm | None:
    """The sparse network with another capacity, on the most examples."""
    part: Finetuning = setting.part
    if setting.size != part.examples[-1]:
        return None
    return finetuned(part.tuned("sparse", factor=factor), started["sparse"])


def comparison(part: Finetuning, started: Mapping[str, Start], fresh: Any) -> Comparison:
    """Both networks on more and more examples, and the sparse one with other capacities."""

    def examples(setting: Setting, run: Run) -> dict[str, Any]:
        """The first sequences, repeated up to the largest size: one shape, one program."""
        rows = np.arange(part.examples[-1]) % int(setting.size)
        return {**fresh, "train": tuple(tokens[rows] for tokens in fresh["train"])}

    return Comparison(
        about="sparse and dense networks, fine-tuned on more and more examples of a new cluster",
        arms={
            **{
                model: lambda setting, model=model: finetuned(part.tuned(model), started[model])
                for model in MODELS
            },
            **{
                places(factor): partial(with_places, factor, started)
                for factor in part.capacity_factors
            },
        },
        metric="cross_entropy",
        unit="nats per token",
        data=examples,
        ladder="examples",
        size="examples",
        figures=(charts.climb(arms=MODELS, effect=MODELS),),
        more=("test_dropped",),
    )


def places(factor: float) -> str:
    """The arm with one capacity factor."""
    return f"sparse, capacity {factor:g}"


def grid_of(
    model: str, start: Start, setting: Setting, run: Run, data: Any
) -> dict[str, dict[str, np.ndarray]]:
    """The test loss at every batch size and learning rate: batch -> rate -> (seeds,)."""
    part: Finetuning = setting.part
    found = {}
    for batch in part.batches:
        network = part.tuned(model, batch)
        arm = finetuned(network, start)
        own = [start.params[seed] for seed in setting.seeds]
        begin = {"start": jax.tree.map(lambda *leaves: np.stack(leaves), *own)}
        metrics = train_at(
            run,
            f"{model}, batch {batch}, grid",
            replace(arm, numbers={**arm.numbers, **begin}),
            network,
            data,
            part.rates,
            setting.seeds,
        )
        losses = np.where(np.isfinite(metrics[LOSS]), metrics[LOSS], np.inf).astype(np.float64)
        found[str(batch)] = {str(rate): loss for rate, loss in zip(part.rates, losses, strict=True)}
    return found


def run(config: Any, run: Run) -> StudyResult:
    """Pretrain both to equal loss; fine-tune over sizes, capacities, batch sizes and rates."""
    part: Finetuning = config.finetuning
    setting, source = Setting(config, part), run.dataset(part.source.dataset)
    new, held_out = part.network.clusters - 1, part.network.held_out
    started = pretrain(setting, run, of_clusters(source, new, held_out))
    fresh = of_clusters(source, new, held_out, part.examples[-1])
    compared = comparison(part, started, fresh)
    found = compared.run(config, run)
    few = compared.data(replace(setting, size=part.grid_examples), run)
    grid = {model: grid_of(model, started[model], setting, run, few) for model in MODELS}
    pretraining = {model: start.values for model, start in started.items()}
    return replace(
        found,
        values={**found.values, "pretraining": pretraining, "grid": grid},
        tables=[*found.tables, starts(pretraining), losses_of(grid)],
        figures=[*found.figures, over_grid(grid, len(setting.seeds))],
    )


# --- what is claimed -----------------------------------------------------------------------------


def flip(ladder: LadderView) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Sparse against dense on the fewest examples, dense against sparse on the most."""
    if len(ladder) < 2:
        raise KeyError("a second number of examples")
    few, many = ladder.rungs[0], ladder.rungs[-1]
    return {
        f"sparse worse on {few.size:g}": (few["sparse"][LOSS], few["dense"][LOSS]),
        f"dense worse on {many.size:g}": (many["dense"][LOSS], many["sparse"][LOSS]),
    }


def slopes(grid: Mapping[str, Mapping[str, Any]], along: str) -> np.ndarray:
    """Per seed, the slope of the test loss per doubling of the learning rate or batch size.

    Args:
        grid:  batch -> rate -> loss per seed.
        along: "rate" or "batch"; the other is averaged over.
    """
    batches = sorted(grid, key=int)
    rates = sorted(grid[batches[0]], key=float)
    losses = np.asarray([[grid[batch][rate] for rate in rates] for batch in batches], np.float64)
    if along == "rate":
        return declare.slope_of([float(rate) for rate in rates], losses.mean(axis=0))
    return declare.slope_of([int(batch) for batch in batches], losses.mean(axis=1))


def wants(id: str, statement: str, along: str, quantity: str, **declared: Any) -> Claim:
    """S6: the sparse network's slope against the dense network's."""

    def both(values: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        sparse, dense = (slopes(values["grid"][model], along) for model in MODELS)
        return sparse, dense

    return declare.fact(
        id,
        statement,
        both,
        quantity=quantity,
        statistic="paired difference",
        reason=f"at 0, {along} and network do not interact",
        fails=exchanged(both),
        source="paper",
        known="derived",
        where="Table 20",
        **declared,
    )


def few_against_many_places(task: TaskView) -> tuple[np.ndarray, np.ndarray]:
    """The loss with a capacity factor of 0.9, and with 2.0."""
    return task[places(FEW_PLACES)][LOSS], task[places(MANY_PLACES)][LOSS]


def few_examples(task: TaskView) -> tuple[np.ndarray, np.ndarray]:
    """The loss on the fewest examples, and on the most with a large capacity."""
    fewest = task.beside(min(task.tasks, key=lambda name: task.tasks[name]["size"]))
    return fewest["sparse"][LOSS], task[places(MANY_PLACES)][LOSS]


def other_drops(task: TaskView) -> str:
    """Why S7 cannot be judged: more or fewer tokens were dropped than in the paper."""
    share = float(np.mean(task[places(FEW_PLACES)]["test_dropped"]))
    low, high = DROPPED
    return "" if low <= share <= high else f"{share:.0%} of the tokens were dropped"


CLAIMS = (
    declare.across(
        "S5",
        "From equal pretraining loss, a sparse network is worse than a dense one after fine-tuning "
        "on few examples, and better on many.",
        flip,
        quantity="test cross-entropy on the new cluster, network named - the other one (nats)",
        statistic="paired difference",
        region=ABOVE_ZERO,
        reason="the sign must flip between the fewest and the most examples",
        fails=exchanged(flip),
        reported="dense / sparse: 100 / 98.2 on CB (250 examples), 95.2 / 93.3 on WSC (259), "
        "85.1 / 87.4 on SuperGLUE",
        where="Figure 3 and Table 10",
    ),
    wants(
        "S6a",
        "Fine-tuning a sparse network works better with a higher learning rate than a dense one.",
        "rate",
        "slope of the test cross-entropy per doubling of the learning rate (nats), sparse - dense",
        region=BELOW_ZERO,
        reported="sparse 85.92 / 85.25 / 84.88 at 1e-3 / 5e-4 / 1e-4, dense 83.98 / 84.40 / 84.73 "
        "(our means over batch sizes)",
    ),
    wants(
        "S6b",
        "Fine-tuning a sparse network works better with a smaller batch than a dense one.",
        "batch",
        "slope of the test cross-entropy per doubling of the batch (nats), sparse - dense",
        region=ABOVE_ZERO,
        reported="sparse 85.17 / 85.38 / 85.50 at 1M / 262k / 65k tokens, dense 84.48 / 84.60 / "
        "84.03 (our means over rates)",
    ),
    declare.derive(
        "S7",
        "Dropping 10 to 15% of the tokens during fine-tuning does no harm.",
        few_against_many_places,
        quantity="test cross-entropy after fine-tuning with a capacity factor of 0.9, which drops "
        "at least 10% of tokens, - that with 2.0 (nats), most examples",
        statistic="paired difference",
        region=(-MARGIN, MARGIN),
        reason="the same margin as for the cost of the z-loss, 0.02 nats",
        fails={"fewest examples": (few_examples, "far fewer examples do harm")},
        doubt=other_drops,
        top=True,
        reported="SuperGLUE 86.5 with a capacity factor of 0.75 (10.6% dropped), 85.8 with 2.0 "
        "(none)",
        where="Table 5",
    ),
)


# --- tables and a figure of its own --------------------------------------------------------------


def starts(pretraining: Mapping[str, Any]) -> Table:
    """One row per network."""
    rows = [
        {
            "network": model,
            "rate": found["learning_rate"],
            "pretraining steps": float(np.median(found["steps"])),
            "pretraining loss (nats)": float(np.median(found["loss"])),
        }
        for model, found in pretraining.items()
    ]
    return charts.table(
        "finetuning-pretraining",
        "Where fine-tuning starts",
        rows,
        "Medians over seeds. Pretraining stops at a loss that both networks reach on each seed.",
    )


def losses_of(grid: Mapping[str, Any]) -> Table:
    """One row per network, batch size and learning rate."""
    rows = [
        {
            "network": model,
            "batch (sequences)": int(batch),
            "rate": float(rate),
            "test loss (nats)": float(np.median(losses)),
        }
        for model, batches in grid.items()
        for batch, rates in batches.items()
        for rate, losses in rates.items()
    ]
    title = "Batch size and learning rate of fine-tuning"
    return charts.table("finetuning-grid", title, rows, "Medians over seeds.")


def over_grid(grid: Mapping[str, Any], seeds: int) -> Figure:
    """Test loss against the learning rate for every batch size."""
    series = [
        replace(
            charts.points(
                f"{model}, batch {batch}", [float(rate) for rate in rates], list(rates.values())
            ),
            style="line",
        )
        for model, batches in grid.items()
        for batch, rates in batches.items()
    ]
    return Figure(
        "finetuning-grid",
        "Sparse and dense networks, fine-tuned at several learning rates",
        f"Test loss on a new cluster over {seeds} seeds: {charts.RANGE}.",
        [Panel("rate and batch", "learning rate", "test loss (nats)", series, x_scale="log")],
    )


STUDY = Study(
    "fine-tuning sparse against dense on a new cluster, from equal pretraining loss (preset full)",
    run,
    CLAIMS,
)

SMOKE = Finetuning(
    network=language.SMOKE,
    dense_hidden=32,
    examples=(16, 64),
    batches=(4, 8),
    rates=(1e-3, 1e-2),
    grid_examples=16,
    steps=8,
)
FULL = Finetuning(
    network=Network(
        clusters=9,
        training=100_000,
        layers=(0, 16),
        batch=64,
        steps=600,
        log_every=20,
        held_out=128,
        rates=(1e-3, 3e-3, 1e-2, 3e-2),
    ),
    examples=(64, 256, 1024, 4096),
)
