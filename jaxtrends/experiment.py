"""An experiment and its main: the one place where effects are wired together."""

from __future__ import annotations

import dataclasses
import importlib
import os
import pkgutil
import resource
import signal
import sys
import time
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from jaxtrends import claims, devices, record, sweep
from jaxtrends.claims import Claim, Paper
from jaxtrends.errors import Problem, choose
from jaxtrends.rundir import RunDirectory, StudyDirectory
from jaxtrends.study import StudyResult
from jaxtrends.terminal import Terminal, duration

CHECKPOINT_SECONDS = 20.0
SEGMENT_SECONDS = 1.0


@dataclass(frozen=True)
class Study:
    """One study of an experiment.

    about:   what it does, in one line.
    run:     (config, run) -> StudyResult; ``run`` is a `jaxtrends.study.Run`.
    claims:  the claims that its values decide.
    seconds: preset -> expected time on two CPU cores from a cold start.
    """

    about: str
    run: Callable[[Any, Any], StudyResult]
    claims: tuple[Claim, ...]
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Experiment:
    """One paper's claims, the studies that test them, and what a reader must know of both.

    presets:    name -> config, a frozen dataclass with a field ``studies`` of names (none: all).
    check:      (config, names of the user's own methods) -> None; raises Problem for a config
                that cannot be run.
    datasets:   config -> names of the data sets it needs, loaded before anything is trained.
    scale:      what was shrunk against the paper, one sentence.
    rigging:    how the toy could have been rigged, and what keeps it honest.
    departures: where the runs leave the paper's settings, one sentence each.
    """

    name: str
    paper: Paper
    about: str
    presets: Mapping[str, Any]
    studies: Mapping[str, Study]
    scale: str
    rigging: str
    departures: tuple[str, ...]
    check: Callable[[Any, tuple[str, ...]], None] = lambda config, methods: None
    datasets: Callable[[Any], Sequence[str]] = lambda config: ()

    def studies_of(self, config: Any) -> list[str]:
        """The names of the studies that a config asks for, in the experiment's own order.

        Raises:
            Problem: one of them is unknown.
        """
        for name in config.studies:
            choose("study", name, self.studies)
        return [name for name in self.studies if not config.studies or name in config.studies]

    def seconds(self, preset: str, studies: Sequence[str]) -> float:
        """Expected time of some studies in a preset, on two CPU cores from a cold start."""
        return sum(self.studies[name].seconds[preset] for name in studies)


@dataclass(frozen=True)
class Options:
    """How to run: nothing here changes a result."""

    preset: str = "default"
    """Which settings to start from: smoke (seconds, checks that all works), default (the headline
    claims in minutes) or full (every arm, size and seed: hours on a CPU)."""
    output: str = ""
    """Folder for the record, figures and W&B runs. By default runs/EXPERIMENT/PRESET-TIME."""
    resume: bool = False
    """Go on with the run in --output, or with the newest unfinished one of this preset."""
    wandb: str = ""
    """Weights & Biases: disabled, offline or online. Offline by default (disabled in smoke);
    never asks for an account."""
    devices: int | None = None
    """How many devices to use; all of them by default. The count changes no result."""
    data_dir: str = ""
    """Where prepared data sets lie. By default $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    compilation_cache: bool = True
    """Keep compiled programs in ~/.cache/jaxtrends for the next run."""


class Interrupted(Exception):
    """A signal asked the run to stop; all that was done is saved."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class _StopSignal:
    """Remembers SIGINT and SIGTERM; a second one ends the process at once."""

    def __init__(self) -> None:
        self.number = 0

    def __enter__(self) -> _StopSignal:
        handled = (signal.SIGINT, signal.SIGTERM)
        self._before = {number: signal.signal(number, self._note) for number in handled}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: object) -> None:
        if self.number:
            os._exit(128 + number)
        self.number = number

    def check(self) -> None:
        if self.number:
            raise Interrupted(self.number)


