"""Claims, declared before the run, and how numbers decide them.

A claim is one statistic and one region of acceptance. Its 95% interval decides: entirely inside the
region, *reproduced*; entirely outside, *not reproduced*; otherwise *inconclusive*. A directional
claim has a region with one open end, "matches" is a region around no difference, and an exact claim
is an interval of width zero. A claim may be tested in several named parts (such as cells of a
grid), corrected by Holm's method. Each control is judged by the claim's own statistic and region. A
part whose control comes out wrong is *invalid*, and so is a claim with no valid part left. A reason
not to decide affects only its own part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from jaxtrends import stats

CONFIDENCE = 0.95

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
INCONCLUSIVE = "inconclusive"
PARTLY_REPRODUCED = "partly reproduced"
INVALID = "invalid"
NOT_TESTABLE = "not testable here"
VERDICTS = (
    REPRODUCED,
    NOT_REPRODUCED,
    INCONCLUSIVE,
    PARTLY_REPRODUCED,
    INVALID,
    NOT_TESTABLE,
)
YES, NO, PARTLY, UNDECIDED = "Yes", "No", "Partly", "Undecided"


@dataclass(frozen=True)
class Paper:
    """A paper as it is cited; as an arXiv preprint unless its BibTeX is given.

    authors: surnames, with commas between them.
    """

    key: str
    title: str
    authors: str
    year: int
    arxiv: str
    bibtex: str = ""

    def __post_init__(self) -> None:
        if not self.bibtex:
            lines = {
                "title": self.title,
                "author": self.authors.replace(", ", " and "),
                "journal": f"arXiv preprint arXiv:{self.arxiv}",
                "year": self.year,
            }
            inner = ",\n".join(f"  {name} = {{{value}}}" for name, value in lines.items())
            object.__setattr__(self, "bibtex", f"@article{{{self.key},\n{inner}\n}}")


@dataclass(frozen=True)
class Evidence:
    """The raw samples that a claim is judged by, per part and per control.

    A sample has the format of its statistic: ``{"values": […]}`` or
    ``{"treatment": […], "reference": […]}``, with one number per seed.
    """

    parts: Mapping[str, stats.Samples]
    controls: Mapping[str, stats.Samples] = field(default_factory=dict)
    """By name for all parts together, or by `control_of` for each part."""
    undecided: str | Mapping[str, str] = ""
    """Why the samples must not decide (such as a tuned rate on the edge of its grid), for the whole
    claim or per part; "" if they may."""


def control_of(control: str, part: str) -> str:
    """The name of a control for one part."""
    return f"{control}, {part}" if part else control


@dataclass(frozen=True)
class Control:
    """A run that must fail the claim's test (negative), or pass it (positive)."""

    name: str
    must: Literal["fail", "pass"]
    why: str


@dataclass(frozen=True)
class Claim:
    """One claim, complete before any number exists.

    id:        short and stable ("F4a"); the page links to it.
    study:     the study whose values decide it.
    statement: what is claimed: one short, self-contained sentence in our words.
    source:    who claims it; only ``paper`` shows a paper's figure.
    reported:  the figure as the source gives it, or "" (always "" if unverified).
    where:     its location ("Figure 4, lower row"); known: how we know it.
    quantity:  what is measured, with its unit.
    statistic: a name in `stats.STATISTICS`.
    region:    (low, high), open: the whole interval must be inside.
    reason:    why this region: the reason for a threshold or margin.
    kind:      ``statistical``, or ``exact`` if the value is deterministic.
    about:     ``results`` (the same bits on every rerun) or ``measurements`` (times, memory).
    headline:  whether it is one of the one to three claims for which people cite the paper.
    evidence:  the study's values (or measurements) -> Evidence. A KeyError means that this run
               lacks what the claim needs (a skipped method or size): the claim is then not run.
    """

    id: str
    study: str
    statement: str
    source: Literal["paper", "critic", "derived"]
    quantity: str
    statistic: str
    region: tuple[float, float]
    reason: str
    evidence: Callable[[Mapping[str, Any]], Evidence] | None
    reported: str = ""
    where: str = ""
    known: Literal["text", "figure", "code", "secondary", "derived", "abstract"] = "derived"
    kind: Literal["statistical", "exact"] = "statistical"
    about: Literal["results", "measurements"] = "results"
    controls: tuple[Control, ...] = ()
    not_testable: str = ""
    headline: bool = False

    def __post_init__(self) -> None:
        if self.statistic not in stats.STATISTICS:
            raise ValueError(f"claim {self.id}: no statistic {self.statistic!r}")
        if (self.kind == "exact") != (self.statistic == "exact"):
            raise ValueError(f"claim {self.id}: kind and statistic disagree on exactness")
        if self.reported and self.source == "derived":
            raise ValueError(f"claim {self.id}: a derived claim has no reported figure")
        if self.reported and not self.where:
            raise ValueError(f"claim {self.id}: where is the reported figure from?")
        if not self.region[0] < self.region[1]:
            raise ValueError(f"claim {self.id}: empty region {self.region}")
        if self.region == (-math.inf, math.inf):
            raise ValueError(f"claim {self.id}: a region that contains everything tests nothing")


