"""Does the router z-loss keep training stable, and at what cost? (S1, S2, S9)

At this size nothing becomes unstable by itself, so instability is provoked: the router's updates
are multiplied (`ZLoss.stress`), all other parameters learn as they would. The router's logits then
run away, and in about a third of runs the loss climbs back by more than half a nat. The stress is
chosen on separate tuning seeds, and what counts as unstable was fixed beforehand (`reasons`). Every
arm is trained on the same reporting seeds under several multiples of the router's rate: a ladder,
whose rungs are strata that no test pools. The cost of the z-loss is measured apart, on a network
that trains stably, with each arm at its best rate.

How this could have been rigged: the z-loss acts on the router's logits, and so does the stress, so
the setting is one in which it has something to cure. It says nothing about instability with other
causes. What keeps it honest: a placebo (a millionth of the coefficient, which changes the course
of an unstable run only through rounding) must cure nothing; the same runs at the plain router rate
must be cured, so that the study can detect a cure; other cures are tried on the same seeds (a
float32 router, clipped updates, fixed norm scales); and a run that never learned, which is what a
rate that is simply too high makes of a network, is shown apart and does not count as unstable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.moe_design import language, z_loss_claims
from experiments.moe_design.language import PyTree
from experiments.moe_design.z_loss_claims import BASELINE, CALM, LADDER, OTHERS, STRESSED
from jaxtrends import moe, optimizers, transformer
from jaxtrends.comparison import Arm, Comparison, Setting
from jaxtrends.design import Study
from jaxtrends.errors import Problem
from jaxtrends.settings import Grid, Names, PositiveFloat, PositiveInt
from jaxtrends.study import Run, StudyResult
from jaxtrends.train import Trainer

PLACEBO = 1e-6  # of the z-loss coefficient: changes the run through rounding, cures nothing. (At a
# thousandth the squared logits under stress are large enough for Adam to act on them.)


# --- the optimizers that the paper compares with -------------------------------------------------


def _ends_in(path: tuple[Any, ...], name: str) -> bool:
    return path[-1].key == name


def clipped(warm_up: int) -> Callable[[PyTree], Any]:
    """Adam with the update of each array clipped to a root mean square of 0.1, before the rate."""

    def optimizer(lane: PyTree) -> Any:
        import optax

        return optax.chain(
            optax.scale_by_adam(),
            optax.clip_by_block_rms(0.1),
            optax.scale_by_learning_rate(optimizers.warmed_up(lane["learning_rate"], warm_up)),
        )

    return optimizer


def without_scales(warm_up: int) -> Callable[[PyTree], Any]:
    """Adam that keeps the scales of the norms at one."""

    def scales(params: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(lambda path, _: _ends_in(path, "scale"), params)

    def optimizer(lane: PyTree) -> Any:
        import optax

        return optax.chain(
            optimizers.adam(warm_up)(lane), optax.masked(optax.set_to_zero(), scales)
        )

    return optimizer


def stressed(make: Callable[[int], Callable[[PyTree], Any]]) -> Callable[[int], Any]:
    """An optimizer whose updates of the routers are multiplied by the lane's ``router_rate``."""

    def routers(updates: PyTree, factor: jax.Array) -> PyTree:
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: leaf * factor if _ends_in(path, "router") else leaf, updates
        )

    def of_warm_up(warm_up: int) -> Callable[[PyTree], Any]:
        def optimizer(lane: PyTree) -> Any:
            import optax

            faster = optax.stateless(lambda updates, _: routers(updates, lane["router_rate"]))
            return optax.chain(make(warm_up)(lane), faster)

        return optimizer

    return of_warm_up


@dataclass(frozen=True)
class Treatment:
    """How an arm treats the router: its precision, its share of the z-loss, and the optimizer."""

    router_dtype: str
    z: float = 0.0
    optimizer: Callable[[int], Callable[[PyTree], Any]] = optimizers.adam


