"""What the library needs of JAX and Orbax and finds under private names alone: all of it is here.

Neither project promises to keep such a name. `NAMES` says of each since when it has been there, and
each function why it is needed; `tests/test_private.py` fails where one has gone.
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
"""Each private name that is used below -> the version that has had it since."""


class Store:
    """The keys and bytes of JAX's coordination service, which all processes of a run share.

    JAX has no public name for it; Orbax uses it in the same way. Every method raises
    `jax.errors.JaxRuntimeError` where the service does not answer.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def put(self, key: str, value: bytes, *, anew: bool = False) -> None:
        """Set a key; one that is there already only ``anew`` (since jaxlib 0.4.29)."""
        self._client.key_value_set_bytes(key, value, allow_overwrite=anew)

    def wait(self, key: str, seconds: float) -> bytes:
        """What stands under a key, once it does; DEADLINE_EXCEEDED if that takes too long."""
        return self._client.blocking_key_value_get_bytes(key, int(1000 * seconds))

    def below(self, folder: str) -> dict[str, bytes]:
        """All keys that begin with ``folder/``, without it, and their values."""
        found = self._client.key_value_dir_get_bytes(f"{folder}/")
        return {key.partition(f"{folder}/")[2]: value for key, value in found}

    def delete(self, key: str) -> None:
        """Remove a key."""
        self._client.key_value_delete(key)


def joined() -> tuple[int, int, Store]:
    """Of a process that `jax.distributed.initialize` has joined to others: which it is of how many.

    And their store. JAX says the first two in public as well, but starts its devices to do so.
    """
    from jax._src import distributed

    state = distributed.global_state
    return state.process_id, state.num_processes, Store(state.client)


def let_orbax_save_alone() -> None:
    """Let Orbax take this process for the only one, where it is one of several.

    Orbax has all processes write one checkpoint together, in lockstep, and leaves NumPy's arrays to
    process 0. Here each has blocks of its own and saves them when it likes; for that Orbax has no
    option that NumPy's arrays heed.

    Nor may its threads signal each other through the processes' common store. All count their saves
    from one and call the signals by that number: where two saved at a time, one took "the folder is
    made" from the other and wrote into a folder that it had not made yet.
    """
    from orbax.checkpoint._src.multihost import multihost

    multihost.process_index = lambda: 0
    multihost.process_count = lambda: 1
    multihost.should_skip_process_sync = lambda processes=None: True
    multihost.is_jax_distributed_client_initialized = lambda: False


@functools.cache  # a second time would be in vain
def let_orbax_finish_writing() -> None:
    """Let Orbax wait for all writes of a step, where one has failed.

    It closes their event loop at the first failure, and TensorStore, which would tell the loop how
    the other writes ended, prints a traceback for each.
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
