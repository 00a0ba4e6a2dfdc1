"""What is claimed of the router z-loss, and what is shown of it; trained in `z_loss`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from experiments.moe_design.language import LOSS
from jaxtrends import charts, declare, stats
from jaxtrends.claims import CONFIDENCE, Claim
from jaxtrends.declare import ABOVE_ZERO, BELOW_ZERO, Quantity, TaskView
from jaxtrends.study import Figure, Panel, Series, Table

BASELINE = "bf16"
PAIRS = {"bf16 router": BASELINE, "f32 router": "f32"}
OTHERS = ("clipped updates", "no learned scales")
LADDER, CALM = "ladder", "calm"  # kinds of tasks
STRESSED, PLAIN = "stressed", "router x1"  # rungs of the ladder

MARGIN = 0.02  # nats
NOTHING = "a millionth of the z-loss coefficient changes a run only through rounding; it would "


# --- what is measured ----------------------------------------------------------------------------


def out_of_reach(task: TaskView) -> str:
    """Why instabilities cannot be compared: the stress is too weak or too strong."""
    if task.of("in_reach"):
        return ""
    return "under the stress not between 1/6 and 1/2 of the baseline's tuning runs were unstable"


def each_router(pair: Callable[[TaskView, str], Any]) -> Quantity:
    """What is measured for both routers; each precision that has an arm with z-loss is a part."""

    def parts(task: TaskView) -> dict[str, Any]:
        found = {
            router: pair(task, arm)
            for router, arm in PAIRS.items()
            if arm in task and f"{arm} + z" in task
        }
        if not found:
            raise KeyError("an arm with z-loss")
        return found

    return parts


def cost(task: TaskView, arm: str) -> tuple[np.ndarray, np.ndarray]:
    """The loss of a router with the z-loss, and without."""
    return task[f"{arm} + z"][LOSS], task[arm][LOSS]


def a_guess(task: TaskView, arm: str) -> tuple[np.ndarray, np.ndarray]:
    """The loss of a constant guess, and of the arm without the z-loss."""
    loss = task[arm][LOSS]
    return np.full(loss.size, task.of("chance")), loss


def plain_rate(task: TaskView) -> tuple[np.ndarray, np.ndarray]:
    """Unstable runs of the baseline at the plain router rate, and under the stress."""
    return task.beside(PLAIN)[BASELINE]["unstable"], task[BASELINE]["unstable"]


def against_baseline(arm: str, metric: str) -> Quantity:
    """An arm and the baseline."""
    return lambda task: (task[arm][metric], task[BASELINE][metric])


def others(task: TaskView) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Other stabilisers, and the baseline."""
    found = {
        name: (task[f"bf16, {name}"][LOSS], task[BASELINE][LOSS])
        for name in OTHERS
        if f"bf16, {name}" in task
    }
    if not found:
        raise KeyError("an arm with another stabiliser")
    return found


def held_back(arm: str) -> Quantity:
    """How much smaller an arm keeps the squared log-sum-exp than the baseline, in log units."""
    what = "squared_logsumexp"
    return lambda task: np.log(task[BASELINE][what]) - np.log(task[arm][what])


def lost(of: str) -> Callable[[Mapping[str, Any]], float]:
    """The share of the largest gate that bfloat16 rounds away."""
    return lambda values: 1 - values[of]["bfloat16"] / values[of]["float32"]


# --- claims --------------------------------------------------------------------------------------


CURED = "fall too if any change of the run's course took it out of the unstable ones"


def fewer(id: str, statement: str, arm: str, treated: str, **declared: Any) -> Claim:
    """An arm has fewer unstable runs than the baseline, seed by seed, under the stress."""
    return declare.derive(
        id,
        statement,
        against_baseline(arm, "unstable"),
        quantity="among seeds on which exactly one of the two arms is unstable under the stress, "
        f"the share on which the arm with {treated} is",
        statistic="discordant share",
        region=(-1.0, 0.5),
        reason="a share of one half is no difference (McNemar)",
        doubt=out_of_reach,
        tasks=(STRESSED,),
        fails={"placebo": (against_baseline("placebo", "unstable"), NOTHING + CURED)},
        passes={
            "the plain router rate": (
                plain_rate,
                "without the stress nothing should be unstable; if the rule called noisy runs "
                "unstable, or too few runs were, this cure would go unseen",
            )
        },
        **declared,
    )