class _Run:
    """The effects of one study: `jaxtrends.study.Run`, wired to this process."""

    def __init__(
        self,
        name: str,
        folder: StudyDirectory,
        used: list[Any],
        terminal: Terminal,
        stop: _StopSignal,
        load: Callable[[str], Any],
        methods: Mapping[str, Callable[..., Any]],
    ) -> None:
        self.methods = methods
        self.lanes: list[dict[str, Any]] = []
        self.tables: list[tuple[str, Sequence[Mapping[str, Any]]]] = []
        self._name, self._folder, self._devices = name, folder, used
        self._terminal, self._stop, self._load = terminal, stop, load

    def dataset(self, name: str) -> Any:
        return self._load(name)

    def each(self, label: str, items: Sequence[Any]) -> Iterator[Any]:
        for number, item in enumerate(items):
            self._stop.check()
            self._terminal.update(f"{self._name}, {label}", number, len(items))
            yield item
        self._stop.check()

    def train(
        self,
        label: str,
        trainer: Any,
        lanes: Any,
        data: Any,
        *,
        steps: int,
        log_every: int,
        block: int,
        test: bool = True,
    ) -> dict[str, np.ndarray]:
        saver = _Saver(self._folder, label, self._terminal)
        pace = _Pace()

        def stop(segment: sweep.Segment, snapshots: Mapping[int, Callable[[], Any]]) -> None:
            pace.ran()
            for index, (points, metrics) in segment.news.items():
                self._folder.log(label, index, points, metrics)
            text = f"{self._name}, {label}"
            self._terminal.update(text, segment.done, segment.total, "steps")
            saver.save(snapshots, due=bool(self._stop.number))
            if self._stop.number:
                saver.close()
                self._stop.check()

        def finished(index: int, metrics: dict[str, np.ndarray]) -> None:
            saver.drop(index)
            self._folder.keep_block(label, index, metrics)

        effects = sweep.Effects(
            points=pace.points,
            stop=stop,
            restore=saver.restore,
            finished=finished,
            recall=lambda index: self._folder.block(label, index),
        )
        try:
            return sweep.run(
                trainer,
                lanes,
                data,
                steps=steps,
                log_every=log_every,
                block=block,
                test=test,
                devices=self._devices,
                effects=effects,
            )
        finally:
            saver.close()

    def log_lanes(
        self,
        method: str,
        seeds: Sequence[int],
        config: Mapping[str, Any],
        steps: np.ndarray,
        metrics: Mapping[str, np.ndarray],
    ) -> None:
        for lane, seed in enumerate(seeds):
            mine = {name: np.asarray(values)[lane] for name, values in metrics.items()}
            self.lanes.append(
                {
                    "method": method,
                    "seed": int(seed),
                    "lane": lane,
                    "config": dict(config),
                    "steps": np.asarray(steps),
                    "metrics": mine,
                }
            )

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self.tables.append((name, rows))


