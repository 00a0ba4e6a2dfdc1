"""Flags: an experiment's config and the options of a run, over the defaults of a preset."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from jaxtrends import mesh
from jaxtrends.errors import Problem, choose
from jaxtrends.formats import UNSHOWABLE, showable
from jaxtrends.terminal import duration

if TYPE_CHECKING:
    from jaxtrends.experiment import Experiment


MINUTES_OF_A_YEAR = 525_600
MOST_DEVICES = 4096  # along an axis of a mesh


@dataclass(frozen=True)
class Options:
    """How to run: nothing here changes a result, but --mesh, which changes its rounding."""

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
    """How many devices to use; all of them by default (one in smoke), and on a CPU one a core. The
    count changes no result."""
    blocks_in_flight: int | None = None
    """How many blocks of lanes run at a time in a process, dealt to its devices in turn; by default
    one a device on a CPU and two elsewhere, as far as memory allows. Changes no result."""
    time_limit: float | None = None
    """Minutes after which the run saves its state and stops, to go on with --resume."""
    mesh: str = ""
    """Spread each lane over several devices of a process: data=D shares out the batch, expert=E the
    experts as well, data=2,expert=4 takes eight devices. Only for experiments with experts; sums
    in another order change results by rounding."""
    explain: bool = False
    """Print what would be run, and stop: programs, lanes, steps, arithmetic, memory, time."""
    coordinator: str = ""
    """HOST:PORT of process 0, to share the blocks of a run among several processes: started by hand
    with one command each, which differ in --process alone."""
    processes: int | None = None
    """How many processes share the run; goes with --coordinator and --process."""
    process: int | None = None
    """Which of them this is, from 0. Process 0 writes the record and speaks; the count changes no
    result."""
    distributed: str = ""
    """auto: read all three from the environment, that of SLURM, Open MPI, Kubernetes or a TPU pod,
    which is not looked at unless asked for."""
    profile: str = ""
    """Folder for a JAX profiler trace of the studies, which Perfetto and XProf open. Best of a
    smoke run or a single study: a trace grows by the megabyte."""
    data_dir: str = ""
    """Where prepared data sets lie. By default $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    compilation_cache: bool = True
    """Keep compiled programs in ~/.cache/jaxtrends for the next run."""


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

    for argument in arguments:
        if UNSHOWABLE.search(argument):  # no record could hold it
            raise Problem(f"The argument {showable(argument)!r} holds a control character.")
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
    limit = parsed.options.time_limit
    if limit is not None and not 0 < limit <= MINUTES_OF_A_YEAR:
        raise Problem(f"--time-limit must lie above 0 and within a year, not {limit} minutes.")
    if parsed.options.mesh:
        _check_mesh(experiment, parsed.config, parsed.options)
    return parsed.config, parsed.options


def _check_mesh(experiment: Experiment, config: Any, options: Options) -> None:
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


def changed(config: Any, usual: Any, flag: str = "--") -> list[str]:
    """The settings of a config that are not the usual ones, as flags: ``--eras.fewest 4``."""
    found = []
    for field in dataclasses.fields(config):
        mine, theirs = getattr(config, field.name), getattr(usual, field.name)
        name = flag + field.name.replace("_", "-")
        if dataclasses.is_dataclass(mine) and type(mine) is type(theirs):
            found += changed(mine, theirs, name + ".")
        elif mine != theirs:
            values = (mine or ("(none)",)) if isinstance(mine, tuple) else (mine,)
            found.append(" ".join([name, *(str(value) for value in values)]))
    return found


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
