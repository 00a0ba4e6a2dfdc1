"""What every study trains: a small transformer with experts on sequences, a lane at a time.

The coefficients of the losses are numbers of a lane, like its learning rate, so that arms which
differ in nothing else share one compiled program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxtrends import estimators, models, moe, optimizers, sequences, train, transformer
from jaxtrends.errors import Problem, choose, require_positive
from jaxtrends.study import Run
from jaxtrends.transformer import Transformer

TUNING_SEED_OFFSET = 1_000_000
DATA = ("lookup", "english")


@dataclass(frozen=True)
class Network:
    """A network, its data and how long it is trained."""

    data: str = "lookup"
    """lookup (a made-up task of several clusters) or english (Wikipedia as bytes)."""
    clusters: int = 8
    """Clusters of the lookup task."""
    context: int = 16
    """Tokens of a sequence."""
    training: int = 20_000
    """Training sequences of the lookup task."""
    held_out: int = 64
    """Sequences that a validation, and the test, looks at."""
    width: int = 32
    """Width of the network."""
    heads: int = 2
    """Heads of the attention; they divide the width."""
    hidden: int = 64
    """Hidden width of a dense layer, and of each expert."""
    layers: tuple[int, ...] = (0, 8)
    """For every layer the number of its experts, or 0 where it is dense."""
    top: int = 1
    """Experts that each token chooses."""
    capacity_factor: float = 1.25
    """Places of an expert as a multiple of its fair share of tokens, however many each chooses."""
    group: int = 0
    """Tokens that are routed together, in training and in evaluation; 0 for those of a batch."""
    batch: int = 32
    """Sequences of a step."""
    balance: float = 1e-2
    """Coefficient of the load-balancing loss (ST-MoE's)."""
    z: float = 0.0
    """Coefficient of the router's z-loss (ST-MoE's is 0.001)."""
    steps: int = 300
    """Training steps."""
    log_every: int = 10
    """Steps between two evaluations; divides --steps."""
    warm_up: int = 20
    """Steps in which Adam's rate rises to what it stays at."""
    rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2, 0.1)
    """Learning rates that each arm is tuned over."""
    tuning_seeds: int = 2
    """Seeds of each tuning point."""
    seeds: int = 0
    """Reporting seeds; those of --seeds if 0."""


# What every study's smoke trains: one program serves them all where nothing else differs.
SMOKE = Network(
    clusters=2,
    training=200,
    held_out=8,
    width=16,
    hidden=16,
    layers=(4,),
    batch=8,
    group=64,
    steps=8,
    log_every=2,
    warm_up=2,
    rates=(1e-2,),
    tuning_seeds=1,
    seeds=2,
)


def vocabulary(network: Network) -> int:
    """Tokens that the data have."""
    return 256 if network.data == "english" else sequences.SYMBOLS + network.clusters


def sizes_of(network: Network, **mixture: Any) -> Transformer:
    """The network's sizes; ``mixture`` names settings of `jaxtrends.moe.Mixture` to change."""
    routed = moe.Mixture(top=network.top, capacity_factor=network.capacity_factor)
    return Transformer(
        vocabulary=vocabulary(network),
        context=network.context,
        width=network.width,
        heads=network.heads,
        hidden=network.hidden,
        experts=network.layers,
        mixture=replace(routed, **mixture),
        group=network.group or network.batch * network.context,
    )


