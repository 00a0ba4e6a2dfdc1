"""What a user installs: every dependency imports, the wheel holds everything, versions agree."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import jaxtrends
from jaxtrends import record
from jaxtrends.errors import Problem
from tests.example_record import write_example

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("jaxtrends", "experiments", "scripts")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DEPENDENCIES = [re.split(r"[^\w-]", entry)[0] for entry in PROJECT["dependencies"]]

# What to import where it is not the distribution's own name. pip's word that requirements are met
# is not enough, and nor is an import of tensorflow_datasets alone: its builders need a package
# that it does not declare.
MODULES = {
    "orbax-checkpoint": "orbax.checkpoint",
    "scikit-learn": "sklearn.datasets",
    "tensorflow-datasets": "tensorflow_datasets.image_classification.mnist",
}


@pytest.mark.parametrize("distribution", DEPENDENCIES)
def test_every_dependency_imports(distribution):
    importlib.import_module(MODULES.get(distribution, distribution.replace("-", "_")))
    assert "tensorflow" not in sys.modules


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel as pip does for `pip install .`, from a copy that holds no old build."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in [*PACKAGES, "pyproject.toml", "README.md", "LICENSE"]:
        (source / name).symlink_to(ROOT / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--no-index", "--wheel-dir", target, source], check=True)
    (built,) = target.glob("*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_packages(wheel):
    files = {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == files


def test_the_wheel_runs_outside_the_repository(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = f"""
import importlib, pathlib, pkgutil, sys
here = pathlib.Path({str(tmp_path)!r})
sys.path.insert(0, str(here))
for package in map(importlib.import_module, {PACKAGES}):
    assert here in pathlib.Path(package.__file__).parents, package.__file__
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True)
    assert run.returncode == 0, run.stderr.decode()


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A fresh environment in which pip has installed the wheel; it borrows the dependencies."""
    place = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    install = ["-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([sys.executable, *install, wheel], check=True)
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.check_output([python, "-c", ask], text=True).strip())
    borrowed = [path for path in sys.path if "site-packages" in path]
    (site / "zz_borrowed.pth").write_text("\n".join(borrowed) + "\n")
    return place / "bin", site


def test_an_installed_wheel_runs_from_an_empty_folder(installed, tmp_path):
    programs, site = installed
    smoke = ["--preset", "smoke"]
    environment = {**os.environ, "PYTHONPATH": "", "PYTHONSAFEPATH": ""}

    def ran(program, *arguments):
        command = [programs / program, *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    where = "import jaxtrends, experiments; print(jaxtrends.__file__, experiments.__file__)"
    assert ran("python", "-c", where).split() == [
        str(site / name / "__init__.py") for name in ("jaxtrends", "experiments")
    ]
    ran("python", "-m", "experiments.compute_trends", *smoke, "--output", "one")
    ran("jaxtrends", "run", "compute_trends", *smoke, "--output", "other")
    one, other = record.read(tmp_path / "one"), record.read(tmp_path / "other")
    assert one["results"] == other["results"]
    command = "python -m experiments.compute_trends --preset smoke"
    assert {done["provenance"]["command"] for done in (one, other)} == {command}
    assert (one["provenance"]["commit"], one["provenance"]["dirty"]) == ("", None)
    assert len(list((tmp_path / "one" / "figures").glob("*.svg"))) > 3
    assert ran("jaxtrends") == ran("python", "-m", "experiments")
    assert ran("jaxtrends", "--version") == f"jaxtrends {jaxtrends.__version__}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other"]


# Each script with arguments by which it must run, or say what it lacks, where nothing but the wheel
# is: status and what stands in its error. RUN is the folder of a run.
ELSEWHERE = {
    "bench_compute_trends --repeats 0": (Problem, "--repeats must be"),
    "bench_driver --rounds 0": (2, "--rounds must be"),
    "bench_forward_grad --repeats 0": (Problem, "--repeats must be"),
    "bench_moe --repeats 0": (Problem, "--repeats must be"),
    "cite forward_grad": (2, "no committed results"),
    "cite RUN": (0, ""),
    "compare RUN RUN": (0, ""),
    "cost_table": (2, "in a checkout"),
    "cost_table --check": (2, "in a checkout"),
    "fault_campaign --be-killed": (IndexError, ""),
    "golden": (2, "run this in a checkout"),
    "import_mnist nowhere": (2, "no directory nowhere"),
    "new_paper mine": (2, "is not a checkout"),
    "power RUN": (0, ""),
    "retell": (2, "a checkout of the repository"),
    "wandb_view a/b/c": (2, "PROJECT or ENTITY/PROJECT"),
    "webpage RUN": (0, ""),
    "render_results": (2, "a checkout of the repository"),
    "render_results --check": (2, "a checkout of the repository"),
    "verify RUN --judge-only": (0, ""),
}


def test_every_script_runs_from_the_wheel_or_says_what_it_lacks(wheel, tmp_path):
    site, here = tmp_path / "site", tmp_path / "here"
    here.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    write_example(tmp_path / "run", "smoke")
    program = f"""
import contextlib, importlib, io, json, sys
sys.path.insert(0, {str(site)!r})
sys.dont_write_bytecode = True
found = {{}}
for command in {list(ELSEWHERE)}:
    name, *arguments = command.replace("RUN", {str(tmp_path / "run")!r}).split()
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            status = importlib.import_module(f"scripts.{{name}}").main(arguments)
        except BaseException as error:
            status, said = type(error).__name__, io.StringIO(str(error))
    found[command] = status, said.getvalue()
print(json.dumps(found))
"""
    before = sorted(site.rglob("*"))
    run = subprocess.run([sys.executable, "-c", program], cwd=here, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    for command, (status, sentence) in ELSEWHERE.items():
        expected = status if isinstance(status, int) else status.__name__
        assert (command, found[command][0]) == (command, expected)
        assert sentence in found[command][1]
        assert found[command][1].count("\n") <= 1
    assert {command.split()[0] for command in ELSEWHERE} == {
        path.stem for path in (ROOT / "scripts").glob("*.py") if path.stem != "__init__"
    }
    assert sorted(site.rglob("*")) == before
    assert [path.name for path in here.iterdir()] == ["site"]


def test_all_documents_name_the_same_versions_of_python():
    named = {
        "classifiers": re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"])),
        **{
            name: re.search(
                r"Python (3\.\d+(?:(?:, | or )3\.\d+)+)", (ROOT / name).read_text(encoding="utf-8")
            )[1]
            .replace(" or ", ", ")
            .split(", ")
            for name in ("README.md", "CONTRIBUTING.md", "Makefile")
        },
    }
    assert set(map(tuple, named.values())) == {("3.11", "3.12", "3.13")}, named
    assert PROJECT["requires-python"] == ">=3.11"
    checked = r"not \(3, (\d+)\) <= sys.version_info\[:2\] <= \(3, (\d+)\)"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(checked, makefile).groups() == ("11", "13")
    assert re.search(r"--python-version (\S+)", makefile)[1] == "3.11"


def test_the_version_is_the_same_everywhere():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\nversion: {jaxtrends.__version__}\n" in citation
    assert f"\n## [{jaxtrends.__version__}]" in changelog


def test_requirements_pin_and_hash_everything_and_name_no_registry():
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[a-z])", re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE))
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+==[^ ]+", entry), entry
        assert "--hash=sha256:" in entry, entry
    assert "://" not in text
    assert {entry.partition("==")[0] for entry in entries} >= set(DEPENDENCIES)
