"""The command ``jaxtrends``: it lists the experiments, and runs one as ``python -m`` does."""

from __future__ import annotations

import importlib.util
import pkgutil
import runpy
import shlex
import sys
from collections.abc import Sequence

from jaxtrends import __version__
from jaxtrends.errors import Problem, choose
from jaxtrends.formats import showable
from jaxtrends.terminal import end_with_reader, mend_streams

HELP = """\
Small, fast, honest reruns of the headline claims of machine-learning papers.

  jaxtrends                  the experiments, with their papers and presets
  jaxtrends run NAME         run one, as python -m experiments.NAME does
  jaxtrends run NAME --help  its flags
  jaxtrends --version"""


def names() -> list[str]:
    """The experiments by name; none of them is imported, which takes seconds."""
    found = importlib.util.find_spec("experiments")
    places = found.submodule_search_locations if found else []
    return [module.name for module in pkgutil.iter_modules(places) if module.name[0] != "_"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say, those of this process by default; the exit status.

    Raises:
        SystemExit: with the status of what was run.
    """
    mend_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] in (["--help"], ["-h"], ["--version"]) or words == ["run", "--help"]:
        end_with_reader()
        print(f"jaxtrends {__version__}" if words[0] == "--version" else HELP)
        return 0
    try:
        module = _module(words)
    except Problem as problem:
        print(f"error: {showable(str(problem))}", file=sys.stderr)
        return 2
    sys.argv[1:] = words[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return 0


def _module(words: Sequence[str]) -> str:
    """The module that the words ask for."""
    if not words:
        return "experiments"
    command, *rest = words
    if command in names():
        raise Problem(f"Say jaxtrends run {shlex.join(words)}.")
    choose("command", command, ["run", "--help", "--version"])
    if not rest or rest[0].startswith("-"):
        raise Problem(f"Say jaxtrends run NAME, with one of {', '.join(names())}.")
    return f"experiments.{choose('experiment', rest[0], names())}"
