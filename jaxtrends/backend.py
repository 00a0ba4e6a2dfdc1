"""JAX as this machine lets it start: its devices, and its programs kept on disk; or why not.

`jaxtrends.devices` takes an environment in which both work, and is part of what the studies are
made of. What may be wrong with an environment is dealt with here.
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
        Problem: there are fewer, or JAX does not find the kind of device that it was told to use.
    """
    with explained():
        return devices.use(count)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Say what was asked for and what is there, if JAX does not start inside.

    Raises:
        Problem: it does not.
    """
    try:
        yield
    except (RuntimeError, AssertionError) as error:  # the latter where a GPU's plugin is missing
        asked = jax.config.jax_platforms
        if not asked:
            reason = next(iter(str(error).splitlines()), type(error).__name__)[:300].rstrip(".")
            raise Problem(
                f"JAX finds no device ({reason}): JAX_PLATFORMS=cpu runs on the CPU."
            ) from None
        raise Problem(
            f"JAX_PLATFORMS={asked} asks for what JAX does not find here; it finds {_found()}. "
            "Unset it, or set JAX_PLATFORMS=cpu. A GPU or TPU needs the JAX that is made for it "
            "(jaxtrends[cuda13], jaxtrends[tpu])."
        ) from None


def _found() -> str:
    """The kinds of device that JAX finds by itself: in another process, since here it has tried."""
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
    """Keep compiled programs on disk (see `devices.keep_compiled`), where that can be done.

    Without a home there is nowhere to keep them. A folder that cannot be written, another user's
    say, is given up with one sentence to ``say``; left to itself JAX would complain about each
    program.
    """
    try:
        devices.keep_compiled()
    except RuntimeError:  # pathlib's word for no home
        return
    folder = jax.config.jax_compilation_cache_dir
    reason = paths.unwritable(Path(folder)) if folder and "://" not in folder else ""
    if reason:
        jax.config.update("jax_compilation_cache_dir", None)
        say(f"Compiled programs are not kept: {folder} cannot be written ({reason}).")
    # What befalls the folder later costs time and nothing else.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