@dataclass(frozen=True)
class Finding:
    """One judged sample: its interval, its verdict, and a p-value if it is part of a family.

    If ``scale`` is ``log``, the minimum detectable effect of an inconclusive one is a factor.
    """

    verdict: str
    estimate: float
    low: float
    high: float
    n: int
    method: str
    minimum_detectable_effect: float | None = None
    holm_p: float | None = None
    scale: Literal["linear", "log"] = "linear"


@dataclass(frozen=True)
class Verdict:
    """How a claim came out. ``headline`` names the part shown in tables: the least favourable."""

    verdict: str
    headline: str
    parts: Mapping[str, Finding]
    controls: Mapping[str, Finding] = field(default_factory=dict)
    note: str = ""


def _side(interval: stats.Interval, region: tuple[float, float]) -> str:
    """Whether the interval is inside the region, outside, or neither.

    An infinite bound is no bound: an interval without an upper end, such as an odds ratio's, can
    be entirely above a threshold. NaN is in no region.
    """
    low, high = region
    if (low == -math.inf or interval.low > low) and (high == math.inf or interval.high < high):
        return REPRODUCED
    if math.isnan(interval.low) or interval.high <= low or interval.low >= high:
        return NOT_REPRODUCED
    return INCONCLUSIVE


def _p_value(statistic: str, samples: stats.Samples, region: tuple[float, float]) -> float:
    """The smallest 1 - confidence at which the interval is conclusive, found by bisection.

    For Student's t it is the p-value of the two-sided test against the nearer bound.
    """
    interval_at = stats.STATISTICS[statistic]
    low, high = 0.0, 1.0 - 1e-9
    if _side(interval_at(samples, high), region) != INCONCLUSIVE:
        return 1 - high
    for _ in range(40):
        middle = (low + high) / 2
        if _side(interval_at(samples, middle), region) == INCONCLUSIVE:
            high = middle
        else:
            low = middle
    return 1 - low


def _finding(claim: Claim, samples: stats.Samples, verdict: str, holm: float | None) -> Finding:
    interval = stats.STATISTICS[claim.statistic](samples, CONFIDENCE)
    effect = None
    if verdict == INCONCLUSIVE:
        effect = stats.minimum_detectable_effect(interval, CONFIDENCE)
    return Finding(
        verdict,
        interval.estimate,
        interval.low,
        interval.high,
        interval.n,
        interval.method,
        effect,
        holm,
        interval.scale,
    )


def _judge_family(claim: Claim, family: Mapping[str, stats.Samples]) -> dict[str, Finding]:
    interval_at = stats.STATISTICS[claim.statistic]
    sides = {
        name: _side(interval_at(samples, CONFIDENCE), claim.region)
        for name, samples in family.items()
    }
    if claim.kind == "exact" or len(family) == 1:
        return {name: _finding(claim, family[name], sides[name], None) for name in family}
    p_values = stats.holm([_p_value(claim.statistic, family[n], claim.region) for n in family])
    findings = {}
    for (name, samples), p in zip(family.items(), p_values, strict=True):
        side = sides[name] if p <= 1 - CONFIDENCE else INCONCLUSIVE
        findings[name] = _finding(claim, samples, side, p)
    return findings


def _combine(verdicts: set[str]) -> str:
    if len(verdicts) == 1:
        return verdicts.pop()
    if {REPRODUCED, NOT_REPRODUCED} <= verdicts:
        return PARTLY_REPRODUCED
    return NOT_REPRODUCED if NOT_REPRODUCED in verdicts else INCONCLUSIVE


def _margin(claim: Claim, finding: Finding) -> float:
    """How far inside the region the interval is, in units of its half-width."""
    low, high = claim.region
    rooms = [finding.low - low] if low > -math.inf else []
    rooms += [high - finding.high] if high < math.inf else []
    room, half = min(rooms), (finding.high - finding.low) / 2
    if not (math.isfinite(room) and math.isfinite(half)):
        return math.inf if room > 0 else -math.inf
    return room / max(half, 1e-300)


