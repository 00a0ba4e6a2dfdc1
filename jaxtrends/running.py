"""Running an experiment: from the command line to its record. The one place that wires effects."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from jaxtrends import (
    backend,
    code_digest,
    conclusion,
    devices,
    distributed,
    golden,
    mesh,
    paths,
    record,
    recording,
)
from jaxtrends import command as commands
from jaxtrends.command import Command
from jaxtrends.design import Design
from jaxtrends.distributed import Lost, Processes
from jaxtrends.errors import Problem, choose
from jaxtrends.flags import PLACES, Options, chosen, mesh_of, parse, rebuild, spelled
from jaxtrends.formats import UNSHOWABLE, showable
from jaxtrends.plot_queue import PlotQueue
from jaxtrends.progress import Progress
from jaxtrends.rundir import RunDirectory, StudyDirectory, new_folder
from jaxtrends.study_run import Interrupted, StopSignal, StudyRun, Wiring
from jaxtrends.terminal import Quiet, Terminal, duration, in_time, mend_streams


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


UNJUDGED = 3  # the exit status of a run whose record is written, some claims of it not judged


def main(
    experiment: Design,
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
            _explain(experiment, config, options, methods or {}, terminal)
            return 0
        processes = distributed.start(
            options.coordinator, options.processes, options.process, options.distributed
        )
        terminal = Terminal() if processes.first else Quiet(processes.name)
        finished = run(experiment, config, options, command, terminal, methods or {}, processes)
        if finished is not None:
            _conclude(finished, terminal, command, every=options.claims)
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


def call(
    experiment: Design,
    preset: str,
    settings: Mapping[str, Any],
    methods: Mapping[str, Callable[..., Any]],
    terminal: Terminal | None,
) -> record.Record:
    """Run an experiment from Python; see `jaxtrends.experiment.Experiment.run`."""
    own = tuple(methods)
    _check_names(own)
    config, options = chosen(experiment, preset, settings, own)
    flags = spelled(experiment.presets[preset], config, options)
    command = commands.of(f"experiments.{experiment.name}", flags, own)
    terminal = terminal or Quiet("")
    try:
        finished = run(
            experiment, config, options, command, terminal, methods, Processes(), hosted=True
        )
    except Interrupted as interrupted:
        if interrupted.number == signal.SIGINT:
            said = "the state of the run is saved: go on with resume=True"
            raise KeyboardInterrupt(said) from interrupted
        raise
    finally:
        terminal.clear()
    for claim, why in finished.unjudged.items():
        terminal.warn(f"{claim} could not be judged ({why}); the record has the values.")
    return record.read(finished.folder)


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
    experiment: Design,
    config: Any,
    options: Options,
    methods: Mapping[str, Callable[..., Any]],
    terminal: Terminal,
) -> None:
    """Print what a run would do; nothing is trained or written."""
    from jaxtrends import plan

    found = backend.use(_device_count(options))
    machine = plan.MACHINES.get(found[0].platform, plan.CORE)
    block = options.block if options.block != "auto" else 1 if machine is plan.CORE else None
    data_dir = Path(options.data_dir) if options.data_dir else None
    calls = plan.of(experiment, config, methods, data_dir, block)
    known = plan.measured(experiment.name, options.preset)
    taken = {name: known[name] for name in calls if name in known}
    count = len(found) * (options.processes or 1)
    changed = experiment.changes(options.preset, config)
    shown = record.preset_in_words(options.preset, changed, tuple(methods))
    terminal.say(f"{experiment.name}, preset {shown}: nothing is run.")
    terminal.console.print(plan.explain(calls, taken, machine, count))
    every = [call for found in calls.values() for call in found]
    said = "No lanes are trained"
    if every:
        said = f"In all {plan.operations(every):.3g} operations"
        terminal.say(
            "Operations are matrix products and convolutions, counted on the programs, as if no "
            "grid had to be extended; memory is that of a block without its activations; "
            f"{machine.name}s are assumed to reach {machine.speed:.2g} operations a second."
        )
    if taken:
        said += (
            f"; the committed record of the preset took {duration(sum(taken.values()))} for "
            f"{', '.join(taken)}, without other flags, on the machine that it names"
        )
    terminal.say(f"{said}.")


def _device_count(options: Options) -> int | None:
    """How many devices to ask for: all, where it is None."""
    if options.mesh:
        return math.prod(mesh_of(options.mesh))
    # A smoke run has too little work for two: each would compile the same programs for itself.
    return 1 if options.preset == "smoke" and options.devices is None else options.devices


def _folder_for(experiment: Design, options: Options) -> Path:
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
    experiment: Design,
    config: Any,
    options: Options,
    command: Command,
    terminal: Terminal,
    methods: Mapping[str, Callable[..., Any]],
    processes: Processes,
    blocks: Mapping[str, Mapping[str, int]] | None = None,
    hosted: bool = False,
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
        hosted:     whether the process belongs to other code, which outlives the run.

    Returns:
        The record, and the folder it lies in; None in a process beside the first.

    Raises:
        Problem: data, the output folder or a flag is at fault; found out before any training.
        Interrupted: a signal came; what was done is saved in the folder.
        Lost: another process has gone; what was done is saved too.
    """
    ready = _made_ready(experiment, config, options, terminal, methods, processes)
    if not processes.first:
        _beside(ready)
        return None
    path = _folder_for(experiment, options)
    folder = RunDirectory(path, ready.description, resume=options.resume, report=terminal.warn)
    processes.tell("folder", str(path))
    starts = folder.starts(_now())
    _announce(ready, path)
    terminal.begin_run(Progress(list(ready.code), _expected(ready)))
    tracker, plots = _tracker(ready, path), PlotQueue()
    try:
        limit = 60.0 * (options.time_limit or 0.0)
        with StopSignal(processes, limit, hosted=hosted) as stop, devices.profiled(ready.trace):
            made = {
                name: _made(ready, name, folder, stop, tracker, plots, (blocks or {}).get(name))
                for name in ready.code
            }
        terminal.wait("judging, drawing")
        results = {name: result for name, (result, _) in made.items()}
        curves = {
            f"{name}/{curve}": values
            for name, (_, study) in made.items()
            for curve, values in study.curves().items()
        }
        done, unjudged = _recorded(ready, results, curves, command, starts)
        recording.write(done, curves, path)
        plots.order([done["figure"]] if "figure" in done else [], path / "figures")
        rows = recording.claim_rows(done)
        tracker.record(done, path / "record.json", rows, conclusion.answer(done))
        if ready.tracking == "online":
            terminal.say("Uploading to W&B …")
        address = tracker.close()
        plots.finish()
        terminal.clear()
    except (Interrupted, Lost):
        terminal.clear()
        terminal.say("To go on with this run:\n  " + command.to_resume(path))
        raise
    finally:
        plots.close()
        tracker.close()
        folder.close()
    if plots.undrawn:
        again = command.to_resume(path)
        terminal.warn(f"{plots.complaint}; the record is whole. To draw again: {again}")
    if ready.trace:
        terminal.say(f"Profile: {ready.trace} (perfetto_trace.json.gz in it opens in Perfetto)")
    if address:
        terminal.say(f"W&B: {address}")
    return Finished(done, path, unjudged)


