"""Ports for servers that are told where to listen."""

from __future__ import annotations

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """Return a port that nobody listens at now.

    It lies below those that the system gives to outgoing connections and to anyone who asks for any port, and
    so is still free when a server is stopped and started again. RuntimeError if there is none.
    """
    for port in random.sample(range(10_000, 32_000), 100):
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")
