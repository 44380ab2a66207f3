"""Readers who lose their place while the store fails, and where they continue."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail

from oci_registry.pullthrough.transfer import TransferLimits
from oci_registry.spec.digest import Digest, Prefix
from oci_registry.spec.errors import TooManyRequests
from oci_registry.spec.ranges import RequestedRange
from oci_registry.storage.drivers.memory import _MemoryWriter
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import blob_key
from oci_registry.streams.follower import TransferFailed
from oci_registry.streams.growing import GrowingBlob
from oci_registry.streams.limits import GrowingLimits
from tests.support.streams import Reader
from tests.unit.pullthrough.test_blobs import DATA, BlobTestCase
from tests.unit.pullthrough.test_transfers import TransferTestCase


class Fallbacks(BlobTestCase):
    """Readers of a transfer whose store fails."""

    transfer_limits = TransferLimits(growing=GrowingLimits(window=1000, tail=1000, batch=1000))

    def setUp(self) -> None:
        super().setUp()
        self.reads = 0

    def broken_reads(self) -> None:
        """Let what is growing not be readable any more."""

        def read(_: object, offset: int, length: int) -> Deferred[bytes]:
            self.reads += 1
            return fail(StoreError("bad sector"))

        self.patch(_MemoryWriter, "read", read)

    def send(self, number: int, data: bytes) -> None:
        self.upstream.bodies[number].send(data)
        self.clock.advance(1)

    def test_file_cannot_be_read(self) -> None:
        """A client that needs a file that cannot be read gets the rest from another download, once."""
        fast, slow = self.open().source(0, len(DATA)), self.open().source(0, len(DATA))
        reader, late = Reader(fast), Reader(slow, 1000)
        late.read()
        self.send(0, DATA[:100])
        reader.read()
        late.read(1)
        self.send(0, DATA[100:200_000])
        reader.read()
        self.broken_reads()
        late.read()
        self.assertEqual((2, 1), (len(self.upstream.asked), self.reads))
        self.assertEqual(1, self.counted("oci_registry_store_failing", doing="read"))
        for number in (0, 1):
            body = self.upstream.bodies[number]
            body.send(DATA if number else DATA[200_000:])
            for _ in range(400):
                self.clock.advance(1)
                reader.read()
                late.read()
            body.end()
        for one in (reader, late):
            one.read()
            self.assertIsNone(one.error)
            self.assertTrue(one.got == DATA)
        self.assertEqual(set(), self.stored())

    def test_bytes_of_two_downloads(self) -> None:
        """Bytes of two downloads never make a whole that is not the blob."""
        wrong = bytes([DATA[0] ^ 1]) + DATA[1:]
        reader = Reader(self.open().source(0, len(DATA)), 1000)
        reader.read()
        self.send(0, wrong[:150_000])
        reader.read(1)
        self.broken_reads()
        reader.read()
        body = self.upstream.bodies[1]
        body.send(DATA)
        for _ in range(400):
            self.clock.advance(1)
            reader.read()
        self.assertIsInstance(reader.error, TransferFailed)
        self.assertLess(len(reader.got), len(DATA))
        self.assertTrue(body.stopped)

    def test_range(self) -> None:
        """A range falls back like the whole."""
        stop = 150_000
        reader = Reader(self.open().source(5000, stop), 1000)
        reader.read()
        self.send(0, DATA[:100_000])
        reader.read(1)
        self.broken_reads()
        reader.read()
        self.send(1, DATA)
        for _ in range(400):
            reader.read()
            self.clock.advance(1)
        self.assertTrue(reader.got.startswith(DATA[5000:stop]))
        reader.source.close()
        self.assertTrue(self.upstream.bodies[1].stopped)

    def test_no_place_for_newcomers(self) -> None:
        """A client that comes when a blob that cannot be stored is past its first bytes starts a transfer."""
        self.driver.broken = "disk full"
        reader = Reader(self.open().source(0, len(DATA)))
        reader.read()
        self.send(0, DATA[:100_000])
        reader.read()
        self.driver.broken = None
        late = Reader(self.open().source(0, len(DATA)))
        beyond = Reader(self.open().source(200_000, len(DATA)))
        late.read()
        beyond.read()
        self.assertEqual(2, len(self.upstream.asked))
        for number in (0, 1):
            self.send(number, DATA if number else DATA[100_000:])
            reader.read()
            self.upstream.bodies[number].end()
        for one, start in ((reader, 0), (late, 0), (beyond, 200_000)):
            one.read()
            self.assertIsNone(one.error)
            self.assertTrue(one.got == DATA[start:])
        self.assertEqual({blob_key(self.digest)}, self.stored())

    def test_range_of_a_download_that_continues_unstored(self) -> None:
        """A client that comes for bytes that are still to come joins, though the first ones are gone."""
        self.driver.broken = "disk full"
        reader = Reader(self.open().source(0, len(DATA)))
        reader.read()
        self.send(0, DATA[:100_000])
        reader.read()
        opening = self.start(self.blobs.open(self.target, self.digest, 0, RequestedRange(250_000)))
        beyond = Reader(self.successResultOf(opening).source(250_000, len(DATA)))
        beyond.read()
        self.assertEqual(1, len(self.upstream.asked))
        self.driver.broken = None
        self.send(0, DATA[100_000:])
        for _ in range(400):
            reader.read()
            beyond.read()
        self.upstream.bodies[0].end()
        reader.read()
        beyond.read()
        self.assertTrue(beyond.got == DATA[250_000:])


class Private(TransferTestCase):
    """A transfer for one reader that has lost its place in another one."""

    def begin_private(self, had: Prefix | None = None) -> GrowingBlob:
        begun = self.start(self.transfers.private(self.target, self.digest, len(DATA), had))
        return self.successResultOf(begun)

    def test_beside(self) -> None:
        """It is another download, not stored, which nobody joins."""
        joined = self.joined()
        blob = self.begin_private()
        self.assertIsNot(joined, blob)
        self.assertIs(joined, self.joined())
        self.assertEqual(2, self.counted("oci_registry_transfers_in_flight"))
        reading = self.read(blob)
        self.upstream.bodies[1].send(DATA)
        self.upstream.bodies[1].end()
        self.assertEqual(DATA, self.successResultOf(reading))
        self.assertEqual(set(), self.stored())
        self.assertIn(self.digest, self.transfers)
        self.assertEqual(1, self.counted("oci_registry_transfers_in_flight"))

    def test_other_bytes(self) -> None:
        """It fails if the reader has received other bytes."""
        reading = self.read(self.begin_private(Prefix(1000, Digest.of(bytes(1000)))))
        self.finish()
        self.failureResultOf(reading, TransferFailed)
        self.nothing_left()

    def test_other_length(self) -> None:
        """A host that announces another length than the reader was told is passed over."""
        self.upstream.hosts = ("a", "b")
        self.upstream.wrong = {"a": b"login page"}
        reading = self.read(self.begin_private())
        self.upstream.bodies[1].send(DATA)
        self.upstream.bodies[1].end()
        self.assertEqual(DATA, self.successResultOf(reading))

    def test_reader_leaves(self) -> None:
        """When the reader leaves it ends, and that is not counted as an error."""
        follower = self.begin_private().follow()
        self.upstream.bodies[0].send(DATA[:1000])
        follower.close()
        self.assertTrue(self.upstream.bodies[0].stopped)
        self.nothing_left()
        self.assertEqual(0, self.counted("oci_registry_errors_total", kind="transfer"))

    def test_limits(self) -> None:
        """It counts among all downloads, and ends with the daemon."""
        self.limit(TransferLimits(most=1))
        reading = self.read(self.begin_private())
        another = self.start(self.transfers.private(self.target, self.digest, None, None))
        self.failureResultOf(another, TooManyRequests)
        self.now(self.transfers.stop())
        self.failureResultOf(reading, TransferFailed)
        another = self.start(self.transfers.private(self.target, self.digest, None, None))
        self.failureResultOf(another, TransferFailed)
        self.nothing_left()
