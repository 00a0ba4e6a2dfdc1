"""An experiment and its main: the one place where effects are wired together."""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import pkgutil
import resource
import sys
import time
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jaxtrends import (
    backend,
    claims,
    code_digest,
    devices,
    distributed,
    golden,
    mesh,
    paths,
    record,
    settings,
)
from jaxtrends import command as commands
from jaxtrends.claims import Claim, Paper
from jaxtrends.command import Command
from jaxtrends.comparison import Comparison
from jaxtrends.distributed import Lost, Processes
from jaxtrends.errors import Problem, choose
from jaxtrends.flags import PLACES, Options, mesh_of, parse, rebuild
from jaxtrends.formats import UNSHOWABLE, showable
from jaxtrends.plan import Planned
from jaxtrends.plot_queue import PlotQueue
from jaxtrends.rundir import RunDirectory, StudyDirectory, new_folder
from jaxtrends.study import StudyResult
from jaxtrends.study_run import Interrupted, StopSignal, StudyRun
from jaxtrends.terminal import Quiet, Terminal, duration, mend_streams


@dataclass(frozen=True)
class Study:
    """One study of an experiment.

    about:   what it does, in one line.
    run:     (config, run) -> StudyResult; ``run`` is a `jaxtrends.study.Run`.
    claims:  the claims that its values decide.
    seconds: preset -> expected time on two CPU cores from a cold start, where it was measured.
    timed:   whether it measures times, so that nothing of the run's own may go on beside it.

    A `jaxtrends.comparison.Comparison` is a study too.
    """

    about: str
    run: Callable[[Any, Any], StudyResult]
    claims: tuple[Claim, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    timed: bool = False


Text = TypeVar("Text")
Telling = Callable[[Any, Mapping[str, Any]], Text]  # (config, name -> data set) -> what is told


def _of_the_library(config: Any, name: str, folder: Path | None) -> Any:
    from jaxtrends import data

    return data.load(name, folder)


@dataclass(frozen=True)
class Experiment:
    """One paper's claims, the studies that test them, and what a reader must know of both.

    presets:    name -> config, a frozen dataclass with a field ``studies`` of names (none: all).
    answer:     the claims as they came out -> a sentence that answers the headline claims.
    check:      (config, names of the user's own methods) -> None; raises Problem for a config
                that cannot be run. `jaxtrends.settings.check` by default.
    datasets:   config -> names of the data sets it needs, loaded before anything is run.
    files:      names of the config's fields that hold the path of a file, "" for none.
    spread:     (config, data, expert) -> None; raises Problem for a mesh of so many devices along
                each axis that the networks cannot be spread over. None: they never are.
    load:       (config, name, data folder or None) -> a data set, for an experiment that brings its
                own; anything with the attributes version, digest (SHA-256), origin and licence.
                `jaxtrends.data.load` by default.
    plan:       (config, names of the user's own methods) -> study -> the calls of its training, in
                their order, for the studies that train lanes.
    operations: (config, names of the user's own methods) -> study -> group of curves -> method ->
                floating-point operations of one training step of one lane, where the study's own
                values do not say; the record has them there as ``step_flops``.
    scale:      what was shrunk against the paper, one sentence.
    rigging:    how the toy could have been rigged, and what keeps it honest.
    departures: where the runs leave the paper's settings, one sentence each.
    other_data: (config, name -> data set) -> what the data are, where they are not those that the
                claims are written for; "" where they are. No reported figure then stands beside
                ours, and what only those data can decide is not judged.

    ``scale``, ``rigging`` and ``departures`` are functions of the config and of the data sets where
    a flag could make a fixed sentence untrue.
    """

    name: str
    paper: Paper
    about: str
    presets: Mapping[str, Any]
    studies: Mapping[str, Study | Comparison]
    scale: str | Telling[str]
    rigging: str | Telling[str]
    departures: tuple[str, ...] | Telling[tuple[str, ...]]
    answer: Callable[[claims.Answers], str] = lambda found: ""
    check: Callable[[Any, tuple[str, ...]], None] = lambda config, methods: settings.check(config)
    datasets: Callable[[Any], Sequence[str]] = lambda config: ()
    load: Callable[[Any, str, Path | None], Any] = _of_the_library
    files: tuple[str, ...] = ()
    spread: Callable[[Any, int, int], None] | None = None
    plan: Callable[[Any, Sequence[str]], Mapping[str, Sequence[Planned]]] = lambda config, own: {}
    operations: Callable[[Any, Sequence[str]], Mapping[str, Any]] = lambda config, own: {}
    other_data: Telling[str] = lambda config, data: ""

    def __post_init__(self) -> None:
        """Tell each claim its study, which need not be written beside it."""
        named = {
            name: replace(study, claims=tuple(replace(c, study=name) for c in study.claims))
            for name, study in self.studies.items()
        }
        object.__setattr__(self, "studies", named)

    def studies_of(self, config: Any) -> list[str]:
        """The names of the studies that a config asks for, in the experiment's own order.

        Raises:
            Problem: one of them is unknown.
        """
        for name in config.studies:
            choose("study", name, self.studies)
        return [name for name in self.studies if not config.studies or name in config.studies]

    def changes(self, preset: str, config: Any) -> dict[str, dict[str, Any]]:
        """Where a config differs from the preset that it is called by: field -> both values."""
        return record.changes(record.plain(self.presets[preset]), record.plain(config))

    def seconds(self, preset: str, studies: Sequence[str]) -> float:
        """Expected time of some studies in a preset, on two CPU cores from a cold start."""
        return sum(getattr(self.studies[name], "seconds", {}).get(preset, 0.0) for name in studies)


@dataclass(frozen=True)
class Finished:
    """A run that came to its end.

    record:   as plain data.
    folder:   where it lies.
    unjudged: claim id -> what its judging raised, where it raised what nobody foresaw.
    """

    record: dict[str, Any]
    folder: Path
    unjudged: Mapping[str, str]


# --- the run -----------------------------------------------------------------------------------

UNJUDGED = 3  # the exit status of a run whose record is written, some claims of it not judged


def main(
    experiment: Experiment,
    arguments: Sequence[str] | None = None,
    methods: Mapping[str, Callable[..., Any]] | None = None,
) -> int:
    """Run an experiment from the command line; the exit status.

    It is 0 where all went well; 1 after an unexpected error; 2 after one that the user can mend; 3
    where the record is written and some claims could not be judged, which says why; 128 and the
    signal's number after a signal.

    Args:
        experiment: what to run.
        arguments:  flags; those of the process by default, and in a notebook none.
        methods:    methods of the user's own, by name, run beside the experiment's.
    """
    mend_streams()
    command = commands.of(f"experiments.{experiment.name}", arguments, tuple(methods or ()))
    processes, terminal = Processes(), None
    status, failure = 1, "unexpected error"
    try:
        _check_names(methods or ())
        config, options = parse(experiment, command.flags, tuple(methods or ()))
        if options.explain:
            terminal = Terminal()
            _explain(experiment, config, options, tuple(methods or ()), terminal)
            return 0
        processes = distributed.start(
            options.coordinator, options.processes, options.process, options.distributed
        )
        terminal = Terminal() if processes.first else Quiet(processes.name)
        finished = run(experiment, config, options, command, terminal, methods or {}, processes)
        if finished is not None:
            _conclude(finished, terminal)
        status, failure = UNJUDGED if finished and finished.unjudged else 0, ""
    except Problem as problem:
        status, failure = 2, str(problem)
        print(f"{processes.name}error: {showable(failure)}", file=sys.stderr)
    except Lost as lost:
        status, failure = 1, ""
        print(f"{processes.name}error: {showable(str(lost))}", file=sys.stderr)
    except BrokenPipeError:  # the reader of our output has gone, `| head` say
        status, failure = 1, "nobody reads its output"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # the disk that our output goes to is full, say
        status, failure = 2, f"{error}. What is done is kept: go on with --resume."
        print(f"{processes.name}error: {showable(failure)}", file=sys.stderr)
        with contextlib.suppress(OSError, ValueError):  # no terminal's, but a test's
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Interrupted as interrupted:
        status, failure = 128 + interrupted.number, ""
        print(f"{processes.name}Stopped by {interrupted}; the state is saved.", file=sys.stderr)
    finally:
        if terminal is not None:
            terminal.clear()
        processes.leave(failure)
    return distributed.exit_status(processes, status)


def _check_names(methods: Iterable[str]) -> None:
    """Refuse names of methods that neither a record nor its curves could hold.

    Raises:
        Problem: names the method.
    """
    for name in methods:
        if not name.strip() or "/" in name or UNSHOWABLE.search(name) or len(name.split("\n")) > 1:
            raise Problem(
                f"A method cannot be called {showable(name)!r}: choose a name of one line, without "
                "slashes and control characters."
            )


def _explain(
    experiment: Experiment, config: Any, options: Options, own: Sequence[str], terminal: Terminal
) -> None:
    """Print what a run would do; nothing is loaded, compiled or written."""
    from jaxtrends import plan

    chosen = experiment.studies_of(config)
    found = backend.use(_device_count(options))
    machine = plan.MACHINES.get(found[0].platform, plan.CORE)
    planned = experiment.plan(config, own)
    calls = {name: planned.get(name, ()) for name in chosen}
    measured = {name: experiment.seconds(options.preset, [name]) for name in chosen}
    count = len(found) * (options.processes or 1)
    shown = record.preset_in_words(options.preset, experiment.changes(options.preset, config), own)
    terminal.say(f"{experiment.name}, preset {shown}: nothing is run.")
    unplanned = [
        name
        for name in chosen
        if name not in planned and isinstance(experiment.studies[name], Comparison)
    ]
    if unplanned:
        times = ", ".join(f"{name} {duration(measured[name])}" for name in chosen)
        terminal.say(
            f"What {', '.join(unplanned)} would train is not computed beforehand yet. Expected on "
            f"two idle CPU cores: {times}."
        )
        return
    terminal.console.print(plan.explain(calls, measured, machine, count))
    terminal.say(
        f"Operations by formula; memory of a block without its activations; {machine.name}s as "
        f"they are assumed to be, at {machine.speed:.2g} operations a second. The last column is "
        "what the preset takes as it stands, without other flags."
    )
    terminal.say(
        f"In all {plan.operations([c for calls in calls.values() for c in calls]):.3g} operations, "
        f"about {duration(sum(measured.values()))} on two idle CPU cores."
    )


def _device_count(options: Options) -> int | None:
    """How many devices to ask for: all, where it is None."""
    if options.mesh:
        return math.prod(mesh_of(options.mesh))
    # A smoke run has too little work for two: each would compile the same programs for itself.
    return 1 if options.preset == "smoke" and options.devices is None else options.devices


def _folder_for(experiment: Experiment, options: Options) -> Path:
    if options.output:
        return Path(options.output)
    runs = Path("runs") / experiment.name
    if not options.resume:
        return new_folder(runs, options.preset)
    for marker in sorted(runs.glob(f"{options.preset}-*/run.json"), reverse=True):
        if not (marker.parent / "record.json").exists():
            return marker.parent
    raise Problem(
        f"There is no unfinished {options.preset} run in {runs}: name one with --output, "
        "or leave --resume out."
    )


def _source(method: Callable[..., Any]) -> str:
    import inspect

    try:
        return inspect.getsource(method)
    except (OSError, TypeError):
        return repr(method)


def run(
    experiment: Experiment,
    config: Any,
    options: Options,
    command: Command,
    terminal: Terminal,
    methods: Mapping[str, Callable[..., Any]],
    processes: Processes,
    blocks: Mapping[str, Mapping[str, int]] | None = None,
) -> Finished | None:
    """Run the studies that are not done yet, and write the record.

    Args:
        experiment: what to run.
        config:     its settings.
        options:    how to run it.
        command:    what the user typed, for the record.
        terminal:   where it is told.
        methods:    methods of the user's own, by name.
        processes:  those that share the run.
        blocks:     of a record that is made again: study -> call of training -> lanes of a block.

    Returns:
        The record, and the folder it lies in; None in a process beside the first.

    Raises:
        Problem: data, the output folder or a flag is at fault; found out before any training.
        Interrupted: a signal came; what was done is saved in the folder.
        Lost: another process has gone; what was done is saved too.
    """
    from jaxtrends import tracking

    started = datetime.now(UTC).isoformat(timespec="seconds")
    chosen = experiment.studies_of(config)
    mode = tracking.mode(options.wandb or None, os.environ, options.preset)
    used = backend.use(_device_count(options))
    if options.compilation_cache:
        backend.keep_compiled(terminal.warn)
    data_dir = Path(options.data_dir) if options.data_dir else None
    trace = Path(options.profile) if options.profile else None
    if trace is not None:
        paths.make(trace, "profile")
    data = _Data(lambda name: experiment.load(config, name, data_dir))
    for name in experiment.datasets(config):
        data.load(name)
    description = {
        "experiment": experiment.name,
        "preset": options.preset,
        "config": config,
        "block": options.block,
        "methods": {name: _source(method) for name, method in methods.items()},
        "data": {name: found.digest for name, found in data.loaded.items()},
    }
    head, dirty = record.commit()
    code = {name: code_digest.of_study(experiment.studies[name]) for name in chosen}
    editions = golden.editions(experiment.name)
    hardware = devices.describe(used)
    versions = record.versions()
    distributed.agree(
        processes,
        {
            "commit": head,
            **record.plain(description),
            "code": code,
            "jax": versions["jax"],
            "jaxlib": versions["jaxlib"],
            "device": hardware["kind"],
            "mesh": options.mesh,
        },
    )
    over = mesh.make(*mesh_of(options.mesh), used) if options.mesh else None
    if over is not None:
        hardware["mesh"] = dict(over.shape)
    hardware["processes"] = processes.count
    hardware["count"] = sum(processes.all("devices", len(used)))
    lanes = (options.block, options.blocks_in_flight)
    wired = (used, over, *lanes, terminal, data.load, methods, processes)
    if not processes.first:
        path = Path(processes.tell("folder", None))
        folder = RunDirectory.joined(path, description, terminal.warn)
        _beside(experiment, config, code, folder, wired)
        return None
    path = _folder_for(experiment, options)
    folder = RunDirectory(path, description, resume=options.resume, report=terminal.warn)
    processes.tell("folder", str(path))
    changed = experiment.changes(options.preset, config)
    terminal.say(
        f"{experiment.name}, preset "
        f"{record.preset_in_words(options.preset, changed, tuple(methods))}: "
        f"{', '.join(chosen)}.\n"
        f"About {duration(experiment.seconds(options.preset, chosen))} on two idle CPU cores; here "
        f"{hardware['count']} x {hardware['kind']}, {hardware['cores']} cores.\nOutput: {path}"
    )
    for name, found in data.loaded.items():
        terminal.say(f"Data: {name}. {found.origin}")
    tracker = tracking.Tracker(
        tracking.Tracking(
            mode=mode,
            directory=path,
            group=f"{experiment.name}/{record.digest(config)[:8]}",
            tags=(
                f"paper:{experiment.paper.arxiv}",
                f"tier:{options.preset}",
                f"git:{head[:12] or 'none'}",
                f"config:{record.digest(config)[:8]}",
            ),
            say=terminal.warn,
        )
    )
    painter = PlotQueue()
    made: dict[str, tuple[dict[str, Any], StudyDirectory]] = {}
    try:
        limit = 60.0 * (options.time_limit or 0.0)
        with StopSignal(processes, limit) as stop, devices.profiled(trace):
            for name in chosen:
                study = experiment.studies[name]
                origin = {"commit": head, "dirty": dirty, "device": hardware}
                if name in editions:
                    origin["golden"] = editions[name]
                place = folder.study(name, code[name])
                result = place.result()
                processes.tell(f"{name}, done before", result is not None)
                if result is None:
                    if study.timed:
                        painter.finish()
                        tracker.settle()
                    known = (blocks or {}).get(name)
                    effects = StudyRun(name, place, stop, *wired, known_blocks=known)
                    _run_study(study, config, effects, place, origin)
                    _track(tracker, name, effects)
                    result = place.result()
                    terminal.say(f"{name}: done in {duration(result['seconds'])}.")
                else:
                    terminal.say(f"{name}: done before, kept.")
                made[name] = (result, place)
                for part in ("results", "measurements"):
                    painter.order(result[part]["figures"], path / "figures")
        done, unjudged = _record(
            experiment, config, options.preset, made, data.loaded, tuple(methods)
        )
        done["provenance"] = {
            **record.provenance(command.recorded(PLACES), hardware, started),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "code": {name: result["code"] for name, (result, _) in made.items()},
        }
        # A record is dirty if any of its studies was made from code that is no commit.
        origins = [result["code"]["dirty"] for result, _ in made.values()]
        done["provenance"]["dirty"] = None if None in origins else any(origins)
        done = record.plain(done)
        _write(done, {name: study.curves() for name, (_, study) in made.items()}, path)
        tracker.record(done, path / "record.json", _claim_rows(done))
        if mode == "online":
            terminal.say("Uploading to W&B …")
        address = tracker.close()
        painter.finish()
    except (Interrupted, Lost):
        terminal.clear()
        terminal.say("To go on with this run:\n  " + command.to_resume(path))
        raise
    finally:
        painter.close()
        tracker.close()
        folder.close()
    if painter.undrawn:
        again = command.to_resume(path)
        terminal.warn(f"{painter.complaint}; the record is whole. To draw again: {again}")
    if trace:
        terminal.say(f"Profile: {trace} (perfetto_trace.json.gz in it opens in Perfetto)")
    if address:
        terminal.say(f"W&B: {address}")
    return Finished(done, path, unjudged)


class _Data:
    """The data sets of a run, each loaded once."""

    def __init__(self, load: Callable[[str], Any]) -> None:
        self.loaded: dict[str, Any] = {}
        self._load = load

    def load(self, name: str) -> Any:
        if name not in self.loaded:
            self.loaded[name] = self._load(name)
        return self.loaded[name]


def _beside(
    experiment: Experiment,
    config: Any,
    code: Mapping[str, str],
    folder: RunDirectory,
    wired: tuple[Any, ...],
) -> None:
    """Run the studies beside the first process, for this process's blocks of them.

    The first has each study's folder ready before it says whether the study is done, so that no
    other removes from a shared folder what the first has written.
    """
    processes = wired[-1]
    try:
        with StopSignal(processes) as stop:
            for name, digest in code.items():
                if not processes.tell(f"{name}, done before", None):
                    effects = StudyRun(name, folder.study(name, digest), stop, *wired)
                    experiment.studies[name].run(config, effects)
    finally:
        folder.close()


def _run_study(
    study: Study, config: Any, effects: StudyRun, place: StudyDirectory, code: Mapping[str, Any]
) -> None:
    """Run a study and keep what it found in its folder."""
    started = time.monotonic()
    found = study.run(config, effects)
    curves = {key: np.asarray(values) for key, values in found.curves.items()}
    result = {
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
        },
        "code": {**code, "blocks": effects.blocks},
        "seconds": time.monotonic() - started,
        "peak_memory_bytes": _peak_memory(),
    }
    place.finish(result, curves)


