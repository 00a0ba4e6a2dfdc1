"""What a config is made of: kinds of fields that say what they allow, and parts that recur.

A field says what it allows where it says what it means, ``experts: PositiveInt = 8``, and `check`
refuses the rest in one sentence that names the flag. What relates two fields stands in a method
``check(flag)`` of the dataclass that has both.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt, MultipleOf

from jaxtrends.errors import Problem, choose

TUNING_SEED_OFFSET = 1_000_000  # seeds from here on are for tuning


@dataclass(frozen=True)
class Among:
    """A text, or each of several, of which there are ``least`` or more, is one of these names."""

    names: tuple[str, ...]
    least: int = 0


class Name:
    """``Name[ARMS]``: the type of a field that holds one of these names."""

    def __class_getitem__(cls, names: Iterable[str]) -> Any:
        """The names may be a mapping, whose keys they are."""
        return Annotated[str, Among(tuple(names))]


class Names:
    """``Names[ARMS]``: the type of a field that holds some of these names."""

    def __class_getitem__(cls, names: Iterable[str]) -> Any:
        """The names may be a mapping, whose keys they are."""
        return Annotated[tuple[str, ...], Among(tuple(names))]


class Some:
    """``Some[ARMS]``: the type of a field that holds at least one of these names."""

    def __class_getitem__(cls, names: Iterable[str]) -> Any:
        """The names may be a mapping, whose keys they are."""
        return Annotated[tuple[str, ...], Among(tuple(names), least=1)]


@dataclass(frozen=True)
class Rising:
    """At least so many numbers, each greater than the one before."""

    least: int = 1


@dataclass(frozen=True)
class Readable:
    """A text, or each of several, that a function reads; it raises ValueError where it cannot.

    read:  text -> what it says.
    words: what it must be, "a date", and how it is written, "2015-09-01".
    """

    read: Callable[[str], Any]
    words: str
    example: str


PositiveInt = Annotated[int, Gt(0)]
PositiveFloat = Annotated[float, Gt(0)]
NonNegativeInt = Annotated[int, Ge(0)]
NonNegativeFloat = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
Sizes = Annotated[tuple[int, ...], Gt(0), Rising()]
"""The rungs of a ladder, from the smallest up."""
Grid = Annotated[tuple[float, ...], Gt(0), Rising()]
"""Learning rates, from the smallest up."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every experiment's config begins with."""

    seed: Annotated[int, Ge(0), Le(2**31 - 1)] = 0
    """First reporting seed; all randomness derives from it, but that of procedural data."""
    seeds: Annotated[int, Gt(0), Le(TUNING_SEED_OFFSET)] = 10
    """Reporting seeds, shared by all arms."""
    studies: tuple[str, ...] = ()
    """Studies to run; all of them if none is named."""

    @property
    def reporting(self) -> list[int]:
        """The seeds that results are reported of."""
        return [self.seed + lane for lane in range(self.seeds)]


@dataclass(frozen=True)
class Schedule:
    """How every arm of a comparison is tuned and trained."""

    steps: PositiveInt = 1000
    """Training steps."""
    log_every: PositiveInt = 20
    """Steps between two points of the curves; divides --steps and --tuning-steps."""
    grid: Grid = (1e-3, 3e-3, 1e-2)
    """Learning rates that each arm is tuned over. A choice on the edge extends the grid by its own
    ratio, --extensions times at most."""
    extensions: NonNegativeInt = 2
    """How often a grid may be extended."""
    tuning_steps: NonNegativeInt = 0
    """Steps of a tuning lane; as many as --steps if 0."""
    tuning_seeds: PositiveInt = 2
    """Seeds of each tuning point, none of which is reported."""

    def check(self, flag: str) -> None:
        """Refuse steps that the log points do not divide, and a grid that cannot be extended.

        Raises:
            Problem: names the flags.
        """
        for name in ("steps", "tuning_steps"):
            steps = getattr(self, name)
            if steps % self.log_every:
                raise Problem(
                    f"--{flag}.{_dashed(name)} {steps} is not a multiple of "
                    f"--{flag}.log-every {self.log_every}."
                )
        if self.extensions and len(self.grid) == 1:
            raise Problem(
                f"--{flag}.grid {self.grid[0]:g} alone has no ratio to be extended by: give a "
                f"second learning rate, or --{flag}.extensions 0."
            )

    @property
    def tuned_for(self) -> int:
        """Steps of a tuning lane."""
        return self.tuning_steps or self.steps


