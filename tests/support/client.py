"""A client that sends bytes and sees bytes: it reads as fast, as slowly or as little as it is told."""

from __future__ import annotations

import hashlib
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure


class Hashed:
    """A body of which only length and digest are kept."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self._length = 0

    def __iadd__(self, data: bytes) -> Hashed:
        self.sha256.update(data)
        self._length += len(data)
        return self

    def __len__(self) -> int:
        return self._length


class Compared:
    """A body of which only the length is kept, and whether it is what it should be as far as it has come."""

    def __init__(self, wanted: bytes) -> None:
        self._wanted = wanted
        self._length = 0
        self._same = True

    def __iadd__(self, data: bytes) -> Compared:
        self._same = self._same and self._wanted.startswith(data, self._length)
        self._length += len(data)
        return self

    def __len__(self) -> int:
        return self._length

    @property
    def right(self) -> bool:
        """Whether all has come, and nothing else."""
        return self._same and self._length == len(self._wanted)


class Response(Protocol):
    """One response, or what there was of it when the connection ended.

    `length`: that of its Content-Length. `complete`: that much, or the last chunk, has arrived. `ended`:
    None while the connection is open, else "closed" or "reset".
    """

    def __init__(self, method: str = "GET", leave_at: int | None = None) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body: Any = bytearray()
        self.complete = False
        self.ended: str | None = None
        self.raw = b""
        self.done: Deferred[Response] = Deferred()
        self.got_headers: Deferred[Response] = Deferred()
        self.length: int | None = None
        self._method = method
        self._leave_at = leave_at
        self._head = b""
        self._chunks = b""

    def dataReceived(self, data: bytes) -> None:
        if len(self.raw) < 4096:
            self.raw += data[: 4096 - len(self.raw)]
        if not self.status:
            self._head += data
            if b"\r\n\r\n" not in self._head:
                return
            head, _, data = self._head.partition(b"\r\n\r\n")
            line, *fields = head.decode("latin-1").split("\r\n")
            self.status = int(line.split(" ")[1])
            self.headers = {k.lower(): v.strip() for k, _, v in (f.partition(":") for f in fields)}
            if "content-length" in self.headers:
                self.length = int(self.headers["content-length"])
            self.got_headers.callback(self)
        if self.headers.get("transfer-encoding") == "chunked":
            self._dechunk(data)
        else:
            self.body += data
        if self._method == "HEAD" or self.status == 304 or len(self.body) == self.length:
            self.complete = True
        if self._leave_at is not None and len(self.body) >= self._leave_at:
            self.transport.abortConnection()
        elif self.complete:
            self._finish()

    def _dechunk(self, data: bytes) -> None:
        chunks, at = self._chunks + data, 0
        while (end := chunks.find(b"\r\n", at)) >= 0:
            length = int(chunks[at:end], 16)
            stop = end + 2 + length
            if len(chunks) < stop + 2:
                break
            self.body += chunks[end + 2 : stop]
            at = stop + 2
            if not length:
                self.complete = True
                break
        self._chunks = chunks[at:]

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.ended = "closed" if reason is None or reason.check(ConnectionDone) else "reset"
        if reason is not None and not reason.check(ConnectionDone, ConnectionLost):
            self.ended = reason.type.__name__
        self._finish()

    def _finish(self) -> None:
        if not self.done.called:
            self.done.callback(self)

    def pause(self) -> None:
        self.transport.pauseProducing()

    def resume(self) -> None:
        self.transport.resumeProducing()

    def close(self) -> None:
        if self.ended is None:
            self.transport.abortConnection()


class _Connecting(Factory):
    """Make one connection, without a line in the log for its beginning and its end."""

    noisy = False

    def __init__(self, response: Response) -> None:
        self._response = response

    def buildProtocol(self, addr: Any) -> Response:
        return self._response


class Client:
    """Opens connections to one address and closes them all in the end."""

    def __init__(self, reactor: Any, port: int) -> None:
        self._reactor = reactor
        self._port = port
        self.responses: list[Response] = []

    async def send(self, data: bytes, method: str = "GET", leave_at: int | None = None) -> Response:
        """Connect, send *data* as it is, and return the response that is about to come."""
        endpoint = TCP4ClientEndpoint(self._reactor, "127.0.0.1", self._port)
        response = Response(method, leave_at)
        self.responses.append(response)
        await endpoint.connect(_Connecting(response))
        response.transport.write(data)
        return response

    async def begin(
        self, path: str, method: str = "GET", leave_at: int | None = None, **headers: str
    ) -> Response:
        """Send a well-formed request."""
        lines = [f"{method} {path} HTTP/1.1", "Host: mirror"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        data = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        return await self.send(data, method, leave_at)

    async def begin_hashed(self, path: str) -> Response:
        """Begin to get a large body, of which length and digest are enough."""
        response = await self.begin(path)
        response.body = Hashed()
        return response

    async def begin_compared(self, path: str, wanted: bytes) -> Response:
        """Begin to get a large body that should be *wanted*: to compare is cheaper than to hash."""
        response = await self.begin(path)
        response.body = Compared(wanted)
        return response

    async def get(self, path: str, method: str = "GET", **headers: str) -> Response:
        """Send a well-formed request and wait for the end of its response."""
        response = await self.begin(path, method, None, **headers)
        return await response.done

    def close(self) -> None:
        for response in self.responses:
            if response.transport is not None:
                response.close()
