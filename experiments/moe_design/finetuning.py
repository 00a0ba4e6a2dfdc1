"""Fine-tuning a sparse and a dense network on a cluster that neither has seen. (S5, S6, S7)

The dense network has as many FLOPs per token as the sparse one, as in the paper: its layers are as
wide as one expert and its share of the router. Equal steps are therefore equal compute. Both are
pretrained on the other clusters of the lookup task, each at its best learning rate, and start
fine-tuning from one of two places: from equal pretraining compute, or from equal pretraining loss.
For the latter, the sparse network is stopped where its validation loss is nearest to the one at
which the dense network ends; test data say whether the two are then equal.

Fine-tuning is on few to many sequences of a new cluster, with Adam's state reset, at rates tuned
for each network and size; with less and with more expert capacity; and over a grid of batch sizes
and learning rates, in which every batch size sees each sequence as often.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt

from experiments.moe_design import finetuning_claims, language
from experiments.moe_design.finetuning_claims import (
    FEW_PLACES,
    MANY_PLACES,
    MODELS,
    NO_PLACES,
    STOPPED,
    WIDE,
    places,
)
from experiments.moe_design.language import LOSS, Network, PyTree, train_at
from jaxtrends import charts, sequences, train, transformer
from jaxtrends.comparison import Arm, Comparison, Setting
from jaxtrends.design import Study
from jaxtrends.errors import Problem
from jaxtrends.settings import Grid, NonNegativeInt, PositiveInt, Rising, Schedule, Sizes
from jaxtrends.study import Run, StudyResult


@dataclass(frozen=True)
class Finetuning:
    """The two networks, their pretraining and their fine-tuning."""

    network: Network = field(
        default_factory=lambda: Network(clusters=9, training=60_000, batch=64, steps=600)
    )
    """The sparse network and its pretraining; its last cluster is the new one."""
    dense_hidden: NonNegativeInt = 0
    """Hidden width of the dense network; 0 for as many FLOPs per token as the sparse one has. All
    else is as in the sparse network."""
    examples: Sizes = (64, 256, 4096)
    """Fine-tuning sequences of the new cluster, rising; each must divide the last."""
    batches: Annotated[tuple[int, ...], Gt(0), Rising(2)] = (16, 32, 64)
    """Batch sizes of fine-tuning, rising; numbers of examples are compared at the second."""
    rates: Grid = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
    """Learning rates of fine-tuning."""
    grid_examples: PositiveInt = 256
    """Fine-tuning sequences for the grid of batch sizes and rates; one of --examples."""
    grid_rates: Grid = (1e-3, 3e-3, 1e-2)
    """Learning rates of that grid."""
    capacity_factors: Annotated[tuple[float, ...], Gt(0)] = (
        NO_PLACES,
        FEW_PLACES,
        MANY_PLACES,
    )
    """Capacity factors to compare when fine-tuning the sparse network."""
    steps: PositiveInt = 200
    """Steps of fine-tuning at the second batch size; others see as many sequences in all."""
    evaluations: PositiveInt = 10
    """Evaluations during fine-tuning; must divide its steps."""

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
        if any(batch % self.batches[0] for batch in self.batches):
            raise Problem(f"--{flag}.batches must all be multiples of the first.")
        if any(self.steps * self.batches[1] % batch for batch in self.batches):
            raise Problem(f"--{flag}.batches must all divide the {self.steps} steps' sequences.")
        if any(self.steps_of(batch) % self.evaluations for batch in self.batches):
            raise Problem(f"--{flag}.evaluations must divide the steps at every batch size.")
        transformer.check(self.pretrained("dense").sizes(), self.network.batch)
        for batch in self.batches:
            for factor in (self.network.capacity_factor, *self.capacity_factors):
                self.tuned("sparse", batch, factor).check(flag)

    def pretrained(self, model: str) -> Network:
        """The network of a model or of its start, as pretrained."""
        if model != "dense":
            return self.network
        layers = (0,) * len(self.network.layers)
        return replace(self.network, layers=layers, hidden=self.dense_hidden or self.matched)

    @property
    def matched(self) -> int:
        """The hidden width at which a dense network has the sparse one's FLOPs per token.

        A hidden unit costs two products per weight of its input and its output; a router one
        product per weight of its input.
        """
        network = self.network
        units = [
            network.top * network.hidden + experts / 2 if experts else network.hidden
            for experts in network.layers
        ]
        return round(sum(units) / len(units))

    def steps_of(self, batch: int) -> int:
        """Steps at which a batch size has seen as many sequences as the second one."""
        return self.steps * self.batches[1] // batch

    def tuned(self, model: str, batch: int = 0, factor: float = 0.0) -> Network:
        """The network as fine-tuned, with the second of the batch sizes unless one is given.

        Routing groups are those of the smallest batch, so that a larger batch drops as many tokens.
        """
        network, batch = self.pretrained(model), batch or self.batches[1]
        return replace(
            network,
            batch=batch,
            group=self.batches[0] * network.context,
            steps=self.steps_of(batch),
            log_every=self.steps_of(batch) // self.evaluations,
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
        count = 4 * self.network.held_out * self.network.clusters
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


def stops(curve: np.ndarray, target: np.ndarray, log_every: int) -> np.ndarray:
    """The step of the evaluation nearest to a loss, seed by seed: (seeds,) int32.

    The first evaluation at or below the loss would be too low: it overshoots, and a chance low
    counts.

    Args:
        curve:     (seeds, points) validation losses; NaN is never nearest.
        target:    (seeds,) the loss to stop at.
        log_every: steps between evaluations.
    """
    distance = np.abs(np.asarray(curve, np.float64) - np.asarray(target, np.float64)[:, None])
    nearest = np.argmin(np.where(np.isfinite(distance), distance, np.inf), axis=1)
    return ((nearest + 1) * log_every).astype(np.int32)


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
    """Pretrain both networks, and the sparse one again to the dense one's loss.

    On the reporting and the tuning seeds.
    """
    part: Finetuning = setting.part
    every, count = [*setting.seeds, *setting.tuning_seeds], len(setting.seeds)
    curves, arms = {}, {}

    def trained(name: str, arm: Arm, limit: Any, network: Network) -> Start:
        arm = replace(arm, numbers={**arm.numbers, "limit": limit})
        found = train_at(run, f"pretraining, {name}", arm, network, data, [arm.rate], every)
        found = {metric: values[0] for metric, values in found.items()}
        curves[name] = found["validation_cross_entropy"]
        values = {
            "learning_rate": arm.rate,
            "grid": arm.grid,
            "steps": np.broadcast_to(limit, len(every))[:count],
            "loss": found[LOSS][:count].astype(np.float64),
        }
        return Start(values, dict(zip(every, train.kept(found), strict=True)))

    started = {}
    for model in MODELS:
        network = part.pretrained(model)
        numbers = {**language.coefficients(network), "limit": network.steps}
        arms[model] = language.tuned(
            run,
            f"pretraining, {model}, tuning",
            Arm(pretrainer(network), numbers),
            network,
            data,
            setting.tuning_seeds,
        )
        started[model] = trained(model, arms[model], np.int32(network.steps), network)
    limits = stops(curves["sparse"], curves["dense"][:, -1], part.network.log_every)
    started[STOPPED] = trained(STOPPED, arms["sparse"], limits, part.network)
    return started


@cache
def pretrainer(network: Network) -> train.Trainer:
    """Training that stops at the lane's limit and returns the parameters."""
    return train.keeping(limited(language.trainer(network.sizes(), network)))


