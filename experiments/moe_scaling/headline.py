"""The headline figure: loss against training compute, of dense networks and of 16 experts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxtrends import charts, record
from jaxtrends.claims import Answers
from jaxtrends.study import Figure, Series

PAPER = 5.0  # times less training compute
ARMS = {  # both names of each: records until November 2026 have the longer ones
    "dense": "dense",
    "dense, 4x hidden width": "dense, 4 times wider",
    "dense 4x": "dense, 4 times wider",
    "dense 16x": "dense, 16 times wider",
    "16 experts": "16 experts",
    "moe 16": "16 experts",
}


def figure(done: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> Figure:
    """Curves of the lookup task, and where the paper's factor would have the experts arrive.

    The paper's factor is from the wider network; in records until November 2026, from the cheaper.
    """
    answers = Answers(record.entries(done))
    new = "D1j" in answers
    found = answers["D1j" if new else "D1a"]
    panel = charts.recorded(
        done,
        "compute_to_quality",
        "compute-lookup/as chosen",
        "compute-to-quality-validation-cross-entropy-flops/lookup",
    )
    wider = next((one for one in panel.series if one.label == "dense 16x"), None)
    spent = max(wider.x) if new and wider else panel.marks["dense"]
    paper = Series(
        f"the paper's {PAPER:.0f} times less",
        [spent / PAPER],
        [panel.threshold],
        style="reported",
    )
    larger = answers["D1k" if new else "D1a"]
    return charts.headline(
        f"16 experts reach a dense network's loss with {larger.estimate:.1f} times less compute; "
        f"the paper has {PAPER:.0f}"
        if larger.estimate > 1
        else "16 experts need no less compute than a dense network for its loss",
        "Validation loss on the lookup task: median over seeds and the middle four fifths. The "
        "loss to reach is the widest network's last one."
        + (f" Over the cheapest dense network the factor is {found.estimate:.1f}." * new),
        "training compute (FLOP)",
        "validation loss (nats a token)",
        [*charts.renamed(panel, ARMS), paper],
        x_scale="log",
        threshold=panel.threshold,
        threshold_label="loss to reach",
    )
