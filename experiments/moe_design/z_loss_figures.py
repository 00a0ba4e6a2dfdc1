"""The z-loss study's tables and figures, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxtrends import stats
from jaxtrends.study import Figure, Panel, Series, Table, thin

CURVES = ("validation_cross_entropy", "validation_largest_logit")
MOST_POINTS = 100  # of a curve


def wilson(failed: Sequence[float]) -> stats.Interval:
    """The share of ones with its 95% interval."""
    return stats.proportion({"values": failed}, 0.95)


def band(label: str, x: np.ndarray, curves: np.ndarray) -> Series:
    """Median of the lanes and the band of their middle four fifths: (lanes, points)."""
    ranked = np.where(np.isfinite(curves), curves, np.inf).astype(np.float64)
    low, middle, high = np.quantile(ranked, [0.1, 0.5, 0.9], axis=0, method="nearest")
    keep = thin(x.size, MOST_POINTS)
    keep = keep[np.isfinite(high[keep])]
    return Series(label, x[keep], middle[keep], low[keep], high[keep])


def failures(values: Mapping[str, Any]) -> Table:
    """One row a rate and arm: failures of the reporting seeds, each rate a stratum."""
    rows = []
    for rate, arms in values["strata"].items():
        for arm, found in arms.items():
            share = wilson(found["failed"])
            count = {why: found["why"].count(why) for why in ("not finite", "jump", "stuck")}
            rows.append(
                [
                    float(rate),
                    arm,
                    f"{int(sum(found['failed']))} of {len(found['failed'])}",
                    100 * share.low,
                    100 * share.high,
                    ", ".join(f"{n} {why}" for why, n in count.items() if n),
                    float(np.median(found["largest_logit"])),
                    float(np.median(found["squared_logsumexp"])),
                    100 * float(np.mean(found["rerouted"])),
                ]
            )
    return Table(
        "z-loss-failures",
        "Unstable runs",
        [
            *("rate", "arm", "unstable", "from (%)", "to (%)", "how", "largest logit"),
            *("z-loss before its coefficient", "rerouted by bf16 (%)"),
        ],
        rows,
        f"The stressful rate is {values['stress_rate']:g}, chosen on other seeds; every other rate "
        "is a stratum of its own, and no test pools them. Wilson's 95% intervals. Logits and "
        "z-loss are medians over seeds of a run's largest value.",
    )


def quality(values: Mapping[str, Any]) -> Table:
    """One row an arm at its best rate."""
    rows = [
        [
            arm,
            found["rate"],
            float(np.median(found["test_loss"])),
            float(np.median(found["largest_logit"])),
            f"{int(sum(found['failed']))} of {len(found['failed'])}",
        ]
        for arm, found in values["calm"].items()
    ]
    return Table(
        "z-loss-quality",
        "Each arm at its best rate",
        ["arm", "rate", "test loss (nats)", "largest logit", "unstable"],
        rows,
        "Medians over seeds. A rate at which a tuning run was unstable is not chosen.",
    )


def stability_map(values: Mapping[str, Any]) -> Figure:
    """Share of unstable runs against the learning rate, on tuning and on reporting seeds."""
    tried = []
    for arm, found in values["tuning"].items():
        shares = [wilson(failed) for failed in found["failed"]]
        tried.append(_shares(arm, found["rates"], shares))
    strata = {float(rate): arms for rate, arms in values["strata"].items()}
    reported = [
        _shares(
            arm,
            sorted(strata),
            [wilson(strata[rate][arm]["failed"]) for rate in sorted(strata)],
            style="points",
        )
        for arm in values["calm"]
    ]
    axes = {
        "x_label": "learning rate",
        "y_label": "share of unstable runs",
        "x_scale": "log",
        "threshold": 1 / 3,
        "threshold_label": "a third",
        "marks": {"stressful rate": values["stress_rate"]},
    }
    return Figure(
        "z-loss-stability",
        "Where training becomes unstable",
        "Share of unstable runs with Wilson's 95% intervals. The stressful rate is chosen on the "
        f"{len(values['tuning_seeds'])} tuning seeds; the {len(values['seeds'])} reporting seeds "
        "are others.",
        [
            Panel("tuning seeds", series=tried, **axes),
            Panel("reporting seeds", series=reported, **axes),
        ],
    )


def _shares(
    label: str, rates: Sequence[float], shares: Sequence[stats.Interval], style: str = "line"
) -> Series:
    return Series(
        label,
        list(rates),
        [share.estimate for share in shares],
        [share.low for share in shares],
        [share.high for share in shares],
        style=style,
    )


def stressed(values: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> Figure:
    """Loss and the largest logit over training, at the stressful rate."""
    panels = []
    for metric, label, scale in (
        (CURVES[0], "validation loss (nats)", "linear"),
        (CURVES[1], "largest logit", "log"),
    ):
        series = []
        for arm in values["calm"]:
            curve = curves[f"{arm}/{metric}"]
            steps = np.arange(1, curve.shape[1] + 1) * values["log_every"]
            series.append(band(arm, steps, curve))
        panels.append(Panel(label.partition(" (")[0], "step", label, series, y_scale=scale))
    return Figure(
        "z-loss-stressed",
        "Training at the stressful rate",
        f"Rate {values['stress_rate']:g}, {len(values['seeds'])} seeds: median and the middle four "
        "fifths.",
        panels,
    )