@dataclass(frozen=True)
class _Ready:
    """A run that all its processes agree on: data loaded, devices found, nothing trained.

    tracking:    the mode of Weights & Biases.
    trace:       the folder for a profile, if one is asked for.
    description: what is run, as plain data; a run that goes on must have the same.
    code:        study to be run -> digest of its source.
    commit:      of the code, and whether it is dirty.
    hardware:    of all processes together.
    wiring:      what all studies share.
    """

    experiment: Design
    config: Any
    options: Options
    tracking: str
    trace: Path | None
    data: _Data
    description: Mapping[str, Any]
    code: Mapping[str, str]
    commit: tuple[str, bool | None]
    hardware: Mapping[str, Any]
    wiring: Wiring

    @property
    def own(self) -> tuple[str, ...]:
        """Names of the user's own methods."""
        return tuple(self.wiring.methods)


def _made_ready(
    experiment: Design,
    config: Any,
    options: Options,
    terminal: Terminal,
    methods: Mapping[str, Callable[..., Any]],
    processes: Processes,
) -> _Ready:
    """Load the data and find the devices; stop where the processes of a run differ.

    Raises:
        Problem: data or a flag is at fault, or what a process has differs from another's.
    """
    from jaxtrends import tracking

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
    commit = record.commit()
    code = {name: code_digest.of_study(experiment.studies[name]) for name in chosen}
    hardware = devices.describe(used)
    versions = record.versions()
    distributed.agree(
        processes,
        {
            "commit": commit[0],
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
    block, in_flight = options.block, options.blocks_in_flight
    wiring = Wiring(used, over, block, in_flight, terminal, data.load, methods, processes)
    return _Ready(
        experiment,
        config,
        options,
        mode,
        trace,
        data,
        description,
        code,
        commit,
        hardware,
        wiring,
    )


class _Data:
    """The data sets of a run, each loaded once."""

    def __init__(self, load: Callable[[str], Any]) -> None:
        self.loaded: dict[str, Any] = {}
        self._load = load

    def load(self, name: str) -> Any:
        if name not in self.loaded:
            self.loaded[name] = self._load(name)
        return self.loaded[name]


def _announce(ready: _Ready, path: Path) -> None:
    """Say what is run, on what, for how long, and where the results go."""
    experiment, preset, hardware = ready.experiment, ready.options.preset, ready.hardware
    say = ready.wiring.terminal.say
    changed = experiment.changes(preset, ready.config)
    shown = record.preset_in_words(preset, changed, ready.own)
    studies, data = len(ready.code), ", ".join(ready.data.loaded)
    say(
        f"{experiment.name}, preset {shown}: {studies} {'study' if studies == 1 else 'studies'}"
        f"{f' on {data}' if data else ''}."
    )
    here = f"ere {hardware['count']} x {hardware['kind']}, {hardware['cores']} cores."
    known = sum(_expected(ready).values())
    say(f"About {in_time(known)} on two idle CPU cores; h{here}" if known else f"H{here}")
    if any(getattr(ready.config, name) for name in experiment.files):
        for found in ready.data.loaded.values():  # what was read of the user's file, and left out
            say(f"Data: {found.origin}")
    say(f"Output: {path}")


def _expected(ready: _Ready) -> dict[str, float]:
    """Study -> seconds that it took in the committed record; nothing for other settings than its.

    The record is that of two CPU cores, and a study of other settings takes nobody knows how long.
    """
    from jaxtrends import plan

    changed = ready.experiment.changes(ready.options.preset, ready.config)
    known = plan.measured(ready.experiment.name, ready.options.preset)
    if set(changed) - {"studies"} or ready.own or not set(ready.code) <= set(known):
        return {}
    return {name: known[name] for name in ready.code}


def _tracker(ready: _Ready, path: Path) -> Any:
    from jaxtrends import tracking

    digest, head = record.digest(ready.config)[:8], ready.commit[0]
    return tracking.Tracker(
        tracking.Tracking(
            mode=ready.tracking,
            directory=path,
            group=f"{ready.experiment.name}/{digest}",
            tags=(
                f"paper:{ready.experiment.paper.arxiv}",
                f"tier:{ready.options.preset}",
                f"git:{head[:12] or 'none'}",
                f"config:{digest}",
            ),
            say=ready.wiring.terminal.warn,
        )
    )


def _made(
    ready: _Ready,
    name: str,
    folder: RunDirectory,
    stop: StopSignal,
    tracker: Any,
    plots: PlotQueue,
    known_blocks: Mapping[str, int] | None,
) -> tuple[dict[str, Any], StudyDirectory]:
    """A study's result and its folder: run now, or kept from before."""
    study, terminal = ready.experiment.studies[name], ready.wiring.terminal
    place = folder.study(name, ready.code[name])
    result = place.result()
    ready.wiring.processes.tell(f"{name}, done before", result is not None)
    if result is not None:
        terminal.kept(name)
    else:
        terminal.begin(name, place.spent()[0])
        if study.timed:
            plots.finish()
            tracker.settle()
        effects = StudyRun(name, place, stop, ready.wiring, known_blocks)
        _run_study(ready, name, effects, place)
        _track(tracker, name, effects)
        result = place.result()
        terminal.end(name, result["seconds"])
    for part in ("results", "measurements"):
        plots.order(result[part]["figures"], folder.path / "figures")
    return result, place


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _origin(ready: _Ready, name: str) -> dict[str, Any]:
    """What a study is made by: code, device and the edition of its golden values."""
    head, dirty = ready.commit
    editions = golden.editions(ready.experiment.name)
    known = {"golden": editions[name]} if name in editions else {}
    return {"commit": head, "dirty": dirty, "device": ready.hardware, **known}


def _recorded(
    ready: _Ready,
    made: Mapping[str, Mapping[str, Any]],
    curves: Mapping[str, np.ndarray],
    command: Command,
    starts: Sequence[str],
) -> tuple[dict[str, Any], dict[str, str]]:
    """The record as plain data, with where it comes from; and what could not be judged."""
    done, unjudged = recording.record_of(
        ready.experiment,
        ready.config,
        ready.options.preset,
        made,
        ready.data.loaded,
        ready.own,
        curves,
    )
    code = {name: result["code"] for name, result in made.items()}
    # A record is dirty if any of its studies was made from code that is no commit.
    origins = [origin["dirty"] for origin in code.values()]
    done["provenance"] = {
        **record.provenance(command.recorded(PLACES), ready.hardware, starts[0]),
        "resumed": starts[1:],
        "finished": _now(),
        "code": code,
        "dirty": None if None in origins else any(origins),
    }
    return record.plain(done), unjudged


def _beside(ready: _Ready) -> None:
    """Run the studies beside the first process, for this process's blocks of them.

    The first has each study's folder ready before it says whether the study is done, so that no
    other removes from a shared folder what the first has written.
    """
    processes, terminal = ready.wiring.processes, ready.wiring.terminal
    path = Path(processes.tell("folder", None))
    folder = RunDirectory.joined(path, ready.description, terminal.warn)
    try:
        with StopSignal(processes) as stop:
            for name, digest in ready.code.items():
                if not processes.tell(f"{name}, done before", None):
                    effects = StudyRun(name, folder.study(name, digest), stop, ready.wiring)
                    ready.experiment.studies[name].run(ready.config, effects)
    finally:
        folder.close()


def _run_study(ready: _Ready, name: str, effects: StudyRun, place: StudyDirectory) -> None:
    """Run a study and keep what it found in its folder."""
    found = ready.experiment.studies[name].run(ready.config, effects)
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
        "code": {**_origin(ready, name), "blocks": effects.blocks},
        "seconds": effects.seconds,
        "peak_memory_bytes": effects.peak_memory_bytes,
    }
    place.finish(result, curves)


def _track(tracker: Any, name: str, effects: StudyRun) -> None:
    from jaxtrends.tracking import LaneHistory

    tracker.lanes([LaneHistory(study=name, **lane) for lane in effects.lanes])
    for table, rows in effects.tables:
        tracker.table(name, table, rows)


def _conclude(finished: Finished, terminal: Terminal, command: Command, *, every: bool) -> None:
    """End with the answer, the claims that matter or all of them, and where the rest lies."""
    done, path = finished.record, finished.folder
    again = replace(command, flags=(*command.flags, "--claims")).to_resume(path)
    conclusion.show(done, terminal.console, every=every, command=again)
    for claim, why in finished.unjudged.items():
        verb = "made" if claim == recording.FIGURE else "judged"
        terminal.warn(f"{claim} could not be {verb} ({why}); the record has the values.")
    terminal.say(f"Record:  {path / 'record.json'}")
    if (path / "figures").exists():
        terminal.say(f"Figures: {path / 'figures'}")
    python = sys.orig_argv[0] if sys.orig_argv else "python"
    terminal.say(f"Page:    {python} -m scripts.webpage {paths.quoted(path)}")
    wandb = path / "wandb"
    if wandb.exists():
        terminal.say(f"W&B:     wandb sync {paths.quoted(wandb)}/offline-* (to upload)")
    reason = record.publishable(done)
    if reason and done["preset"] != "smoke":  # whose answer says what it is worth
        terminal.say(f"Not to be published: {reason}.")


def rerun(
    done: Mapping[str, Any],
    output: Path | None,
    *,
    experiments: Mapping[str, Design],
    beside: Path,
    command: Command,
    resume: bool = False,
) -> dict[str, Any]:
    """Make a record again on this machine, from its own config.

    Args:
        done:    the record.
        output:  the folder for the run; None for a new one beside the other runs.
        experiments: that there are, by name.
        beside:  where the record lies: files that its run read are looked for above it too.
        command: what the user typed.
        resume:  whether to go on with the run in ``output``.

    Raises:
        Problem: this release has no such experiment, or the config no longer fits it; the run had
            methods of its user's own; a file that it read is not there.
        Interrupted: a signal came; what was done is saved.
    """
    experiment = experiments[choose("experiment", done["experiment"], experiments)]
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
        raise Problem(
            f"The record's settings are not those of this release ({error}): check out its commit "
            f"{done['provenance']['commit'][:12]} to make it again, or add --judge-only."
        ) from None
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


def _with_files(experiment: Design, config: Any, beside: Path) -> Any:
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
