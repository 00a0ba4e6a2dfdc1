"""What a run will train, from its config alone: lanes, blocks, arithmetic, memory, time.

Nothing here is measured or compiled. Operations are counted by formula, memory is that of the
arrays which a block keeps, and seconds follow from an assumed machine: see `Machine`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Planned:
    """One call of a study's `Run.train`.

    label:      as in the study, or how its label begins where the rest is found out by tuning.
    program:    calls of equal programs, blocks and log points share what is compiled.
    lanes, steps, log_every, block: as `Run.train` takes them. Tuning that ends on the edge of its
                grid may add a few lanes.
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


def explain(
    calls: Mapping[str, Sequence[Planned]],
    measured: Mapping[str, float],
    machine: Machine,
    devices: int,
) -> Table:
    """A table of the plan, a row for every call and a sum for every study.

    Args:
        calls:    study -> what it trains; nothing for one that trains no lanes.
        measured: study -> seconds on two CPU cores from a cold start, as its preset says.
        machine:  the assumed device.
        devices:  how many there are.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("study", "programs", "lanes", "blocks", "steps", "operations", "memory"):
        table.add_column(column, justify="left" if column == "study" else "right")
    table.add_column(f"{devices} x {machine.name}", justify="right")
    table.add_column("2 idle cores", justify="right")
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
            in_time(measured[name]),
            style="bold",
        )
        for call in planned:
            table.add_row(
                f"  {call.label}",
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


def in_time(given: float) -> str:
    """Seconds as people say them, to two digits: "0.4 s", "3 min", "2.5 h", "12 days"."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if given >= 2 * size:
            return f"{given / size:.2g} {unit}"
    return f"{given:.2g} s"
