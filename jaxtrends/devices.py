"""What hardware this is, and which devices a run uses."""

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

    JAX takes a whole CPU for one device unless it is asked for more before its first use. This asks
    for one a core: two lanes of a small network, each on a core of its own, take about half the
    time of one after the other on both. Call it before anything else touches a device.

    Raises:
        Problem: there are fewer devices, or ``count`` is below one.
    """
    if count is not None and count < 1:
        raise Problem(f"--devices must be at least 1, not {count}.")
    with contextlib.suppress(RuntimeError):  # JAX is in use already: what there is must do
        jax.config.update("jax_num_cpu_devices", max(count or 1, cores()))
    found = jax.local_devices()
    if count is not None and count > len(found):
        raise Problem(f"--devices {count} asks for more than the {len(found)} devices here.")
    return found[:count]


BLOCK_SHARE = 0.7  # of a device's memory: what a compiler reports leaves out some of what runs


def block(lanes: int, platform: str, memory: float, needed: Callable[[int], float]) -> int:
    """How many of a call's lanes run as one block on a kind of device.

    One on a CPU, where a lane by itself is fastest. On an accelerator, which one small lane leaves
    idle, all that fit in `BLOCK_SHARE` of its memory; where they do not all fit, as many in each
    block as make the fewest blocks. It depends on nothing else, so that another number of devices
    changes no block, and so no bit.

    Args:
        lanes:    of the call.
        platform: of the device: ``cpu``, ``gpu``, ``tpu``.
        memory:   bytes that it has; see `memory`.
        needed:   lanes of a block -> bytes that it takes; infinite where no compiler makes room.
    """
    if platform == "cpu":
        return 1
    room, fit = BLOCK_SHARE * memory, lanes
    while fit > 1 and (taken := needed(fit)) > room:
        fit = fit // 2 if math.isinf(taken) else max(1, min(fit - 1, int(fit * room / taken)))
    return math.ceil(lanes / math.ceil(lanes / fit))


def memory(device: jax.Device) -> float:
    """Bytes that an accelerator gives to a program by itself; infinite where it does not say."""
    said = device.memory_stats() or {}
    return float(said.get("bytes_limit", math.inf))


def in_flight(devices: list[jax.Device], wanted: int | None, needed: float) -> list[jax.Device]:
    """The devices as `jaxtrends.sweep.run` takes them: each as often as it has a block at a time.

    By default a CPU's devices, a core each, run one block at a time, and an accelerator two, so
    that it has work while the host looks at the other; fewer where memory would not do, but one
    always.

    Args:
        devices: those to use.
        wanted:  blocks at a time, if it is not to be found out here.
        needed:  bytes that a block takes.

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
    """Bytes that a device, or on a CPU this machine, has to give; infinite where nobody says."""
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
    """The processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The processor's model name, as the system gives it, and its widest vectors where it says.

    Machines share one out under a name as wide as "AMD EPYC", and its programs and the rounding
    of their sums depend on the vectors.
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
    """Trace what runs inside, with `jax.profiler`, into ``folder``; None traces nothing.

    The folder then holds ``plugins/profile/TIME`` with perfetto_trace.json.gz, for Perfetto's
    viewer, and an .xplane.pb for XProf. A trace holds at most some million events: profile a smoke
    run, or one study.

    Raises:
        Problem: the folder cannot be written.
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
            f"The profile folder {folder} cannot be written ({error.strerror}): "
            "choose another with --profile."
        ) from None
    with jax.profiler.trace(str(folder), create_perfetto_trace=True):
        yield


def describe(devices: list[jax.Device]) -> dict[str, Any]:
    """Platform, kind and count of the devices, and the processor they hang on."""
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
        "processor": processor(),
        "cores": cores(),
    }


def keep_compiled() -> None:
    """Keep compiled programs on disk, apart for every jaxlib and processor.

    A program compiled for one processor may crash another, so both stand in the folder's name.
    $JAX_COMPILATION_CACHE_DIR, where set, is left as it is. Call it before anything is compiled.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    import jaxlib

    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kind = hashlib.sha256(processor().encode()).hexdigest()[:8]
    folder = home / "jaxtrends" / f"xla-{jaxlib.__version__}-{kind}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # no home to keep anything in: compile every time
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
