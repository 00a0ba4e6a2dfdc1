"""A paper begun by `scripts.new_paper` runs, is judged, and keeps the house's rules as it is."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxtrends import record
from jaxtrends.errors import Problem
from scripts import new_paper

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A checkout with a new paper in it, and the seconds from nothing to its smoke run."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / "pyproject.toml", root)
    for package in ("jaxtrends", "scripts"):
        (root / package).symlink_to(ROOT / package)
    (root / "experiments").mkdir()
    shutil.copy(ROOT / "experiments" / "__init__.py", root / "experiments")
    (root / "tests").mkdir()
    started = time.monotonic()
    files = new_paper.write("some_paper", root)
    done = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-m", "experiments.some_paper"),
            *("--preset", "smoke", "--output", "run"),
        ],
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    print(f"from nothing to a smoke run: {time.monotonic() - started:.0f} s")
    return root, files, done


def test_it_runs_in_smoke_and_gives_a_record_with_an_answer(begun):
    root, _, done = begun
    found = record.read(root / "run")
    assert found["answer"].startswith("A hidden layer changes the loss by ")
    (entry,) = record.entries(found)
    assert record.judge_again(entry) == entry["verdict"]
    assert entry["claim"]["id"] in done.stdout


def test_its_own_test_passes(begun):
    root, _, _ = begun
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_it_keeps_the_rules_of_style(begun):
    root, files, _ = begun
    for command in (("check",), ("format", "--check")):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *files], cwd=root, capture_output=True
        )
        assert done.returncode == 0, done.stdout.decode()


@pytest.mark.parametrize("name", ["Some", "class", "a-b", "some_paper", "../x", ""])
def test_a_name_that_will_not_do_is_refused(begun, name):
    with pytest.raises(Problem):
        new_paper.write(name, begun[0])


def test_elsewhere_than_in_a_checkout_it_says_what_it_needs(tmp_path):
    with pytest.raises(Problem, match="no checkout of jaxtrends: clone"):
        new_paper.write("some_paper", tmp_path)
