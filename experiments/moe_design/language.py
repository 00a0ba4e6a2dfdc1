"""What every study trains: a small mixture-of-experts transformer on sequences.

Loss coefficients belong to a lane, like its learning rate, so arms that differ only in these share
one compiled program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge

from jaxtrends import estimators, moe, optimizers, sequences, train, transformer, tuning
from jaxtrends.comparison import Arm
from jaxtrends.errors import Problem
from jaxtrends.settings import (
    Grid,
    Name,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Schedule,
)
from jaxtrends.study import Run
from jaxtrends.transformer import Transformer

PyTree = Any
DATA = ("lookup", "english")
LOSS = "test_cross_entropy"


@dataclass(frozen=True)
class Network:
    """A network, its data and its training."""

    data: Name[DATA] = "lookup"
    """lookup (a synthetic task with several clusters) or english (Wikipedia as bytes)."""
    clusters: PositiveInt = 8
    """Clusters of the lookup task."""
    context: PositiveInt = 16
    """Tokens per sequence."""
    training: PositiveInt = 20_000
    """Training sequences of the lookup task."""
    held_out: PositiveInt = 64
    """Validation sequences per evaluation, and test sequences."""
    width: PositiveInt = 32
    """Width of the residual stream."""
    heads: PositiveInt = 2
    """Attention heads; must divide the width."""
    hidden: PositiveInt = 64
    """Hidden width of a dense layer and of each expert."""
    layers: Annotated[tuple[int, ...], Ge(0)] = (0, 8)
    """Number of experts in each layer; 0 for a dense layer."""
    top: PositiveInt = 1
    """Experts per token (top-k)."""
    capacity_factor: PositiveFloat = 1.25
    """Capacity factor: slots per expert as a multiple of tokens / experts, for any top-k."""
    group: NonNegativeInt = 0
    """Tokens routed together, in training and in evaluation; 0 for a whole batch."""
    batch: PositiveInt = 32
    """Sequences per step."""
    balance: NonNegativeFloat = 1e-2
    """Coefficient of the load-balancing loss; the default is ST-MoE's."""
    z: NonNegativeFloat = 0.0
    """Coefficient of the router z-loss; ST-MoE's is 0.001."""
    steps: PositiveInt = 300
    """Training steps."""
    log_every: PositiveInt = 10
    """Steps between evaluations; must divide --steps."""
    warm_up: NonNegativeInt = 20
    """Steps of linear learning-rate warm-up; the rate is constant afterwards."""
    rates: Grid = (3e-3, 1e-2, 3e-2, 0.1)
    """Learning rates to tune each arm over, rising."""
    tuning_seeds: PositiveInt = 2
    """Seeds per tuning point."""
    seeds: NonNegativeInt = 0
    """Reporting seeds; --seeds if 0."""

    def check(self, flag: str) -> None:
        """Refuse a network that cannot be trained.

        Raises:
            Problem: names the flag.
        """
        self.schedule.check(flag)
        if not any(self.layers):
            raise Problem(f"--{flag}.layers must have at least one layer with experts.")
        if self.data == "lookup" and self.context < 4:
            raise Problem(f"--{flag}.context must be at least 4 on the lookup task.")
        transformer.check(self.sizes(), self.batch)
        if self.held_out * self.context % self.sizes().group:
            raise Problem(
                f"--{flag}.held-out: {self.held_out} sequences of {self.context} tokens do not "
                f"divide into routing groups of {self.sizes().group} tokens."
            )

    @property
    def schedule(self) -> Schedule:
        """How an arm is tuned and trained; the grid of rates is never extended."""
        return Schedule(
            steps=self.steps,
            log_every=self.log_every,
            grid=self.rates,
            extensions=0,
            tuning_seeds=self.tuning_seeds,
        )

    @property
    def dataset(self) -> str:
        """The name of its data in a record."""
        if self.data == "english":
            return f"english/{self.context}"
        counts = (self.clusters, self.context, self.training, self.held_out)
        return "lookup/" + "-".join(map(str, counts))

    def sizes(self, **mixture: Any) -> Transformer:
        """The transformer; ``mixture`` are settings of `jaxtrends.moe.Mixture` to change."""
        routed = moe.Mixture(top=self.top, capacity_factor=self.capacity_factor)
        english = self.data == "english"
        return Transformer(
            vocabulary=256 if english else sequences.SYMBOLS + self.clusters,
            context=self.context,
            width=self.width,
            heads=self.heads,
            hidden=self.hidden,
            experts=self.layers,
            mixture=replace(routed, **mixture),
            group=self.group or self.batch * self.context,
        )


class OneNetwork:
    """A part of the config whose arms all train its ``network``."""

    network: Network

    @property
    def networks(self) -> tuple[Network, ...]:
        """All networks trained."""
        return (self.network,)

    @property
    def schedule(self) -> Schedule:
        """How each arm is tuned and trained."""
        return self.network.schedule

    @property
    def seeds(self) -> int:
        """Reporting seeds; 0 for --seeds."""
        return self.network.seeds


