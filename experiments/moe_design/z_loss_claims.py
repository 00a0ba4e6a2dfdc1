"""What the z-loss study's values decide: claims S1, S2 and S9."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from experiments.moe_design.exchanged import EXCHANGED, exchange
from jaxtrends.claims import Claim, Control, Evidence

MARGIN = 0.02  # nats
PAIRS = {"bf16 router": ("bf16", "bf16 + z"), "f32 router": ("f32", "f32 + z")}


def stressed(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arms at the stressful rate."""
    return values["strata"][str(values["stress_rate"])]


def _undecided(values: Mapping[str, Any]) -> str:
    if values["in_reach"]:
        return ""
    return "at no rate of the grid did a sixth to a half of the baseline's tuning runs fail"


def _edges(values: Mapping[str, Any], arms: tuple[str, ...]) -> str:
    edges = [arm for arm in arms if values["tuning"][arm]["edge"]]
    return "; ".join(f"{arm} is tuned to the edge of its grid" for arm in edges)


def fewer_failures(values: Mapping[str, Any]) -> Evidence:
    """S1a: failures with and without z-loss, seed by seed."""
    arms, parts = stressed(values), {}
    for name, (without, with_z) in PAIRS.items():
        if without in arms and with_z in arms:
            parts[name] = {
                "treatment": arms[with_z]["failed"],
                "reference": arms[without]["failed"],
            }
    if not parts:
        raise KeyError("arm with z-loss")
    return Evidence(parts, {_PLACEBO.name: _placebo(values, "failed")}, _undecided(values))


def cured_by_rate(values: Mapping[str, Any]) -> Evidence:
    """S1b: failures of the baseline at its best and at the stressful rate."""
    baseline = stressed(values)["bf16"]["failed"]
    parts = {"": {"treatment": values["calm"]["bf16"]["failed"], "reference": baseline}}
    return Evidence(parts, {_PLACEBO.name: _placebo(values, "failed")}, _undecided(values))


def no_cost(values: Mapping[str, Any]) -> Evidence:
    """S1c: final loss with and without z-loss, each at its best rate."""
    calm, parts, arms = values["calm"], {}, ()
    for name, (without, with_z) in PAIRS.items():
        if without in calm and with_z in calm:
            arms += (without, with_z)
            parts[name] = {
                "treatment": calm[with_z]["test_loss"],
                "reference": calm[without]["test_loss"],
            }
    if not parts:
        raise KeyError("arm with z-loss")
    guess = [values["chance"]] * len(calm["bf16"]["test_loss"])
    control = {"treatment": guess, "reference": calm["bf16"]["test_loss"]}
    return Evidence(parts, {"a guess": control}, _edges(values, arms))


def smaller_logits(values: Mapping[str, Any]) -> Evidence:
    """S1d: the largest logit of a run with and without z-loss, at the stressful rate."""
    arms, parts = stressed(values), {}
    for name, (without, with_z) in PAIRS.items():
        if without in arms and with_z in arms:
            parts[name] = {
                "treatment": arms[with_z]["largest_logit"],
                "reference": arms[without]["largest_logit"],
            }
    if not parts:
        raise KeyError("arm with z-loss")
    return Evidence(parts, {_PLACEBO.name: _placebo(values, "largest_logit")})


def precision(values: Mapping[str, Any]) -> Evidence:
    """S1e: failures of a float32 and of a bfloat16 router."""
    arms = stressed(values)
    if "f32" not in arms:
        raise KeyError("arm f32")
    baseline = arms["bf16"]["failed"]
    parts = {"": {"treatment": arms["f32"]["failed"], "reference": baseline}}
    return Evidence(parts, {_PLACEBO.name: _placebo(values, "failed")}, _undecided(values))


def rounded(values: Mapping[str, Any]) -> Evidence:
    """S2: how much of the largest gate bfloat16 rounds away."""
    lost = {
        name: {"values": [1 - values[name]["bfloat16"] / values[name]["float32"]]}
        for name in ("round_off", "no_round_off")
    }
    return Evidence({"": lost["round_off"]}, {"a logit of 129": lost["no_round_off"]})


def others_cost(values: Mapping[str, Any]) -> Evidence:
    """S9: final loss of other stabilisers over that of the z-loss, each at its best rate."""
    calm = values["calm"]
    names = [name for name in ("clipped updates", "no learned scales") if f"bf16, {name}" in calm]
    if not names or "bf16 + z" not in calm:
        raise KeyError("arm of another stabiliser")
    reference = calm["bf16 + z"]["test_loss"]
    parts = {
        name: {"treatment": calm[f"bf16, {name}"]["test_loss"], "reference": reference}
        for name in names
    }
    exchanged = exchange(calm[f"bf16, {names[0]}"]["test_loss"], reference)
    edges = _edges(values, ("bf16 + z", *(f"bf16, {name}" for name in names)))
    return Evidence(parts, {EXCHANGED.name: exchanged}, edges)


