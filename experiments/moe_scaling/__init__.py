"""Mixture of experts at scale: compute saved, layout, students, dispatch (Rajbhandari et al.)."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.moe_scaling import (
    compute_to_quality,
    compute_to_quality_claims,
    dispatch,
    dispatch_claims,
    distillation,
    distillation_claims,
    layout,
    layout_claims,
    plan,
    planned,
    told,
)
from experiments.moe_scaling import config as settings
from jaxtrends import experiment
from jaxtrends.claims import Paper
from jaxtrends.experiment import Experiment, Study

SECONDS = {preset: planned.seconds(config) for preset, config in settings.PRESETS.items()}


def _seconds(study: str) -> dict[str, float]:
    return {preset: found[study] for preset, found in SECONDS.items()}


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
    presets=settings.PRESETS,
    studies={
        "compute_to_quality": Study(
            "training compute that dense networks need over that of mixtures, for the same loss",
            compute_to_quality.run,
            compute_to_quality_claims.CLAIMS,
            _seconds("compute_to_quality"),
            timed=True,
        ),
        "layout": Study(
            "experts in the first or second half, pyramid, residual, top-2",
            layout.run,
            layout_claims.CLAIMS,
            _seconds("layout"),
        ),
        "distillation": Study(
            "shallower students with a teacher, without, and with one that leaves",
            distillation.run,
            distillation_claims.CLAIMS,
            _seconds("distillation"),
        ),
        "dispatch": Study(
            "time of a layer that moves tokens by one-hot products, and by index",
            dispatch.run,
            dispatch_claims.CLAIMS,
            _seconds("dispatch"),
            timed=True,
        ),
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
    check=settings.check,
    datasets=settings.datasets,
    plan=plan.plan,
    load=settings.load,
    spread=settings.check_mesh,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment."""
    return experiment.main(EXPERIMENT, arguments)
