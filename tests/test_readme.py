"""README is short, its links lead somewhere, and every command in it and in docs/ works."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jaxtrends import flags, record
from jaxtrends.experiment import discover

ROOT = Path(record.ROOT)
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ("README.md", "docs/running.md", "docs/your_own_method.md")
BLOCKS = [
    block
    for page in PAGES
    for block in re.findall(
        r"^```(\w+)\n(.*?)^```$",
        (ROOT / page).read_text(encoding="utf-8"),
        flags=re.DOTALL | re.MULTILINE,
    )
]
COMMANDS = [
    line.partition("#")[0].strip()
    for kind, block in BLOCKS
    if kind == "sh"
    for line in block.splitlines()
]
# Run by CI itself, or for minutes: what is left to ask is whether they are spelt right.
BY_CI = ("make run", "make test", "pip install -e .")
MOST_LINES = 200  # of README, which is read in three minutes
MOST_WORDS = 750  # outside its table and code: 250 a minute
LINKED = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/*.md"),
    *ROOT.glob("results/*.md"),
    *ROOT.glob("results/*/*.md"),
]


def test_there_are_commands():
    assert len(COMMANDS) > 12
    assert "make run" in COMMANDS[0]


def test_readme_is_read_in_three_minutes():
    assert len(README.splitlines()) <= MOST_LINES
    code = r"^```.*?^```$"
    prose = re.sub(rf"\]\([^)]*\)|^\|.*?$|{code}", "", README, flags=re.DOTALL | re.MULTILINE)
    assert 200 < len(prose.split()) <= MOST_WORDS


def test_readme_begins_with_what_it_is_then_the_two_commands_then_the_answers():
    about, run, results, figures = map(
        README.index, ("Two newsletters", "\nmake run", "<!-- results -->", "## Running")
    )
    assert about < run < README.index("\nmake test") < results < figures
    assert README[:results].count("\n") < 25  # the first screen shows the first rows
    first = next(line for line in README.splitlines() if line.startswith("| ["))
    assert "<sub>forward_grad</sub>" in first
    assert re.search(r"\*\*(not reproduced|reproduced|inconclusive)\*\*", first)
    assert re.search(r"\*\*\d\S*\s\[.*\]\*\*", first)


@pytest.mark.parametrize("path", LINKED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_between_files_leads_to_one(path):
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#\s]+)(?:#([^)\s]+))?\)", text)
    for target, anchor in links:
        if target.startswith(("http", "mailto")):
            continue
        found = path.parent / target
        assert found.exists(), f"{target} in {path}"
        if anchor:
            assert f'<a id="{anchor}"></a>' in found.read_text(encoding="utf-8"), (target, anchor)


def runs(*arguments, **options):
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=300, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in BY_CI])
def test_a_command_works(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    python, dash, module, *arguments = shlex.split(command)
    assert (python, dash) == ("python", "-m")
    if module == "experiments":
        assert "forward_grad" in runs("-m", module)
        return
    package, _, name = module.partition(".")
    if package == "experiments":
        experiment = discover()[name]
        if arguments == ["--help"]:
            assert "--preset" in runs("-m", module, "--help")
            return
        shutil.copy(ROOT / "experiments/compute_trends/milestone_systems.csv", "MINE.csv")
        config, _ = flags.parse(experiment, arguments, ())
        assert experiment.studies_of(config)
        return
    assert package == "scripts"
    (tmp_path / "results").symlink_to(ROOT / "results")
    for run in ("MINE", "default-20220217-120000"):
        shutil.copytree(ROOT / "results/forward_grad/default", f"runs/forward_grad/{run}")
    found = [path for word in arguments for path in sorted(map(str, Path().glob(word))) or [word]]
    if name == "verify":  # which makes the record again
        assert record.read(Path(found[0]))
        assert "usage" in runs("-m", module, "--help")
        return
    assert runs("-m", module, *found)
    if name == "webpage":
        assert Path("site/index.html").stat().st_size > 20_000


@pytest.mark.parametrize("target", ["run", "test"])
def test_make_knows_its_targets(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


OWN = {
    kind: block
    for kind in ("forward_grad", "moe_scaling")
    for _, block in BLOCKS
    if f"{kind}.main(methods" in block
}


def run_own(source, tmp_path, *flags):
    """Run a block as it says, in smoke: what is said, and the record."""
    (tmp_path / "mine.py").write_text(source)
    command = re.search(r"run as: python mine.py (.*)", source)[1].split()
    out = runs("mine.py", *command, "--preset", "smoke", "--output", "out", *flags, cwd=tmp_path)
    assert "Record:" in out
    return out, record.read(tmp_path / "out")


def test_an_estimator_of_ones_own_runs_beside_the_others(tmp_path):
    _, done = run_own(OWN["forward_grad"], tmp_path, "--methods", "backprop", "sign")
    values = done["results"]["studies"]["training"]["values"]
    tuned = [arm for arm in values["tasks"]["mlp"]["arms"] if arm.startswith("tuned/")]
    assert tuned == ["tuned/backprop", "tuned/sign"]


def test_an_arm_of_ones_own_is_tuned_and_judged_beside_the_others(tmp_path):
    out, done = run_own(OWN["moe_scaling"], tmp_path)
    arms = done["results"]["studies"]["layout"]["values"]["tasks"]["two_names"]["arms"]
    assert "lowest" in arms
    assert arms["lowest"]["grid"]["rates"]
    assert "own-lowest" in out
    assert "own-lowest" in [entry["claim"]["id"] for entry in record.entries(done)]