def _peak_memory() -> int:
    """The most memory that this process has had so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)


def _track(tracker: Any, name: str, effects: StudyRun) -> None:
    from jaxtrends.tracking import LaneHistory

    effects.clear()
    tracker.lanes([LaneHistory(study=name, **lane) for lane in effects.lanes])
    for table, rows in effects.tables:
        tracker.table(name, table, rows)


def _record(
    experiment: Experiment,
    config: Any,
    preset: str,
    made: Mapping[str, tuple[dict[str, Any], StudyDirectory]],
    loaded: Mapping[str, Any],
    own: Sequence[str],
) -> tuple[dict[str, Any], dict[str, str]]:
    """Results and measurements of the studies, their claims judged; and what could not be judged.

    Claim id, or "The answer" -> what it raised, of those that raised what nobody foresaw: the
    studies are done by then, and no claim may cost their record.
    """
    operations = experiment.operations(config, own)
    other = experiment.other_data(config, loaded)
    judged: dict[str, list[Any]] = {"results": [], "measurements": []}
    not_run, unjudged = [], {}
    for name, study in experiment.studies.items():
        for declared in (*study.claims, *_of_own(study, name, own)):
            claim = replace(declared, reported="") if other else declared
            reason = f"the study {name} was not run"
            if other and claim.not_testable:
                reason = f"it is about the paper's own data, and these are {other}"
            elif name in made:
                try:
                    values = made[name][0][claim.about]["values"]
                    judged[claim.about].append(_judge(claim, values, other))
                    continue
                except KeyError as missing:
                    reason = f"the run has no {', '.join(map(str, missing.args))}"
                except Exception as error:
                    unjudged[claim.id] = f"{type(error).__name__}: {record.first_line(error)}"
                    why = f"judging it from what this run found ended with {unjudged[claim.id]}"
                    judged[claim.about].append(_not_testable(claim, why))
                    continue
            not_run.append(
                {"id": claim.id, "study": name, "statement": claim.statement, "reason": reason}
            )
    answer = ""
    try:
        answer = _answer(experiment, judged)
    except Exception as error:
        unjudged["The answer"] = f"{type(error).__name__}: {record.first_line(error)}"
    results = [result for result, _ in made.values()]
    done = {
        "schema": record.SCHEMA_VERSION,
        "experiment": experiment.name,
        "preset": preset,
        "changed": experiment.changes(preset, config),
        "own_methods": list(own),
        "paper": experiment.paper,
        "about": experiment.about,
        "answer": answer,
        "scale": _told(experiment.scale, config, loaded),
        "rigging": _told(experiment.rigging, config, loaded),
        "departures": list(_told(experiment.departures, config, loaded)),
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
            "studies": {
                name: _with_operations(result["results"], operations.get(name))
                for name, (result, _) in made.items()
            },
            "claims": judged["results"],
            "not_run": not_run,
        },
        "measurements": {
            "studies": {
                name: {**result["measurements"], "seconds": result["seconds"]}
                for name, (result, _) in made.items()
            },
            "claims": judged["measurements"],
            "peak_memory_bytes": max(result["peak_memory_bytes"] for result in results),
            "seconds": sum(result["seconds"] for result in results),
        },
    }
    return done, unjudged


def _told(said: Any, config: Any, data: Mapping[str, Any]) -> Any:
    """A sentence, or what a function of the config and of the data makes of it."""
    return said(config, data) if callable(said) else said


def _of_own(study: Any, name: str, own: Sequence[str]) -> Sequence[Claim]:
    """Claims about arms of the user's own, where the study lets them join in."""
    if not (own and isinstance(study, Comparison) and study.own):
        return ()
    return [replace(claim, study=name) for claim in study.claims_of(own)]


