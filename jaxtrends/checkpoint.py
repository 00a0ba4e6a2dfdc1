"""Checkpoints: a pytree of arrays, written in the background, with digests, and never incomplete.

Orbax writes each step into a temporary directory and renames it when complete, so a process killed
at any moment leaves the newest complete step. It does not notice corrupted bytes, and it casts to
any requested type; the manifest stored with every step guards against both.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxtrends import private
from jaxtrends.errors import Problem

PyTree = Any


class Checkpoints:
    """Asynchronous Orbax checkpoints of one pytree of arrays, each with a manifest of digests.

    The leaves may be JAX arrays of any type (on one device or sharded over several of this
    process), typed PRNG keys, NumPy arrays, NumPy scalars and Python numbers.

    Args:
        directory: Holds one subdirectory per step; created if missing. A relative path starts at
            the current directory.
        keep: Number of newest steps to keep on disk.
        report: Called with one sentence for every damaged step that ``restore`` finds.

    Raises:
        Problem: the directory cannot be created or read.
    """

    def __init__(
        self, directory: Path, *, keep: int = 2, report: Callable[[str], None] = warnings.warn
    ) -> None:
        import orbax.checkpoint as orbax

        self.directory = Path(directory).absolute()
        self._report = report
        self._newest: tuple[int, list[dict[str, Any]]] | None = None
        self._orbax = orbax
        # Orbax's threads print tracebacks of errors that also reach us as exceptions.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        if jax.process_count() > 1:
            private.let_orbax_save_alone()
        private.let_orbax_finish_writing()
        try:
            self._manager = orbax.CheckpointManager(
                self.directory,
                options=orbax.CheckpointManagerOptions(
                    max_to_keep=keep, cleanup_tmp_directories=True, lightweight_initialize=True
                ),
            )
        except OSError as error:
            raise Problem(
                f"Checkpoints cannot be kept in {self.directory} ({_first_line(error)}): "
                "choose another output directory."
            ) from error

    def save(self, step: int, state: PyTree) -> None:
        """Copy ``state`` to the host and write it as ``step`` in the background.

        After the call the caller may donate or change the arrays. It waits for an earlier step that
        is still being written. Saving the newest step again, unchanged, does nothing.

        Raises:
            Problem: there is already another state of this step or a later step, or this step or
                the one before could not be written.
        """
        paths, leaves = _flatten(state)
        arrays = [_to_host(leaf) for leaf in leaves]
        entries = [
            {"path": path, **_kind(leaf), "impl": _impl(leaf), "sha256": _digest(array)}
            for path, leaf, array in zip(paths, leaves, arrays, strict=True)
        ]
        if self._newest == (step, entries):
            return
        latest = self._manager.latest_step()
        if latest is not None and latest >= step:
            raise Problem(
                f"{self.directory} already has step {latest}, so step {step} cannot be added: "
                "resume that run, or choose another output directory."
            )
        save = self._orbax.args
        with self._writing(f"Step {step}"):
            self._manager.save(
                step,
                args=save.Composite(
                    # Orbax refuses empty arrays; they are restored from the manifest alone.
                    state=save.PyTreeSave({str(i): a for i, a in enumerate(arrays) if a.size}),
                    manifest=save.JsonSave({"leaves": entries, "sha256": _digest_json(entries)}),
                ),
            )
        self._newest = (step, entries)

    def restore(self, like: PyTree) -> tuple[int, PyTree] | None:
        """Return the newest intact step and its state, or None if there is none.

        A damaged step is reported and renamed to ``damaged-<step>``, and the step before is used.

        Args:
            like: A pytree with the saved structure. Each leaf, a ``jax.ShapeDtypeStruct`` or any
                value that can be saved, gives the type and shape to return; if it has a sharding
                (a committed array, or a struct with one), the array is placed accordingly.

        Raises:
            Problem: the checkpoint is intact but has other leaves, shapes or types than ``like``.
                Nothing is ever cast.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step, previous in itertools.zip_longest(steps, steps[1:]):
            try:
                entries, arrays = self._read(step)
            except Exception as error:
                self._set_aside(step)
                then = "there is no earlier one" if previous is None else f"trying {previous}"
                self._report(
                    f"The checkpoint of step {step} in {self.directory} is damaged "
                    f"({_first_line(error)}) and was set aside: {then}."
                )
                continue
            state = self._rebuild(entries, arrays, like)
            self._newest = (step, entries)
            return step, state
        return None

    def close(self) -> None:
        """Wait until everything is on disk.

        Raises:
            Problem: the last step could not be written.
        """
        with self._writing("The last step"):
            self._manager.close()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise Problem(
                f"{what} could not be written to {self.directory} ({_first_line(error)}): free "
                "space there or choose another output directory; earlier steps are unaffected."
            ) from error

    def _read(self, step: int) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
        """Read one step and check every byte of it against its manifest."""
        restore = self._orbax.args
        manifest = self._manager.restore(
            step, args=restore.Composite(manifest=restore.JsonRestore())
        ).manifest
        entries = manifest["leaves"]
        if _digest_json(entries) != manifest["sha256"]:
            raise ValueError("the manifest does not match its digest")
        arrays = []
        for index, entry in enumerate(entries):
            array = np.empty(entry["shape"], np.uint8 if entry["impl"] else entry["dtype"])
            if array.size:
                # One at a time: if one read of a batch fails, Orbax leaves the others running, and
                # they would print errors to the terminal.
                one = restore.PyTreeRestore({str(index): array}, partial_restore=True)
                array = self._manager.restore(step, args=restore.Composite(state=one)).state[
                    str(index)
                ]
            if _digest(array) != entry["sha256"]:
                raise ValueError(f"{entry['path']} does not match its digest")
            arrays.append(array)
        return entries, arrays

    def _rebuild(
        self, entries: list[dict[str, Any]], arrays: list[np.ndarray], like: PyTree
    ) -> PyTree:
        paths, leaves = _flatten(like)
        wanted = {path: _kind(leaf) for path, leaf in zip(paths, leaves, strict=True)}
        found = {entry["path"]: {k: entry[k] for k in ("dtype", "shape")} for entry in entries}
        if wanted != found:
            different = [
                f"{path} is {_words(found.get(path))} there but {_words(wanted.get(path))} here"
                for path in {**wanted, **found}
                if wanted.get(path) != found.get(path)
            ]
            more = f", and {len(different) - 1} more differ" if len(different) > 1 else ""
            raise Problem(
                f"The checkpoints in {self.directory} belong to another run: {different[0]}{more}. "
                "Resume with that run's settings, or choose another output directory."
            )
        restored = [_place(*each) for each in zip(arrays, entries, leaves, strict=True)]
        return jax.tree.unflatten(jax.tree.structure(like), restored)

    def _set_aside(self, step: int) -> None:
        """Rename a damaged step, since Orbax would silently refuse to save over it."""
        aside = self.directory / f"damaged-{step}"
        with contextlib.suppress(OSError):  # a directory that is read-only can still be read
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(self.directory / str(step), aside)
        self._manager.reload()


