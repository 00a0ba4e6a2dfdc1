"""The private names of JAX and Orbax that the library needs, all in one place.

Neither project promises to keep them. `NAMES` gives the version that introduced each, and each
function says why it is needed; `tests/test_private.py` fails if one is missing.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Coroutine
from typing import Any

NAMES = {
    "jax._src.distributed.global_state.process_id": "jax 0.4.26, or before",
    "jax._src.distributed.global_state.num_processes": "jax 0.4.26, or before",
    "jax._src.distributed.global_state.client": "jax 0.4.26, or before",
    "jaxlib._jax.DistributedRuntimeClient.key_value_set_bytes": "jaxlib 0.4.24",
    "jaxlib._jax.DistributedRuntimeClient.blocking_key_value_get_bytes": "jaxlib 0.4.23, or before",
    "jaxlib._jax.DistributedRuntimeClient.key_value_dir_get_bytes": "jaxlib 0.4.23, or before",
    "jaxlib._jax.DistributedRuntimeClient.key_value_delete": "jaxlib 0.4.23, or before",
    "orbax.checkpoint._src.asyncio_utils.run_sync": "orbax-checkpoint 0.7.0",
    "orbax.checkpoint._src.multihost.multihost.process_index": "orbax-checkpoint 0.8.0",
    "orbax.checkpoint._src.multihost.multihost.process_count": "orbax-checkpoint 0.9.0",
    "orbax.checkpoint._src.multihost.multihost.should_skip_process_sync": "orbax-checkpoint 0.9.0",
    "orbax.checkpoint._src.multihost.multihost.is_jax_distributed_client_initialized": (
        "orbax-checkpoint 0.11.3"
    ),
}
"""Each private name used below -> the version that introduced it."""


class Store:
    """The key-value store of JAX's coordination service, shared by all processes of a run.

    JAX has no public name for it; Orbax uses it in the same way. Every method raises
    `jax.errors.JaxRuntimeError` if the service does not answer.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def put(self, key: str, value: bytes, *, anew: bool = False) -> None:
        """Set a key; ``anew`` allows overwriting (since jaxlib 0.4.29)."""
        self._client.key_value_set_bytes(key, value, allow_overwrite=anew)

    def wait(self, key: str, seconds: float) -> bytes:
        """Wait for a key and return its value; DEADLINE_EXCEEDED after too long."""
        return self._client.blocking_key_value_get_bytes(key, int(1000 * seconds))

    def below(self, folder: str) -> dict[str, bytes]:
        """All keys that start with ``folder/``, without that prefix, and their values."""
        found = self._client.key_value_dir_get_bytes(f"{folder}/")
        return {key.partition(f"{folder}/")[2]: value for key, value in found}

    def delete(self, key: str) -> None:
        """Remove a key."""
        self._client.key_value_delete(key)


def joined() -> tuple[int, int, Store]:
    """The index, the number of processes, and their store, after `jax.distributed.initialize`.

    JAX has public names for the first two, but they start its devices.
    """
    from jax._src import distributed

    state = distributed.global_state
    return state.process_id, state.num_processes, Store(state.client)


def let_orbax_save_alone() -> None:
    """Make Orbax treat this process as the only one, although it is one of several.

    By default all processes write one checkpoint together, in lockstep, and process 0 writes NumPy
    arrays. Here each process has its own blocks and saves them independently, for which Orbax has
    no option that works for NumPy arrays.

    Its threads must not signal each other through the processes' common store either. All processes
    number their saves from one and name signals by that number. When two saved at the same time,
    one mistook the other's "folder created" for its own, and wrote into a folder that did not
    exist yet.
    """
    from orbax.checkpoint._src.multihost import multihost

    multihost.process_index = lambda: 0
    multihost.process_count = lambda: 1
    multihost.should_skip_process_sync = lambda processes=None: True
    multihost.is_jax_distributed_client_initialized = lambda: False


@functools.cache  # once is enough
def let_orbax_finish_writing() -> None:
    """Make Orbax wait for all writes of a step when one has failed.

    By default it closes their event loop at the first failure, and TensorStore, which reports the
    other writes to that loop, prints a traceback for each.
    """
    from orbax.checkpoint._src import asyncio_utils

    run = asyncio_utils.run_sync

    async def whole(work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await work
        except Exception:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*others, return_exceptions=True)
            raise

    asyncio_utils.run_sync = lambda work: run(whole(work))
