"""The command that started a run: as recorded, and as needed to resume the run."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

KERNELS = ("ipykernel_launcher.py", "colab_kernel_launcher.py")
RESUME = ("--resume", "--no-resume")


def flag_of(argument: str) -> str:
    """The flag that an argument sets, as in the help: ``--data-dir`` for ``--data_dir=x``."""
    return argument.partition("=")[0].replace("_", "-")


@dataclass(frozen=True)
class Command:
    """How a run was started.

    program: the command up to its flags; empty if the run was started from Python code.
    flags:   the flags, as given.
    called:  the function that such code calls.
    own:     the names of methods that the code passes to it, which no flag can do.
    """

    program: tuple[str, ...]
    flags: tuple[str, ...]
    called: str
    own: tuple[str, ...] = ()

    def recorded(self, places: Mapping[str, bool]) -> str:
        """The command for a record, without flags that change no result or name local paths.

        Args:
            places: such flags, and whether a value follows them: `jaxtrends.flags.PLACES`.
        """
        kept, skip = [], False
        for part in self.flags:
            if flag_of(part) in places:
                skip = "=" not in part and places[flag_of(part)]
            elif skip:
                skip = False
            else:
                kept.append(part)
        if not self.program:
            return self._call(kept)
        return shlex.join(["python", *self.program[1:-1], Path(self.program[-1]).name, *kept])

    def to_resume(self, path: Path) -> str:
        """The command, or the call, to resume the run in a folder."""
        kept = [part for part in self.flags if flag_of(part) not in RESUME]
        if not any(flag_of(part) == "--output" for part in kept):
            kept += ["--output", str(path)]
        kept.append("--resume")
        return shlex.join([*self.program, *kept]) if self.program else self._call(kept)

    def _call(self, flags: Sequence[str]) -> str:
        methods = ", ".join(f"{name!r}: ..." for name in self.own)
        return f"{self.called}({list(flags)}{f', methods={{{methods}}}' * bool(methods)})"


def of(module: str, arguments: Sequence[str] | None, own: Sequence[str] = ()) -> Command:
    """The command that calls the ``main`` of a module.

    Args:
        module:    such as ``experiments.forward_grad``.
        arguments: the arguments of that main; None for the flags of this process.
        own:       the names of the methods that it was given.
    """
    interpreter = sys.orig_argv[0] if sys.orig_argv else "python"
    if arguments is None:
        program, flags = _program(interpreter), process_flags()
    else:
        typed = not own and importlib.util.find_spec(module) is not None
        program, flags = ((interpreter, "-m", module) if typed else ()), arguments
    return Command(program, tuple(flags), f"{module}.main", tuple(own))


def process_flags() -> list[str]:
    """The flags of this process; none in a notebook or at a prompt."""
    return sys.argv[1:] if _is_a_program() else []


def _is_a_program() -> bool:
    if Path(sys.argv[0]).name in KERNELS:
        return False
    return bool(getattr(sys.modules["__main__"], "__file__", "")) or sys.argv[0] in ("-c", "-")


def _program(interpreter: str) -> tuple[str, ...]:
    """This process's command up to its flags; empty if it cannot be typed again."""
    if not _is_a_program() or sys.argv[0] in ("-c", "-"):
        return ()
    main = sys.modules["__main__"]
    module = getattr(main, "__spec__", None)
    if module is not None and Path(main.__file__).name == Path(sys.argv[0]).name:
        return (interpreter, "-m", module.name.removesuffix(".__main__"))
    return (interpreter, sys.argv[0])
