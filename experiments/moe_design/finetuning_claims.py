"""What fine-tuning claims, and its tables and figures. (S5, S6, S7)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from experiments.moe_design.language import LOSS
from jaxtrends import charts, declare, stats
from jaxtrends.claims import CONFIDENCE, Claim
from jaxtrends.declare import ABOVE_ZERO, BELOW_ZERO, Quantity, TaskView
from jaxtrends.study import Figure, Panel, Table

MODELS = ("sparse", "dense")
STOPPED = "sparse, stopped"  # where its pretraining loss is the dense network's
# Capacity factors. On tuning seeds 1.05 dropped 17% of the tokens of fine-tuning, and 1.2 11%.
NO_PLACES, FEW_PLACES, MANY_PLACES = 0.5, 1.15, 2.0
DROPPED = (0.10, 0.156)  # the paper's shares with and without a load-balancing loss
MARGIN = 0.02  # nats
WIDE = "test_cross_entropy_with_capacity"  # at the capacity factor MANY_PLACES


def places(factor: float) -> str:
    """The arm with one capacity factor."""
    return f"sparse, capacity {factor:g}"


# --- what is claimed -----------------------------------------------------------------------------


def ends(task: TaskView) -> tuple[TaskView, TaskView]:
    """The same networks on the fewest and on the most examples."""
    rungs = sorted(task.tasks, key=lambda name: task.tasks[name]["size"])
    if len(rungs) < 2:
        raise KeyError("a second number of examples")
    return task.beside(rungs[0]), task.beside(rungs[-1])


def flip(sparse: str, *, exchange: bool = False) -> Quantity:
    """Sparse against dense on the fewest examples, dense against sparse on the most.

    For the control ``exchange``, the sparse network has the examples of the other end.
    """

    def pair(task: TaskView) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        fewest, most = ends(task)
        if task.size not in (fewest.size, most.size):
            raise KeyError("the fewest or the most examples")
        few = task.size == fewest.size
        other = (most if few else fewest) if exchange else task
        losses = other[sparse][LOSS], task["dense"][LOSS]
        return {"sparse is worse": losses} if few else {"dense is worse": losses[::-1]}

    return pair


def unequal(task: TaskView) -> str:
    """Why fine-tuning did not start from equal loss; "" if it did, within the margin."""
    losses = task.of("pretraining_loss")
    pair = {"treatment": losses[STOPPED], "reference": losses["dense"]}
    apart = stats.paired_difference(pair, CONFIDENCE)
    if apart.low > -MARGIN and apart.high < MARGIN:
        return ""
    return f"the pretraining losses differ by {apart:.3f} nats"


def flips(id: str, start: str, sparse: str, **declared: Any) -> Claim:
    """S5: sparse worse on few examples and better on many; each end is a part."""
    return declare.derive(
        id,
        f"From equal pretraining {start}, a sparse network is worse than a dense one with equal "
        "FLOPs after fine-tuning on few examples, and better on many.",
        flip(sparse),
        quantity="test cross-entropy on the new cluster, network named - the other one (nats), "
        f"from equal pretraining {start}",
        statistic="paired difference",
        region=ABOVE_ZERO,
        reason="the sign must flip between the fewest and the most examples",
        fails={
            "examples of the other end": (
                flip(sparse, exchange=True),
                "a sparse network with many examples is not worse than a dense one with few, nor "
                "the other way round; it would be if every size read the same sequences",
            )
        },
        **declared,
    )


def slopes(grid: Mapping[str, Mapping[str, Any]], along: str) -> np.ndarray:
    """Per seed, the slope of the test loss per doubling of the learning rate or batch size.

    Args:
        grid:  batch -> rate -> loss per seed.
        along: "rate" or "batch"; the other is averaged over.
    """
    batches = sorted(grid, key=int)
    rates = sorted(grid[batches[0]], key=float)
    losses = np.asarray([[grid[batch][rate] for rate in rates] for batch in batches], np.float64)
    if along == "rate":
        return declare.slope_of([float(rate) for rate in rates], losses.mean(axis=0))
    return declare.slope_of([int(batch) for batch in batches], losses.mean(axis=1))


def smaller_batch(grid: Mapping[str, Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """One network's slope over rates with the smallest and with the largest batch."""
    ends = (pick(grid, key=int) for pick in (min, max))
    small, large = (slopes({batch: grid[batch]}, "rate") for batch in ends)
    return small, large


