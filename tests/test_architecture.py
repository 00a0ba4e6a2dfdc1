"""The shape of the house: who may import whom, and what the pure core may not touch."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("jaxtrends", "experiments", "scripts")
FILES = sorted(
    path.relative_to(ROOT).as_posix() for name in OURS for path in (ROOT / name).rglob("*.py")
)

# What a module of the library may import from the library. One that is not named imports nothing
# but errors, which is free for all; running wires everything together.
SIBLINGS = {
    "backend": {"devices", "paths"},
    "mnist": {"paths"},
    "charts": {"claims", "stats", "study"},
    "checkpoint": {"private"},
    "citing": {"claims", "formats", "headlines", "publish", "record", "report"},
    "claims": {"stats"},
    "differences": {"curves", "record", "stats"},
    "conclusion": {"claims", "headlines", "report"},
    "comparison": {
        *("charts", "claims", "declare", "flops", "settings", "study", "train", "tuning"),
    },
    "console": {"formats", "terminal"},
    "curves": {"study"},
    "data": {"mnist", "paths"},
    "declare": {"claims", "stats"},
    "distributed": {"private"},
    "study_run": {
        *("checkpoint", "devices", "distributed", "mesh", "record", "rundir", "sweep", "terminal"),
        "timing",
    },
    "design": {"claims", "comparison", "data", "record", "settings", "study"},
    "experiment": {"design", "record", "running"},
    "flags": {"command", "design", "formats", "mesh", "paths", "plan", "terminal"},
    "forest_plot": {"formats"},
    "frames": {"curves"},
    "golden": {"record"},
    "headlines": {"report"},
    "in_turn": {"record"},
    "labels": {"label_placement"},
    "moe": {"mesh"},
    "record": {"claims", "formats", "frames", "paths"},
    "overview": {
        *("claims", "formats", "headlines", "publish", "record", "report", "webpage"),
        "webpage_papers",
    },
    "paper_page": {"citing", "formats", "headlines", "publish", "record", "report", "tables"},
    "plan": {"flops", "record", "settings", "sweep", "terminal"},
    "plot_queue": {"plotting", "record"},
    "power": {"claims"},
    "plotting": {"fonts", "labels", "record", "study"},
    "publish": {"golden", "record", "report", "tables", "formats"},
    "recording": {"claims", "comparison", "design", "record"},
    "retelling": {"claims", "design", "flags", "golden", "record", "recording"},
    "report": {"record", "claims", "stats", "study", "formats"},
    "rundir": {"file_names", "paths", "record"},
    "code_digest": {"record"},
    "sweep": {"train"},
    "tables": {"formats", "record", "report"},
    "tracking": {"record", "claims", "file_names", "paths", "stats", "study"},
    "webpage": {
        *("claims", "headlines", "inline_svg"),
        *("webpage_claim", "webpage_data", "webpage_papers", "webpage_record"),
    },
    "webpage_claim": {"claims", "forest_plot", "formats", "report"},
    "webpage_data": {"curves", "differences"},
    "webpage_papers": {"claims", "headlines", "inline_svg", "publish", "webpage_record"},
    "webpage_record": {
        *("claims", "differences", "formats", "golden", "headlines", "inline_svg", "publish"),
        *("record", "report", "webpage_claim", "webpage_data"),
    },
    "terminal": {"progress"},
    "timing": {"backend", "sweep"},
    "transformer": {"losses", "mesh", "models", "moe"},
}

# Packages that may be imported in a few places only, so that they can be replaced there.
PLACES = {
    "flax": ("jaxtrends.models", "jaxtrends.moe", "jaxtrends.transformer", "experiments"),
    "orbax": ("jaxtrends.checkpoint", "jaxtrends.private"),
    "tensorflow_datasets": ("jaxtrends.data", "jaxtrends.mnist"),
    "wandb": ("jaxtrends.results_view", "jaxtrends.tracking"),
    "wandb_workspaces": ("jaxtrends.results_view",),
}

# Names that JAX and its kin keep to themselves, and the one file that may use them.
PRIVATE = re.compile(
    r"(jax|jaxlib|orbax|flax|optax)\.(\w+\.)*_(?!_)\w+.*|jax\.(core|extend|interpreters)\b.*"
)
MAY_USE_PRIVATE = "jaxtrends.private"

# What importing any of our modules may load; the rest is imported by the functions that use it.
LIGHT = {"annotated_types", "jax", "numpy", *OURS}  # the first: 16 kB of marker classes

# The pure core, and all that it may import: nothing here reads a file, a clock or an environment.
PURE = {
    *("charts", "claims", "comparison", "declare", "estimators", "flops", "losses", "models"),
    *("moe", "optimizers", "settings", "stats", "study", "train", "transformer", "tuning"),
}
PURE_IMPORTS = {
    *("__future__", "abc", "collections", "dataclasses", "enum", "functools", "itertools", "math"),
    *("operator", "re", "types", "typing", "warnings"),
    *("annotated_types", "flax", "jax", "jaxtrends", "numpy", "optax", "scipy"),
}
# What it may not use of those: effects, global settings, random numbers without a seed of its own.
IMPURE = re.compile(
    r"open|print|input"
    r"|jax\.(config|debug|pure_callback|experimental\.io_callback)"
    r"|numpy\.(load\w*|save\w*|fromfile|memmap|genfromtxt)"
    r"|numpy\.random\.(?!default_rng|Generator|SeedSequence)\w+"
    r"|numpy\.random\.(default_rng|SeedSequence)\(\)"
)


class Import(NamedTuple):
    """One imported name: ``jaxtrends.stats.mean``, say; and when it is imported."""

    name: str
    line: int
    when: str  # "loading" the module, "calling" a function of it, or only for "typing"


def imports(node: ast.AST, module: str, when: str = "loading") -> Iterator[Import]:
    """Yield every name that is imported below ``node``, made absolute."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, when)
        elif isinstance(child, ast.ImportFrom):
            parents = module.split(".")[: -child.level] if child.level else []
            base = ".".join([*parents, *filter(None, [child.module])])
            for alias in child.names:
                yield Import(f"{base}.{alias.name}", child.lineno, when)
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            yield from imports(child, module, "typing")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imports(child, module, "calling" if when == "loading" else when)
        else:
            yield from imports(child, module, when)


