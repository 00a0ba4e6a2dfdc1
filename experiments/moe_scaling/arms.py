"""Networks that differ in their feed-forward layers alone, and how each is tuned and trained.

Every arm of a study sees the same sequences in the same order, under Adam with a short warm-up and
then a constant rate: a run of n steps is so the beginning of a longer one, and one curve tells the
loss at every budget. The rate is tuned for each arm on one common grid, over the same number of
steps, on seeds of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import numpy as np

from jaxtrends import estimators, models, optimizers, train, transformer
from jaxtrends.errors import Problem, choose, require_positive
from jaxtrends.moe import Mixture
from jaxtrends.sequences import SYMBOLS, Sequences
from jaxtrends.study import Run, thin
from jaxtrends.transformer import Transformer

TUNING_SEED_OFFSET = 1_000_000
EXTENSIONS = 2  # how often a grid is extended where the rate chosen lies on its edge
TASKS = {
    "lookup": "lookups in tables that the first token names",
    "one_cluster": "lookups in one table: nothing to divide by cluster",
    "two_names": "lookups in tables that two tokens name together: their cluster comes first",
    "english": "bytes of English Wikipedia",
}


@dataclass(frozen=True)
class Texts:
    """What is read."""

    context: int = 32
    """Tokens of a sequence."""
    clusters: int = 4
    """Tables of the lookup task, of 1,024 successors each."""
    training: int = 65536
    """Training sequences of the lookup task."""
    held_out: int = 256
    """Validation and test sequences, each; a multiple of every --batch-size."""


@dataclass(frozen=True)
class Network:
    """What all arms share."""

    width: int = 32
    """Width of the residual stream."""
    heads: int = 2
    """Heads of attention."""
    hidden: int = 64
    """Hidden width of a dense layer, and of an expert."""
    layers: int = 2
    """Blocks of attention and feed-forward layer."""
    capacity_factor: float = 1.25
    """Places of an expert as a multiple of its fair share of tokens."""


@dataclass(frozen=True)
class Schedule:
    """How every arm is trained."""

    batch_size: int = 32
    """Sequences in a step."""
    groups: int = 1
    """Parts of a batch that are routed apart; 1 routes all its tokens together. Divides
    --batch-size. Devices of a --mesh share them out."""
    steps: int = 700
    """Training steps; where compute is compared, those of the larger dense network."""
    log_every: int = 20
    """Steps between two points of the curves; divides --steps and --tuning-steps."""
    warm_up: int = 20
    """Steps in which the learning rate rises to its value."""
    grid: tuple[float, ...] = (3e-3, 1e-2, 3e-2)
    """Learning rates that each arm is tuned over. A choice on the edge extends the grid by its own
    ratio, twice at most."""
    tuning_steps: int = 700
    """Steps of a tuning lane."""
    tuning_seeds: int = 1
    """Seeds of each tuning point."""
    balance: float = 0.01
    """Coefficient of the load-balancing loss, the paper's."""
    z: float = 0.001
    """Coefficient of the router's z-loss."""
    block: int = 1
    """Lanes that run as one program."""


# --- what there is -------------------------------------------------------------------------------


def check(flag: str, texts: Texts, schedule: Schedule, networks: Mapping[str, Transformer]) -> None:
    """Refuse a study whose networks and schedule cannot be.

    Raises:
        Problem: names the flag or the arm at fault.
    """
    counts = ("batch_size", "groups", "steps", "log_every", "tuning_steps", "tuning_seeds", "block")
    require_positive(**{f"{flag}.schedule.{name}": getattr(schedule, name) for name in counts})
    require_positive(**{f"{flag}.schedule.grid[{i}]": rate for i, rate in enumerate(schedule.grid)})
    if len(schedule.grid) < 3 or sorted(set(schedule.grid)) != list(schedule.grid):
        raise Problem(
            f"--{flag}.schedule.grid needs three learning rates or more, from the smallest up, not "
            f"{schedule.grid}."
        )
    for name in ("steps", "tuning_steps"):
        if getattr(schedule, name) % schedule.log_every:
            raise Problem(
                f"--{flag}.schedule.{name.replace('_', '-')} {getattr(schedule, name)} is not a "
                f"multiple of --{flag}.schedule.log-every {schedule.log_every}."
            )
    if schedule.batch_size % schedule.groups:
        raise Problem(
            f"--{flag}.schedule.groups {schedule.groups} does not divide "
            f"--{flag}.schedule.batch-size {schedule.batch_size}."
        )
    for name in ("warm_up", "balance", "z"):
        if not 0 <= getattr(schedule, name) < math.inf:
            raise Problem(
                f"--{flag}.schedule.{name.replace('_', '-')} must not be negative, not "
                f"{getattr(schedule, name)}."
            )
    if texts.held_out % schedule.batch_size:
        raise Problem(
            f"--texts.held-out {texts.held_out} is not a multiple of --{flag}.schedule.batch-size "
            f"{schedule.batch_size}, so that it cannot be routed in groups as in training."
        )
    for arm, sizes in networks.items():
        try:
            transformer.check(sizes, schedule.batch_size)
        except Problem as problem:
            raise Problem(f"Arm {arm} of {flag}: {problem}") from None


