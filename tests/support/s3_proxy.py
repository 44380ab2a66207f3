"""What lies between the daemon and an S3 server: it counts, and does what networks and servers do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import parse_qs, urlsplit

from attrs import Factory, define, evolve, frozen
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol

from oci_registry.management.notices import NOTICES
from tests.support import s3_server
from tests.support.fake_channel import Channel, Channels
from tests.support.fake_replies import Asked, Reply
from tests.support.listening import Listening

Forward = Callable[[], Awaitable[Reply]]
Script = Callable[[Asked, Forward], Coroutine[Any, Any, Reply | None]]
"""What to answer; None closes the connection. Called with what asks the server itself."""


def kind_of(asked: Asked) -> str:
    """Return in a word what is wanted of the server."""
    query = parse_qs(asked.query, keep_blank_values=True)
    if "uploadId" in query:
        return {"PUT": "PART", "POST": "COMPLETE", "DELETE": "ABORT"}[asked.method]
    if "uploads" in query:
        return {"POST": "BEGIN", "GET": "UPLOADS"}[asked.method]
    if "list-type" in query:
        return "LOOK" if _is_about_notices(asked) else "LIST"
    if "delete" in query:
        return "DELETE-MANY"
    return "COPY" if "x-amz-copy-source" in asked.headers else asked.method


def _is_about_notices(asked: Asked) -> bool:
    """Whether a daemon looks for what other daemons have removed."""
    prefix = parse_qs(asked.query).get("prefix", [""])[0].rstrip("/")
    return f"/{NOTICES}/" in asked.path or f"/{prefix}".endswith(f"/{NOTICES}")


def refusal(status: int, code: str) -> Script:
    """Answer with an error, without asking the server."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    headers = {"content-type": "application/xml"}

    async def script(asked: Asked, forward: Forward) -> Reply:
        return Reply(status, b"" if asked.method == "HEAD" else body, headers)

    return script


def cut(at: int) -> Script:
    """Close the connection after so many bytes of the answer's body."""

    async def script(asked: Asked, forward: Forward) -> Reply:
        return evolve(await forward(), cut=at)

    return script


def held(gate: Deferred[None], at: int | None = None) -> Script:
    """Wait for *gate*: before the server is asked, or after so many bytes of the answer's body."""

    async def script(asked: Asked, forward: Forward) -> Reply:
        if at is not None:
            return evolve(await forward(), hold=gate, hold_at=at)
        await _fired(gate)
        return await forward()

    return script


async def lost(asked: Asked, forward: Forward) -> None:
    """Let the server do it, and lose the answer."""
    await forward()


async def closed(asked: Asked, forward: Forward) -> None:
    """Close the connection without an answer."""


def _fired(gate: Deferred[None]) -> Deferred[None]:
    """Return another Deferred that fires with *gate*, which may have many who wait."""
    mine: Deferred[None] = Deferred()

    def fire(result: Any) -> Any:
        mine.callback(None)
        return result

    gate.addCallback(fire)
    return mine


class _Asking(Protocol):
    """A request to the server, on a connection of its own; `done` fires with the whole answer."""

    def __init__(self, request: bytes) -> None:
        self.done: Deferred[bytes] = Deferred()
        self._request = request
        self._pieces: list[bytes] = []

    def connectionMade(self) -> None:
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        self._pieces.append(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.done.callback(b"".join(self._pieces))


class _Channel(Channel):
    """A connection of the daemon, whose requests may be answered late or never."""

    def connectionMade(self) -> None:
        super().connectionMade()
        if self.registry.closing:
            self.transport.loseConnection()

    def answer(self, asked: Asked) -> None:
        """Ask the proxy, in its own time."""
        if _is_about_notices(asked):
            # Each daemon looks there about once a second, whatever a test is about.
            self.registry.asked.remove(asked)
        Deferred.fromCoroutine(self._answer(asked))

    async def _answer(self, asked: Asked) -> None:
        proxy, kind = self.registry, kind_of(asked)
        proxy.under_way[kind] += 1
        try:
            reply = await proxy.answer(asked)
        finally:
            proxy.under_way[kind] -= 1
        if not self.connected:
            return
        if reply is None:
            self.transport.loseConnection()
        else:
            self.send(asked, reply)


@frozen
class _Rule:
    """What to do with requests of a kind whose key matches."""

    kind: str
    key: re.Pattern[str]
    script: Script


@define(eq=False)
class S3Proxy:
    """A server on a real socket that passes everything on to *server*, unless it is told otherwise.

    *closing*: connections are closed as soon as they are made. The server of this process is asked without
    a connection.
    """

    reactor: Any
    server: str
    asked: list[Asked] = Factory(list)
    channels: set[Any] = Factory(set)
    connections: int = 0
    under_way: Counter[str] = Factory(Counter)
    forwarding: int = 0
    closing: bool = False
    hung_up: int = 0
    _rules: list[_Rule] = Factory(list)
    _listening: Listening = Factory(Listening)

    @property
    def port(self) -> int:
        """The port, also while it is down."""
        return self._listening.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        """Listen, always on the same port."""
        self._listening.start(self.reactor, Channels(self, _Channel))

    async def down(self) -> None:
        """Refuse connections, and break off those that there are."""
        await self._listening.stop()
        self.hang_up()

    def hang_up(self) -> None:
        """Break off the connections that there are."""
        for channel in list(self.channels):
            channel.transport.abortConnection()

    def script(self, kind: str, script: Script, key: str = "") -> None:
        """Let *script* answer requests of a kind ("*": of any) whose path matches *key*."""
        self._rules.insert(0, _Rule(kind, re.compile(key), script))

    def unscript(self) -> None:
        self._rules.clear()

    def matching(self, kind: str, key: str = "") -> list[Asked]:
        """Return the requests of a kind whose path matches."""
        return [a for a in self.asked if kind in ("*", kind_of(a)) and re.search(key, a.path)]

    def count(self, kind: str, key: str = "") -> int:
        """Return how many requests of a kind there were."""
        return len(self.matching(kind, key))

    async def answer(self, asked: Asked) -> Reply | None:
        async def forward() -> Reply:
            return await self._forward(asked)

        for rule in self._rules:
            if rule.kind in ("*", kind_of(asked)) and rule.key.search(asked.path):
                return await rule.script(asked, forward)
        return await forward()

    async def _forward(self, asked: Asked) -> Reply:
        if self.server == s3_server.url():
            return s3_server.ask(asked)
        headers = {k: v for k, v in asked.headers.items() if k not in ("expect", "connection")}
        headers["connection"] = "close"
        target = f"{asked.path}?{asked.query}" if asked.query else asked.path
        lines = [f"{asked.method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        request = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + asked.body
        place = urlsplit(self.server)
        endpoint = TCP4ClientEndpoint(self.reactor, str(place.hostname), place.port or 80)
        self.forwarding += 1
        try:
            asking = await connectProtocol(endpoint, _Asking(request))
            return _parse(await asking.done)
        finally:
            self.forwarding -= 1


def _parse(answer: bytes) -> Reply:
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (f.partition(":") for f in fields)}
    headers.pop("connection", None)
    if headers.pop("transfer-encoding", "") == "chunked":
        body = _dechunked(body)
    return Reply(int(line.split(" ")[1]), body, headers)


def _dechunked(body: bytes) -> bytes:
    pieces: list[bytes] = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        pieces.append(rest[:length])
        body = rest[length + 2 :] if length else b""
    return b"".join(pieces)
