"""The data sets: the same bits for everyone, checked at every door, never a silent stand-in."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import http.server
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from jaxtrends import data, mnist
from jaxtrends.errors import Problem
from scripts import import_mnist
from tests import free_port

NAMES = [original.name for original in mnist.ORIGINALS]


def idx(array: np.ndarray) -> bytes:
    """An IDX file, written independently of the library's own header."""
    head = b"\x00\x00\x08" + bytes([array.ndim])
    return head + b"".join(struct.pack(">I", size) for size in array.shape) + array.tobytes()


@pytest.fixture
def arrays(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """A small MNIST in place of the real one: 230 training and 100 test images of noise."""
    generator = np.random.default_rng(0)
    arrays, originals = [], []
    for original, size in zip(mnist.ORIGINALS, (230, 230, 100, 100), strict=True):
        shape = (size, *original.shape[1:])
        array = generator.integers(0, 256 if len(shape) == 3 else 10, shape, np.uint8)
        digest = hashlib.sha256(idx(array)).hexdigest()
        arrays.append(array)
        originals.append(dataclasses.replace(original, shape=shape, sha256=digest))
    monkeypatch.setattr(mnist, "ORIGINALS", tuple(originals))
    monkeypatch.setattr(mnist, "IMAGES_A_RECORD", 50)  # 30 in the last one
    monkeypatch.setitem(data.SIZES, "mnist", (28, (0, 40, 0)))
    return arrays


@pytest.fixture
def source(arrays: list[np.ndarray], tmp_path: Path) -> Path:
    """The four files: images gzipped, labels raw."""
    directory = tmp_path / "source"
    directory.mkdir()
    for name, array in zip(NAMES, arrays, strict=True):
        if array.ndim == 3:
            (directory / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (directory / name).write_bytes(idx(array))
    return directory


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "tensorflow_datasets"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was tried")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


# The sets that need no preparation


@pytest.mark.parametrize(
    ("name", "sizes", "side", "digest"),
    [
        (
            "mnist_5k",
            (4000, 500, 500),
            28,
            "9990125de7a953be99332fc739d8fbb794aeddf2c96b6dd87b746e4279c8c35f",
        ),
        (
            "digits",
            (1397, 200, 200),
            8,
            "4b706ab8f3dddf5dffcc65e53f51362d9b621a5528ceaf4e1f0ae256eb9e987d",
        ),
    ],
)
def test_packaged_sets_have_known_bits(
    offline: None, name: str, sizes: tuple[int, ...], side: int, digest: str
) -> None:
    dataset = data.load(name)
    assert (dataset.name, dataset.classes, dataset.digest) == (name, 10, digest)
    splits = (dataset.train, dataset.validation, dataset.test)
    images = set()
    for split, size in zip(splits, sizes, strict=True):
        assert split.inputs.shape == (size, side, side, 1)
        assert split.labels.shape == (size,)
        assert (split.inputs.dtype, split.labels.dtype) == (np.float32, np.int32)
        assert (split.inputs.min(), split.inputs.max()) == (0, 1)
        counts = np.bincount(split.labels)
        assert len(counts) == 10
        assert counts.max() - counts.min() <= (0 if name == "mnist_5k" else 7)
        assert (np.diff(split.labels) < 0).any()  # not sorted by class
        images |= {image.tobytes() for image in split.inputs}
    assert len(images) == sum(sizes)  # neither set repeats an image, within or across splits


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    oracle = load_digits()
    expected = {
        (image.astype(np.float32).tobytes(), label)
        for image, label in zip(oracle.images / 16, oracle.target, strict=True)
    }
    dataset = data.load("digits")
    given = {
        (image.tobytes(), label)
        for split in (dataset.train, dataset.validation, dataset.test)
        for image, label in zip(split.inputs, split.labels, strict=True)
    }
    assert given == expected


def test_digest_sees_every_bit() -> None:
    split = data.Split(np.zeros((2, 1, 1, 1), np.float32), np.zeros(2, np.int32))
    other = data.Split(np.zeros((2, 1, 1, 1), np.float32), np.array([0, 1], np.int32))
    digests = {
        data._dataset("digits", *splits, licence="", origin="").digest
        for splits in [(split, split, split), (other, split, split), (split, split, other)]
    }
    assert len(digests) == 3


def share_errors(labels: np.ndarray, part: np.ndarray) -> np.ndarray:
    """How far each class's rows in a part are from its share, in units of what is promised."""
    classes, counts = np.unique(labels, return_counts=True)
    held = np.array([np.sum(labels[part] == label) for label in classes])
    allowed = 1 + counts * len(classes) / len(labels)
    return np.abs(held - counts * len(part) / len(labels)) / allowed


@hypothesis.given(
    strategies.lists(strategies.integers(0, 4), min_size=1, max_size=200),
    strategies.tuples(strategies.floats(0, 1), strategies.floats(0, 1)),
)
def test_split_is_disjoint_complete_and_stratified(
    values: list[int], cuts: tuple[float, float]
) -> None:
    labels = np.array(values)
    bounds = [0, *sorted(int(cut * len(labels)) for cut in cuts), len(labels)]
    sizes = np.diff(bounds).tolist()
    parts = data.stratified_split(labels, sizes, "name")
    assert [len(part) for part in parts] == sizes
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    for part in parts:
        assert (share_errors(labels, part) <= 1 + 1e-9).all()


def test_split_of_sorted_rows_would_not_be_stratified() -> None:
    labels = np.repeat(np.arange(10), 100)
    assert share_errors(labels, np.arange(200)).max() > 10
    assert share_errors(labels, data.stratified_split(labels, (200, 800), "name")[0]).max() == 0


def test_split_is_fixed_and_salted() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    first, second = data.stratified_split(labels, (4, 4), "name")
    ranks = [hashlib.sha256(f"name/{row}".encode()).digest() for row in range(8)]
    zeros, ones = (
        sorted(range(4), key=ranks.__getitem__),
        sorted(range(4, 8), key=ranks.__getitem__),
    )
    assert first.tolist() == sorted(zeros[:2] + ones[:2], key=ranks.__getitem__)
    assert second.tolist() == sorted(zeros[2:] + ones[2:], key=ranks.__getitem__)
    labels = np.zeros(100, int)
    one, another = (data.stratified_split(labels, (50, 50), salt)[0] for salt in ("a", "b"))
    assert one.tolist() != another.tolist()


def test_split_refuses_sizes_that_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="5 rows cannot be split into"):
        data.stratified_split(np.zeros(5, int), (2, 2), "name")


def test_unknown_name_names_the_choices() -> None:
    with pytest.raises(Problem, match=r"no data set 'mnist5k'.*mnist_5k, digits, mnist.*mean 'mni"):
        data.load("mnist5k")


def test_package_that_is_not_installed() -> None:
    with pytest.raises(Problem, match="package jaxtrends_absent is not installed"):
        data._packaged("jaxtrends_absent", "table.csv.gz", "")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read"),
        (b"not gzip", "cannot be read"),
        (gzip.compress(b"0,1,2,3,0\n")[:-9], "cannot be read"),
        (gzip.compress(b"0,1,2,3,0\n"), "not the expected file"),
    ],
    ids=["missing", "not gzip", "truncated", "another"],
)
def test_packaged_file_that_is_missing_damaged_or_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    package = tmp_path / "jaxtrends_carrier"
    package.mkdir()
    (package / "__init__.py").touch()
    if content is not None:
        (package / "table.csv.gz").write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Problem, match=f"{complaint}.*reinstall jaxtrends_carrier"):
        data._packaged("jaxtrends_carrier", "table.csv.gz", "0" * 64)


