"""How a run ends: with its answer, the claims that matter, the totals and the way to the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxtrends import claims, headlines, report

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDEST = 100  # columns of a sentence that is easy to read
SMOKE = "A smoke run shows that everything works, and proves nothing about the paper."
NO_ANSWER = "No answer to the headline: this run lacks claims that it needs."
COLUMNS = {"ID": 0, "Claim": 30, "Reported": 20, "Ours [95% interval]": 24, "Verdict": 18}
"""Heading -> share of the width; 0 for as much as it takes."""

STYLES = {
    claims.REPRODUCED: "green",
    claims.NOT_REPRODUCED: "red",
    claims.PARTLY_REPRODUCED: "yellow",
    claims.INCONCLUSIVE: "yellow",
    claims.INVALID: "bold magenta",
    claims.NOT_TESTABLE: "dim",
}


def answer(done: Mapping[str, Any]) -> str:
    """What the run says of the headline, a paragraph a line; "" where it has nothing to say.

    A smoke run's begins with what it is worth.
    """
    said = done.get("answer", "")
    if not said and headlines.of(done) and done["results"]["not_run"]:
        said = NO_ANSWER
    return "\n".join(filter(None, (SMOKE if done["preset"] == "smoke" else "", said)))


def claims_that_matter(done: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The headline claims of a record, and those about the user's own methods.

    Where it has neither, the paper's; else all.
    """
    every = report.entries(done)
    names = {f"own-{name}" for name in done.get("own_methods", ())}
    own = [entry for entry in every if entry["claim"]["id"] in names]
    of_the_paper = [entry for entry in every if entry["claim"]["source"] == "paper"]
    return [*headlines.of(done), *own] or of_the_paper or every


def table(
    entries: Sequence[Mapping[str, Any]],
    missing: Sequence[Mapping[str, Any]] = (),
    *,
    reasons: bool,
) -> Table:
    """Claims of a record for a terminal, and those that did not run with the reason.

    Verdicts are words, with a colour besides; where ``reasons`` are asked for, with what keeps a
    claim from deciding.
    """
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, expand=True)
    # Each column says for itself that it may wrap, whatever the console's habit is.
    for name, share in COLUMNS.items():
        shown.add_column(name, ratio=share or None, no_wrap=not share, overflow="fold")
    for entry in entries:
        *cells, verdict = report.short_row(entry)
        word = entry["verdict"]["verdict"]
        shown.add_row(*map(Text, cells), Text(verdict if reasons else word, STYLES[word]))
    for claim in missing:
        why = report.sentence(f"not run: {claim['reason']}")
        shown.add_row(Text(claim["id"]), Text(why, "dim"))
    return shown


def show(done: Mapping[str, Any], console: Console, *, every: bool, command: str) -> None:
    """Print the answer of a run, its claims and the totals.

    Args:
        done:    its record.
        console: where to.
        every:   whether all claims are shown, those too that did not run, and why one is undecided.
        command: what to type for all of them.
    """
    from rich.text import Text

    entries = report.entries(done) if every else claims_that_matter(done)
    ran = done["results"]["studies"]  # the user chose the studies
    missing = [
        claim
        for claim in done["results"]["not_run"]
        if claim["study"] in ran and (every or claim["id"] == done.get("lead"))
    ]
    width = min(console.width, WIDEST)
    console.print()
    if said := answer(done):
        console.print(Text(said, "bold"), width=width, soft_wrap=False)
        console.print()
    console.print(table(entries, missing, reasons=every))
    console.print()
    console.print(Text(report.verdict_counts(done)), width=width, soft_wrap=False)
    count = len(report.entries(done))
    if not every and count > len(entries):
        console.print(Text(f"All {count} claims:\n  {command}"))