def smaller(id: str, statement: str, metric: str, words: str) -> Claim:
    """A quantity of the router is smaller with the z-loss under the stress."""
    return declare.derive(
        id,
        statement,
        against_baseline("bf16 + z", metric),
        quantity=f"{words}, largest of a run: with z-loss / without, under the stress",
        statistic="paired ratio",
        region=(-math.inf, 1.0),
        reason="a ratio of 1 is no difference",
        fails={
            "placebo": (
                against_baseline("placebo", metric),
                NOTHING + "shrink too if the baseline's metrics were those of another arm",
            )
        },
        tasks=(STRESSED,),
        source="derived",
    )


CLAIMS = (
    fewer(
        "S1f",
        "With a router that learns too fast, the router z-loss makes fewer runs unstable.",
        "bf16 + z",
        "z-loss",
        reported="4 of 6 runs stable without it, 3 of 3 with it",
        where="Table 4",
        headline=True,
    ),
    declare.derive(
        "S1k",
        "With a router that learns too fast, the router z-loss lowers the final loss.",
        against_baseline("bf16 + z", LOSS),
        quantity="test cross-entropy, with z-loss - without (nats), under the stress",
        statistic="paired difference",
        region=BELOW_ZERO,
        reason="only the sign: how much is lost to an instability depends on when it comes",
        fails={
            "placebo": (
                against_baseline("placebo", LOSS),
                NOTHING + "lower it too if the baseline's losses were those of another arm",
            )
        },
        tasks=(STRESSED,),
        source="derived",
    ),
    declare.derive(
        "S1c",
        "Where training is stable, the router z-loss costs no quality.",
        each_router(cost),
        quantity="test cross-entropy, with z-loss - without (nats), each at its best rate",
        statistic="paired difference",
        region=(-MARGIN, MARGIN),
        reason="0.02 nats is less than a quarter of the 0.09 that tripling a dense model's size "
        "gains in the paper's Table 8",
        fails={
            "a guess": (
                each_router(a_guess),
                "a network that learned nothing has lost quality; it would not have if losses were "
                "read before training",
            )
        },
        tasks=(CALM,),
        reported="negative log-perplexity -1.741 with it, -1.755 without it",
        where="Table 4",
        headline=True,
    ),
    smaller(
        "S1h",
        "With a router that learns too fast, the z-loss keeps the squared log-sum-exp of the "
        "logits, which it penalises, smaller.",
        "squared_logsumexp",
        "mean squared log-sum-exp of the router's logits",
    ),
    smaller(
        "S1i",
        "With a router that learns too fast, the z-loss keeps the router's largest logit smaller.",
        "largest_logit",
        "largest router logit",
    ),
    declare.slope(
        "S1j",
        "The faster the router learns, the more the z-loss reduces the squared log-sum-exp.",
        held_back("bf16 + z"),
        quantity="log of the largest squared log-sum-exp, without z-loss - with",
        region=ABOVE_ZERO,
        reason="the sign says whether the effect grows with the stress",
        fails={
            "placebo": (held_back("placebo"), NOTHING + "grow too if only the spread of runs did")
        },
        tasks=(LADDER,),
        per=10.0,
    ),
    fewer(
        "S1g",
        "With a router that learns too fast, a float32 router makes fewer runs unstable than a "
        "bfloat16 one.",
        "f32",
        "the float32 router",
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
        "Other ways to stabilise training cost quality.",
        others,
        quantity="test cross-entropy, other stabiliser - baseline (nats), each at its best rate",
        statistic="paired difference",
        region=ABOVE_ZERO,
        reason="only the sign: a small network can show no more",
        fails={
            "placebo": (
                against_baseline("placebo", LOSS),
                NOTHING + "cost quality too if the baseline alone were favoured, such as by its "
                "place among the arms",
            )
        },
        tasks=(CALM,),
        reported="negative log-perplexity -1.755 for the baseline, -4.206 with clipped updates, "
        "-2.020 without learned scales",
        where="Tables 2, 3 and 4",
    ),
)