def _answer(experiment: Experiment, judged: Mapping[str, Sequence[Any]]) -> str:
    """The experiment's answer; none where this run lacks a claim that the sentence needs."""
    try:
        return experiment.answer(claims.Answers([*judged["results"], *judged["measurements"]]))
    except KeyError:
        return ""


def _with_operations(results: Mapping[str, Any], operations: Any) -> Mapping[str, Any]:
    if operations is None:
        return results
    return {**results, "values": {**results["values"], "step_flops": operations}}


def _judge(claim: Claim, values: Mapping[str, Any], other: str) -> dict[str, Any]:
    """A claim as the record keeps it; ``other`` names data that it was not written for.

    Raises:
        KeyError: the values lack what the claim needs.
        Exception: anything else is an error of the claim's.
    """
    if claim.not_testable:
        return _not_testable(claim, claim.not_testable)
    evidence = claim.evidence(values)
    try:
        verdict = claims.judge(claim, evidence)
    except KeyError as missing:
        raise ValueError(f"its evidence has no {missing}") from missing
    if other and verdict.verdict == claims.INVALID:
        # The controls are sized for the claim's own data: on others it is they that do not fit.
        why = f"its controls cannot do their work on {other}: {verdict.note}"
        return _not_testable(claim, why)
    return record.claim_entry(claim, evidence, verdict)


