"""Flags: an experiment's config and the options of a run, over the defaults of a preset."""

from __future__ import annotations

import dataclasses
import os
import re
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from jaxtrends import mesh, paths, plan
from jaxtrends.command import flag_of
from jaxtrends.design import Design
from jaxtrends.errors import Problem, choose
from jaxtrends.formats import UNSHOWABLE, showable
from jaxtrends.terminal import duration

MINUTES_OF_A_YEAR = 525_600
MOST_DEVICES = 4096  # along an axis of a mesh
PATHS = ("output", "profile", "data_dir")  # the options that name a place

NO_RESULT = "no result"  # marks a flag that changes no bit of a result, only where and how fast
GONE = {"block": 1}  # fields that configs had, with what they were in every record; now a flag


@dataclass(frozen=True)
class Options:
    """How to run: nothing here changes a result, but --block and --mesh, which change rounding."""

    preset: str = "default"
    """Which settings to start from: smoke (seconds, checks that all works), default (the headline
    claims in minutes) or full (every arm, size and seed: hours on a CPU)."""
    output: Annotated[str, NO_RESULT] = ""
    """Folder for the record, figures and W&B runs. By default runs/EXPERIMENT/PRESET-TIME."""
    resume: Annotated[bool, NO_RESULT] = False
    """Go on with the run in --output, or with the newest unfinished one of this preset."""
    wandb: Annotated[str, NO_RESULT] = ""
    """Weights & Biases: disabled, offline or online. Offline by default (disabled in smoke);
    never asks for an account."""
    devices: Annotated[int | None, NO_RESULT] = None
    """How many devices to use; all of them by default (one in smoke), and on a CPU one a core. The
    count changes no result."""
    block: int | Literal["auto"] = "auto"
    """Lanes (learning rates x seeds) that run as one program. auto: one on a CPU, on an accelerator
    all lanes of a call that fit in its memory. The record says how many it was; another number
    changes results by rounding."""
    blocks_in_flight: Annotated[int | None, NO_RESULT] = None
    """How many blocks of lanes run at a time in a process, dealt to its devices in turn; by default
    one a device on a CPU and two elsewhere, as far as memory allows. Changes no result."""
    time_limit: Annotated[float | None, NO_RESULT] = None
    """Minutes after which the run saves its state and stops, to go on with --resume."""
    mesh: str = ""
    """Spread each lane over several devices of a process: data=D shares out the batch, expert=E the
    experts as well, data=2,expert=4 takes eight devices. Only for experiments with experts; sums
    in another order change results by rounding."""
    explain: Annotated[bool, NO_RESULT] = False
    """Print what would be run, and stop: programs, lanes, steps, arithmetic, memory, time."""
    claims: Annotated[bool, NO_RESULT] = False
    """Print all claims when the run ends, not the headline's alone; of a run that is done with
    --output and --resume."""
    coordinator: Annotated[str, NO_RESULT] = ""
    """HOST:PORT of process 0, to share the blocks of a run among several processes: started by hand
    with one command each, which differ in --process alone."""
    processes: Annotated[int | None, NO_RESULT] = None
    """How many processes share the run; goes with --coordinator and --process."""
    process: Annotated[int | None, NO_RESULT] = None
    """Which of them this is, from 0. Process 0 writes the record and speaks; the count changes no
    result."""
    distributed: Annotated[str, NO_RESULT] = ""
    """auto: read all three from the environment, that of SLURM, Open MPI, Kubernetes or a TPU pod,
    which is not looked at unless asked for."""
    profile: Annotated[str, NO_RESULT] = ""
    """Folder for a JAX profiler trace of the studies, which Perfetto and XProf open. Best of a
    smoke run or a single study: a trace grows by the megabyte."""
    data_dir: Annotated[str, NO_RESULT] = ""
    """Where prepared data sets lie. By default $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    compilation_cache: Annotated[bool, NO_RESULT] = True
    """Keep compiled programs in ~/.cache/jaxtrends for the next run."""


def _places() -> dict[str, bool]:
    hints = typing.get_type_hints(Options, include_extras=True).items()
    marked = {n: typing.get_args(h)[0] for n, h in hints if NO_RESULT in typing.get_args(h)}
    found = {flag_for([name]): kind is not bool for name, kind in marked.items()}
    return found | {f"--no-{flag[2:]}": False for flag, value in found.items() if not value}


def _preset_in(arguments: Sequence[str]) -> str:
    for number, argument in enumerate(arguments):
        if argument == "--preset" and number + 1 < len(arguments):
            return arguments[number + 1]
        if argument.startswith("--preset="):
            return argument.partition("=")[2]
    return "default"


def fields_of(config: Any, way: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The way to every field of a config that a flag sets, nested ones too, and its value."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields_of(value, (*way, field.name))
        else:
            yield (*way, field.name), value


def flag_for(way: Sequence[str]) -> str:
    """The flag that sets a field: ``--training.batch-size``."""
    return f"--{'.'.join(way).replace('_', '-')}"


PLACES = _places()
"""Flags that change no result, or name places of one machine -> whether a value follows them."""


def changed(config: Any, way: Sequence[str], value: Any) -> Any:
    """A config with another value in one field, however deep."""
    name, *rest = way
    inner = changed(getattr(config, name), rest, value) if rest else value
    return dataclasses.replace(config, **{name: inner})


def refusal(experiment: Design, config: Any, preset: Any, methods: Sequence[str]) -> str:
    """Why an experiment refuses a config, with the flag at fault; "" where it does not.

    What refuses a config may know its part of it alone: that one of some numbers is no number of
    experts, and not that --capacity.tops gave it. So the flag is found by taking each of those that
    differ from the preset back.
    """
    problem = _refusal(experiment, config, methods)
    if not problem:
        return ""
    given = {
        flag_for(way): changed(config, way, before)
        for (way, value), (_, before) in zip(fields_of(config), fields_of(preset), strict=True)
        if value != before
    }
    at_fault = [flag for flag in given if _refusal(experiment, given[flag], methods) != problem]
    named = re.findall(r"--[a-z0-9._-]*[a-z0-9]", problem)
    if not at_fault or set(at_fault) & set(named):
        return problem
    for flag in set(named) - set(given):
        problem = re.sub(rf"{re.escape(flag)}(?![\w.-]*\w)", flag[2:], problem)
    return f"{' or '.join(at_fault)}: {problem}"


def _refusal(experiment: Design, config: Any, methods: Sequence[str]) -> str:
    try:
        experiment.studies_of(config)
        experiment.check(config, tuple(methods))
    except Problem as problem:
        return str(problem)
    return ""


def _check_once(arguments: Sequence[str], switches: Collection[str]) -> None:
    """Refuse a flag that is given twice, of which one would win without a word.

    Raises:
        Problem: names the flag.
    """
    seen = set()
    for flag in (flag_of(argument) for argument in arguments if argument.startswith("--")):
        head, dot, last = flag.rpartition(".") if "." in flag else ("", "--", flag[2:])
        unsaid = f"{head}{dot}{last.removeprefix('no-')}"  # --no-x and --x are one flag
        flag = unsaid if unsaid in switches else flag
        if flag in seen:
            raise Problem(f"{flag} is given twice: give it once, with all that it is to say.")
        seen.add(flag)


def _check_characters(arguments: Iterable[str]) -> None:
    for argument in arguments:
        if UNSHOWABLE.search(argument):  # no record could hold it
            raise Problem(f"The argument {showable(argument)!r} holds a control character.")


def parse(
    experiment: Design, arguments: Sequence[str], methods: Sequence[str] = ()
) -> tuple[Any, Options]:
    """Read flags over the defaults of the preset they name.

    Raises:
        Problem: a flag is given twice, the preset is unknown or the experiment refuses the config.
        SystemExit: a flag is unknown or malformed (status 2, with the nearest flag), or --help.
    """
    import tyro

    _check_characters(arguments)
    config = next(iter(experiment.presets.values()))
    every = (*fields_of(config), *fields_of(Options()))
    _check_once(arguments, {flag_for(way) for way, value in every if isinstance(value, bool)})
    preset = choose("preset", _preset_in(arguments), experiment.presets)
    config = experiment.presets[preset]
    fields = [
        ("config", Annotated[type(config), tyro.conf.arg(name="")]),
        ("options", Annotated[Options, tyro.conf.arg(name="")]),
    ]
    flags = dataclasses.make_dataclass("Flags", fields, frozen=True)
    known = plan.measured(experiment.name, preset)
    took = f" Its record took {duration(sum(known.values()))} on two CPU cores." if known else ""
    studies = "\n".join(f"  {name}: {study.about}" for name, study in experiment.studies.items())
    parsed = tyro.cli(
        flags,
        args=list(arguments),
        default=flags(config, Options(preset=preset)),
        prog=f"python -m experiments.{experiment.name}",
        description=(
            f"{experiment.about}\n\nPaper: {experiment.paper.authors} ({experiment.paper.year}), "
            f"{experiment.paper.title}, arXiv {experiment.paper.arxiv}.\n\nStudies:\n{studies}\n\n"
            f"The values of the preset {preset} are the defaults below.{took}"
        ),
    )
    return _allowed(experiment, parsed.config, parsed.options, methods)


def _allowed(
    experiment: Design, config: Any, options: Options, methods: Sequence[str]
) -> tuple[Any, Options]:
    """Settings and options that a run can have, the paths among them written out.

    Raises:
        Problem: they are such as no run can have.
    """
    problem = refusal(experiment, config, experiment.presets[options.preset], methods)
    if problem:
        raise Problem(problem)
    given = {name: text for name in PATHS if (text := getattr(options, name))}
    expanded = {name: str(paths.expanded(text)) for name, text in given.items()}
    options = dataclasses.replace(options, **expanded)
    limit = options.time_limit
    if limit is not None and not 0 < limit <= MINUTES_OF_A_YEAR:
        raise Problem(f"--time-limit must lie above 0 and within a year, not {limit} minutes.")
    if options.block != "auto" and options.block < 1:
        raise Problem(f"--block must be auto or at least 1, not {options.block}.")
    if options.mesh:
        _check_mesh(experiment, config, options)
    return config, options


def chosen(
    experiment: Design, preset: str, settings: Mapping[str, Any], methods: Sequence[str] = ()
) -> tuple[Any, Options]:
    """What `parse` gives, from Python's own values: field -> value, a mapping for fields inside.

    Raises:
        Problem: there is no such preset or setting, its value is of another type, or the
            experiment refuses the config.
    """
    config = experiment.presets[choose("preset", preset, experiment.presets)]
    options = Options(preset=preset)
    how = {name: value for name, value in settings.items() if name in _FROM_PYTHON}
    refused = next((n for n in settings if n not in how and hasattr(options, n)), "")
    if refused:
        raise Problem(f"{refused} is for the command line alone: leave it out.")
    what = {name: value for name, value in settings.items() if name not in how}
    config, options = _with(config, what, beside=_FROM_PYTHON), _with(options, how)
    _check_characters(spelled(experiment.presets[preset], config, options))
    return _allowed(experiment, config, options, methods)


_BY_COMMAND = ("preset", "explain", "claims", "coordinator", "processes", "process", "distributed")
_FROM_PYTHON = [f.name for f in dataclasses.fields(Options) if f.name not in _BY_COMMAND]


def _with(part: Any, given: Mapping[str, Any], way: str = "", beside: Collection[str] = ()) -> Any:
    """A dataclass with other values, each of the type that its field has."""
    hints = typing.get_type_hints(type(part), include_extras=True)
    found = {}
    for name, value in given.items():
        choose(f"setting of {way}" if way else "setting", name, [*hints, *beside])
        old, path = getattr(part, name), f"{way}.{name}" if way else name
        if dataclasses.is_dataclass(old) and isinstance(value, Mapping):
            found[name] = _with(old, value, path)
        else:
            found[name] = _typed(hints[name], value, path)
    return dataclasses.replace(part, **found)


def _typed(hint: Any, value: Any, name: str) -> Any:
    """A value as a flag would give it: lists become tuples, whole numbers floats where they must.

    Raises:
        Problem: it is of another type.
    """
    import typeguard

    value = _as_flags_have_it(hint, value)
    try:
        every = typeguard.CollectionCheckStrategy.ALL_ITEMS
        return typeguard.check_type(value, hint, collection_check_strategy=every)
    except typeguard.TypeCheckError as error:
        raise Problem(f"{name} cannot be {value!r:.80}: {error}.") from None


def _as_flags_have_it(hint: Any, value: Any) -> Any:
    if typing.get_origin(hint) is Annotated:
        hint = typing.get_args(hint)[0]
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list | tuple):
        inner = next(iter(typing.get_args(hint)), Any)
        return tuple(_as_flags_have_it(inner, item) for item in value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if whole and hint in (float, float | None) else value


def spelled(preset: Any, config: Any, options: Options) -> list[str]:
    """The flags that give a config and options, over the defaults of the config's preset."""
    pairs = [
        *zip(fields_of(options), fields_of(Options()), strict=True),
        *zip(fields_of(config), fields_of(preset), strict=True),
    ]
    changed = [(way, value) for (way, value), (_, usual) in pairs if value != usual]
    return [word for way, value in changed for word in _words(way, value)]


