"""Fine-tuning a sparse and a dense network on a cluster that neither has seen. (S5, S6, S7)

Both are pretrained on the other clusters of the lookup task, each at its best rate, and stopped at
the same loss: that of whichever ends higher, seed by seed. So what differs afterwards is not how
good the start was. Then both are fine-tuned on 64 to 4,096 sequences of a new cluster, with Adam's
memory reset, at rates tuned for each network and size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.moe_design import finetuning_figures as figures
from experiments.moe_design import language
from experiments.moe_design.language import Arm, Network
from jaxtrends import sequences, train, transformer
from jaxtrends.errors import Problem, require_positive
from jaxtrends.study import Run, StudyResult


@dataclass(frozen=True)
class FinetuningConfig:
    """The two networks, and how they are pretrained and fine-tuned."""

    network: Network = field(
        default_factory=lambda: Network(clusters=9, training=60_000, batch=64, steps=600)
    )
    """The sparse network and its pretraining; the last of its clusters is the new one."""
    dense_hidden: int = 256
    """Hidden width of the dense network, which is the same for the rest."""
    examples: tuple[int, ...] = (64, 256, 4096)
    """Sequences of the new cluster to fine-tune on, rising; each divides the last."""
    batches: tuple[int, ...] = (16, 32, 64)
    """Sequences of a fine-tuning step, rising; the sizes are compared at the second."""
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
    """Learning rates of fine-tuning."""
    grid_examples: int = 256
    """Sequences to fine-tune on where batch sizes and rates are compared; one of --examples."""
    capacity_factors: tuple[float, ...] = (0.9, 2.0)
    """Capacity factors of the sparse network's fine-tuning that are compared."""
    steps: int = 200
    """Steps of fine-tuning."""


def new_cluster(network: Network) -> int:
    """The number of the cluster that is kept for fine-tuning."""
    return network.clusters - 1


def source(network: Network) -> Network:
    """The network's data with as many held-out sequences of each cluster as are looked at."""
    return replace(network, held_out=2 * network.held_out * network.clusters)


def tuned_network(config: FinetuningConfig, model: str, batch: int, factor: float = 0.0) -> Network:
    """The network as it is fine-tuned."""
    network = dense(config) if model == "dense" else config.network
    factor = factor or network.capacity_factor
    return replace(
        network,
        batch=batch,
        group=0,
        steps=config.steps,
        rates=config.rates,
        capacity_factor=factor,
    )


def dense(config: FinetuningConfig) -> Network:
    """The network without experts."""
    layers = (0,) * len(config.network.layers)
    return replace(config.network, layers=layers, hidden=config.dense_hidden)


def check(config: FinetuningConfig) -> None:
    """Refuse a config that cannot be run.

    Raises:
        Problem: names the flag at fault.
    """
    network = config.network
    language.check("finetuning.network", network)
    require_positive(**{"finetuning.dense-hidden": config.dense_hidden})
    if network.data != "lookup" or network.clusters < 2:
        raise Problem("--finetuning.network needs the lookup task with two clusters or more.")
    if list(config.examples) != sorted(set(config.examples)) or not config.examples:
        raise Problem("--finetuning.examples must rise.")
    if any(count < 1 or config.examples[-1] % count for count in config.examples):
        raise Problem("--finetuning.examples must all divide the last.")
    if config.grid_examples not in config.examples:
        raise Problem(f"--finetuning.grid-examples must be one of {config.examples}.")
    if len(config.batches) < 2 or list(config.batches) != sorted(set(config.batches)):
        raise Problem("--finetuning.batches must be two numbers or more that rise.")
    for batch in config.batches:
        for factor in config.capacity_factors:
            language.check("finetuning", tuned_network(config, "sparse", batch, factor))
    transformer.check(language.sizes_of(dense(config)), network.batch)


# --- trainers ------------------------------------------------------------------------------------


def limited(trainer: train.Trainer) -> train.Trainer:
    """The trainer whose state stays as it is from step ``limit`` of the lane on."""

    def step(lane: Any, state: Any, data: Any) -> tuple[Any, Mapping[str, jax.Array]]:
        stepped, metrics = trainer.step(lane, state, data)
        going = state["step"] < lane["limit"]
        return jax.tree.map(lambda new, old: jnp.where(going, new, old), stepped, state), metrics

    return dataclasses.replace(trainer, step=step)