def check_texts(texts: Texts, tasks: Sequence[str]) -> None:
    """Refuse sequences that cannot be.

    Raises:
        Problem: names the flag at fault.
    """
    for task in tasks:
        choose("task", task, TASKS)
    counts = {name: getattr(texts, name) for name in ("clusters", "training", "held_out")}
    require_positive(**{f"texts.{name}": value for name, value in counts.items()})
    least = 5 if "two_names" in tasks else 4
    if texts.context < least:
        raise Problem(f"--texts.context must be at least {least} tokens, not {texts.context}.")


def vocabulary(task: str, texts: Texts) -> int:
    """Tokens of a task; that with one cluster has the names of all, for equal networks."""
    return 256 if task == "english" else SYMBOLS + texts.clusters


def sizes(
    task: str,
    texts: Texts,
    network: Network,
    schedule: Schedule,
    experts: tuple[int, ...],
    hidden: int,
    mixture: Mixture,
) -> Transformer:
    """A network of so many experts in each layer, 0 for a dense one."""
    return Transformer(
        vocabulary=vocabulary(task, texts),
        context=texts.context,
        width=network.width,
        heads=network.heads,
        hidden=hidden,
        experts=experts,
        mixture=mixture,
        group=schedule.batch_size * texts.context // schedule.groups,
    )


