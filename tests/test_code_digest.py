"""The digest of what a study runs: what changes it, and what it covers."""

from __future__ import annotations

import functools
import sys
import types

import pytest

from jaxtrends import code_digest, comparison
from tests import toy_comparison, toy_experiment

CODE = '''"""Prose."""
from jaxtrends import helper
class A(list):
    n: int = 3
    """What n is."""
async def a(): return lambda *b: None
def f(x, *, y=1):
    """More prose."""
    return [f"{x:.{y}f}", helper.g(x)]  # a comment
'''


@pytest.fixture
def tree(tmp_path):
    files = {
        "jaxtrends/__init__.py": "",
        "jaxtrends/helper.py": "import jaxtrends.deeper\ndef g(x): return x + 1\n",
        "jaxtrends/deeper.py": "C = 1\n",
        "jaxtrends/other.py": "D = 1\n",
        "experiments/__init__.py": "",
        "experiments/moe/__init__.py": "from experiments.moe import cost, routing\n",
        "experiments/moe/cost.py": "from experiments.moe import routing\n",
        "experiments/moe/routing.py": CODE,
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def change(tree, name, old, new):
    path = tree / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


STUDY = ["experiments.moe.routing"]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("experiments/moe/routing.py", "More prose.", "Better prose."),
        ("experiments/moe/routing.py", "  # a comment", ""),
        ("experiments/moe/routing.py", "x, *, y=1", "x,*,y = 1"),
        ("jaxtrends/other.py", "D = 1", "D = 2"),
        ("experiments/moe/__init__.py", "cost, routing", "cost"),
        ("experiments/moe/cost.py", "routing", "nothing"),
    ],
)
def test_prose_layout_and_other_modules_leave_the_digest(tree, name, old, new):
    before = code_digest.digest(STUDY, tree)
    change(tree, name, old, new)
    assert code_digest.digest(STUDY, tree) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("experiments/moe/routing.py", "y=1", "y=2"),
        ("experiments/moe/routing.py", "{x:", "{y:"),
        ("experiments/moe/routing.py", "helper.g(x)", "x"),
        ("jaxtrends/helper.py", "x + 1", "x - 1"),
        ("jaxtrends/deeper.py", "C = 1", "C = 1.0"),
    ],
)
def test_code_that_is_used_changes_the_digest(tree, name, old, new):
    before = code_digest.digest(STUDY, tree)
    change(tree, name, old, new)
    assert code_digest.digest(STUDY, tree) != before


def test_the_digest_of_code_is_the_same_on_every_python(tree):
    # Written down on Python 3.11; 3.12 and 3.13 parse into trees with other fields.
    assert code_digest.digest(["experiments.moe.cost"], tree) == (
        "8e5d5bf9bb6438e060eb420dfe6e8decddfd45ce6eed92c03e680af2764e3fec"
    )


# --- which modules a study runs ----------------------------------------------------------------


def test_a_study_runs_the_module_of_its_function():
    study = toy_experiment.EXPERIMENT.studies["training"]
    assert code_digest.modules_of(study) == ["jaxtrends.sweep", toy_experiment.__name__]


def test_a_comparison_runs_the_modules_of_its_arms_and_data():
    """Its own method `run` is the library's, and says nothing of the experiment."""
    modules = code_digest.modules_of(toy_comparison.FIT)
    assert {toy_comparison.__name__, "jaxtrends.comparison"} <= {*modules}

    def arm(setting):
        return None

    arm.__module__ = "experiments.elsewhere"
    other = comparison.Comparison("a toy", {"arm": functools.partial(arm)})
    assert "experiments.elsewhere" in code_digest.modules_of(other)


def test_an_experiment_of_one_file_is_known_by_its_name(monkeypatch):
    """`python -m experiments.toy` calls that file ``__main__``."""
    started = types.ModuleType("__main__")
    started.__spec__ = types.SimpleNamespace(name="experiments.toy")
    monkeypatch.setitem(sys.modules, "__main__", started)
    study = types.SimpleNamespace(run=lambda config, run: None)
    study.run.__module__ = "__main__"
    assert "experiments.toy" in code_digest.modules_of(study)
    del started.__spec__
    assert "__main__" in code_digest.modules_of(study)