# --- fine-tuning ---------------------------------------------------------------------------------


@cache
def trainer(network: Network) -> train.Trainer:
    """The plain trainer; the lane has the parameters to start from.

    A sparse network is also tested with a capacity that drops almost nothing.
    """
    plain = language.trainer(network.sizes(), network)
    if not any(network.layers):
        return plain
    wide = transformer.transformer(network.sizes(capacity_factor=MANY_PLACES))

    def measure(params: PyTree, data: Mapping[str, Any]) -> dict[str, jax.Array]:
        inputs, labels = data["test"]
        return {WIDE: transformer.next_token_loss(wide.apply(params, inputs), labels)}

    return language.measuring(plain, measure)


def finetuned(network: Network, start: Start) -> Arm:
    """A network that starts from its pretraining."""
    return Arm(
        trainer(network),
        language.coefficients(network),
        transformer.cost(network.sizes(), network.batch),
        start=start.params,
    )


def arms(
    part: Finetuning, started: Mapping[str, Start]
) -> dict[str, Callable[[Setting], Arm | None]]:
    """Both networks from each start; on the most examples the sparse one with other capacities."""

    def plain(setting: Setting, start: str) -> Arm:
        return finetuned(part.tuned(start), started[start])

    def with_places(setting: Setting, factor: float) -> Arm | None:
        if setting.size != part.examples[-1]:
            return None
        return finetuned(part.tuned("sparse", factor=factor), started["sparse"])

    return {
        **{start: partial(plain, start=start) for start in (*MODELS, STOPPED)},
        **{places(f): partial(with_places, factor=f) for f in part.capacity_factors},
    }