TREATMENTS = {
    BASELINE: Treatment("bfloat16"),
    "bf16 + z": Treatment("bfloat16", z=1.0),
    "f32": Treatment("float32"),
    "f32 + z": Treatment("float32", z=1.0),
    "bf16, clipped updates": Treatment("bfloat16", optimizer=clipped),
    "bf16, no learned scales": Treatment("bfloat16", optimizer=without_scales),
}
CONTROL = Treatment("bfloat16", z=PLACEBO)


# --- settings ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ZLoss:
    """Which arms, on which networks, under which stress."""

    arms: Names[TREATMENTS] = (BASELINE, "bf16 + z")
    """Arms: bf16 and f32 (the router's precision), each with + z; bf16, clipped updates; bf16, no
    learned scales. The first must be bf16."""
    network: language.Network = field(
        default_factory=lambda: language.Network(
            clusters=1,
            layers=(8, 8),
            z=1e-3,
            steps=800,
            warm_up=300,
            rates=(0.04,),
            tuning_seeds=12,
            seeds=30,
        )
    )
    """The stressed network. Of its rates the one is taken at which the share of unstable baseline
    runs, on tuning seeds under the stress, is closest to a third."""
    stress: PositiveFloat = 300.0
    """Factor on the router's updates at which arms are compared; one of the router rates. Of 30,
    100, 200, 300 and 600 it is the lower of the two at which, in a pilot on tuning seeds, the share
    of unstable runs was closest to a third."""
    router_rates: Grid = (1.0, 100.0, 300.0)
    """Factors on the router's updates: the rungs of the ladder. The first must be 1."""
    placebo_climbs: bool = False
    """Whether the placebo is on every rung, as the control of the ladder's slope."""
    evaluations: PositiveInt = 3
    """Consecutive evaluations more than 0.5 nats above the lowest loss that count as a jump."""
    calm: language.Network = field(
        default_factory=lambda: language.Network(
            clusters=1,
            layers=(8,),
            z=1e-3,
            steps=150,
            warm_up=10,
            rates=(5e-3, 1e-2, 2e-2, 3e-2, 0.06),
            tuning_seeds=8,
            seeds=144,
        )
    )
    """The network that shows what the arms cost: stable, at each arm's best rate."""

    def check(self, flag: str) -> None:
        """Refuse arms without the baseline, repeated arms, and a ladder without the stress.

        Raises:
            Problem: names the flag.
        """
        if self.arms[:1] != (BASELINE,) or len(set(self.arms)) < len(self.arms):
            raise Problem(f"--{flag}.arms must begin with {BASELINE} and name each arm once.")
        if self.router_rates[0] != 1 or self.stress not in self.router_rates[1:]:
            raise Problem(f"--{flag}.router-rates must begin with 1 and contain the stress.")

    @property
    def networks(self) -> tuple[language.Network, ...]:
        """All networks trained."""
        return (self.network, self.calm)


# --- when a run counts as unstable: rules fixed beforehand ---------------------------------------

JUMP = 0.5  # nats above the lowest loss so far
LEARNED = 0.95  # of the loss of the best constant guess
UNSTABLE = ("not finite", "jump")
NEVER = "never learned"
TARGET_SHARE = 1 / 3  # of baseline runs that should be unstable, to leave room for a cure
SHARES_IN_REACH = (1 / 6, 1 / 2)


def reasons(curves: np.ndarray, chance: float, evaluations: int) -> list[str]:
    """What is wrong with each run; "" for a run that learned and stayed stable.

    A run is unstable if a loss is not finite, or if its loss is more than 0.5 nats above the lowest
    so far at ``evaluations`` consecutive evaluations. A run whose loss was never below 0.95 of that
    of a constant guess never learned; this is told apart and is no instability.

    Args:
        curves:      (lanes, points) validation cross-entropy, nats.
        chance:      cross-entropy of the best guess that ignores the input, nats.
        evaluations: consecutive evaluations that count as a jump.
    """
    found = []
    for curve in np.asarray(curves, np.float64):
        if not np.isfinite(curve).all():
            found.append("not finite")
        elif _longest_run(curve > np.minimum.accumulate(curve) + JUMP) >= evaluations:
            found.append("jump")
        elif curve.min() > LEARNED * chance:
            found.append(NEVER)
        else:
            found.append("")
    return found


