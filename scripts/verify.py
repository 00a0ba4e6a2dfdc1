"""Repeat a record's run on this machine, and report how well verdicts and numbers agree."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxtrends import golden, paths, record, report
from jaxtrends.errors import Problem
from jaxtrends.formats import showable
from jaxtrends.rundir import first_difference
from jaxtrends.terminal import mend_streams

ABSENT = "not run"


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and value of every leaf of nested plain data."""
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from leaves(item, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def relative_difference(old: Any, new: Any) -> float:
    """|old - new| / max(|old|, |new|); 0 if equal (nan too), inf for different types."""
    kinds = (int, float)
    if not (isinstance(old, kinds) and isinstance(new, kinds)) or bool in (type(old), type(new)):
        return 0.0 if old == new and type(old) is type(new) else math.inf
    if old == new or (math.isnan(old) and math.isnan(new)):
        return 0.0
    if not (math.isfinite(old) and math.isfinite(new)):
        return math.inf
    return abs(old - new) / max(abs(old), abs(new))


def differences(old: Any, new: Any) -> dict[str, float]:
    """Path -> relative difference of every leaf of either; inf where only one has it."""
    before, after = (dict(leaves(record.numbers(value))) for value in (old, new))
    return {
        path: relative_difference(before[path], after[path])
        if path in before and path in after
        else math.inf
        for path in {**before, **after}
    }


def closeness(old: Any, new: Any) -> str:
    """How closely two nested values agree, in words."""
    found = differences(old, new)
    apart = {path: size for path, size in found.items() if size > 0}
    if not apart:
        return f"all {len(found)} values are bit-identical"
    worst = max(apart, key=apart.__getitem__)
    size = "another type or missing" if math.isinf(apart[worst]) else f"{apart[worst]:.1e}"
    return (
        f"{len(found) - len(apart)} of {len(found)} values are bit-identical; "
        f"largest relative difference: {size} (at {worst})"
    )


def _verdicts(done: Mapping[str, Any], part: str) -> dict[str, tuple[str, str]]:
    """Claim -> verdict and interval."""
    found = {}
    for entry in done[part]["claims"]:
        verdict = entry["verdict"]
        shown = verdict["parts"].get(verdict["headline"])
        interval = report.interval_of(shown) if shown else ""
        found[entry["claim"]["id"]] = (verdict["verdict"], interval)
    return found


def compare_verdicts(
    old: Mapping[str, Any], new: Mapping[str, Any], part: str
) -> tuple[list[str], int]:
    """Compare the claims about ``results`` or about ``measurements``.

    Returns:
        One line per claim, and the number of verdicts that differ.
    """
    before, after = _verdicts(old, part), _verdicts(new, part)
    lines, differ = [], 0
    for name in {**before, **after}:
        (was, was_interval), (now, now_interval) = (
            found.get(name, (ABSENT, "")) for found in (before, after)
        )
        differ += was != now
        mark = "same" if was == now else "DIFFERS"
        lines.append(f"{mark:8}{name:6}{was} {was_interval}  ->  {now} {now_interval}")
    return lines, differ


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, int]:
    """Compare a record with that of a repeated run.

    Returns:
        The text to print, and the number of verdicts about results that differ.
    """
    lines = ["Verdicts, then and now:"]
    judged, differ = compare_verdicts(old, new, "results")
    lines += [f"  {line}" for line in judged]
    measured, measured_differ = compare_verdicts(old, new, "measurements")
    if measured:
        lines.append("Verdicts about time and memory, which may differ on another machine:")
        lines += [f"  {line}" for line in measured]
    lines.append("Values:")
    for name, study in old["results"]["studies"].items():
        again = new["results"]["studies"].get(name, {"values": {}, "curves_digest": ""})
        same = again["curves_digest"] == study["curves_digest"]
        curves = "bit-identical" if same else "differ"
        lines.append(f"  {name}: {closeness(study['values'], again['values'])}; curves: {curves}")
    lines.append("Inputs:")
    for name, data in old["results"]["data"].items():
        again = new["results"]["data"].get(name, {})
        same = "same digest" if again.get("digest") == data["digest"] else "DIFFERENT DIGEST"
        lines.append(f"  data set {name}: {same}")
    config = old["results"]["config_digest"] == new["results"]["config_digest"]
    field = first_difference(old["results"]["config"], new["results"]["config"])
    lines.append(f"  configuration: {'same digest' if config else f'DIFFERENT DIGEST: {field}'}")
    lines += [f"  {line}" for line in _environment(_made(old), _made(new))]
    lines += [f"  {line}" for line in _changed_on_purpose(old)]
    lines.append(f"About results {_agreement(judged, differ)}.")
    if measured:
        lines.append(f"About time and memory {_agreement(measured, measured_differ)}.")
    return "\n".join(lines), differ