def higher_rate(grid: Mapping[str, Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """One network's slope over batch sizes at the highest and at the lowest rate."""
    ends = (pick(next(iter(grid.values())), key=float) for pick in (max, min))
    high, low = (
        slopes({batch: {rate: rates[rate]} for batch, rates in grid.items()}, "batch")
        for rate in ends
    )
    return high, low


def wants(id: str, statement: str, along: str, quantity: str, **declared: Any) -> Claim:
    """S6: the sparse network's slope against the dense network's."""

    def both(values: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        sparse, dense = (slopes(values["grid"][model], along) for model in MODELS)
        return sparse, dense

    name, within, why = {
        "rate": (
            "dense, smaller batch",
            smaller_batch,
            "with more steps of a smaller batch, a network wants a lower rate; it would want a "
            "higher one if the batch sizes were out of order",
        ),
        "batch": (
            "dense, higher rate",
            higher_rate,
            "at a higher rate, a network wants a larger batch; it would want a smaller one if the "
            "rates were out of order",
        ),
    }[along]
    return declare.fact(
        id,
        statement,
        both,
        quantity=quantity,
        statistic="paired difference",
        reason=f"at 0, {along} and network do not interact",
        fails={name: (lambda values: within(values["grid"]["dense"]), why)},
        source="paper",
        known="derived",
        where="Table 20",
        **declared,
    )


def against_many_places(factor: float, metric: str) -> Quantity:
    """The loss after fine-tuning with a capacity factor, and with 2.0."""
    return lambda task: (task[places(factor)][metric], task[places(MANY_PLACES)][metric])


def other_drops(task: TaskView) -> str:
    """Why S7 cannot be judged: more or fewer tokens were dropped than in the paper."""
    share = float(np.mean(task[places(FEW_PLACES)]["dropped_in_training"]))
    low, high = DROPPED
    return "" if low <= share <= high else f"{share:.1%} of the tokens were dropped"


def harmless(id: str, metric: str, words: str, **declared: Any) -> Claim:
    """S7: as good with dropped tokens as without."""
    return declare.derive(
        id,
        f"Dropping 10 to 15% of the tokens during fine-tuning does no harm, {words}.",
        against_many_places(FEW_PLACES, metric),
        quantity=f"test cross-entropy after fine-tuning with a capacity factor of {FEW_PLACES:g} - "
        f"that with {MANY_PLACES:.1f} (nats), {words}, most examples",
        statistic="paired difference",
        region=(-MARGIN, MARGIN),
        reason="0.02 nats is less than a quarter of the 0.09 that tripling a dense model's size "
        "gains in the paper's Table 8",
        fails={
            "half of the tokens": (
                against_many_places(NO_PLACES, metric),
                "dropping half of the tokens does harm; it would not if the capacity factor did "
                "not reach the network that is fine-tuned",
            )
        },
        doubt=other_drops,
        top=True,
        **declared,
    )


CLAIMS = (
    flips(
        "S5a",
        "compute",
        "sparse",
        reported="dense / sparse: 100 / 98.2 on CB (250 examples), 95.2 / 93.3 on WSC (259), "
        "85.1 / 87.4 on SuperGLUE",
        where="Figure 3 and Table 10",
    ),
    flips("S5b", "loss", STOPPED, doubt=unequal, source="derived"),
    wants(
        "S6a",
        "Fine-tuning a sparse network works better with a higher learning rate than a dense one.",
        "rate",
        "slope of the test cross-entropy per doubling of the learning rate (nats), sparse - dense",
        region=BELOW_ZERO,
        reported="sparse 85.92 / 85.25 / 84.88 at 1e-3 / 5e-4 / 1e-4, dense 83.98 / 84.40 / 84.73 "
        "(our means over batch sizes)",
    ),
    wants(
        "S6c",
        "Fine-tuning a sparse network works better with a smaller batch than a dense one, each "
        "sequence being seen as often.",
        "batch",
        "slope of the test cross-entropy per doubling of the batch at equal epochs (nats), sparse "
        "- dense",
        region=ABOVE_ZERO,
        reported="sparse 85.17 / 85.38 / 85.50 at 1M / 262k / 65k tokens, dense 84.48 / 84.60 / "
        "84.03 (our means over rates)",
    ),
    harmless(
        "S7a",
        WIDE,
        "tested with a capacity that drops almost none",
        reported="SuperGLUE 86.5 with a capacity factor of 0.75 (10.6% dropped), 85.8 with 2.0 "
        "(none)",
        where="Table 5",
    ),
    harmless("S7b", LOSS, "tested with the capacity of fine-tuning", source="derived"),
)


# --- tables and a figure -------------------------------------------------------------------------


def tables(
    pretraining: Mapping[str, Any], values: Mapping[str, Any], grid: Mapping[str, Any]
) -> list[Table]:
    """Where fine-tuning starts, its capacities, and its batch sizes and rates."""
    return [starts(pretraining), capacities(values), losses_of(grid)]


def starts(pretraining: Mapping[str, Any]) -> Table:
    """One row per start."""
    rows = [
        {
            "network": name,
            "rate": found["learning_rate"],
            "pretraining steps": float(np.median(found["steps"])),
            **charts.plus_minus("test loss (nats)", found["loss"]),
        }
        for name, found in pretraining.items()
    ]
    return charts.table(
        "finetuning-pretraining",
        "Where fine-tuning starts",
        rows,
        "Test losses on the old clusters: means over seeds with half of their 95% interval; "
        "medians of steps. Sparse and dense have equal FLOPs per step. The stopped network is at "
        "the evaluation whose validation loss is nearest to the dense network's last one.",
    )


def capacities(values: Mapping[str, Any]) -> Table:
    """One row per capacity factor of fine-tuning, on the most examples."""
    task = max(values["tasks"].values(), key=lambda task: task["size"])
    rows = [
        {
            "arm": name,
            "dropped (%)": 100 * float(np.mean(found["dropped_in_training"])),
            **charts.plus_minus("tested as fine-tuned (nats)", found[LOSS]),
            f"tested with {MANY_PLACES:g} (nats)": float(np.mean(found[WIDE])),
        }
        for name, found in ((name, arm["metrics"]) for name, arm in task["arms"].items())
        if WIDE in found
    ]
    return charts.table(
        "finetuning-capacity",
        "Capacity in fine-tuning and in testing",
        rows,
        "Most examples; means over seeds, and over all of fine-tuning for the dropped share.",
    )


def losses_of(grid: Mapping[str, Any]) -> Table:
    """One row per network, batch size and learning rate."""
    rows = [
        {
            "network": model,
            "batch (sequences)": int(batch),
            "rate": float(rate),
            "test loss (nats)": float(np.median(losses)),
        }
        for model, batches in grid.items()
        for batch, rates in batches.items()
        for rate, losses in rates.items()
    ]
    title = "Batch size and learning rate of fine-tuning"
    note = "Medians over seeds. Every batch size sees each sequence as often."
    return charts.table("finetuning-grid", title, rows, note)


def over_grid(grid: Mapping[str, Any], seeds: int) -> Figure:
    """Test loss against the learning rate for every batch size."""
    series = [
        replace(
            charts.points(
                f"{model}, batch {batch}", [float(rate) for rate in rates], list(rates.values())
            ),
            style="line",
        )
        for model, batches in grid.items()
        for batch, rates in batches.items()
    ]
    return Figure(
        "finetuning-grid",
        "Sparse and dense networks, fine-tuned at several learning rates",
        f"Test loss on a new cluster over {seeds} seeds: {charts.RANGE}.",
        [Panel("rate and batch", "learning rate", "test loss (nats)", series, x_scale="log")],
    )
