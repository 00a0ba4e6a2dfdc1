"""What is said of a record, from the record alone: how its claims came out, and a row for each."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxtrends import claims, record
from jaxtrends.formats import (
    format_interval,
    format_number,
)

KNOWN = {
    "text": "in the text",
    "figure": "read off the figure",
    "code": "public code",
    "secondary": "secondary source",
    "derived": "derived",
    "abstract": "in the abstract",
}
CLAIMED = {"paper": "the paper", "critic": "its critics", "derived": "this suite"}

# --- how the claims came out -------------------------------------------------------------------


def counts(done: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
    """Verdict -> claims with it: those of the paper and its critics, and those derived by us."""
    of_the_paper = dict.fromkeys(claims.VERDICTS, 0)
    derived = dict.fromkeys(claims.VERDICTS, 0)
    for entry in record.entries(done):
        counted = derived if entry["claim"]["source"] == "derived" else of_the_paper
        counted[entry["verdict"]["verdict"]] += 1
    return tuple({v: n for v, n in found.items() if n} for found in (of_the_paper, derived))


def in_words(counted: Mapping[str, int]) -> str:
    """Verdicts and how many claims have each: "5 reproduced, 1 inconclusive"."""
    return ", ".join(f"{count} {verdict}" for verdict, count in counted.items())


def verdict_counts(done: Mapping[str, Any]) -> str:
    """How a record's claims came out: "Paper and critics: 5 reproduced. Derived by us: 1 …"."""
    named = zip(("Paper and critics", "Derived by us"), counts(done), strict=True)
    said = [f"{name}: {in_words(found)}." for name, found in named if found]
    missing = len(done["results"]["not_run"])
    return " ".join([*said, *([f"Not run: {missing}."] if missing else [])])


# --- a claim as a row --------------------------------------------------------------------------


class Row(NamedTuple):
    """What a table says of one claim, as plain text."""

    id: str
    claim: str
    reported: str
    criterion: str
    ours: str
    verdict: str
    n: str


SHORT_COLUMNS = ("ID", "Claim", "Reported", "Ours [95% interval]", "Verdict")
COLUMNS = ("ID", "Claim", "Reported", "Accepted if", "Ours [95% interval]", "Verdict", "n")


