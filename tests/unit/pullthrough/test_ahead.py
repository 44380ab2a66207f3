"""Downloads that no client has asked for: into a store that is slow or fails, and beside those of clients."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel

from oci_registry.pullthrough.background import MOST_WAITING, Reserved
from oci_registry.pullthrough.transfer import TransferLimits
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway, BlobUnknown, TooManyRequests
from oci_registry.spec.reference import Tag
from oci_registry.storage.drivers.memory import _MemoryWriter
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.room import NoRoom, Release, Unlimited
from oci_registry.upstream.interfaces import BUSY, FREE, Capacity, Spare
from oci_registry.upstream.table import Target
from tests.support.fake_upstream import FakeUpstream, fake_settings
from tests.support.reports import Lines
from tests.unit.pullthrough.warm_case import WarmTestCase

DATA = bytes(range(256)) * 1000


class NeverRoom(Unlimited):
    """A store without any room."""

    async def _refuse(self) -> Release | None:
        raise NoRoom("the limit of the store is reached")

    def reserve(self, digest: Digest, size: int | None, namespace: str) -> Deferred[Release | None]:
        return Deferred.fromCoroutine(self._refuse())


class Ahead(WarmTestCase):
    """BlobCache.download."""

    def setUp(self) -> None:
        super().setUp()
        self.lines = Lines(self)
        self.digest = self.upstream.add_blob(DATA)

    def download(self, target: Target | None = None) -> Deferred[str | None]:
        return self.start(self.blobs.download(target or self.target, self.digest, len(DATA)))

    def test_stored(self) -> None:
        """It is stored without a reader, and the log says that there was no client."""
        self.assertIsNone(self.successResultOf(self.download()))
        self.assertTrue(self.blob_stored(DATA))
        self.assertIn("no client yet", self.lines.of(LogLevel.info)[-1])

    def test_cancelled(self) -> None:
        """It continues when it is cancelled."""
        self.upstream.manual = True
        waiting = self.download()
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        self.upstream.bodies[0].send(DATA)
        self.upstream.bodies[0].end()
        self.assertTrue(self.blob_stored(DATA))

    def test_client_joins(self) -> None:
        """A client that joins is counted, and gets the bytes."""
        self.upstream.manual = True
        waiting = self.download()
        reading = self.read(self.now(self.transfers.join(self.target, self.digest, None)))
        self.upstream.bodies[0].send(DATA)
        self.upstream.bodies[0].end()
        self.assertEqual(DATA, self.successResultOf(reading))
        self.assertIsNone(self.successResultOf(waiting))

    def test_fails(self) -> None:
        """It fails with the error of its upstream."""
        del self.upstream.blobs[str(self.digest)]
        self.failureResultOf(self.download(), BlobUnknown)

    def test_other_upstream_fails(self) -> None:
        """If it has joined a download of another upstream that fails, it begins its own."""
        other = FakeUpstream(fake_settings("other.example"), manual=True)
        other.add_blob(DATA)
        self.start(self.transfers.join(Target(other, "app"), self.digest, None))
        waiting = self.download()
        self.assertNoResult(waiting)
        other.bodies[0].end(BadGateway("it broke"))
        self.clock.advance(1)
        self.assertIsNone(self.successResultOf(waiting))
        self.assertEqual(1, len(self.upstream.asked))

    def test_slow_commit(self) -> None:
        """It waits until a slow disk has the blob."""
        gate: Deferred[None] = Deferred()
        really = _MemoryWriter.commit

        def slowly(writer: _MemoryWriter) -> Deferred[None]:
            return gate.addCallback(lambda _: really(writer))

        self.patch(_MemoryWriter, "commit", slowly)
        waiting = self.download()
        self.assertNoResult(waiting)
        gate.callback(None)
        self.assertIsNone(self.successResultOf(waiting))

    def test_not_stored(self) -> None:
        """If the store fails, or has no room, the reason is returned, and nothing is read for nobody."""

        async def fail(*_: object) -> None:
            raise StoreError("the disk is broken")

        self.patch(self.blob_store, "create", fail)
        self.assertEqual("the disk is broken", self.successResultOf(self.download()))
        self.restart()
        self.transfers._downloader.room = NeverRoom()
        self.assertEqual("the limit of the store is reached", self.successResultOf(self.download()))
        self.image("1", b"one")
        warming = self.warm(":1")
        self.assertIn("the limit of the store is reached", warming.images[0].problems[0])

    def test_has_room(self) -> None:
        """As many downloads are left to clients as one registry has; half of those that they have named."""
        self.limit(TransferLimits(most=4, named=2))
        named = Target(
            FakeUpstream(fake_settings("named.example", configured=False), manual=True), "app"
        )
        self.assertTrue(self.blobs.has_room(self.target) and self.blobs.has_room(named))
        self.start(self.blobs.download(named, Digest.of(b"1"), None)).addErrback(lambda _: None)
        named.upstream.blobs[str(Digest.of(b"2"))] = b"2"  # type: ignore[attr-defined]
        self.start(self.blobs.download(named, Digest.of(b"2"), None))
        self.assertEqual(
            (True, False), (self.blobs.has_room(self.target), self.blobs.has_room(named))
        )
        self.upstream.manual = True
        self.download()
        self.assertTrue(self.blobs.has_room(self.target))
        self.start(self.blobs.download(self.target, self.upstream.add_blob(b"3"), None))
        self.assertFalse(self.blobs.has_room(self.target))


class Turns(WarmTestCase):
    """Background."""

    def setUp(self) -> None:
        super().setUp()
        self.digest = self.upstream.add_blob(DATA)

    def test_patience(self) -> None:
        """A client that asks for the lowest urgency waits for a while, then it is told to come back."""
        self.upstream.capacity = BUSY
        turn = self.start(self.background.turn(self.target, self.digest, patience=1.0))
        manifest = self.start(self.background.manifest(self.target, Tag("1"), 1.0))
        self.clock.pump([0.25] * 3)
        self.assertNoResult(turn)
        self.clock.pump([0.25] * 2)
        for refused in (turn, manifest):
            error = self.failureResultOf(refused, TooManyRequests).value
            self.assertEqual({"Retry-After": "5"}, error.headers)

    def test_bounded(self) -> None:
        """Only so many clients may wait, and those of one upstream leave a quarter to the others."""
        self.upstream.capacity = BUSY
        turns = [
            self.start(self.background.turn(self.target, self.digest, patience=60.0))
            for _ in range(MOST_WAITING * 3 // 4)
        ]
        one_more = self.start(self.background.turn(self.target, self.digest, patience=60.0))
        self.failureResultOf(one_more, TooManyRequests)
        other = FakeUpstream(fake_settings("other.example"))
        other.capacity = BUSY
        another = self.start(
            self.background.turn(Target(other, "app"), Digest.of(b"another"), patience=60.0)
        )
        self.assertNoResult(another)
        other.capacity = FREE
        self.upstream.capacity = FREE
        self.clock.advance(0.25)
        self.assertFalse(self.successResultOf(turns[0]))
        self.assertFalse(self.successResultOf(another))
        self.assertEqual({}, dict(self.background._waiting))

    def test_reserved(self) -> None:
        """The reserve is refused, with the reason and a time to come back."""
        self.upstream.capacity = Spare(Capacity.RESERVED, "25 of 100 are left")
        refused = self.start(self.background.turn(self.target, self.digest))
        error = self.failureResultOf(refused, Reserved).value
        self.assertEqual(("25 of 100 are left", 503), (str(error), error.status))
        self.assertIn("Retry-After", error.headers)
