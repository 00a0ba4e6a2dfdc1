"""Ports that nobody else is given while a test has them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def held(port: int = 0) -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections, until a server that may share it listens.

    It is bound and does not listen: the system gives it to no one who asks for any port, and gRPC,
    which JAX's coordinator is made of, may bind it too (SO_REUSEPORT).

    Args:
        port: which; any where it is 0.

    Raises:
        OSError: somebody has it.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", port))
        yield holder.getsockname()[1]