def check(flag: str, network: Network, **mixture: Any) -> None:
    """Refuse a network that cannot be trained, before anything is compiled.

    Raises:
        Problem: names what is at fault.
    """
    choose("data", network.data, DATA)
    counts = ("clusters", "context", "training", "held_out", "batch", "steps", "log_every")
    counts = (*counts, "tuning_seeds")
    require_positive(**{f"{flag}.{name}": getattr(network, name) for name in counts})
    require_positive(**{f"{flag}.rates[{i}]": rate for i, rate in enumerate(network.rates)})
    if not network.rates or not any(network.layers):
        raise Problem(f"--{flag} needs a learning rate and a layer with experts.")
    if min(*network.layers, 0) < 0 or min(network.group, network.balance, network.z) < 0:
        raise Problem(f"--{flag}: experts, group and coefficients must not be negative.")
    if network.data == "lookup" and network.context < 4:
        raise Problem(f"--{flag}.context must be at least 4 on the lookup task.")
    if network.steps % network.log_every:
        raise Problem(
            f"--{flag}.steps {network.steps} is not a multiple of --{flag}.log-every "
            f"{network.log_every}."
        )
    sizes = sizes_of(network, **mixture)
    transformer.check(sizes, network.batch)
    if network.held_out * network.context % sizes.group:
        raise Problem(
            f"--{flag}.held-out {network.held_out} sequences of {network.context} tokens are no "
            f"whole number of routing groups of {sizes.group}."
        )


# --- data ----------------------------------------------------------------------------------------


def data_name(network: Network) -> str:
    """What the network's data are called in a record."""
    if network.data == "english":
        return f"english/{network.context}"
    counts = (network.clusters, network.context, network.training, network.held_out)
    return "lookup/" + "-".join(map(str, counts))


def load(network: Network, seed: int) -> sequences.Sequences:
    """Make or read the network's data.

    Raises:
        Problem: the text is not there, or too short for its context.
    """
    if network.data == "lookup":
        return sequences.lookup(
            clusters=network.clusters,
            context=network.context,
            training=network.training,
            held_out=network.held_out,
            seed=seed,
        )
    text = sequences.english(network.context)
    least = min(len(split.inputs) for split in (text.train, text.validation, text.test))
    if least < network.held_out:
        raise Problem(
            f"The text has only {least} windows of {network.context} bytes in a split, and "
            f"{network.held_out} are to be held out: shorten the context, or hold out fewer."
        )
    return text


def arrays(data: sequences.Sequences, network: Network) -> dict[str, tuple[np.ndarray, ...]]:
    """The three splits as the trainer takes them; of held-out data as many as are looked at."""
    splits = {"train": (data.train.inputs, data.train.labels)}
    for name in ("validation", "test"):
        windows = getattr(data, name)
        rows = held_out_rows(len(windows.inputs), network.held_out)
        splits[name] = (windows.inputs[rows], windows.labels[rows])
    return splits


def held_out_rows(available: int, wanted: int) -> np.ndarray:
    """Rows spread evenly over a split: (wanted,) int64."""
    return np.arange(wanted, dtype=np.int64) * available // wanted


def chance(data: sequences.Sequences) -> float:
    """Cross-entropy, in nats, of a guess that knows how often each token comes and no more."""
    counts = np.bincount(data.train.labels.ravel(), minlength=data.vocabulary)
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())


# --- training ------------------------------------------------------------------------------------

Extra = Callable[[Any, Mapping[str, Any]], Mapping[str, jax.Array]]


def make_trainer(
    sizes: Transformer,
    network: Network,
    *,
    router_scale: float = 1.0,
    stabiliser: str = "",
    extra: Extra | None = None,
) -> train.Trainer:
    """Adam on cross-entropy and the router's losses; a lane has their coefficients beside its rate.

    Args:
        sizes:        of the transformer.
        network:      for the batch and the warm-up.
        router_scale: of the router's first weights, against `jaxtrends.moe.make_layer`'s.
        stabiliser:   a name of `STABILISERS`, or "".
        extra:        (params, data) -> what `Trainer.test` measures besides.
    """
    plain = transformer.transformer(sizes)

    def init(key: jax.Array) -> models.Params:
        return _scaled(plain.init(key), router_scale)

    model = replace(plain, init=init) if router_scale != 1 else plain
    watched = {
        "cross_entropy": transformer.next_token_loss,
        "squared_logsumexp": lambda outputs, labels: jnp.mean(
            jnp.stack([report.z for report in outputs[1]])
        ),
        **transformer.router_metrics(),
    }
    metrics = watched if any(sizes.experts) else {"cross_entropy": watched["cross_entropy"]}
    optimizer = STABILISERS[stabiliser](network.warm_up)

    def of(lane: Any) -> train.Trainer:
        return train.supervised(
            model,
            transformer.language_loss(lane["balance"], lane["z"], lane["group_balance"]),
            metrics,
            estimators.backprop,
            optimizer,
            network.batch,
        )

    def test(lane: Any, state: Any, data: Any) -> Mapping[str, jax.Array]:
        found = of(lane).test(lane, state, data)
        return {**found, **extra(state["params"], data)} if extra else found

    return train.Trainer(
        init=lambda lane, data: of(lane).init(lane, data),
        step=lambda lane, state, data: of(lane).step(lane, state, data),
        evaluate=lambda lane, state, data: of(lane).evaluate(lane, state, data),
        test=test,
        stacked=model.stacked,
    )


