"""What a record says of its networks and data, which flags and presets change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.forward_grad.config import Config, datasets
from experiments.forward_grad.plan import SPLITS, parameters
from jaxtrends.formats import powers

WHOLE = "mnist"


def scale(config: Config, data: Mapping[str, Any]) -> str:
    """Parameters and images of the training study, and where the paper's own network is."""
    named = datasets(config)
    own = "the paper's own MLP (Figure 4) on the whole of MNIST for the paper's 20,000 iterations"
    if not named:
        return f"No network is trained here; the full preset trains {own}."
    sides = sorted({SPLITS[name][0] for name in named})
    images = " or ".join(f"{side}x{side}" for side in sides)
    figure4 = config.training.figure4
    kept = (figure4.hidden, figure4.dataset or config.dataset, figure4.steps)
    here = "figure4" in config.training.tasks and kept == ((1024, 1024), WHOLE, 20_000)
    where = f"among them {own}" if here else f"the full preset trains {own}"
    return f"Networks of about {powers(parameters(config))} parameters on {images} images; {where}."


def departures(config: Config, data: Mapping[str, Any]) -> tuple[str, ...]:
    """Where the runs leave the paper's settings."""
    said = [
        "The paper's own forward-mode engine inside PyTorch is replaced by jax.jvp, compiled by "
        "XLA: claims about run time are claims about this implementation.",
        "Batches are drawn with replacement.",
        "Weights start from Flax's default (LeCun normal, zero biases); the paper does not say.",
    ]
    said += [
        f"On {name}, training is on {SPLITS[name][1]:,} images, at learning rates fit for that "
        "size."
        for name in datasets(config)
        if name != WHOLE
    ]
    batch, decay = config.training.batch_size, f"{config.training.decay:g}".replace("e-0", "e-")
    theirs = "Batch size 64 and the decay exp(-1e-4 t) are those of public ports"
    here = "" if (batch, decay) == (64, "0.0001") else f"; here they are {batch} and {decay}"
    return (*said, f"{theirs}{here}.")
