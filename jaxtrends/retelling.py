"""A record told in today's words and judged by today's statistics, from the samples it has.

Wording improves after a run, a paper's headline may be marked after it, and a mistake may be found
in how intervals are taken. A record need not be made again for that: its samples, and the statistic
and region that each claim declared, are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxtrends import golden, record, recording
from jaxtrends.claims import Claim
from jaxtrends.design import Design
from jaxtrends.flags import rebuild


def retold(
    done: Mapping[str, Any], experiment: Design, curves: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], list[str]]:
    """A record in the words of today's code, and the claims of it that are others today.

    Args:
        done:       the record.
        experiment: the one that made it, as it is declared today.
        curves:     of the record, ``study/name`` -> array.

    Returns:
        The record with new statements, reasons, headline marks, answer, caveat and descriptions;
        the ids of claims that keep their old words: today's code has no such claim, or another
        statistic or region for it, or another study.
    """
    declared = {claim.id: claim for study in experiment.studies.values() for claim in study.claims}
    kept: list[str] = []
    stale = golden.stale_studies(done)  # whose claims may mean something else today

    def told(entry: Mapping[str, Any], part: str) -> dict[str, Any]:
        then, entry = entry["claim"], {**entry, "verdict": record.judge_again(entry)}
        claim = declared.get(then["id"])
        if then["study"] in stale or claim is None or not same(claim, then):
            kept.append(then["id"])
            return entry
        why = {(control.name, control.must): control.why for control in claim.controls}
        words = {
            "statement": claim.statement,
            "reason": claim.reason,
            "headline": claim.headline,
            "controls": [
                {**one, "why": why.get((one["name"], one["must"]), one["why"])}
                for one in then["controls"]
            ],
        }
        study = done[part]["studies"].get(then["study"], {})
        if _measures(claim, study.get("values", {}), entry):
            words["quantity"] = claim.quantity
        return {**entry, "claim": {**then, **words}}

    new = dict(done)
    for part in ("results", "measurements"):
        new[part] = {**done[part], "claims": [told(one, part) for one in done[part]["claims"]]}
    new["about"] = experiment.about
    new |= _descriptions(done, experiment)
    new |= recording.headline_of(experiment, new, curves)
    if new["lead"] not in {entry["claim"]["id"] for entry in record.entries(new)}:
        new["lead"] = done.get("lead", "") or new["lead"]
    new.pop("figure", None)
    new |= recording.figure_of(experiment, new, curves)
    return record.plain(new), kept


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The claims whose verdict differs between two tellings of a record, each with both."""
    pairs = zip(record.entries(before), record.entries(after), strict=True)
    verdicts = [
        (a["claim"]["id"], a["verdict"]["verdict"], b["verdict"]["verdict"]) for a, b in pairs
    ]
    return [f"{id} was {then} and is {now}" for id, then, now in verdicts if then != now]


def same(claim: Claim, recorded: Mapping[str, Any]) -> bool:
    """Whether a claim has the statistic and region today that it was recorded with."""
    today = record.plain(claim.region), claim.statistic, claim.kind
    return today == (recorded["region"], recorded["statistic"], recorded["kind"])


def _measures(claim: Claim, values: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """Whether a claim's quantity, computed today from a record's values, is what it recorded."""
    try:
        found = claim.evidence(record.numbers(values))
    except Exception:  # values of an older layout fail in any way
        return False
    return record.plain(found.parts) == entry["evidence"]["parts"]


def _descriptions(done: Mapping[str, Any], experiment: Design) -> dict[str, Any]:
    """Scale, rigging and departures, where today's code still reads the record's config."""
    try:
        kind = type(next(iter(experiment.presets.values())))
        config = rebuild(kind, record.numbers(done["results"]["config"]))
        data = {name: experiment.outline(config, name, None) for name in done["results"]["data"]}
        return recording.descriptions(experiment, config, data)
    except (KeyError, TypeError):
        return {}
