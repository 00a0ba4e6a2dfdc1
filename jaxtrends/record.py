"""A run's record: results, measurements and provenance, as JSON that outlives the code.

``results`` has the same bits whenever the same run is made again; ``measurements`` holds times and
memory and the claims about them; ``provenance`` says what made it. Numbers that are not finite are
written as the texts "nan", "inf" and "-inf", so that the file is JSON by the standard.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import io
import json
import math
import os
import platform
import stat
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxtrends import claims, frames, paths
from jaxtrends.errors import Problem
from jaxtrends.formats import UNSHOWABLE

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1
CURVES_FILE = "curves.npz"
SCHEMA_FILE = Path(__file__).with_name("record.schema.json")
ROOT = Path(__file__).resolve().parent.parent
MOST_BYTES = 64 * 2**20  # of a file that is read, and of the arrays in it: a record has some MB
DEEPEST = 40  # levels of nesting: a record has some fifteen
MOST_CHANGES = 3  # of a preset's settings that a title names
VERSIONED = ("jaxtrends", "jax", "jaxlib", "flax", "optax", "numpy", "scipy")

# --- plain data --------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """Turn numpy numbers and arrays, tuples, dataclasses and paths into JSON's own types."""
    # Numbers and texts first: a record holds a hundred thousand of them.
    if value is None or type(value) in (str, bool, int):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(f"a record cannot hold a {type(value).__name__}: {value!r}")


def numbers(value: Any) -> Any:
    """Undo `plain` for numbers that are not finite: the texts "nan", "inf", "-inf" to floats."""
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [numbers(item) for item in value]
    return float(value) if value in ("nan", "inf", "-inf") else value


def digest(value: Any) -> str:
    """SHA-256 of plain data in canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def array_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of arrays, in the order of their names."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write plain data so that a reader sees the old file or the new one, never a part.

    Raises:
        Problem: it cannot be written; what was there before is left as it was.
    """
    _write_atomically(path, dumps(value).encode())


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as .npz, atomically; `read_arrays` reads them back.

    Raises:
        Problem: it cannot be written; what was there before is left as it was.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    _write_atomically(path, buffer.getvalue())


def _write_atomically(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise unwritten(path, error) from None


def unwritten(path: Path, error: OSError) -> Problem:
    """What to tell a user whose file cannot be written: a full disk, a folder that has gone."""
    return Problem(
        f"{path} cannot be written ({error.strerror or error}): make room or mend the folder, "
        "then go on with --resume; what was finished before is kept."
    )


# Files are data that anybody may have written, or that a disk has damaged.


def read_json(path: Path) -> Any:
    """Plain data from a file: JSON by the standard, of a size and depth that do no harm.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: what it holds is no such JSON.
    """
    text = _content(path).decode()
    try:
        value = json.loads(
            text, parse_constant=_no_number, parse_float=_number, parse_int=_whole_number
        )
    except RecursionError:
        raise ValueError(f"it is nested more than {DEEPEST} deep") from None
    for depth, _ in enumerate(_levels(value)):
        if depth > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} deep")
    return value


def _levels(value: Any) -> Iterator[list[Any]]:
    """Nested plain data level by level: all dicts, lists, keys and values so many deep."""
    level = [value]
    while level:
        yield level
        lists = [item for item in level if isinstance(item, list)]
        dicts = [item for item in level if isinstance(item, dict)]
        level = [inner for item in lists for inner in item]
        level += [inner for item in dicts for pair in item.items() for inner in pair]


def _content(path: Path) -> bytes:
    """The bytes of a file that is a file (a pipe has no end) and no larger than `MOST_BYTES`."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(f"{path} is no file")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES >> 20} MiB")
    return content


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON's")


def _number(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text[:40])


def _whole_number(text: str) -> int:
    return int(text) if len(text) < 300 else int(_no_number(text[:40]))  # beyond any float


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The named arrays of an .npz file.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is damaged, holds Python objects, or unpacks to more than `MOST_BYTES`.
    """
    try:
        with np.load(io.BytesIO(_content(path)), allow_pickle=False) as file:
            unpacked = sum(member.file_size for member in file.zip.infolist())
            if unpacked > MOST_BYTES:
                raise ValueError(f"it unpacks to more than {MOST_BYTES >> 20} MiB")
            return {name: file[name] for name in file.files}
    except OSError:
        raise
    except Exception as error:  # a damaged archive fails in a dozen ways
        raise ValueError(first_line(error)) from None


