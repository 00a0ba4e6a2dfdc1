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


def answer(found: Answers) -> str:
    """Does the z-loss stabilise training, what does it cost, and does capacity help?"""
    said = []
    with contextlib.suppress(KeyError):
        stable = found["S1a"]
        effect = stable.pick(
            "the router z-loss made fewer runs unstable",
            "the router z-loss did not make fewer runs unstable",
            "the router z-loss did not clearly make fewer runs unstable",
        )
        said.append(
            f"{stable.word}: {effect}. Where only one run of a pair failed, it was the one with "
            f"z-loss in {stable:.0%} of pairs."
        )
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
    rigging="A learning rate at which no run or every run fails cannot show a cure, and one picked "
    "afterwards can show any. So the rate is the one at which a third of the baseline's tuning "
    "runs fail, the definition of failure was fixed beforehand, and the judged runs have other "
    "seeds. A lower learning rate also cures instability, and the study must be able to detect "
    "that; a placebo that changes only the last bits must cure nothing. The lookup task favours "
    "memory, and its clusters are easier to tell apart than anything in text. An untrained router "
    "already tells something about a token, so it is reported next to the trained one.",
    departures=(
        "Decoders with Adam, ReLU and no dropout; the paper has encoder-decoders with Adafactor "
        "and GEGLU.",
        "The capacity factor counts slots per token, however many experts each token chooses; we "
        "read the paper this way.",
        "Only the router's precision is lowered; the rest is float32.",
        "The learning rate provokes failures here; the paper's XL model fails at its normal "
        "settings.",
        "Input jitter, dropout and GEGLU, which the paper compares with the z-loss, are not run.",
        "In the default and full presets router logits stay below ten, where bfloat16 rounds "
        "little. Unstable runs get stuck, and the z-loss lowers the squared log-sum-exp, which it "
        "acts on, rather than the largest logit.",
        "Fine-tuning is on an unseen cluster of the same synthetic task.",
    ),
    datasets=config.datasets,
    load=config.load,
    answer=answer,
    headline_figure=headline.figure,
    lead="S1a",
    caveat="decoders of up to 10^6 parameters and 16 experts, synthetic task",
    spread=config.spread,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment."""
    return running.main(EXPERIMENT, arguments)
