"""A run's folder: who holds it, what run it belongs to, and the finished parts of each study.

    run.json                what is run: experiment, preset, config
    studies/<study>/        code.json, blocks/, checkpoints/, metrics/, then result.json, curves.npz
    record.json, curves.npz, figures/, wandb/

A finished part is written whole or not at all, so that a run killed at any moment goes on from
what is there, and a part made by other code is made again.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from jaxtrends import record
from jaxtrends.errors import Problem


def slug(text: str) -> str:
    """A file name for a label."""
    return re.sub(r"[^A-Za-z0-9.=+-]+", "_", text)


def first_difference(theirs: Any, ours: Any, path: str = "") -> str:
    """The first field in which two plain configs differ, in words; "" if there is none."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in [*theirs, *(key for key in ours if key not in theirs)]:
            inner = f"{path}.{key}" if path else key
            found = first_difference(theirs.get(key), ours.get(key), inner)
            if found:
                return found
        return ""
    return "" if theirs == ours else f"{path} is {theirs!r} there and {ours!r} now"


class RunDirectory:
    """A folder held by one process for one run.

    Raises:
        Problem: it cannot be written, another process holds it, or it belongs to another run.
    """

    def __init__(self, path: Path, description: Mapping[str, Any], *, resume: bool) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            raise Problem(
                f"The output folder {path} cannot be written ({error.strerror}): "
                "choose another with --output."
            ) from None
        self._lock = self._hold()
        try:
            self._claim(record.plain(description), resume)
        except BaseException:
            self.close()
            raise

    def _hold(self) -> TextIO:
        lock = (self.path / ".lock").open("w")
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # no flock on this system: two runs in one folder are the user's care
            pass
        except OSError:
            lock.close()
            raise Problem(
                f"Another run is writing to {self.path}: wait for it, or choose another --output."
            ) from None
        return lock

    def _claim(self, description: Any, resume: bool) -> None:
        marker = self.path / "run.json"
        if not marker.exists():
            if resume:
                raise Problem(f"There is no run to resume in {self.path}.")
            if (self.path / "record.json").exists():
                raise Problem(f"{self.path} holds a record already: choose another --output.")
            record.write_json(marker, description)
            return
        try:
            theirs = json.loads(marker.read_text(encoding="utf-8"))
        except ValueError:
            raise Problem(f"{marker} is damaged: choose another --output.") from None
        if not resume:
            raise Problem(
                f"{self.path} holds a run already: add --resume to go on with it, "
                "or choose another --output."
            )
        difference = first_difference(theirs, description)
        if difference:
            raise Problem(
                f"{self.path} holds a run with another configuration: {difference}. "
                "Resume it with its own flags, or choose another --output."
            )

    def close(self) -> None:
        """Let the folder go."""
        self._lock.close()

    def study(self, name: str, code: str) -> StudyDirectory:
        """The folder of one study, emptied if other code (another digest) wrote it."""
        path = self.path / "studies" / name
        marker = path / "code.json"
        kept = False
        if marker.exists():
            try:
                kept = json.loads(marker.read_text(encoding="utf-8")) == {"digest": code}
            except ValueError:
                kept = False
        if not kept:
            shutil.rmtree(path, ignore_errors=True)
        for part in ("blocks", "metrics"):
            (path / part).mkdir(parents=True, exist_ok=True)
        if not kept:
            record.write_json(marker, {"digest": code})
        return StudyDirectory(path)


class StudyDirectory:
    """The finished parts of one study."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def result(self) -> dict[str, Any] | None:
        """The study's result if it has ended: plain data, with non-finite numbers restored."""
        file = self.path / "result.json"
        if not file.exists():
            return None
        return record.numbers(json.loads(file.read_text(encoding="utf-8")))

    def curves(self) -> dict[str, np.ndarray]:
        """The curves of a study that has ended."""
        return record.read_arrays(self.path / "curves.npz")

    def finish(self, result: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> None:
        """Keep a study's result; what it needed on the way is deleted."""
        record.write_arrays(self.path / "curves.npz", curves)
        record.write_json(self.path / "result.json", result)
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)
        shutil.rmtree(self.path / "blocks", ignore_errors=True)

    def _block(self, label: str, block: int) -> Path:
        return self.path / "blocks" / f"{slug(label)}-{block}.npz"

    def keep_block(self, label: str, block: int, metrics: Mapping[str, np.ndarray]) -> None:
        """Keep the metrics of a block of lanes that has ended, and drop its checkpoints."""
        record.write_arrays(self._block(label, block), metrics)
        shutil.rmtree(self.checkpoints(label, block), ignore_errors=True)

    def block(self, label: str, block: int) -> dict[str, np.ndarray] | None:
        """The metrics of a block that has ended, or None."""
        file = self._block(label, block)
        return record.read_arrays(file) if file.exists() else None

    def checkpoints(self, label: str, block: int) -> Path:
        """Where the checkpoints of a block lie."""
        return self.path / "checkpoints" / slug(label) / str(block)

    def log(self, label: str, block: int, points: range, metrics: Mapping[str, np.ndarray]) -> None:
        """Append a block's new log points to the stream metrics/<label>.jsonl, one line a point.

        The stream is for watching a run. A resumed run may repeat points; the later line holds.
        """
        with (self.path / "metrics" / f"{slug(label)}.jsonl").open("a", encoding="utf-8") as file:
            for offset, point in enumerate(points):
                row = {name: record.plain(values[:, offset]) for name, values in metrics.items()}
                file.write(json.dumps({"block": block, "point": point, **row}) + "\n")