def first_line(error: BaseException) -> str:
    """What an exception says, in one line of some 200 characters, without its full stop."""
    lines = str(error).splitlines() or [""]
    return (lines[0][:200] or type(error).__name__).rstrip(".: ")


def read_curves(folder: Path, done: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The curves beside a record, ``study/name`` -> array; none where there is no such file.

    Raises:
        Problem: they are damaged, or not those of the record.
    """
    path = folder / CURVES_FILE
    if not path.exists():
        return {}
    try:
        arrays = read_arrays(path)
    except (OSError, ValueError) as error:
        raise Problem(
            f"{path} cannot be read as curves ({first_line(error)}): run again, or remove it."
        ) from None
    for name, study in done["results"]["studies"].items():
        if array_digest(curves_of(arrays, name)) != study["curves_digest"]:
            raise Problem(
                f"{path}: the curves of {name} are not those of the record beside it: run again, "
                "or remove that file."
            )
    return arrays


def curves_of(arrays: Mapping[str, np.ndarray], study: str) -> dict[str, np.ndarray]:
    """The curves of one study among those of a record, by their names within the study."""
    start = f"{study}/"
    return {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}


def dumps(value: Any) -> str:
    """JSON with one line for every list of plain numbers, so that a diff can be read."""
    return _layout(plain(value), "") + "\n"


def _layout(value: Any, indent: str) -> str:
    deeper = indent + " "
    if isinstance(value, dict) and value:
        rows = [f"{deeper}{json.dumps(k)}: {_layout(v, deeper)}" for k, v in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        rows = [deeper + _layout(item, deeper) for item in value]
        return "[\n" + ",\n".join(rows) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


# --- what a record is called -------------------------------------------------------------------


def _devices(done: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What the studies ran on; a record may have been judged elsewhere since."""
    made = done["provenance"]
    return [code["device"] for code in made["code"].values()] or [made["device"]]


def device(done: Mapping[str, Any]) -> Mapping[str, Any]:
    """The device of a record: that of all studies, or where they differ the one it ended on."""
    first, *others = _devices(done)
    return first if all(other == first for other in others) else done["provenance"]["device"]


def accelerators(done: Mapping[str, Any]) -> str:
    """The kinds of accelerators that a record's studies ran on: ``gpu``; "" for CPUs alone."""
    return "-".join(sorted({found["platform"] for found in _devices(done)} - {"cpu"}))


def changes(preset: Any, config: Any, path: str = "") -> dict[str, dict[str, Any]]:
    """Where a config, as plain data, differs from its preset: field -> both of its values."""
    if isinstance(preset, dict) and isinstance(config, dict):
        inner = (
            changes(preset.get(key), config.get(key), f"{path}.{key}" if path else key)
            for key in {**preset, **config}
        )
        return {field: values for found in inner for field, values in found.items()}
    return {} if preset == config else {path: {"preset": preset, "run": config}}


def preset_in_words(preset: str, changed: Mapping[str, Any], own: Sequence[str] = ()) -> str:
    """A preset, and what a run does otherwise: ``default with seeds 3``."""
    said = [f"{field} {_briefly(values['run'])}" for field, values in changed.items()]
    said = said if len(said) <= MOST_CHANGES else [*said[: MOST_CHANGES - 1], "other settings"]
    said += [f"methods of its user's own ({', '.join(own)})"] * bool(own)
    if not said:
        return preset
    *others, last = said
    return f"{preset} with {', '.join(others)}{' and ' * bool(others)}{last}"


def _briefly(value: Any) -> str:
    several = value if isinstance(value, list) else [value]
    text = " ".join(map(str, several)) or "none"
    return text if len(text) <= 40 else f"{text[:39]}…"


def _as_run(done: Mapping[str, Any]) -> str:
    return preset_in_words(done["preset"], done.get("changed", {}), done.get("own_methods", ()))


def edition(done: Mapping[str, Any]) -> str:
    """A record's preset and its accelerators, as part of a path: ``full``, ``full-gpu``.

    One whose settings are not those of its preset is another: ``full-changed``.
    """
    changed = "changed" if _as_run(done) != done["preset"] else ""
    return "-".join(part for part in (done["preset"], changed, accelerators(done)) if part)


def title(done: Mapping[str, Any]) -> str:
    """A record's experiment and `edition` in words: ``forward_grad, preset full, GPU``."""
    parts = (done["experiment"], f"preset {_as_run(done)}", accelerators(done).upper())
    return ", ".join(part for part in parts if part)


# --- provenance --------------------------------------------------------------------------------


def git(*arguments: str) -> str | None:
    """What git says of this checkout; None where it fails, or there is none."""
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def commit() -> tuple[str, bool | None]:
    """The checkout's commit and whether its code differs from it; ("", None) outside a checkout.

    A file that git does not know yet is a difference too. Installed in an environment that happens
    to lie in some other repository, this code is in no checkout.
    """
    head = git("rev-parse", "HEAD")
    if head is None or not git("ls-files", "--", "jaxtrends/record.py"):
        return "", None
    code = ("jaxtrends/*.py", "experiments/*.py", "results/*/golden.json")
    return head, bool(git("status", "--porcelain", "--untracked-files=all", "--", *code))


def versions() -> dict[str, str]:
    """Python's version and those of the packages that results rest on."""
    found = {"python": platform.python_version()}
    for package in VERSIONED:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def provenance(command: str, device: Mapping[str, Any], started: str) -> dict[str, Any]:
    """What made a record: commit, dirty or not, command, versions, device, time (UTC, ISO 8601)."""
    head, dirty = commit()
    return {
        "commit": head,
        "dirty": dirty,
        "command": command,
        "versions": versions(),
        "device": dict(device),
        "system": f"{platform.system()} {platform.machine()}",
        "started": started,
    }


# --- claims in a record ------------------------------------------------------------------------


def claim_entry(
    claim: claims.Claim, evidence: claims.Evidence, verdict: claims.Verdict
) -> dict[str, Any]:
    """A claim as a record keeps it: declaration, raw samples, verdict."""
    declared = {
        f.name: getattr(claim, f.name) for f in dataclasses.fields(claim) if f.name != "evidence"
    }
    return plain({"claim": declared, "evidence": evidence, "verdict": verdict})


def _samples(raw: Mapping[str, Mapping[str, Sequence[Any]]]) -> dict[str, dict[str, list[float]]]:
    return {
        part: {name: [float(value) for value in values] for name, values in samples.items()}
        for part, samples in raw.items()
    }


def judge_again(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict of a record's claim, judged anew from its declaration and raw samples alone.

    Raises:
        Problem: they are such as no claim can be judged from.
    """
    raw = entry["evidence"]
    evidence = claims.Evidence(_samples(raw["parts"]), _samples(raw["controls"]), raw["undecided"])
    try:
        return plain(claims.judge(_declared(entry), evidence))
    except (ArithmeticError, LookupError, ValueError) as error:
        raise Problem(
            f"Claim {entry['claim']['id']} cannot be judged from its samples: {first_line(error)}."
        ) from error


def _declared(entry: Mapping[str, Any]) -> claims.Claim:
    declared = dict(entry["claim"])
    low, high = (float(bound) for bound in declared.pop("region"))
    controls = tuple(claims.Control(**control) for control in declared.pop("controls"))
    return claims.Claim(region=(low, high), controls=controls, evidence=None, **declared)


def entries(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All claims of a record: those about results, then those about measurements."""
    return [*record["results"]["claims"], *record["measurements"]["claims"]]


def publishable(record: Mapping[str, Any]) -> str:
    """Why a record may not be published; "" where it may."""
    if record["preset"] == "smoke":
        return "it is a smoke run"
    if _as_run(record) != record["preset"]:
        return f"it is not its preset, but {_as_run(record)}"
    if record["provenance"]["dirty"] is not False:
        return "it was made from code that is not a commit"
    return ""


class Record(dict):
    """A record that was read: plain data, as a dict, and tables of it for a notebook.

    folder: where it lies, with its curves beside it.
    """

    folder: Path

    def claims(self) -> pd.DataFrame:
        """A row a claim, by its id: ``claim, verdict, estimate, low, high, n, part, …``.

        The estimate and its 95% interval are those of the part that decides, and nan where a claim
        is not testable. Claims that were not run have no row: they are in
        ``record["results"]["not_run"]``.
        """
        return frames.claims(entries(self))

    def seeds(self) -> pd.DataFrame:
        """A row a number that a claim is judged by: ``claim, part, arm, seed, value``.

        ``arm`` is ``treatment`` or ``reference``, or ``values`` where a claim is about one number a
        seed. The samples of a claim about times have a number a round, counted in the same way.
        """
        first = self["results"]["config"].get("seed", 0)
        known = isinstance(first, int) and 0 <= first < 2**32
        return frames.samples(entries(self), first if known else 0)

    def curves(self) -> pd.DataFrame:
        """A row a point: ``study, task, arm, learning_rate, seed, metric, point, step, value``.

        ``point`` counts a curve's points from 1. ``step`` is the training step, and nan where the
        record does not tell, as is ``learning_rate``.

        Raises:
            Problem: the curves are missing, damaged, or not those of the record.
        """
        studies = self["results"]["studies"].values()
        any_curves = any(study["curves_digest"] != array_digest({}) for study in studies)
        if any_curves and not (self.folder / CURVES_FILE).exists():
            raise Problem(
                f"There is no {CURVES_FILE} in {self.folder}: copy it there too, from where the "
                "record is from."
            )
        return frames.curves(self, read_curves(self.folder, self))

    def __repr__(self) -> str:
        return f"<record of {title(self)}>"


def read(path: str | Path) -> Record:
    """Read a record, by its file or its folder, and check it against the schema.

    Raises:
        Problem: there is no such file, or it is no record of a version this code reads.
    """
    import jsonschema

    path = paths.expanded(path)
    try:
        if path.is_dir():
            path = path / "record.json"
        found = read_json(path)
    except FileNotFoundError:
        raise Problem(f"There is no record at {path}: give a record.json or its folder.") from None
    except (OSError, ValueError) as error:
        raise Problem(f"{path} cannot be read as a record: {first_line(error)}.") from None
    texts = (item for level in _levels(found) for item in level if isinstance(item, str))
    if any(map(UNSHOWABLE.search, texts)):
        raise Problem(f"{path} is not a valid record: it holds a control character.")
    version = found.get("schema") if isinstance(found, dict) else None
    if version != SCHEMA_VERSION:
        raise Problem(
            f"{path} has record version {version!r:.40}; this release reads version "
            f"{SCHEMA_VERSION}."
        )
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
    error = jsonschema.exceptions.best_match(validator.iter_errors(found))
    if error is not None:
        raise Problem(
            f"{path} is not a valid record: {error.json_path[:200]}: {first_line(error)}."
        )
    contradiction = next(_contradictions(found), "")
    if contradiction:
        raise Problem(f"{path} is not a valid record: {contradiction}.")
    record = Record(found)
    record.folder = path.parent
    return record


def _contradictions(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield what does not fit together in a record of which every part is as it should be."""
    studies = [s for part in ("results", "measurements") for s in record[part]["studies"].values()]
    headline = [record["figure"]] if "figure" in record else []
    figures = [*headline, *(figure for study in studies for figure in study["figures"])]
    names = [figure["name"] for figure in figures]
    if len({name.casefold() for name in names}) < len(names):  # on some file systems they are one
        yield f"two of the figures {', '.join(sorted(names))} have the same name"
    for figure in figures:
        if not all(map(_fits_together, figure["panels"])):
            yield f"the figure {figure['name']} has coordinates of different lengths"
    for study in studies:
        for table in study["tables"]:
            if any(len(row) != len(table["columns"]) for row in table["rows"]):
                yield f"the table {table['name']} has rows of another length than its heading"
    for name in record["results"]["studies"]:
        if name not in record["measurements"]["studies"]:
            yield f"the study {name} has results and no measurements"
    for entry in entries(record):
        try:
            _declared(entry)
        except (TypeError, ValueError) as error:
            yield first_line(error)
        claim, evidence, verdict = entry["claim"], entry["evidence"], entry["verdict"]
        if claim["not_testable"]:
            continue
        judged = verdict["parts"].keys(), evidence["parts"].keys()
        shown = verdict["controls"].keys() & evidence["controls"].keys()
        if verdict["headline"] not in judged[0] or judged[0] != judged[1]:
            yield f"claim {claim['id']}: the parts of its verdict are not those of its evidence"
        names = [control["name"] for control in claim["controls"]]
        if not all(
            name in shown or {claims.control_of(name, part) for part in judged[1]} <= shown
            for name in names
        ):
            yield f"claim {claim['id']}: a control that it declares is missing"


def _fits_together(panel: Mapping[str, Any]) -> bool:
    """Whether the coordinates of a figure's panel have one length each."""
    kinds = ("y", "low", "high", "texts")
    lines = all(
        len(series[kind]) == len(series["x"])
        for series in panel["series"]
        for kind in kinds
        if series.get(kind) is not None
    )
    shown = panel.get("map")
    return lines and (
        not shown or [len(row) for row in shown["values"]] == [len(shown["x"])] * len(shown["y"])
    )