def flattened(params: Any, data: Any) -> dict[str, jax.Array]:
    """All parameters in one row: ``parameters`` (P,)."""
    from jax.flatten_util import ravel_pytree

    return {"parameters": ravel_pytree(params)[0]}


def from_pretrained(trainer: train.Trainer, network: Network) -> train.Trainer:
    """The trainer that starts at row ``row`` of ``data["pretrained"]`` (n, P).

    It draws its batches from the first ``examples`` training sequences.
    """
    from jax.flatten_util import ravel_pytree

    model = transformer.transformer(language.sizes_of(network))
    like = jax.eval_shape(model.init, jax.eval_shape(lambda: jax.random.key(0)))
    _, unravel = ravel_pytree(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like))

    def init(lane: Any, data: Any) -> Any:
        fresh = trainer.init(lane, data)
        return {**fresh, "params": unravel(data["pretrained"][lane["row"]])}

    def step(lane: Any, state: Any, data: Any) -> tuple[Any, Mapping[str, jax.Array]]:
        inputs, labels = data["train"]
        rows = jnp.arange(labels.shape[0], dtype=jnp.int32) % lane["examples"]
        return trainer.step(lane, state, {**data, "train": (inputs[rows], labels[rows])})

    return dataclasses.replace(trainer, init=init, step=step)


def of_clusters(
    data: sequences.Sequences, new: int, count: int, examples: int = 0
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The splits of the old clusters, or with ``examples`` of the new one, ``count`` held out.

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
                f"The new cluster has {rows.size} sequences in the {name} split, and {wanted} are "
                "needed: raise --finetuning.network.training or held-out."
            )
        rows = rows[:wanted] if wanted else rows
        splits[name] = (windows.inputs[rows], windows.labels[rows])
    return splits


def stops(curves: Mapping[str, np.ndarray], log_every: int) -> dict[str, np.ndarray]:
    """The step at which each network is stopped, seed by seed: model -> (seeds,) int32.

    It is the first evaluation at which its validation loss is no higher than that with which the
    worse of the networks ends: (seeds, points) each.
    """
    target = np.max([curve[:, -1] for curve in curves.values()], axis=0)
    found = {}
    for model, curve in curves.items():
        reached = curve <= target[:, None]
        last = curve.shape[1] - 1  # where a loss is no number, training goes on to its end
        point = np.where(reached.any(axis=1), np.argmax(reached, axis=1), last)
        found[model] = ((point + 1) * log_every).astype(np.int32)
    return found


# --- the study -----------------------------------------------------------------------------------


def run(config: Any, run: Run) -> StudyResult:
    """Pretrain both to one loss; fine-tune over sizes, batch sizes, rates and capacities."""
    chosen = config.finetuning
    network = chosen.network
    data = run.dataset(language.data_name(source(network)))
    new = new_cluster(network)
    old = of_clusters(data, new, network.held_out)
    fresh = of_clusters(data, new, network.held_out, chosen.examples[-1])
    seeds = language.reporting_seeds(network, config)
    trying = language.tuning_seeds(network, config)
    values: dict[str, Any] = {"seeds": seeds, "tuning_seeds": trying, "examples": {}, "grid": {}}
    values["pretraining"], pretrained = _pretrain(chosen, run, old, seeds, trying)
    for model, rows in pretrained.items():
        mine = {**fresh, "pretrained": rows}
        values["examples"][model] = {}
        values["grid"][model] = {}
        for batch in chosen.batches:
            tuner = _Tuner(run, tuned_network(chosen, model, batch), model, mine, seeds, trying)
            if batch == chosen.batches[1]:
                values["examples"][model] = {
                    str(examples): tuner.tuned(examples) for examples in chosen.examples
                }
            values["grid"][model][str(batch)] = tuner.grid(chosen.grid_examples)
    values["capacity"] = {}
    for factor in chosen.capacity_factors:
        tuned = tuned_network(chosen, "sparse", chosen.batches[1], factor)
        mine = {**fresh, "pretrained": pretrained["sparse"]}
        tuner = _Tuner(run, tuned, f"sparse, capacity {factor:g}", mine, seeds, trying)
        values["capacity"][str(factor)] = tuner.tuned(chosen.examples[-1])
    return StudyResult(
        values=values,
        tables=[figures.outcomes(values), figures.grids(values)],
        figures=[figures.over_examples(values)],
    )


