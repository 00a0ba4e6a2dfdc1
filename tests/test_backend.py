"""JAX where the environment is wrong: one sentence for devices, one warning for kept programs."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import jax
import pytest

from jaxtrends import backend
from jaxtrends.errors import Problem

# All platforms in one process: JAX tries again, as long as it has found nothing.
ASK = """
import sys
import jax
from jaxtrends import backend
from jaxtrends.errors import Problem

for asked in sys.argv[1:]:
    jax.config.update("jax_platforms", asked)
    try:
        print(backend.use(1))
    except Problem as problem:
        print(problem)
"""


def test_a_platform_that_is_not_here_is_named_with_what_is_here_and_the_way_out():
    asked = ["nonsense", "cuda", "tpu"]  # of which a machine with a GPU has one
    run = subprocess.run([sys.executable, "-c", ASK, *asked], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    refused = [line for line in run.stdout.splitlines() if line.startswith("JAX_PLATFORMS=")]
    assert refused[0].startswith("JAX_PLATFORMS=nonsense is not available here; JAX finds ")
    for line in refused:
        assert "it finds nothing" not in line
        assert "set JAX_PLATFORMS=cpu" in line
    assert len(refused) >= 2


def test_a_start_that_fails_unasked_is_a_sentence_too():
    before = jax.config.jax_platforms
    jax.config.update("jax_platforms", None)
    try:
        with (
            pytest.raises(Problem, match=r"no device \(the driver is gone\): JAX_PLATFORMS=cpu"),
            backend.explained(),
        ):
            raise RuntimeError("the driver is gone.\nat 0x1")
    finally:
        jax.config.update("jax_platforms", before)


@pytest.fixture
def cache():
    before = jax.config.jax_compilation_cache_dir
    with warnings.catch_warnings():
        yield lambda folder: jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_compilation_cache_dir", before)


def test_a_cache_that_cannot_be_written_is_one_warning_and_no_cache(tmp_path, cache):
    said = []
    (tmp_path / "file").write_text("")
    cache(str(tmp_path / "file" / "programs"))
    backend.keep_compiled(said.append)
    assert len(said) == 1
    assert f"{tmp_path / 'file'} is not a folder" in said[0]
    assert jax.config.jax_compilation_cache_dir is None


@pytest.mark.parametrize("folder", ["programs", "gs://bucket/programs"])
def test_a_cache_that_can_be_written_or_is_remote_stays(tmp_path, cache, folder):
    said = []
    chosen = folder if "://" in folder else str(tmp_path / folder)
    cache(chosen)
    backend.keep_compiled(said.append)
    assert said == []
    assert jax.config.jax_compilation_cache_dir == chosen
    assert not os.path.exists("gs:")


def test_without_a_home_nothing_is_kept_and_nothing_is_said(monkeypatch, cache):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    for name in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(backend.devices.Path, "home", nowhere)
    cache(None)
    said = []
    backend.keep_compiled(said.append)
    assert (said, jax.config.jax_compilation_cache_dir) == ([], None)


def test_what_befalls_the_cache_later_is_not_said_for_every_program(tmp_path, cache):
    cache(str(tmp_path))
    backend.keep_compiled(print)
    warnings.warn("Error writing persistent compilation cache entry for 'f': full", stacklevel=1)
    with pytest.raises(UserWarning, match="another"):
        warnings.warn("another", stacklevel=1)
