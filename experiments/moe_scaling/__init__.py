"""Mixture of experts at scale: compute saved, layout, distillation, dispatch (DeepSpeed-MoE)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.moe_scaling import (
    compute_to_quality,
    config,
    dispatch,
    distillation,
    halves,
    headline,
    language,
    layout,
    model_size,
    second_expert,
    told,
)
from jaxtrends import running
from jaxtrends.claims import NO, PARTLY, UNDECIDED, YES, Answers, Paper
from jaxtrends.comparison import Setting
from jaxtrends.experiment import Experiment


def answer(found: Answers) -> str:
    """Do experts save the compute that the paper reports, on lookups and on English?"""
    # Until November 2026 the rival had twice the FLOPs: a factor of five was out of reach.
    old = "D1a" in found
    saving, english = ("D1a", "D1d") if old else ("D1j", "D1m")
    said = []
    with contextlib.suppress(KeyError):
        lookup = found[saving]
        word = lookup.pick(PARTLY, NO, UNDECIDED)
        others = [found[id].word for id in ("D1k", "D1m") if id in found]
        if not old and lookup.word == YES and {*others} <= {YES}:
            word = YES
        saved = lookup.pick("saved compute", "saved none", "may have saved compute")
        said.append(
            f"{word}: on a lookup task that favours memory, 16 experts {saved} (factor "
            f"{lookup:.2f} over the cheapest dense network)"
        )
    with contextlib.suppress(KeyError):
        five = found["D1k"]
        fifth = five.pick("did so", "did not do so", "may have done so")
        said.append(
            f"They {fifth} with a fifth of the compute of a dense network of 6.4 times their FLOPs "
            f"(factor {five:.2f}; the paper has 5.3)"
        )
    with contextlib.suppress(KeyError):
        text = found[english]
        saved = text.pick("they saved compute", "they saved none", "a saving is undecided")
        never = "; 0 is a loss never reached" * (text.low == 0)
        said.append(f"On English text {saved} (factor {text:.2f}{never})")
    with contextlib.suppress(KeyError):
        budget = found["D1t"]
        trend = budget.pick("grows", "does not grow", "may grow or fade")
        said.append(f"The saving on lookups {trend} with the training budget")
    return ". ".join(part[:1].upper() + part[1:] for part in said) + "." * bool(said)


EXPERIMENT = Experiment(
    name="moe_scaling",
    paper=Paper(
        key="rajbhandari2022deepspeed",
        title="DeepSpeed-MoE: Advancing Mixture-of-Experts Inference and Training to Power "
        "Next-Generation AI Scale",
        authors="Rajbhandari, Li, Yao, Zhang, Aminabadi, Awan, Rasley, He",
        year=2022,
        arxiv="2201.05596",
        bibtex="""@inproceedings{rajbhandari2022deepspeed,
  title = {{DeepSpeed-MoE}: Advancing Mixture-of-Experts Inference and Training to Power
           Next-Generation {AI} Scale},
  author = {Rajbhandari, Samyam and Li, Conglong and Yao, Zhewei and Zhang, Minjia
            and Aminabadi, Reza Yazdani and Awan, Ammar Ahmad and Rasley, Jeff and He, Yuxiong},
  booktitle = {International Conference on Machine Learning (ICML)},
  year = {2022},
  note = {arXiv:2201.05596}
}""",
    ),
    about="Mixtures of experts: how much training compute they save, and which layers should have "
    "experts.",
    presets=config.PRESETS,
    studies={
        "compute_to_quality": compute_to_quality.STUDY,
        "model_size": model_size.STUDY,
        "halves": halves.STUDY,
        "second_expert": second_expert.STUDY,
        "layout": layout.STUDY,
        "distillation": distillation.STUDY,
        "dispatch": dispatch.STUDY,
    },
    scale=told.scale,
    rigging="A task that is all memory favours parameters, and so experts. The lookup task is such "
    "a task and says so; the full preset adds English text. An untuned dense network would lose to "
    "anything, so every arm's learning rate is tuned on one grid, which is extended when its edge "
    "is chosen. A larger dense network could be a weak rival, so the cheapest of three dense "
    "networks counts. Experts with round-robin routing must show no saving, and those with an "
    "untrained router are loaded as evenly as the others. The unused capacity of experts is "
    "counted in a separate claim. Arms of unequal FLOPs a token are compared at equal compute "
    "first.",
    departures=told.departures,
    datasets=config.datasets,
    load=language.load,
    answer=answer,
    headline_figure=headline.figure,
    lead="D1j",
    caveat="10^4 to 10^6 parameters",
    spread=config.spread,
)


def main(
    arguments: Sequence[str] | None = None,
    methods: Mapping[str, Callable[[Setting], Any]] | None = None,
) -> int:
    """Run the experiment; ``methods`` are your own layouts (name -> arm), run with the paper's."""
    return running.main(EXPERIMENT, arguments, methods)
