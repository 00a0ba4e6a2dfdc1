"""W&B as a view of a run: never its only copy, and never in its way.

W&B is kept at arm's length, in a process of its own, since it replaces hooks of the interpreter,
can wait for ever and reports on itself. That process writes every run offline, which needs no
account and no network. Online means one thing more: when the experiment ends, W&B's own command
``wandb sync`` uploads what was written. So a server that is slow, or gone, or refuses, costs a
bounded wait and a warning, the runs lie where they would have lain offline, and no upload
disturbs a measurement.

Conventions: one run a reported lane, so that seeds can be told apart; the group of a lane names
experiment, config, study and method, so that a workspace shows a line and a band a method, in a
colour of its own, before anybody sets it up; that of the rest experiment and config alone (the
config is a tag of every run besides); the job type names the role (``lane``, ``table``,
``claims``); every lane of a study has the same keys; ``step`` is a metric, and every other metric
is drawn against it. The one run of the type ``claims`` has the answer, and estimate, interval and
verdict of each claim, as its summary, so that a project's table of runs is a table of results.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxtrends import paths, record
from jaxtrends.errors import Problem, choose
from jaxtrends.file_names import shortened
from jaxtrends.study import thin

Mode = Literal["disabled", "offline", "online"]
MODES = ("disabled", "offline", "online")

POINTS_PER_LANE = 200
LANES_PER_STUDY = 64  # a run takes about 0.15 s to write

NAME_LETTERS = 128  # W&B's limit, of a group too
TABLE_LETTERS = 100  # W&B puts "run-" and the run's id before them

WRITE_SECONDS = 60.0  # for one run; the first one starts W&B
EXIT_SECONDS = 10.0
LOGIN_SECONDS = 15.0  # for one answer of the server
CHECK_SECONDS = 4.0  # between two questions whether the server is still there
UPLOAD_SECONDS = 600.0  # for all runs together, as long as it is


@dataclasses.dataclass(frozen=True)
class Tracking:
    """What the runs of one experiment have in common.

    mode:      "disabled" (nothing is written), "offline" or "online".
    directory: the run's folder; W&B's files go into ``wandb`` in it.
    group:     experiment and config, as in ``forward_grad/1a2b3c4d``.
    tags:      such as ``paper:…``, ``tier:…``, ``git:…``; cut at 64 characters, W&B's limit.
    say:       called with at most one sentence, if W&B cannot do what was asked.
    """

    mode: Mode
    directory: Path
    group: str
    tags: tuple[str, ...]
    say: Callable[[str], None]
    project: str = "jaxtrends"


@dataclasses.dataclass(frozen=True)
class LaneHistory:
    """The curves of one reported lane.

    steps:   (points,) integers.
    metrics: name -> (points,) numbers.
    """

    study: str
    method: str
    seed: int
    lane: int
    config: Mapping[str, Any]
    steps: np.ndarray
    metrics: Mapping[str, np.ndarray]


def mode(requested: str | None, environment: Mapping[str, str], preset: str) -> Mode:
    """Return how to use W&B: as the flag says, else not in ``smoke``, else as WANDB_MODE says.

    Offline if nobody says anything. A smoke run goes nowhere without the flag, so that a
    WANDB_MODE=online in somebody's profile does not publish their test runs.

    Raises:
        Problem: the flag, or WANDB_MODE where it counts, names no mode.
    """
    if requested is not None:
        return choose("W&B mode", requested, MODES)
    if preset == "smoke":
        return "disabled"
    return choose("W&B mode (WANDB_MODE)", environment.get("WANDB_MODE") or "offline", MODES)


def native(value: Any) -> Any:
    """Turn what a config may hold into JSON's own types; W&B would store a JAX scalar as text.

    NumPy and JAX scalars become numbers, arrays and tuples lists, dataclasses dicts; numbers that
    are not finite become text, since JSON has none; anything unknown becomes its ``str``.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        value = np.asarray(value)
        # ml_dtypes' numbers (bfloat16) are no Python numbers, and of NumPy's kind "V".
        value = (value.astype(np.float64) if value.dtype.kind == "V" else value).tolist()
    if isinstance(value, Mapping):
        return {str(key): native(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [native(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    return value if isinstance(value, float) and math.isfinite(value) else str(value)


class Tracker:
    """Writes an experiment's W&B runs, by the mode; a context manager.

    No method raises, prompts or waits without a bound. Whatever goes wrong with W&B, ``say`` is
    called with one sentence, once, and the experiment goes on.
    """

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        self._writer: _Writer | None = None
        self._uploader: _Uploader | None = None
        self._working = tracking.mode != "disabled"
        self._warned = False
        if self._working:
            with self._forgiving():
                self._writer = _Writer(tracking)
        if tracking.mode == "online":
            with self._forgiving():
                self._uploader = _Uploader(tracking)

    def settle(self) -> None:
        """Wait until W&B, which starts beside the run, has started, so that a time can be taken."""
        with self._forgiving():
            if self._working:
                self._writer.settle()

    def lanes(self, lanes: Sequence[LaneHistory]) -> None:
        """Write one study's reported lanes: a run each, the curves thinned.

        Past `LANES_PER_STUDY` lanes, every method gives up as many (its last seeds), and what
        those came to is written as one table.
        """
        with self._forgiving():
            if not (lanes and self._working):
                return
            names = list(dict.fromkeys(name for lane in lanes for name in lane.metrics))
            chosen = _fairly(lanes, LANES_PER_STUDY)
            for index in chosen:
                self._write(_lane_run(lanes[index], names))
            rest = [lanes[index] for index in range(len(lanes)) if index not in chosen]
            if rest:
                rows = [_last(lane) for lane in rest]
                self._write(_table_run(lanes[0].study, "other lanes", rows))

    def table(self, study: str, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows (a study's tuning lanes, say) as one table in one run."""
        with self._forgiving():
            if self._working:
                self._write(_table_run(study, name, rows))

    def record(
        self,
        done: Mapping[str, Any],
        path: Path,
        claims: Sequence[Mapping[str, Any]],
        answer: str,
    ) -> None:
        """Write the answer and the verdicts as the summary of one run.

        Args:
            done:   the record as plain data.
            path:   where it lies: it goes along as an artifact.
            claims: a row each, with claim, statement, reported, estimate, low, high and verdict;
                    they go along as a table.
            answer: the sentences that answer the headline.
        """
        with self._forgiving():
            if self._working:
                self._write(_claims_run(self._tracking.group, done, path, claims, answer))

    def close(self) -> str:
        """Finish, and where the mode is online, upload; return the address of the project's page.

        Waits `LOGIN_SECONDS` at most where the server does not answer, `UPLOAD_SECONDS` where it
        does. The address is "" if nothing was uploaded.
        """
        self._working = False
        address = ""
        with self._forgiving():
            if self._writer is not None:
                self._writer.close()
            if self._uploader is not None:
                self._stay_offline(self._uploader.upload())
            if self._uploader is not None:
                self._uploader.stop()
                address = self._uploader.address()
        self._writer = self._uploader = None
        return address

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _write(self, run: Mapping[str, Any]) -> None:
        if not self._working:
            return
        self._writer.write(run)
        if self._uploader is not None:
            self._stay_offline(self._uploader.refusal(wait=False))

    def _stay_offline(self, failure: str) -> None:
        if failure:
            self._uploader.stop()
            self._uploader = None
            self._warn(
                f"W&B: {failure}. The runs stay offline; to upload them later: "
                f"wandb sync {paths.quoted(_folder(self._tracking))}/offline-run-*"
            )

    @contextlib.contextmanager
    def _forgiving(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._working = False
            reason = next(iter(str(error).splitlines()), "") or repr(error)
            self._warn(f"W&B tracking is off from here on ({reason}); the record is not affected.")

    def _warn(self, sentence: str) -> None:
        if not self._warned:
            self._warned = True
            self._tracking.say(sentence)


# --- what a run is, as plain data ---------------------------------------------------------------


def _lane_run(lane: LaneHistory, names: Sequence[str]) -> dict[str, Any]:
    steps = np.asarray(lane.steps)
    kept = thin(len(steps), POINTS_PER_LANE)
    metrics = {}
    for name in names:
        values = np.asarray(lane.metrics.get(name, np.full(steps.shape, np.nan)))
        if values.shape != steps.shape:
            raise ValueError(f"{name} has shape {values.shape} and steps {steps.shape}")
        metrics[name] = values.astype(np.float64)[kept].tolist()
    own = {"study": lane.study, "method": lane.method, "seed": lane.seed, "lane": lane.lane}
    return {
        "name": shortened(f"{lane.study}/{lane.method}-s{lane.seed}", NAME_LETTERS),
        "job_type": "lane",
        "member": f"{lane.study}/{lane.method}",
        "config": native({**lane.config, **own}),
        "steps": steps[kept].tolist(),
        "metrics": metrics,
    }


def _table_run(study: str, name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "name": shortened(f"{study}/{name}", NAME_LETTERS),
        "job_type": "table",
        "config": {"study": study, "table": name},
        "table": (shortened(name, TABLE_LETTERS), *_columns(rows)),
    }


def _claims_run(
    group: str,
    done: Mapping[str, Any],
    path: Path,
    claims: Sequence[Mapping[str, Any]],
    answer: str,
) -> dict[str, Any]:
    named = {key: done[key] for key in ("experiment", "preset")}
    return {
        "name": shortened(record.title(done), NAME_LETTERS),
        "job_type": "claims",
        "config": native({**named, **done["provenance"]}),
        "summary": _summary(done, claims, answer),
        "table": ("claims", *_columns(claims)),
        "artifact": (re.sub(r"[^\w.-]+", "-", group) + "-record", str(Path(path).absolute())),
    }


def _summary(
    done: Mapping[str, Any], claims: Sequence[Mapping[str, Any]], answer: str
) -> dict[str, Any]:
    """What a table of runs shows of this one: numbers as numbers, without what there is not.

    The claim that leads comes once more as ``headline/…``, under one name in all experiments.
    """
    found = {"answer": answer, "caveat": done.get("caveat", "")}
    for row in claims:
        numbers = {k: float(row[k]) for k in ("estimate", "low", "high") if row[k] is not None}
        told = {**numbers, "verdict": row["verdict"]}
        found |= {f"claims/{row['claim']}/{name}": value for name, value in told.items()}
        if row["claim"] == done.get("lead"):
            told = {**{key: row[key] for key in ("claim", "statement", "reported")}, **told}
            found |= {f"headline/{name}": value for name, value in told.items()}
    return {name: value for name, value in found.items() if value != ""}


def _columns(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return columns, [[native(row.get(column)) for column in columns] for row in rows]


def _last(lane: LaneHistory) -> dict[str, Any]:
    own = {"method": lane.method, "seed": lane.seed, "lane": lane.lane}
    last = {name: values[-1] for name, values in lane.metrics.items()}
    return {**own, **lane.config, **last, **own}


def _fairly(lanes: Sequence[LaneHistory], limit: int) -> list[int]:
    """Return the indices of at most ``limit`` lanes: each method's first, each one's second, ….

    In ascending order.
    """
    seen: Counter[str] = Counter()
    turns = []
    for index, lane in enumerate(lanes):
        turns.append((seen[lane.method], index))
        seen[lane.method] += 1
    return sorted(index for _, index in sorted(turns)[:limit])


# --- the process that writes --------------------------------------------------------------------


def _folder(tracking: Tracking) -> Path:
    return Path(tracking.directory).absolute() / "wandb"


def _environment(folder: Path) -> dict[str, str]:
    """The environment for W&B's processes: the user's, less what names one particular run."""
    dropped = ("WANDB_RUN_ID", "WANDB_RESUME", "WANDB_SWEEP_ID", "WANDB_SERVICE", "WANDB_MODE")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return (
        _home(folder)
        | kept
        | {
            "PYTHONPATH": os.pathsep.join(
                filter(None, [str(Path(__file__).resolve().parents[1]), kept.get("PYTHONPATH")])
            ),
            "WANDB_ERROR_REPORTING": "false",  # or it calls home, also offline
            "WANDB_DATA_DIR": str(folder / "staging"),
            "WANDB_CACHE_DIR": str(folder / "cache"),
        }
    )


def _home(instead: Path) -> dict[str, str]:
    """The variable that gives W&B a home where the user has none, without which it does nothing."""
    try:
        Path.home()
    except RuntimeError:
        return {"HOME": str(instead)}
    return {}


def _start(folder: Path, arguments: Sequence[str], log: str, **options: Any) -> subprocess.Popen:
    """Start Python with W&B, cut off from the terminal, where it might ask or be interrupted."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / log).open("w") as errors:
        return subprocess.Popen(
            [sys.executable, "-P", *arguments],
            stderr=errors,
            cwd=folder.parent,
            env=_environment(folder),
            start_new_session=True,
            **options,
        )


class _Writer:
    """A process that writes runs: a line of JSON in and one out for each, first for its start."""

    def __init__(self, tracking: Tracking) -> None:
        self._folder = _folder(tracking)
        self._common = {
            "dir": str(self._folder.parent),
            "project": tracking.project,
            "group": tracking.group,
            "tags": [tag[:64] for tag in tracking.tags],
        }
        self._process = _start(
            self._folder,
            ["-m", "jaxtrends.tracking"],
            "writer.log",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ready = False

    def settle(self) -> None:
        """Wait until the process has started W&B.

        Raises:
            RuntimeError: W&B does not start, or not in time.
        """
        if not self._ready:
            self._answer()
            self._ready = True

    def write(self, run: Mapping[str, Any]) -> None:
        """Write a run.

        Raises:
            RuntimeError: it could not be written, or W&B did not answer in time.
        """
        self.settle()
        told = dict(run)
        group = "/".join(filter(None, (self._common["group"], told.pop("member", ""))))
        common = self._common | {"group": shortened(group, NAME_LETTERS)}
        answer = self._answer(json.dumps({"common": common, **told}) + "\n")
        # W&B turns to the system's temporary folder where it may not write, and says nothing.
        if self._folder not in Path(answer["path"]).parents:
            raise RuntimeError(f"{self._folder} cannot be written")

    def _answer(self, request: str = "") -> dict[str, Any]:
        # Killing the process ends the wait below, whichever side of the pipe it is on.
        timer = threading.Timer(WRITE_SECONDS, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if not line:
            killed = self._process.wait() == -signal.SIGKILL
            died = _last_line(self._folder / "writer.log") or "W&B's process ended"
            raise RuntimeError(f"no answer within {WRITE_SECONDS:.0f} s" if killed else died)
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def _serve() -> None:
    """Write a run for every line of JSON on standard input, and answer each with a line."""
    # The pipes are ours alone: W&B's service inherits the standard streams and may outlive us.
    jobs, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)

    def answer(act: Callable[[], dict[str, Any]]) -> None:
        try:
            answered = act()
        except Exception as error:
            answered = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answered), file=answers, flush=True)

    answer(_start_wandb)
    for line in jobs:
        answer(lambda line=line: {"path": _write_run(**json.loads(line))})


def _start_wandb() -> dict[str, Any]:
    import wandb

    wandb.setup()
    return {}


def _write_run(
    common: Mapping[str, Any],
    name: str,
    job_type: str,
    config: Mapping[str, Any],
    steps: Sequence[int] = (),
    metrics: Mapping[str, Sequence[float]] | None = None,
    summary: Mapping[str, Any] | None = None,
    table: tuple[str, list[str], list[list[Any]]] | None = None,
    artifact: tuple[str, str] | None = None,
) -> str:
    import wandb

    settings = wandb.Settings(
        silent=True,
        console="off",
        save_code=False,
        symlink=False,
        disable_git=True,
        disable_job_creation=True,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
    with wandb.init(
        mode="offline", name=name, job_type=job_type, config=config, settings=settings, **common
    ) as run:
        run.define_metric("step")
        run.define_metric("*", step_metric="step")
        for index, step in enumerate(steps):
            run.log({"step": step, **{key: values[index] for key, values in metrics.items()}})
        if table is not None:
            key, columns, rows = table
            run.log({key: wandb.Table(columns=columns, data=rows, allow_mixed_types=True)})
        run.summary.update(summary or {})
        if artifact is not None:
            title, path = artifact
            kept = wandb.Artifact(title, type="record")
            kept.add_file(path, policy="immutable")  # as it is, without a copy
            run.log_artifact(kept)
        return str(Path(run.dir).parent)


# --- what was written, read back ----------------------------------------------------------------

# W&B's own command for looking at runs, called for each of them by one process: to start W&B takes
# longer than to read a run.
READER = """
import sys
from wandb.cli.cli import cli

for run in sys.argv[1:]:
    try:
        cli(["leet", "inspect", "--json", run])
    except SystemExit as end:
        if end.code:
            sys.exit(end.code)
"""


def offline_runs(path: Path) -> list[Path]:
    """The W&B offline runs that a path names: itself, or those in it or in its folder ``wandb``."""
    if any(path.glob("run-*.wandb")):
        return [path]
    return sorted([*path.glob("offline-run-*"), *path.glob("wandb/offline-run-*")])


def read_lanes(runs: Sequence[Path]) -> list[LaneHistory]:
    """The reported lanes among W&B offline runs, as W&B's own command reads them back.

    Raises:
        Problem: W&B cannot read one of them, or they hold no lanes of this suite.
    """
    command = [sys.executable, "-P", "-c", READER, *map(str, runs)]
    done = subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        env=_home(Path(tempfile.gettempdir())) | os.environ | {"PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise Problem(f"W&B cannot read its runs: {lines[-1] if lines else 'it gives no reason'}.")
    found: list[dict[str, list[Any]]] = []
    try:
        for line in done.stdout.splitlines():
            part = json.loads(line)
            if part["type"] == "header":  # the first line of each run
                found.append({})
            found[-1].setdefault(part["type"], []).append(part.get(part["type"]))
        return [_lane_read(run) for run in found if run["run"][0].get("job_type") == "lane"]
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise Problem(f"The W&B runs hold what this suite never writes ({error!r:.80}).") from None


def _lane_read(run: Mapping[str, Sequence[Any]]) -> LaneHistory:
    config = dict(run["run"][0]["config"]["update"])
    own = {name: config.pop(name) for name in ("study", "method", "seed", "lane")}
    config.pop("_wandb", None)
    rows = [item["item"] for item in run.get("history", [])]
    names = dict.fromkeys(
        name for row in rows for name in row if not name.startswith("_") and name != "step"
    )
    return LaneHistory(
        **own,
        config=config,
        steps=np.array([row["step"] for row in rows]),
        metrics={name: np.array([float(row.get(name, "nan")) for row in rows]) for name in names},
    )


# --- the process that uploads -------------------------------------------------------------------


class _Uploader:
    """W&B's own commands, ``wandb login --verify`` and ``wandb sync``, with a bound on each."""

    def __init__(self, tracking: Tracking) -> None:
        self._folder = _folder(tracking)
        self._ask()

    def refusal(self, *, wait: bool) -> str:
        """Why the server takes no runs from this user; "" if it does, or has yet to answer."""
        left = max(0.0, self._until - time.monotonic())
        try:
            status = self._login.wait(left if wait else 0)
        except subprocess.TimeoutExpired:
            if time.monotonic() < self._until:
                return ""
            _end(self._login)
            return f"the server did not answer within {LOGIN_SECONDS:.0f} s"
        reason = _last_line(self._folder / "login.log") or f"wandb login ended with {status}"
        return reason if status else ""

    def upload(self) -> str:
        """Upload every run in the folder that was not yet; return why that failed, or "".

        Runs that an earlier process left, which was killed or offline, are among them.
        """
        runs = self._waiting()
        failure = self.refusal(wait=True) if runs else ""
        if failure or not runs:
            return failure
        sync = self._command("sync", *map(str, runs))
        ends = time.monotonic() + UPLOAD_SECONDS
        try:
            while not failure and not _ended(sync, CHECK_SECONDS):
                # Left alone with a server that has gone, the command would wait for ever.
                self._ask()
                failure = self.refusal(wait=True)
                if time.monotonic() > ends:
                    failure = f"the upload took more than {UPLOAD_SECONDS:.0f} s"
        finally:
            _end(sync)
        if failure or not self._waiting():
            return failure
        return _last_line(self._folder / "sync.log") or f"wandb sync ended with {sync.returncode}"

    def address(self) -> str:
        """The project's page, as the upload named it, or ""."""
        log = self._folder / "sync.log"
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        found = re.search(r"View run .* at (http\S+)/runs/", text)
        return found[1] if found else ""

    def stop(self) -> None:
        _end(self._login)

    def _waiting(self) -> list[Path]:
        runs = sorted(self._folder.glob("offline-run-*"))
        return [run for run in runs if not any(run.glob("*.synced"))]

    def _ask(self) -> None:
        self._login = self._command("login", "--verify")
        self._until = time.monotonic() + LOGIN_SECONDS

    def _command(self, name: str, *arguments: str) -> subprocess.Popen:
        return _start(
            self._folder,
            ["-m", "wandb", name, *arguments],
            f"{name}.log",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )


def _ended(process: subprocess.Popen, seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()


def _last_line(path: Path) -> str:
    lines = [
        line
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.strip()
    ]
    return re.sub(r"^(wandb: )?(ERROR |Error: )?", "", lines[-1]).rstrip(".") if lines else ""


if __name__ == "__main__":
    _serve()
