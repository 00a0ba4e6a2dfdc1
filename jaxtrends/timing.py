"""Seconds, measured so that two programs can be compared: warmed up, waited for, taking turns.

Rounds of one process agree with each other better than with the next process, so a claim about time
takes its interval over processes: `over_processes`.
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
"""Runs something so many times and returns the seconds that all of it took."""


def interleaved(
    programs: Mapping[Hashable, Timed],
    rounds: Iterable[Any],
    sample_seconds: float = SAMPLE_SECONDS,
) -> dict[Hashable, list[float]]:
    """Seconds of one repetition, per program and round.

    Each sample repeats its program for so long, about. Programs take turns, and each round starts
    with the next of them, so that whatever else the machine does falls on all alike.

    Args:
        programs:       each runs once unmeasured first, to be compiled and warm.
        rounds:         one item a round; `jaxtrends.study.Run.each` shows progress.
        sample_seconds: least duration of a sample, about.
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
    """Calls of a compiled program, each on what the one before gave: state -> state."""
    kept = [state]

    def run(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            kept[0] = program(kept[0])
        jax.block_until_ready(kept[0])
        return time.perf_counter() - started

    return run


def steps(trainer: Any, lanes: Any, data: Any, log_every: int) -> Timed:
    """Training steps of a block of lanes, from its start on, with its share of evaluation.

    A repetition is all between two log points.

    Args:
        trainer:   a `jaxtrends.train.Trainer`.
        lanes:     leaves with a leading axis of lanes.
        data:      as the trainer takes it.
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
        data:      as the trainers take it.
        log_every: steps between two log points.
        rounds:    as of `interleaved`.
    """
    timed = {name: steps(*program, data, log_every) for name, program in programs.items()}
    each = {name: log_every * sweep.lane_count(lanes) for name, (_, lanes) in programs.items()}
    found = interleaved(timed, rounds)
    return {name: [s / each[name] for s in samples] for name, samples in found.items()}


def calls(function: Callable[..., Any], *arguments: Any) -> Timed:
    """Calls of a jitted function with arguments on the device, one after the other."""
    program, given = jax.jit(function), jax.device_put(arguments)

    def run(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            jax.block_until_ready(program(*given))
        return time.perf_counter() - started

    return run


def load_average() -> float | None:
    """Processes that wanted to run, averaged over the last minute; None where nobody counts."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def told_of_load(before: float | None, after: float | None, cores: int) -> str:
    """The `load_average` before and after times were taken, as a note's last sentence.

    It warns of a machine that was not idle. What is timed keeps every core busy by itself, and its
    threads at times wait for one.
    """
    if before is None or after is None:
        return ""
    busy = max(before, after) > cores + 0.5
    return f" Load average {before:.1f} before and {after:.1f} after, {cores} cores." + (
        " Warning: the machine was not idle; the times prove nothing." if busy else ""
    )


def over_processes(target: str, argument: Any, processes: Iterable[Any]) -> list[Any]:
    """What a function measures, in a fresh process each time, one after the other.

    Args:
        target:    ``module:function``; it takes ``argument`` and returns what JSON can hold.
        argument:  what JSON can hold.
        processes: one item a process; `jaxtrends.study.Run.each` shows progress. Five at the least,
                   where a claim rests on them.

    Raises:
        RuntimeError: a process failed; the last line that it wrote says how.
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
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise RuntimeError(f"The process that times {target} failed: {said}")
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return found


def main(target: str) -> None:
    """One process of `over_processes`: the argument on standard input, the answer on the output."""
    from jaxtrends import backend

    backend.keep_compiled(lambda warning: None)  # the run that asks has said it already
    module, name = target.split(":")
    measure = getattr(importlib.import_module(module), name)
    print(json.dumps(measure(json.load(sys.stdin))))


if __name__ == "__main__":
    main(sys.argv[1])
