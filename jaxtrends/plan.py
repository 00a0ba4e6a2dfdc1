"""What a run will train: found by a dry run of its studies, which trains nothing.

Each study runs as it is, with a run that answers it with made-up metrics of the right shapes.
Operations are counted on the jaxpr, memory is that of the arrays which a block keeps, and seconds
follow from an assumed machine: see `Machine`. No program that trains is compiled.
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
    program:    calls of equal programs, blocks and log points share what is compiled.
    lanes, steps, log_every: as `Run.train` takes them.
    block:      lanes that run as one program.
    operations: floating-point operations of one step of one lane, its share of evaluation included.
    numbers:    numbers that a lane's state holds, parameters and the optimizer's memory together.
    data:       numbers of the data set, of which each device has one copy.
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
        """Bytes of a block's state, gradients and data, four a number; activations come on top."""
        return 4 * (1.5 * self.numbers * self.block + self.data)


# --- the dry run -------------------------------------------------------------------------------


class Ended(Exception):
    """A study came to work of its own, which trains no lanes; its plan is what came before."""


class DryRun:
    """A `jaxtrends.study.Run` that notes what it is asked to train, and makes the metrics up.

    Args:
        study:   its name.
        methods: of the user's own.
        load:    name -> data set.
        block:   lanes of a block; None for all lanes of a call.
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
        """The data set, or one of its shape."""
        return self._load(name)

    def each(self, label: str, items: Sequence[Any]) -> Iterator[Any]:
        """End the study here: what it does with the items is work, and no training."""
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
        """Note the call; metrics of the right names, shapes and kinds, all finite."""
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
        """What is known of a program without running it; asked once of each."""
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
        """Values that vary over lanes alone, without memory of their own: states can be large."""
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
        rounds: int,
    ) -> dict[str, list[float]]:
        """Made up too."""
        return {name: [1e-3] * rounds for name in programs}

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
    """Study -> the calls of training that a run would make, in their order.

    As if no grid had to be extended, which only the runs themselves can tell.

    Args:
        experiment: a `jaxtrends.experiment.Experiment`.
        config:     its settings.
        methods:    of the user's own.
        data_dir:   where prepared data sets lie.
        block:      lanes of a block; None for all lanes of a call.

    Raises:
        Problem: a data set of the experiment's own is not to be had.
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
            warnings.simplefilter("ignore")  # they are about what was made up
            experiment.studies[name].run(planned, run)
        found[name] = run.calls
    return found


def _not_extended(config: Any) -> Any:
    """A config whose schedules extend no grid, however deep they lie."""
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
    """A device as it is assumed to be.

    speed:     operations a second that programs like these reach.
    least:     seconds that a step takes however little it does.
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
# Peaks at the precision in which JAX multiplies float32 by default: TF32 on the one, bfloat16 on
# the other. Data sheets: 494.5 and 197 thousand million operations a millisecond, 80 and 16 GB.
H100 = Machine("H100", 494.5e12 * UTILISATION, 3e-4, 60.0, 80e9)
V5E = Machine("TPU v5e", 197e12 * UTILISATION, 3e-4, 60.0, 16e9)
MACHINES = {"cpu": CORE, "gpu": H100, "tpu": V5E}


def programs(calls: Sequence[Planned]) -> int:
    """How many different programs are compiled."""
    return len({(call.program, call.block, call.log_every) for call in calls})


def operations(calls: Sequence[Planned]) -> float:
    """Floating-point operations of all lanes, padding included."""
    return sum(call.blocks * call.block * call.steps * call.operations for call in calls)


def seconds(calls: Sequence[Planned], machine: Machine, devices: int = 1) -> float:
    """Expected seconds of training: compiling, and rounds of one block a device."""
    rounds = sum(
        math.ceil(call.blocks / devices)
        * call.steps
        * max(machine.least, call.block * call.operations / machine.speed)
        for call in calls
    )
    return programs(calls) * machine.compiling + rounds


def measured(experiment: str, preset: str) -> dict[str, float]:
    """Study -> seconds of the committed record of a preset; empty where there is none."""
    path = record.ROOT / "results" / experiment / preset / "record.json"
    try:
        studies = record.read_json(path)["measurements"]["studies"]
        return {name: float(study["seconds"]) for name, study in studies.items()}
    except (OSError, ValueError, LookupError, TypeError):
        return {}  # an installed package has no records, and a damaged one is for others to refuse


def explain(
    calls: Mapping[str, Sequence[Planned]],
    taken: Mapping[str, float],
    machine: Machine,
    devices: int,
) -> Table:
    """A table of the plan, a row for every call and a sum for every study.

    Args:
        calls:   study -> what it trains; nothing for one that trains no lanes.
        taken:   study -> seconds in the committed record of the preset, where there is one.
        machine: the assumed device.
        devices: how many there are.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("study", "programs", "lanes", "blocks", "steps", "operations", "memory"):
        study = column == "study"
        table.add_column(column, justify="left" if study else "right", no_wrap=not study)
    table.add_column(f"{devices} x {machine.name}", justify="right")
    table.add_column("the record", justify="right")
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
                f"  {re.sub(', tuning .*', ', tuning', call.label)}",  # its grid takes much room
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
    """Bytes as people say them: "12 KB", "3.4 GB"."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"
