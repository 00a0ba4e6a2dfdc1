"""The compiled bootstrap against the usual loop: ``python -m scripts.bench_compute_trends``.

Both resample the rows of the paper's 99 systems since 2010 (low outliers left out), multiply their
compute by log-uniform noise between one half and two, and fit a line to each resample. One does all
100,000 in one compiled call, the other uses a Python loop with scikit-learn's LinearRegression, as
such analyses are usually written. The loop is timed on 1,000 resamples and its time multiplied by
100. They alternate, and each first runs once unmeasured. The last line is one JSON object of named
ratios of medians over the repetitions.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from experiments.compute_trends import bootstrap, rules, systems
from jaxtrends import backend, devices
from jaxtrends.errors import Problem, require_positive
from jaxtrends.terminal import mend_streams

CONFIG = bootstrap.BootstrapConfig(resamples=100_000)
LOOPED = 1000  # resamples of the loop that are timed


def group() -> tuple[np.ndarray, np.ndarray]:
    """Dates in days, and log10 FLOP, of the 99 systems."""
    found = systems.read()
    deep = rules.labels_of(found, rules.Rules()).deep
    return found.dates[deep], found.log_compute[deep]


def compiled(seed: int) -> np.ndarray:
    """Slopes of all resamples, in one compiled call."""
    dates, log_compute = group()
    return bootstrap.slopes(seed, "bench", dates, log_compute, CONFIG, room=len(dates))


def looped(seed: int) -> np.ndarray:
    """Slopes of ``LOOPED`` resamples, one at a time."""
    from sklearn.linear_model import LinearRegression

    dates, log_compute = group()
    generator = np.random.default_rng(seed)
    found = np.empty(LOOPED)
    for number in range(LOOPED):
        chosen = generator.integers(0, len(dates), len(dates))
        noise = generator.uniform(-1, 1, len(dates)) * math.log10(CONFIG.noise)
        model = LinearRegression().fit(dates[chosen, None], log_compute[chosen] + noise)
        found[number] = model.coef_[0]
    return found


# Name -> what is run, and how many times of it make 100,000 resamples.
PROGRAMS: dict[str, tuple[Callable[[int], np.ndarray], int]] = {
    "compiled": (compiled, 1),
    "scikit-learn loop": (looped, CONFIG.resamples // LOOPED),
}


def measure(repeats: int) -> dict[str, list[float]]:
    """Seconds per 100,000 resamples for both programs, ``repeats`` times each, alternating."""
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for repetition in range(repeats + 1):
        for name, (program, times) in PROGRAMS.items():
            start = time.perf_counter()
            program(repetition)
            if repetition:  # the first compiles and imports
                seconds[name].append(times * (time.perf_counter() - start))
    return seconds


def main(arguments: list[str] | None = None) -> None:
    mend_streams()
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench_compute_trends",
        description=(__doc__ or "").partition("\n")[0],
    )
    parser.add_argument("--repeats", type=int, default=15, help="repetitions of every program")
    repeats = parser.parse_args(arguments).repeats
    require_positive(repeats=repeats)

    hardware = devices.describe(backend.use(None))
    print(f"{hardware['processor']}, {hardware['cores']} cores; {len(group()[0])} systems")
    ours, theirs = (rules.Rules().months(program(0)) for program, _ in PROGRAMS.values())
    print(
        f"Median doubling time: compiled {np.median(ours):.2f} months, loop {np.median(theirs):.2f}"
    )
    seconds = measure(repeats)

    print(f"\n{'s for 100,000 resamples':<25}{'median':>9}{'fastest':>9}")
    for name, values in seconds.items():
        print(f"{name:<25}{statistics.median(values):9.3f}{min(values):9.3f}")
    print(f"The loop was timed on {LOOPED:,} resamples and scaled.\n")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = medians["scikit-learn loop"] / medians["compiled"]
    print(
        json.dumps(
            {
                "scikit_learn_loop/compiled_bootstrap": round(ratio, 1),
                "compiled_bootstrap_seconds": round(medians["compiled"], 4),
            }
        )
    )


if __name__ == "__main__":
    try:
        main()
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
