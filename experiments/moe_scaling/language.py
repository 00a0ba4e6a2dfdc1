"""What the studies share: sequences, networks that differ in their feed-forward layers, training.

Every arm of a study sees the same sequences in the same order. Adam has a short warm-up and then a
constant learning rate, so a short run is the beginning of a longer one and a single curve gives
the loss at every budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Le

from jaxtrends import estimators, optimizers, sequences, settings, train, transformer
from jaxtrends.comparison import Arm, Setting
from jaxtrends.errors import Problem
from jaxtrends.moe import Mixture
from jaxtrends.sequences import SYMBOLS, Sequences
from jaxtrends.settings import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Rising
from jaxtrends.study import Run, thin
from jaxtrends.transformer import Transformer

LOOKUP_SEED = 4  # of tables and sequences
LOSS = "validation_cross_entropy"
TEST_LOSS = "test_cross_entropy"
TASKS = {
    "lookup": "lookups in one of several tables, named by the first token",
    "one_cluster": "lookups in a single table, so experts cannot specialise by table",
    "two_names": "lookups in tables named by two tokens together, to be worked out first",
    "english": "bytes of English Wikipedia",
}


@dataclass(frozen=True)
class Texts:
    """Training and held-out sequences."""

    context: Annotated[int, Ge(4)] = 32
    """Tokens per sequence."""
    clusters: PositiveInt = 4
    """Tables of the lookup task, with 1,024 entries each."""
    training: PositiveInt = 65536
    """Training sequences of the lookup task."""
    held_out: PositiveInt = 256
    """Validation sequences, and as many test sequences; a multiple of every --batch-size."""


@dataclass(frozen=True)
class Network:
    """Sizes that all arms share."""

    width: PositiveInt = 32
    """Width of the residual stream."""
    heads: PositiveInt = 2
    """Attention heads."""
    hidden: PositiveInt = 64
    """Hidden width of a dense feed-forward layer and of an expert."""
    layers: Annotated[int, Gt(0), Le(1000)] = 2
    """Transformer blocks."""
    capacity_factor: PositiveFloat = 1.25
    """Capacity factor: slots per expert as a multiple of its fair share of tokens."""


@dataclass(frozen=True)
class Schedule(settings.Schedule):
    """How every arm is tuned and trained."""

    steps: PositiveInt = 700
    """Training steps; where compute is matched, those of the larger dense network."""
    grid: Annotated[tuple[float, ...], Gt(0), Rising(3)] = (3e-3, 1e-2, 3e-2)
    """Learning rates to tune each arm over. If the edge is chosen, the grid is extended by its own
    ratio, at most --extensions times."""
    tuning_seeds: PositiveInt = 1
    """Seeds per tuning point."""
    batch_size: PositiveInt = 32
    """Sequences per step."""
    groups: PositiveInt = 1
    """Routing groups per batch; 1 routes all tokens of a batch together. Must divide
    --batch-size. The devices of a --mesh share the groups."""
    warm_up: NonNegativeInt = 20
    """Steps of linear learning-rate warm-up."""
    balance: NonNegativeFloat = 0.01
    """Coefficient of the load-balancing loss; the default is the paper's."""
    z: NonNegativeFloat = 0.001
    """Coefficient of the router's z-loss."""

    def check(self, flag: str) -> None:
        """Refuse groups that do not divide the batch, and invalid schedules.

        Raises:
            Problem: names the flags.
        """
        super().check(flag)
        if self.batch_size % self.groups:
            raise Problem(
                f"--{flag}.groups {self.groups} does not divide --{flag}.batch-size "
                f"{self.batch_size}."
            )


def network(
    setting: Setting, experts: tuple[int, ...], hidden: int = 0, **mixture: Any
) -> Transformer:
    """A network with the given number of experts in each layer, 0 for a dense layer.

    The task with one table keeps the names of all tables in its vocabulary, for equal networks.
    """
    texts, sizes, schedule = setting.config.texts, setting.part.network, setting.part.schedule
    return Transformer(
        vocabulary=256 if setting.task == "english" else SYMBOLS + texts.clusters,
        context=texts.context,
        width=sizes.width,
        heads=sizes.heads,
        hidden=hidden or sizes.hidden,
        experts=experts,
        mixture=Mixture(**{"capacity_factor": sizes.capacity_factor, **mixture}),
        group=schedule.batch_size * texts.context // schedule.groups,
    )


def check(setting: Setting, found: Transformer) -> None:
    """Refuse a network or sequences that do not fit the batches.

    Raises:
        Problem: says what does not fit.
    """
    batch, texts = setting.part.schedule.batch_size, setting.config.texts
    if setting.task == "two_names" and texts.context < 5:
        raise Problem(f"--texts.context must be at least 5 tokens, not {texts.context}.")
    if texts.held_out % batch:
        raise Problem(
            f"--texts.held-out {texts.held_out} must be a multiple of the batch size {batch}, "
            "since it is routed in groups as in training."
        )
    transformer.check(found, batch)


@cache
def trainer(found: Transformer, schedule: Schedule) -> train.Trainer:
    """Adam on next-token cross-entropy and the router losses.

    Cached, so that tasks and studies with the same network share a compiled program.
    """
    return train.supervised(
        transformer.transformer(found),
        transformer.language_loss(schedule.balance, schedule.z),
        transformer.watched(found),
        estimators.backprop,
        optimizers.adam(schedule.warm_up),
        schedule.batch_size,
    )


def arm(setting: Setting, found: Transformer, **more: Any) -> Arm:
    """An arm that trains a network; ``more`` are further fields of `Arm`."""
    schedule = setting.part.schedule
    facts = transformer.cost(found, schedule.batch_size)
    return Arm(trainer(found, schedule), facts=facts, **more)


def floor(setting: Setting, run: Run) -> Mapping[str, Any]:
    """The lowest loss that any model can reach on a task, where it is known."""
    return {"floor": run.dataset(setting.task).floor}


def splits(setting: Setting, run: Run) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The three splits as the trainer takes them; held-out windows are evenly spaced."""
    found, parts = run.dataset(setting.task), {}
    for name in ("train", "validation", "test"):
        windows = getattr(found, name)
        count = len(windows.inputs)
        kept = np.arange(count) if name == "train" else thin(count, setting.config.texts.held_out)
        parts[name] = (windows.inputs[kept], windows.labels[kept])
    return parts


def load(config: Any, name: str, folder: Path | None) -> Sequences:
    """The sequences of a task.

    Raises:
        Problem: the English text is missing or too short.
    """
    texts = config.texts
    if name != "english":
        return sequences.lookup(
            clusters=1 if name == "one_cluster" else texts.clusters,
            context=texts.context,
            training=texts.training,
            held_out=texts.held_out,
            seed=LOOKUP_SEED,
            names=2 if name == "two_names" else 1,
        )
    return sequences.english(texts.context, texts.held_out)


def loss_at(curves: np.ndarray, steps: float, log_every: int) -> np.ndarray:
    """Losses (seeds,) at a step of their curves (seeds, points), between log points by a line.

    Steps before the first log point or after the last give the loss there.
    """
    at = np.arange(1, curves.shape[1] + 1) * log_every
    return np.asarray([np.interp(steps, at, lane) for lane in curves.astype(np.float64)])
