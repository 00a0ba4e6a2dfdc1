"""A run's folder: its lock, the run it belongs to, and the finished parts of each study.

    run.json                what is run: experiment, preset, config
    starts.json             when each process that worked on it started
    studies/<study>/        code.json, blocks.json, spent.json, blocks/, checkpoints/, metrics/,
                            then result.json, curves.npz
    record.json, curves.npz, figures/, wandb/

Finished parts are written atomically with a digest, so that a run killed at any moment can be
resumed. Parts made by other code, or damaged since, are made again, and so are blocks of lanes that
do not match: each block names its run, study, label, number and lanes.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from jaxtrends import paths, record
from jaxtrends.errors import Problem
from jaxtrends.file_names import file_name

SEAL = "sha256"  # name of the array with the digest of the other arrays
WHAT = "what"  # name of the array that describes them, as the bytes of JSON


def first_difference(theirs: Any, ours: Any, path: str = "") -> str:
    """The first field in which two plain configs differ, in words; "" if there is none."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in [*theirs, *(key for key in ours if key not in theirs)]:
            inner = f"{path}.{key}" if path else key
            found = first_difference(theirs.get(key), ours.get(key), inner)
            if found:
                return found
        return ""
    return "" if theirs == ours else f"{path} is {theirs!r:.80} there but {ours!r:.80} now"


def new_folder(parent: Path, kind: str) -> Path:
    """A new, unique folder for a run, named after its kind and the time.

    Raises:
        Problem: it cannot be created.
    """
    name = f"{kind}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    path = parent / name
    for number in itertools.count(2):
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:  # from a run that started within the same second
            path = parent / f"{name}-{number}"
        except OSError as error:
            raise _unwritable(path, error) from None


class RunDirectory:
    """A folder locked by one process for one run.

    Args:
        path:        the folder; created if missing.
        description: what is run, as plain data.
        resume:      whether to resume the run that is there.
        report:      called with one sentence for every damaged part that is made again.

    Raises:
        Problem: it is not writable, another process has it, or it belongs to another run.
    """

    def __init__(
        self,
        path: Path,
        description: Mapping[str, Any],
        *,
        resume: bool,
        report: Callable[[str], None] = warnings.warn,
    ) -> None:
        self.path = path
        self._report = report
        self._run = record.digest(description)
        self._lock = self._hold(_writable(path))
        try:
            self._claim(record.plain(description), resume)
            for left in path.rglob(".*.tmp"):  # from a process killed while writing
                left.unlink(missing_ok=True)
        except BaseException:
            self.close()
            raise

    @classmethod
    def joined(
        cls, path: Path, description: Mapping[str, Any], report: Callable[[str], None]
    ) -> RunDirectory:
        """The folder for a process other than the first, without a lock or decisions.

        It is the same folder on a shared file system, and a separate one otherwise.

        Raises:
            Problem: it is not writable.
        """
        beside = cls.__new__(cls)
        beside.path, beside._report = path, report
        beside._run = record.digest(description)
        beside._lock = _writable(path)
        return beside

    def _hold(self, lock: TextIO) -> TextIO:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # no flock on this system: the user must not run twice in one folder
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
                raise Problem(f"{self.path} already has a record: choose another --output.")
            record.write_json(marker, description)
            return
        try:
            theirs = record.read_json(marker)
        except (OSError, ValueError) as error:
            raise Problem(
                f"{marker} is damaged ({record.first_line(error)}): choose another --output."
            ) from None
        if not resume:
            raise Problem(
                f"{self.path} already has a run: add --resume to continue it, or choose another "
                "--output."
            )
        difference = first_difference(theirs, description)
        if difference:
            raise Problem(
                f"{self.path} has a run with another configuration: {difference}. Resume it with "
                "its own flags, or choose another --output."
            )

    def starts(self, now: str) -> list[str]:
        """When the run was started and each time resumed, with this process's start added.

        Raises:
            Problem: it cannot be written.
        """
        file = self.path / "starts.json"
        try:
            before = [str(time) for time in _unsealed(file)] if file.exists() else []
        except (OSError, ValueError, LookupError, TypeError) as error:
            self._report(_damaged(file, error))
            before = []
        _write_sealed(file, [*before, now])
        return [*before, now]

    def close(self) -> None:
        """Release the folder."""
        self._lock.close()

    def study(self, name: str, code: str) -> StudyDirectory:
        """The folder of one study, emptied if other code (another digest) wrote it.

        Raises:
            Problem: it is not writable, or a link leads out of the run's folder.
        """
        path = self.path / "studies" / file_name(name)
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise Problem(f"{path} leads out of {self.path}: choose another --output.")
        marker = path / "code.json"
        kept = False
        if marker.exists():
            try:
                kept = record.read_json(marker) == {"digest": code}
                if not kept:
                    self._report(f"{path} was made by other code and is made again.")
            except (OSError, ValueError) as error:
                self._report(_damaged(marker, error))
        if not kept:
            shutil.rmtree(path, ignore_errors=True)
        try:
            for part in ("blocks", "metrics"):
                (path / part).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise record.unwritten(path, error) from None
        if not kept:
            record.write_json(marker, {"digest": code})
        return StudyDirectory(path, self._report, {"run": self._run, "code": code, "study": name})