def _placebo(values: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The baseline with next to no z-loss against the baseline, seed by seed, both stressed."""
    return {"treatment": values["placebo"][what], "reference": stressed(values)["bf16"][what]}


_PLACEBO = Control(
    "placebo",
    "fail",
    "a z-loss of a thousandth of the coefficient sends a run another way and does nothing else",
)

CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="S1a",
        study="z_loss",
        statement="The router's z-loss makes fewer runs unstable.",
        source="paper",
        reported="4 of 6 runs stable without it, 3 of 3 with it",
        where="Table 4",
        known="text",
        quantity="of the seeds on which one arm fails and the other does not, the share on which "
        "the one with z-loss fails",
        statistic="discordant share",
        region=(-1.0, 0.5),
        reason="one half is no difference (McNemar)",
        evidence=fewer_failures,
        controls=(_PLACEBO,),
    ),
    Claim(
        id="S1b",
        study="z_loss",
        statement="These runs can be cured, and the study can see it: the baseline's best rate "
        "makes fewer of them unstable.",
        source="derived",
        quantity="of the seeds on which the baseline fails at one rate and not at the other, the "
        "share on which it fails at its best rate",
        statistic="discordant share",
        region=(-1.0, 0.5),
        reason="one half is no difference (McNemar)",
        evidence=cured_by_rate,
        controls=(_PLACEBO,),
    ),
    Claim(
        id="S1c",
        study="z_loss",
        statement="The z-loss costs no quality where training is stable.",
        source="paper",
        reported="negative log-perplexity -1.741 with it, -1.755 without it",
        where="Table 4",
        known="text",
        quantity="test cross-entropy with z-loss less that without it (nats), each at its best "
        "rate",
        statistic="paired difference",
        region=(-MARGIN, MARGIN),
        reason="0.02 nats are less than a quarter of the 0.09 that a dense model gains from three "
        "times the size in the paper's Table 8",
        evidence=no_cost,
        controls=(Control("a guess", "fail", "a net that learned nothing has lost its quality"),),
    ),
    Claim(
        id="S1d",
        study="z_loss",
        statement="The z-loss keeps the router's logits smaller.",
        source="derived",
        quantity="the largest logit of a run with z-loss over that of one without, at the "
        "stressful rate",
        statistic="paired ratio",
        region=(-math.inf, 1.0),
        reason="1 is no difference",
        evidence=smaller_logits,
        controls=(_PLACEBO,),
    ),
    Claim(
        id="S1e",
        study="z_loss",
        statement="A router in float32 makes fewer runs unstable than one in bfloat16.",
        source="derived",
        quantity="of the seeds on which one arm fails and the other does not, the share on which "
        "the float32 router fails",
        statistic="discordant share",
        region=(-1.0, 0.5),
        reason="one half is no difference (McNemar)",
        evidence=precision,
        controls=(_PLACEBO,),
    ),
    Claim(
        id="S2",
        study="z_loss",
        statement="Rounding logits of 128 to bfloat16 takes 36% from the largest gate.",
        source="paper",
        reported="0.142 becomes 0.091, 36% less",
        where="Figure 2, footnote 7",
        known="text",
        quantity="share of the largest gate that is lost, logits 128.5 and ten times 128",
        statistic="exact",
        kind="exact",
        region=(0.355, 0.365),
        reason="what rounds to the printed 36%",
        evidence=rounded,
        controls=(
            Control("a logit of 129", "fail", "a number that bfloat16 has loses next to nothing"),
        ),
    ),
    Claim(
        id="S9",
        study="z_loss",
        statement="Other ways to make training stable cost quality that the z-loss does not.",
        source="paper",
        reported="negative log-perplexity -1.741 with z-loss, -4.206 with clipped updates, -2.020 "
        "without learned scales",
        where="Tables 2, 3 and 4",
        known="text",
        quantity="test cross-entropy of the other way less that of the z-loss (nats), each at its "
        "best rate",
        statistic="paired difference",
        region=(0.0, math.inf),
        reason="the order of the two, which is all that a small network can show",
        evidence=others_cost,
        controls=(EXCHANGED,),
    ),
)
