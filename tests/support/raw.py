"""A connection of which every byte is kept, over TCP or a UNIX socket."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    UNIXClientEndpoint,
    connectProtocol,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol

from oci_registry.streams.waiters import Waiters

_DATE = re.compile(rb"\r\nDate: [^\r]*")
TIMES = re.compile(rb"\r\nDate: [^\r]*|; ttl=\d+")
"""What differs between two responses that were sent at different times."""
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)")


def timeless(data: bytes, times: re.Pattern[bytes]) -> bytes:
    """Return responses without *times* in their heads.

    Bodies are passed over if it is known where they end: they may be long.
    """
    parts, at = [], 0
    while (end := data.find(b"\r\n\r\n", at)) >= 0:
        head = data[at : end + 4]
        length = _LENGTH.search(head)
        begin = end + 4
        at = begin + (0 if length is None else int(length[1]))
        if at != len(data) and not data.startswith(b"HTTP/", at):
            # No body, or not all of it.
            at = begin
        parts += [times.sub(b"", head), data[begin:at]]
    return b"".join([*parts, times.sub(b"", data[at:])])


class RawConnection(Protocol):
    """Sends what it is given, and keeps all that comes: `got`, until it is `lost`."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.lost: Any = None
        self.times = _DATE
        """What is left out of `timeless`."""
        self._more: Waiters[None] = Waiters()

    def dataReceived(self, data: bytes) -> None:
        self.got += data
        self._more.fire(None)

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = reason.type
        self._more.fire(None)

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    def ask(self, path: str, method: str = "GET", version: str = "1.1", **headers: str) -> None:
        """Send a request."""
        lines = [f"{method} {path} HTTP/{version}", "Host: mirror"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def until(self, length: int) -> None:
        """Wait until so much has come, or nothing more will."""
        while self.lost is None and len(self.got) < length:
            await self._more.wait()

    async def until_body(self, length: int) -> None:
        """Wait until so much of the body of the only response has come, or nothing more will."""
        await self.until(4)
        while self.lost is None and len(self.got) - self.got.find(b"\r\n\r\n") - 4 < length:
            await self._more.wait()

    async def ended(self) -> bytes:
        """Wait for the end of the connection; return what has come."""
        while self.lost is None:
            await self._more.wait()
        return self.timeless

    @property
    def timeless(self) -> bytes:
        """What has come, without what the time makes different."""
        return timeless(bytes(self.got), self.times)

    @property
    def body(self) -> bytes:
        """The body of the only response."""
        return bytes(self.got.partition(b"\r\n\r\n")[2])

    def pause(self) -> None:
        self.transport.pauseProducing()

    def resume(self) -> None:
        self.transport.resumeProducing()

    def leave(self) -> None:
        self.transport.abortConnection()


def connect(reactor: Any, place: int | str) -> Deferred[RawConnection]:
    """Connect to a port of this machine or to a socket at a path."""
    endpoint: IStreamClientEndpoint
    if isinstance(place, str):
        endpoint = UNIXClientEndpoint(reactor, place)
    else:
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", place)
    connected: Deferred[RawConnection] = connectProtocol(endpoint, RawConnection())
    return connected