# --- tables and figures of its own ---------------------------------------------------------------


def wilson(unstable: Sequence[float]) -> stats.Interval:
    """The share of ones, with its 95% interval."""
    return stats.proportion({"values": list(unstable)}, CONFIDENCE)


def failures(shown: charts.Shown) -> Table:
    """One row per rung and arm: unstable runs on the reporting seeds; each rung is a stratum."""
    rows = []
    for place, task in shown.tasks.items():
        for name, arm in task["arms"].items():
            metrics, why = arm["metrics"], task["why"][name]
            share = wilson(metrics["unstable"])
            count = {said: why.count(said) for said in ("not finite", "jump")}
            rows.append(
                {
                    "at": place,
                    "factor on the router's updates": task["size"] or 1.0,
                    "rate": arm["learning_rate"],
                    "arm": name,
                    "unstable": f"{int(sum(metrics['unstable']))} of {len(why)}",
                    "from (%)": 100 * share.low,
                    "to (%)": 100 * share.high,
                    "how": ", ".join(f"{n} {said}" for said, n in count.items() if n),
                    "never learned": f"{int(sum(metrics['never_learned']))} of {len(why)}",
                    "test loss": charts.median(metrics[LOSS]),
                    "largest logit": charts.median(metrics["largest_logit"]),
                    "squared log-sum-exp": charts.median(metrics["squared_logsumexp"]),
                    "rerouted by bf16 (%)": 100 * charts.median(metrics["test_rerouted"]),
                }
            )
    return charts.table(
        "z-loss-failures",
        "Unstable runs",
        rows,
        "The rate under stress is chosen on other seeds; calm is another network, with each arm at "
        "its best rate. Each rung is a separate stratum, and no test pools them. Runs that never "
        "learned do not count as unstable. Wilson's 95% intervals. Test loss in nats; logits and "
        "squared log-sum-exp (the z-loss before its coefficient) are a run's largest; medians over "
        "seeds.",
    )


def ladder(shown: charts.Shown) -> Figure:
    """Unstable runs, and the test loss, against the factor on the router's updates."""
    climbing = sorted(
        (task for task in shown.tasks.values() if task["size"]), key=lambda task: task["size"]
    )
    names = dict.fromkeys(name for task in climbing for name in task["arms"])
    shares, losses = [], []
    for name in names:
        had = [task for task in climbing if name in task["arms"]]
        factors = [task["size"] for task in had]
        metrics = [task["arms"][name]["metrics"] for task in had]
        each = [wilson(found["unstable"]) for found in metrics]
        ends = ([one.low for one in each], [one.high for one in each])
        style = "line" if len(had) > 1 else "points"
        shares.append(Series(name, factors, [one.estimate for one in each], *ends, style=style))
        lanes = np.transpose([found[LOSS] for found in metrics])
        losses.append(charts.interval(name, factors, lanes))
    axis = {"x_scale": "log", "marks": {"stress": shown.tasks[STRESSED]["size"]}}
    x_label = "factor on the router's updates"
    return Figure(
        "z-loss-ladder",
        "Instability against how fast the router learns",
        f"{len(climbing[0]['seeds'])} reporting seeds. Share of unstable runs with Wilson's 95% "
        "intervals, and the mean test loss with its 95% interval.",
        [
            Panel("unstable runs", x_label, "share of unstable runs", shares, **axis),
            Panel("test loss", x_label, "test cross-entropy (nats per token)", losses, **axis),
        ],
    )


def under_stress(metric: str, **scale: str) -> charts.Chart:
    """Curves under the stress only."""
    chart = charts.over(metric=metric, title="Training under stress", **scale)
    return lambda shown: chart(replace(shown, tasks={STRESSED: shown.tasks[STRESSED]}))