def check(config: Any, flag: str = "") -> None:
    """Refuse a config of which a field does not allow its value.

    Args:
        config: a dataclass, with dataclasses in it.
        flag:   the flag of ``config`` itself, without dashes before it; "" for the whole.

    Raises:
        Problem: the first field at fault, by its flag, with what it allows.
    """
    hints = typing.get_type_hints(type(config), include_extras=True)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        name = f"{flag}.{_dashed(field.name)}" if flag else _dashed(field.name)
        if dataclasses.is_dataclass(value):
            check(value, name)
            continue
        allowed = getattr(hints[field.name], "__metadata__", ())
        for constraint in allowed:
            _check_field(f"--{name}", field.name, value, constraint)
    if hasattr(config, "check"):
        config.check(flag)


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _check_field(flag: str, name: str, value: Any, constraint: Any) -> None:
    values = value if isinstance(value, tuple) else (value,)
    if isinstance(constraint, Among):
        if len(values) < constraint.least:
            raise Problem(f"{flag} must name some of {', '.join(constraint.names)}.")
        for item in values:
            choose(name.removesuffix("s").replace("_", " "), item, constraint.names)
    elif isinstance(constraint, Readable):
        for item in values:
            _check_readable(flag, item, constraint)
    elif isinstance(constraint, Rising):
        if len(values) < constraint.least or list(values) != sorted(set(values)):
            raise Problem(
                f"{flag} needs {constraint.least} or more numbers, from the smallest up, not "
                f"{_listed(values)}."
            )
    elif any(not _allows(constraint, item) for item in values):
        raise Problem(f"{flag} must be {_words(constraint, values)}, not {_listed(values)}.")


def _check_readable(flag: str, text: str, constraint: Readable) -> None:
    try:
        constraint.read(text)
    except ValueError:
        raise Problem(
            f"{flag} {text!r} is not {constraint.words}: write it as {constraint.example}."
        ) from None


def _allows(constraint: Any, value: float) -> bool:
    if not math.isfinite(value):
        return False
    if isinstance(constraint, Gt):
        return value > constraint.gt
    if isinstance(constraint, Lt):
        return value < constraint.lt
    if isinstance(constraint, MultipleOf):
        return value % constraint.multiple_of == 0
    return value >= constraint.ge if isinstance(constraint, Ge) else value <= constraint.le


def _words(constraint: Any, values: Sequence[float]) -> str:
    finite = "" if all(isinstance(value, int) for value in values) else "a finite number "
    if isinstance(constraint, Gt):
        return f"{finite}above {constraint.gt:,}"
    if isinstance(constraint, Lt):
        return f"{finite}below {constraint.lt:,}"
    if isinstance(constraint, MultipleOf):
        return f"{finite}a multiple of {constraint.multiple_of:,}"
    if isinstance(constraint, Ge):
        return f"{finite}at least {constraint.ge:,}"
    return f"{finite}at most {constraint.le:,}"


def _listed(values: Sequence[Any]) -> str:
    return " ".join(str(value) for value in values) or "none"


def fields_of(kind: type, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every field of a config and of the configs in it: its path and its type.

    The type has its constraints (``include_extras``), so that a fuzzer can draw from it.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from fields_of(hint, (*path, field.name))
        else:
            yield (*path, field.name), hint
