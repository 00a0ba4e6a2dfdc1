"""Paths as users write them, and as they stand in commands that are printed."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import pytest

from jaxtrends import data, flags, paths
from jaxtrends.errors import Problem
from tests.toy_experiment import EXPERIMENT


@pytest.fixture
def homeless(monkeypatch):
    import pwd

    def nobody(_):
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)


@pytest.mark.parametrize("flag", ["output", "data-dir", "profile"])
def test_a_tilde_is_the_home_in_both_spellings_of_a_flag(monkeypatch, flag):
    monkeypatch.setenv("HOME", "/somebody")
    for given in ([f"--{flag}=~/x y"], [f"--{flag}", "~/x y"]):
        _, options = flags.parse(EXPERIMENT, given)
        assert getattr(options, flag.replace("-", "_")) == "/somebody/x y"


def test_every_flag_of_a_run_that_names_a_place_is_expanded():
    """Those whose help says so: another one would have to be added to both."""
    import inspect

    text = inspect.getsource(flags.Options)
    named = {
        line.split(":")[0].strip()
        for line, after in zip(text.splitlines(), text.splitlines()[1:], strict=False)
        if "str" in line.partition(":")[2] and ("Folder" in after or "data sets lie" in after)
    }
    assert named == set(flags.PATHS)


def test_a_table_may_lie_below_a_tilde(monkeypatch, tmp_path):
    from experiments import compute_trends
    from experiments.compute_trends import systems

    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.csv").write_bytes(systems.PAPER.read_bytes())
    found = compute_trends.load(compute_trends.Config(table="~/mine.csv"), "systems", None)
    assert len(found.names) == 123


def test_without_a_home_a_tilde_is_a_sentence(homeless):
    with pytest.raises(Problem, match="There is no home folder for ~/x: write the path out"):
        paths.expanded("~/x")
    with pytest.raises(argparse.ArgumentTypeError, match="no home folder"):
        paths.argument("~/x")
    assert paths.expanded("/x") == Path("/x")


def test_without_a_home_the_data_folder_must_be_named(homeless, monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    with pytest.raises(Problem, match="--data-dir"):
        data.default_data_dir()
    monkeypatch.setenv("TFDS_DATA_DIR", "/data")
    assert data.default_data_dir() == Path("/data")


@pytest.mark.parametrize("depth", ["", "below"])
def test_what_is_in_the_way_of_a_folder_is_named(tmp_path, depth):
    link, file = tmp_path / "link", tmp_path / "file"
    link.symlink_to(tmp_path / "gone")
    file.write_text("")
    with pytest.raises(
        Problem, match=f"link is a link to {tmp_path / 'gone'}, which does not exist"
    ):
        paths.make(link / depth, "output")
    with pytest.raises(Problem, match=r"file is not a folder.*choose another with --output"):
        paths.make(file / depth, "output")
    paths.make(tmp_path / "new" / depth, "output")
    assert (tmp_path / "new" / depth).is_dir()


def test_printed_commands_can_be_pasted(tmp_path):
    for name in ("plain", "with space", "it's; rm", "$HOME"):
        path = tmp_path / name
        assert shlex.split(f"a {paths.quoted(path)} b") == ["a", str(path), "b"]
        with pytest.raises(Problem) as problem:
            data.load("mnist", path)
        commands = str(problem.value).split("`")[1::2]
        assert len(commands) == 2
        for command in commands:
            assert shlex.split(command)[-2:] == ["--data-dir", str(path)]
