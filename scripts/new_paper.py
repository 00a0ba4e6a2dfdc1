"""Start a paper: a package that runs its smoke preset, with two arms, one claim and one test."""

from __future__ import annotations

import argparse
import keyword
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxtrends import record
from jaxtrends.errors import Problem
from jaxtrends.formats import showable
from jaxtrends.terminal import end_with_reader, mend_streams

TEMPLATE = Path(__file__).with_name("template")
FILES = {
    "paper.py.txt": "experiments/NAME/__init__.py",
    "main.py.txt": "experiments/NAME/__main__.py",
    "test_paper.py.txt": "tests/test_NAME.py",
}
NEXT = """
It already runs:
  python -m experiments.{name} --preset smoke
  python -m pytest tests/test_{name}.py

Next steps (see CONTRIBUTING.md):
1. Read the paper, and write the claims first; then the arms, the config and the presets.
2. Test the method against an oracle, in tests/test_{name}.py.
3. Once the smoke preset is final, store its golden values:
     python -m scripts.golden {name} --update --why "the first"
4. Check that the experiment is complete:
     python -m pytest tests/test_conformance.py -k {name}"""


def write(name: str, root: Path) -> list[Path]:
    """Write the package and its test into a checkout; the files written.

    Raises:
        Problem: the name is not a valid module name, is taken, or this is not a checkout.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise Problem(f"{name!r} is not a valid module name: use lower-case letters, digits and _.")
    if not (root / "pyproject.toml").exists() or not (root / "experiments").is_dir():
        raise Problem(
            f"{root} is not a checkout of jaxtrends: clone the repository and run this there."
        )
    targets = {TEMPLATE / source: root / to.replace("NAME", name) for source, to in FILES.items()}
    taken = [*(path for path in targets.values() if path.exists())]
    if taken or (root / "experiments" / f"{name}.py").exists():
        raise Problem(f"There is already an experiment {name}: choose another name.")
    for source, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text(encoding="utf-8").replace("NAME", name), "utf-8")
    return list(targets.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 2 for a user's mistake.
    """
    mend_streams()
    parser = argparse.ArgumentParser(prog="python -m scripts.new_paper", description=__doc__)
    parser.add_argument("name", help="name of the experiment, such as state_space_audio")
    options = parser.parse_args(arguments)
    try:
        for path in write(options.name, record.ROOT):
            print(path.relative_to(record.ROOT))
    except Problem as problem:
        print(f"error: {showable(str(problem))}", file=sys.stderr)
        return 2
    print(NEXT.format(name=options.name))
    return 0


if __name__ == "__main__":
    end_with_reader()
    sys.exit(main())
