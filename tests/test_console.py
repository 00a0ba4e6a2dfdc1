"""The command jaxtrends: the list, a run that is python -m's own, and what it refuses."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jaxtrends import console, record
from jaxtrends.experiment import discover

PROGRAM = "import sys; from jaxtrends.console import main; sys.exit(main())"
SMOKE = ("--preset", "smoke", "--studies", "tables")


def ran(*words, cwd):
    """Status, output and error of a command that finds this checkout from anywhere."""
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PYTHONPATH": str(record.ROOT), "COLUMNS": "200"},
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


def typed(*words, cwd):
    return ran("-c", PROGRAM, *words, cwd=cwd)


def test_by_itself_it_lists_the_experiments_as_python_does(tmp_path):
    found = typed(cwd=tmp_path)
    assert found == ran("-m", "experiments", cwd=tmp_path)
    assert found[0] == 0
    for name in discover():
        assert name in found[1]


def test_its_names_are_those_of_the_experiments():
    assert console.names() == list(discover())


def test_a_run_is_that_of_python(tmp_path):
    status, out, _ = typed("run", "compute_trends", *SMOKE, "--output", "a", cwd=tmp_path)
    assert status == 0
    assert "Record:  a/record.json" in out
    assert ran("-m", "experiments.compute_trends", *SMOKE, "--output", "b", cwd=tmp_path)[0] == 0
    one, other = record.read(tmp_path / "a"), record.read(tmp_path / "b")
    assert one["results"] == other["results"]
    said = {done["provenance"]["command"] for done in (one, other)}
    assert said == {f"python -m experiments.compute_trends {' '.join(SMOKE)}"}


@pytest.mark.parametrize(
    "flags",
    [["--help"], ["--sed", "3"], ["--preset", "smok"], ["--output", "/dev/null/x"], ["stray"]],
)
def test_flags_and_exit_statuses_are_those_of_python(flags, tmp_path):
    one = typed("run", "compute_trends", *flags, cwd=tmp_path)
    assert one == ran("-m", "experiments.compute_trends", *flags, cwd=tmp_path)
    assert one[0] == (0 if flags == ["--help"] else 2)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "forwrad_grad"], "Did you mean 'forward_grad'?"),
        (["run", "__main__"], "There is no experiment '__main__'"),
        (["run", "../x"], "There is no experiment '../x'"),
        (["run", ""], "There is no experiment ''"),
        (["run"], "Say jaxtrends run NAME, with one of compute_trends, forward_grad"),
        (["run", "--preset", "smoke"], "Say jaxtrends run NAME"),
        (["rum", "forward_grad"], "There is no command 'rum'"),
        (["forward_grad", "--preset", "x y"], "Say jaxtrends run forward_grad --preset 'x y'."),
        (["\x1b[2J"], r"There is no command '\x1b[2J'"),
    ],
)
def test_a_wrong_word_gets_one_sentence_and_status_2(words, sentence, capsys):
    assert console.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert sentence in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["run", "--help"], ["--version"]])
def test_help_loads_no_jax_and_no_numpy(words, tmp_path):
    program = f"""
import sys
from jaxtrends.console import main
status = main({words})
assert not {{"jax", "numpy", "rich", "experiments"}} & set(sys.modules), set(sys.modules)
sys.exit(status)
"""
    status, out, err = ran("-c", program, cwd=tmp_path)
    assert (status, err) == (0, "")
    assert ("jaxtrends run NAME" in out) == (words != ["--version"])


def test_a_reader_that_leaves_ends_it_without_a_word(tmp_path):
    program = f"{sys.executable} -c '{PROGRAM}' --help | true"
    done = subprocess.run(
        ["bash", "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(record.ROOT)},
    )
    assert done.stderr == ""
