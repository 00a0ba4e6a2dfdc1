"""Several inputs in one pass of a network, told apart at its end (DataMUX, Murahari et al. 2022).

The paper claims up to 40 inputs in a pass of a Transformer with small losses of accuracy, and to a
much lesser extent the same for other networks. The toy could be rigged by letting N inputs a pass
count as one (more data for large N), by a task without headroom, by a baseline that misses the
warm-up, and by what the rival of equal arithmetic is made to pay for. Each stands here both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.multiplexing import headline, images, throughput, tokens
from jaxtrends import data, running
from jaxtrends.claims import Answers, Paper
from jaxtrends.experiment import Experiment, Study
from jaxtrends.settings import Schedule, Settings


@dataclass(frozen=True)
class Config(Settings):
    """What is run; everything that a result depends on."""

    images: images.Images = field(default_factory=images.Images)
    """Digits, N in a pass of a network of dense layers or of convolutions."""
    tokens: tokens.Tokens = field(default_factory=tokens.Tokens)
    """Sequences of tokens, N in a pass of a Transformer."""
    throughput: throughput.Throughput = field(default_factory=throughput.Throughput)
    """What a pass of N saves."""


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
    """Digits from their package, sequences made by their rule."""
    return tokens.load(name) if name in tokens.CLASSES else data.load(name, folder)


def answer(found: Answers) -> str:
    """The headlines, from the record."""
    return (
        "On one counting task ten sequences in a pass of a small Transformer change its accuracy "
        f"by {found['M4']:.1f} points against one with the same warm-up, at equal passes and so "
        "ten times the sequences. On digits every doubling of the images in a pass changes the log "
        f"odds by {found['M2']:.2f}. Where it does worst, multiplexing differs by "
        f"{found['M6']:.2f} from a narrow network of one input and equal inference MACs an image, "
        f"of which maps and demultiplexer take {found['M6o'].estimate:.0%} at N = 16; where these "
        f"count as free, the rival's width is about d / sqrt(N), and it differs by "
        f"{found['M6b']:.2f}."
    )


EXPERIMENT = Experiment(
    name="multiplexing",
    paper=Paper(
        key="murahari2022datamux",
        title="DataMUX: Data Multiplexing for Neural Networks",
        authors="Murahari, Jimenez, Yang, Narasimhan",
        year=2022,
        arxiv="2202.09318",
    ),
    about="N inputs in one pass of a network: what is lost, what is saved, and against what rival.",
    presets=PRESETS,
    studies={
        "images": images.STUDY,
        "tokens": tokens.STUDY,
        "throughput": Study(
            "products at the paper's size, and sequences a second over processes",
            throughput.run,
            throughput.CLAIMS,
            timed=True,
        ),
    },
    answer=answer,
    headline_figure=headline.figure,
    lead="M4",
    caveat="small networks on 8x8 digits and counting tasks",
    scale="8x8 digits and networks of 29 to 91 thousand parameters in place of 20x20 MNIST and "
    "LeNet; a Transformer of two layers of width 64 on sequences of 16 tokens made by rules in "
    "place of 12 layers of width 768 on 128 tokens of text.",
    rigging="At equal passes N inputs a pass see N times the data, so arms of equal data stand "
    "beside them; the baseline of the Transformer has the multiplexed network's warm-up, and the "
    "paper's own, a plain one without it, is a claim apart; one rival pays for maps and "
    "demultiplexer as multiplexing does at inference, one for the backbone alone, and training "
    "costs multiplexing up to 1.4 times the rival's; a slot's floor is the bound of a network that "
    "tells no slots apart, which is far above chance; test groups are drawn anew, and the worst "
    "slot is shown; what still climbs at the end of training does not decide.",
    departures=(
        "Mixes are divided by sqrt(N) for all maps, where the authors' Hadamard code divides by N "
        "and scales its vectors.",
        "Places are added after the mix, shared by all slots; the encoder is pre-normed.",
        "The warm-up retrieves tokens of the task's own sequences, not of a corpus.",
        "Images are mixed by the maps of the text model, at the size of one image; the notebook's "
        "best mix is learned, not linear, and eight channels wide.",
        "Batches are drawn with replacement; Adam in place of SGD.",
        "One sequence in a pass has the multiplexed network's prefix and demultiplexer too; the "
        "plain Transformer has not.",
        "The authors' masks of coordinates, a third kind of map, are left out.",
        "Hadamard maps run as dense matrices; their MACs are counted as the elementwise products "
        "that they need.",
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
    """Run the experiment, with arms of the user's own beside the paper's: name -> arm."""
    return running.main(EXPERIMENT, arguments, methods)
