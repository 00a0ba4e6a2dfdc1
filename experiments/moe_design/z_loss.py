"""Does the router's z-loss keep training stable, and at what cost? (S1, S2, S9)

At one learning rate the baseline, a router in bfloat16 without z-loss, fails in about a third of
runs; that rate is chosen on tuning seeds of its own. At that rate every arm is trained on the same
reporting seeds, and what counts as a failure was fixed before (`stability`). What the z-loss costs
is asked apart, at the rate that is best for each arm, where nothing fails.

Beside them stands a placebo: the baseline with a z-loss of a thousandth of the coefficient, which
sends an unstable run another way and must cure nothing.

Other rates are shown as strata beside that one, and no test pools them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.moe_design import language, stability
from experiments.moe_design import z_loss_figures as figures
from experiments.moe_design.language import Arm, Network
from jaxtrends import moe, transformer
from jaxtrends.errors import Problem, choose, require_positive
from jaxtrends.study import Run, StudyResult

BASELINE = "bf16"
PLACEBO = (
    1e-3  # of the z-loss's coefficient: rounding differs, and so the run, but nothing is cured
)


@dataclass(frozen=True)
class Treatment:
    """What an arm does about the router: its precision, whether it has z-loss, what else."""

    router_dtype: str
    z: bool = False
    stabiliser: str = ""


TREATMENTS = {
    BASELINE: Treatment("bfloat16"),
    "bf16 + z": Treatment("bfloat16", z=True),
    "f32": Treatment("float32"),
    "f32 + z": Treatment("float32", z=True),
    "bf16, clipped updates": Treatment("bfloat16", stabiliser="clipped updates"),
    "bf16, no learned scales": Treatment("bfloat16", stabiliser="no learned scales"),
}


@dataclass(frozen=True)
class ZLossConfig:
    """Which arms, how large and how hard pressed."""

    arms: tuple[str, ...] = (BASELINE, "bf16 + z")
    """Arms: bf16 and f32 (the router's precision), each with + z; bf16, clipped updates; bf16, no
    learned scales. The first must be bf16."""
    network: Network = field(
        default_factory=lambda: Network(
            clusters=1,
            layers=(8,),
            z=1e-3,
            steps=150,
            warm_up=10,
            rates=(3e-3, 1e-2, 3e-2, 0.06, 0.08, 0.085, 0.09, 0.095, 0.1),
            tuning_seeds=8,
            seeds=30,
        )
    )
    """What is trained. Its rates are those that the stressful and the best are chosen from."""
    router_scale: float = 1.0
    """Stress: the router's first weights are multiplied by this."""
    evaluations: int = 3
    """Evaluations in a row that must lie 0.5 nats above the lowest loss for a jump."""
    strata: tuple[float, ...] = ()
    """Further rates at which all arms are trained on the reporting seeds, as multiples of the
    stressful one; each is a stratum of its own."""


def check(config: ZLossConfig) -> None:
    """Refuse a config that cannot be run.

    Raises:
        Problem: names the flag at fault.
    """
    language.check("z-loss.network", config.network)
    for arm in config.arms:
        choose("arm", arm, TREATMENTS)
    if config.arms[:1] != (BASELINE,) or len(set(config.arms)) < len(config.arms):
        raise Problem(f"--z-loss.arms must begin with {BASELINE} and name each arm once.")
    named = {f"z-loss.strata[{i}]": factor for i, factor in enumerate(config.strata)}
    scale = {"z-loss.router-scale": config.router_scale, "z-loss.evaluations": config.evaluations}
    require_positive(**scale, **named)


def make_arms(config: ZLossConfig) -> dict[str, Arm]:
    """The arms; those that differ in their z-loss alone share a trainer."""
    network, trainers = config.network, {}
    arms = {}
    for name in config.arms:
        treatment = TREATMENTS[name]
        key = (treatment.router_dtype, treatment.stabiliser)
        if key not in trainers:
            trainers[key] = language.make_trainer(
                language.sizes_of(network, router_dtype=treatment.router_dtype),
                network,
                router_scale=config.router_scale,
                stabiliser=treatment.stabiliser,
                extra=rerouted(network),
            )
        z = network.z if treatment.z else 0.0
        arms[name] = Arm(name, trainers[key], network.balance, z)
    return arms


def rerouted(network: Network) -> language.Extra:
    """Share of tokens that the first mixture sends elsewhere when its router is rounded to bf16.

    Measured on the parameters of the end and test data. What reaches the first mixture is the same
    in both precisions.
    """

    def measure(params: Any, data: Mapping[str, Any]) -> dict[str, Any]:
        chosen = []
        for dtype in ("float32", "bfloat16"):
            model = transformer.transformer(language.sizes_of(network, router_dtype=dtype))
            chosen.append(model.apply(params, data["test"][0])[1][0].expert)
        differ = (chosen[0] != chosen[1]).astype(jnp.float32)
        return {"rerouted": jnp.mean(differ)}

    return measure


def round_off(largest: float = 128.5) -> dict[str, float]:
    """The paper's example: logits 128.5 and ten times 128, through a router of each precision.

    The largest gate, which bfloat16 rounds away (ST-MoE, Figure 2 and its footnote).
    """
    router = jnp.asarray([[largest, *[128.0] * 10]], jnp.float32)
    experts = jnp.zeros((11, 1, 1), jnp.float32)
    params = {"router": router, "up": experts, "down": experts}
    inputs = jnp.ones((1, 11, 1), jnp.float32)

    def gate(dtype: str) -> jax.Array:
        layer = moe.Mixture(experts=11, router_dtype=dtype)
        return moe.mixture_layer(params, inputs, layer)[1].confidence

    gates = jax.jit(lambda: {dtype: gate(dtype) for dtype in moe.ROUTER_DTYPES})()
    return {dtype: float(value) for dtype, value in gates.items()}


def outcome(metrics: Mapping[str, np.ndarray], chance: float, evaluations: int) -> dict[str, Any]:
    """What is kept of an arm's lanes at one rate, per seed."""
    curve = metrics["validation_cross_entropy"]
    why = stability.reasons(curve, chance, evaluations)
    return {
        "failed": stability.failed(why),
        "why": why,
        "loss": language.final_loss(curve),
        "largest_logit": _worst(metrics["validation_largest_logit"]),
        "squared_logsumexp": _worst(metrics["validation_squared_logsumexp"]),
        "rerouted": metrics["rerouted"],
    }


def _worst(curve: np.ndarray) -> np.ndarray:
    """The largest value of a run; infinite where one is not finite."""
    return np.where(np.isfinite(curve), curve, np.inf).astype(np.float64).max(axis=-1)


def run(config: Any, run: Run) -> StudyResult:
    """Tune, choose the stressful rate, and train every arm at it and at its best rate."""
    chosen = config.z_loss
    network = chosen.network
    data = run.dataset(language.data_name(network))
    splits, chance = language.arrays(data, network), language.chance(data)
    arms = make_arms(chosen)
    seeds = language.reporting_seeds(network, config)
    trying = language.tuning_seeds(network, config)
    values: dict[str, Any] = {
        "chance": chance,
        "evaluations": chosen.evaluations,
        "seeds": seeds,
        "tuning_seeds": trying,
        "log_every": network.log_every,
        "round_off": round_off(),
        "no_round_off": round_off(129.0),  # a number that bfloat16 has
        "tuning": {},
        "calm": {},
    }
    curves: dict[str, np.ndarray] = {}
    for name, arm in arms.items():
        tried = language.train_arm(
            run, arm, "tuning", network, splits, network.rates, trying, test=False
        )
        losses = tried["validation_cross_entropy"]
        failures = [
            stability.failed(stability.reasons(at, chance, chosen.evaluations)) for at in losses
        ]
        # A rate at which a run failed is no rate to compare quality at.
        final = np.where(np.asarray(failures) > 0, np.inf, language.final_loss(losses))
        values["tuning"][name] = {
            **language.choose_rate(network.rates, final),
            "failed": failures,
        }
    best, in_reach = stability.stress_rate(
        network.rates, np.asarray(values["tuning"][BASELINE]["failed"])
    )
    stress = network.rates[best]
    values |= {"stress_rate": stress, "in_reach": in_reach}
    rates = [stress, *(stress * factor for factor in chosen.strata)]
    values["strata"] = {str(rate): {} for rate in rates}
    for name, arm in arms.items():
        found = language.train_arm(run, arm, "stressed", network, splits, rates, seeds, test=True)
        for number, rate in enumerate(rates):
            metrics = {key: array[number] for key, array in found.items()}
            values["strata"][str(rate)][name] = outcome(metrics, chance, chosen.evaluations)
            language.log(run, arm, network, seeds, rate, metrics)
        for metric in figures.CURVES:
            curves[f"{name}/{metric}"] = found[metric][0]
        calm = values["tuning"][name]["rate"]
        found = language.train_arm(run, arm, "calm", network, splits, [calm], seeds, test=True)
        metrics = {key: array[0] for key, array in found.items()}
        values["calm"][name] = {
            **outcome(metrics, chance, chosen.evaluations),
            "rate": calm,
            "test_loss": language.final_test(metrics),
        }
        language.log(run, arm, network, seeds, calm, metrics)
    placebo = replace(arms[BASELINE], label="placebo", z=PLACEBO * network.z)
    found = language.train_arm(
        run, placebo, "stressed", network, splits, [stress], seeds, test=True
    )
    metrics = {key: array[0] for key, array in found.items()}
    values["placebo"] = outcome(metrics, chance, chosen.evaluations)
    return StudyResult(
        values=values,
        curves=curves,
        tables=[figures.failures(values), figures.quality(values)],
        figures=[figures.stability_map(values), figures.stressed(values, curves)],
    )


SMOKE = ZLossConfig(
    network=replace(language.SMOKE, z=1e-3, rates=(1e-2, 1.0), tuning_seeds=2, seeds=4)
)
FULL = ZLossConfig(arms=tuple(TREATMENTS), strata=(0.5, 2.0))