def uses(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield every name, dotted name and call without arguments, with imports' aliases resolved."""
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            aliases |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }

    def dotted(node: ast.AST) -> str:
        if isinstance(node, ast.Name):
            return aliases.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            return f"{dotted(node.value)}.{node.attr}"
        if isinstance(node, ast.Call) and not node.args and not node.keywords:
            return f"{dotted(node.func)}()"
        return "?"

    for node in ast.walk(tree):
        if isinstance(node, ast.expr):
            yield dotted(node), node.lineno


def within(module: str, *packages: str) -> bool:
    """Whether ``module`` is one of ``packages`` or lies in one of them."""
    return any(module == package or module.startswith(package + ".") for package in packages)


def faults(path: str, source: str) -> list[str]:
    """Say which rules of the house the file breaks, one sentence each."""
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    package, _, name = module.partition(".")
    own = ".".join(module.split(".")[:2])
    anchor = f"{module}.__init__" if path.endswith("/__init__.py") else module
    tree = ast.parse(source)
    found = []

    for name_imported, line, when in imports(tree, anchor):
        top, _, rest = name_imported.partition(".")
        sibling = rest.partition(".")[0]
        where = f"{path}:{line}: "
        foreign = top in OURS and top not in ("jaxtrends", package)
        if module.startswith("scripts.bench_") and within(
            name_imported, f"experiments.{module.removeprefix('scripts.bench_')}"
        ):
            continue  # a bench may measure the experiment that it is named for
        if (module, name_imported) == ("jaxtrends.experiment", "experiments"):
            continue  # which finds the experiments, and names none
        if foreign or (
            package != "jaxtrends" and top == package and not within(name_imported, own)
        ):
            found.append(where + f"{package} may import jaxtrends only, not {name_imported}")
        if when == "typing":
            continue
        allowed = SIBLINGS.get(name, set()) | {"errors", "__version__", ""}
        if package == top == "jaxtrends" and name != "running" and sibling not in allowed:
            found.append(where + f"{name} may not import its sibling {sibling}")
        if top in PLACES and not within(module, *PLACES[top]):
            found.append(where + f"only {' and '.join(PLACES[top])} may import {top}")
        if when == "loading" and top not in LIGHT | sys.stdlib_module_names:
            found.append(where + f"{top} must be imported by the functions that use it")
        if PRIVATE.fullmatch(name_imported) and module != MAY_USE_PRIVATE:
            found.append(where + f"only {MAY_USE_PRIVATE} may import the private {name_imported}")
        if package == "jaxtrends" and name in PURE and top not in PURE_IMPORTS:
            found.append(where + f"the pure core may not import {top}")

    for used, line in uses(tree):
        if package == "jaxtrends" and name in PURE and IMPURE.fullmatch(used):
            found.append(f"{path}:{line}: the pure core may not use {used}")
        if PRIVATE.fullmatch(used) and module != MAY_USE_PRIVATE:
            found.append(f"{path}:{line}: only {MAY_USE_PRIVATE} may use the private {used}")
    return found