def _flatten(tree: PyTree) -> tuple[list[str], list[Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [jax.tree_util.keystr(path) or "the state" for path, _ in leaves], [x for _, x in leaves]


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _kind(leaf: Any) -> dict[str, Any]:
    """What must match between a checkpoint's leaf and the reader's, in JSON types."""
    if not hasattr(leaf, "dtype"):
        leaf = np.asarray(leaf)
    return {"dtype": str(leaf.dtype), "shape": list(leaf.shape)}


def _impl(leaf: Any) -> str | None:
    """The name by which JAX rebuilds a typed PRNG key."""
    return str(jax.random.key_impl(leaf)) if _is_key(leaf) else None


def _words(kind: dict[str, Any] | None) -> str:
    return "absent" if kind is None else f"{kind['dtype']}{kind['shape']}"


def _to_host(leaf: Any) -> np.ndarray:
    """Copy a leaf; a view would share memory with a buffer that is about to be donated."""
    return np.array(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _place(array: np.ndarray, entry: dict[str, Any], like: Any) -> Any:
    if isinstance(like, np.ndarray):
        return array
    if isinstance(like, np.generic):
        return array[()]
    if isinstance(like, bool | int | float | complex):
        return array.item()
    committed = like.committed if isinstance(like, jax.Array) else True
    # Outside this context JAX would narrow 64-bit types, which is a cast.
    with jax.enable_x64(True):
        value = jax.device_put(array)
        if _is_key(like):
            value = jax.random.wrap_key_data(value, impl=entry["impl"])
        return jax.device_put(value, like.sharding) if committed else value


def _digest(array: np.ndarray) -> str:
    kind = f"{array.dtype}{list(array.shape)}".encode()
    return hashlib.sha256(kind + np.ascontiguousarray(array).tobytes()).hexdigest()


def _digest_json(entries: list[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines() or [""]
    return (lines[0][:200] or type(error).__name__).rstrip(".: ")
