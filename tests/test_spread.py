"""Tests in two processes: a paper's in one of them, a file's in one of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import spread

HERE = Path(__file__).parent


@pytest.mark.parametrize("file", spread.PAPER_BY_PAPER)
def test_a_file_that_is_shared_has_papers_for_parameters(file):
    assert "discover()" in (HERE / file).read_text(encoding="utf-8")


def test_papers_are_shared_and_files_are_not():
    one, two = (f"tests/test_conformance.py::test_{name}[a-paper]" for name in ("one", "two"))
    assert spread.scope_of(one) == spread.scope_of(two)
    assert spread.scope_of(one) != spread.scope_of(one.replace("a-paper", "another"))
    one, two = (f"tests/test_stats.py::test_{name}" for name in ("one[x]", "two"))
    assert spread.scope_of(one) == spread.scope_of(two) == "tests/test_stats.py"


TESTS = """
import pytest

@pytest.mark.parametrize("paper", ["a", "b", "c", "d"])
def test_one(paper): pass

@pytest.mark.parametrize("paper", ["a", "b", "c", "d"])
def test_two(paper): pass
"""


@pytest.mark.parametrize(("file", "shared"), [("test_conformance.py", 2), ("test_other.py", 1)])
def test_processes_take_papers_and_each_paper_stays_in_one(tmp_path, file, shared):
    (tmp_path / file).write_text(TESTS)
    hook = (HERE / "spread.py").read_text(encoding="utf-8")
    (tmp_path / "conftest.py").write_text(f"{hook}\npytest_xdist_make_scheduler = scheduler\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider"),
            *("--numprocesses=2", "--dist=loadfile", "--rootdir", tmp_path, tmp_path),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    took = re.findall(r"\[(gw\d)\].*PASSED.*\[(\w)\]", done.stdout)
    assert len(took) == 8
    workers = {paper: {worker for worker, p in took if p == paper} for paper in "abcd"}
    assert all(len(each) == 1 for each in workers.values())
    assert len(set.union(*workers.values())) == shared
