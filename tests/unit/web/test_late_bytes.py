"""Headers of blobs whose first bytes are late: they leave nevertheless, and the body follows."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from oci_registry.spec.reference import content_key
from oci_registry.storage.open_blob import StoredBlob
from oci_registry.web.client_watch import ClientWatchLimits
from tests.unit.web.handlers import HandlerTestCase
from tests.unit.web.support import Connection

DATA = bytes(range(256)) * 1200
WITHIN = ClientWatchLimits().headers


class Late(HandlerTestCase):
    """One blob; none of it has arrived yet."""

    def setUp(self) -> None:
        super().setUp()
        self.digest = self.upstream.add_blob(DATA)

    def headers(self, within: float = WITHIN, **headers: str) -> Connection:
        """Ask for the blob; check that headers leave so many seconds later, and no sooner."""
        connection = self.ask(f"/v2/library/app/blobs/{self.digest}", **headers)
        self.clock.advance(within - 0.5)
        self.assertEqual(b"", connection.got)
        self.clock.advance(0.6)
        self.assertTrue(connection.got.startswith(b"HTTP/1.1 20"))
        self.assertTrue(connection.got.endswith(b"\r\n\r\n"))
        return connection

    def test_growing(self) -> None:
        """A download whose first byte is late, for the whole and for a part."""
        for how, body in (({}, DATA), ({"Range": "bytes=5-9"}, DATA[5:10])):
            self.setUp()
            connection = self.headers(**how)
            self.finish()
            self.assertTrue(connection.answer().body == body)

    def test_without_length(self) -> None:
        """A download whose length nobody knows."""
        self.upstream.says_size = False
        connection = self.headers()
        self.finish()
        self.assertTrue(connection.got.endswith(b"\r\n0\r\n\r\n"))

    def test_length_of_a_manifest(self) -> None:
        """A download whose length a manifest states; it has 3 s more to be settled."""
        self.upstream.says_size = False
        self.sizes._hints.put(content_key("docker.io", "library/app", self.digest), len(DATA))
        self.ask(f"/v2/library/app/blobs/{self.digest}")
        self.clock.advance(3)
        self.clock.advance(WITHIN + 0.1)
        (connection,) = self.connections
        self.assertTrue(connection.got.endswith(b"\r\n\r\n"))
        self.finish()
        self.assertTrue(connection.answer().body == DATA)

    def test_stored(self) -> None:
        """A blob in the store whose first piece is late."""
        self.get(f"blobs/{self.digest}")
        first: Deferred[None] = Deferred()
        source = StoredBlob.source

        def late(blob: StoredBlob, *place: int) -> Any:
            found = source(blob, *place)
            read = found.read

            def read_late(limit: int) -> Any:
                found.read = read  # type: ignore[method-assign]
                return first.addCallback(lambda _: read(limit))

            found.read = read_late  # type: ignore[method-assign,assignment]
            return found

        self.patch(StoredBlob, "source", late)
        connection = self.headers()
        first.callback(None)
        self.assertTrue(connection.answer().body == DATA)
