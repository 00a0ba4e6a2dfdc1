"""Table and maps of `experiments.compute_trends.sensitivity`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.compute_trends.systems import year
from jaxtrends.study import Figure, Map, Panel, Series, Table

TITLES = {
    "dl_from": "last day before deep learning [year]",
    "window": "half-width of the window [day]",
    "z_high": "z-score above which large-scale",
    "large_from": "large-scale after [year]",
    "z_low": "z-score below which an outlier",
}
ORDER = tuple(TITLES)
MAPS = (  # title, what is shown, across, up
    ("All since deep learning", "six months", "dl_from", "window"),
    ("Regular systems", "six months, regular", "dl_from", "z_high"),
    ("Large-scale systems", "ten months", "large_from", "window"),
    ("Large-scale systems", "ten months", "large_from", "z_high"),
)


def _region(low: float, high: float) -> str:
    return f"above {low:g}" if np.isinf(high) else f"{low:g} to {high:g}"


def tables(values: Mapping[str, Any]) -> list[Table]:
    """Every conclusion over the grid, and what it hangs on."""
    rows, hanging = [], []
    for name, found in values["conclusions"].items():
        low, middle, high = found["quantiles"]
        rows.append(
            [
                *(found["quantity"], _region(*found["region"]), found["paper"]),
                *(found["low"], low, middle, high, found["high"]),
                *(found["share"], values["dealt anew"][name]),
            ]
        )
        for choice, alone in found["alone"].items():
            if alone["low"] == alone["high"]:
                continue  # it has no part in this quantity
            fails = ", ".join(str(value) for value in alone["fails at"]) or "nowhere"
            hanging.append([found["quantity"], TITLES[choice], alone["low"], alone["high"], fails])
    return [
        Table(
            "sensitivity",
            "The paper's conclusions over all combinations of choices",
            (
                *("quantity", "holds if", "the rules' choice", "lowest", "2.5%", "median", "97.5%"),
                *("highest", "share that holds", "share, compute dealt anew"),
            ),
            rows,
            f"{values['combinations']} combinations, which are readings and no sample: the shares "
            "are not probabilities. Last, the share where compute is dealt out anew among the "
            "dates: a conclusion that holds there too is made by the rule.",
        ),
        Table(
            "sensitivity_alone",
            "One choice moved at a time, the others as in the rules",
            ("quantity", "choice", "lowest", "highest", "fails at"),
            hanging,
        ),
    ]


def maps(
    found: Mapping[str, np.ndarray], grid: Mapping[str, np.ndarray], paper: tuple[int, ...]
) -> Figure:
    """Doubling times where two choices are moved, the others as in the rules."""
    points = {
        name: year(values) if name.endswith("_from") else values for name, values in grid.items()
    }
    panels = []
    for title, name, across, up in MAPS:
        cut = found[name][
            tuple(
                slice(None) if choice in (across, up) else at
                for choice, at in zip(ORDER, paper, strict=True)
            )
        ]
        # The axes that are left are in the order of the choices: across comes up's row.
        shown = cut.T if ORDER.index(across) < ORDER.index(up) else cut
        here = [float(points[choice][paper[ORDER.index(choice)]]) for choice in (across, up)]
        panels.append(
            Panel(
                title,
                TITLES[across],
                TITLES[up],
                [Series("the rules' choice", here[:1], here[1:], style="points")],
                map=Map(points[across], points[up], shown, "doubling [months]"),
            )
        )
    return Figure(
        "sensitivity",
        "What the doubling times hang on",
        "Doubling times where two of the five choices are moved and the others stay as in the "
        "rules. Mind the scales, which differ from map to map.",
        panels,
    )
