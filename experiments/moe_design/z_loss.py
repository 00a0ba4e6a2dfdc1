"""Does the router z-loss keep training stable, and at what cost? (S1, S2, S9)

At the stress rate, the baseline (a bfloat16 router without z-loss) fails in about a third of runs;
this learning rate is chosen on separate tuning seeds. Every arm is then trained at it on the same
reporting seeds, and what counts as a failure was fixed beforehand (`reasons`). The cost of the
z-loss is measured separately, at each arm's best rate, where nothing fails.

There is a placebo: the baseline with a thousandth of the z-loss coefficient. It changes the course
of an unstable run through rounding, and must cure nothing.

Other learning rates are reported as separate strata, and no test pools them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt

from experiments.moe_design import language
from experiments.moe_design.language import LOSS, PyTree, exchanged
from jaxtrends import charts, declare, moe, optimizers, stats, transformer, tuning
from jaxtrends.claims import CONFIDENCE, Claim
from jaxtrends.comparison import Arm, Comparison, Setting
from jaxtrends.declare import ABOVE_ZERO, Quantity, TaskView
from jaxtrends.design import Study
from jaxtrends.errors import Problem
from jaxtrends.settings import Names, PositiveFloat, PositiveInt
from jaxtrends.study import Figure, Panel, Run, Series, StudyResult, Table

BASELINE = "bf16"
PLACEBO = 1e-3  # of the z-loss coefficient: changes the run through rounding, cures nothing
STRESSED, CALM = "stressed", "calm"  # the rate at which a third of runs fail; each arm's best rate
CURVES = ("validation_cross_entropy", "validation_largest_logit")


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


@dataclass(frozen=True)
class Treatment:
    """How an arm treats the router: its precision, z-loss or not, and the optimizer."""

    router_dtype: str
    z: bool = False
    optimizer: Callable[[int], Callable[[PyTree], Any]] = optimizers.adam


TREATMENTS = {
    BASELINE: Treatment("bfloat16"),
    "bf16 + z": Treatment("bfloat16", z=True),
    "f32": Treatment("float32"),
    "f32 + z": Treatment("float32", z=True),
    "bf16, clipped updates": Treatment("bfloat16", optimizer=clipped),
    "bf16, no learned scales": Treatment("bfloat16", optimizer=without_scales),
}
PAIRS = {"bf16 router": ("bf16", "bf16 + z"), "f32 router": ("f32", "f32 + z")}
OTHERS = ("clipped updates", "no learned scales")


@dataclass(frozen=True)
class ZLoss(language.OneNetwork):
    """Which arms, on which network, at which stress."""

    arms: Names[TREATMENTS] = (BASELINE, "bf16 + z")
    """Arms: bf16 and f32 (the router's precision), each with + z; bf16, clipped updates; bf16, no
    learned scales. The first must be bf16."""
    network: language.Network = field(
        default_factory=lambda: language.Network(
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
    """The network to train; the stress rate and the best rates are chosen from its rates."""
    router_scale: PositiveFloat = 1.0
    """Stress: factor on the router's initial weights."""
    evaluations: PositiveInt = 3
    """Consecutive evaluations more than 0.5 nats above the lowest loss that count as a jump."""
    strata: Annotated[tuple[float, ...], Gt(0)] = ()
    """Further learning rates for all arms on the reporting seeds, as multiples of the stress rate;
    each is a separate stratum."""

    def check(self, flag: str) -> None:
        """Refuse arms without the one that sets the rate, and repeated arms.

        Raises:
            Problem: names the flag.
        """
        if self.arms[:1] != (BASELINE,) or len(set(self.arms)) < len(self.arms):
            raise Problem(f"--{flag}.arms must begin with {BASELINE} and name each arm once.")


# --- when a run counts as unstable: three rules, fixed beforehand --------------------------------

JUMP = 0.5  # nats above the lowest loss so far
STUCK = 0.95  # of the loss of the best constant guess
TARGET_SHARE = 1 / 3  # of baseline runs that should fail, to leave room for a cure
SHARES_IN_REACH = (1 / 6, 1 / 2)


def reasons(curves: np.ndarray, chance: float, evaluations: int) -> list[str]:
    """Why each run is unstable; "" for a stable one.

    A run is unstable if a loss is not finite; or if its loss is more than 0.5 nats above the lowest
    so far at ``evaluations`` consecutive evaluations; or if it ends above 0.95 of the loss of a
    constant guess.

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
        elif curve[-1] > STUCK * chance:
            found.append("stuck")
        else:
            found.append("")
    return found


def _longest_run(flags: np.ndarray) -> int:
    longest = current = 0
    for flag in flags:
        current = current + 1 if flag else 0
        longest = max(longest, current)
    return longest


def failed(why: Sequence[str]) -> np.ndarray:
    """1 for an unstable run and 0 for a stable one, float64."""
    return np.asarray([float(bool(reason)) for reason in why])


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


def arms(part: ZLoss) -> dict[str, Arm]:
    """The arms; those that differ only in z-loss share a trainer."""
    network, trainers, made = part.network, {}, {}
    for name in part.arms:
        treatment = TREATMENTS[name]
        kind = (treatment.router_dtype, treatment.optimizer)
        if kind not in trainers:
            trained = language.trainer(
                network.sizes(router_dtype=treatment.router_dtype),
                network,
                optimizer=treatment.optimizer,
                begin=partial(scaled, scale=part.router_scale),
            )
            trainers[kind] = language.measuring(trained, rerouted(network))
        z = network.z if treatment.z else 0.0
        cost = transformer.cost(network.sizes(), network.batch)
        made[name] = Arm(trainers[kind], language.coefficients(network, z=z), cost)
    return made


def scaled(params: PyTree, scale: float) -> PyTree:
    """Parameters with the router weights multiplied by a factor."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * scale if _ends_in(path, "router") and scale != 1 else leaf, params
    )


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


