"""The private names of JAX and Orbax are there, take what they are given, and are all listed."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
from pathlib import Path

import pytest

from jaxtrends import private

SOURCE = ast.parse(Path(private.__file__).read_text(encoding="utf-8"))


def found(name):
    """What stands under a dotted name: the longest module, and then attributes."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        return functools.reduce(getattr, parts[length:], module)
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize("name", private.NAMES)
def test_a_private_name_is_there(name):
    found(name)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("process_index", []),
        ("process_count", []),
        ("should_skip_process_sync", ["processes"]),
        ("is_jax_distributed_client_initialized", []),
    ],
)
def test_what_answers_in_place_of_orbax_is_asked_as_orbax_is(name, parameters):
    asked = found(f"orbax.checkpoint._src.multihost.multihost.{name}")
    assert list(inspect.signature(asked).parameters) == parameters


def test_orbax_runs_one_coroutine_to_its_end():
    async def one():
        return 1

    run = found("orbax.checkpoint._src.asyncio_utils.run_sync")
    assert len(inspect.signature(run).parameters) == 1
    assert run(one()) == 1


def test_every_private_name_that_is_used_is_listed():
    """And the other way round: what is listed is used."""
    modules = {  # the name here -> the module
        alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(SOURCE)
        if isinstance(node, ast.ImportFrom) and "_src" in node.module
        for alias in node.names
    }
    bound = {"state": "jax._src.distributed.global_state"}
    bound["self._client"] = "jaxlib._jax.DistributedRuntimeClient"
    used = {
        f"{(modules | bound)[owner]}.{node.attr}"
        for node in ast.walk(SOURCE)
        if isinstance(node, ast.Attribute) and (owner := ast.unparse(node.value)) in modules | bound
    }
    used.discard("jax._src.distributed.global_state")  # of which its fields are listed
    assert used == set(private.NAMES)


def test_a_name_that_has_gone_is_found_out(monkeypatch):
    """The control."""
    from orbax.checkpoint._src import asyncio_utils

    monkeypatch.delattr(asyncio_utils, "run_sync")
    with pytest.raises(AttributeError, match="run_sync"):
        test_a_private_name_is_there("orbax.checkpoint._src.asyncio_utils.run_sync")
