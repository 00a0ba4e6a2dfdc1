"""The plan of a run, from a dry run of its studies that trains nothing.

Each study runs unchanged, with a run that returns made-up metrics of the right shapes. FLOPs are
counted on the jaxpr, memory is that of a block's arrays, and seconds follow from an assumed
machine: see `Machine`. No training program is compiled.
"""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxtrends import record
from jaxtrends.settings import Schedule
from jaxtrends.terminal import in_time

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Planned:
    """One call of a study's `Run.train`.

    label:      as in the study.
    program:    calls with equal program, block and log points share a compiled program.
    lanes, steps, log_every: as in `Run.train`.
    block:      lanes that run as one program.
    operations: FLOPs of one step of one lane, including its share of evaluation.
    numbers:    numbers in a lane's state, parameters and optimizer state together.
    data:       numbers in the data set, copied to each device.
    """

    label: str
    program: Any
    lanes: int
    steps: int
    log_every: int
    block: int
    operations: float
    numbers: float
    data: float

    @property
    def blocks(self) -> int:
        """Blocks of lanes, the last one padded."""
        return math.ceil(self.lanes / self.block)

    @property
    def bytes(self) -> float:
        """Bytes of a block's state, gradients and data, four per number, without activations."""
        return 4 * (1.5 * self.numbers * self.block + self.data)


# --- the dry run -------------------------------------------------------------------------------


class Ended(Exception):
    """A study reached work other than training; its plan is what came before."""


class DryRun:
    """A `jaxtrends.study.Run` that records what it should train, and makes up the metrics.

    Args:
        study:   its name.
        methods: the user's own.
        load:    name -> data set.
        block:   lanes per block; None for all lanes of a call.
    """

    def __init__(
        self,
        study: str,
        methods: Mapping[str, Callable[..., Any]],
        load: Callable[[str], Any],
        block: int | None = 1,
    ) -> None:
        self.study, self.methods = study, methods
        self.calls: list[Planned] = []
        self._load, self._block = load, block
        self._known: dict[Any, tuple[Any, ...]] = {}

    def dataset(self, name: str) -> Any:
        """The data set, or an outline of it."""
        return self._load(name)

    def each(self, label: str, items: Sequence[Any]) -> Iterator[Any]:
        """End the study here, since what it does with the items is not training."""
        raise Ended(label)

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
        """Record the call; return finite metrics with the right names, shapes and dtypes."""
        from jaxtrends import sweep

        count, points = sweep.lane_count(lanes), steps // log_every
        program, operations, numbers, held, logged, ends = self._looked_at(
            trainer, lanes, data, log_every
        )
        block = min(self._block or count, count)
        self.calls.append(
            Planned(label, program, count, steps, log_every, block, operations, numbers, held)
        )
        found = {name: self._made_up((count, points), leaf) for name, leaf in logged.items()}
        if test:
            found |= {name: self._made_up((count,), leaf) for name, leaf in ends.items()}
        return found

    def _looked_at(self, trainer: Any, lanes: Any, data: Any, log_every: int) -> tuple[Any, ...]:
        """What is known about a program without running it; computed once per program."""
        import jax

        from jaxtrends import flops

        def shape(leaf: Any) -> Any:
            return jax.ShapeDtypeStruct(np.shape(leaf), flops.kind(leaf))

        def shape_of_one(leaf: Any) -> Any:
            return jax.ShapeDtypeStruct(np.shape(leaf)[1:], flops.kind(leaf))

        lane, arrays = jax.tree.map(shape_of_one, lanes), jax.tree.map(shape, data)
        leaves, structure = jax.tree.flatten((lane, arrays))
        program = (trainer, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves))
        if program not in self._known:
            step = flops.step(trainer, lane, arrays)
            evaluation, evaluated = flops.traced(trainer.evaluate, lane, step.state, arrays)
            self._known[program] = (
                step.operations,
                evaluation,
                sum(leaf.size for leaf in jax.tree.leaves(step.state)),
                sum(leaf.size for leaf in jax.tree.leaves(arrays)),
                {**step.metrics, **evaluated},
                jax.eval_shape(trainer.test, lane, step.state, arrays),
            )
        of_step, of_evaluation, numbers, held, logged, ends = self._known[program]
        return program, of_step + of_evaluation / log_every, numbers, held, logged, ends

    def _made_up(self, axes: tuple[int, ...], leaf: Any) -> np.ndarray:
        """Values that vary only over lanes, without using memory, since states can be large."""
        shape = (*axes, *leaf.shape)
        if leaf.dtype.kind != "f":
            return np.broadcast_to(np.zeros((), leaf.dtype), shape)
        values = 1 + np.arange(axes[0]) / axes[0]
        return np.broadcast_to(
            values.reshape(-1, *[1] * (len(shape) - 1)).astype(leaf.dtype), shape
        )

    def step_seconds(
        self,
        label: str,
        programs: Mapping[str, tuple[Any, Any]],
        data: Any,
        *,
        log_every: int,
        processes: int,
    ) -> dict[str, list[float]]:
        """Made-up seconds."""
        return {name: [1e-3] * processes for name in programs}

    def log_lanes(self, *_: Any) -> None:
        """Nothing is logged."""

    def log_table(self, *_: Any) -> None:
        """Nothing is logged."""