def run(config: Any, run: Run) -> StudyResult:
    """Tune, choose the stress rate, and train every arm at it and at its own best rate."""
    part: ZLoss = config.z_loss
    network, setting = part.network, Setting(config, part)
    data, source = language.splits(network, run), run.dataset(network.dataset)
    guess = chance(source.train.labels, source.vocabulary)
    why = partial(reasons, chance=guess, evaluations=part.evaluations)

    def score(losses: np.ndarray) -> np.ndarray:
        """Final losses; infinite where a run failed, so quality is not compared at that rate."""
        fails = np.asarray([failed(why(at)) for at in losses]) > 0
        return np.where(fails, np.inf, tuning.final(losses))

    made = {
        name: language.tuned(
            run, f"{name}, tuning", arm, network, data, setting.tuning_seeds, score
        )
        for name, arm in arms(part).items()
    }
    best, in_reach = stress_rate(network.rates, np.isinf(made[BASELINE].grid["scores"]))
    made["placebo"] = replace(
        made[BASELINE], numbers=language.coefficients(network, z=PLACEBO * network.z), grid={}
    )
    stress = network.rates[best]
    rates = {STRESSED: stress, **{f"{f:g} of it": stress * f for f in part.strata}, CALM: None}

    def at(setting: Setting, name: str) -> Arm | None:
        """An arm at the rate of a task, or at its best; the placebo only at the stress rate."""
        if name == "placebo" and setting.task != STRESSED:
            return None
        if setting.task == CALM:
            return made[name]
        return replace(made[name], rate=setting.size, grid={})

    def outcome(task: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Which runs failed and why, and each run's largest logit."""

        def largest(name: str, metric: str) -> np.ndarray:
            curve = curves[f"{name}/validation_{metric}"]
            return np.where(np.isfinite(curve), curve, np.inf).astype(np.float64).max(axis=-1)

        found = {name: why(curves[f"{name}/validation_cross_entropy"]) for name in task["arms"]}
        metrics = {
            name: {
                "failed": failed(said),
                "largest_logit": largest(name, "largest_logit"),
                "squared_logsumexp": largest(name, "squared_logsumexp"),
            }
            for name, said in found.items()
        }
        return {"why": found, "arms": metrics}

    compared = Comparison(
        about="every arm at the stress rate and at its best rate",
        arms={name: partial(at, name=name) for name in made},
        metric="cross_entropy",
        unit="nats per token",
        data=lambda setting, run: data,
        facts=lambda setting, run: {"chance": guess, "in_reach": in_reach},
        size="learning rate",
        also=outcome,
        figures=(stability_map, at_stress(CURVES[0]), at_stress(CURVES[1], y_scale="log")),
        tables=(failures,),
    )
    tasks = {place: Setting(config, network, place, rate) for place, rate in rates.items()}
    found = compared.run(config, run, tasks)
    gates = {
        "round_off": round_off(128.5),
        "no_round_off": round_off(129.0),
    }  # 129 is exact in bf16
    return replace(found, values={**found.values, **gates})


# --- what is claimed -----------------------------------------------------------------------------

MARGIN = 0.02  # nats


def out_of_reach(task: TaskView) -> str:
    """Why failures cannot be compared: no rate of the grid is stressful enough but not too much."""
    if task.of("in_reach"):
        return ""
    return "at no rate of the grid did between 1/6 and 1/2 of the baseline's tuning runs fail"


def with_and_without(metric: str) -> Quantity:
    """Arms with and without z-loss; each router precision is a part."""

    def pairs(task: TaskView) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        found = {
            router: (task[with_z][metric], task[without][metric])
            for router, (without, with_z) in PAIRS.items()
            if without in task and with_z in task
        }
        if not found:
            raise KeyError("an arm with z-loss")
        return found

    return pairs


def against_baseline(arm: str, metric: str = "failed") -> Quantity:
    """An arm and the baseline at the same rate."""
    return lambda task: (task[arm][metric], task[BASELINE][metric])


def at_its_best(task: TaskView) -> tuple[np.ndarray, np.ndarray]:
    """Failures of the baseline at its best rate and at the stress rate."""
    return task.beside(CALM)[BASELINE]["failed"], task[BASELINE]["failed"]


def a_guess(task: TaskView) -> tuple[np.ndarray, np.ndarray]:
    """The loss of a constant guess and of the baseline."""
    loss = task[BASELINE][LOSS]
    return np.full(loss.size, task.of("chance")), loss


def others(task: TaskView) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Other stabilisers against the z-loss."""
    found = {
        name: (task[f"bf16, {name}"][LOSS], task["bf16 + z"][LOSS])
        for name in OTHERS
        if f"bf16, {name}" in task
    }
    if not found:
        raise KeyError("an arm with another stabiliser")
    return found


def lost(of: str) -> Callable[[Mapping[str, Any]], float]:
    """The share of the largest gate that bfloat16 rounds away."""
    return lambda values: 1 - values[of]["bfloat16"] / values[of]["float32"]


def placebo(metric: str = "failed") -> dict[str, tuple[Quantity, str]]:
    """The control of claims at the stress rate."""
    why = "a thousandth of the z-loss changes a run only through rounding, and must cure nothing"
    return {"placebo": (against_baseline("placebo", metric), why)}


def fewer(id: str, statement: str, value: Quantity, quantity: str, **declared: Any) -> Claim:
    """Fewer runs are unstable, seed by seed, at the stress rate."""
    return declare.derive(
        id,
        statement,
        value,
        quantity=quantity,
        statistic="discordant share",
        region=(-1.0, 0.5),
        reason="a share of one half is no difference (McNemar)",
        fails=placebo(),
        doubt=out_of_reach,
        tasks=(STRESSED,),
        **declared,
    )


CLAIMS = (
    fewer(
        "S1a",
        "The router z-loss makes fewer runs unstable.",
        with_and_without("failed"),
        "among seeds on which exactly one of the two arms fails, the share on which the arm with "
        "z-loss fails",
        reported="4 of 6 runs stable without it, 3 of 3 with it",
        where="Table 4",
        headline=True,
    ),
    fewer(
        "S1b",
        "At the baseline's best learning rate fewer of these runs are unstable, so the study can "
        "detect a cure.",
        at_its_best,
        "among seeds on which the baseline fails at exactly one of two rates, the share on which "
        "it fails at its best rate",
        source="derived",
    ),
    declare.derive(
        "S1c",
        "Where training is stable, the router z-loss costs no quality.",
        with_and_without(LOSS),
        quantity="test cross-entropy, with z-loss - without (nats), each at its best rate",
        statistic="paired difference",
        region=(-MARGIN, MARGIN),
        reason="0.02 nats is less than a quarter of the 0.09 that tripling a dense model's size "
        "gains in the paper's Table 8",
        fails={"a guess": (a_guess, "a network that learned nothing has lost quality")},
        tasks=(CALM,),
        reported="negative log-perplexity -1.741 with it, -1.755 without it",
        where="Table 4",
        headline=True,
    ),
    declare.derive(
        "S1d",
        "The z-loss keeps the router's logits smaller.",
        with_and_without("largest_logit"),
        quantity="largest router logit of a run, with z-loss / without, at the stress rate",
        statistic="paired ratio",
        region=(-math.inf, 1.0),
        reason="a ratio of 1 is no difference",
        fails=placebo("largest_logit"),
        tasks=(STRESSED,),
        source="derived",
    ),
    fewer(
        "S1e",
        "A float32 router makes fewer runs unstable than a bfloat16 one.",
        against_baseline("f32"),
        "among seeds on which exactly one of the two arms fails, the share on which the float32 "
        "router fails",
        source="derived",
    ),
    declare.fact(
        "S2",
        "Rounding logits around 128 to bfloat16 reduces the largest gate by 36%.",
        lost("round_off"),
        quantity="share of the largest gate that is lost, logits 128.5 and ten times 128",
        region=(0.355, 0.365),
        reason="values that round to the paper's 36%",
        fails={
            "a logit of 129": (
                lost("no_round_off"),
                "a number that is exact in bfloat16 loses almost nothing",
            )
        },
        source="paper",
        reported="0.142 becomes 0.091, 36% less",
        where="Figure 2, footnote 7",
    ),
    declare.derive(
        "S9",
        "Other ways to stabilise training cost quality compared with the z-loss.",
        others,
        quantity="test cross-entropy, other stabiliser - z-loss (nats), each at its best rate",
        statistic="paired difference",
        region=ABOVE_ZERO,
        reason="only the order of the two: a small network can show no more",
        fails=exchanged(others),
        tasks=(CALM,),
        reported="negative log-perplexity -1.741 with z-loss, -4.206 with clipped updates, -2.020 "
        "without learned scales",
        where="Tables 2, 3 and 4",
    ),
)


# --- tables and figures of its own ---------------------------------------------------------------


def wilson(failures: Sequence[float]) -> stats.Interval:
    """The share of ones, with its 95% interval."""
    return stats.proportion({"values": list(failures)}, CONFIDENCE)


def failures(shown: charts.Shown) -> Table:
    """One row per rate and arm: failures on the reporting seeds; each rate is a stratum."""
    rows = []
    for place, task in shown.tasks.items():
        for name, arm in task["arms"].items():
            metrics, why = arm["metrics"], task["why"][name]
            share = wilson(metrics["failed"])
            count = {said: why.count(said) for said in ("not finite", "jump", "stuck")}
            rows.append(
                {
                    "at": place,
                    "rate": arm["learning_rate"],
                    "arm": name,
                    "unstable": f"{int(sum(metrics['failed']))} of {len(why)}",
                    "from (%)": 100 * share.low,
                    "to (%)": 100 * share.high,
                    "how": ", ".join(f"{n} {said}" for said, n in count.items() if n),
                    "largest logit": charts.median(metrics["largest_logit"]),
                    "z-loss before its coefficient": charts.median(metrics["squared_logsumexp"]),
                    "rerouted by bf16 (%)": 100 * charts.median(metrics["test_rerouted"]),
                }
            )
    return charts.table(
        "z-loss-failures",
        "Unstable runs",
        rows,
        "The stress rate is chosen on other seeds; calm is each arm's best rate, at which no "
        "tuning run was unstable. Every other rate is a separate stratum, and no test pools them. "
        "Wilson's 95% intervals. Logits and z-loss are medians over seeds of a run's largest.",
    )


def stability_map(shown: charts.Shown) -> Figure:
    """Share of unstable runs against the learning rate, on tuning and on reporting seeds."""

    def shares(name: str, rates: Sequence[float], found: Sequence[Any], style: str) -> Series:
        each = [wilson(one) for one in found]
        ends = ([one.low for one in each], [one.high for one in each])
        return Series(name, rates, [one.estimate for one in each], *ends, style=style)

    strata = [task for task in shown.tasks.values() if task["size"]]
    pressed = sorted(strata, key=lambda task: task["size"])
    tried, reported = [], []
    for name, arm in shown.tasks[CALM]["arms"].items():
        fails = np.isinf(arm["grid"]["scores"]).astype(np.float64)
        tried.append(shares(name, arm["grid"]["rates"], fails, "line"))
        found = [task["arms"][name]["metrics"]["failed"] for task in pressed]
        reported.append(shares(name, [task["size"] for task in pressed], found, "points"))
    stressed = shown.tasks[STRESSED]
    return Figure(
        "z-loss-stability",
        "Where training becomes unstable",
        "Share of unstable runs with Wilson's 95% intervals. The stress rate is chosen on "
        f"{len(stressed['tuning_seeds'])} tuning seeds; the {len(stressed['seeds'])} reporting "
        "seeds are separate.",
        [
            Panel(
                title,
                "learning rate",
                "share of unstable runs",
                series,
                x_scale="log",
                threshold=TARGET_SHARE,
                threshold_label="a third",
                marks={"stress rate": stressed["size"]},
            )
            for title, series in (("tuning seeds", tried), ("reporting seeds", reported))
        ],
    )


def at_stress(metric: str, **scale: str) -> charts.Chart:
    """Curves at the stress rate only."""
    chart = charts.over(metric=metric, title="Training at the stress rate", **scale)
    return lambda shown: chart(replace(shown, tasks={STRESSED: shown.tasks[STRESSED]}))


STUDY = Study(
    "stability with and without router z-loss, at a rate where a third of runs fail",
    run,
    CLAIMS,
)

SMOKE = ZLoss(network=replace(language.SMOKE, z=1e-3, rates=(1e-2, 1.0), tuning_seeds=2, seeds=4))
FULL = ZLoss(arms=tuple(TREATMENTS), strata=(0.5, 2.0))
