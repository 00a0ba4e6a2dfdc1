"""What a config will cost, from arithmetic alone: operations, and seconds at a machine's speed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from experiments.moe_design import config as settings
from experiments.moe_design import finetuning, language, specialisation, z_loss
from experiments.moe_design.language import Network
from jaxtrends import transformer
from jaxtrends.transformer import Transformer

EFFORT = 45e9  # what a CPU core does in a second of `jaxtrends.transformer.training_effort`
CORES = 2  # each trains a lane at a time
COMPILING = 25.0  # seconds for what trains one network


@dataclass(frozen=True)
class Work:
    """One network's training: its steps over all lanes, and the tokens of a step.

    An evaluation of so many held-out tokens, a third as dear as training on them, is spread over
    the steps between two.
    """

    sizes: Transformer
    tokens: float
    lane_steps: float


def _work(network: Network, lanes: int, **mixture: Any) -> Work:
    sizes = language.sizes_of(network, **mixture)
    evaluation = network.held_out * network.context / 3 / network.log_every
    return Work(sizes, network.batch * network.context + evaluation, lanes * network.steps)


def work(config: Any) -> dict[str, list[Work]]:
    """Chosen study -> the training of each of its arms."""
    plans = {
        "z_loss": _z_loss,
        "capacity": _capacity,
        "specialisation": _specialisation,
        "balance": _balance,
        "finetuning": _finetuning,
    }
    return {name: list(plans[name](config)) for name in settings.chosen(config)}


def _z_loss(config: Any) -> Iterator[Work]:
    network, study = config.z_loss.network, config.z_loss
    seeds = network.seeds or config.seeds
    tuning = len(network.rates) * network.tuning_seeds
    for name in study.arms:
        dtype = z_loss.TREATMENTS[name].router_dtype
        yield _work(network, tuning + (2 + len(study.strata)) * seeds, router_dtype=dtype)
    yield _work(network, seeds, router_dtype=z_loss.TREATMENTS[z_loss.BASELINE].router_dtype)


def _capacity(config: Any) -> Iterator[Work]:
    network = config.capacity.network
    for top in config.capacity.tops:
        for factor in config.capacity.factors:
            lanes = language.lanes_of(network, config.seeds)
            yield _work(network, lanes, top=top, capacity_factor=factor)


def _specialisation(config: Any) -> Iterator[Work]:
    for network in specialisation.networks(config.specialisation).values():
        yield _work(network, language.lanes_of(network, config.seeds))


def _balance(config: Any) -> Iterator[Work]:
    network = config.balance.network
    yield _work(network, 3 * language.lanes_of(network, config.seeds))


def _finetuning(config: Any) -> Iterator[Work]:
    study, network = config.finetuning, config.finetuning.network
    seeds = network.seeds or config.seeds
    every = seeds + network.tuning_seeds
    for model in ("sparse", "dense"):
        whole = network if model == "sparse" else finetuning.dense(study)
        yield _work(whole, len(network.rates) * network.tuning_seeds + 2 * every)
        for batch in study.batches:
            tuned = finetuning.tuned_network(study, model, batch)
            sized = len(study.examples) * language.lanes_of(tuned, seeds)
            yield _work(tuned, len(study.rates) * seeds + sized * (batch == study.batches[1]))
    for factor in study.capacity_factors:
        tuned = finetuning.tuned_network(study, "sparse", study.batches[1], factor)
        yield _work(tuned, language.lanes_of(tuned, seeds))


def operations(config: Any) -> Mapping[str, float]:
    """Floating-point operations of each chosen study, places counted whether filled or not."""
    return {
        study: sum(
            transformer.training_operations(one.sizes, padded=True) * one.tokens * one.lane_steps
            for one in parts
        )
        for study, parts in work(config).items()
    }


def seconds(config: Any) -> Mapping[str, float]:
    """Expected seconds of every study on two CPU cores, from a cold start."""
    found = {}
    for study, parts in work(replace(config, studies=())).items():
        effort = sum(
            transformer.training_effort(one.sizes) * one.tokens * one.lane_steps for one in parts
        )
        networks = len({(one.sizes, one.tokens) for one in parts})
        found[study] = networks * COMPILING + effort / (EFFORT * CORES)
    return found
