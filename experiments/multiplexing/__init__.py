"""Several inputs in one pass of a network, separated at its output (DataMUX, Murahari et al. 2022).

The paper claims up to 40 inputs per pass of a Transformer with small losses of accuracy, and the
same to a much lesser extent for other networks. The toy could be rigged by matching passes only
(more data for large N), by a task without headroom, by a baseline without the warm-up, and by what
the rival of equal compute has to pay for. Each comparison is made both ways.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.multiplexing import headline, images, throughput, tokens
from jaxtrends import data, running
from jaxtrends.claims import Answers, Paper
from jaxtrends.design import Study
from jaxtrends.experiment import Experiment
from jaxtrends.settings import Schedule, Settings


@dataclass(frozen=True)
class Config(Settings):
    """What to run; everything that a result depends on."""

    images: images.Images = field(default_factory=images.Images)
    """Digits, N per pass of an MLP or a CNN."""
    tokens: tokens.Tokens = field(default_factory=tokens.Tokens)
    """Token sequences, N per pass of a Transformer."""
    throughput: throughput.Throughput = field(default_factory=throughput.Throughput)
    """Throughput with N inputs per pass."""


BRIEF = Schedule(steps=20, log_every=10, grid=(1e-3,), extensions=0, tuning_seeds=1)
PRESETS = {
    "smoke": Config(
        seeds=2,
        images=images.Images(
            inputs=(1, 2),
            arms=("orthogonal", "plain", "identity", "shuffled"),
            width=16,
            slot=8,
            groups=8,
            schedule=BRIEF,
        ),
        tokens=tokens.Tokens(inputs=(2,), layers=1, width=16, groups=4, schedule=BRIEF),
        throughput=throughput.Throughput(
            inputs=(1, 2), width=16, layers=1, length=16, rounds=2, processes=1
        ),
    ),
    "default": Config(studies=("images", "tokens")),
    "full": Config(
        images=images.Images(
            tasks=images.BACKBONES, arms=tuple(images.ARMS), inputs=(1, 2, 4, 8, 16)
        ),
        tokens=tokens.Tokens(
            tasks=tuple(tokens.CLASSES), arms=tuple(tokens.ARMS), inputs=(1, 2, 5, 10)
        ),
    ),
}


def load(config: Config, name: str, folder: Path | None) -> Any:
    """The digits, or generated token sequences."""
    return tokens.load(name) if name in tokens.CLASSES else data.load(name, folder)


def answer(found: Answers) -> str:
    """What do several inputs per pass cost, and do they beat a narrow network?"""
    said = []
    with contextlib.suppress(KeyError):
        ten = found["M4"]
        said.append(
            f"{ten.word}: with ten sequences per pass, a small Transformer's accuracy on a "
            f"counting task changed by {ten:.1f} points against one per pass (by -5 to -8 in the "
            "paper, on MNLI)."
        )
        if ten.note:
            said.append(f"It stays open because {ten.note}.")
    with contextlib.suppress(KeyError):
        said.append(
            "On digits, each doubling of images per pass changed the log-odds of a right answer by "
            f"{found['M2']:.2f}."
        )
    with contextlib.suppress(KeyError):
        worth = found["M6"].pick("did worse", "did better", "was not clearly better or worse")
        said.append(f"At equal inference compute, a narrow network with one input {worth}.")
    return " ".join(said)


EXPERIMENT = Experiment(
    name="multiplexing",
    paper=Paper(
        key="murahari2022datamux",
        title="DataMUX: Data Multiplexing for Neural Networks",
        authors="Murahari, Jimenez, Yang, Narasimhan",
        year=2022,
        arxiv="2202.09318",
    ),
    about="N inputs in one pass of a network: accuracy lost, compute saved, and a narrow rival.",
    presets=PRESETS,
    studies={
        "images": images.STUDY,
        "tokens": tokens.STUDY,
        "throughput": Study(
            "FLOPs at the paper's size, and measured sequences per second",
            throughput.run,
            throughput.CLAIMS,
            timed=True,
        ),
    },
    answer=answer,
    headline_figure=headline.figure,
    lead="M4",
    caveat="8x8 digits and 16-token synthetic tasks, networks of up to 10^5 parameters",
    scale="8x8 digits and networks of 29k to 91k parameters instead of 20x20 MNIST and LeNet; a "
    "Transformer with two layers of width 64 on synthetic 16-token sequences instead of 12 layers "
    "of width 768 on 128 tokens of text.",
    rigging="At equal passes, N inputs per pass see N times the data, so arms with equal data are "
    "also trained. The Transformer's baseline has the same warm-up as the multiplexed network; the "
    "paper's own baseline, a plain Transformer without it, is a separate claim. One rival pays for "
    "maps and demultiplexer as multiplexing does at inference, another only for the backbone; "
    "training costs multiplexing up to 1.4 times as much as the rival. The reference for a slot is "
    "the best accuracy of a network that cannot tell slots apart, which is far above chance. Test "
    "groups are redrawn, and the worst slot is reported. An arm that is still improving at the end "
    "of training decides nothing.",
    departures=(
        "Mixes are divided by sqrt(N) for all maps; the authors' Hadamard code divides by N and "
        "scales its vectors.",
        "Position embeddings are added after mixing and shared by all slots; the encoder is "
        "pre-norm.",
        "The warm-up retrieves tokens of the task's own sequences, not of a corpus.",
        "Images are mixed by the text model's maps, at the size of one image; the best mix of the "
        "authors' notebook is learned, non-linear and eight channels wide.",
        "Batches are drawn with replacement, and Adam replaces SGD.",
        "With one sequence per pass, the network still has the prefix and the demultiplexer; the "
        "plain Transformer has neither.",
        "The authors' coordinate masks, a third kind of map, are left out.",
        "Hadamard maps run as dense matrices, but their MACs are counted as the elementwise "
        "products that they need.",
    ),
    load=load,
    datasets=lambda config: (
        *(["digits"] if not config.studies or "images" in config.studies else []),
        *(config.tokens.tasks if not config.studies or "tokens" in config.studies else ()),
    ),
)


def main(
    arguments: Sequence[str] | None = None, methods: Mapping[str, Callable[..., Any]] | None = None
) -> int:
    """Run the experiment; ``methods`` are your own arms (name -> arm), run with the paper's."""
    return running.main(EXPERIMENT, arguments, methods)
