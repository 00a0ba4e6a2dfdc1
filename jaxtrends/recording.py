"""The record of a run: what its studies found, and every claim that they decide, judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxtrends import claims, record
from jaxtrends.claims import Claim
from jaxtrends.comparison import Comparison
from jaxtrends.design import Design

FIGURE = "The headline figure"


def record_of(
    experiment: Design,
    config: Any,
    preset: str,
    made: Mapping[str, Mapping[str, Any]],
    loaded: Mapping[str, Any],
    own: Sequence[str],
    curves: Mapping[str, np.ndarray],
) -> tuple[dict[str, Any], dict[str, str]]:
    """Results and measurements of the studies, their claims judged; and what could not be judged.

    Claim id, "The answer" or `FIGURE` -> what it raised, of those that raised what
    nobody foresaw: the studies are done by then, and none of these may cost their record.
    """
    operations = experiment.operations(config, own)
    judged, not_run, unjudged = _judged(experiment, config, made, loaded, own)
    done = {
        "schema": record.SCHEMA_VERSION,
        "experiment": experiment.name,
        "preset": preset,
        "changed": experiment.changes(preset, config),
        "own_methods": list(own),
        "paper": experiment.paper,
        "about": experiment.about,
        "answer": "",
        **descriptions(experiment, config, loaded),
        "results": {
            "config": config,
            "config_digest": record.digest(config),
            "data": {
                name: {
                    "version": found.version,
                    "digest": found.digest,
                    "origin": found.origin,
                    "licence": found.licence,
                }
                for name, found in loaded.items()
            },
            "studies": {
                name: _with_operations(result["results"], operations.get(name))
                for name, result in made.items()
            },
            "claims": judged["results"],
            "not_run": not_run,
        },
        "measurements": {
            "studies": {
                name: {**result["measurements"], "seconds": result["seconds"]}
                for name, result in made.items()
            },
            "claims": judged["measurements"],
            "peak_memory_bytes": max(result["peak_memory_bytes"] for result in made.values()),
            "seconds": sum(result["seconds"] for result in made.values()),
        },
    }
    plain = record.plain(done)
    for what, told in (("The answer", headline_of), (FIGURE, figure_of)):
        try:
            done |= told(experiment, plain, curves)
        except Exception as error:
            unjudged[what] = f"{type(error).__name__}: {record.first_line(error)}"
    return done, unjudged


def headline_of(
    experiment: Design, done: Mapping[str, Any], curves: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """What stands in front of a record: its answer, and the claim that leads.

    Args:
        experiment: the one that made it.
        done:       the record as plain data; its provenance may be missing.
        curves:     beside the record, ``study/name`` -> array.
    """
    try:
        answer = experiment.answer(claims.Answers(record.entries(done)))
    except KeyError:  # this run lacks a claim that the sentence needs
        answer = ""
    return {"answer": answer, "lead": experiment.lead, "caveat": experiment.caveat}


def figure_of(
    experiment: Design, done: Mapping[str, Any], curves: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """The record's headline figure as its field ``figure``; nothing where it has none.

    The arguments are those of `headline_of`.
    """
    try:
        found = experiment.headline_figure(done, curves)
    except KeyError:  # this run lacks a study or a claim that the figure shows
        found = None
    return {} if found is None else {"figure": record.plain(found)}


def descriptions(experiment: Design, config: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """Scale, rigging and departures of a run with such a config on such data sets."""

    def told(said: Any) -> Any:
        return said(config, data) if callable(said) else said

    return {
        "scale": told(experiment.scale),
        "rigging": told(experiment.rigging),
        "departures": list(told(experiment.departures)),
    }


def _judged(
    experiment: Design,
    config: Any,
    made: Mapping[str, Mapping[str, Any]],
    loaded: Mapping[str, Any],
    own: Sequence[str],
) -> tuple[dict[str, list[Any]], list[dict[str, str]], dict[str, str]]:
    """Claims as they came out, by what they are about; those that did not run; the unjudged."""
    other = experiment.other_data(config, loaded)
    judged: dict[str, list[Any]] = {"results": [], "measurements": []}
    not_run, unjudged = [], {}
    for name, study in experiment.studies.items():
        for declared in (*study.claims, *_of_own(study, name, own)):
            claim = replace(declared, reported="") if other else declared
            reason = f"the study {name} was not run"
            if other and claim.not_testable:
                reason = f"it is about the paper's own data, and these are {other}"
            elif name in made:
                try:
                    values = made[name][claim.about]["values"]
                    judged[claim.about].append(_judge(claim, values, other))
                    continue
                except KeyError as missing:
                    reason = f"the run has no {', '.join(map(str, missing.args))}"
                except Exception as error:
                    unjudged[claim.id] = f"{type(error).__name__}: {record.first_line(error)}"
                    why = f"judging it from what this run found ended with {unjudged[claim.id]}"
                    judged[claim.about].append(_not_testable(claim, why))
                    continue
            not_run.append(
                {"id": claim.id, "study": name, "statement": claim.statement, "reason": reason}
            )
    return judged, not_run, unjudged


def _of_own(study: Any, name: str, own: Sequence[str]) -> Sequence[Claim]:
    """Claims about arms of the user's own, where the study lets them join in."""
    if not (own and isinstance(study, Comparison) and study.own):
        return ()
    return [replace(claim, study=name) for claim in study.claims_of(own)]


def _with_operations(results: Mapping[str, Any], operations: Any) -> Mapping[str, Any]:
    if operations is None:
        return results
    return {**results, "values": {**results["values"], "step_flops": operations}}


def _judge(claim: Claim, values: Mapping[str, Any], other: str) -> dict[str, Any]:
    """A claim as the record keeps it; ``other`` names data that it was not written for.

    Raises:
        KeyError: the values lack what the claim needs.
        Exception: anything else is an error of the claim's.
    """
    if claim.not_testable:
        return _not_testable(claim, claim.not_testable)
    evidence = claim.evidence(values)
    try:
        verdict = claims.judge(claim, evidence)
    except KeyError as missing:
        raise ValueError(f"its evidence has no {missing}") from missing
    if other and verdict.verdict == claims.INVALID:
        # The controls are sized for the claim's own data: on others it is they that do not fit.
        why = f"its controls cannot do their work on {other}: {verdict.note}"
        return _not_testable(claim, why)
    return record.claim_entry(claim, evidence, verdict)


def _not_testable(claim: Claim, why: str) -> dict[str, Any]:
    claim, evidence = replace(claim, not_testable=why), claims.Evidence({})
    return record.claim_entry(claim, evidence, claims.judge(claim, evidence))


def write(done: Mapping[str, Any], curves: Mapping[str, np.ndarray], path: Path) -> None:
    """Write a record and its curves, ``study/name`` -> array, into a run's folder."""
    record.write_arrays(path / record.CURVES_FILE, curves)
    record.write_json(path / "record.json", done)


def claim_rows(done: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A record's claims as rows for a tracker: estimates, intervals, verdicts."""
    rows = []
    for entry in record.entries(done):
        verdict = entry["verdict"]
        shown = verdict["parts"].get(verdict["headline"], {})
        rows.append(
            {
                "claim": entry["claim"]["id"],
                "statement": entry["claim"]["statement"],
                "reported": entry["claim"]["reported"],
                "estimate": shown.get("estimate"),
                "low": shown.get("low"),
                "high": shown.get("high"),
                "verdict": verdict["verdict"],
            }
        )
    return rows
