"""Compare smoke runs with the golden values, or update these with a reason.

A study's golden values are the results of its smoke run. When they change, the study's edition is
raised, and records made under an older edition are stale.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jaxtrends import golden, record
from jaxtrends.errors import Problem, choose
from jaxtrends.experiment import discover
from jaxtrends.formats import showable
from jaxtrends.terminal import mend_streams


def smoke_run(experiment: str, folder: Path) -> Path:
    """Run an experiment's smoke preset on the CPU, in a separate process; return its folder.

    Raises:
        Problem: it failed.
    """
    command = [sys.executable, "-m", f"experiments.{experiment}", "--preset", "smoke"]
    done = subprocess.run(
        [*command, "--wandb", "disabled", "--output", str(folder)],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Problem(f"The smoke run of {experiment} failed: {last.removeprefix('error: ')}")
    return folder


def smoke_record(path: Path) -> dict[str, Any]:
    """The record of a smoke run without other flags.

    Raises:
        Problem: it is another record.
    """
    done = record.read(path)
    experiments = discover()
    smoke = experiments[choose("experiment", done["experiment"], experiments)].presets["smoke"]
    if done["preset"] != "smoke" or done["results"]["config_digest"] != record.digest(smoke):
        raise Problem(
            f"{path} is not a run of the current smoke preset without other flags: make one with "
            f"python -m experiments.{done['experiment']} --preset smoke."
        )
    return done


def records(named: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Existing smoke runs, named by folder or record, or new ones, named by experiment."""
    for name in named or sorted(discover()):
        if Path(name).exists() and name not in discover():
            yield smoke_record(Path(name))
            continue
        choose("experiment", name, discover())
        with tempfile.TemporaryDirectory() as folder:
            yield smoke_record(smoke_run(name, Path(folder) / "run"))


def update(done: Mapping[str, Any], options: argparse.Namespace) -> str:
    """Write new golden values; return a message."""
    name = done["experiment"]
    every = list(discover()[name].studies)
    today = datetime.now(UTC).date().isoformat()
    before = golden.read(name)
    after = golden.updated(
        done, every, options.why, today, keep=options.keep, raised=options.raised
    )
    if after == before:
        return f"{name}: no value has changed; nothing was written."
    golden.path_of(name).parent.mkdir(exist_ok=True)
    record.write_json(golden.path_of(name), after)
    told = ", ".join(f"{s} {edition}" for s, edition in after["history"][-1]["editions"].items())
    return f"{name}: golden values written; current editions: {told}."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 if values have changed; 2 for a user's mistake.
    """
    parser = argparse.ArgumentParser(prog="python -m scripts.golden", description=__doc__)
    parser.add_argument(
        "named",
        nargs="*",
        metavar="EXPERIMENT|RECORD",
        help="experiment to run with its smoke preset, or an existing smoke run (default: all "
        "experiments)",
    )
    parser.add_argument(
        "--update",
        action="store_true",
        help="write new values, and raise the editions of studies that changed",
    )
    parser.add_argument("--why", default="", help="the reason, stored in the file")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="raise no edition: only names, order, rounding, versions or the smoke preset changed, "
        "not behaviour",
    )
    parser.add_argument(
        "--raise",
        dest="raised",
        action="append",
        default=[],
        metavar="STUDY",
        help="raise this study's edition although no value changed, since smoke does not cover the "
        "change",
    )
    mend_streams()
    options = parser.parse_args(arguments)
    try:
        if not golden.RESULTS.is_dir():
            raise Problem(
                f"There is no folder {golden.RESULTS}: golden values are part of the repository; "
                "run this in a checkout."
            )
        if options.update != bool(options.why):
            raise Problem("--update and --why REASON must be used together.")
        if (options.keep or options.raised) and not options.update:
            raise Problem("--keep and --raise need --update.")
        if options.raised and len(options.named) != 1:
            raise Problem("--raise works on one experiment: name it.")
        if options.keep and options.raised:
            raise Problem("--keep and --raise contradict each other: choose one.")
        found = []
        for done in records(options.named):
            every = list(discover()[done["experiment"]].studies)
            for study in options.raised:
                choose("study", study, every)
            if options.update:
                print(update(done, options))
            else:
                faults = golden.faults(done, every)
                found += faults
                print(f"{done['experiment']}: {len(faults)} of {len(every)} studies differ.")
    except Problem as problem:
        print(f"error: {showable(str(problem))}", file=sys.stderr)
        return 2
    for fault in found:
        print(f"fault: {fault}.", file=sys.stderr)
    if found:
        print(
            "If this is intended: python -m scripts.golden EXPERIMENT --update --why REASON",
            file=sys.stderr,
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
