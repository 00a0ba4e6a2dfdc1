"""Time to evaluate a population: by a loop over its members, or as one program.

All ways do the same arithmetic: the cross-entropy of every member, an MLP on one batch of digits.
The fair baseline are loops over members: in NumPy, in NumPy on two processes, over a jitted
function, and compiled. The program must beat the fastest of them in each process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.neuroevolution.tasks import digits
from jaxtrends import timing
from jaxtrends.errors import Problem
from jaxtrends.settings import PositiveInt, Sizes
from jaxtrends.study import Figure, Panel, Run, StudyResult, Table

LOOPS = ("numpy_loop", "numpy_loop_on_two_processes", "jitted_loop", "compiled_loop")
PROGRAMS = ("vmap", "scan_over_vmap", "vmap_again")
COMPILED = ("jitted_loop", "compiled_loop", "vmap", "scan_over_vmap")
CHUNK = 16  # members per step of the scan
GENERATIONS = 4  # evaluations in one program of the scan


@dataclass(frozen=True)
class Cost:
    """What to time."""

    populations: Sizes = (4, 16, 64, 256, 1024)
    """Population sizes; those above 16 must be multiples of 16."""
    hidden: PositiveInt = 32
    """Hidden units of a member."""
    batch: PositiveInt = 256
    """Images per batch."""
    processes: PositiveInt = 5
    """Processes, over which intervals are taken."""
    rounds: PositiveInt = 20
    """Rounds per process, each about a tenth of a second per way; the median is used."""

    def check(self, flag: str) -> None:
        """Refuse populations that the scan cannot split evenly.

        Raises:
            Problem: names the flag.
        """
        for population in self.populations:
            if population > CHUNK and population % CHUNK:
                raise Problem(
                    f"--{flag}.populations above {CHUNK} must be multiples of {CHUNK}, which "
                    f"{population} is not: the scan takes {CHUNK} members at a time."
                )


def images(batch: int) -> tuple[np.ndarray, np.ndarray]:
    """A random batch shaped like the digits: (batch, 64) float32, (batch,) int32."""
    random = np.random.default_rng(0)
    return (
        random.random((batch, 64), np.float32),
        random.integers(0, 10, batch).astype(np.int32),
    )


def members(population: int, hidden: int) -> np.ndarray:
    """Parameters (population, d) float32, in the order of `jax.flatten_util.ravel_pytree`."""
    count = (64 + 1) * hidden + (hidden + 1) * 10
    return 0.1 * np.random.default_rng(1).standard_normal((population, count), np.float32)


def layers(member: np.ndarray, hidden: int) -> tuple[np.ndarray, ...]:
    """Two kernels and their biases as views of a member: bias and kernel, layer by layer."""
    ends = np.cumsum([hidden, 64 * hidden, 10, hidden * 10])
    bias, kernel, last_bias, last_kernel = np.split(member, ends[:-1])
    return kernel.reshape(64, hidden), bias, last_kernel.reshape(hidden, 10), last_bias


def numpy_scores(population: np.ndarray, hidden: int, batch: int) -> np.ndarray:
    """Scores (n,) of members (n, d), one after the other: minus the cross-entropy of the batch."""
    inputs, labels = images(batch)
    return _numpy_scores(population, hidden, inputs, labels)


def _numpy_scores(
    population: np.ndarray, hidden: int, inputs: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    rows = np.arange(labels.size)
    scores = np.empty(len(population), np.float32)
    for place, member in enumerate(population):
        kernel, bias, last_kernel, last_bias = layers(member, hidden)
        logits = np.maximum(inputs @ kernel + bias, 0) @ last_kernel + last_bias
        logits -= logits.max(axis=1, keepdims=True)
        normaliser = np.log(np.exp(logits).sum(axis=1))
        scores[place] = (logits[rows, labels] - normaliser).mean()
    return scores


def _worker(pipe: Any, population: np.ndarray, hidden: int, batch: int) -> None:
    """Score half of the members for each message, until told to stop."""
    inputs, labels = images(batch)
    while pipe.recv():
        pipe.send(_numpy_scores(population, hidden, inputs, labels))


def ways(population: int, hidden: int, batch: int) -> dict[str, Callable[[], Any]]:
    """Every way to score the members once (several times for the scan), by name."""
    task, everyone = digits(hidden, batch), members(population, hidden)
    inputs, labels = images(batch)
    _, parameters = jax.flatten_util.ravel_pytree(task.init(jax.random.key(0)))
    drawn = jax.device_put((inputs, labels))
    stacked = jax.device_put(everyone)
    each = list(stacked)

    def score(member: jax.Array, drawn: Any) -> jax.Array:
        return task.score(parameters(member), drawn)

    one = jax.jit(score)
    together = jax.vmap(score, in_axes=(0, None))

    def scanned(stacked: jax.Array, drawn: Any) -> jax.Array:
        chunks = stacked.reshape(-1, min(CHUNK, population), stacked.shape[1])

        def generation(last: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            moved = chunks + 0 * last  # the next generation waits for the scores, as in a search
            scores = jax.lax.map(lambda chunk: together(chunk, drawn), moved).reshape(-1)
            return scores[0], scores

        return jax.lax.scan(generation, jnp.zeros(()), None, length=GENERATIONS)[1]

    whole, again = jax.jit(together), jax.jit(lambda *given: together(*given))
    scan = jax.jit(scanned)
    loop = jax.jit(lambda s, drawn: jax.lax.map(lambda member: score(member, drawn), s))
    return {
        "numpy_loop": lambda: _numpy_scores(everyone, hidden, inputs, labels),
        "jitted_loop": lambda: jax.block_until_ready([one(member, drawn) for member in each]),
        "compiled_loop": lambda: jax.block_until_ready(loop(stacked, drawn)),
        "vmap": lambda: jax.block_until_ready(whole(stacked, drawn)),
        "vmap_again": lambda: jax.block_until_ready(again(stacked, drawn)),
        "scan_over_vmap": lambda: jax.block_until_ready(scan(stacked, drawn)),
    }


def measure(argument: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """In one process: population -> way -> median seconds of one evaluation of all members.

    ``first_…`` are the seconds of a way's first call, which compiles it.
    """
    found = {}
    for population in argument["populations"]:
        sizes = int(population), int(argument["hidden"]), int(argument["batch"])
        functions = ways(*sizes)
        first = {f"first_{name}": _repeated(functions[name])(1) for name in COMPILED}
        with _Two(*sizes) as two:
            timed = {
                name: _repeated(function, GENERATIONS if name == "scan_over_vmap" else 1)
                for name, function in functions.items()
            }
            timed["numpy_loop_on_two_processes"] = _repeated(two)
            seconds = timing.interleaved(timed, range(int(argument["rounds"])))
        medians = {name: float(np.median(s)) for name, s in seconds.items()}
        found[str(population)] = {**medians, **first}
    return found


def _repeated(function: Callable[[], Any], evaluations: int = 1) -> timing.Timed:
    """Seconds of some repetitions, divided by the evaluations that each of them does."""

    def run(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            function()
        return (time.perf_counter() - started) / evaluations

    return run


class _Two:
    """The NumPy loop on two processes, each with half of the members."""

    def __init__(self, population: int, hidden: int, batch: int) -> None:
        import multiprocessing  # local, since it adds __mp_main__ to sys.modules

        context = multiprocessing.get_context("spawn")
        self._pipes, self._processes = [], []
        for half in np.array_split(members(population, hidden), 2):
            ours, theirs = context.Pipe()
            process = context.Process(target=_worker, args=(theirs, half, hidden, batch))
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)

    def __call__(self) -> np.ndarray:
        for pipe in self._pipes:
            pipe.send(True)
        return np.concatenate([pipe.recv() for pipe in self._pipes])

    def __enter__(self) -> _Two:
        return self

    def __exit__(self, *raised: object) -> None:
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.send(False)
            process.join()


def run(config: Any, run: Run) -> StudyResult:
    """Time every way for every population, in several processes."""
    chosen: Cost = config.cost
    argument = {
        name: getattr(chosen, name) for name in ("populations", "hidden", "batch", "rounds")
    }
    found = timing.over_processes(
        "experiments.neuroevolution.cost:measure",
        argument,
        run.each("processes", range(chosen.processes)),
    )
    tasks = {str(n): _task(n, [process[str(n)] for process in found]) for n in chosen.populations}
    each = 2.0 * chosen.batch * (64 + 10) * chosen.hidden
    return StudyResult(
        values={"member_flops": each},
        measurements={"tasks": tasks},
        measured_tables=_tables(tasks),
        measured_figures=[_figure(tasks)],
    )


def _task(population: int, processes: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """A task as a comparison has it: seconds of each way, process by process."""
    names = [*LOOPS, *PROGRAMS, *(f"first_{name}" for name in COMPILED)]
    arms = {name: [process[name] for process in processes] for name in names}
    for fastest, among in (("fastest_loop", LOOPS), ("fastest_program", PROGRAMS[:2])):
        arms[fastest] = [min(process[name] for name in among) for process in processes]
    return {
        "size": population,
        "arms": {
            name: {"metrics": {"seconds": seconds}, "facts": {}, "diverged": 0}
            for name, seconds in arms.items()
        },
    }


FLAT = 0.2  # the slope of log time below which time counts as flat


def knee(populations: Sequence[float], seconds: Sequence[float]) -> float:
    """The population up to which time is flat; the smallest one if it grows from the start."""
    slopes = np.diff(np.log(seconds)) / np.diff(np.log(populations))
    return populations[int(np.argmax(np.append(slopes, np.inf) >= FLAT))]


def _table(name: str, title: str, note: str, tasks: Mapping[str, Any], ways: Mapping) -> Table:
    """Milliseconds by population; ``ways`` maps columns to arms."""
    rows = []
    for population, task in tasks.items():
        seconds = [np.median(task["arms"][arm]["metrics"]["seconds"]) for arm in ways.values()]
        rows.append([int(population), *(1e3 * value for value in seconds)])
    return Table(name, title, ["population", *ways], rows, note)


def _tables(tasks: Mapping[str, Any]) -> list[Table]:
    fastest = [
        np.median(t["arms"]["fastest_program"]["metrics"]["seconds"]) for t in tasks.values()
    ]
    flat = knee([task["size"] for task in tasks.values()], fastest)
    return [
        _table(
            "cost-milliseconds",
            "Time to evaluate the population once (ms)",
            "Medians over processes of the median over rounds, with the ways interleaved and each "
            "repeated for a tenth of a second. Compilation is excluded. All do the same "
            "arithmetic. The time of the fastest program is flat (a slope of log time below "
            f"{FLAT:g}) up to a population of {flat}.",
            tasks,
            {name.replace("_", " "): name for name in (*LOOPS, *PROGRAMS)},
        ),
        _table(
            "cost-first-call",
            "Time of the first call, which compiles (ms)",
            f"Medians over processes. A scan does {GENERATIONS} evaluations.",
            tasks,
            {name.replace("_", " "): f"first_{name}" for name in COMPILED},
        ),
    ]


def _figure(tasks: Mapping[str, Any]) -> Figure:
    from jaxtrends import charts

    sizes = [float(task["size"]) for task in tasks.values()]

    def seconds(name: str) -> np.ndarray:
        return np.transpose([task["arms"][name]["metrics"]["seconds"] for task in tasks.values()])

    names = [*LOOPS, *PROGRAMS[:2]]
    return Figure(
        "cost-seconds-population",
        "Time to evaluate the population once",
        "Seconds, and the time of two loops over that of the fastest program, "
        f"{len(seconds('vmap'))} processes: {charts.INTERVAL}.",
        [
            Panel(
                "time",
                "population",
                "seconds",
                [charts.interval(name.replace("_", " "), sizes, seconds(name)) for name in names],
                "log",
                "log",
            ),
            Panel(
                "loop / fastest program",
                "population",
                "ratio of seconds",
                [
                    charts.interval(
                        name.replace("_", " "), sizes, seconds(name) / seconds("fastest_program")
                    )
                    for name in ("fastest_loop", "jitted_loop")
                ],
                "log",
                threshold=1.0,
                threshold_label="equal",
            ),
        ],
    )
