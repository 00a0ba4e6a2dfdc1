"""The distillation study's table and figure, as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.moe_scaling import drawing
from jaxtrends.study import Figure, Panel, Table

LABELS = {
    "none": "no teacher",
    "full": "teacher to the end",
    "staged": "staged",
    "untrained_teacher": "staged, untrained teacher",
}


def curves(
    task: str, values: Mapping[str, Any], found: Mapping[str, np.ndarray], log_every: int
) -> Figure:
    """The students' curves, and their difference to the student without a teacher."""
    lanes = {
        who: found[f"{task}/{who}/validation_cross_entropy"].astype(np.float64) for who in LABELS
    }
    steps = np.arange(1, lanes["none"].shape[1] + 1) * float(log_every)
    marks = {"staged ones leave": float(values["leave_step"])}
    return Figure(
        "distillation",
        "Students of a mixture",
        "Validation loss of students of one layer less than their teacher, "
        + drawing.about(values)
        + " The differences are means over paired seeds with their 95 % intervals.",
        [
            Panel(
                "students",
                "step",
                "validation loss (nats a token)",
                [drawing.band(LABELS[who], steps, curve) for who, curve in lanes.items()],
                threshold=drawing.median(values["teacher"]["final_loss"]),
                threshold_label="teacher",
                marks=marks,
            ),
            Panel(
                "against no teacher",
                "step",
                "difference of loss (nats a token)",
                [
                    drawing.interval_band(LABELS[who], steps, curve - lanes["none"])
                    for who, curve in lanes.items()
                    if who != "none"
                ],
                threshold=0.0,
                threshold_label="no difference",
                marks=marks,
            ),
        ],
    )


def outcomes(values: Mapping[str, Any]) -> Table:
    """One row a student, and one for the teacher."""
    teacher = values["teacher"]
    rows = [
        ["teacher", teacher["parameters"], drawing.median(teacher["final_loss"]), "", ""],
        *(
            [
                LABELS[who],
                values["student"]["parameters"],
                drawing.median(found["final_loss"]),
                drawing.median(found["test_loss"]),
                drawing.median(found["loss_at_leave"]),
            ]
            for who, found in values["students"].items()
        ),
    ]
    return Table(
        "distillation-outcomes",
        "Students",
        ["network", "parameters", "validation loss", "test loss", "loss when staged ones leave"],
        rows,
        "Medians over seeds, in nats a token; the validation loss is the mean over the last tenth "
        "of the curve.",
    )
