"""How long a run takes yet: as its record says, at the pace of this machine."""

from __future__ import annotations

import pytest

from jaxtrends.progress import Progress


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


RECORD = {"a": 10.0, "b": 20.0, "c": 70.0}


@pytest.fixture
def clock():
    return Clock()


def run(clock, pace, *studies, expected=RECORD):
    """Progress after some studies that took so many times their time of the record."""
    progress = Progress(list(RECORD), expected, clock)
    for name in studies:
        progress.begin(name)
        clock.now += pace * RECORD[name]
        progress.end(pace * RECORD[name])
    return progress


def test_on_the_records_machine_the_rest_takes_what_it_took_there(clock):
    progress = run(clock, 1.0, "a", "b")
    assert progress.left() == pytest.approx(70.0)
    progress.begin("c")
    clock.now += 35.0
    assert progress.left() == pytest.approx(35.0)
    assert progress.share() == pytest.approx(65 / 100)
    assert (progress.number, progress.count) == (3, 3)


@pytest.mark.parametrize("pace", [0.1, 3.0])
def test_another_machines_pace_counts_more_the_longer_it_is_known(clock, pace):
    errors = [
        abs(run(clock, pace, *done).left() / sum(pace * RECORD[name] for name in rest) - 1)
        for done, rest in (("", "abc"), ("a", "bc"), ("ab", "c"))
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 2


def test_a_study_that_takes_longer_than_it_should_slows_all_that_follow(clock):
    progress = run(clock, 1.0)
    progress.begin("a")
    clock.now += 10.0
    before = progress.left()
    clock.now += 30.0
    assert progress.left() > before
    assert progress.left(part=1000.0) >= 1000.0


def test_a_study_of_an_earlier_run_says_nothing_of_the_pace(clock):
    progress = Progress(list(RECORD), RECORD, clock)
    progress.skip("a")
    assert progress.left() == pytest.approx(90.0)
    progress.begin("b", before=15.0)
    assert progress.left() == pytest.approx(75.0)


@pytest.mark.parametrize("expected", [{}, {"a": 10.0, "b": 20.0}, {**RECORD, "c": 0.0}])
def test_where_a_study_is_not_known_nothing_is_said_of_the_time(clock, expected):
    progress = run(clock, 1.0, "a", expected=expected)
    assert progress.left() is None
    progress.begin("b")
    assert progress.share() == pytest.approx(1 / 3)
