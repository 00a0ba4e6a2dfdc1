"""Training as pure functions of a state: what the sweep driver runs for every lane."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    import optax

    from jaxtrends.models import Model

PyTree = Any
Metrics = Mapping[str, jax.Array]
Loss = Callable[[jax.Array, jax.Array], jax.Array]
"""(outputs, labels) -> scalar."""

KEPT = "kept/"  # prefix of parameters among the metrics
RAW = "raw/"  # prefix of test metrics that the host processes and does not record


@dataclass(frozen=True)
class Trainer:
    """One training run as pure functions; ``lane`` is a pytree of the scalars that differ by lane.

    init:     (lane, data) -> state, a pytree of arrays.
    step:     (lane, state, data) -> (state, metrics): scalars, averaged between two log points.
    evaluate: (lane, state, data) -> metrics: scalars, at every log point; never on test data.
    test:     (lane, state, data) -> metrics: scalars, once, after training.
    stacked:  for the leaves of a state, like `jaxtrends.models.Model.stacked` for params.
    """

    init: Callable[[PyTree, PyTree], PyTree]
    step: Callable[[PyTree, PyTree, PyTree], tuple[PyTree, Metrics]]
    evaluate: Callable[[PyTree, PyTree, PyTree], Metrics]
    test: Callable[[PyTree, PyTree, PyTree], Metrics]
    stacked: Callable[[str, Any], bool] | None = None


def streams(seed: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The keys of a lane: initialisation, data order, noise.

    They depend only on the seed, so that methods trained with the same seed are paired.
    """
    root = jax.random.key(seed)
    return tuple(jax.random.fold_in(root, stream) for stream in range(3))


def drawn(lane: PyTree, step: jax.Array, split: PyTree, batch_size: int) -> PyTree:
    """The batch of a step: rows of a split's arrays, drawn with replacement.

    It depends only on the lane's seed and the step.
    """
    _, order, _ = streams(lane["seed"])
    rows = jax.random.randint(
        jax.random.fold_in(order, step), (batch_size,), 0, split[-1].shape[0], jnp.int32
    )
    return tuple(part[rows] for part in split)


def learner(params: PyTree, optimizer: optax.GradientTransformation) -> PyTree:
    """Trainable state: the ``params``, and the ``optimizer``'s state."""
    return {"params": params, "optimizer": relaxed(optimizer.init)(params)}


def descend(gradient: PyTree, learning: PyTree, optimizer: optax.GradientTransformation) -> PyTree:
    """A `learner` after one step of its optimizer."""
    params = learning["params"]
    update, memory = relaxed(optimizer.update)(gradient, learning["optimizer"], params)
    return {"params": jax.tree.map(jnp.add, params, update), "optimizer": memory}


@dataclass(frozen=True)
class PerLane:
    """A loss whose coefficients belong to the lane: lane -> loss."""

    of: Callable[[PyTree], Loss]


def supervised(
    model: Model,
    loss: Loss | PerLane,
    metrics: Mapping[str, Loss],
    estimator: Callable[..., tuple[jax.Array, PyTree]],
    optimizer: Callable[[PyTree], optax.GradientTransformation],
    batch_size: int,
) -> Trainer:
    """Train a model on labelled data with any gradient estimator.

    A lane is a dict with an integer ``seed`` and whatever ``optimizer`` and the loss need
    (``learning_rate``); if it has ``start``, these are its initial parameters. Data is a dict of
    splits ``train``, ``validation`` and ``test``, each (inputs, labels). Batches are drawn with
    replacement, so step t of a seed always sees the same batch.

    Args:
        model:      the network.
        loss:       (outputs, labels) -> scalar, minimised; or a `PerLane` loss.
        metrics:    name -> (outputs, labels) -> scalar, evaluated in addition to the loss.
        estimator:  (loss of the parameters, params, key) -> (value, gradient).
        optimizer:  lane -> optax transformation.
        batch_size: rows per step.
    """

    def loss_of(lane: PyTree) -> Loss:
        return loss.of(lane) if isinstance(loss, PerLane) else loss

    def init(lane: PyTree, data: PyTree) -> PyTree:
        key, _, _ = streams(lane["seed"])
        params = lane["start"] if "start" in lane else model.init(key)
        return {**learner(params, optimizer(lane)), "step": jnp.zeros((), jnp.int32)}

    def step(lane: PyTree, state: PyTree, data: PyTree) -> tuple[PyTree, Metrics]:
        _, _, noise = streams(lane["seed"])
        batch, targets = drawn(lane, state["step"], data["train"], batch_size)
        value, gradient = estimator(
            lambda params: loss_of(lane)(model.apply(params, batch), targets),
            state["params"],
            jax.random.fold_in(noise, state["step"]),
        )
        learned = descend(gradient, state, optimizer(lane))
        return {**learned, "step": state["step"] + 1}, {"training_loss": value}

    def score(name: str) -> Callable[[PyTree, PyTree, PyTree], Metrics]:
        def scores(lane: PyTree, state: PyTree, data: PyTree) -> Metrics:
            inputs, labels = data[name]
            outputs = model.apply(state["params"], inputs)
            measured = {"loss": loss_of(lane), **metrics}
            return {f"{name}_{key}": measure(outputs, labels) for key, measure in measured.items()}

        return scores

    return Trainer(init, step, score("validation"), score("test"), model.stacked)


def keeping(trainer: Trainer, *, test: bool = True) -> Trainer:
    """The same trainer, with its final parameters among its metrics; see `kept`.

    Args:
        trainer: its state must be a dict with ``params``.
        test:    whether it also uses test data.
    """

    def tested(lane: PyTree, state: PyTree, data: PyTree) -> Metrics:
        paths = jax.tree_util.tree_flatten_with_path(state["params"])[0]
        found = {KEPT + "/".join(str(part.key) for part in path): leaf for path, leaf in paths}
        return {**(trainer.test(lane, state, data) if test else {}), **found}

    return replace(trainer, test=tested)


def kept(metrics: Mapping[str, np.ndarray]) -> list[PyTree]:
    """The final parameters of each lane of a `keeping` trainer: nested dicts of arrays."""
    found = {name.removeprefix(KEPT): v for name, v in metrics.items() if name.startswith(KEPT)}
    count = len(next(iter(found.values())))
    lanes: list[PyTree] = [{} for _ in range(count)]
    for name, leaves in found.items():
        *branches, last = name.split("/")
        for lane, leaf in zip(lanes, leaves, strict=True):
            for branch in branches:
                lane = lane.setdefault(branch, {})
            lane[last] = leaf
    return lanes


def relaxed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Allow standard promotion: optax mixes Python and array numbers, which strict refuses."""

    def relaxed(*arguments: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):
            return function(*arguments)

    return relaxed


def decayed_sgd(rate: float) -> Callable[[PyTree], optax.GradientTransformation]:
    """Plain SGD at the lane's ``learning_rate`` times exp(-rate t), with t in steps."""

    def optimizer(lane: PyTree) -> optax.GradientTransformation:
        import optax

        def schedule(step: jax.Array) -> jax.Array:
            return lane["learning_rate"] * jnp.exp(-rate * step.astype(jnp.float32))

        return optax.sgd(schedule)

    return optimizer
