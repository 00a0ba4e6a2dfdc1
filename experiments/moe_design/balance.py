"""Over which tokens should the load be balanced? (X1)

The same network without the load-balancing loss, with the loss over all tokens of the batch, and
with the loss over each routing group. Groups and capacities are the same in all arms. Qwen (2025)
reports that balancing over all tokens lets experts specialise; ST-MoE reports that it makes balance
and quality worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np

from experiments.moe_design import information, language
from experiments.moe_design.language import LOSS, Network
from jaxtrends import charts, declare, transformer
from jaxtrends.claims import Claim
from jaxtrends.comparison import Arm, Comparison, Setting
from jaxtrends.declare import ABOVE_ZERO, Quantity
from jaxtrends.errors import Problem
from jaxtrends.study import Run
from jaxtrends.train import RAW, Trainer

ARMS = {  # arm -> share of the balance coefficient for each loss
    "off": {"balance": 0.0},
    "global": {"balance": 1.0},
    "group": {"balance": 0.0, "group_balance": 1.0},
}
AT_THE_END = ("test_busiest", "test_dropped", "test_router_entropy")


@dataclass(frozen=True)
class Balance(language.OneNetwork):
    """What to train."""

    network: Network = field(
        default_factory=lambda: Network(
            clusters=4, batch=64, group=64, held_out=128, log_every=20, rates=(3e-3, 1e-2, 3e-2)
        )
    )
    """The network; one arm balances over each of its groups, which must be smaller than a batch."""

    def check(self, flag: str) -> None:
        """Refuse a network in which arms coincide, or whose clusters are unknown.

        Raises:
            Problem: names the flag.
        """
        network, tokens = self.network, self.network.batch * self.network.context
        if not 0 < network.group < tokens or not network.balance:
            raise Problem(
                f"--{flag}.network needs a balance above zero, and a group smaller than the "
                f"{tokens} tokens of its batch."
            )
        if network.data != "lookup":
            raise Problem(f"--{flag}.network.data must be lookup, whose clusters are known.")


# --- arms ----------------------------------------------------------------------------------------


@cache
def trainer(network: Network) -> Trainer:
    """The trainer of all arms, which differ only in coefficients."""
    trained = language.trainer(network.sizes(), network)
    return language.measuring(trained, information.counting(network))


def made(name: str, setting: Setting) -> Arm:
    """The network with one kind of balance."""
    network = setting.part.network
    shares = {loss: network.balance * share for loss, share in ARMS[name].items()}
    cost = transformer.cost(network.sizes(), network.batch)
    return Arm(trainer(network), language.coefficients(network, **shares), cost)


def data(setting: Setting, run: Run) -> dict[str, Any]:
    """The data, with one shuffle of the clusters as a control."""
    return information.data(setting.part.network, run, shuffles=1)


def measured(task: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What the last mixture's choices tell about the cluster, and about a shuffled one."""
    found = {}
    for arm in task["arms"]:
        layers = [name for name in curves if name.startswith(f"{arm}/{RAW}")]
        last = max(layers, key=lambda name: int(name.split()[-1]))
        told = information.of_lanes(curves[last])
        found[arm] = {"information": told[:, 0], "shuffle": told[:, 1]}
    return {"arms": found}


# --- what is claimed -----------------------------------------------------------------------------

WORSE = {LOSS: "test loss", "test_busiest": "busiest expert"}
UNITS = "test cross-entropy (nats), and the busiest expert's load over its fair share"


def apart(treatment: str, reference: str) -> Quantity:
    """Loss and balance of two arms; each measure is a part."""
    return lambda task: {
        name: (task[treatment][metric], task[reference][metric]) for metric, name in WORSE.items()
    }


def worse(id: str, statement: str, treatment: str, reference: str, **declared: Any) -> Claim:
    """One arm is worse than another; the control is an arm that is better than the one without."""
    balanced = "global" if treatment == "global" else "group"
    return declare.derive(
        id,
        statement,
        apart(treatment, reference),
        statistic="paired difference",
        region=ABOVE_ZERO,
        reason="at 0 there is no difference",
        fails={
            "against no balancing": (
                apart(balanced, "off"),
                "balancing is not worse than none; it would be if its loss had the wrong sign",
            )
        },
        **declared,
    )


CLAIMS = (
    declare.derive(
        "X1a",
        "Experts specialise more when the load is balanced over all tokens of a batch than when it "
        "is balanced over each group.",
        lambda task: {"information": (task["global"]["information"], task["group"]["information"])},
        quantity="normalised mutual information between a token's first expert and its sequence's "
        "cluster, global - per group",
        statistic="paired difference",
        region=ABOVE_ZERO,
        reason="at 0 there is no difference",
        fails={
            "a shuffle": (
                lambda task: (task["global"]["shuffle"], task["group"]["information"]),
                "other sequences' clusters tell less; they would tell as much if the information "
                "were that of the choice alone",
            )
        },
        source="critic",
        where="Qwen (2025), arXiv 2501.11873, abstract",
        known="abstract",
    ),
    worse(
        "X1b",
        "Balancing the load over all tokens of a batch makes quality and balance worse than "
        "balancing over each group.",
        "global",
        "group",
        quantity=f"{UNITS}, global - per group",
        where="section on specialisation",
    ),
    worse(
        "X1c",
        "Without the load-balancing loss, quality and balance are worse.",
        "off",
        "global",
        quantity=f"{UNITS}, without the loss - with it over all tokens",
        source="derived",
    ),
)

STUDY = Comparison(
    about="load-balancing loss off, over all tokens, and over each group",
    arms={name: partial(made, name) for name in ARMS},
    metric="cross_entropy",
    unit="nats per token",
    data=data,
    also=measured,
    claims=CLAIMS,
    figures=(
        charts.over(title="Loss by kind of load balancing"),
        charts.over(
            metric="validation_busiest", title="Load of the busiest expert over its fair share"
        ),
        charts.over(metric="validation_dropped", title="Share of dropped token choices"),
    ),
    more=(*AT_THE_END, "information"),
)

SMOKE = Balance(network=language.SMOKE)
FULL = Balance(
    network=Network(
        clusters=4,
        context=32,
        layers=(0, 16),
        batch=32,
        group=128,
        steps=600,
        log_every=50,
        rates=(3e-3, 1e-2, 3e-2),
        held_out=256,
        seeds=69,  # for 80% power to find the loss of X1b to differ by 0.01 nats, from 10 seeds
    )
)
