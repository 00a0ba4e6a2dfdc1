"""A record told in today's words: its samples, regions and verdicts stay as they were measured.

Wording improves after a run, and a paper's headline may be marked after it. A record need not be
made again for that: what was measured and how it was judged are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxtrends import record, recording
from jaxtrends.claims import Claim
from jaxtrends.experiment import Experiment
from jaxtrends.flags import rebuild


def retold(
    done: Mapping[str, Any], experiment: Experiment, curves: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], list[str]]:
    """A record in the words of today's code, and the claims of it that are others today.

    Args:
        done:       the record.
        experiment: the one that made it, as it is declared today.
        curves:     of the record, ``study/name`` -> array.

    Returns:
        The record with new statements, reasons, headline marks, answer, caveat and descriptions;
        the ids of claims that keep their old words: today's code has no such claim, or another
        statistic, region or control for it.
    """
    declared = {claim.id: claim for study in experiment.studies.values() for claim in study.claims}
    kept: list[str] = []

    def told(entry: Mapping[str, Any]) -> dict[str, Any]:
        claim = declared.get(entry["claim"]["id"])
        if claim is None or not same(claim, entry["claim"]):
            kept.append(entry["claim"]["id"])
            return dict(entry)
        why = {control.name: control.why for control in claim.controls}
        words = {
            "statement": claim.statement,
            "reason": claim.reason,
            "headline": claim.headline,
            "controls": [{**one, "why": why[one["name"]]} for one in entry["claim"]["controls"]],
        }
        return {**entry, "claim": {**entry["claim"], **words}}

    new = dict(done)
    for part in ("results", "measurements"):
        new[part] = {**done[part], "claims": [told(entry) for entry in done[part]["claims"]]}
    new["about"] = experiment.about
    new |= _descriptions(done, experiment)
    new |= recording.headline_of(experiment, new, curves)
    return record.plain(new), kept


def same(claim: Claim, recorded: Mapping[str, Any]) -> bool:
    """Whether a claim is judged today as it was when it was recorded."""
    today = record.plain(claim.region), [(one.name, one.must) for one in claim.controls]
    then = recorded["region"], [(one["name"], one["must"]) for one in recorded["controls"]]
    return (today, claim.statistic, claim.kind) == (then, recorded["statistic"], recorded["kind"])


def _descriptions(done: Mapping[str, Any], experiment: Experiment) -> dict[str, Any]:
    """Scale, rigging and departures, where today's code still reads the record's config."""
    try:
        kind = type(next(iter(experiment.presets.values())))
        config = rebuild(kind, record.numbers(done["results"]["config"]))
        data = {name: experiment.outline(config, name, None) for name in done["results"]["data"]}
        return recording.descriptions(experiment, config, data)
    except (KeyError, TypeError):
        return {}
