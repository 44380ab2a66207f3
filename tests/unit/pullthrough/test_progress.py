"""Downloads in the log: how they end, and how far they are."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel

from oci_registry.pullthrough.blobs import OpenBlob
from oci_registry.pullthrough.progress import DownloadLog, ProgressLimits
from oci_registry.pullthrough.transfer import Transfer, Wanted
from oci_registry.repeats import INTERVAL
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway, BlobUnknown, Denied, RegistryError
from oci_registry.upstream.table import Target
from tests.support.fake_upstream import FakeBody
from tests.support.reports import Lines
from tests.unit.pullthrough.support import CacheTestCase

DATA = bytes(range(256)) * 5000
HALF = len(DATA) // 2


class DownloadCase(CacheTestCase):
    """An upstream with one blob of 1.3 MB; `reporting` is the clock of the log."""

    def setUp(self) -> None:
        super().setUp()
        self.lines = Lines(self)
        self.digest = self.upstream.add_blob(DATA)
        self.upstream.manual = True
        self.what = f"{self.digest} from example.com/library/app"

    def begin(self, digest: Digest | None = None) -> Deferred[OpenBlob]:
        """A client asks for the blob."""
        return self.start(self.blobs.open(self.target, digest or self.digest, 0))

    def body(self, data: bytes = b"") -> FakeBody:
        """Return the latest body, of which some is sent."""
        body = self.upstream.bodies[-1]
        body.send(data)
        return body

    @property
    def infos(self) -> list[str]:
        return self.lines.of(LogLevel.info)


class Ends(DownloadCase):
    """One line for each."""

    def test_stored(self) -> None:
        """A blob that is stored is logged with size, source, time and clients."""
        for _ in range(2):
            self.begin()
        self.reporting.advance(9.1)
        self.body(DATA).end()
        expected = f"stored {self.digest} 1.3 MB from example.com/library/app in 9.1 s, 2 clients"
        self.assertEqual([expected], self.infos)
        self.assertEqual([], self.reporting.getDelayedCalls())

    def test_one_client(self) -> None:
        """A HEAD is no client, nor is one served from the store."""
        self.begin()
        self.now(self.blobs.size(self.target, self.digest))
        self.body(DATA).end()
        self.successResultOf(self.begin()).close()
        (line,) = self.infos
        self.assertTrue(line.endswith("in 0.0 s, 1 client"), line)

    def test_not_stored(self) -> None:
        """One that cannot be stored is logged with the reason, wherever the store fails."""
        for number, before in enumerate((b"", DATA[:HALF], DATA)):
            with self.subTest(number):
                self.setUp()
                if not before:
                    self.driver.broken = "no space left on device"
                blob = self.successResultOf(self.begin())
                source = blob.source(0, None)
                self.body(before)
                self.clock.advance(1)
                self.driver.broken = "no space left on device"
                self.body(DATA[len(before) :]).end()
                (line,) = [line for line in self.infos if line.startswith("served")]
                self.assertTrue(line.startswith(f"served {self.digest} 1.3 MB from"), line)
                self.assertIn("1 client (not stored: ", line)
                self.assertIn("no space left on device", line)
                source.close()

    def test_failed(self) -> None:
        """One that fails is a warning with the reason, and how much had come."""
        self.begin()
        self.reporting.advance(3)
        self.body(DATA[:HALF]).end(BadGateway("it broke"))
        self.assertEqual(
            [f"failed: {self.what} after 640 kB in 3.0 s: it broke"], self.lines.warnings
        )

    def test_wrong_bytes(self) -> None:
        """Wrong bytes are a warning that names the host, and a download that then succeeds one line."""
        self.upstream.hosts = ("a.example", "b.example")
        self.begin()
        self.body(DATA[:-1] + b"x").end()
        self.body(DATA).end()
        (line,) = self.lines.warnings
        said = f"wrong bytes: {self.what}, sent by a.example: the bytes that upstream sent have"
        self.assertTrue(line.startswith(said), line)
        self.assertEqual(1, len([line for line in self.infos if line.startswith("stored")]))

    def test_not_begun(self) -> None:
        """Where upstream does not begin to send anything, blobs that fail alike are counted."""
        others = [self.upstream.add_blob(bytes([n])) for n in range(3)]
        self.upstream.error = BadGateway("it is down")
        for digest in (self.digest, *others):
            self.failureResultOf(self.begin(digest), BadGateway)
        self.assertEqual([f"failed: {self.what} in 0.0 s: it is down"], self.lines.warnings)
        self.reporting.advance(INTERVAL)
        self.assertTrue(self.lines.warnings[1].endswith("it is down (3 more in the last minute)"))

    def test_answers(self) -> None:
        """A blob that is not there is no failure, and is logged at level debug."""
        answers = ((BlobUnknown("it has none"), LogLevel.debug), (Denied("no"), LogLevel.info))
        error: RegistryError
        for error, level in answers:
            self.lines.clear()
            self.upstream.error = error
            self.failureResultOf(self.begin(), type(error))
            self.assertEqual([], self.lines.warnings)
            expected = f"not downloaded: {self.what}: {error}"
            self.assertEqual([expected], self.lines.of(level))


class Progress(DownloadCase):
    """Downloads that take long."""

    def test_lines(self) -> None:
        """The first line comes after 10 s, the next every 30 s: bytes, share and rate."""
        self.begin()
        self.body(DATA[:HALF])
        self.reporting.advance(9)
        self.assertEqual([], self.infos)
        self.reporting.advance(1)
        expected = f"downloading {self.what}: 640 kB of 1.3 MB (50 %), 64 kB/s"
        self.assertEqual([expected], self.infos)
        self.body(DATA[HALF : HALF + 320_000])
        for _ in range(4):
            self.reporting.advance(10)
        expected = f"downloading {self.what}: 960 kB of 1.3 MB (75 %), 11 kB/s"
        self.assertEqual([expected], self.infos[1:])
        self.body(DATA[HALF + 320_000 :]).end()
        self.assertEqual([], self.reporting.getDelayedCalls())

    def test_not_begun(self) -> None:
        """A registry that does not answer is named."""
        self.upstream.holding = True
        asked = self.begin()
        self.reporting.advance(10)
        self.assertEqual(
            [f"downloading {self.what}: the registry has not sent anything yet"], self.infos
        )
        self.upstream.release()
        self.successResultOf(asked)
        self.body(DATA).end()

    def test_size_unknown(self) -> None:
        """Without an announced size there is no share."""
        self.upstream.says_size = False
        self.begin()
        self.body(DATA[:HALF])
        self.reporting.advance(10)
        self.assertEqual([f"downloading {self.what}: 640 kB, 64 kB/s"], self.infos)
        self.body(DATA[HALF:]).end()

    def test_many(self) -> None:
        """Of many downloads there is one line each 30 s, about all of them."""
        log = DownloadLog(self.reporting, self.repeats, ProgressLimits(most=10))
        transfers = [
            Transfer(Wanted(Target(self.upstream, "a/b"), Digest.of(bytes([n % 256, n // 256])), 9))
            for n in range(500)
        ]
        for transfer in transfers:
            log.begin(transfer)
        for _ in range(30):
            self.reporting.advance(10)
        self.assertEqual(10, len(self.infos))
        self.assertEqual(
            {"500 downloads take longer than 10 s: 0 B so far, 0 B/s together"}, set(self.infos)
        )
        for transfer in transfers:
            log.end(transfer)
        self.assertEqual([], self.reporting.getDelayedCalls())


class Bytes(DownloadCase):
    """Bytes from upstream."""

    def received(self) -> float:
        return self.counted("oci_registry_upstream_bytes_total", namespace="example.com")

    def test_while_they_flow(self) -> None:
        """Bytes are counted when they arrive, and not when the download ends."""
        self.begin()
        self.body(DATA[:HALF])
        self.assertEqual(HALF, self.received())
        self.body(DATA[HALF:]).end()
        self.assertEqual(len(DATA), self.received())