# The full MNIST


def test_mnist_is_prepared_and_read_without_a_network(
    offline: None,
    arrays: list[np.ndarray],
    source: Path,
    data_dir: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert import_mnist.main([str(source), "--data-dir", str(data_dir)]) == 0
    assert "Prepared MNIST in" in capfd.readouterr().out
    dataset = data.load("mnist", data_dir)
    assert capfd.readouterr() == ("", "")
    assert "tensorflow" not in sys.modules
    train_images, train_labels, test_images, test_labels = arrays
    # The test set is the official one, in its order.
    np.testing.assert_array_equal(dataset.test.inputs[..., 0], test_images / np.float32(255))
    np.testing.assert_array_equal(dataset.test.labels, test_labels)
    # Training and validation are the official training set, each image with its own label.
    assert (len(dataset.train.labels), len(dataset.validation.labels)) == (190, 40)
    labels_of = {
        (image / np.float32(255)).tobytes(): label
        for image, label in zip(train_images, train_labels, strict=True)
    }
    for split in (dataset.train, dataset.validation):
        for image, label in zip(split.inputs, split.labels, strict=True):
            assert labels_of.pop(image.tobytes()) == label
    assert not labels_of


def test_mnist_prepared_again_takes_the_place_of_a_damaged_one(
    source: Path, data_dir: Path
) -> None:
    prepared = data.prepare_mnist(source, data_dir)
    intact = data.load("mnist", data_dir).digest
    next(prepared.glob("*train*")).write_bytes(b"")
    assert data.prepare_mnist(source, data_dir) == prepared
    assert data.load("mnist", data_dir).digest == intact


def test_mnist_default_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data.default_data_dir() == tmp_path / "tensorflow_datasets"
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "elsewhere"))
    assert data.prepare_mnist(source).is_relative_to(tmp_path / "elsewhere")
    assert data.load("mnist").name == "mnist"


