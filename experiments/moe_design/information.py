"""How much the choice of an expert tells of what a token is: mutual information and its null."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.moe_design import language
from experiments.moe_design.language import Network
from jaxtrends import transformer

SHUFFLE_SEED = 20220217
BYTE_CLASSES = ("lower case", "upper case", "digit", "space", "punctuation", "not ASCII")


def joint_counts(labels: np.ndarray, experts: np.ndarray, classes: int, count: int) -> np.ndarray:
    """How often each label meets each expert: two int arrays of one shape -> (classes, count)."""
    pairs = np.asarray(labels).ravel() * count + np.asarray(experts).ravel()
    return np.bincount(pairs, minlength=classes * count).reshape(classes, count)


def normalised_information(joint: np.ndarray) -> float:
    """2 I(X; Y) / (H(X) + H(Y)) of counts (classes, experts): 0 for independence, 1 for identity.

    0 where both are constant.
    """
    share = np.asarray(joint, np.float64) / np.sum(joint)
    rows, columns = _entropy(share.sum(axis=1)), _entropy(share.sum(axis=0))
    if rows + columns == 0:
        return 0.0
    return 2 * (rows + columns - _entropy(share.ravel())) / (rows + columns)


def _entropy(share: np.ndarray) -> float:
    positive = share[share > 0]
    return float(-(positive * np.log(positive)).sum())


def shuffled_information(
    labels: np.ndarray, experts: np.ndarray, classes: int, count: int, shuffles: int
) -> np.ndarray:
    """The same where sequences have the labels of others: (n, T), (n, T) int -> (shuffles,).

    Whole sequences are exchanged, so that what neighbouring tokens have in common stays.
    """
    generator = np.random.default_rng(SHUFFLE_SEED)
    orders = [generator.permutation(len(labels)) for _ in range(shuffles)]
    return np.asarray(
        [
            normalised_information(joint_counts(labels[order], experts, classes, count))
            for order in orders
        ]
    )


def byte_class(tokens: np.ndarray) -> np.ndarray:
    """The class of each byte, a number into `BYTE_CLASSES`: int array -> int array."""
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


def labels_of_test(data: Any, network: Network) -> tuple[np.ndarray, int]:
    """What each token of the test data is: its sequence's cluster, or its byte's class.

    Returns (held_out, context) int labels and the number of classes.
    """
    rows = language.held_out_rows(len(data.test.inputs), network.held_out)
    inputs = data.test.inputs[rows]
    if network.data == "english":
        return byte_class(inputs), len(BYTE_CLASSES)
    return np.repeat(data.test.clusters[rows][:, None], inputs.shape[1], axis=1), network.clusters


def first_choices(network: Network) -> language.Extra:
    """Each token's first choice in every mixture: ``experts`` (mixtures, held_out, context)."""
    model = transformer.transformer(language.sizes_of(network))

    def measure(params: Any, data: Mapping[str, Any]) -> dict[str, Any]:
        inputs = data["test"][0]
        reports = model.apply(params, inputs)[1]
        return {"experts": jnp.stack([r.expert[:, 0].reshape(inputs.shape) for r in reports])}

    return measure


def without_name(array: np.ndarray, network: Network) -> np.ndarray:
    """Leave out the token that names the cluster, which tells of it by itself: (..., context)."""
    return array[..., 1:] if network.data == "lookup" else array
