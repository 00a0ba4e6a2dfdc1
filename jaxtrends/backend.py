"""Starting JAX on this machine: its devices and its compilation cache, or why they do not work.

`jaxtrends.devices` assumes that both work, and counts as code of the studies. Problems with the
environment are handled here.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import jax

from jaxtrends import devices, paths
from jaxtrends.errors import Problem


def use(count: int | None) -> list[jax.Device]:
    """The devices that a run uses (see `devices.use`).

    Raises:
        Problem: there are fewer, or JAX does not find the requested kind of device.
    """
    with explained():
        return devices.use(count)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """If JAX does not start inside, say what was requested and what is available.

    Raises:
        Problem: JAX does not start.
    """
    try:
        yield
    except (RuntimeError, AssertionError) as error:  # the latter where a GPU's plugin is missing
        asked = jax.config.jax_platforms
        if not asked:
            reason = next(iter(str(error).splitlines()), type(error).__name__)[:300].rstrip(".")
            raise Problem(
                f"JAX finds no device ({reason}): set JAX_PLATFORMS=cpu to run on the CPU."
            ) from None
        raise Problem(
            f"JAX_PLATFORMS={asked} is not available here; JAX finds {_found()}. Unset it, or set "
            "JAX_PLATFORMS=cpu. A GPU or TPU needs a matching JAX (jaxtrends[cuda13], "
            "jaxtrends[tpu])."
        ) from None


def _found() -> str:
    """The kinds of device that JAX finds by default, in a fresh process."""
    program = "import jax; print(*sorted({device.platform for device in jax.local_devices()}))"
    environment = {name: text for name, text in os.environ.items() if name != "JAX_PLATFORMS"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            encoding="utf-8",
            env=environment,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "nothing"
    return ", ".join(done.stdout.split()) or "nothing"


def keep_compiled(say: Callable[[str], None]) -> None:
    """Keep compiled programs on disk (see `devices.keep_compiled`), where possible.

    Without a home folder they are not kept. If the cache folder is not writable, ``say`` is told in
    one sentence; JAX alone would warn about every program.
    """
    try:
        devices.keep_compiled()
    except RuntimeError:  # what pathlib raises if there is no home folder
        return
    folder = jax.config.jax_compilation_cache_dir
    reason = paths.unwritable(Path(folder)) if folder and "://" not in folder else ""
    if reason:
        jax.config.update("jax_compilation_cache_dir", None)
        say(f"Compiled programs are not cached: {folder} is not writable ({reason}).")
    # Later problems with the folder only cost time.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
