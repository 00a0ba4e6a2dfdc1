"""A paper begun by `scripts.new_paper` runs, is judged, and keeps the house's rules as it is."""

import shlex
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from jaxtrends import record
from jaxtrends.errors import Problem
from scripts import golden, new_paper

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A checkout with a new paper in it, its files, and its smoke run."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / "pyproject.toml", root)
    for package in ("jaxtrends", "scripts"):
        (root / package).symlink_to(ROOT / package)
    (root / "experiments").mkdir()
    shutil.copy(ROOT / "experiments" / "__init__.py", root / "experiments")
    (root / "tests").mkdir()
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
    return root, files, done


def test_it_runs_in_smoke_and_gives_a_record_with_an_answer(begun):
    root, _, done = begun
    found = record.read(root / "run")
    assert found["answer"].startswith(("Yes: a hidden", "No: a hidden", "Undecided: a hidden"))
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


def test_it_says_what_is_next_and_how_the_first_golden_values_are_made(
    tmp_path, monkeypatch, capsys
):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "tests").mkdir()
    monkeypatch.setattr(record, "ROOT", tmp_path)
    assert new_paper.main(["some_paper"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "python -m experiments.some_paper --preset smoke" in lines
    assert (tmp_path / "tests/test_some_paper.py").exists()
    assert "python -m pytest tests/test_some_paper.py" in lines
    (command,) = [line for line in lines if "scripts.golden" in line]
    monkeypatch.setattr(
        golden, "discover", lambda: {"some_paper": types.SimpleNamespace(studies=())}
    )
    monkeypatch.setattr(golden, "records", lambda named: [{"experiment": name} for name in named])
    monkeypatch.setattr(golden, "update", lambda done, given: f"{done['experiment']}: {given.why}")
    assert golden.main(shlex.split(command.removeprefix("python -m scripts.golden"))) == 0
    assert capsys.readouterr().out == "some_paper: the first\n"


@pytest.mark.parametrize("name", ["Some", "class", "a-b", "some_paper", "../x", ""])
def test_a_name_that_will_not_do_is_refused(begun, name):
    with pytest.raises(Problem):
        new_paper.write(name, begun[0])


def test_elsewhere_than_in_a_checkout_it_says_what_it_needs(tmp_path):
    with pytest.raises(Problem, match="not a checkout of jaxtrends: clone"):
        new_paper.write("some_paper", tmp_path)
