"""Clients for measurements: they cost the daemon what real ones do, and little themselves."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from oci_registry.spec.mediatypes import ACCEPT_MANIFESTS

_RECEIVE = 1024 * 1024
_KERNEL = 64 * 1024


def request(path: str, more: str = "", method: str = "GET") -> bytes:
    """Return a request without a body; *more*: further lines of its head."""
    first = f"{method} {path} HTTP/1.1\r\nHost: benchmark\r\n"
    return f"{first}Accept: {ACCEPT_MANIFESTS}\r\n{more}\r\n".encode()


def read_response(
    connection: socket.socket,
    buffer: memoryview,
    stop: int | None = None,
    statuses: Sequence[bytes] = (b"200", b"206"),
) -> int:
    """Read one response, or no more than *stop* bytes of it; return how many its body has.

    Raises `ConnectionError` if its status is none of *statuses*.
    """
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(65536)
        if not more:
            raise ConnectionError("closed before the headers")
        head += more
    head, _, body = head.partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1] not in statuses:
        raise ConnectionError(head.decode("latin-1").splitlines()[0])
    lower = head.lower()
    at = lower.index(b"content-length:") + 15
    length = int(lower[at : at + 20].split(b"\r\n")[0])
    left = (length if stop is None else min(stop, length)) - len(body)
    while left > 0:
        count = connection.recv_into(buffer, min(left, len(buffer)))
        if not count:
            raise ConnectionError("closed before the end")
        left -= count
    return length


def fetch(address: tuple[str, int], path: str, times: int = 1) -> int:
    """GET *path* so many times on one connection; return the bytes of all bodies."""
    wanted = request(path)
    buffer = memoryview(bytearray(_RECEIVE))
    with socket.create_connection(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        total = 0
        for _ in range(times):
            connection.sendall(wanted)
            total += read_response(connection, buffer)
        return total


def fetch_together(address: tuple[str, int], paths: Sequence[str], times: int = 1) -> int:
    """Let a client for each path do that, all at the same time."""
    with ThreadPoolExecutor(len(paths)) as pool:
        return sum(pool.map(lambda path: fetch(address, path, times), paths))


@contextmanager
def lingering(
    address: tuple[str, int], starts: Sequence[tuple[str, int]], count: int
) -> Iterator[None]:
    """Have a client for each path, from an offset on, that reads *count* bytes and then no more."""

    def begin(path: str, start: int) -> socket.socket:
        connection = socket.socket()
        # What the kernel holds for a client is not the daemon's to bound: keep it small.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL)
        connection.connect(address)
        connection.sendall(request(path, f"Range: bytes={start}-\r\n"))
        read_response(connection, memoryview(bytearray(_KERNEL)), count)
        return connection

    with ExitStack() as stack, ThreadPoolExecutor(len(starts)) as pool:
        for connection in pool.map(lambda at: begin(*at), starts):
            stack.enter_context(connection)
        yield