def _natural(text: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


def p_value_of(p: float) -> str:
    """A p-value with its sign: "= 0.043", or "< 1e-6" where nobody needs to know how small."""
    return "< 1e-6" if p < 1e-6 else f"= {format_number(p, 2)}"


def entries(done: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All claims of a record in the order of their ids, F2 before F10."""
    return sorted(record.entries(done), key=lambda entry: _natural(entry["claim"]["id"]))


def quantity_of(claim: Mapping[str, Any]) -> str:
    """What a claim measures, with its unit; a pure number needs none."""
    return claim["quantity"].removesuffix(" [1]")


def region_of(claim: Mapping[str, Any]) -> str:
    """Where the whole interval must lie for a claim to be reproduced: "above 5"."""
    low, high = (float(bound) for bound in claim["region"])
    if math.isinf(low):
        return f"below {format_number(high, 6)}"
    if math.isinf(high):
        return f"above {format_number(low, 6)}"
    return f"between {format_number(low, 6)} and {format_number(high, 6)}"


def reported(claim: Mapping[str, Any], *, how: bool = False) -> str:
    """The figure of the paper, or of a critic who is named as one, and where it stands.

    Nothing where there is none. With ``how``, how we know it is said too.
    """
    if not claim["reported"]:
        return ""
    by = "critics: " if claim["source"] == "critic" else ""
    said = claim["known"] in claim["where"] and claim["known"] != "figure"
    known = f"; {KNOWN[claim['known']]}" if how and not said else ""
    return f"{by}{claim['reported']} ({claim['where']}{known})"


def interval_of(finding: Mapping[str, Any]) -> str:
    """The estimate and interval of a finding (`claims.Finding` as plain data) as text."""
    return format_interval(*(float(finding[end]) for end in ("estimate", "low", "high")))


def shown_part(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The finding that stands for a claim of a record: that of its least favourable part."""
    return entry["verdict"]["parts"].get(entry["verdict"]["headline"])


def number_of(entry: Mapping[str, Any]) -> str:
    """What we found for a claim, without its part's name: "1.56 [1.32, 1.86]"; "" for nothing."""
    found = shown_part(entry)
    if found is None:
        return ""
    return interval_of(found) + " (exact)" * (entry["claim"]["kind"] == "exact")


def diverged(samples: Mapping[str, Sequence[Any]]) -> int:
    """Seeds on which any of the values is not finite."""
    return sum(
        any(not math.isfinite(float(value)) for value in values)
        for values in zip(*samples.values(), strict=False)
    )


def detectable_effect(finding: Mapping[str, Any]) -> str:
    """The minimum detectable effect of a finding, in brackets; "" where it has none."""
    if finding["minimum_detectable_effect"] is None:
        return ""
    effect = float(finding["minimum_detectable_effect"])
    if not math.isfinite(effect):
        return " (the interval has no end)"
    if finding["scale"] == "log":
        return f" (detectable factor: {1 + float(f'{effect - 1:.2g}'):.6g})"
    return f" (detectable effect: {format_number(effect, 2)})"


def doubts_of(entry: Mapping[str, Any]) -> str:
    """What keeps a claim of a record, or parts of it, from deciding; "" where nothing does."""
    said = entry["evidence"]["undecided"]
    if isinstance(said, str):
        return said
    return "; ".join(f"{part}: {why}" if part else why for part, why in said.items())


def row_of(entry: Mapping[str, Any]) -> Row:
    """What tables say of a claim of a record."""
    claim, verdict, found = entry["claim"], entry["verdict"], shown_part(entry)
    ours, n, detectable = "", "", ""
    if found is not None:
        ours, n = interval_of(found), str(found["n"])
        detectable = detectable_effect(found) if verdict["verdict"] == claims.INCONCLUSIVE else ""
        if len(verdict["parts"]) > 1:
            ours += f" at {verdict['headline']}, least favourable of {len(verdict['parts'])}"
        if claim["kind"] == "exact":
            ours, n = ours + " (exact)", ""
        lost = diverged(entry["evidence"]["parts"][verdict["headline"]])
        if lost:
            n += f" ({lost} diverged)"
    why = doubts_of(entry) if verdict["verdict"] == claims.INCONCLUSIVE else ""
    return Row(
        claim["id"],
        claim["statement"],
        reported(claim, how=True),
        f"{quantity_of(claim)}: {region_of(claim)}",
        ours,
        f"{verdict['verdict']} ({why})" if why else verdict["verdict"] + detectable,
        n.strip(),
    )


def short_row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """What a narrow table says of a claim of a record, by `SHORT_COLUMNS`."""
    row = row_of(entry)
    return (row.id, row.claim, reported(entry["claim"]), row.ours, row.verdict)


def sentence(text: str) -> str:
    """A text that begins and ends like a sentence."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def control_found(verdict: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """How a control came out: of all parts together, or its run beside the part that is shown."""
    found = verdict["controls"]
    return found[name if name in found else claims.control_of(name, verdict["headline"])]


def _control(control: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    right = (found["verdict"] == claims.REPRODUCED) == (control["must"] == "pass")
    return (
        f"Control “{control['name']}” ({control['why'].rstrip('.')}) must {control['must']}"
        f"{', and does' if right else ', but does NOT'}: {found['verdict']}, {interval_of(found)}."
    )


def note_of(entry: Mapping[str, Any]) -> str:
    """All that a claim's row has no room for, in sentences."""
    claim, verdict, found = entry["claim"], entry["verdict"], shown_part(entry)
    said = [f"Claimed by {CLAIMED[claim['source']]}."]
    if verdict["note"] and verdict["verdict"] != claims.INVALID:  # the controls below say it
        said.append(sentence(verdict["note"]))
    if found is not None and claim["kind"] == "statistical":
        p = found["holm_p"]
        corrected = "" if p is None else f"; Holm-corrected p {p_value_of(p)}"
        said.append(f"Interval: {found['method']}{corrected}.")
    if found is not None:
        said.append(f"Why this region: {sentence(claim['reason'])}")
        said += [
            _control(control, control_found(verdict, control["name"]))
            for control in claim["controls"]
        ]
    return " ".join(said)


# --- of studies -------------------------------------------------------------------------------


def cell_text(value: Any) -> str:
    """A cell of a study's table as text: numbers that are no counts with four digits."""
    if value is None:
        return ""
    if isinstance(value, float) or value in ("nan", "inf", "-inf"):
        return format_number(value)
    return str(value)


def columns_of_numbers(table: Mapping[str, Any]) -> set[int]:
    """Which columns of a study's table hold no text."""
    columns = enumerate(zip(*table["rows"], strict=True))
    return {n for n, cells in columns if not any(isinstance(cell, str) for cell in cells)}


def figures_of(done: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All figures of a record, as plain data: those of results, then those of measurements.

    Raises:
        ValueError: two figures have one name, and so would be one file.
    """
    parts = (done["results"]["studies"], done["measurements"]["studies"])
    found = [figure for part in parts for study in part.values() for figure in study["figures"]]
    names = [figure["name"] for figure in found]
    if len({name.casefold() for name in names}) < len(names):
        raise ValueError(f"two figures have the same name: {sorted(names)}")
    return found


def drawn_of(done: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All figures that are drawn of a record: that of its headline, then its `figures_of`.

    Raises:
        ValueError: two figures have one name, and so would be one file.
    """
    headline = done.get("figure")
    found = figures_of(done)
    if headline and headline["name"].casefold() in {f["name"].casefold() for f in found}:
        raise ValueError(f"two figures have the same name: {headline['name']}")
    return [headline, *found] if headline else found
