"""The headline figure: training compute since 1952, with the trends of three eras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from jaxtrends import charts, record
from jaxtrends.claims import Answers
from jaxtrends.study import Figure, Series

ERAS = {  # claim -> its words, the series whose systems are shown, those through which it goes
    "C2": ("before 2010", "before deep learning", ("before deep learning",)),
    "C3": ("since 2010", "deep learning, regular", ("deep learning, regular", "large-scale")),
    "C5": ("large-scale systems", "large-scale", ("large-scale",)),
}


def figure(done: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> Figure | None:
    """Systems by date, and a line through each era with its doubling time, ours and the paper's."""
    found = Answers(record.entries(done))
    if not all(0 < found[id].estimate < np.inf for id in ERAS):
        return None  # a table of one's own, in which an era does not grow
    panel = charts.recorded(done, "eras", "training_compute/")
    shown = {series.label: series for series in panel.series}
    series = []
    for id, (words, era, through) in ERAS.items():
        label = f"{words}: doubled every {found[id].estimate:.1f} months{_paper(done, id)}"
        trend = _line(label, [shown[name] for name in through])
        series += [replace(shown[era], label=label, texts=None), trend]
    return charts.headline(
        f"Training compute doubled every {found['C2'].estimate:.0f} months until 2010, and every "
        f"{found['C3'].estimate:.1f} since",
        "Milestone systems, without the five low outliers that the paper leaves out; lines by "
        "least squares. The trend since 2010 is that of all systems, large-scale ones among them.",
        "publication date (year)",
        "training compute (FLOP)",
        series,
        y_scale="log",
    )


def _paper(done: Mapping[str, Any], id: str) -> str:
    """What the paper has, where it is about the same data."""
    claims = {entry["claim"]["id"]: entry["claim"] for entry in record.entries(done)}
    reported = claims[id]["reported"].removesuffix(" months")
    return f" (paper: {reported})" if reported else ""


def _line(label: str, systems: list[Series]) -> Series:
    x, y = (np.concatenate([getattr(one, axis) for one in systems]) for axis in "xy")
    ends = np.array([x.min(), x.max()])
    return Series(
        label, ends, 10 ** np.polyval(np.polyfit(x, np.log10(y), 1), ends), style="theory"
    )