def _scaled(params: models.Params, scale: float) -> models.Params:
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * scale if _ends_in(path, "router") else leaf, params
    )


def _ends_in(path: tuple[Any, ...], name: str) -> bool:
    return path[-1].key == name


def _clipped(warm_up: int) -> Callable[[Any], Any]:
    """Adam whose update of each array, before the rate, has a root mean square of at most 0.1."""

    def optimizer(lane: Any) -> Any:
        import optax

        return optax.chain(
            optax.scale_by_adam(),
            optax.clip_by_block_rms(0.1),
            optax.scale_by_learning_rate(optimizers.warmed_up(lane["learning_rate"], warm_up)),
        )

    return optimizer


def _without_scales(warm_up: int) -> Callable[[Any], Any]:
    """Adam that leaves the scales of the norms at one."""

    def optimizer(lane: Any) -> Any:
        import optax

        return optax.chain(
            optimizers.adam(warm_up)(lane),
            optax.masked(
                optax.set_to_zero(),
                lambda params: jax.tree_util.tree_map_with_path(
                    lambda path, _: _ends_in(path, "scale"), params
                ),
            ),
        )

    return optimizer


STABILISERS: dict[str, Callable[[int], Callable[[Any], Any]]] = {
    "": optimizers.adam,
    "clipped updates": _clipped,
    "no learned scales": _without_scales,
}