def drops(task: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The share of tokens dropped, over all of fine-tuning."""
    found = {name: curves.get(f"{name}/validation_dropped") for name in task["arms"]}
    return {
        "arms": {
            name: {"dropped_in_training": curve.mean(axis=1, dtype=np.float64)}
            for name, curve in found.items()
            if curve is not None
        }
    }


def comparison(part: Finetuning, started: Mapping[str, Start], fresh: Any) -> Comparison:
    """The arms on more and more examples."""

    def examples(setting: Setting, run: Run) -> dict[str, Any]:
        """The first sequences, repeated up to the largest size: one shape, one program."""
        rows = np.arange(part.examples[-1]) % int(setting.size)
        return {**fresh, "train": tuple(tokens[rows] for tokens in fresh["train"])}

    def pretraining(setting: Setting, run: Run) -> dict[str, Any]:
        """The test losses at which fine-tuning starts."""
        return {"pretraining_loss": {name: one.values["loss"] for name, one in started.items()}}

    return Comparison(
        about="sparse and dense networks, fine-tuned on more and more examples of a new cluster",
        arms=arms(part, started),
        metric="cross_entropy",
        unit="nats per token",
        data=examples,
        facts=pretraining,
        ladder="examples",
        size="examples",
        also=drops,
        figures=(charts.climb(arms=(*MODELS, STOPPED), effect=MODELS),),
    )


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
            part.grid_rates,
            setting.seeds,
        )
        losses = np.where(np.isfinite(metrics[LOSS]), metrics[LOSS], np.inf).astype(np.float64)
        at = zip(part.grid_rates, losses, strict=True)
        found[str(batch)] = {str(rate): loss for rate, loss in at}
    return found


def run(config: Any, run: Run) -> StudyResult:
    """Pretrain both; fine-tune over sizes, capacities, batch sizes and rates."""
    part: Finetuning = config.finetuning
    setting, source = Setting(config, part), run.dataset(part.source.dataset)
    new, held_out = part.network.clusters - 1, part.network.held_out
    # Twice as many for pretraining, whose losses must be equal.
    started = pretrain(setting, run, of_clusters(source, new, 2 * held_out))
    fresh = of_clusters(source, new, held_out, part.examples[-1])
    compared = comparison(part, started, fresh)
    found = compared.run(config, run)
    few = compared.data(replace(setting, size=part.grid_examples), run)
    grid = {model: grid_of(model, started[model], setting, run, few) for model in MODELS}
    pretraining = {name: start.values for name, start in started.items()}
    return replace(
        found,
        values={**found.values, "pretraining": pretraining, "grid": grid},
        tables=[*found.tables, *finetuning_claims.tables(pretraining, found.values, grid)],
        figures=[*found.figures, finetuning_claims.over_grid(grid, len(setting.seeds))],
    )


STUDY = Study(
    "fine-tuning sparse against dense on a new cluster, from equal pretraining compute and loss",
    run,
    finetuning_claims.CLAIMS,
)

SMOKE = Finetuning(
    network=language.SMOKE,
    examples=(16, 64),
    batches=(4, 8),
    rates=(1e-3, 1e-2),
    grid_examples=16,
    grid_rates=(1e-3, 1e-2),
    steps=8,
    evaluations=2,
)
FULL = Finetuning(
    network=Network(
        clusters=9,
        training=100_000,
        batch=64,
        steps=600,
        log_every=10,
        held_out=512,
        rates=(3e-3, 1e-2, 3e-2),
        seeds=26,  # for 80% power at 0.06 nats; on tuning seeds differences spread by 0.1
    ),
)
