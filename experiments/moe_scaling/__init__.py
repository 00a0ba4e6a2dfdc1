"""Mixture of experts at scale: compute saved, layout, students, dispatch (Rajbhandari et al.)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.moe_scaling import (
    compute_to_quality,
    config,
    dispatch,
    distillation,
    headline,
    language,
    layout,
    told,
)
from jaxtrends import running
from jaxtrends.claims import Answers, Paper
from jaxtrends.comparison import Setting
from jaxtrends.experiment import Experiment


def answer(found: Answers) -> str:
    """The compute saved on each task, as far as this run has it."""
    factors = []
    with contextlib.suppress(KeyError):
        lookup, five = found["D1a"], ""
        with contextlib.suppress(KeyError):  # its control is a task of its own
            five = f"; a factor of five or more, D1b: {found['D1b'].verdict}"
        factors.append(f"{lookup:.2f} on the lookup task (D1a: {lookup.verdict}{five})")
    with contextlib.suppress(KeyError):
        english = found["D1d"]
        factors.append(f"{english:.2f} on English text as bytes (D1d: {english.verdict})")
    if not factors:
        return ""
    return (
        "To reach the loss of the larger dense network, the cheaper dense one takes this many "
        f"times the training compute of 16 experts: {', and '.join(factors)}. Where the experts "
        "do not reach it, the factor is 0."
    )


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
    about="Mixtures of experts: how much training compute they save, and where their experts "
    "should stand.",
    presets=config.PRESETS,
    studies={
        "compute_to_quality": compute_to_quality.STUDY,
        "layout": layout.STUDY,
        "distillation": distillation.STUDY,
        "dispatch": dispatch.STUDY,
    },
    scale=told.scale,
    rigging="A task that is all memory favours parameters, and so experts: the lookup task is "
    "such a one and says so, and in the preset full English text stands beside it. An untuned "
    "dense network would lose to anything, so every arm's learning rate is tuned on one grid that "
    "extends itself. A larger dense network that is merely slow would be a weak rival, so the "
    "cheaper of two dense networks counts. Experts to whom tokens go in turn must show no saving, "
    "those behind a router that never learned are given as even a load as the others, and in the "
    "preset full what is saved where there is nothing to divide by cluster stands beside; the "
    "empty places of experts are counted in a claim of their own.",
    departures=told.departures,
    datasets=config.datasets,
    load=language.load,
    answer=answer,
    headline_figure=headline.figure,
    lead="D1b",
    caveat="Transformers of up to 10^6 parameters on sequences of 32 tokens",
    spread=config.spread,
)


def main(
    arguments: Sequence[str] | None = None,
    methods: Mapping[str, Callable[[Setting], Any]] | None = None,
) -> int:
    """Run the experiment, with layouts of the user's own beside the paper's: name -> arm."""
    return running.main(EXPERIMENT, arguments, methods)
