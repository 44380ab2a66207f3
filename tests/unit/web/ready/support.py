"""The same mirror twice: one with ready answers, one that answers every request in full."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import StringIO
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.web.resource import IResource

from oci_registry.logs import AccessLog
from oci_registry.pullthrough.lists import TagLists
from oci_registry.pullthrough.store_watch import StoreState
from oci_registry.repeats import RepeatLog
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.spec.routes import BlobRoute, ManifestRoute, ReferrersRoute, TagsRoute
from oci_registry.upstream.table import UpstreamTable
from oci_registry.web.blobs import BlobHandler
from oci_registry.web.client_watch import ClientWatch
from oci_registry.web.lists import ReferrersHandler, TagsHandler
from oci_registry.web.manifests import ManifestHandler
from oci_registry.web.ready.table import ReadyAnswers
from oci_registry.web.reply import Handler
from oci_registry.web.root import Ready, Root
from oci_registry.web.site import RegistrySite
from oci_registry.web.v2 import V2
from tests.support.fake_upstream import FakeUpstream, fake_settings, no_catch_all
from tests.support.settings import upstream_settings
from tests.unit.pullthrough.support import CacheTestCase
from tests.unit.web.support import Connection

RAW = b'{"schemaVersion": 2, "mediaType": "%b", "config": {"digest": "%b", "size": 5}}' % (
    OCI_MANIFEST.encode(),
    b"sha256:" + b"a" * 64,
)
BLOB = bytes(range(256)) * 1024
SMALL = bytes(range(255)) * 10
"""A blob that is sent whole without reading it in pieces."""
_DATE = re.compile(rb"\r\nDate: [^\r]+")
_SAMPLES = re.compile(r"^(?:oci_registry|manifest|blob)_(?!\S+_created).*$", re.MULTILINE)


class Mirror(CacheTestCase):
    """A mirror of docker.io on a clock, whose log is text; *ready*: with ready answers."""

    def __init__(self, *, ready: bool, form: str = "combined", body: bytes = RAW) -> None:
        super().__init__()
        self.ready = ready
        self.form = form
        self.setUp()
        self.upstream.change(namespace="docker.io")
        self.upstream.add(body, "1")
        self.digest = self.upstream.add(body, "2").digest
        self.upstream.add(RAW + b" ", "other")
        self.blob = self.upstream.add_blob(BLOB)
        self.small = self.upstream.add_blob(SMALL)
        self.log = StringIO()
        self.connections: list[Connection] = []
        self.serve()

    def runTest(self) -> None:
        """Be a test case."""

    def serve(self) -> None:
        """Make the site."""
        log = AccessLog(self.log, self.form, self.clock)
        self.answers = ReadyAnswers(self.clock, log, self.metrics) if self.ready else None
        self.table = UpstreamTable(
            (upstream_settings("docker.io", "registry-1.docker.io"),),
            lambda settings: (
                self.upstream
                if settings.namespace == "docker.io"
                else FakeUpstream(fake_settings(settings.namespace))
            ),
            no_catch_all,
            default_namespace="docker.io",
            dynamic=True,
        )
        handlers: dict[type, Handler] = {
            ManifestRoute: ManifestHandler(self.manifests, self.background),
            BlobRoute: BlobHandler(self.blobs, self.background),
            TagsRoute: TagsHandler(TagLists(self.tag_store, self.health, self.repeats)),
            ReferrersRoute: ReferrersHandler(self.referrers),
        }
        watch = ClientWatch(self.clock)
        v2 = V2(handlers, self.table, watch, self.clock, self.metrics, self.answers)

        async def works() -> StoreState:
            return StoreState()

        root: IResource = Root(Ready(works), v2=v2, answers=self.answers)
        repeats = RepeatLog(Logger(), Clock())
        self.site = RegistrySite(root, self.clock, log, repeats, self.answers)

    def connect(self) -> Connection:
        """Return a new connection."""
        self.connections.append(Connection(self.site))
        return self.connections[-1]

    def leave(self) -> None:
        """Close all connections."""
        for connection in self.connections:
            connection.leave()
        self.connections.clear()

    def ask(self, path: str, method: str = "GET", **headers: str) -> bytes:
        """Return the response to one request on a connection of its own, but for its date."""
        connection = self.connect()
        connection.ask(path, method, **headers)
        return without_date(connection.got)

    def at_once(self, path: str = "/v2/library/app/manifests/1", **headers: str) -> bool:
        """Whether a request is answered without building one, and its answer is still right."""
        assert self.answers is not None
        connection = self.connect()
        found: list[tuple[bytes, bool] | None] = []
        respond = self.answers.respond

        def watched(data: bytes, client: str) -> tuple[bytes, bool] | None:
            found.append(respond(data, client))
            return found[-1]

        self.answers.respond = watched  # type: ignore[method-assign]
        try:
            connection.ask(path, **headers)
        finally:
            self.answers.respond = respond  # type: ignore[method-assign]
        return found[-1] is not None

    def warm(self, path: str = "/v2/library/app/manifests/1") -> None:
        """Let an answer become ready: it is fetched, and served from memory."""
        for _ in range(2):
            self.ask(path)

    def warm_parts(self) -> None:
        """Let the answers for parts of the blob become ready."""
        path = f"/v2/library/app/blobs/{self.blob}"
        self.ask(path)
        self.ask(path, Range="bytes=0-9")

    def warm_small(self) -> None:
        """Let the answers for the small blob become ready."""
        self.warm(f"/v2/library/app/blobs/{self.small}")

    def state(self) -> dict[str, Any]:
        """Return everything that requests leave behind."""
        usage = self.manifest_store._usage
        return {
            "log": self.log.getvalue(),
            "metrics": _SAMPLES.findall(self.metrics.page().decode()),
            "used": usage._used.entries(),
            "sizes": self.sizes._hints.entries(),
            "asked": list(self.upstream.asked),
        }


def without_date(got: bytes) -> bytes:
    """Return responses without their dates."""
    return _DATE.sub(b"", got)


def feed(mirror: Mirror, pieces: Sequence[bytes]) -> tuple[bytes, bool, bool]:
    """Return what a connection got that sent these pieces, and whether and how it was closed."""
    connection = mirror.connect()
    for piece in pieces:
        if piece and not connection.transport.disconnecting:
            connection.send(piece)
            # Many requests at once are spread over several iterations.
            mirror.clock.advance(0)
    transport = connection.transport
    return without_date(connection.got), transport.disconnecting, transport.write_closed
