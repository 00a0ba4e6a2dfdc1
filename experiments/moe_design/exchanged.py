"""A control for claims that compare two arms: the same numbers, their names shuffled."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtrends.claims import Control

EXCHANGED = Control(
    "names exchanged",
    "fail",
    "on every second seed one arm stands for the other: what is left is what chance does",
)


def exchange(treatment: Sequence[float], reference: Sequence[float]) -> dict[str, list[float]]:
    """The two samples with their names exchanged on every second seed."""
    pairs = list(zip(treatment, reference, strict=True))
    mixed = [pair[:: 1 - 2 * (seed % 2)] for seed, pair in enumerate(pairs)]
    return {"treatment": [pair[0] for pair in mixed], "reference": [pair[1] for pair in mixed]}
