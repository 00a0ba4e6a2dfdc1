"""The headline figure: what an evolution strategy learns, and on how many examples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxtrends import charts, record
from jaxtrends.claims import REPRODUCED, Answers
from jaxtrends.study import Figure, Series

ARMS = {
    "gradient": "gradients",
    "pgpe": "evolution (PGPE)",
    "random search": "random search",
}
# The benchmark page: MNIST, 2,000 generations of 64 members, each on 1,024 images.
PAGE = Series("paper: PGPE on MNIST", [2_000 * 64 * 1_024], [0.9743], style="reported")


def figure(done: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> Figure:
    """Accuracy of PGPE, of gradients and of chance against the examples seen."""
    found = Answers(record.entries(done))
    panel = charts.recorded(done, "digits", "digits-validation-accuracy-examples/digits")
    more, price = found["E5a"], ""
    if more.verdict == REPRODUCED and math.isfinite(more.estimate):
        price = f", but takes {more.estimate:.0f} times the examples that gradients take"
    return charts.headline(
        f"Evolution reaches {found['E1a'].estimate:.1%} on digits{price}",
        "Validation accuracy on 8 x 8 digits: median over seeds and the middle four fifths. The "
        "title has the test accuracy, and the examples until a validation accuracy of 0.95.",
        "training examples seen (images)",
        "accuracy (share of images)",
        [*charts.renamed(panel, ARMS), PAGE],
        x_scale="log",
    )
