"""Building blocks of configs: field types with constraints, and common parts.

A field's type says what is allowed, ``experts: PositiveInt = 8``, and `check` refuses anything else
in one sentence that names the flag. Relations between fields are checked by a method
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

TUNING_SEED_OFFSET = 1_000_000  # tuning seeds start here


@dataclass(frozen=True)
class Among:
    """A text, or each of at least ``least`` texts, must be one of these names."""

    names: tuple[str, ...]
    least: int = 0


class Name:
    """``Name[ARMS]``: the type of a field with one of these names."""

    def __class_getitem__(cls, names: Iterable[str]) -> Any:
        """The names may be the keys of a mapping."""
        return Annotated[str, Among(tuple(names))]


class Names:
    """``Names[ARMS]``: the type of a field with any number of these names."""

    def __class_getitem__(cls, names: Iterable[str]) -> Any:
        """The names may be the keys of a mapping."""
        return Annotated[tuple[str, ...], Among(tuple(names))]


class Some:
    """``Some[ARMS]``: the type of a field with at least one of these names."""

    def __class_getitem__(cls, names: Iterable[str]) -> Any:
        """The names may be the keys of a mapping."""
        return Annotated[tuple[str, ...], Among(tuple(names), least=1)]


@dataclass(frozen=True)
class Rising:
    """At least ``least`` numbers, each greater than the one before."""

    least: int = 1


@dataclass(frozen=True)
class Readable:
    """A text, or each of several, must be readable by a function.

    read:    text -> its value; raises ValueError if it cannot read it.
    words:   what it must be, such as "a date".
    example: how it is written, such as "2015-09-01".
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
"""The rungs of a ladder, in rising order."""
Grid = Annotated[tuple[float, ...], Gt(0), Rising()]
"""Learning rates, in rising order."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The fields that every experiment's config starts with."""

    seed: Annotated[int, Ge(0), Le(2**31 - 1)] = 0
    """First reporting seed; all randomness derives from it, except that of procedural data."""
    seeds: Annotated[int, Gt(0), Le(TUNING_SEED_OFFSET)] = 10
    """Number of reporting seeds, shared by all arms."""
    studies: tuple[str, ...] = ()
    """Studies to run; empty for all."""

    @property
    def reporting(self) -> list[int]:
        """The reporting seeds."""
        return [self.seed + lane for lane in range(self.seeds)]


@dataclass(frozen=True)
class Schedule:
    """How every arm of a comparison is tuned and trained."""

    steps: PositiveInt = 1000
    """Training steps."""
    log_every: PositiveInt = 20
    """Steps between log points; must divide --steps and --tuning-steps."""
    grid: Grid = (1e-3, 3e-3, 1e-2)
    """Learning rates to tune each arm over. If the edge is chosen, the grid is extended by its own
    ratio, at most --extensions times."""
    extensions: NonNegativeInt = 2
    """How often a grid may be extended."""
    tuning_steps: NonNegativeInt = 0
    """Steps per tuning lane; --steps if 0."""
    tuning_seeds: PositiveInt = 2
    """Seeds per tuning point; none of them is reported."""

    def check(self, flag: str) -> None:
        """Refuse steps that are not a multiple of --log-every, and a grid that cannot be extended.

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
                f"--{flag}.grid with only {self.grid[0]:g} has no ratio for an extension: give a "
                f"second learning rate, or set --{flag}.extensions 0."
            )

    @property
    def tuned_for(self) -> int:
        """Steps per tuning lane."""
        return self.tuning_steps or self.steps


def check(config: Any, flag: str = "") -> None:
    """Refuse a config with a value that its field does not allow.

    Args:
        config: a dataclass, possibly nested.
        flag:   the flag of ``config`` itself, without leading dashes; "" for the whole.

    Raises:
        Problem: names the flag of the first wrong field, and what is allowed.
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
            raise Problem(f"{flag} must name at least one of {', '.join(constraint.names)}.")
        for item in values:
            choose(name.removesuffix("s").replace("_", " "), item, constraint.names)
    elif isinstance(constraint, Readable):
        for item in values:
            _check_readable(flag, item, constraint)
    elif isinstance(constraint, Rising):
        if len(values) < constraint.least or list(values) != sorted(set(values)):
            raise Problem(
                f"{flag} needs {constraint.least} or more numbers in rising order, not "
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
    """Yield the path and type of every field of a config and of nested configs.

    The type includes its constraints (``include_extras``), so that a fuzzer can draw from it.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from fields_of(hint, (*path, field.name))
        else:
            yield (*path, field.name), hint
