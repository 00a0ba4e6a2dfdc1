"""What the studies will train: their calls of `language.train_arm`, from the config alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from experiments.moe_design import capacity, finetuning, language, specialisation, z_loss
from experiments.moe_design import config as settings
from experiments.moe_design.language import Network
from jaxtrends import transformer
from jaxtrends.plan import Planned

ENGLISH = 700_000  # bytes of the English text, about


def plan(config: Any, methods: Sequence[str] = ()) -> Mapping[str, Sequence[Planned]]:
    """Study -> the calls of its training, in their order; there are no methods of the user's."""
    planners = {
        "z_loss": _z_loss,
        "capacity": _capacity,
        "specialisation": _specialisation,
        "balance": _balance,
        "finetuning": _finetuning,
    }
    return {name: list(planners[name](config)) for name in settings.chosen(config)}


def _z_loss(config: Any) -> Iterator[Planned]:
    study = config.z_loss
    network, seeds = study.network, _seeds(study.network, config)
    treatments = {name: z_loss.TREATMENTS[name] for name in study.arms}
    programs = {name: (t.router_dtype, t.stabiliser) for name, t in treatments.items()}
    tuning = len(network.rates) * network.tuning_seeds
    for name, program in programs.items():
        yield _call(f"{name}, tuning", network, tuning, program)
    for name, program in programs.items():
        yield _call(f"{name}, stressed", network, (1 + len(study.strata)) * seeds, program)
        yield _call(f"{name}, calm", network, seeds, program)
    yield _call("placebo, stressed", network, seeds, programs[z_loss.BASELINE])


def _capacity(config: Any) -> Iterator[Planned]:
    study, seeds = config.capacity, _seeds(config.capacity.network, config)
    for top in study.tops:
        for factor in study.factors:
            network = replace(study.network, top=top, capacity_factor=factor)
            label = f"{capacity.name_of(top)}, capacity {factor:g}"
            yield from _tuned(label, network, config)
    still = replace(network, steps=network.log_every)
    yield _call(f"{label}, untrained", still, seeds)


def _specialisation(config: Any) -> Iterator[Planned]:
    for network in specialisation.networks(config.specialisation).values():
        yield from _tuned(network.data, network, config)
        still = replace(network, steps=network.log_every)
        yield _call(f"{network.data}, untrained", still, _seeds(network, config))


def _balance(config: Any) -> Iterator[Planned]:
    network = config.balance.network
    for arm in ("off", "global", "group"):
        yield from _tuned(arm, network, config)


def _finetuning(config: Any) -> Iterator[Planned]:
    study, network = config.finetuning, config.finetuning.network
    seeds = _seeds(network, config)
    every = seeds + network.tuning_seeds
    pretrained = {"sparse": network, "dense": finetuning.dense(study)}
    for model, whole in pretrained.items():
        tuning = len(whole.rates) * whole.tuning_seeds
        yield _call(f"pretraining, {model}, tuning", whole, tuning)
        yield _call(f"pretraining, {model}, whole", whole, every)
    for model, whole in pretrained.items():
        yield _call(f"pretraining, {model}, to one loss", whole, every)
    for model in pretrained:
        for batch in study.batches:
            tuned = finetuning.tuned_network(study, model, batch)
            label = f"{model}, batch {batch}"
            if batch == study.batches[1]:
                for examples in study.examples:
                    yield from _tuned_on(label, tuned, examples, seeds)
            grid = f"{label}, grid, {study.grid_examples} examples"
            yield _call(grid, tuned, len(tuned.rates) * seeds)
    for factor in study.capacity_factors:
        batch = study.batches[1]
        tuned = finetuning.tuned_network(study, "sparse", batch, factor)
        label = f"sparse, capacity {factor:g}, batch {batch}"
        yield from _tuned_on(label, tuned, study.examples[-1], seeds)


def _tuned_on(label: str, network: Network, examples: int, seeds: int) -> Iterator[Planned]:
    tuning = len(network.rates) * network.tuning_seeds
    yield _call(f"{label}, tuning, {examples} examples", network, tuning)
    yield _call(f"{label}, tuned, {examples} examples", network, seeds)


def _tuned(label: str, network: Network, config: Any) -> Iterator[Planned]:
    yield _call(f"{label}, tuning", network, len(network.rates) * network.tuning_seeds)
    yield _call(f"{label}, reporting", network, _seeds(network, config))


def _seeds(network: Network, config: Any) -> int:
    return network.seeds or config.seeds


def _call(label: str, network: Network, lanes: int, program: Any = "") -> Planned:
    """One call; arms that differ in coefficients alone share a program."""
    sizes = language.sizes_of(network)
    token = transformer.training_operations(sizes, padded=True)
    evaluated = network.held_out / 3 / network.log_every
    training = network.training * network.context if network.data == "lookup" else ENGLISH
    return Planned(
        label=label,
        program=(sizes, network.batch, program),
        lanes=lanes,
        steps=network.steps,
        log_every=network.log_every,
        block=1,
        operations=token * network.context * (network.batch + evaluated),
        numbers=3.0 * transformer.parameter_count(sizes),  # Adam keeps two more of each
        data=2.0 * (training + 2 * network.held_out * network.context),
    )
