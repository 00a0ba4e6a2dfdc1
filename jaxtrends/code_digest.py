"""A digest of the source that a study runs, by which a resumed run recognises other code.

It changes with every line that might matter, since one run must not mix parts of two programs.
Whether a record is still valid is another question, of behaviour: see `jaxtrends.golden`.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxtrends import record


def of_study(study: Any) -> str:
    """The digest of all code that a study runs."""
    return digest(modules_of(study))


def modules_of(study: Any) -> list[str]:
    """The modules that a study runs: those of its functions, and the training loop.

    For a `jaxtrends.comparison.Comparison`, these are the functions that make its data and arms.
    """
    named = ("run", "data", "also")
    functions = [getattr(study, name, None) for name in named]
    functions += getattr(study, "arms", {}).values()
    found = {_module_of(function) for function in functions if function is not None}
    return sorted(found | {"jaxtrends.sweep"})


def _module_of(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name = function.__module__
    started = getattr(sys.modules["__main__"], "__spec__", None)
    return started.name if name == "__main__" and started else name


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [
                statement
                for statement in node.body
                if not (
                    isinstance(statement, ast.Expr)
                    and isinstance(statement.value, ast.Constant)
                    and isinstance(statement.value.value, str)
                )
            ]
    return tree


def _shape(node: Any) -> str:
    """A syntax tree as text, the same on every Python version (unlike `ast.dump`).

    Versions add fields (3.12: type parameters); empty ones are left out.
    """
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
        inner = ", ".join(f"{name}={_shape(value)}" for name, value in fields)
        return f"{type(node).__name__}({inner})"
    if isinstance(node, list):
        return f"[{', '.join(map(_shape, node))}]"
    return repr(node)


def _imports(tree: ast.Module, package: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
                base = f"{parent}.{base}" if base else parent
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


@functools.lru_cache(maxsize=256)
def _understood(source: str, package: str) -> tuple[str, tuple[str, ...]]:
    """A module's source as text without its prose, and the names that it imports."""
    tree = _without_docstrings(ast.parse(source))
    return _shape(tree), tuple(sorted(_imports(tree, package)))


def _module_file(name: str, root: Path) -> Path | None:
    path = root.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def digest(modules: Iterable[str], root: Path = record.ROOT) -> str:
    """SHA-256 of the named modules and of everything that they import from this project.

    Comments, docstrings and layout do not count: the digest is of syntax trees, so that better
    prose does not invalidate a run's finished parts. A package's ``__init__``, which may import
    every study, is only followed if it is named.
    """
    named = list(modules)
    pending, seen = list(named), {}
    while pending:
        name = pending.pop()
        file = _module_file(name, root)
        if name in seen or file is None or not name.startswith(("jaxtrends.", "experiments.")):
            continue
        if file.name == "__init__.py" and name not in named:
            continue
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        seen[name], imported = _understood(file.read_text(encoding="utf-8"), package)
        pending.extend(imported)
    return record.digest(seen)