# What every smoke study trains, so that they share compiled programs.
SMOKE = Network(
    clusters=2,
    training=200,
    held_out=8,
    width=16,
    hidden=16,
    layers=(4,),
    batch=8,
    group=64,
    steps=8,
    log_every=2,
    warm_up=2,
    rates=(1e-2,),
    tuning_seeds=1,
    seeds=2,
)


# --- data ----------------------------------------------------------------------------------------


def load(network: Network, seed: int) -> sequences.Sequences:
    """Make or read the network's data.

    Raises:
        Problem: the text is missing or too short for its context.
    """
    if network.data == "english":
        return sequences.english(network.context, network.held_out)
    return sequences.lookup(
        clusters=network.clusters,
        context=network.context,
        training=network.training,
        held_out=network.held_out,
        seed=seed,
    )


def splits(network: Network, run: Run) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The three splits as the trainer takes them; held-out data is thinned to ``held_out``."""
    found = run.dataset(network.dataset)
    parts = {"train": (found.train.inputs, found.train.labels)}
    for name in ("validation", "test"):
        windows = getattr(found, name)
        rows = held_out_rows(len(windows.inputs), network.held_out)
        parts[name] = (windows.inputs[rows], windows.labels[rows])
    return parts


def held_out_rows(available: int, wanted: int) -> np.ndarray:
    """Evenly spaced rows of a split: (wanted,) int64."""
    return np.arange(wanted, dtype=np.int64) * available // wanted


# --- training ------------------------------------------------------------------------------------


def trainer(
    sizes: Transformer,
    network: Network,
    *,
    optimizer: Callable[[int], Callable[[PyTree], Any]] = optimizers.adam,
    begin: Callable[[PyTree], PyTree] = lambda params: params,
) -> train.Trainer:
    """Trains on cross-entropy and the router losses, whose coefficients belong to the lane.

    Args:
        sizes:     of the transformer.
        network:   for the batch and the warm-up.
        optimizer: steps of warm-up -> lane -> optimizer.
        begin:     initial parameters -> those that training starts from.
    """
    plain = transformer.transformer(sizes)
    watched = transformer.watched(sizes)
    if any(sizes.experts):
        watched["squared_logsumexp"] = lambda outputs, labels: jnp.mean(
            jnp.stack([report.z for report in outputs[1]])
        )
    return train.supervised(
        replace(plain, init=lambda key: begin(plain.init(key))),
        train.PerLane(
            lambda lane: transformer.language_loss(
                lane["balance"], lane["z"], lane["group_balance"]
            )
        ),
        watched,
        estimators.backprop,
        optimizer(network.warm_up),
        network.batch,
    )


Measure = Callable[[PyTree, Mapping[str, Any]], Mapping[str, jax.Array]]
"""(params, data) -> metrics after training."""


def measuring(trained: train.Trainer, measure: Measure) -> train.Trainer:
    """The trainer with further test metrics."""

    def test(lane: PyTree, state: PyTree, data: PyTree) -> Mapping[str, jax.Array]:
        return {**trained.test(lane, state, data), **measure(state["params"], data)}

    return replace(trained, test=test)


def coefficients(network: Network, **changes: float) -> dict[str, float]:
    """The coefficients of the router losses: numbers of a lane."""
    return {"balance": network.balance, "z": network.z, "group_balance": 0.0, **changes}


def still(arm: Arm, network: Network) -> Arm:
    """The arm's program on untrained networks: at a learning rate of zero."""
    return replace(arm, rate=0.0, steps=network.log_every)


def train_at(
    run: Run,
    label: str,
    arm: Arm,
    network: Network,
    data: Any,
    rates: Sequence[float],
    seeds: Sequence[int],
    *,
    test: bool = True,
) -> dict[str, np.ndarray]:
    """Train an arm at every rate on every seed: metrics with leading axes (rates, seeds)."""
    found = run.train(
        label,
        arm.trainer,
        tuning.lanes(rates, seeds, arm.numbers),
        data,
        steps=network.steps,
        log_every=network.log_every,
        test=test,
    )
    shape = (len(rates), len(seeds))
    return {name: values.reshape(shape + values.shape[1:]) for name, values in found.items()}


def tuned(
    run: Run,
    label: str,
    arm: Arm,
    network: Network,
    data: Any,
    seeds: Sequence[int],
    score: Callable[[np.ndarray], np.ndarray] = tuning.final,
) -> Arm:
    """The arm at its best rate, with the grid it was chosen from.

    Args:
        run, label, arm, network, data, seeds: as in `train_at`.
        score: validation curves (rates, seeds, points) -> (rates, seeds), infinite where a run must
               not be chosen.
    """
    found = train_at(run, label, arm, network, data, network.rates, seeds, test=False)
    scores = score(found["validation_cross_entropy"])
    best, edge = tuning.choose(network.rates, scores)
    grid = {"rates": network.rates, "scores": scores, "edge": edge}
    return replace(arm, rate=network.rates[best], grid=grid)
