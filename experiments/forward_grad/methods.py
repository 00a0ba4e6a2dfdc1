"""The gradient estimators that are compared: the arms of every training run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from jaxtrends.estimators import backprop, estimate

METHODS: dict[str, Callable[..., Any]] = {
    "backprop": backprop,
    "gaussian": partial(estimate, law="gaussian"),
    "rademacher": partial(estimate, law="rademacher"),
    "gaussian-4": partial(estimate, law="gaussian", tangents=4),
    "gaussian-16": partial(estimate, law="gaussian", tangents=16),
    "rademacher-16": partial(estimate, law="rademacher", tangents=16),
    "central": partial(estimate, law="gaussian", mode="central_difference"),
    # Biased: the directional derivative is cut to [-1, 1], as some public ports do.
    "clipped": partial(estimate, law="gaussian", clip=1.0),
}

LABELS = {
    "backprop": "backprop",
    "gaussian": "forward gradient",
    "rademacher": "forward gradient, Rademacher",
    "gaussian-4": "forward gradient, k = 4",
    "gaussian-16": "forward gradient, k = 16",
    "rademacher-16": "forward gradient, Rademacher, k = 16",
    "central": "central differences",
    "clipped": "clipped jvp (biased)",
}