def _not_testable(claim: Claim, why: str) -> dict[str, Any]:
    claim, evidence = replace(claim, not_testable=why), claims.Evidence({})
    return record.claim_entry(claim, evidence, claims.judge(claim, evidence))


def _write(
    done: Mapping[str, Any], curves: Mapping[str, Mapping[str, np.ndarray]], path: Path
) -> None:
    named = {f"{s}/{name}": values for s, found in curves.items() for name, values in found.items()}
    record.write_arrays(path / "curves.npz", named)
    record.write_json(path / "record.json", done)


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


def _conclude(finished: Finished, terminal: Terminal) -> None:
    from jaxtrends import report

    done, path = finished.record, finished.folder
    terminal.say("")
    terminal.console.print(report.terminal_table(done))
    for claim, why in finished.unjudged.items():
        terminal.warn(f"{claim} could not be judged ({why}); the record has the values.")
    terminal.say(f"Record:  {path / 'record.json'}")
    if (path / "figures").exists():
        terminal.say(f"Figures: {path / 'figures'}")
    wandb = path / "wandb"
    if wandb.exists():
        terminal.say(f"W&B:     {wandb} (to upload: wandb sync {paths.quoted(wandb)}/offline-*)")
    reason = record.publishable(done)
    if reason:
        terminal.say(f"Not to be published: {reason}.")


