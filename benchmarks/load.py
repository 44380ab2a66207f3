"""Load in Python, where there is no compiler for `load.c`: many connections in one thread.

Bodies are discarded inside the kernel (``MSG_TRUNC``, tcp(7)), so that a byte costs the reader no copy.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread

from attrs import define

_HEAD = 4096
_DISCARD = 8 * 1024 * 1024
_SLICE = 64 * 1024
_KERNEL = 64 * 1024


class BadResponse(Exception):
    """A server did not answer with what was asked for."""


def parse_head(data: bytes, method: str) -> tuple[int, int]:
    """Return where a response's head ends in *data*, and the length of its body.

    (0, 0) while the head is not complete; BadResponse for another status than 200 and 206.
    """
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        return 0, 0
    if data[9:12] not in {b"200", b"206"}:
        raise BadResponse(data[:end].decode("latin-1").splitlines()[0])
    if method == "HEAD":
        return end, 0
    lower = data[:end].lower()
    at = lower.find(b"\r\ncontent-length:") + 17
    if at < 17:
        raise BadResponse("a response without Content-Length")
    return end, int(lower[at : lower.index(b"\r\n", at)])


@define(eq=False)
class _Client:
    """A connection: which request comes next, and what of the response is still to come."""

    socket: socket.socket
    next_request: int
    data: bytes = b""
    left: int = 0
    seen: int = 0
    paused: bool = False


class Load:
    """Clients that send the same requests again and again, each as soon as it has its response.

    *requests* are complete heads of requests with *method*; each client begins at another one. With
    *limit* a client reads so many bytes of its first body, and then nothing more; *satisfied* is set
    when all have. *rate*: bytes a second that a client reads at most.
    """

    def __init__(
        self,
        address: tuple[str, int],
        requests: Sequence[bytes],
        clients: int,
        method: str = "GET",
        limit: int | None = None,
        rate: float = 0,
    ) -> None:
        self.bytes = 0
        self.responses = 0
        self.error: Exception | None = None
        self.satisfied = Event()
        self._requests = requests
        self._method = method
        self._limit = limit
        self._rate = rate
        self._began = time.monotonic()
        self._poll = select.epoll()
        self._clients: dict[int, _Client] = {}
        self._waiting: list[socket.socket] = []
        self._nowhere = memoryview(bytearray(_DISCARD))
        for number in range(clients):
            connection = socket.socket()
            if limit is not None:
                # What the kernel holds for a client is not the server's to bound: keep it small.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL)
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            client = _Client(connection, number)
            self._clients[connection.fileno()] = client
            self._poll.register(connection, select.EPOLLIN)
            self._send(client)

    def _send(self, client: _Client) -> None:
        client.socket.send(self._requests[client.next_request % len(self._requests)])
        client.next_request += 1
        client.data = b""

    def run(self, stop: Callable[[], bool]) -> None:
        """Read until *stop*, or until all clients have as much as they want."""
        while not stop() and self._clients:
            for descriptor, _ in self._poll.poll(0.001 if self._rate else 0.05):
                self._read(self._clients[descriptor])
            if self._rate:
                self._pause()
        self.satisfied.set()

    def _pause(self) -> None:
        """Read of no client that has had enough for the moment."""
        allowed = self._rate * (time.monotonic() - self._began)
        for client in self._clients.values():
            paused = client.seen > allowed
            if paused != client.paused:
                client.paused = paused
                self._poll.modify(client.socket, 0 if paused else select.EPOLLIN)

    def wait(self, seconds: float) -> bool:
        """Wait until all clients have what they want; return whether they have in time."""
        return self.satisfied.wait(seconds)

    def cpu(self) -> float:
        """Return 0: it is a thread, whose process counts it."""
        return 0.0

    def _read(self, client: _Client) -> None:
        if client.left:
            wanted = min(client.left, _SLICE if self._rate else _DISCARD)
            got = client.socket.recv_into(self._nowhere, wanted, socket.MSG_TRUNC)
            client.left -= got
        else:
            data = client.socket.recv(_HEAD)
            got = len(data)
            client.data += data
            end, client.left = parse_head(client.data, self._method)
            if not end:
                if not got:
                    raise BadResponse("closed before the end of the headers")
                return
            if self._limit is not None:
                client.left = min(client.left, self._limit)
            client.left -= min(client.left, len(client.data) - end)
        if not got:
            raise BadResponse("closed before the end of the body")
        self.bytes += got
        client.seen += got
        if client.left == 0:
            self.responses += 1
            if self._limit is None:
                self._send(client)
            else:
                self._poll.unregister(client.socket)
                del self._clients[client.socket.fileno()]
                self._waiting.append(client.socket)

    def close(self) -> None:
        """Close all connections."""
        reading = [client.socket for client in self._clients.values()]
        for connection in [*reading, *self._waiting]:
            connection.close()
        self._poll.close()


@contextmanager
def running(load: Load) -> Iterator[Load]:
    """Run *load* in a thread of its own for as long as the context lasts; BadResponse at its end."""
    stop = Event()

    def run() -> None:
        try:
            load.run(stop.is_set)
        except (OSError, BadResponse) as error:
            load.error = error
            # Nobody gets any more.
            load.satisfied.set()

    thread = Thread(target=run)
    thread.start()
    try:
        yield load
    finally:
        stop.set()
        thread.join()
        load.close()
        if load.error is not None:
            # Also instead of what followed from it, such as that nothing was received.
            raise BadResponse(str(load.error))
