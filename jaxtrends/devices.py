"""What hardware this is, and which devices a run uses."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import jax

from jaxtrends.errors import Problem


def use(count: int | None) -> list[jax.Device]:
    """The first ``count`` local devices; all of them where ``count`` is None.

    On a CPU, JAX shows one device unless it was asked for more before its first use, so this asks
    first. Call it before anything else touches a device.

    Raises:
        Problem: there are fewer devices, or ``count`` is below one.
    """
    if count is not None and count < 1:
        raise Problem(f"--devices must be at least 1, not {count}.")
    if count is not None and count > 1:
        try:
            jax.config.update("jax_num_cpu_devices", count)
        except RuntimeError:  # JAX is in use already: what there is must do
            pass
    found = jax.local_devices()
    if count is not None and count > len(found):
        raise Problem(f"--devices {count} asks for more than the {len(found)} devices here.")
    return found[:count]


def processor() -> str:
    """The processor's model name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def describe(devices: list[jax.Device]) -> dict[str, Any]:
    """Platform, kind and count of the devices, and the processor they hang on."""
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
        "processor": processor(),
        "cores": os.cpu_count() or 1,
    }