def rerun(
    done: Mapping[str, Any],
    output: Path | None,
    *,
    beside: Path,
    command: Command,
    resume: bool = False,
) -> dict[str, Any]:
    """Make a record again on this machine, from its own config.

    Args:
        done:    the record.
        output:  the folder for the run; None for a new one beside the other runs.
        beside:  where the record lies: files that its run read are looked for above it too.
        command: what the user typed.
        resume:  whether to go on with the run in ``output``.

    Raises:
        Problem: this release has no such experiment, or the config no longer fits it; the run had
            methods of its user's own; a file that it read is not there.
        Interrupted: a signal came; what was done is saved.
    """
    experiment = discover()[choose("experiment", done["experiment"], discover())]
    preset = choose("preset", done["preset"], experiment.presets)
    own = done.get("own_methods", ())
    if own:
        raise Problem(
            f"The run had methods of its user's own ({', '.join(own)}), whose code no record "
            "holds: run their script again and look at both with scripts.compare, or add "
            "--judge-only."
        )
    kind = type(next(iter(experiment.presets.values())))
    try:
        config = rebuild(kind, record.numbers(done["results"]["config"]))
    except (KeyError, TypeError) as error:
        raise Problem(f"The record's config does not fit this release: {error}.") from None
    experiment.check(config, ())
    located = _with_files(experiment, config, beside)
    there = replace(experiment, load=lambda _, name, folder: experiment.load(located, name, folder))
    path = output or new_folder(Path("runs") / experiment.name, f"verify-{preset}")
    made = {name: code.get("blocks") for name, code in done["provenance"]["code"].items()}
    blocks = {name: known for name, known in made.items() if known is not None}
    options = Options(
        preset=preset,
        output=str(path),
        wandb="disabled",
        resume=resume,
        block="auto" if blocks else 1,  # before records said so, every block was of one lane
    )
    terminal = Terminal()
    try:
        return run(there, config, options, command, terminal, {}, Processes(), blocks=blocks).record
    finally:
        terminal.clear()


def _with_files(experiment: Experiment, config: Any, beside: Path) -> Any:
    """The config with each file that it names where it is: here, or in a folder above a record."""
    places = [Path(), *beside.resolve().parents]
    for setting in experiment.files:
        name = getattr(config, setting)
        found = next((place / name for place in places if (place / name).is_file()), None)
        if name and found is None:
            raise Problem(
                f"The run read {name}, which is neither here nor in a folder above {beside}: start "
                "again in the folder that the run was started in."
            )
        if name:
            config = replace(config, **{setting: str(found)})
    return config


def discover() -> dict[str, Experiment]:
    """Every experiment by name: the modules of ``experiments`` that hold an EXPERIMENT."""
    import experiments

    found = {}
    for module in pkgutil.iter_modules(experiments.__path__):
        if not module.name.startswith("_"):
            loaded: types.ModuleType = importlib.import_module(f"experiments.{module.name}")
            found[module.name] = loaded.EXPERIMENT
    return found
