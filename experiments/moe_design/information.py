"""How much the choice of expert tells about a token: mutual information and its null."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.moe_design import language
from experiments.moe_design.language import Network
from jaxtrends import transformer
from jaxtrends.study import Run
from jaxtrends.train import RAW

SHUFFLE_SEED = 20220217
BYTE_CLASSES = ("lower case", "upper case", "digit", "space", "punctuation", "not ASCII")


# --- kinds of tokens -----------------------------------------------------------------------------


def classes(network: Network) -> int:
    """The number of kinds of tokens: clusters, or byte classes."""
    return len(BYTE_CLASSES) if network.data == "english" else network.clusters


def byte_class(tokens: np.ndarray) -> np.ndarray:
    """The class of each byte, an index into `BYTE_CLASSES`: int array -> int array."""
    kinds = np.full(256, BYTE_CLASSES.index("punctuation"))
    for code in range(256):
        letter = chr(code)
        if code >= 128:
            kinds[code] = BYTE_CLASSES.index("not ASCII")
        elif letter.isspace():
            kinds[code] = BYTE_CLASSES.index("space")
        elif letter.isdigit():
            kinds[code] = BYTE_CLASSES.index("digit")
        elif letter.isalpha():
            kinds[code] = BYTE_CLASSES.index("lower case" if letter.islower() else "upper case")
    return kinds[tokens]


def kinds_of_test(network: Network, run: Run) -> np.ndarray:
    """The kind of each test token: its sequence's cluster, or its byte's class.

    The token that names the cluster is left out, since it gives the cluster away. Shape (held_out,
    context or one less) int32.
    """
    test = run.dataset(network.dataset).test
    rows = language.held_out_rows(len(test.inputs), network.held_out)
    if network.data == "english":
        return byte_class(test.inputs[rows]).astype(np.int32)
    return np.repeat(test.clusters[rows][:, None], network.context - 1, axis=1).astype(np.int32)


def data(network: Network, run: Run, shuffles: int = 0) -> dict[str, Any]:
    """The splits, the ``kinds`` of test tokens, and ``orders`` of their sequences.

    The first order is the original one. The others permute whole sequences, which preserves the
    correlation between neighbouring tokens: (1 + shuffles, held_out) int32.
    """
    kinds = kinds_of_test(network, run)
    generator, count = np.random.default_rng(SHUFFLE_SEED), len(kinds)
    orders = [np.arange(count), *(generator.permutation(count) for _ in range(shuffles))]
    return {
        **language.splits(network, run),
        "kinds": kinds,
        "orders": np.stack(orders).astype(np.int32),
    }


# --- the information in a choice -----------------------------------------------------------------


def joint_counts(kinds: Any, experts: Any, classes: int, count: int) -> jax.Array:
    """Counts of each kind and expert together: two int arrays of one shape -> (classes, count)."""
    return jnp.zeros((classes, count), jnp.int32).at[kinds, experts].add(1)


def counting(network: Network) -> language.Measure:
    """Each mixture's joint counts of kinds and first choices, in every order of the kinds.

    Named ``layer 2`` for the mixture in the second layer: (orders, classes, experts).
    """
    model, kinds = transformer.transformer(network.sizes()), classes(network)

    def measure(params: Any, data: Mapping[str, Any]) -> dict[str, jax.Array]:
        inputs = data["test"][0]
        reports = model.apply(params, inputs)[1]
        found = {}
        for (name, count), report in zip(mixtures(network).items(), reports, strict=True):
            chosen = report.expert[:, 0].reshape(inputs.shape)[:, -data["kinds"].shape[1] :]
            found[RAW + name] = jax.lax.map(
                lambda order, chosen=chosen, count=count: joint_counts(
                    data["kinds"][order], chosen, kinds, count
                ),
                data["orders"],
            )
        return found

    return measure


def mixtures(network: Network) -> dict[str, int]:
    """The mixture layers and their number of experts."""
    return {f"layer {n}": count for n, count in enumerate(network.layers, start=1) if count}


def normalised_information(joint: np.ndarray) -> float:
    """2 I(X; Y) / (H(X) + H(Y)) of counts (classes, experts): 0 if independent, 1 if identical.

    0 if both are constant.
    """
    counts = np.asarray(joint, np.float64)
    share = counts / counts.sum()
    rows, columns = _entropy(share.sum(axis=1)), _entropy(share.sum(axis=0))
    if rows + columns == 0:
        return 0.0
    return 2 * (rows + columns - _entropy(share.ravel())) / (rows + columns)


def _entropy(share: np.ndarray) -> float:
    positive = share[share > 0]
    return float(-(positive * np.log(positive)).sum())


def of_lanes(joint: np.ndarray) -> np.ndarray:
    """The information of counts (lanes, orders, classes, experts): (lanes, orders) float64."""
    return np.asarray([[normalised_information(one) for one in lane] for lane in joint])
