"""Timing that allows programs to be compared: warmed up, blocked, interleaved.

Rounds within one process agree better with each other than with another process, so a claim about
time takes its interval over processes: `over_processes`.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from jaxtrends import sweep

SAMPLE_SECONDS = 0.1
MOST_REPETITIONS = 2000
ROUNDS = 3
"""Rounds of timing training steps in each process."""

Timed = Callable[[int], float]
"""Runs something a given number of times and returns the total seconds."""


def interleaved(
    programs: Mapping[Hashable, Timed],
    rounds: Iterable[Any],
    sample_seconds: float = SAMPLE_SECONDS,
) -> dict[Hashable, list[float]]:
    """Seconds of one repetition, per program and round.

    Each sample repeats its program for about ``sample_seconds``. Programs are interleaved, and each
    round starts with the next one, so that other load on the machine affects all alike.

    Args:
        programs:       each first runs once unmeasured, to compile and warm up.
        rounds:         one item per round; `jaxtrends.study.Run.each` shows progress.
        sample_seconds: approximate duration of a sample.
    """
    for program in programs.values():
        program(1)
    lengths = {
        name: max(1, min(MOST_REPETITIONS, round(sample_seconds / program(1))))
        for name, program in programs.items()
    }
    seconds: dict[Hashable, list[float]] = {name: [] for name in programs}
    for number, _ in enumerate(rounds):
        first = number % len(programs)
        for name in [*programs][first:] + [*programs][:first]:
            seconds[name].append(programs[name](lengths[name]) / lengths[name])
    return seconds


def chained(program: Callable[[Any], Any], state: Any) -> Timed:
    """Calls of a compiled program, each on the output of the one before: state -> state."""
    kept = [state]

    def run(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            kept[0] = program(kept[0])
        jax.block_until_ready(kept[0])
        return time.perf_counter() - started

    return run


def step_seconds(
    programs: Mapping[str, tuple[Any, Any]], data: Any, log_every: int, processes: Iterable[Any]
) -> dict[str, list[float]]:
    """Seconds of a training step of one lane, with its share of evaluation: program -> per process.

    Each is the median over `ROUNDS` rounds in a fresh process, in which all programs are
    interleaved. The programs are handed over as StableHLO.

    Args:
        programs:  name -> (trainer, a block of lanes).
        data:      in the trainers' format.
        log_every: steps between two log points.
        processes: as in `over_processes`.
    """
    each = {name: log_every * sweep.lane_count(lanes) for name, (_, lanes) in programs.items()}
    with tempfile.TemporaryDirectory() as folder:
        for place, (trainer, lanes) in enumerate(programs.values()):
            kept = _exported(trainer, lanes, data, log_every)
            np.savez(Path(folder, f"program-{place}.npz"), **kept)
        leaves = (np.asarray(leaf) for leaf in jax.tree.leaves(data))
        np.savez(Path(folder, "data.npz"), *leaves)
        asked = {"folder": folder, "names": list(programs)}
        found = over_processes("jaxtrends.timing:seconds_of_steps", asked, processes)
    return {name: [one[name] / count for one in found] for name, count in each.items()}


def _exported(trainer: Any, lanes: Any, data: Any, log_every: int) -> dict[str, np.ndarray]:
    """A trainer's programs for one block of lanes as StableHLO, over flat lists of arrays.

    ``start`` and ``advance`` are their bytes, and ``lane-0``, … the leaves of the lanes.
    """
    program = sweep.program(trainer, log_every)
    trees = {"lanes": lanes, "data": data, "states": jax.eval_shape(program.start, lanes, data)}
    flat = {name: jax.tree.flatten(tree) for name, tree in trees.items()}

    def exported(function: Callable[..., Any], *names: str) -> np.ndarray:
        def of_leaves(*taken: Any) -> Any:
            pairs = zip(names, taken, strict=True)
            return jax.tree.leaves(function(*(flat[n][1].unflatten(leaves) for n, leaves in pairs)))

        shapes = jax.eval_shape(lambda *given: given, *(flat[name][0] for name in names))
        return np.frombuffer(export.export(jax.jit(of_leaves))(*shapes).serialize(), np.uint8)

    return {
        "start": exported(program.start, "lanes", "data"),
        "advance": exported(lambda *of: program.advance(*of)[0], "lanes", "states", "data"),
        **{f"lane-{place}": np.asarray(leaf) for place, leaf in enumerate(flat["lanes"][0])},
    }


def steps(kept: Mapping[str, Any], data: Sequence[Any]) -> Timed:
    """Training steps of a block of lanes, from its start; once is everything between log points.

    Args:
        kept: the programs and the lanes, as `step_seconds` hands them over.
        data: its leaves.
    """
    places = range(len(kept) - 2)
    lanes = [kept[f"lane-{place}"] for place in places]
    lanes, data = jax.device_put((lanes, list(data)), jax.local_devices()[0])
    start, advance = (
        export.deserialize(bytearray(kept[name].tobytes())).call for name in ("start", "advance")
    )
    start, advance = jax.jit(start), jax.jit(advance, donate_argnums=1)  # as in training
    return chained(lambda state: advance(lanes, state, data), start(lanes, data))


def seconds_of_steps(asked: Mapping[str, Any]) -> dict[str, float]:
    """Median seconds between two log points of every program that `step_seconds` left."""
    folder = Path(asked["folder"])
    data = list(_arrays(folder / "data.npz").values())
    programs = {
        name: steps(_arrays(folder / f"program-{place}.npz"), data)
        for place, name in enumerate(asked["names"])
    }
    found = interleaved(programs, range(ROUNDS))
    return {name: float(np.median(seconds)) for name, seconds in found.items()}


def _arrays(file: Path) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def calls(function: Callable[..., Any], *arguments: Any) -> Timed:
    """Sequential calls of a jitted function with arguments on the device."""
    program, given = jax.jit(function), jax.device_put(arguments)

    def run(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            jax.block_until_ready(program(*given))
        return time.perf_counter() - started

    return run


def load_average() -> float | None:
    """The system's load average over the last minute; None if unavailable."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def told_of_load(before: float | None, after: float | None, cores: int) -> str:
    """The `load_average` before and after timing, as a note's last sentence.

    It warns if the machine was not idle. The timed programs alone keep every core busy, and their
    threads sometimes wait for one.
    """
    if before is None or after is None:
        return ""
    busy = max(before, after) > cores + 0.5
    return f" Load average {before:.1f} before and {after:.1f} after, {cores} cores." + (
        " Warning: the machine was not idle, so the times are not reliable." if busy else ""
    )


