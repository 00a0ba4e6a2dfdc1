"""Seconds, measured so that two programs can be compared: warmed up, waited for, taking turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax

SAMPLE_SECONDS = 0.1
MOST_REPETITIONS = 2000

Timed = Callable[[int], float]
"""Runs something so many times and returns the seconds that all of it took."""


def interleaved(programs: Mapping[str, Timed], rounds: Iterable[Any]) -> dict[str, list[float]]:
    """Seconds of one repetition, per program and round.

    Each sample repeats its program for about `SAMPLE_SECONDS`. Programs take turns, and each round
    starts with the next of them, so that whatever else the machine does falls on all alike.

    Args:
        programs: each runs once unmeasured first, to be compiled and warm.
        rounds:   one item a round; `jaxtrends.study.Run.each` shows progress.
    """
    for program in programs.values():
        program(1)
    lengths = {
        name: max(1, min(MOST_REPETITIONS, round(SAMPLE_SECONDS / program(1))))
        for name, program in programs.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in programs}
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


def calls(function: Callable[..., Any], *arguments: Any) -> Timed:
    """Calls of a jitted function with arguments on the device, one after the other."""
    program, given = jax.jit(function), jax.device_put(arguments)

    def run(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            jax.block_until_ready(program(*given))
        return time.perf_counter() - started

    return run
