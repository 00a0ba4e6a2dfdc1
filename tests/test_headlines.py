"""What stands in front of a record: its headlines, the one that leads, and its totals."""

from __future__ import annotations

import pytest

from jaxtrends import experiment, headlines
from tests.example_record import example

EXPERIMENTS = experiment.discover()


def ids(entries):
    return [entry["claim"]["id"] for entry in entries]


def test_the_claim_that_leads_comes_first():
    assert ids(headlines.of(example())) == ["T6", "T3"]
    assert headlines.lead(example()).verdict == "not reproduced"


def test_without_a_lead_headlines_keep_their_order():
    assert ids(headlines.of(example() | {"lead": ""})) == ["T3", "T6"]


def test_a_record_from_before_headlines_has_none():
    done = example()
    for entry in [*done["results"]["claims"], *done["measurements"]["claims"]]:
        del entry["claim"]["headline"]
    assert headlines.of(done) == []
    assert headlines.lead(done) is None


def test_of_each_experiment_the_first_record_answers():
    first, second = example("full"), example("default")
    assert headlines.chosen([first, second]) == {"slopes": first}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_says_which_headline_leads_and_what_limits_it(name):
    found = EXPERIMENTS[name]
    claims = [claim for study in found.studies.values() for claim in study.claims]
    marked = [claim.id for claim in claims if claim.headline]
    assert 1 <= len(marked) <= 3
    assert found.lead in marked
    assert 10 < len(found.caveat) <= 80