def _writable(path: Path) -> TextIO:
    """Create a run's folder if missing, and open its lock file."""
    paths.make(path, "output")
    try:
        return (path / ".lock").open("w")
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> Problem:
    return Problem(
        f"The output folder {path} is not writable ({error.strerror}): choose another with "
        "--output."
    )


def _write_sealed(path: Path, content: Any) -> None:
    record.write_json(path, {"sha256": record.digest(content), "content": content})


def _unsealed(path: Path) -> Any:
    kept = record.read_json(path)
    if record.digest(kept["content"]) != kept["sha256"]:
        raise ValueError("it does not match its digest")
    return kept["content"]


def _damaged(path: Path, error: Exception) -> str:
    return f"{path} is damaged ({record.first_line(error)}): its contents are made again."


class StudyDirectory:
    """The finished parts of one study, in ``path``; each is read back exactly or not at all.

    ``identity`` identifies the study, as plain data. A block is also identified by its label, its
    number and what its caller gives in ``of``, such as its lanes.
    """

    def __init__(
        self,
        path: Path,
        report: Callable[[str], None] = warnings.warn,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self._report = report
        self._identity = dict(identity or {})

    def result(self) -> dict[str, Any] | None:
        """The study's result if it is finished: plain data, with non-finite numbers restored.

        If the result or its curves are damaged, it is reported and removed.
        """
        file = self.path / "result.json"
        if not file.exists():
            return None
        try:
            content = _unsealed(file)
        except (OSError, ValueError, LookupError, TypeError) as error:
            self._remove(file, _damaged(file, error))
            return None
        file = self.path / "curves.npz"
        try:
            if record.array_digest(record.read_arrays(file)) != content["curves_sha256"]:
                raise ValueError("it does not match its digest")
        except (OSError, ValueError, LookupError) as error:
            self._remove(file, _damaged(file, error))
            (self.path / "result.json").unlink(missing_ok=True)
            return None
        return record.numbers(content["result"])

    def curves(self) -> dict[str, np.ndarray]:
        """The curves of a finished study, one with a `result`."""
        return record.read_arrays(self.path / "curves.npz")

    def finish(self, result: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> None:
        """Store a study's result, and delete its intermediate files.

        Raises:
            Problem: it cannot be written.
        """
        record.write_arrays(self.path / "curves.npz", curves)
        content = {"curves_sha256": record.array_digest(curves), "result": result}
        _write_sealed(self.path / "result.json", content)
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)
        shutil.rmtree(self.path / "blocks", ignore_errors=True)

    def block_sizes(self) -> dict[str, int]:
        """Lanes per block of each started call, by label; if damaged, they are removed."""
        file = self.path / "blocks.json"
        if not file.exists():
            return {}
        try:
            return dict(_unsealed(file))
        except (OSError, ValueError, LookupError, TypeError) as error:
            self._remove(file, _damaged(file, error))
            return {}

    def keep_block_size(self, label: str, lanes: int) -> None:
        """Store the lanes per block of a call, for resuming.

        Raises:
            Problem: it cannot be written.
        """
        _write_sealed(self.path / "blocks.json", {**self.block_sizes(), label: lanes})

    def spent(self) -> tuple[float, int]:
        """Seconds that earlier processes spent on the study, and the most bytes of memory of any.

        If damaged, the file is removed.
        """
        file = self.path / "spent.json"
        try:
            seconds, peak = _unsealed(file) if file.exists() else (0.0, 0)
            return float(seconds), int(peak)
        except (OSError, ValueError, LookupError, TypeError) as error:
            self._remove(file, _damaged(file, error))
            return 0.0, 0

    def keep_spent(self, seconds: float, peak_memory_bytes: int) -> None:
        """Store what `spent` returns, for resuming.

        Raises:
            Problem: it cannot be written.
        """
        _write_sealed(self.path / "spent.json", [seconds, peak_memory_bytes])

    def _block(self, label: str, block: int) -> Path:
        return self.path / "blocks" / f"{file_name(label)}-{block}.npz"

    def _what(self, label: str, block: int, of: Mapping[str, Any] | None) -> dict[str, Any]:
        return record.plain({**self._identity, "label": label, "block": block, **(of or {})})

    def keep_block(
        self,
        label: str,
        block: int,
        metrics: Mapping[str, np.ndarray],
        of: Mapping[str, Any] | None = None,
    ) -> None:
        """Store the metrics of a finished block of lanes, and delete its checkpoints.

        Raises:
            Problem: they cannot be written.
        """
        what = json.dumps(self._what(label, block, of)).encode()
        kept = {**metrics, WHAT: np.frombuffer(what, np.uint8)}
        seal = np.frombuffer(bytes.fromhex(record.array_digest(kept)), np.uint8)
        record.write_arrays(self._block(label, block), {**kept, SEAL: seal})
        shutil.rmtree(self.checkpoints(label, block, of), ignore_errors=True)

    def block(
        self, label: str, block: int, of: Mapping[str, Any] | None = None
    ) -> dict[str, np.ndarray] | None:
        """The metrics of a finished block, or None.

        A block that is damaged or does not match is reported and removed.
        """
        file = self._block(label, block)
        if not file.exists():
            return None
        try:
            metrics = record.read_arrays(file)
            seal = metrics.pop(SEAL)
            if record.array_digest(metrics) != seal.tobytes().hex():
                raise ValueError("it does not match its digest")
            found = json.loads(metrics.pop(WHAT).tobytes())
        except (OSError, ValueError, LookupError) as error:
            self._remove(file, _damaged(file, error))
            return None
        difference = first_difference(found, self._what(label, block, of))
        if difference:
            self._remove(file, f"{file} has other lanes ({difference}): they are trained again.")
            return None
        return metrics

    def _remove(self, file: Path, said: str) -> None:
        self._report(said)
        with contextlib.suppress(OSError):
            file.unlink()

    def checkpoints(self, label: str, block: int, of: Mapping[str, Any] | None = None) -> Path:
        """The folder of a block's checkpoints, specific to its lanes."""
        what = record.digest(self._what(label, block, of))[:8]
        return self.path / "checkpoints" / file_name(label) / f"{block}~{what}"

    def log(
        self,
        label: str,
        block: int,
        points: range,
        metrics: Mapping[str, np.ndarray],
        process: int = 0,
    ) -> None:
        """Append a block's new log points to its label's stream in metrics/, one line per point.

        Each process has its own stream. It is for watching a run. A resumed run may repeat points;
        the later line is valid.

        Raises:
            Problem: it cannot be written.
        """
        beside = f"~process-{process}" if process else ""
        stream = self.path / "metrics" / f"{file_name(label)}{beside}.jsonl"
        try:
            with stream.open("a", encoding="utf-8") as file:
                for offset, point in enumerate(points):
                    row = {
                        name: record.plain(values[:, offset]) for name, values in metrics.items()
                    }
                    said = {"label": label, "block": block, "point": point, **row}
                    file.write(json.dumps(said) + "\n")
        except OSError as error:
            raise record.unwritten(stream, error) from None
