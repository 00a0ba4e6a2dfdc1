"""Papers in turn: all of them within as few commits as that takes, the same for one commit."""

from __future__ import annotations

import subprocess

import pytest

from jaxtrends import in_turn, record
from jaxtrends.errors import Problem

PAPERS = [f"paper_{number}" for number in range(21)]


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch):
    monkeypatch.delenv(in_turn.VARIABLE, raising=False)


@pytest.mark.parametrize("first", [0, 7, int("f" * 40, 16)])
@pytest.mark.parametrize(("count", "turns"), [(1, 21), (2, 11), (21, 1), (30, 1)])
def test_all_have_their_turn(count, turns, first):
    taken = [in_turn.chosen(PAPERS, count, first + turn) for turn in range(turns)]
    assert {paper for some in taken for paper in some} == set(PAPERS)
    assert all(len(set(some)) == len(some) == min(count, 21) for some in taken)


def test_the_environment_names_papers(monkeypatch):
    monkeypatch.setenv(in_turn.VARIABLE, "paper_3 paper_1 paper_2")
    assert in_turn.chosen(PAPERS, 2, 9) == ["paper_3", "paper_1", "paper_2"]
    monkeypatch.setenv(in_turn.VARIABLE, "paper_33")
    with pytest.raises(Problem, match="no experiment 'paper_33'"):
        in_turn.chosen(PAPERS)


def commit(folder):
    named = ("-c", "user.name=a", "-c", "user.email=a@b")
    command = ["git", "-C", folder, *named, "commit", "-q", "--allow-empty", "-m", "x"]
    subprocess.run(command, check=True)


def test_a_commit_later_it_is_the_next_ones_turn(tmp_path, monkeypatch):
    whole, shallow = tmp_path / "whole", tmp_path / "shallow"
    monkeypatch.setattr(record, "ROOT", whole)
    assert in_turn.chosen(PAPERS) == PAPERS[:2]  # there is no git
    subprocess.run(["git", "init", "-q", whole], check=True)
    assert in_turn.chosen(PAPERS) == PAPERS[:2]  # there is no commit
    for turn in (1, 2, 3):
        commit(whole)
        assert in_turn.chosen(PAPERS) == in_turn.chosen(PAPERS) == PAPERS[2 * turn : 2 * turn + 2]
    clone = ["git", "clone", "-q", "--depth", "1", whole.as_uri(), shallow]
    subprocess.run(clone, check=True)
    head = int(record.git("rev-parse", "HEAD"), 16)
    monkeypatch.setattr(record, "ROOT", shallow)
    assert in_turn.chosen(PAPERS) == in_turn.chosen(PAPERS, turn=head)