def _longest_run(flags: np.ndarray) -> int:
    longest = current = 0
    for flag in flags:
        current = current + 1 if flag else 0
        longest = max(longest, current)
    return longest


def unstable(why: Sequence[str]) -> np.ndarray:
    """1 for an unstable run and 0 for any other, float64."""
    return np.asarray([float(reason in UNSTABLE) for reason in why])


def stress_rate(rates: Sequence[float], failures: np.ndarray) -> tuple[int, bool]:
    """The rate whose share of failures is closest to a third: (rates, seeds) -> its index.

    The lower rate wins a tie. Also says whether that share is usable: between a sixth and a half.
    """
    shares = np.asarray(failures, np.float64).mean(axis=1)
    order = np.lexsort((np.asarray(rates), np.abs(shares - TARGET_SHARE).round(9)))
    best = int(order[0])
    low, high = SHARES_IN_REACH
    return best, bool(low <= shares[best] <= high)


def chance(labels: np.ndarray, vocabulary: int) -> float:
    """Cross-entropy, in nats, of a guess from token frequencies alone."""
    counts = np.bincount(labels.ravel(), minlength=vocabulary)
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())


# --- arms ----------------------------------------------------------------------------------------


@cache
def trainer(network: language.Network, router_dtype: str, optimizer: Any) -> Trainer:
    """The trainer of all arms with this router and optimizer, which differ only in numbers."""
    trained = language.trainer(
        network.sizes(router_dtype=router_dtype), network, optimizer=stressed(optimizer)
    )
    return language.measuring(trained, rerouted(network))


def made(name: str, network: language.Network, router_rate: float) -> Arm:
    """An arm or a placebo on a network, with its router's updates multiplied."""
    treatment = {**TREATMENTS, "placebo": CONTROL}[name]
    numbers = language.coefficients(network, z=treatment.z * network.z, router_rate=router_rate)
    cost = transformer.cost(network.sizes(), network.batch)
    return Arm(trainer(network, treatment.router_dtype, treatment.optimizer), numbers, cost)


def rerouted(network: language.Network) -> language.Measure:
    """Share of tokens that the first mixture routes differently with a bfloat16 router.

    Measured on the final parameters and test data. The first mixture's input is the same in both
    precisions.
    """

    def measure(params: PyTree, data: Mapping[str, Any]) -> dict[str, jax.Array]:
        chosen = []
        for dtype in ("float32", "bfloat16"):
            model = transformer.transformer(network.sizes(router_dtype=dtype))
            chosen.append(model.apply(params, data["test"][0])[1][0].expert)
        return {"test_rerouted": jnp.mean((chosen[0] != chosen[1]).astype(jnp.float32))}

    return measure


def round_off(largest: float) -> dict[str, float]:
    """The largest gate of eleven logits, ten of them 128, with a router of each precision.

    The paper's example has 128.5, which bfloat16 rounds away (ST-MoE, Figure 2 and its footnote).
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


# --- the study -----------------------------------------------------------------------------------


def rungs(part: ZLoss) -> dict[str, float]:
    """The rungs of the ladder by name, each with its factor on the router's updates."""
    return {
        STRESSED if factor == part.stress else f"router x{factor:g}": factor
        for factor in part.router_rates
    }


def takes_part(name: str, setting: Setting) -> bool:
    """Whether an arm or the placebo is trained in a setting.

    Under the stress all but the float32 router with z-loss, which is there for its cost; at other
    rungs what the ladder shows. The placebo is where it is a control.
    """
    part = setting.config.z_loss
    if name not in (*part.arms, "placebo"):
        return False
    if setting.task == CALM:
        return name != "placebo" or any(f"bf16, {other}" in part.arms for other in OTHERS)
    if setting.size == part.stress:
        return name != "f32 + z"
    return name in (BASELINE, "bf16 + z") or (name == "placebo" and part.placebo_climbs)


