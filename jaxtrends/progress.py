"""How far a run is: its studies in order, and how long the rest of them will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

TRUST = 0.2  # of the whole run: after so much of it this machine's pace counts for half


class Progress:
    """Where a run is in its studies.

    Args:
        studies:  their names in order.
        expected: study -> seconds that it took in the committed record. Only the proportions matter
                  once studies have ended here; where it lacks a study, no time left is known.
        clock:    gives seconds.
    """

    def __init__(
        self,
        studies: Sequence[str] = (),
        expected: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        known = expected or {}
        self._expected = known if all(known.get(name, 0) > 0 for name in studies) else {}
        self._ahead, self._took, self._clock = list(studies), dict[str, float](), clock
        self.study, self._started = "", 0.0
        self.count, self.number = len(self._ahead), 0

    def begin(self, study: str, before: float = 0.0) -> None:
        """A study is worked on from now; ``before`` are seconds that earlier runs spent on it."""
        self._next(study)
        self.study, self._started = study, self._clock() - before

    def end(self, seconds: float) -> None:
        """The study is done, after so many seconds in all."""
        self._took[self.study] = seconds
        self.study = ""

    def skip(self, study: str) -> None:
        """A study needs no work: an earlier run did it."""
        self._next(study)

    def _next(self, study: str) -> None:
        if study in self._ahead:
            self._ahead.remove(study)
        self.number += 1

    def left(self, part: float = 0.0) -> float | None:
        """Seconds until the studies are done; None where nothing says how long they take.

        They are those of the record, slower or faster as the studies so far were here.

        Args:
            part: seconds that the study's present part has left, at least.
        """
        if not self._expected:
            return None
        took, told = sum(self._took.values()), sum(self._expected[name] for name in self._took)
        trust = TRUST * sum(self._expected.values())
        pace = (took + trust) / (told + trust)
        now = 0.0
        if self.study:
            spent, told_now = self._clock() - self._started, self._expected[self.study]
            pace = max(pace, (took + spent + trust) / (told + told_now + trust))
            now = max(pace * told_now - spent, part)
        return now + pace * sum(self._expected[name] for name in self._ahead)

    def share(self, part: float = 0.0) -> float:
        """The share of the run that is done: of its time, or of its studies where none is known."""
        left = self.left(part)
        if left is None:
            return (self.number - bool(self.study)) / max(self.count, 1)
        spent = sum(self._took.values()) + (self._clock() - self._started if self.study else 0.0)
        return spent / max(spent + left, 1e-9)