def _pretrain(
    chosen: FinetuningConfig, run: Run, data: Any, seeds: list[int], trying: list[int]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Pretrain both networks to one loss: what is recorded, and the parameters of all seeds."""
    networks = {"sparse": chosen.network, "dense": dense(chosen)}
    every = [*seeds, *trying]
    arms, tuning, curves = {}, {}, {}
    for model, network in networks.items():
        trainer = limited(
            language.make_trainer(language.sizes_of(network), network, extra=flattened)
        )
        arms[model] = Arm(f"pretraining, {model}", trainer, network.balance, network.z)

    def train_all(
        model: str, kind: str, rates: Sequence[float], on: list[int], limit: Any, test: bool
    ) -> dict[str, np.ndarray]:
        limits = {"limit": np.broadcast_to(np.int32(limit), (len(on),))}
        return language.train_arm(
            *(run, arms[model], kind, networks[model], data, rates, on),
            test=test,
            per_seed=limits,
        )

    whole = chosen.network.steps
    for model, network in networks.items():
        tried = train_all(model, "tuning", network.rates, trying, whole, False)
        losses = language.final_loss(tried["validation_cross_entropy"])
        tuning[model] = language.choose_rate(network.rates, losses)
        found = train_all(model, "whole", [tuning[model]["rate"]], every, whole, False)
        curves[model] = found["validation_cross_entropy"][0]
    limits = stops(curves, chosen.network.log_every)
    recorded, pretrained = {}, {}
    for model in networks:
        found = train_all(model, "to one loss", [tuning[model]["rate"]], every, limits[model], True)
        pretrained[model] = found["parameters"][0]
        recorded[model] = {
            "tuning": tuning[model],
            "steps": limits[model][: len(seeds)],
            "loss": found["validation_cross_entropy"][0, : len(seeds), -1].astype(np.float64),
            "parameters": int(pretrained[model].shape[1]),
        }
    return recorded, pretrained


class _Tuner:
    """One network with one batch size, fine-tuned on sets of several sizes."""

    def __init__(
        self,
        run: Run,
        network: Network,
        label: str,
        data: Any,
        seeds: list[int],
        trying: list[int],
    ) -> None:
        trainer = language.make_trainer(language.sizes_of(network), network)
        self._arm = Arm(
            f"{label}, batch {network.batch}",
            from_pretrained(trainer, network),
            network.balance,
            network.z,
        )
        self._run, self._network, self._data = run, network, data
        self._rows = {"reporting": seeds, "tuning": trying}

    def _train(
        self, kind: str, examples: int, rates: Sequence[float], on: str
    ) -> dict[str, np.ndarray]:
        seeds = self._rows[on]
        first = 0 if on == "reporting" else len(self._rows["reporting"])
        return language.train_arm(
            *(self._run, self._arm, f"{kind}, {examples} examples", self._network, self._data),
            *(rates, seeds),
            test=on == "reporting",
            per_seed={
                "row": np.arange(first, first + len(seeds), dtype=np.int32),
                "examples": np.full(len(seeds), examples, np.int32),
            },
        )

    def tuned(self, examples: int) -> dict[str, Any]:
        """Tune the rate, then fine-tune anew on the reporting seeds."""
        tried = self._train("tuning", examples, self._network.rates, "tuning")
        losses = language.final_loss(tried["validation_cross_entropy"])
        tuning = language.choose_rate(self._network.rates, losses)
        found = self._train("tuned", examples, [tuning["rate"]], "reporting")
        metrics = {name: values[0] for name, values in found.items()}
        outcome = {"tuning": tuning, "loss": language.final_test(metrics)}
        if "test_dropped" in metrics:
            outcome["dropped"] = metrics["test_dropped"]
        return outcome

    def grid(self, examples: int) -> dict[str, np.ndarray]:
        """Fine-tune at every rate on the reporting seeds: rate -> test loss per seed."""
        found = self._train("grid", examples, self._network.rates, "reporting")
        losses = language.final_test(found)
        return {str(rate): losses[index] for index, rate in enumerate(self._network.rates)}


SMOKE = FinetuningConfig(
    network=language.SMOKE,
    dense_hidden=32,
    examples=(16, 64),
    batches=(4, 8),
    rates=(1e-3, 1e-2),
    grid_examples=16,
    capacity_factors=(0.9, 2.0),
    steps=8,
)
FULL = FinetuningConfig(
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
