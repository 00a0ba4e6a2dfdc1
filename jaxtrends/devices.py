"""The hardware, and the devices that a run uses."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from jaxtrends.errors import Problem

VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2"}  # a flag in /proc/cpuinfo -> its name


def use(count: int | None) -> list[jax.Device]:
    """The first ``count`` local devices; all of them where ``count`` is None.

    JAX treats a whole CPU as one device unless told otherwise before its first use. This requests
    one device per core: two lanes of a small network on one core each take about half the time of
    running one after the other on both. Call it before anything else touches a device.

    Raises:
        Problem: there are fewer devices, or ``count`` is below one.
    """
    if count is not None and count < 1:
        raise Problem(f"--devices must be at least 1, not {count}.")
    with contextlib.suppress(RuntimeError):  # JAX is already in use: keep its devices
        jax.config.update("jax_num_cpu_devices", max(count or 1, cores()))
    found = jax.local_devices()
    if count is not None and count > len(found):
        raise Problem(f"--devices {count} is more than the {len(found)} devices available.")
    return found[:count]


BLOCK_SHARE = 0.7  # of a device's memory; the compiler's estimate leaves out some of the use


def block(lanes: int, platform: str, memory: float, needed: Callable[[int], float]) -> int:
    """How many of a call's lanes run as one block on a kind of device.

    One on a CPU, where a single lane is fastest. On an accelerator, which one small lane leaves
    idle, all that fit in `BLOCK_SHARE` of its memory; if they do not all fit, blocks of equal size,
    as few as possible. It depends on nothing else, so that another number of devices changes no
    block, and therefore no bits.

    Args:
        lanes:    of the call.
        platform: of the device: ``cpu``, ``gpu``, ``tpu``.
        memory:   of the device, in bytes; see `memory`.
        needed:   lanes per block -> bytes needed; infinite if the compiler runs out of memory.
    """
    if platform == "cpu":
        return 1
    room, fit = BLOCK_SHARE * memory, lanes
    while fit > 1 and (taken := needed(fit)) > room:
        fit = fit // 2 if math.isinf(taken) else max(1, min(fit - 1, int(fit * room / taken)))
    return math.ceil(lanes / math.ceil(lanes / fit))


def memory(device: jax.Device) -> float:
    """Bytes that an accelerator can give to a single program; infinite if unknown."""
    said = device.memory_stats() or {}
    return float(said.get("bytes_limit", math.inf))


def in_flight(devices: list[jax.Device], wanted: int | None, needed: float) -> list[jax.Device]:
    """The devices for `jaxtrends.sweep.run`, each repeated for every block it runs at a time.

    By default a CPU device (one core) runs one block at a time and an accelerator two, so that it
    has work while the host handles the other. It is fewer if memory is short, but at least one.

    Args:
        devices: those to use.
        wanted:  blocks at a time; None to choose.
        needed:  bytes per block.

    Raises:
        Problem: ``wanted`` is below one.
    """
    if wanted is not None:
        if wanted < 1:
            raise Problem(f"--blocks-in-flight must be at least 1, not {wanted}.")
        return [devices[index % len(devices)] for index in range(wanted)]
    if devices[0].platform == "cpu":  # all of them share one memory
        return devices[: max(1, int(min(len(devices), free_memory(devices[0]) / needed)))]
    return devices * max(1, int(min(2, free_memory(devices[0]) / needed)))


def free_memory(device: jax.Device) -> float:
    """Free memory of a device in bytes (of the machine for a CPU); infinite if unknown."""
    if device.platform == "cpu":
        try:
            lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        except OSError:
            return math.inf
        found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
        return float(found[0]) if found else math.inf
    said = device.memory_stats() or {}
    return float(said["bytes_limit"] - said["bytes_in_use"]) if "bytes_limit" in said else math.inf


def cores() -> int:
    """The number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The processor's model name as the system gives it, and its widest vector instructions.

    Virtual machines give names as vague as "AMD EPYC", but compiled programs and the rounding of
    their sums depend on the vector instructions.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    said: dict[str, str] = {}
    for line in lines:
        field, _, text = line.partition(":")
        said.setdefault(field.strip(), text.strip())
    flags = said.get("flags", "").split()
    vectors = [name for flag, name in VECTORS.items() if flag in flags][:1]
    model = said.get("model name") or platform.processor() or platform.machine()
    return ", ".join([model, *vectors])


@contextlib.contextmanager
def profiled(folder: Path | None) -> Iterator[None]:
    """Profile what runs inside with `jax.profiler` into ``folder``; None profiles nothing.

    The folder then has ``plugins/profile/TIME`` with perfetto_trace.json.gz, for Perfetto's viewer,
    and an .xplane.pb for XProf. A trace has at most about a million events, so profile a smoke run
    or one study.

    Raises:
        Problem: the folder is not writable.
    """
    if folder is None:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise Problem(
            f"The profile folder {folder} is not writable ({error.strerror}): choose another with "
            "--profile."
        ) from None
    with jax.profiler.trace(str(folder), create_perfetto_trace=True):
        yield


def describe(devices: list[jax.Device]) -> dict[str, Any]:
    """Platform, kind and number of the devices, and the host's processor."""
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
        "processor": processor(),
        "cores": cores(),
    }


def keep_compiled() -> None:
    """Keep compiled programs on disk, separately for every jaxlib version and processor.

    A program compiled for one processor may crash another, so both are part of the folder's name.
    $JAX_COMPILATION_CACHE_DIR is respected if set. Call it before anything is compiled.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    import jaxlib

    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kind = hashlib.sha256(processor().encode()).hexdigest()[:8]
    folder = home / "jaxtrends" / f"xla-{jaxlib.__version__}-{kind}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # not writable: compile every time
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