@pytest.mark.parametrize("exists", [True, False])
def test_mnist_not_prepared_says_how(offline: None, data_dir: Path, exists: bool) -> None:
    if exists:
        data_dir.mkdir()
    with pytest.raises(Problem) as caught:
        data.load("mnist", data_dir)
    assert f"python -m scripts.import_mnist DIRECTORY --data-dir {data_dir}`" in str(caught.value)
    assert f"python -m scripts.import_mnist --download --data-dir {data_dir}`" in str(caught.value)


def test_mnist_directory_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", refuse)  # the superuser may read whatever its mode
    with pytest.raises(Problem, match="cannot be read: Permission denied"):
        data.load("mnist", data_dir)


def test_mnist_without_array_record(
    monkeypatch: pytest.MonkeyPatch, source: Path, data_dir: Path
) -> None:
    monkeypatch.setattr(mnist.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(Problem, match=r"array_record.*choose mnist_5k or digits"):
        data.load("mnist", data_dir)
    with pytest.raises(Problem, match="array_record"):
        data.prepare_mnist(source, data_dir)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("pattern", "damages"),
    [
        ("*train.array_record*", (truncate, flip, empty, Path.unlink)),
        ("*test.array_record*", (truncate, flip, empty, Path.unlink)),
        ("dataset_info.json", (truncate, empty, Path.unlink)),
        ("features.json", (truncate, empty, Path.unlink)),
    ],
)
def test_prepared_mnist_that_was_damaged(
    source: Path, data_dir: Path, pattern: str, damages: tuple[Callable[[Path], None], ...]
) -> None:
    (path,) = data.prepare_mnist(source, data_dir).glob(pattern)
    intact = path.read_bytes()
    for damage in damages:
        damage(path)
        with pytest.raises(Problem, match=r"is damaged \(.*prepare it with `python -m scripts\."):
            data.load("mnist", data_dir)
        path.write_bytes(intact)
        data.load("mnist", data_dir)


def test_prepared_mnist_that_was_altered(
    arrays: list[np.ndarray], source: Path, data_dir: Path
) -> None:
    """Files that TFDS finds in order, but that hold other data."""
    other = [array.copy() for array in arrays]
    other[1][7] = (other[1][7] + 1) % 10
    mnist._write(*other, data_dir)
    with pytest.raises(Problem, match="no longer the original train-labels-idx1-ubyte"):
        data.load("mnist", data_dir)


# Faults of the four files


def damaged_gzip(source: Path) -> None:
    truncate(source / f"{NAMES[0]}.gz")


def truncated_raw(source: Path) -> None:
    truncate(source / NAMES[1])


def wrong_magic(source: Path) -> None:
    content = (source / NAMES[1]).read_bytes()
    (source / NAMES[1]).write_bytes(b"\x00\x00\x0d" + content[3:])


def wrong_shape(source: Path) -> None:
    (source / f"{NAMES[0]}.gz").write_bytes(gzip.compress(idx(np.zeros((9, 28, 28), np.uint8))))


def other_content(source: Path) -> None:
    flip(source / NAMES[3])


def missing(source: Path) -> None:
    (source / NAMES[3]).unlink()