def over_processes(target: str, argument: Any, processes: Iterable[Any]) -> list[Any]:
    """The measurements of a function, each in a fresh process, one after the other.

    An accelerator belongs to one process: there, all are taken in this one.

    Args:
        target:    ``module:function``; it takes ``argument`` and returns JSON-compatible data.
        argument:  JSON-compatible data.
        processes: one item per process; `jaxtrends.study.Run.each` shows progress. At least five if
                   a claim depends on them.

    Raises:
        RuntimeError: a process failed, with the last line of its error output.
    """
    module, name = target.split(":")
    if jax.default_backend() != "cpu":
        return [getattr(importlib.import_module(module), name)(argument) for _ in processes]
    found = []
    for _ in processes:
        done = subprocess.run(
            [sys.executable, "-m", "jaxtrends.timing", target],
            input=json.dumps(argument),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"The process timing {target} failed: {said}")
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return found


def main(target: str) -> None:
    """One process of `over_processes`: reads the argument from stdin and prints the result."""
    from jaxtrends import backend

    backend.keep_compiled(lambda warning: None)  # the parent run has already warned
    module, name = target.split(":")
    measure = getattr(importlib.import_module(module), name)
    print(json.dumps(measure(json.load(sys.stdin))))


if __name__ == "__main__":
    main(sys.argv[1])