def of(
    experiment: Any,
    config: Any,
    methods: Mapping[str, Callable[..., Any]] | None = None,
    data_dir: Path | None = None,
    block: int | None = 1,
) -> dict[str, list[Planned]]:
    """Study -> the training calls that a run would make, in order.

    Extensions of grids are not included, since they depend on the results.

    Args:
        experiment: a `jaxtrends.design.Design`.
        config:     its settings.
        methods:    the user's own.
        data_dir:   folder of prepared data sets.
        block:      lanes per block; None for all lanes of a call.

    Raises:
        Problem: one of the experiment's own data sets is not available.
    """
    loaded: dict[str, Any] = {}

    def load(name: str) -> Any:
        if name not in loaded:
            loaded[name] = experiment.outline(config, name, data_dir)
        return loaded[name]

    found, planned = {}, _not_extended(config)
    for name in experiment.studies_of(config):
        run = DryRun(name, methods or {}, load, block)
        with contextlib.suppress(Ended), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # about made-up values
            experiment.studies[name].run(planned, run)
        found[name] = run.calls
    return found


def _not_extended(config: Any) -> Any:
    """The config with no grid extensions in any schedule."""
    changed = {
        field.name: _not_extended(value)
        for field in fields(config)
        if is_dataclass(value := getattr(config, field.name))
    }
    ends = {"extensions": 0} if isinstance(config, Schedule) else {}
    return replace(config, **changed, **ends)


# --- machines and times --------------------------------------------------------------------------


@dataclass(frozen=True)
class Machine:
    """Assumptions about a device.

    speed:     FLOP/s that programs like these reach.
    least:     minimum seconds per step.
    compiling: seconds to compile one program.
    memory:    bytes.
    """

    name: str
    speed: float
    least: float
    compiling: float
    memory: float


UTILISATION = 0.1  # of the peak: the networks here are far too small for more
CORE = Machine("CPU core", 15e9, 2e-5, 6.0, math.inf)
# Peaks at JAX's default precision for float32 products: TF32 on the H100, bfloat16 on the TPU.
# Data sheets: 494.5 and 197 TFLOP/s, 80 and 16 GB.
H100 = Machine("H100", 494.5e12 * UTILISATION, 3e-4, 60.0, 80e9)
V5E = Machine("TPU v5e", 197e12 * UTILISATION, 3e-4, 60.0, 16e9)
MACHINES = {"cpu": CORE, "gpu": H100, "tpu": V5E}


def programs(calls: Sequence[Planned]) -> int:
    """The number of different programs to compile."""
    return len({(call.program, call.block, call.log_every) for call in calls})


def operations(calls: Sequence[Planned]) -> float:
    """FLOPs of all lanes, including padding."""
    return sum(call.blocks * call.block * call.steps * call.operations for call in calls)


def seconds(calls: Sequence[Planned], machine: Machine, devices: int = 1) -> float:
    """Expected seconds of training: compilation, and rounds of one block per device."""
    rounds = sum(
        math.ceil(call.blocks / devices)
        * call.steps
        * max(machine.least, call.block * call.operations / machine.speed)
        for call in calls
    )
    return programs(calls) * machine.compiling + rounds


def measured(experiment: str, preset: str) -> dict[str, float]:
    """Study -> seconds in the committed record of a preset; empty if there is none."""
    path = record.ROOT / "results" / experiment / preset / "record.json"
    try:
        studies = record.read_json(path)["measurements"]["studies"]
        return {name: float(study["seconds"]) for name, study in studies.items()}
    except (OSError, ValueError, LookupError, TypeError):
        return {}  # an installed package has no records; a damaged one is reported elsewhere


def explain(
    calls: Mapping[str, Sequence[Planned]],
    taken: Mapping[str, float],
    machine: Machine,
    devices: int,
) -> Table:
    """A table of the plan, with a row for every call and a total for every study.

    Args:
        calls:   study -> its training calls; empty if it trains no lanes.
        taken:   study -> seconds in the committed record of the preset, if there is one.
        machine: the assumed device.
        devices: their number.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("study", "programs", "lanes", "blocks", "steps", "FLOPs", "memory"):
        study = column == "study"
        table.add_column(column, justify="left" if study else "right", no_wrap=not study)
    table.add_column(f"{devices} x {machine.name}", justify="right")
    table.add_column("measured", justify="right")
    for name, planned in calls.items():
        table.add_row(
            name,
            str(programs(planned)) if planned else "",
            str(sum(call.lanes for call in planned)) if planned else "no lanes",
            str(sum(call.blocks for call in planned)) if planned else "",
            f"{sum(call.lanes * call.steps for call in planned):,}" if planned else "",
            f"{operations(planned):.2g}" if planned else "",
            in_bytes(max(call.bytes for call in planned)) if planned else "",
            in_time(seconds(planned, machine, devices)) if planned else "",
            in_time(taken[name]) if name in taken else "",
            style="bold",
        )
        for call in planned:
            table.add_row(
                f"  {re.sub(', tuning .*', ', tuning', call.label)}",  # without its long grid
                "",
                str(call.lanes),
                f"{call.blocks} x {call.block}",
                f"{call.steps:,}",
                f"{operations([call]):.2g}",
                in_bytes(call.bytes),
                in_time(seconds([call], machine, devices) - machine.compiling),
                "",
            )
    return table


def in_bytes(count: float) -> str:
    """Bytes for people: "12 KB", "3.4 GB"."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"
