"""Clients for measurements: they cost the daemon what real ones do, and little themselves."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

from oci_registry.spec.mediatypes import ACCEPT_MANIFESTS

_RECEIVE = 1024 * 1024


def _read_response(connection: socket.socket, buffer: memoryview) -> int:
    """Read one response; return the length of its body."""
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(65536)
        if not more:
            raise ConnectionError("closed before the headers")
        head += more
    head, _, body = head.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(head.decode("latin-1").splitlines()[0])
    lower = head.lower()
    at = lower.index(b"content-length:") + 15
    length = int(lower[at : at + 20].split(b"\r\n")[0])
    left = length - len(body)
    while left:
        count = connection.recv_into(buffer, min(left, _RECEIVE))
        if not count:
            raise ConnectionError("closed before the end")
        left -= count
    return length


def fetch(address: tuple[str, int], path: str, times: int = 1) -> int:
    """GET *path* so many times on one connection; return the bytes of all bodies."""
    head = f"GET {path} HTTP/1.1\r\nHost: benchmark\r\nAccept: {ACCEPT_MANIFESTS}\r\n\r\n"
    request = head.encode()
    buffer = memoryview(bytearray(_RECEIVE))
    with socket.create_connection(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        total = 0
        for _ in range(times):
            connection.sendall(request)
            total += _read_response(connection, buffer)
        return total


def fetch_together(address: tuple[str, int], path: str, clients: int, times: int = 1) -> int:
    """Let so many clients do that at the same time."""
    with ThreadPoolExecutor(clients) as pool:
        return sum(pool.map(lambda _: fetch(address, path, times), range(clients)))
