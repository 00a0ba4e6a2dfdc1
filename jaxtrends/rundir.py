"""A run's folder: who holds it, what run it belongs to, and the finished parts of each study.

    run.json                what is run: experiment, preset, config
    studies/<study>/        code.json, blocks.json, seconds.json, blocks/, checkpoints/, metrics/,
                            then result.json, curves.npz
    record.json, curves.npz, figures/, wandb/

A finished part is written whole or not at all, with its digest, so that a run killed at any moment
goes on from what is there; a part that was made by other code, or damaged since, is made again. So
is a block of lanes that is not what it is looked for as: each names its run, its study, its label,
its number and its lanes.
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

SEAL = "sha256"  # the name of an array that holds the digest of the arrays beside it
WHAT = "what"  # the name of one that says what they are, as the bytes of JSON


def first_difference(theirs: Any, ours: Any, path: str = "") -> str:
    """The first field in which two plain configs differ, in words; "" if there is none."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in [*theirs, *(key for key in ours if key not in theirs)]:
            inner = f"{path}.{key}" if path else key
            found = first_difference(theirs.get(key), ours.get(key), inner)
            if found:
                return found
        return ""
    return "" if theirs == ours else f"{path} is {theirs!r:.80} there and {ours!r:.80} now"


def new_folder(parent: Path, kind: str) -> Path:
    """A new folder for a run, named for its kind and the time; no other run is given the same.

    Raises:
        Problem: it cannot be made.
    """
    name = f"{kind}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    path = parent / name
    for number in itertools.count(2):
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:  # of a run that began within the same second
            path = parent / f"{name}-{number}"
        except OSError as error:
            raise _unwritable(path, error) from None


class RunDirectory:
    """A folder held by one process for one run.

    Args:
        path:        the folder; it is made if it is missing.
        description: what is run, as plain data.
        resume:      whether to go on with the run that is there.
        report:      called with one sentence for every part that is damaged and made again.

    Raises:
        Problem: it cannot be written, another process holds it, or it belongs to another run.
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
            for left in path.rglob(".*.tmp"):  # by a process that was killed while it wrote
                left.unlink(missing_ok=True)
        except BaseException:
            self.close()
            raise

    @classmethod
    def joined(
        cls, path: Path, description: Mapping[str, Any], report: Callable[[str], None]
    ) -> RunDirectory:
        """The folder as a process beside the first has it, which holds no lock and decides nothing.

        It is the same folder where the file system is shared, and one of its own where it is not.

        Raises:
            Problem: it cannot be written.
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
            theirs = record.read_json(marker)
        except (OSError, ValueError) as error:
            raise Problem(
                f"{marker} is damaged ({record.first_line(error)}): choose another --output."
            ) from None
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
        """The folder of one study, emptied if other code (another digest) wrote it.

        Raises:
            Problem: it cannot be written, or a link leads out of the run's folder.
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
                    self._report(f"What other code made in {path} is made again.")
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
    """Make a run's folder where it is missing, and open its lock."""
    paths.make(path, "output")
    try:
        return (path / ".lock").open("w")
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> Problem:
    return Problem(
        f"The output folder {path} cannot be written ({error.strerror}): "
        "choose another with --output."
    )


def _write_sealed(path: Path, content: Any) -> None:
    record.write_json(path, {"sha256": record.digest(content), "content": content})


def _unsealed(path: Path) -> Any:
    kept = record.read_json(path)
    if record.digest(kept["content"]) != kept["sha256"]:
        raise ValueError("it does not agree with its digest")
    return kept["content"]


def _damaged(path: Path, error: Exception) -> str:
    return f"{path} is damaged ({record.first_line(error)}): what it held is made again."


class StudyDirectory:
    """The finished parts of one study, in ``path``; each is read back as it was written or not.

    ``identity`` says what study this is, as plain data. A block has besides its label, its number
    and what its caller says in ``of``: what its lanes are, say.
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
        """The study's result if it has ended: plain data, with non-finite numbers restored.

        A result that is damaged, or whose curves are, is removed, and this is said.
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
                raise ValueError("it does not agree with its digest")
        except (OSError, ValueError, LookupError) as error:
            self._remove(file, _damaged(file, error))
            (self.path / "result.json").unlink(missing_ok=True)
            return None
        return record.numbers(content["result"])

    def curves(self) -> dict[str, np.ndarray]:
        """The curves of a study that has ended: of which there is a `result`."""
        return record.read_arrays(self.path / "curves.npz")

    def finish(self, result: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> None:
        """Keep a study's result; what it needed on the way is deleted.

        Raises:
            Problem: it cannot be written.
        """
        record.write_arrays(self.path / "curves.npz", curves)
        content = {"curves_sha256": record.array_digest(curves), "result": result}
        _write_sealed(self.path / "result.json", content)
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)
        shutil.rmtree(self.path / "blocks", ignore_errors=True)

    def block_sizes(self) -> dict[str, int]:
        """Lanes of a block of each call that was begun, by label; damaged, they are removed."""
        file = self.path / "blocks.json"
        if not file.exists():
            return {}
        try:
            return dict(_unsealed(file))
        except (OSError, ValueError, LookupError, TypeError) as error:
            self._remove(file, _damaged(file, error))
            return {}

    def keep_block_size(self, label: str, lanes: int) -> None:
        """Note how many lanes a block of a call has, for a run that goes on.

        Raises:
            Problem: it cannot be written.
        """
        _write_sealed(self.path / "blocks.json", {**self.block_sizes(), label: lanes})

    def spent(self) -> float:
        """Seconds that runs before this one worked on the study; damaged, it is removed."""
        file = self.path / "seconds.json"
        try:
            return float(_unsealed(file)) if file.exists() else 0.0
        except (OSError, ValueError, LookupError, TypeError) as error:
            self._remove(file, _damaged(file, error))
            return 0.0

    def keep_spent(self, seconds: float) -> None:
        """Note how long the study has been worked on, for a run that goes on.

        Raises:
            Problem: it cannot be written.
        """
        _write_sealed(self.path / "seconds.json", seconds)

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
        """Keep the metrics of a block of lanes that has ended, and drop its checkpoints.

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
        """The metrics of a block that has ended, or None.

        One that is damaged, or another than it is looked for as, is removed with a word.
        """
        file = self._block(label, block)
        if not file.exists():
            return None
        try:
            metrics = record.read_arrays(file)
            seal = metrics.pop(SEAL)
            if record.array_digest(metrics) != seal.tobytes().hex():
                raise ValueError("it does not agree with its digest")
            found = json.loads(metrics.pop(WHAT).tobytes())
        except (OSError, ValueError, LookupError) as error:
            self._remove(file, _damaged(file, error))
            return None
        difference = first_difference(found, self._what(label, block, of))
        if difference:
            self._remove(file, f"{file} is of other lanes ({difference}): they are trained again.")
            return None
        return metrics

    def _remove(self, file: Path, said: str) -> None:
        self._report(said)
        with contextlib.suppress(OSError):
            file.unlink()

    def checkpoints(self, label: str, block: int, of: Mapping[str, Any] | None = None) -> Path:
        """Where the checkpoints of a block lie, of these very lanes and no others."""
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
        """Append a block's new log points to a stream of its label's in metrics/, one line a point.

        Each process has a stream of its own. It is for watching a run. A resumed run may repeat
        points; the later line holds.

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
