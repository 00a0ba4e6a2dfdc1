"""Kill a run with SIGKILL at random moments, resume it to the end, and compare it with a whole run.

Half of the moments are random times. The others are random calls in which a kill could do most
harm: a file half written, a file written but not yet renamed, or just renamed, a checkpoint being
written, a line of the metrics stream. In every case the record's results must be bit-identical to
those of an uninterrupted run, and no incomplete record may be readable.

Arguments after -- are flags of the run (default: --preset smoke). Without a target, one paper is
chosen, by the commit or by $JAXTRENDS_PAPERS.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxtrends import in_turn, record
from jaxtrends.errors import Problem
from jaxtrends.experiment import discover
from jaxtrends.terminal import mend_streams

CHECKPOINT_SECONDS, SEGMENT_SECONDS = 0.25, 0.02  # or a smoke run would end without a checkpoint
WITHIN = ("half a file", "before renaming", "after renaming", "a checkpoint", "the stream")
MOST_CALLS = {"a checkpoint": 4}  # other kinds have more calls; one of the first eight is drawn


# --- the run that is killed --------------------------------------------------------------------


def die() -> None:
    """Kill this process at once, without any cleanup, as the system would."""
    os.kill(os.getpid(), signal.SIGKILL)


def lie_in_wait(within: str, call: int) -> None:
    """Arrange for this process to be killed in a given call of one kind (see `WITHIN`)."""
    from jaxtrends.checkpoint import Checkpoints
    from jaxtrends.rundir import StudyDirectory

    seen = 0

    def patch(
        owner: Any, name: str, before: Callable[..., None], after: Callable[..., None]
    ) -> None:
        original = getattr(owner, name)

        def patched(*arguments: Any, **options: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == call:
                before(*arguments)
            result = original(*arguments, **options)
            if seen == call:
                after(*arguments)
            return result

        setattr(owner, name, patched)

    def nothing(*_: Any) -> None:
        pass

    def halve(file: int) -> None:
        os.ftruncate(file, os.fstat(file).st_size // 2)
        die()

    def soon(*_: Any) -> None:
        threading.Timer(0.003 * call, die).start()  # Orbax keeps writing in the background

    if within == "half a file":
        patch(os, "fsync", halve, nothing)
    elif within == "before renaming":
        patch(Path, "replace", lambda *_: die(), nothing)
    elif within == "after renaming":
        patch(Path, "replace", nothing, lambda *_: die())
    elif within == "a checkpoint":
        patch(Checkpoints, "save", nothing, soon)
    elif within == "the stream":
        patch(StudyDirectory, "log", nothing, lambda *_: die())


def be_killed(within: str, call: int, target: str, arguments: Sequence[str]) -> None:
    """Run a module or a file as a program in this process, until it ends or is killed."""
    from jaxtrends import study_run

    study_run.CHECKPOINT_SECONDS, study_run.SEGMENT_SECONDS = CHECKPOINT_SECONDS, SEGMENT_SECONDS
    lie_in_wait(within, call)
    sys.argv = [target, *arguments]
    if target.endswith(".py"):
        runpy.run_path(target, run_name="__main__")
    else:
        runpy.run_module(target, run_name="__main__", alter_sys=True)


# --- the campaign ------------------------------------------------------------------------------


def start(
    target: str, arguments: Sequence[str], folder: Path, within: str = "", call: int = 0
) -> subprocess.Popen:
    """Start a run in a folder, or resume the one that is there."""
    command = [sys.executable, "-m", "scripts.fault_campaign", "--be-killed", within, str(call)]
    target = str(Path(target).resolve()) if target.endswith(".py") else target
    resume = ["--resume"] if (folder / "run.json").exists() else []
    return subprocess.Popen(
        [*command, target, *arguments, "--output", str(folder), *resume],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        cwd=record.ROOT,
    )


def where(folder: Path) -> str:
    """Where a run was when it was killed, judging by its folder: the study and its activity."""
    if not (folder / "run.json").exists():
        return "start-up"
    written = [path.name.split(".", 1)[1].rsplit(".", 2)[0] for path in folder.rglob(".*.tmp")]
    if (folder / "record.json").exists():
        return "after the record"
    if any(name in ("record.json", "curves.npz") for name in written) and list(
        folder.glob(".*.tmp")
    ):
        return "writing the record"
    begun = sorted(folder.glob("studies/*/code.json"), key=lambda path: path.stat().st_mtime)
    if not begun:
        return "start-up"
    study = begun[-1].parent
    if (study / "result.json").exists():
        return "between studies"
    doing = "computing"
    if written:
        doing = f"writing {written[0]}" if "json" in written[0] else "writing arrays"
    elif any("orbax-checkpoint-tmp" in path.name for path in study.rglob("*")):
        doing = "saving a checkpoint"
    elif any(path.stat().st_size for path in (study / "metrics").glob("*.jsonl")):
        doing = "training"
    return f"{study.name}: {doing}"


def record_fault(folder: Path, whole: Any) -> str:
    """What is wrong with the record of a killed run; "" if it is complete or missing."""
    try:
        found = record.read(folder)
    except Problem:
        return f"{folder} has a record that cannot be read" * (folder / "record.json").exists()
    return "" if found["results"] == whole else f"{folder} has a record with other results"


def campaign(
    target: str, arguments: Sequence[str], kills: int, seed: int, scratch: Path
) -> dict[str, Any]:
    """Kill runs ``kills`` times in all, over as many runs as needed; the outcome as plain data.

    Raises:
        Problem: a run fails on its own, not because of a kill.
    """
    chance, found = random.Random(seed), Counter()
    began = time.monotonic()
    _, error = (whole := start(target, arguments, scratch / "whole")).communicate()
    if whole.returncode:
        raise Problem(f"The uninterrupted run failed: {error.strip()[-500:]}")
    took = time.monotonic() - began
    expected = record.read(scratch / "whole")["results"]
    bits = json.dumps(expected)
    killed = runs = unequal = 0
    faults: list[str] = []
    while killed < kills:
        runs += 1
        folder, ended = scratch / f"run-{runs}", False
        while not ended:
            by_clock, delay = chance.random() < 0.5, chance.uniform(0.1, 1.0) * took
            within = "" if by_clock or killed >= kills else chance.choice(WITHIN)
            call = chance.randint(1, MOST_CALLS.get(within, 8))
            process = start(target, arguments, folder, within, call)
            try:
                limit = delay if by_clock and killed < kills else None
                _, error = process.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                process.kill()
                _, error = process.communicate()
            ended = process.returncode == 0
            if process.returncode not in (0, -signal.SIGKILL):
                raise Problem(f"Resumed after {killed} kills, {folder} failed: {error[-500:]}")
            if not ended:
                killed += 1
                at = where(folder)
                found[at] += 1
                print(f"kill {killed}: {at} ({within or 'by the clock'})", flush=True)
                fault = record_fault(folder, expected)
                faults += [fault] if fault else []
        unequal += json.dumps(record.read(folder)["results"]) != bits
    return {
        "target": target,
        "seed": seed,
        "kills": killed,
        "runs": runs,
        "unequal": unequal,
        "faults": faults,
        "where": dict(sorted(found.items())),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the last line of its output is a JSON object of counts.

    Returns:
        0; 1 if a resumed run has other results or a record was incomplete; 2 for a user's mistake.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["--be-killed"]:
        be_killed(given[1], int(given[2]), given[3], given[4:])
        return 0
    mend_streams()
    parser = argparse.ArgumentParser(prog="python -m scripts.fault_campaign", description=__doc__)
    parser.add_argument(
        "target", nargs="?", help="a module such as experiments.forward_grad, or a program's file"
    )
    parser.add_argument(
        "--kills", type=int, default=50, help="number of kills (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (default: 0)")
    cut = given.index("--") if "--" in given else len(given)
    options, flags = parser.parse_args(given[:cut]), given[cut + 1 :] or ["--preset", "smoke"]
    with tempfile.TemporaryDirectory() as scratch:
        try:
            target = options.target
            if not target:
                target = f"experiments.{in_turn.chosen(sorted(discover()), 1)[0]}"
            found = campaign(target, flags, options.kills, options.seed, Path(scratch))
        except Problem as problem:
            print(f"error: {problem}", file=sys.stderr)
            return 2
    for fault in found["faults"]:
        print(f"fault: {fault}.", file=sys.stderr)
    print(json.dumps(found))
    return 1 if found["unequal"] or found["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
