"""What a study is given and what it gives back: values, curves, figures. Data only, no effects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np


@dataclass(frozen=True)
class Series:
    """One line, band or cloud of a figure's panel; all sequences have the same length.

    ``style``: ``line`` (measured), ``theory`` (dashed, no markers), ``points`` (markers, with
    error bars where ``low`` and ``high`` are given), ``reported`` (black stars: the paper's own
    figures), ``steps`` (a histogram: each y holds from its x to the next). ``low`` and ``high``
    draw a band on a line. ``texts`` stand beside the points, "" where there is none.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    style: Literal["line", "theory", "points", "reported", "steps"] = "line"
    texts: Sequence[str] | None = None


@dataclass(frozen=True)
class Map:
    """A matrix shown by colour: ``values[row][column]`` at ``y[row]`` and ``x[column]``.

    ``label`` names the values, with their unit; a cell that is not finite stays blank.
    """

    x: Sequence[float]
    y: Sequence[float]
    values: Sequence[Sequence[float]]
    label: str


@dataclass(frozen=True)
class Panel:
    """One pair of axes. Labels carry units in brackets.

    ``threshold`` is a horizontal rule, ``marks`` are vertical ones: label -> x. A ``map`` lies
    below the series.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    x_scale: Literal["linear", "log"] = "linear"
    y_scale: Literal["linear", "log"] = "linear"
    threshold: float | None = None
    threshold_label: str = ""
    marks: Mapping[str, float] = field(default_factory=dict)
    map: Map | None = None


@dataclass(frozen=True)
class Figure:
    """A figure as data: the report draws it, and a digest tells whether a drawing is fresh.

    A ``standalone`` one is read without its caption, in a talk say: its title is drawn with it, in
    larger letters, and every series and rule is named where it lies instead of in a legend.
    """

    name: str
    title: str
    caption: str
    panels: Sequence[Panel]
    standalone: bool = False


@dataclass(frozen=True)
class Table:
    """A table as data: cells are numbers or text; the report formats them."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""


@dataclass(frozen=True)
class StudyResult:
    """What a study found.

    values:       nested dicts, lists, numbers and text: every per-seed value that a claim of the
                  study rests on, the grid and the chosen points. The same bits on every rerun.
    curves:       name -> float array (lanes, points), for the page, thinned freely; or (n,), a
                  sample that is kept beside the record.
    measurements: like ``values``, but of times and memory, which differ from run to run.
    """

    values: Mapping[str, Any]
    curves: Mapping[str, np.ndarray] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    measurements: Mapping[str, Any] = field(default_factory=dict)
    measured_tables: Sequence[Table] = ()
    measured_figures: Sequence[Figure] = ()


def thin(points: int, limit: int) -> np.ndarray:
    """Return at most ``limit`` (>= 2) indices into ``points`` points, evenly spread.

    The first and the last are always among them. Shape (min(points, limit),), int64.
    """
    return np.linspace(0, points - 1, min(points, limit)).round().astype(np.int64)


class Run(Protocol):
    """The effects that a study may use; the experiment's main hands it one.

    What takes more than a moment is done through them, so that a dry run can leave it out.
    """

    study: str
    """The study's name, which its part of the config has too."""
    methods: Mapping[str, Callable[..., Any]]
    """Methods that the user added to the experiment's own, by name."""

    def dataset(self, name: str) -> Any:
        """The data set of that name (`jaxtrends.data.Dataset`), its digest noted in the record."""

    def train(
        self,
        label: str,
        trainer: Any,
        lanes: Any,
        data: Any,
        *,
        steps: int,
        log_every: int,
        test: bool = True,
    ) -> dict[str, np.ndarray]:
        """Train every lane; returns metric name -> (lanes, steps // log_every) float array.

        Metrics of `Trainer.test` come back as (lanes,); ``test=False`` leaves them out. Progress,
        checkpoints, resume, blocks and the placing on devices are the driver's. ``label`` is unique
        within the study.
        """

    def each(self, label: str, items: Sequence[Any]) -> Any:
        """Iterate over items with progress shown, stopping cleanly on SIGINT and SIGTERM."""

    def step_seconds(
        self,
        label: str,
        programs: Mapping[str, tuple[Any, Any]],
        data: Any,
        *,
        log_every: int,
        processes: int,
    ) -> dict[str, list[float]]:
        """Seconds of a training step with its share of evaluation, per program and process.

        Programs are name -> (trainer, a block of lanes); they take turns, warmed up, in each of
        several processes. The seconds are of one lane.
        """

    def log_lanes(
        self,
        method: str,
        seeds: Sequence[int],
        config: Mapping[str, Any],
        steps: np.ndarray,
        metrics: Mapping[str, np.ndarray],
    ) -> None:
        """Hand reported lanes to the tracker: metrics are name -> (lanes, points)."""

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Hand a table (tuning lanes, say) to the tracker."""
