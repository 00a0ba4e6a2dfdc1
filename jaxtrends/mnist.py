"""The full MNIST set as TFDS data: from four IDX files to array_record on disk to arrays.

The arrays are checked against the SHA-256 of the original files when written and whenever read, so
that "mnist" is MNIST, bit for bit. TensorFlow is never imported, and reading never uses the
network.

Only ``jaxtrends.data`` imports this module.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib.util
import io
import queue
import struct
import tempfile
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxtrends import paths
from jaxtrends.errors import Problem


@dataclass(frozen=True)
class Original:
    """One of the four files of MNIST: its name, its array's shape, the SHA-256 of its raw bytes."""

    name: str
    shape: tuple[int, ...]
    sha256: str


ORIGINALS = (
    Original(
        "train-images-idx3-ubyte",
        (60000, 28, 28),
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    Original(
        "train-labels-idx1-ubyte",
        (60000,),
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    Original(
        "t10k-images-idx3-ubyte",
        (10000, 28, 28),
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    Original(
        "t10k-labels-idx1-ubyte",
        (10000,),
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
MIRROR = "https://storage.googleapis.com/cvdf-datasets/mnist"  # as in TFDS
PATIENCE = 3.0  # seconds to wait for the mirror's first answer

IMAGE = (28, 28)  # height and width

# Not "mnist": TFDS has a builder of that name with another layout.
NAME = "jaxtrends_mnist"
VERSION = "1.0.0"
# Images per record: 70 records are read in 0.9 s, 70,000 records in 4 s.
IMAGES_A_RECORD = 1000


def prepare(source: Path | None, data_dir: Path) -> Path:
    """Write MNIST into ``data_dir`` as TFDS data, replacing what was prepared there before.

    Args:
        source: the directory of the four IDX files (raw or .gz); None downloads them.
        data_dir: the root of the TFDS data; created if missing.

    Returns:
        The directory with the data.

    Raises:
        Problem: a file is missing, damaged or not the original; the mirror does not answer; or
            ``data_dir`` is not writable.
    """
    _require_array_record()
    if source is None:
        # If one file fails, TFDS's threads may still be writing the others; report the first error.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
            arrays = _arrays(_download(Path(directory)))
    else:
        arrays = _arrays(_find(source))
    return _write(*arrays, data_dir)


def read(data_dir: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Read back what ``prepare`` wrote.

    Returns:
        uint8 arrays: training images (60000, 28, 28), training labels (60000,), test images
        (10000, 28, 28), test labels (10000,), in the order of the original files.

    Raises:
        Problem: nothing is prepared in ``data_dir``, or it is no longer MNIST.
    """
    _require_array_record()
    directory = data_dir / NAME / VERSION
    try:
        prepared = directory.is_dir()
    except OSError as fault:
        raise Problem(f"The data directory {data_dir} cannot be read: {fault.strerror}.") from fault
    here = f"--data-dir {paths.quoted(data_dir)}"
    cure = (
        f"prepare it with `python -m scripts.import_mnist DIRECTORY {here}` from the directory of "
        f"its four IDX files, or with `python -m scripts.import_mnist --download {here}`"
    )
    if not prepared:
        raise Problem(f"There is no MNIST in {data_dir}: {cure}.")
    import tensorflow_datasets as tfds

    try:
        sources = tfds.builder_from_directory(str(directory)).as_data_source()
        records = [
            sources[split].__getitems__(range(len(sources[split]))) for split in ("train", "test")
        ]
        arrays = tuple(
            np.concatenate([record[part] for record in split])
            for split in records
            for part in ("images", "labels")
        )
    except Exception as fault:  # damaged files raise RuntimeError, ParseError, OSError and more
        reason = str(fault).partition("\n")[0] or type(fault).__name__
        raise Problem(f"The MNIST in {directory} is damaged ({reason}): {cure}.") from fault
    for array, original in zip(arrays, ORIGINALS, strict=True):
        if _idx_digest(array) != original.sha256:
            raise Problem(
                f"The MNIST in {directory} is no longer the original {original.name} "
                f"(wrong SHA-256): {cure}."
            )
    return arrays


def _require_array_record() -> None:
    """Refuse if the package that reads and writes the files is missing."""
    if importlib.util.find_spec("array_record") is None:
        raise Problem(
            "The full MNIST needs the package array_record (for Linux, and Macs with Apple "
            "silicon), which is not installed here: choose mnist_5k or digits."
        )


def _find(source: Path) -> list[Path]:
    """The four files in the directory ``source``, in the order of ``ORIGINALS``."""
    if not source.is_dir():
        raise Problem(f"There is no directory {source}: name the one with the MNIST files.")
    found = []
    for original in ORIGINALS:
        candidates = [source / original.name, source / f"{original.name}.gz"]
        path = next(filter(Path.exists, candidates), None)
        if path is None:
            names = ", ".join(each.name for each in ORIGINALS)
            raise Problem(
                f"{source} has no {original.name}, raw or .gz: it needs all four of {names}."
            )
        found.append(path)
    return found


def _download(directory: Path) -> list[Path]:
    """Download the four files into ``directory`` with TFDS's download manager."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    urls = [f"{MIRROR}/{original.name}.gz" for original in ORIGINALS]
    _knock(urls[0])
    downloader.MAX_RETRIES = 2  # its default of 10 takes minutes without a network
    manager = tfds.download.DownloadManager(download_dir=directory)
    try:
        return [Path(path) for path in manager.download(urls)]
    except (OSError, tfds.download.DownloadError) as fault:
        raise Problem(f"The download of MNIST from {MIRROR} failed: {fault}.") from fault


def _knock(url: str) -> None:
    """Check within ``PATIENCE`` seconds whether ``url`` is reachable.

    TFDS's download manager has no time limit, and that of requests does not cover the DNS lookup,
    so the check runs in a thread that may be left behind.
    """
    import requests

    answers: queue.SimpleQueue[str] = queue.SimpleQueue()

    def ask() -> None:
        try:
            requests.head(url, timeout=PATIENCE).raise_for_status()
            answers.put("")
        except requests.RequestException as fault:
            answers.put(type(fault).__name__)

    threading.Thread(target=ask, daemon=True).start()
    try:
        fault = answers.get(timeout=PATIENCE)
    except queue.Empty:
        fault = f"no answer within {PATIENCE:g} s"
    if fault:
        raise Problem(
            f"MNIST cannot be downloaded from {url} ({fault}): check the network, or run "
            "`python -m scripts.import_mnist DIRECTORY` with the directory of its four IDX files."
        )


def _arrays(files: list[Path]) -> list[np.ndarray]:
    """Read and check the four files, given in the order of ``ORIGINALS``."""
    return [_read_idx(path, original) for path, original in zip(files, ORIGINALS, strict=True)]


def _read_idx(path: Path, original: Original) -> np.ndarray:
    """Read one IDX file, raw or gzipped, as the uint8 array that ``original`` describes."""
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
        raise Problem(f"{path} is truncated or damaged ({fault}): fetch it again.") from fault
    except OSError as fault:
        raise Problem(f"{path} cannot be read: {fault.strerror}.") from fault
    header = _idx_header(original.shape)
    if not content.startswith(header):
        raise Problem(
            f"{path} is not the IDX file {original.name}: its header should be {header.hex()} "
            f"(unsigned bytes of shape {original.shape}) but is {content[: len(header)].hex()}."
        )
    size = len(header) + int(np.prod(original.shape))
    if len(content) != size:
        raise Problem(
            f"{path} is truncated or damaged: {len(content)} raw bytes instead of {size}."
        )
    digest = hashlib.sha256(content).hexdigest()
    if digest != original.sha256:
        raise Problem(
            f"{path} is not the original {original.name}: the SHA-256 of its raw bytes is "
            f"{digest}, not {original.sha256}."
        )
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(original.shape)


def _idx_header(shape: tuple[int, ...]) -> bytes:
    """The header of an IDX file: two zeros, type 8 (unsigned byte), rank, big-endian sizes."""
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)


def _idx_digest(array: np.ndarray) -> str:
    """The SHA-256 of the IDX file for ``array``, in hex."""
    digest = hashlib.sha256(_idx_header(array.shape))
    digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def _write(
    train_images: np.ndarray,
    train_labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    data_dir: Path,
) -> Path:
    """Write the arrays with a TFDS builder; return their directory."""
    import tensorflow_datasets as tfds

    pairs = {"train": (train_images, train_labels), "test": (test_images, test_labels)}

    class Mnist(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """The original training and test sets, in their original order."""

        name = NAME
        VERSION = tfds.core.Version(VERSION)

        def _info(self) -> tfds.core.DatasetInfo:
            # Tensor instead of Image, which TFDS encodes with TensorFlow.
            features = {
                "images": tfds.features.Tensor(shape=(None, *IMAGE), dtype=np.uint8),
                "labels": tfds.features.Tensor(shape=(None,), dtype=np.uint8),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                description=f"MNIST, up to {IMAGES_A_RECORD} images per record.",
                features=tfds.features.FeaturesDict(features),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
            return {split: self._generate_examples(*pair) for split, pair in pairs.items()}

        def _generate_examples(self, images: np.ndarray, labels: np.ndarray) -> Iterator:
            for start in range(0, len(labels), IMAGES_A_RECORD):
                record = slice(start, start + IMAGES_A_RECORD)
                yield start, {"images": images[record], "labels": labels[record]}

    afresh = tfds.download.DownloadConfig(
        download_mode=tfds.download.GenerateMode.REUSE_CACHE_IF_EXISTS
    )
    tfds.disable_progress_bar()
    try:
        # TFDS prints sizes that it does not know.
        with contextlib.redirect_stdout(io.StringIO()):
            builder = Mnist(data_dir=str(data_dir), file_format="array_record")
            builder.download_and_prepare(download_config=afresh)
    except OSError as fault:
        raise Problem(f"MNIST cannot be written to {data_dir}: {fault}.") from fault
    return Path(builder.data_dir)