def splits(found: Sequences, held_out: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The three splits as the trainer takes them; of the two held out, evenly spread windows."""
    parts = {}
    for name in ("train", "validation", "test"):
        windows = getattr(found, name)
        count = len(windows.inputs)
        kept = np.arange(count) if name == "train" else thin(count, held_out)
        parts[name] = (windows.inputs[kept], windows.labels[kept])
    return parts


# --- training ------------------------------------------------------------------------------------


@cache
def trainer_of(network: Transformer, schedule: Schedule) -> train.Trainer:
    """Adam on the cross-entropy of the next token and the routers' losses.

    Kept, so that tasks with one network share what is compiled.
    """
    routers = transformer.router_metrics() if any(network.experts) else {}
    return train.supervised(
        transformer.transformer(network),
        transformer.language_loss(schedule.balance, schedule.z),
        {"cross_entropy": transformer.next_token_loss, **routers},
        estimators.backprop,
        optimizers.adam(schedule.warm_up),
        schedule.batch_size,
    )


def parameters(network: Transformer) -> int:
    """Numbers that a network learns or holds."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    return models.count_parameters(jax.eval_shape(transformer.transformer(network).init, key))


def final(curve: np.ndarray) -> np.ndarray:
    """Mean over the last tenth of the points (at least one); infinite where a lane diverged."""
    last = curve[..., -max(1, curve.shape[-1] // 10) :].astype(np.float64).mean(axis=-1)
    return np.where(np.isfinite(last), last, np.inf)


def tune(
    losses_at: Callable[[Sequence[float]], np.ndarray], grid: Sequence[float]
) -> tuple[list[float], np.ndarray, int, bool]:
    """The rate of the lowest mean loss over tuning seeds, none of which may have diverged.

    A choice on the edge of the grid extends it there by its own ratio, `EXTENSIONS` times at most.

    Args:
        losses_at: rates -> (rates, seeds) validation losses.
        grid:      rates to begin with, from the smallest up.

    Returns:
        All rates tried, their losses, the index of the choice, and whether it still lies on the
        edge.
    """
    rates, losses = list(grid), losses_at(grid)
    for extended in range(EXTENSIONS + 1):
        means = np.where(np.isfinite(losses).all(axis=1), losses.mean(axis=1), np.inf)
        best = int(np.argmin(means))
        if best not in (0, len(rates) - 1) or extended == EXTENSIONS:
            break
        if best == 0:
            rates = [rates[0] ** 2 / rates[1], *rates]
            losses = np.concatenate([losses_at(rates[:1]), losses])
        else:
            rates = [*rates, rates[-1] ** 2 / rates[-2]]
            losses = np.concatenate([losses, losses_at(rates[-1:])])
    edge = best in (0, len(rates) - 1) or not np.isfinite(means[best])
    return rates, losses, best, edge


def grid_lanes(rates: Sequence[float], seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """Lanes of every rate with every seed, rates outermost."""
    return {
        "seed": np.tile(np.asarray(seeds, np.uint32), len(rates)),
        "learning_rate": np.repeat(np.asarray(rates, np.float32), len(seeds)),
    }


def reporting_seeds(config: Any) -> list[int]:
    return [config.seed + lane for lane in range(config.seeds)]


def tuning_seeds(config: Any, schedule: Schedule) -> list[int]:
    """Seeds for choosing, disjoint from those that are reported."""
    return [config.seed + TUNING_SEED_OFFSET + lane for lane in range(schedule.tuning_seeds)]


def train_arm(
    task: str,
    arm: str,
    trainer: train.Trainer,
    schedule: Schedule,
    data: Mapping[str, Any],
    config: Any,
    run: Run,
    steps: int = 0,
    judged: str = "validation_cross_entropy",
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Tune an arm's learning rate, then train it anew on the reporting seeds.

    Args:
        task, arm: names, which label what is logged.
        trainer:   the arm's.
        schedule:  steps, grid and tuning seeds.
        data:      splits.
        config:    the experiment's, for its seeds.
        run:       effects.
        steps:     of the reporting lanes; those of the schedule if 0.
        judged:    the metric whose `final` value chooses the rate.

    Returns:
        What the record keeps, and every metric of the reporting lanes.
    """
    seeds, apart = reporting_seeds(config), tuning_seeds(config, schedule)

    def lanes(kind: str, rates: Sequence[float], of: Sequence[int], steps: int) -> dict[str, Any]:
        shown = " ".join(f"{rate:.3g}" for rate in rates)
        return run.train(
            f"{task} {arm}, {kind} {shown}",
            trainer,
            grid_lanes(rates, of),
            data,
            steps=steps,
            log_every=schedule.log_every,
            block=schedule.block,
            test=kind == "tuned",
        )

    def losses_at(rates: Sequence[float]) -> np.ndarray:
        tried = lanes("tuning", rates, apart, schedule.tuning_steps)
        return final(tried[judged]).reshape(len(rates), len(apart))

    rates, losses, best, edge = tune(losses_at, schedule.grid)
    run.log_table(
        f"{task}/tuning/{arm}",
        [
            {"learning_rate": rate, "seed": seed, "validation_loss": float(losses[r, s])}
            for r, rate in enumerate(rates)
            for s, seed in enumerate(apart)
        ],
    )
    steps = steps or schedule.steps
    metrics = lanes("tuned", rates[best : best + 1], seeds, steps)
    points = np.arange(1, steps // schedule.log_every + 1) * schedule.log_every
    shared = {"task": task, "learning_rate": rates[best], "steps": steps}
    logged = {name: values for name, values in metrics.items() if values.ndim == 2}
    run.log_lanes(f"{task}/{arm}", seeds, shared, points, logged)
    values = {
        "learning_rate": rates[best],
        "steps": steps,
        "grid": {"rates": rates, "validation_loss": losses, "edge": edge},
    }
    return values, metrics


def outcome(metrics: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What the record keeps of an arm's reporting lanes."""
    loss = final(metrics["validation_cross_entropy"])
    found = {
        "final_loss": loss,
        "test_loss": np.where(np.isfinite(loss), metrics["test_cross_entropy"], np.inf),
        "diverged": int((~np.isfinite(loss)).sum()),
    }
    for name in ("dropped", "router_entropy", "busiest"):
        if f"validation_{name}" in metrics:
            found[name] = metrics[f"validation_{name}"][:, -1]
    return found


def cost(network: Transformer) -> dict[str, Any]:
    """Parameters, and operations of training on one token, with padding and without."""
    return {
        "parameters": parameters(network),
        "operations": transformer.training_operations(network),
        "operations_padded": transformer.training_operations(network, padded=True),
    }


def edges(task: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """A sentence for each arm whose rate lies on the edge of its grid, extended as it was."""
    return [
        f"{name} is tuned to the edge of its grid"
        for name in names
        if task["arms"][name]["grid"]["edge"]
    ]
