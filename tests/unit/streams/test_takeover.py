"""Readers who continue with a second download of their blob."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest
from oci_registry.streams.byte_log import ByteLog
from oci_registry.streams.follower import Follower, TransferFailed
from oci_registry.streams.growing import GrowingBlob
from oci_registry.streams.readers import Readers
from oci_registry.streams.takeover import Takeover
from tests.support.streams import LIMITS, FakeFile, run_at_once

DATA = bytes(n % 251 for n in range(100))


class Readings(SynchronousTestCase):
    """Readers that have had 30 and 60 bytes of a first download, and one that has received nothing."""

    def setUp(self) -> None:
        clock = Clock()
        self.file = FakeFile()
        self.file.append(DATA)
        self.earlier = ByteLog(None, self.file, LIMITS)
        self.earlier.stored = len(DATA)
        blob = GrowingBlob(Digest.of(DATA), None, None, run_at_once, clock)
        self.readers = Readers(clock, LIMITS.stall)
        self.followers = [Follower(blob, 0) for _ in range(3)]
        for follower, position in zip(self.followers, (30, 60, 0), strict=True):
            follower.position = position
            self.readers.add(follower)
        self.released = 0

    def begin(self) -> Takeover:
        def release() -> None:
            self.released += 1

        return Takeover(Digest.of(DATA), self.readers, self.earlier, release)

    def compare(self, takeover: Takeover, position: int, data: bytes) -> None:
        self.successResultOf(Deferred.fromCoroutine(takeover.compare(position, data)))

    def failed(self) -> list[bool]:
        """Tell for each reader whether it has failed."""
        return [isinstance(follower._error, TransferFailed) for follower in self.followers]

    def test_same(self) -> None:
        """If the bytes are the same, nobody fails, and the first file is released when all are compared."""
        takeover = self.begin()
        self.compare(takeover, 0, DATA[:50])
        self.assertEqual(0, self.released)
        self.compare(takeover, 50, DATA[50:])
        takeover.close()
        self.assertEqual(([False, False, False], 1), (self.failed(), self.released))

    def test_difference(self) -> None:
        """A reader that has received the first other byte fails, one that has not continues."""
        takeover = self.begin()
        self.compare(takeover, 0, DATA[:40] + b"\xff" + DATA[41:])
        self.assertEqual(([False, True, False], 1), (self.failed(), self.released))

    def test_not_stored(self) -> None:
        """A reader that has received bytes which are not in the first file fails: nobody can compare them."""
        self.earlier.stored = 50
        self.begin()
        self.assertEqual(([False, True, False], 0), (self.failed(), self.released))

    def test_no_file(self) -> None:
        """Where nothing was stored, only a reader that has received nothing continues."""
        self.earlier.file, self.earlier.stored = None, 0
        takeover = self.begin()
        self.compare(takeover, 0, DATA)
        self.assertEqual(([True, True, False], 1), (self.failed(), self.released))

    def test_shorter(self) -> None:
        """A reader that has received more than there is in the second download fails."""
        takeover = self.begin()
        takeover.fail_beyond(40)
        takeover.close()
        self.assertEqual(([False, True, False], 1), (self.failed(), self.released))