def unreadable(source: Path) -> None:
    (source / NAMES[3]).unlink()
    (source / NAMES[3]).mkdir()


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (damaged_gzip, r"train-images-idx3-ubyte\.gz is truncated or damaged"),
        (truncated_raw, "train-labels-idx1-ubyte is truncated .* raw bytes instead of 238"),
        (wrong_magic, "is not the IDX file train-labels-idx1-ubyte: its header should be"),
        (wrong_shape, r"is not the IDX file train-images-idx3-ubyte.*\(230, 28, 28\)"),
        (other_content, "is not the original t10k-labels-idx1-ubyte: the SHA-256"),
        (missing, "has no t10k-labels-idx1-ubyte, raw or .gz: it needs all four"),
        (unreadable, "t10k-labels-idx1-ubyte cannot be read"),
    ],
)
def test_files_that_are_not_the_originals(
    source: Path,
    data_dir: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
    complaint: str,
) -> None:
    damage(source)
    with pytest.raises(Problem, match=complaint):
        data.prepare_mnist(source, data_dir)
    assert not data_dir.exists()
    assert import_mnist.main([str(source), "--data-dir", str(data_dir)]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_no_such_source_directory(tmp_path: Path, data_dir: Path) -> None:
    with pytest.raises(Problem, match="There is no directory"):
        data.prepare_mnist(tmp_path / "absent", data_dir)


def test_data_directory_that_cannot_be_written(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Problem, match="MNIST cannot be written to"):
        data.prepare_mnist(source, tmp_path / "file")


def test_original_digests_are_those_of_mnist() -> None:
    """Known from elsewhere: the first and last four hex digits of the raw files."""
    ends = [original.sha256[:8] + original.sha256[-4:] for original in mnist.ORIGINALS]
    assert ends == ["ba89104676db", "65a50cbb01c5", "0fa7898d4ce7", "ff7bcfd433f2"]


# The download, from a mirror on this machine


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch, source: Path) -> Iterator[Path]:
    """Serve the files as the mirror does, all gzipped; yields the directory behind it."""
    for name in NAMES:
        if (source / name).exists():
            (source / f"{name}.gz").write_bytes(gzip.compress((source / name).read_bytes()))
    handler = functools.partial(QuietHandler, directory=source)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(mnist, "MIRROR", f"http://127.0.0.1:{server.server_port}")
        yield source
        server.shutdown()
        thread.join()


def test_download(mirror: Path, data_dir: Path) -> None:
    assert import_mnist.main(["--download", "--data-dir", str(data_dir)]) == 0
    downloaded = data.load("mnist", data_dir).digest
    data.prepare_mnist(mirror, data_dir)
    assert data.load("mnist", data_dir).digest == downloaded


def test_download_of_other_files(mirror: Path, data_dir: Path) -> None:
    (mirror / f"{NAMES[2]}.gz").write_bytes(b"a page in place of a file")
    with pytest.raises(Problem, match="is not the IDX file t10k-images-idx3-ubyte"):
        data.prepare_mnist(None, data_dir)


def test_download_from_a_mirror_that_lacks_a_file(mirror: Path, data_dir: Path) -> None:
    (mirror / f"{NAMES[2]}.gz").unlink()
    with pytest.raises(Problem, match=r"The download of MNIST from .* failed: .*404"):
        data.prepare_mnist(None, data_dir)


def test_download_without_a_network(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with free_port.held() as port:
        monkeypatch.setattr(mnist, "MIRROR", f"http://127.0.0.1:{port}")
        assert import_mnist.main(["--download", "--data-dir", str(data_dir)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: MNIST cannot be downloaded from")
    assert "(ConnectionError): check the network, or run `python -m scripts.import_mnist" in error
    assert not data_dir.exists()


@pytest.mark.parametrize("stalled", ["name look-up", "answer"])
def test_download_from_a_network_that_swallows_everything(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path, stalled: str
) -> None:
    released = threading.Event()
    monkeypatch.setattr(mnist, "PATIENCE", 0.2)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    if stalled == "name look-up":
        resolve = socket.getaddrinfo

        def wait(*arguments: object, **options: object) -> list:
            released.wait()
            return resolve("127.0.0.1", 1)

        monkeypatch.setattr(socket, "getaddrinfo", wait)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(mnist, "MIRROR", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(Problem, match=r"no answer within 0.2 s|Timeout"):
            data.prepare_mnist(None, data_dir)
    released.set()


def test_command_wants_one_source(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["directory", "--download"]):
        with pytest.raises(SystemExit) as caught:
            import_mnist.main(arguments)
        assert caught.value.code == 2
    assert "required" in capsys.readouterr().err


def test_importing_costs_nothing() -> None:
    heavy = ("tensorflow_datasets", "sklearn", "mlxtend", "array_record", "requests", "jax")
    check = f"import sys, jaxtrends.mnist, jaxtrends.data; print(sys.modules.keys() & {set(heavy)})"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
