"""Connections that a worker has handed to the core."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from oci_registry.web.channel import RegistryChannel
from oci_registry.web.ready.answers import LONGEST
from oci_registry.web.transports import FileTransport

Lend = Callable[[bytes], object]
"""Lends a worker the answer for a target, if there is one."""
GiveBack = Callable[[FileTransport, int, bytes], bool]
"""Gives a connection of an address family to a worker if it can be lent an answer; returns whether."""


class HandedConnection:
    """A connection that goes back to a worker after an answer that workers can give themselves.

    After any other answer it stays, since most clients that request a blob request another. A
    connection that ends with its answer does not go back, but the worker is lent the answer for the
    client's next connections.
    """

    def __init__(
        self, transport: FileTransport, family: int, give_back: GiveBack, lend: Lend
    ) -> None:
        self._transport = transport
        self._family = family
        self._give_back = give_back
        self._lend = lend
        self._channel = cast(RegistryChannel, transport.protocol)
        self._receive = self._channel.dataReceived
        self._target = b""
        self._channel.dataReceived = self.received  # type: ignore[method-assign]
        transport.drained = self._drained

    def received(self, data: bytes) -> None:
        """Take note of the request, and let the channel answer it."""
        parts = data[:LONGEST].split(b" ", 2)
        self._target = parts[1] if len(parts) == 3 else b""
        self._receive(data)
        if self._target and self._channel.ends:
            self._lend(self._target)

    def _drained(self) -> None:
        if (
            self._target
            and self._channel.at_rest
            and self._give_back(self._transport, self._family, self._target)
        ):
            self._transport.detach()