def judge(claim: Claim, evidence: Evidence) -> Verdict:
    """Decide a claim from its raw, unrounded samples.

    Raises:
        ValueError: a declared control has no samples, or the claim has no part.
    """
    if claim.not_testable:
        return Verdict(NOT_TESTABLE, "", {}, note=claim.not_testable)
    declared = _controls(claim, evidence)
    missing = [name for name in declared if name not in evidence.controls]
    if missing or not evidence.parts:
        raise ValueError(f"claim {claim.id}: no samples for {missing or 'any part'}")
    parts = _judge_family(claim, evidence.parts)
    controls: dict[str, Finding] = {}
    failures: dict[str, list[str]] = {}
    for name, (control, part) in declared.items():
        samples = evidence.controls[name]
        side = _side(stats.STATISTICS[claim.statistic](samples, CONFIDENCE), claim.region)
        controls[name] = _finding(claim, samples, side, None)
        if (side == REPRODUCED) != (control.must == "pass"):
            said = f"{name} must {control.must} and came out {side}"
            failures.setdefault(part, []).append(said)
    doubts = _doubts(evidence)
    for part, finding in parts.items():
        if part in failures:
            parts[part] = replace(finding, verdict=INVALID)
        elif part in doubts:
            parts[part] = _finding(claim, evidence.parts[part], INCONCLUSIVE, finding.holm_p)
    order = {NOT_REPRODUCED: 0, INVALID: 1, INCONCLUSIVE: 1, REPRODUCED: 2}
    headline = min(parts, key=lambda n: (order[parts[n].verdict], _margin(claim, parts[n])))
    said = [text for name in failures for text in failures[name]]
    if WHOLE in failures:
        return Verdict(INVALID, headline, parts, controls, note="; ".join(said))
    said += [f"{part}: {why}" if part else why for part, why in doubts.items()]
    said += [_family_note(claim, parts)] if len(parts) > 1 else []
    verdict = _combine({finding.verdict for finding in parts.values()})
    if WHOLE in doubts:
        verdict = INCONCLUSIVE
    return Verdict(verdict, headline, parts, controls, note="; ".join(said))


WHOLE = ()  # stands for all parts together; no part can have this name


def _controls(claim: Claim, evidence: Evidence) -> dict[str, tuple[Control, Any]]:
    """The controls that the evidence must have: name -> control, and the part it belongs to."""
    found: dict[str, tuple[Control, Any]] = {}
    for control in claim.controls:
        if control.name in evidence.controls:
            found[control.name] = control, WHOLE
        else:
            found |= {control_of(control.name, part): (control, part) for part in evidence.parts}
    return found


def _doubts(evidence: Evidence) -> dict[Any, str]:
    if isinstance(evidence.undecided, str):
        return {WHOLE: evidence.undecided} if evidence.undecided else {}
    return {part: why for part, why in evidence.undecided.items() if why}


def _family_note(claim: Claim, parts: Mapping[str, Finding]) -> str:
    counts = {v: sum(f.verdict == v for f in parts.values()) for v in VERDICTS}
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    correction = "" if claim.kind == "exact" else " (Holm-corrected)"
    return f"{len(parts)} parts{correction}: {said}; shown is the least favourable"


@dataclass(frozen=True)
class Answers:
    """The judged claims of a record, for the sentence that answers its headline.

    ``answers["M4"]`` has the claim's verdict, and the estimate and interval of the part shown in
    tables; ``answers["M4", "lookup"]`` is another part.
    """

    entries: Sequence[Mapping[str, Any]]

    def __contains__(self, key: str | tuple[str, str]) -> bool:
        try:
            self[key]
        except KeyError:
            return False
        return True

    def __getitem__(self, key: str | tuple[str, str]) -> Answer:
        """A claim by its id, or one part of it by id and part.

        Raises:
            KeyError: this record has no such claim, or none that was judged.
        """
        id, part = (key, None) if isinstance(key, str) else key
        for entry in self.entries:
            verdict = entry["verdict"]
            if entry["claim"]["id"] == id and verdict["parts"]:
                shown = verdict["headline"] if part is None else part
                if shown not in verdict["parts"]:
                    raise KeyError(f"{id}, {part}")
                found = verdict["parts"][shown]
                said = verdict["verdict"] if part is None else found["verdict"]
                ends = (float(found[name]) for name in ("estimate", "low", "high"))
                note = verdict["note"] if said == INCONCLUSIVE else ""
                return Answer(said, *ends, part=shown, note=note)
        raise KeyError(id)


@dataclass(frozen=True)
class Answer:
    """A verdict, and the estimate with its 95% interval; ``part`` is "" where there is one.

    ``note`` says why an inconclusive claim was left open, if not because of its interval.
    """

    verdict: str
    estimate: float
    low: float
    high: float
    part: str = ""
    note: str = ""

    @property
    def word(self) -> str:
        """The verdict as the first word of an answer: Yes, No, Partly or Undecided."""
        words = {REPRODUCED: YES, NOT_REPRODUCED: NO, PARTLY_REPRODUCED: PARTLY}
        return words.get(self.verdict, UNDECIDED)

    def pick(self, yes: str, no: str, undecided: str) -> str:
        """The text that fits the verdict; ``undecided`` also where only some parts hold."""
        return {YES: yes, NO: no}.get(self.word, undecided)

    def __format__(self, spec: str) -> str:
        """The estimate with its interval, each number by ``spec``: ``f"{found:.2f}"``."""
        return stats.spelled(self.estimate, self.low, self.high, spec)
