"""The web room without a network: a site, a clock and connections that are strings."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from oci_registry.logs import AccessEntry, AccessLog
from oci_registry.pullthrough.store_watch import StoreState
from oci_registry.repeats import RepeatLog
from oci_registry.upstream.table import UpstreamTable
from oci_registry.web.site import RegistryRequest, RegistrySite
from tests.support.fake_upstream import FakeUpstream, fake_settings, no_catch_all
from tests.support.settings import upstream_settings


async def works() -> StoreState:
    """Return the state of a store that works."""
    return StoreState()


class Transport(StringTransport):
    """A transport that tells how it was closed; `write_closed`: only our half of it."""

    aborted = False
    write_closed = False

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()

    def loseWriteConnection(self) -> None:
        self.write_closed = True

    @property
    def closed(self) -> bool:
        return self.disconnecting or self.write_closed


@frozen
class Answer:
    """One response; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        code: str = json.loads(self.body)["errors"][0]["code"]
        return code


class Connection:
    """A client: what it sends arrives at once, and what it got is read back as bytes or answers."""

    def __init__(self, site: RegistrySite) -> None:
        self.transport = Transport()
        self.channel: Any = site.buildProtocol(None)
        self.lost = False
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        self.channel.dataReceived(data)

    def ask(self, path: str, method: str = "GET", **headers: str) -> None:
        lines = [f"{method} {path} HTTP/1.1", "Host: mirror"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def leave(self) -> None:
        """The connection is gone: a transport stops its producer first, if it still has one."""
        if not self.lost:
            self.lost = True
            if self.transport.producer is not None:
                self.transport.producer.stopProducing()
            self.channel.connectionLost(Failure(ConnectionDone()))

    @property
    def got(self) -> bytes:
        return bytes(self.transport.value())

    def answers(self, *methods: str) -> list[Answer]:
        """Read everything that was sent; *methods* are those of the requests, GET by default."""
        found: list[Answer] = []
        rest = self.got
        while rest:
            head, _, rest = rest.partition(b"\r\n\r\n")
            line, *fields = head.decode("latin-1").split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (f.partition(":") for f in fields)}
            method = methods[len(found)] if len(found) < len(methods) else "GET"
            length = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
            found.append(Answer(int(line.split(" ")[1]), headers, rest[:length]))
            rest = rest[length:]
        return found

    def answer(self, method: str = "GET") -> Answer:
        """Read the only response there is."""
        (answer,) = self.answers(method)
        return answer


class Log(AccessLog):
    """An access log that is a list."""

    def __init__(self) -> None:
        self.wanted = True
        self.entries: list[AccessEntry] = []

    def write(self, entry: AccessEntry) -> None:
        self.entries.append(entry)


class Calling(Resource):
    """A leaf that hands each request to a function."""

    isLeaf = True

    def __init__(self, handle: Callable[[RegistryRequest], Any]) -> None:
        super().__init__()
        self._handle = handle

    def render(self, request: Any) -> int:
        self._handle(request)
        return NOT_DONE_YET


class WebTestCase(SynchronousTestCase):
    """A site on a clock; `serve` a resource, or a function of the request, and `connect` to it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.log = Log()
        self.connections: list[Connection] = []

    def tearDown(self) -> None:
        for connection in self.connections:
            connection.leave()
        self.assertEqual([], self.clock.getDelayedCalls(), "a timer outlives its connection")

    def serve(self, resource: IResource | Callable[[RegistryRequest], Any]) -> RegistrySite:
        leaf: Any = resource if isinstance(resource, Resource) else Calling(resource)  # type: ignore[arg-type]
        self.site = RegistrySite(leaf, self.clock, self.log, RepeatLog(Logger(), Clock()))
        return self.site

    def connect(self) -> Connection:
        connection = Connection(self.site)
        self.connections.append(connection)
        return connection

    def ask(self, path: str, method: str = "GET", **headers: str) -> Connection:
        connection = self.connect()
        connection.ask(path, method, **headers)
        return connection


def docker_hub() -> UpstreamTable:
    """Return a table of Docker Hub, and of whatever registries clients name."""
    return UpstreamTable(
        (upstream_settings("docker.io", "registry-1.docker.io"),),
        lambda settings: FakeUpstream(fake_settings(settings.namespace)),
        no_catch_all,
        default_namespace="docker.io",
        dynamic=True,
    )


class SiteTestCase(WebTestCase):
    """A site that answers ``ok``, or later, or never."""

    def setUp(self) -> None:
        super().setUp()
        self.requests: list[RegistryRequest] = []
        self.serve(self.handle)

    def handle(self, request: RegistryRequest) -> None:
        self.requests.append(request)
        if not request.uri.startswith(b"/later"):
            self.reply(request)

    def reply(self, request: RegistryRequest, body: bytes = b"ok") -> None:
        request.setHeader(b"Content-Length", b"%d" % len(body))
        request.write(body)
        request.finish()

    def uris(self) -> list[bytes]:
        return [request.uri for request in self.requests]