def lanes(
    rates: Sequence[float],
    seeds: Sequence[int],
    coefficients: Mapping[str, float],
    per_seed: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Lanes of every rate with every seed, rates outermost; ``per_seed`` has further numbers."""
    count = len(rates) * len(seeds)
    return {
        **{name: np.tile(numbers, len(rates)) for name, numbers in (per_seed or {}).items()},
        "learning_rate": np.repeat(np.asarray(rates, np.float32), len(seeds)),
        "seed": np.tile(np.asarray(seeds, np.uint32), len(rates)),
        **{name: np.full(count, number, np.float32) for name, number in coefficients.items()},
    }


@dataclass(frozen=True)
class Arm:
    """One way of training: its trainer and the numbers of its lanes."""

    label: str
    trainer: train.Trainer
    balance: float
    z: float
    group_balance: float = 0.0

    def coefficients(self) -> dict[str, float]:
        """What the routers' losses are multiplied by."""
        return {"balance": self.balance, "z": self.z, "group_balance": self.group_balance}


def train_arm(
    run: Run,
    arm: Arm,
    kind: str,
    network: Network,
    data: Any,
    rates: Sequence[float],
    seeds: Sequence[int],
    *,
    test: bool,
    per_seed: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Train an arm at every rate on every seed: metrics with leading axes (rates, seeds)."""
    metrics = run.train(
        f"{arm.label}, {kind}",
        arm.trainer,
        lanes(rates, seeds, arm.coefficients(), per_seed),
        data,
        steps=network.steps,
        log_every=network.log_every,
        test=test,
    )
    shape = (len(rates), len(seeds))
    return {name: values.reshape(shape + values.shape[1:]) for name, values in metrics.items()}


def reporting_seeds(network: Network, config: Any) -> list[int]:
    """The seeds that results are reported of."""
    return [config.seed + lane for lane in range(network.seeds or config.seeds)]


def tuning_seeds(network: Network, config: Any) -> list[int]:
    """The seeds that rates are chosen on, none of them reported."""
    return [config.seed + TUNING_SEED_OFFSET + lane for lane in range(network.tuning_seeds)]


def final_loss(curve: np.ndarray) -> np.ndarray:
    """Mean over the last tenth of the points (at least one); infinite where it is not finite."""
    last = curve[..., -max(1, curve.shape[-1] // 10) :].astype(np.float64).mean(axis=-1)
    return np.where(np.isfinite(last), last, np.inf)


def choose_rate(rates: Sequence[float], losses: np.ndarray) -> dict[str, Any]:
    """The tuned point: lowest mean loss over tuning seeds, (rates, seeds) -> what was chosen.

    A rate at which any seed diverged cannot be chosen. ``edge`` says whether the choice lies on an
    end of the grid.
    """
    means = np.where(np.isfinite(losses).all(axis=1), losses.mean(axis=1), np.inf)
    best = int(np.argmin(means))
    edge = best in (0, len(rates) - 1) or not np.isfinite(means[best])
    return {"rates": list(rates), "loss": losses, "rate": rates[best], "edge": edge}


def tuned(
    run: Run, arm: Arm, network: Network, data: Any, config: Any
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Tune an arm's rate, then train it anew on the reporting seeds: the choice and the metrics.

    Metrics have a leading axis of seeds.
    """
    tried = train_arm(
        run, arm, "tuning", network, data, network.rates, tuning_seeds(network, config), test=False
    )
    chosen = choose_rate(network.rates, final_loss(tried["validation_cross_entropy"]))
    seeds = reporting_seeds(network, config)
    found = train_arm(run, arm, "reporting", network, data, [chosen["rate"]], seeds, test=True)
    metrics = {name: values[0] for name, values in found.items()}
    log(run, arm, network, seeds, chosen["rate"], metrics)
    return chosen, metrics


def untrained(
    run: Run, arm: Arm, network: Network, data: Any, seeds: Sequence[int]
) -> dict[str, np.ndarray]:
    """What an arm measures of nets that learned nothing: its own program at a rate of zero.

    Metrics have a leading axis of seeds.
    """
    still = replace(network, steps=network.log_every)
    found = train_arm(run, arm, "untrained", still, data, [0.0], seeds, test=True)
    return {name: values[0] for name, values in found.items()}


def log(
    run: Run,
    arm: Arm,
    network: Network,
    seeds: Sequence[int],
    rate: float,
    metrics: Mapping[str, np.ndarray],
) -> None:
    """Hand reported lanes to the tracker."""
    steps = np.arange(1, network.steps // network.log_every + 1) * network.log_every
    told = {"learning_rate": rate, "steps": network.steps, **arm.coefficients()}
    curves = {name: values for name, values in metrics.items() if values.ndim == 2}
    curves = {name: values for name, values in curves.items() if values.shape[1] == steps.size}
    run.log_lanes(arm.label, seeds, told, steps, curves)


def final_test(metrics: Mapping[str, np.ndarray], name: str = "test_cross_entropy") -> np.ndarray:
    """A final loss a seed, infinite where the lane is not finite: (seeds,) float64."""
    return np.where(np.isfinite(metrics[name]), metrics[name], np.inf).astype(np.float64)


def operations(network: Network, lanes: int, steps: int = 0) -> float:
    """Floating-point operations of training so many lanes, places counted whether filled or not."""
    tokens = network.batch * network.context * (steps or network.steps)
    return lanes * tokens * transformer.training_operations(sizes_of(network), padded=True)


def lanes_of(network: Network, seeds: int) -> int:
    """Lanes that one tuned arm trains."""
    return len(network.rates) * network.tuning_seeds + (network.seeds or seeds)