class _Pace:
    """How many log points a segment runs: as many as make about `SEGMENT_SECONDS`."""

    def __init__(self) -> None:
        self._points, self._started = 1, 0.0

    def points(self) -> int:
        self._started = time.monotonic()
        return self._points

    def ran(self) -> None:
        took = time.monotonic() - self._started
        if took < SEGMENT_SECONDS / 2:
            self._points = min(2 * self._points, 1024)
        elif took > 2 * SEGMENT_SECONDS:
            self._points = max(1, self._points // 2)


class _Saver:
    """Checkpoints of the blocks in flight, opened when one is first needed."""

    def __init__(self, folder: StudyDirectory, label: str, terminal: Terminal) -> None:
        self._folder, self._label, self._terminal = folder, label, terminal
        self._open: dict[int, Any] = {}
        self._last = time.monotonic()

    def _checkpoints(self, block: int) -> Any:
        if block not in self._open:
            from jaxtrends.checkpoint import Checkpoints

            path = self._folder.checkpoints(self._label, block)
            self._open[block] = Checkpoints(path, report=self._terminal.warn)
        return self._open[block]

    def restore(self, block: int, like: Any) -> Any:
        if not self._folder.checkpoints(self._label, block).exists():
            return None
        found = self._checkpoints(block).restore(like)
        return None if found is None else found[1]

    def save(self, snapshots: Mapping[int, Callable[[], Any]], *, due: bool) -> None:
        if not due and time.monotonic() - self._last < CHECKPOINT_SECONDS:
            return
        for block, snapshot in snapshots.items():
            tree = snapshot()
            self._checkpoints(block).save(int(tree["point"]), tree)
        self._last = time.monotonic()

    def drop(self, block: int) -> None:
        if block in self._open:
            self._open.pop(block).close()

    def close(self) -> None:
        for block in list(self._open):
            self.drop(block)


# --- flags -------------------------------------------------------------------------------------


def _preset_in(arguments: Sequence[str]) -> str:
    for number, argument in enumerate(arguments):
        if argument == "--preset" and number + 1 < len(arguments):
            return arguments[number + 1]
        if argument.startswith("--preset="):
            return argument.partition("=")[2]
    return "default"


def parse(
    experiment: Experiment, arguments: Sequence[str], methods: Sequence[str] = ()
) -> tuple[Any, Options]:
    """Read flags over the defaults of the preset they name.

    Raises:
        Problem: the preset is unknown or the experiment refuses the config.
        SystemExit: a flag is unknown or malformed (status 2, with the nearest flag), or --help.
    """
    import tyro

    preset = choose("preset", _preset_in(arguments), experiment.presets)
    config = experiment.presets[preset]
    fields = [
        ("config", Annotated[type(config), tyro.conf.arg(name="")]),
        ("options", Annotated[Options, tyro.conf.arg(name="")]),
    ]
    flags = dataclasses.make_dataclass("Flags", fields, frozen=True)
    took = duration(experiment.seconds(preset, experiment.studies_of(config)))
    studies = "\n".join(f"  {name}: {study.about}" for name, study in experiment.studies.items())
    parsed = tyro.cli(
        flags,
        args=list(arguments),
        default=flags(config, Options(preset=preset)),
        prog=f"python -m experiments.{experiment.name}",
        description=(
            f"{experiment.about}\n\nPaper: {experiment.paper.authors} ({experiment.paper.year}), "
            f"{experiment.paper.title}, arXiv {experiment.paper.arxiv}.\n\nStudies:\n{studies}\n\n"
            f"The preset {preset} takes about {took} on two CPU cores; its values are the "
            "defaults below."
        ),
    )
    experiment.studies_of(parsed.config)
    experiment.check(parsed.config, tuple(methods))
    return parsed.config, parsed.options


def rebuild(kind: type, plain: Mapping[str, Any]) -> Any:
    """A config dataclass from a record's plain data: lists become tuples, dicts nested configs."""
    hints = typing.get_type_hints(kind)

    def convert(hint: Any, value: Any) -> Any:
        if dataclasses.is_dataclass(hint):
            return rebuild(hint, value)
        if isinstance(value, list):
            inner = [h for h in typing.get_args(hint) if h is not ...] or [Any]
            return tuple(convert(inner[0], item) for item in value)
        return value

    return kind(**{name: convert(hints[name], value) for name, value in plain.items()})


# --- the run -----------------------------------------------------------------------------------


def main(
    experiment: Experiment,
    arguments: Sequence[str] | None = None,
    methods: Mapping[str, Callable[..., Any]] | None = None,
) -> int:
    """Run an experiment from the command line; the exit status.

    Args:
        experiment: what to run.
        arguments:  flags; those of the process by default.
        methods:    methods of the user's own, by name, run beside the experiment's.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = ["python", "-m", f"experiments.{experiment.name}", *given]
    terminal = None
    try:
        config, options = parse(experiment, given, tuple(methods or ()))
        terminal = Terminal()
        finished = run(experiment, config, options, command, terminal, methods or {})
        _conclude(finished, terminal)
        return 0
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        print(f"Stopped by {interrupted}; the state is saved.", file=sys.stderr)
        return 128 + interrupted.number
    finally:
        if terminal is not None:
            terminal.clear()


def _folder_for(experiment: Experiment, options: Options) -> Path:
    if options.output:
        return Path(options.output)
    runs = Path("runs") / experiment.name
    if not options.resume:
        return runs / f"{options.preset}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    for marker in sorted(runs.glob(f"{options.preset}-*/run.json"), reverse=True):
        if not (marker.parent / "record.json").exists():
            return marker.parent
    raise Problem(
        f"There is no unfinished {options.preset} run in {runs}: name one with --output, "
        "or leave --resume out."
    )


def _code_modules(study: Study) -> list[str]:
    """What a study's numbers rest on: its own module and the driver, with all they import."""
    return sorted({study.run.__module__, "jaxtrends.sweep"})


def _mine(method: Callable[..., Any]) -> str:
    import inspect

    try:
        return inspect.getsource(method)
    except (OSError, TypeError):
        return repr(method)


def run(
    experiment: Experiment,
    config: Any,
    options: Options,
    command: Sequence[str],
    terminal: Terminal,
    methods: Mapping[str, Callable[..., Any]],
) -> tuple[dict[str, Any], Path]:
    """Run the studies that are not done yet, and write the record.

    Returns:
        The record as plain data, and the folder it lies in.

    Raises:
        Problem: data, the output folder or a flag is at fault; found out before any training.
        Interrupted: a signal came; what was done is saved in the folder.
    """
    from jaxtrends import data, tracking

    started = datetime.now(UTC)
    clock = time.monotonic()
    chosen = experiment.studies_of(config)
    mode = tracking.mode(options.wandb or None, os.environ, options.preset)
    used = devices.use(options.devices)
    if options.compilation_cache:
        devices.keep_compiled()
    loaded: dict[str, Any] = {}
    data_dir = Path(options.data_dir) if options.data_dir else None

    def load(name: str) -> Any:
        if name not in loaded:
            loaded[name] = data.load(name, data_dir)
        return loaded[name]

    for name in experiment.datasets(config):
        load(name)
    description = {
        "experiment": experiment.name,
        "preset": options.preset,
        "config": config,
        "methods": {name: _mine(method) for name, method in methods.items()},
    }
    path = _folder_for(experiment, options)
    folder = RunDirectory(path, description, resume=options.resume)
    hardware = devices.describe(used)
    terminal.say(
        f"{experiment.name}, preset {options.preset}: {', '.join(chosen)}. "
        f"About {duration(experiment.seconds(options.preset, chosen))} on two CPU cores; here "
        f"{hardware['count']} x {hardware['kind']}. Output: {path}"
    )
    tracker = tracking.Tracker(
        tracking.Tracking(
            mode=mode,
            directory=path,
            group=f"{experiment.name}/{record.digest(config)[:8]}",
            tags=(
                f"paper:{experiment.paper.arxiv}",
                f"tier:{options.preset}",
                f"git:{record.commit()[0][:12] or 'none'}",
            ),
            say=terminal.warn,
        )
    )
    try:
        with _StopSignal() as stop:
            made = {}
            for name in chosen:
                made[name] = _run_study(
                    experiment, name, config, folder, used, terminal, stop, load, methods, tracker
                )
            done = _record(experiment, config, options, made, loaded, hardware, command, started)
            done["measurements"]["seconds"] = time.monotonic() - clock
            _write(done, {name: study.curves() for name, (_, study) in made.items()}, path)
            tracker.record(done, path / "record.json", _claim_rows(done))
    except Interrupted as interrupted:
        terminal.clear()
        terminal.say("To go on with this run:\n  " + _resume_command(command, path))
        raise interrupted
    finally:
        tracker.close()
        folder.close()
    return done, path


def _resume_command(command: Sequence[str], path: Path) -> str:
    import shlex

    kept = [part for part in command if part != "--resume"]
    if not any(part == "--output" or part.startswith("--output=") for part in kept):
        kept += ["--output", str(path)]
    return shlex.join([*kept, "--resume"])


def _run_study(
    experiment: Experiment,
    name: str,
    config: Any,
    folder: RunDirectory,
    used: list[Any],
    terminal: Terminal,
    stop: _StopSignal,
    load: Callable[[str], Any],
    methods: Mapping[str, Callable[..., Any]],
    tracker: Any,
) -> tuple[dict[str, Any], StudyDirectory]:
    from jaxtrends.tracking import LaneHistory

    study = experiment.studies[name]
    modules = _code_modules(study)
    place = folder.study(name, record.code_digest(modules))
    result = place.result()
    if result is not None:
        terminal.say(f"{name}: done before, kept.")
        return result, place
    started = time.monotonic()
    effects = _Run(name, place, used, terminal, stop, load, methods)
    found = study.run(config, effects)
    terminal.clear()
    head, dirty = record.commit()
    seconds = time.monotonic() - started
    curves = {key: np.asarray(values) for key, values in found.curves.items()}
    place.finish(
        {
            "results": {
                "values": found.values,
                "tables": found.tables,
                "figures": found.figures,
                "curves_digest": record.array_digest(curves),
            },
            "measurements": {
                "values": found.measurements,
                "tables": found.measured_tables,
                "figures": found.measured_figures,
                "seconds": seconds,
            },
            "code": {
                "modules": modules,
                "digest": record.code_digest(modules),
                "commit": head,
                "dirty": dirty,
                "device": devices.describe(used),
            },
        },
        curves,
    )
    tracker.lanes([LaneHistory(study=name, **lane) for lane in effects.lanes])
    for table, rows in effects.tables:
        tracker.table(name, table, rows)
    terminal.say(f"{name}: done in {duration(seconds)}.")
    return place.result(), place


def _record(
    experiment: Experiment,
    config: Any,
    options: Options,
    made: Mapping[str, tuple[dict[str, Any], StudyDirectory]],
    loaded: Mapping[str, Any],
    hardware: Mapping[str, Any],
    command: Sequence[str],
    started: datetime,
) -> dict[str, Any]:
    judged: dict[str, list[Any]] = {"results": [], "measurements": []}
    not_run = []
    for name, study in experiment.studies.items():
        for claim in study.claims:
            reason = f"the study {name} was not run"
            if name in made:
                try:
                    entry = _judge(claim, made[name][0][claim.about]["values"])
                    judged[claim.about].append(entry)
                    continue
                except KeyError as missing:
                    reason = f"the run has no {missing.args[0]}"
            not_run.append(
                {"id": claim.id, "study": name, "statement": claim.statement, "reason": reason}
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    whole = {
        "schema": record.SCHEMA_VERSION,
        "experiment": experiment.name,
        "preset": options.preset,
        "paper": experiment.paper,
        "about": experiment.about,
        "scale": experiment.scale,
        "rigging": experiment.rigging,
        "departures": experiment.departures,
        "results": {
            "config": config,
            "config_digest": record.digest(config),
            "data": {
                name: {
                    "version": found.version,
                    "digest": found.digest,
                    "origin": found.origin,
                    "licence": found.licence,
                }
                for name, found in loaded.items()
            },
            "studies": {name: result["results"] for name, (result, _) in made.items()},
            "claims": judged["results"],
            "not_run": not_run,
        },
        "measurements": {
            "studies": {name: result["measurements"] for name, (result, _) in made.items()},
            "claims": judged["measurements"],
            "peak_memory_bytes": peak * (1 if sys.platform == "darwin" else 1024),
        },
        "provenance": {
            **record.provenance(command, hardware, started.isoformat(timespec="seconds")),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "code": {name: result["code"] for name, (result, _) in made.items()},
        },
    }
    # A record is dirty if any of its studies was made from code that is no commit.
    origins = [result["code"]["dirty"] for result, _ in made.values()]
    whole["provenance"]["dirty"] = None if None in origins else any(origins)
    return record.plain(whole)


def _judge(claim: Claim, values: Mapping[str, Any]) -> dict[str, Any]:
    evidence = claims.Evidence({}) if claim.not_testable else claim.evidence(values)
    return record.claim_entry(claim, evidence, claims.judge(claim, evidence))


def _write(
    done: Mapping[str, Any], curves: Mapping[str, Mapping[str, np.ndarray]], path: Path
) -> None:
    from jaxtrends import report

    named = {f"{s}/{name}": values for s, found in curves.items() for name, values in found.items()}
    record.write_arrays(path / "curves.npz", named)
    record.write_json(path / "record.json", done)
    report.draw_all(done, path / "figures")


def _claim_rows(done: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for entry in record.entries(done):
        verdict = entry["verdict"]
        shown = verdict["parts"].get(verdict["headline"], {})
        rows.append(
            {
                "claim": entry["claim"]["id"],
                "statement": entry["claim"]["statement"],
                "reported": entry["claim"]["reported"],
                "estimate": shown.get("estimate"),
                "low": shown.get("low"),
                "high": shown.get("high"),
                "verdict": verdict["verdict"],
            }
        )
    return rows


def _conclude(finished: tuple[dict[str, Any], Path], terminal: Terminal) -> None:
    from jaxtrends import report

    done, path = finished
    terminal.say("")
    terminal.console.print(report.terminal_table(done))
    terminal.say(f"Record:  {path / 'record.json'}")
    terminal.say(f"Figures: {path / 'figures'}")
    if (path / "wandb").exists():
        terminal.say(
            f"W&B:     {path / 'wandb'} (to upload: wandb sync {path / 'wandb'}/offline-*)"
        )
    reason = record.publishable(done)
    if reason:
        terminal.say(f"Not to be published: {reason}.")


def rerun(done: Mapping[str, Any], output: Path) -> dict[str, Any]:
    """Make a record again on this machine, from its own config.

    Raises:
        Problem: this release has no such experiment, or the config no longer fits it.
    """
    experiment = discover()[choose("experiment", done["experiment"], discover())]
    kind = type(next(iter(experiment.presets.values())))
    try:
        config = rebuild(kind, record.numbers(done["results"]["config"]))
    except (KeyError, TypeError) as error:
        raise Problem(f"The record's config does not fit this release: {error}.") from None
    options = Options(preset=done["preset"], output=str(output), wandb="disabled")
    terminal = Terminal()
    try:
        return run(experiment, config, options, ["rerun"], terminal, {})[0]
    finally:
        terminal.clear()


def discover() -> dict[str, Experiment]:
    """Every experiment by name: the modules of ``experiments`` that hold an EXPERIMENT."""
    import experiments

    found = {}
    for module in pkgutil.iter_modules(experiments.__path__):
        if not module.name.startswith("_"):
            loaded: types.ModuleType = importlib.import_module(f"experiments.{module.name}")
            found[module.name] = loaded.EXPERIMENT
    return found
