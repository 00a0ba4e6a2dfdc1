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
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import jax

from jaxtrends import sweep

SAMPLE_SECONDS = 0.1
MOST_REPETITIONS = 2000

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


def steps(trainer: Any, lanes: Any, data: Any, log_every: int) -> Timed:
    """Training steps of a block of lanes, from its start, with its share of evaluation.

    A repetition is everything between two log points.

    Args:
        trainer:   a `jaxtrends.train.Trainer`.
        lanes:     leaves with a leading axis of lanes.
        data:      in the trainer's format.
        log_every: steps between two log points.
    """
    lanes, data = jax.device_put((lanes, data), jax.local_devices()[0])
    programs = sweep.program(trainer, log_every)
    state = programs.start(lanes, data)
    return chained(lambda state: programs.advance(lanes, state, data)[0], state)


def step_seconds(
    programs: Mapping[str, tuple[Any, Any]], data: Any, log_every: int, rounds: Iterable[Any]
) -> dict[str, list[float]]:
    """Seconds of a training step of one lane, per program and round.

    Args:
        programs:  name -> (trainer, a block of lanes).
        data:      in the trainers' format.
        log_every: steps between two log points.
        rounds:    as in `interleaved`.
    """
    timed = {name: steps(*program, data, log_every) for name, program in programs.items()}
    each = {name: log_every * sweep.lane_count(lanes) for name, (_, lanes) in programs.items()}
    found = interleaved(timed, rounds)
    return {name: [s / each[name] for s in samples] for name, samples in found.items()}


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

    Args:
        target:    ``module:function``; it takes ``argument`` and returns JSON-compatible data.
        argument:  JSON-compatible data.
        processes: one item per process; `jaxtrends.study.Run.each` shows progress. At least five if
                   a claim depends on them.

    Raises:
        RuntimeError: a process failed, with the last line of its error output.
    """
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