def _words(way: tuple[str, ...], value: Any) -> list[str]:
    """A flag, and the words of its value."""
    if isinstance(value, bool):
        *above, name = way
        return [flag_for(way if value else [*above, f"no-{name}"])]
    if isinstance(value, tuple):
        return [flag_for(way), *map(str, value)]
    text = str(value)
    return [f"{flag_for(way)}={text}"] if text.startswith("-") else [flag_for(way), text]


def _check_mesh(experiment: Design, config: Any, options: Options) -> None:
    data, expert = mesh_of(options.mesh)
    if experiment.spread is None:
        raise Problem(
            f"The networks of {experiment.name} are too small to spread one over several devices: "
            "leave --mesh out; its lanes use all devices as they are."
        )
    if options.devices not in (None, data * expert):
        raise Problem(f"--mesh {options.mesh} takes {data * expert} devices: leave --devices out.")
    experiment.spread(config, data, expert)


def mesh_of(text: str) -> tuple[int, int]:
    """Devices along each axis, of text like ``data=2,expert=4``; an axis left out has one.

    Raises:
        Problem: the text is no such thing.
    """
    sizes = dict.fromkeys(mesh.AXES, 1)
    seen = set()
    for part in text.split(","):
        name, _, count = part.partition("=")
        if (
            name not in sizes
            or name in seen
            or not count.isdecimal()
            or not 0 < int(count) <= MOST_DEVICES
        ):
            raise Problem(
                "--mesh must be like data=2,expert=4, with 1 to "
                f"{MOST_DEVICES:,} devices along each, not {text!r:.80}."
            )
        seen.add(name)
        sizes[name] = int(count)
    return sizes[mesh.DATA], sizes[mesh.EXPERT]


def rebuild(kind: type, plain: Mapping[str, Any]) -> Any:
    """A config dataclass from a record's plain data: lists become tuples, dicts nested configs.

    Fields that are `GONE`, and were then what all records have, are left out.

    Raises:
        KeyError, TypeError: the fields are not those of the config.
    """
    hints = typing.get_type_hints(kind)
    plain = {n: v for n, v in plain.items() if n in hints or (n, v) not in GONE.items()}

    def convert(hint: Any, value: Any) -> Any:
        if dataclasses.is_dataclass(hint):
            return rebuild(hint, value)
        if isinstance(value, list):
            inner = [h for h in typing.get_args(hint) if h is not ...] or [Any]
            return tuple(convert(inner[0], item) for item in value)
        return value

    return kind(**{name: convert(hints[name], value) for name, value in plain.items()})