def _agreement(lines: Sequence[str], differ: int) -> str:
    return f"{len(lines) - differ} of {len(lines)} verdicts agree"


def _made(done: Mapping[str, Any]) -> dict[str, Any]:
    return {**done["provenance"], "device": record.device(done)}


def _environment(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in {**old["versions"], **new["versions"]}:
        was, now = old["versions"].get(name, "none"), new["versions"].get(name, "none")
        if was != now:
            yield f"{name} {was} then, {now} now"
    for field in ("commit", "system", "device"):
        if old[field] != new[field]:
            yield f"{field} {_short(old[field])} then, {_short(new[field])} now"


def _changed_on_purpose(old: Mapping[str, Any]) -> Iterator[str]:
    then, now = golden.editions_of(old), golden.editions(old["experiment"])
    for name in golden.stale_studies(old):
        yield (
            f"behaviour of {name}: golden edition {then[name]} then, {now.get(name, 'none')} now; "
            f"see {golden.path_of(old['experiment'])} for the reason"
        )


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['count']} x {value['kind']} ({value['processor']}, {value['cores']} cores)"
    return value[:12] or "none"


def judge_only(done: Mapping[str, Any]) -> tuple[str, int]:
    """Judge every claim again from its raw samples.

    Returns:
        The text to print, and the number of verdicts that differ.
    """
    lines, differ = [], 0
    for entry in record.entries(done):
        name, was, now = entry["claim"]["id"], entry["verdict"], record.judge_again(entry)
        differ += was["verdict"] != now["verdict"]
        mark = "same" if was["verdict"] == now["verdict"] else "DIFFERS"
        lines.append(
            f"{mark:8}{name:6}{was['verdict']}  ->  {now['verdict']}; {closeness(was, now)}"
        )
    lines.append(f"{_agreement(lines, differ)}.")
    return "\n".join(lines), differ


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 if a verdict about results differs; 2 for a user's mistake.
    """
    mend_streams()
    parser = argparse.ArgumentParser(prog="python -m scripts.verify", description=__doc__)
    parser.add_argument("record", type=paths.argument, help="a record.json, or its folder")
    parser.add_argument(
        "--output",
        type=paths.argument,
        help="folder for the new run (default: runs/EXPERIMENT/verify-PRESET-TIME)",
    )
    parser.add_argument("--resume", action="store_true", help="resume the new run in --output")
    parser.add_argument(
        "--judge-only",
        action="store_true",
        help="do not run anything: judge the claims again from the raw samples in the record",
    )
    options = parser.parse_args(arguments)
    try:
        old = record.read(options.record)
        if options.judge_only:
            text, differ = judge_only(old)
        else:
            text, differ = compare(old, _make_again(old, options, arguments))
    except Problem as problem:
        print(f"error: {showable(str(problem))}", file=sys.stderr)
        return 2
    print(text)
    return 1 if differ else 0


def _make_again(
    old: Mapping[str, Any], options: argparse.Namespace, arguments: Sequence[str] | None
) -> dict[str, Any]:
    from jaxtrends import command, running
    from jaxtrends.experiment import discover
    from jaxtrends.study_run import Interrupted

    if options.resume and options.output is None:
        raise Problem("--resume needs the folder of the new run: name it with --output.")
    try:
        return running.rerun(
            old,
            options.output,
            experiments=discover(),
            beside=options.record,
            command=command.of("scripts.verify", arguments),
            resume=options.resume,
        )
    except Interrupted as stop:
        print(f"Stopped by {stop}; the state is saved.", file=sys.stderr)
        raise SystemExit(128 + stop.number) from None


if __name__ == "__main__":
    sys.exit(main())
