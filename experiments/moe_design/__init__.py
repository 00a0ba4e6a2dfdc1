"""Designing stable and transferable mixtures of experts: ST-MoE's advice, tested (Zoph et al.)."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from experiments.moe_design import (
    balance,
    capacity,
    config,
    finetuning,
    headline,
    specialisation,
    z_loss,
)
from jaxtrends import running
from jaxtrends.claims import Answers, Paper
from jaxtrends.experiment import Experiment

SETTINGS = {  # claim -> where instability was sought
    "S1f": "where a router that learns too fast provoked instability",
    "S1a": "at a learning rate at which runs stay stuck",  # of older records
}


def answer(found: Answers) -> str:
    """Does the z-loss stabilise training, what does it cost, and does capacity help?"""
    said = []
    for id, setting in SETTINGS.items():
        with contextlib.suppress(KeyError):
            stable = found[id]
            effect = stable.pick(
                "made fewer runs unstable", "made no fewer runs unstable", "did not clearly help"
            )
            said.append(
                f"{stable.word}: {setting}, the router z-loss {effect}. Where one run of a pair "
                f"was unstable, it was the one with z-loss in {stable:.0%} of pairs."
            )
            break
    with contextlib.suppress(KeyError):
        cost = found["S1c"].pick(
            "it cost no quality", "it cost quality", "its cost in quality is undecided"
        )
        said.append(f"Where training was stable, {cost} ({found['S1c']:.3f} nats of test loss).")
    for id in ("S3d", "S3a"):  # older records have only networks evaluated as trained
        with contextlib.suppress(KeyError):
            gain = found[id].pick(
                "lowered the loss", "did not lower the loss", "did not clearly lower the loss"
            )
            said.append(
                f"At equal steps a larger capacity factor {gain} ({found[id]:.3f} nats at the "
                "weakest)."
            )
            break
    with contextlib.suppress(KeyError):
        equal = found["S3e"].pick("it does so too", "it does not", "that is open")
        said.append(f"At equal compute {equal} ({found['S3e']:.3f}).")
    return " ".join(said)


EXPERIMENT = Experiment(
    name="moe_design",
    paper=Paper(
        key="zoph2022stmoe",
        title="ST-MoE: Designing Stable and Transferable Sparse Expert Models",
        authors="Zoph, Bello, Kumar, Du, Huang, Dean, Shazeer, Fedus",
        year=2022,
        arxiv="2202.08906",
        bibtex="""@article{zoph2022stmoe,
  title = {{ST-MoE}: Designing Stable and Transferable Sparse Expert Models},
  author = {Zoph, Barret and Bello, Irwan and Kumar, Sameer and Du, Nan and Huang, Yanping
            and Dean, Jeff and Shazeer, Noam and Fedus, William},
  journal = {arXiv preprint arXiv:2202.08906},
  year = {2022}
}""",
    ),
    about="ST-MoE's advice on mixtures of experts: router z-loss, capacity, specialisation, load "
    "balancing and fine-tuning.",
    presets=config.PRESETS,
    studies={
        "z_loss": z_loss.STUDY,
        "capacity": capacity.STUDY,
        "specialisation": specialisation.STUDY,
        "balance": balance.STUDY,
        "finetuning": finetuning.STUDY,
    },
    scale=config.scale,
    rigging="The z-loss acts on the router's logits, and instability is provoked by multiplying "
    "the router's updates, so it is of a kind that the z-loss can cure; at this size none comes by "
    "itself. A stress under which no run or every run fails cannot show a cure, and one picked "
    "afterwards can show any: the rate is one at which a third of the baseline's tuning runs are "
    "unstable, the definition was fixed beforehand, and the judged runs have other seeds. The "
    "plain router rate must cure it, a placebo that changes only the last bits must not, and all "
    "rungs of the stress are shown. The lookup task favours "
    "memory, and its clusters are easier to tell apart than anything in text. An untrained router "
    "already tells something about a token, so it is reported next to the trained one.",
    departures=(
        "Decoders with Adam, ReLU and no dropout; the paper has encoder-decoders with Adafactor "
        "and GEGLU.",
        "The capacity factor counts slots per token, however many experts each token chooses; we "
        "read the paper this way.",
        "Only the router's precision is lowered; the rest is float32.",
        "A router that learns too fast provokes instability here; the paper's XL model fails at "
        "its normal settings.",
        "Input jitter, dropout and GEGLU, which the paper compares with the z-loss, are not run.",
        "What the z-loss costs is measured on a smaller network than what it cures, at the "
        "router's plain rate, where logits stay below ten and bfloat16 rounds little.",
        "Fine-tuning is on an unseen cluster of the same synthetic task.",
    ),
    datasets=config.datasets,
    load=config.load,
    answer=answer,
    headline_figure=headline.figure,
    lead="S1f",
    caveat="decoders of up to 10^6 parameters, synthetic task, provoked instability",
    spread=config.spread,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment."""
    return running.main(EXPERIMENT, arguments)
