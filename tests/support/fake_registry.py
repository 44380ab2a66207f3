"""An upstream on a real socket that does as it is told, good or bad, and remembers what it was asked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from attrs import Factory, define, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer
from twisted.internet.protocol import Factory as ProtocolFactory
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from oci_registry.spec.digest import Digest
from oci_registry.spec.mediatypes import OCI_INDEX, OCI_MANIFEST

CHUNK = 64 * 1024


@frozen
class Asked:
    """A request as it arrived; header names in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")


@define
class Reply:
    """What to answer, and how to misbehave on the way.

    *length*: the Content-Length to send, "right" for the true one, None for none. *cut*: close after
    so many bytes of body (*reset*: with a RST). *hold*: wait for this Deferred after *hold_at* bytes.
    *silent*: never answer. *body_of*: what makes the bytes from start to stop of a long body.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = Factory(dict)
    length: int | str | None = "right"
    chunked: bool = False
    cut: int | None = None
    reset: bool = False
    hold: Deferred[Any] | None = None
    hold_at: int = 0
    silent: bool = False
    close: bool = False


Script = Callable[[Asked], Reply | None]


@implementer(IPullProducer)
class _Body:
    """Send a body piece by piece, stopping where the reply says."""

    def __init__(self, channel: Channel, reply: Reply) -> None:
        self._channel = channel
        self._reply = reply
        self._sent = 0
        self._held = False

    def resumeProducing(self) -> None:
        reply, transport = self._reply, self._channel.transport
        if reply.hold is not None and not self._held and self._sent >= reply.hold_at:
            self._held = True
            transport.unregisterProducer()
            reply.hold.addCallback(lambda _: self._go_on())
            return
        stop = min(len(reply.body), self._sent + CHUNK)
        if reply.cut is not None:
            stop = min(stop, reply.cut)
        if reply.hold is not None and not self._held:
            stop = min(stop, max(reply.hold_at, self._sent))
        piece = reply.body[self._sent : stop]
        self._sent = stop
        if piece:
            transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if reply.chunked else piece)
        if reply.cut is not None and self._sent >= reply.cut:
            transport.unregisterProducer()
            if reply.reset:
                transport.abortConnection()
            else:
                transport.loseConnection()
        elif self._sent >= len(reply.body):
            transport.unregisterProducer()
            if reply.chunked:
                transport.write(b"0\r\n\r\n")
            if reply.close or (reply.length is None and not reply.chunked):
                transport.loseConnection()
            else:
                self._channel.next_request()

    def _go_on(self) -> None:
        if self._channel.connected:
            self._channel.transport.registerProducer(self, False)

    def stopProducing(self) -> None:
        """The mirror has hung up."""
        self._channel.registry.hung_up += 1


class Channel(Protocol):
    """A connection: one request after the other."""

    def __init__(self, registry: Any) -> None:
        self.registry = registry
        self._buffer = bytearray()
        self._busy = False
        self._told = False

    def connectionMade(self) -> None:
        self.registry.channels.add(self)
        self.registry.connections += 1

    def connectionLost(self, reason: Any = None) -> None:
        self.registry.channels.discard(self)

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        self._try()

    def next_request(self) -> None:
        self._busy = False
        self._try()

    def _try(self) -> None:
        end = -1 if self._busy else self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        line, *fields = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (f.partition(":") for f in fields)}
        if "expect" in headers and not self._told:
            self._told = True
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = end + 4 + int(headers.get("content-length", "0"))
        if len(self._buffer) < length:
            return
        method, target, _ = line.split(" ")
        path, _, query = target.partition("?")
        asked = Asked(method, path, query, headers, bytes(self._buffer[end + 4 : length]))
        del self._buffer[:length]
        self._busy, self._told = True, False
        self.registry.asked.append(asked)
        self.answer(asked)

    def answer(self, asked: Asked) -> None:
        """Answer a request, now or later, with `send`."""
        self.send(asked, self.registry.answer(asked))

    def send(self, asked: Asked, reply: Reply) -> None:
        if reply.silent:
            return
        headers = dict(reply.headers)
        if reply.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif reply.length is not None:
            length = len(reply.body) if reply.length == "right" else reply.length
            if "content-length" not in {name.lower() for name in headers}:
                headers["Content-Length"] = str(length)
        lines = [f"HTTP/1.1 {reply.status} Whatever"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.transport.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        if asked.method == "HEAD" or (
            not reply.body and not reply.chunked and reply.cut is None and reply.length is not None
        ):
            self.next_request()
        else:
            self.transport.registerProducer(_Body(self, reply), False)


class Channels(ProtocolFactory):
    """Makes channels of a kind for a server."""

    noisy = False

    def __init__(self, registry: Any, channel: Callable[[Any], Protocol] = Channel) -> None:
        self._registry = registry
        self._channel = channel

    def buildProtocol(self, addr: Any) -> Protocol:
        return self._channel(self._registry)


@define(eq=False)
class FakeRegistry:
    """A registry of whatever is put into it; `script` replaces its answers."""

    blobs: dict[str, bytes] = Factory(dict)
    manifests: dict[tuple[str, str], tuple[bytes, str]] = Factory(dict)
    asked: list[Asked] = Factory(list)
    channels: set[Any] = Factory(set)
    connections: int = 0
    hung_up: int = 0
    _scripts: list[tuple[str, re.Pattern[str], Script]] = Factory(list)
    _port: Any = None

    def start(self, reactor: Any, tls: Any = None) -> None:
        """Listen; *tls* is a context factory to do so with."""
        where = {"interface": "127.0.0.1"}
        if tls is None:
            self._port = reactor.listenTCP(0, Channels(self), **where)
        else:
            self._port = reactor.listenSSL(0, Channels(self), tls, **where)

    async def stop(self) -> None:
        for channel in list(self.channels):
            channel.transport.abortConnection()
        if self._port is not None:
            await self._port.stopListening()
            self._port = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._port.getHost().port}"

    def add_blob(self, data: bytes) -> Digest:
        digest = Digest.of(data)
        self.blobs[str(digest)] = data
        return digest

    def add_manifest(
        self, repository: str, reference: str | None, raw: bytes, media_type: str = OCI_MANIFEST
    ) -> Digest:
        digest = Digest.of(raw)
        self.manifests[repository, str(digest)] = (raw, media_type)
        if reference is not None:
            self.manifests[repository, reference] = (raw, media_type)
        return digest

    def add_image(self, repository: str, tag: str, *layers: bytes) -> tuple[Digest, list[Digest]]:
        """Add an image; return the digests of its manifest and of config and layers."""
        config = json.dumps({"architecture": "amd64", "os": "linux", "of": tag}).encode()
        blobs = [self.add_blob(data) for data in (config, *layers)]
        sizes = [len(config), *map(len, layers)]
        described = [
            {"mediaType": "application/octet-stream", "digest": str(d), "size": s}
            for d, s in zip(blobs, sizes, strict=True)
        ]
        raw = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": described[0],
                "layers": described[1:],
            }
        ).encode()
        return self.add_manifest(repository, tag, raw), blobs

    def script(self, pattern: str, script: Script | Reply, method: str = "GET") -> None:
        """Answer requests whose path matches with *script*, until it returns None."""
        answer = script if callable(script) else lambda _: script
        self._scripts.insert(0, (method, re.compile(pattern), answer))

    def unscript(self) -> None:
        self._scripts.clear()

    def count(self, pattern: str, method: str = "GET") -> int:
        """Return how often something was asked for."""
        return sum(1 for a in self.asked if a.method == method and re.search(pattern, a.path))

    def answer(self, asked: Asked) -> Reply:
        for method, pattern, script in self._scripts:
            if method == asked.method and pattern.search(asked.path):
                reply = script(asked)
                if reply is not None:
                    return reply
        return self.honest(asked)

    def honest(self, asked: Asked) -> Reply:
        """Answer as a good registry would."""
        match = re.fullmatch(r"/v2/(.+)/(manifests|blobs|tags|referrers)/([^/]+)", asked.path)
        if match is None:
            return Reply(200 if asked.path == "/v2/" else 404)
        repository, kind, reference = match.groups()
        if kind == "blobs" and reference in self.blobs:
            return Reply(body=self.blobs[reference], headers={"Docker-Content-Digest": reference})
        if kind == "manifests" and (repository, reference) in self.manifests:
            raw, media_type = self.manifests[repository, reference]
            return Reply(
                body=raw,
                headers={
                    "Content-Type": media_type,
                    "Docker-Content-Digest": str(Digest.of(raw)),
                },
            )
        if kind == "tags":
            return self._tags(repository, parse_qs(asked.query))
        return Reply(404, b'{"errors":[]}', {"Content-Type": "application/json"})

    def _tags(self, repository: str, query: dict[str, list[str]]) -> Reply:
        tags = sorted(r for n, r in self.manifests if n == repository and ":" not in r)
        if not tags:
            return Reply(404)
        last = query.get("last", [""])[0]
        after = [tag for tag in tags if tag > last]
        count = int(query.get("n", ["1000"])[0])
        headers = {"Content-Type": "application/json"}
        if len(after) > count:
            link = f"/v2/{repository}/tags/list?last={after[count - 1]}&n={count}"
            headers["Link"] = f'<{link}>; rel="next"'
        return Reply(
            body=json.dumps({"name": repository, "tags": after[:count]}).encode(), headers=headers
        )


__all__ = ["OCI_INDEX", "Asked", "FakeRegistry", "Reply"]