def run(config: Any, run: Run) -> StudyResult:
    """Choose the rate under stress, then train every arm on every rung, and at its best rate."""
    part: ZLoss = config.z_loss
    pressed = Setting(config, part.network, LADDER, part.stress)
    source = run.dataset(part.network.dataset)
    guess = chance(source.train.labels, source.vocabulary)
    why = partial(reasons, chance=guess, evaluations=part.evaluations)
    tried = language.train_at(
        run,
        f"{BASELINE}, tuning under stress",
        made(BASELINE, part.network, part.stress),
        part.network,
        language.splits(part.network, run),
        part.network.rates,
        pressed.tuning_seeds,
        test=False,
    )
    fails = np.stack([unstable(why(curves)) for curves in tried["validation_cross_entropy"]])
    best, in_reach = stress_rate(part.network.rates, fails)
    rate = part.network.rates[best]

    def at(setting: Setting, name: str) -> Arm | None:
        """An arm on a rung at the chosen rate, or on the calm network at its own best rate."""
        if not takes_part(name, setting):
            return None
        if setting.task == CALM:
            same = BASELINE if name == "placebo" else ""
            return replace(made(name, setting.part, 1.0), rate_of=same)
        return replace(made(name, setting.part, setting.size), rate=rate)

    def outcome(task: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Which runs were unstable or never learned, and each run's largest logits."""

        def largest(name: str, metric: str) -> np.ndarray:
            curve = curves[f"{name}/validation_{metric}"]
            return np.where(np.isfinite(curve), curve, np.inf).astype(np.float64).max(axis=-1)

        found = {name: why(curves[f"{name}/validation_cross_entropy"]) for name in task["arms"]}
        metrics = {
            name: {
                "unstable": unstable(said),
                "never_learned": np.asarray([float(reason == NEVER) for reason in said]),
                "largest_logit": largest(name, "largest_logit"),
                "squared_logsumexp": largest(name, "squared_logsumexp"),
            }
            for name, said in found.items()
        }
        return {"why": found, "arms": metrics}

    compared = Comparison(
        about="every arm under stress, and at its best rate without",
        arms={name: partial(at, name=name) for name in (*part.arms, "placebo")},
        metric="cross_entropy",
        unit="nats per token",
        data=lambda setting, run: language.splits(setting.part, run),
        facts=lambda setting, run: {"chance": guess, "in_reach": in_reach},
        size="factor on the router's updates",
        also=outcome,
        figures=(
            z_loss_claims.ladder,
            z_loss_claims.under_stress("validation_cross_entropy"),
            z_loss_claims.under_stress("validation_squared_logsumexp", y_scale="log"),
        ),
        tables=(z_loss_claims.failures,),
    )
    settings = {
        name: Setting(config, part.network, LADDER, factor) for name, factor in rungs(part).items()
    }
    settings[CALM] = Setting(config, part.calm, CALM)
    found = compared.run(config, run, settings)
    share = fails.mean(axis=1)
    return replace(
        found,
        values={
            **found.values,
            "tuning": {"rates": part.network.rates, "unstable": share, "chosen": rate},
            "round_off": round_off(128.5),
            "no_round_off": round_off(129.0),  # 129 is exact in bfloat16
        },
    )


STUDY = Study(
    "stability with and without router z-loss, with a router that learns too fast",
    run,
    z_loss_claims.CLAIMS,
)

_TINY = replace(language.SMOKE, z=1e-3, tuning_seeds=2, seeds=4)
SMOKE = ZLoss(
    network=_TINY,
    calm=_TINY,
    stress=30.0,
    router_rates=(1.0, 3.0, 30.0),
    placebo_climbs=True,
)
FULL = ZLoss(arms=tuple(TREATMENTS), router_rates=(1.0, 100.0, 300.0, 600.0), placebo_climbs=True)
