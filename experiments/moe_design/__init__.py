"""Designing stable and transferable mixtures of experts: ST-MoE's advice tested (Zoph et al.)."""

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
    """The advice on the z-loss and on capacity, as far as this run has tried it."""

    def why(id: str) -> str:
        return f"({id}: {found[id].verdict}; least favourable: {found[id].part})"

    sentences = []
    with contextlib.suppress(KeyError):
        sentences.append(
            "At a learning rate sought to fail a third of the runs, where just one of two runs "
            "with and without the router's z-loss is unstable, it is the one with it in a share of "
            f"{found['S1a']:.2f} {why('S1a')}."
        )
    with contextlib.suppress(KeyError):
        sentences.append(
            "Where training is stable, the z-loss changes the test loss by "
            f"{found['S1c']:.3f} nats {why('S1c')}."
        )
    with contextlib.suppress(KeyError):
        sentences.append(
            "The next larger capacity factor changes the test loss by "
            f"{found['S3a']:.3f} nats {why('S3a')}."
        )
    return " ".join(sentences)


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
    about="Mixtures of experts: the router's z-loss, capacity, specialisation, balance and "
    "fine-tuning, as ST-MoE advises.",
    presets=config.PRESETS,
    studies={
        "z_loss": z_loss.STUDY,
        "capacity": capacity.STUDY,
        "specialisation": specialisation.STUDY,
        "balance": balance.STUDY,
        "finetuning": finetuning.STUDY,
    },
    scale=config.scale,
    rigging="A learning rate at which nothing or everything fails shows no cure, and one picked "
    "after the fact shows any: so the rate is the one at which a third of the baseline's tuning "
    "runs fail, the rules of failure were fixed before, and the runs that are judged have other "
    "seeds. A cure could also be had by a lower rate, which the study must be able to see; and "
    "a placebo, which moves nothing but the last bits, must cure nothing. The "
    "lookup task favours memory, and its clusters are easier to tell apart than anything in text; "
    "a router tells something of a token before it has learned, so that stands beside what it "
    "tells after.",
    departures=(
        "Decoders with Adam and without dropout, where the paper has encoder-decoders with "
        "Adafactor; ReLU instead of GEGLU.",
        "A capacity factor counts places per token, however many experts each chooses; that the "
        "paper's does is our reading.",
        "Only the router's precision is lowered; the rest is float32.",
        "Failure is provoked by the learning rate; the paper's runs of an XL model fail at its "
        "own settings.",
        "Input jitter, dropout and GEGLU, which the paper compares with the z-loss, are not run.",
        "In the presets default and full router logits stay below ten, where bfloat16 rounds "
        "little: an unstable run is one that gets stuck, and the z-loss moves what it acts on, the "
        "squared log-sum-exp, rather than the largest logit.",
        "Fine-tuning is on an unseen cluster of the same made-up task.",
    ),
    datasets=config.datasets,
    load=config.load,
    answer=answer,
    headline_figure=headline.figure,
    lead="S3a",
    caveat="decoders of up to 10^6 parameters and 16 experts",
    spread=config.spread,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment."""
    return running.main(EXPERIMENT, arguments)
