"""What a user installs: every dependency imports, the wheel holds everything, versions agree."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import jaxtrends

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