def test_imports_run_one_way():
    graphlib.TopologicalSorter(SIBLINGS).prepare()  # raises where there is a cycle
    graph = {}
    for path in FILES:
        module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        if module.startswith("jaxtrends."):
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            named = [name.split(".")[:2] for name, _, _ in imports(tree, module)]
            graph[module] = {".".join(name) for name in named if name[0] == "jaxtrends"}
    graphlib.TopologicalSorter(graph).prepare()  # as they are, also those for typing alone


@pytest.mark.parametrize("path", FILES)
def test_every_file_keeps_the_rules(path):
    assert faults(path, (ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("jaxtrends/stats.py", "from jaxtrends import claims", "not import its sibling claims"),
        ("jaxtrends/stats.py", "from . import claims", "not import its sibling claims"),
        ("jaxtrends/stats.py", "import jaxtrends.claims", "not import its sibling claims"),
        ("jaxtrends/sweep.py", "def f():\n  from .data import load", "its sibling data"),
        ("jaxtrends/claims.py", "from experiments import moe", "may import jaxtrends only"),
        ("experiments/moe.py", "from experiments.guidance import f", "may import jaxtrends only"),
        ("experiments/moe/a.py", "from ..guidance import f", "may import jaxtrends only"),
        ("jaxtrends/experiment.py", "import experiments.moe", "may import jaxtrends only"),
        ("scripts/verify.py", "import experiments.moe", "may import jaxtrends only"),
        ("scripts/verify.py", "from scripts import compare", "may import jaxtrends only"),
        ("scripts/bench_moe.py", "from experiments.guidance import f", "import jaxtrends only"),
        ("jaxtrends/report.py", "def f():\n  import wandb", "and jaxtrends.tracking may"),
        ("jaxtrends/sweep.py", "def f():\n  import orbax.checkpoint", "only jaxtrends.checkpoint"),
        ("experiments/moe.py", "def f():\n  import tensorflow_datasets", "only jaxtrends.data"),
        ("jaxtrends/train.py", "def f():\n  from flax import nnx", "only jaxtrends.models"),
        ("jaxtrends/models.py", "from flax import nnx", "by the functions that use it"),
        ("experiments/moe.py", "class A:\n  import optax", "by the functions that use it"),
        ("jaxtrends/losses.py", "import time", "may not import time"),
        ("jaxtrends/losses.py", "def f():\n  from os import environ", "may not import os"),
        ("jaxtrends/losses.py", "import random", "may not import random"),
        ("jaxtrends/losses.py", "def f(): return open('x')", "may not use open"),
        (
            "jaxtrends/losses.py",
            "import numpy as np\nx = np.random.rand(2)",
            "use numpy.random.rand",
        ),
        (
            "jaxtrends/losses.py",
            "from numpy import random as r\nr.seed(0)",
            "use numpy.random.seed",
        ),
        (
            "jaxtrends/losses.py",
            "import numpy\nnumpy.random.default_rng()",
            "use numpy.random.default_rng()",
        ),
        ("jaxtrends/losses.py", "import jax\njax.config.update('a', 1)", "use jax.config"),
        ("jaxtrends/train.py", "import jax\ndef f(x): jax.debug.print(x)", "use jax.debug"),
        ("jaxtrends/mesh.py", "def f():\n  from jax._src import mesh", "the private jax._src"),
        ("jaxtrends/flops.py", "import jax.extend.core", "the private jax.extend"),
        ("scripts/verify.py", "import jax\njax._src.config", "use the private jax._src.config"),
        (
            "jaxtrends/checkpoint.py",
            "def f():\n  import orbax.checkpoint as o\n  o._src.path",
            "use the private orbax.checkpoint._src.path",
        ),
        ("experiments/moe.py", "import jax.numpy as jnp\njnp._f()", "private jax.numpy._f"),
    ],
)
def test_a_broken_rule_is_found(path, source, fault):
    found = faults(path, source)
    assert any(fault in sentence for sentence in found), found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "jaxtrends/claims.py",
            "from jaxtrends import stats\nfrom jaxtrends.errors import Problem",
        ),
        ("jaxtrends/running.py", "from jaxtrends import data, report, sweep, tracking"),
        ("jaxtrends/experiment.py", "def f():\n  import experiments"),
        ("jaxtrends/models.py", "import jax\ndef f():\n  from flax import nnx"),
        ("jaxtrends/train.py", "import typing\nif typing.TYPE_CHECKING:\n  import optax"),
        ("jaxtrends/stats.py", "import numpy as np\nnp.random.default_rng(np.uint32(3)).normal()"),
        ("experiments/moe/__init__.py", "from .routing import f\nfrom experiments.moe import g"),
        ("experiments/moe/routing.py", "from . import data\nfrom jaxtrends import train"),
        ("scripts/verify.py", "import time\nfrom jaxtrends import __version__, record"),
        ("scripts/bench_moe.py", "from experiments.moe import routing"),
        ("jaxtrends/private.py", "def f():\n  from jax._src import distributed as d\n  d._x"),
        ("jaxtrends/backend.py", "import jax\njax.__version__"),
    ],
)
def test_what_the_rules_allow_is_not_faulted(path, source):
    assert faults(path, source) == []


def test_the_map_of_the_library_names_every_module():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition("## The library\n")[2].partition("\n## ")[0]
    modules = {path.stem for path in (ROOT / "jaxtrends").glob("[!_]*.py")}
    assert set(re.findall(r"`(\w+)`", section)) == modules


def test_every_package_that_is_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [found for name, found in project["optional-dependencies"].items() if name != "dev"]
    wanted = [*project["dependencies"], *(entry for found in extras for entry in found)]
    declared = {re.split(r"[^\w-]", entry)[0] for entry in wanted}
    declared.add("jaxlib")  # by jax
    distributions = packages_distributions()
    for path in FILES:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        for name, line, _ in imports(tree, path.removesuffix(".py").replace("/", ".")):
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names and top not in OURS:
                owners = {owner.replace("_", "-").lower() for owner in distributions[top]}
                assert owners & declared, f"{path}:{line}: {top} is not in pyproject.toml"


def test_importing_everything_loads_nothing_heavy():
    modules = [
        path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in FILES
        if not path.endswith("__main__.py")
    ]
    program = f"""
import sys, importlib, jax, numpy
before = set(sys.modules)
for module in {modules}:
    importlib.import_module(module)
tops = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(*sorted(tops - sys.stdlib_module_names - set({sorted(LIGHT)})))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert (run.returncode, run.stdout.split()) == (0, []), run.stderr


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_no_tracked_file_names_a_registry_or_this_machine():
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, cwd=ROOT, check=True)
    registry = "|".join(("--(extra-)?" + "index-url", "--find-" + "links", "/" + "simple/"))
    here = re.escape(f"{ROOT}/")
    pattern = re.compile(f"{registry}|{here}".encode())
    for name in listed.stdout.decode().strip("\0").split("\0"):
        path = ROOT / name
        match = pattern.search(path.read_bytes()) if path.is_file() else None
        assert match is None, f"{name} has {match[0].decode()}"
