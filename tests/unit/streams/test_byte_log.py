"""Which bytes of a blob there are, and where."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest
from oci_registry.streams.byte_log import ByteLog
from oci_registry.streams.limits import GrowingLimits
from oci_registry.streams.recorder import Recorder
from tests.support.streams import FakeFile

DATA = bytes(n % 251 for n in range(150))
LIMITS = GrowingLimits(tail=5, batch=8, window=16, high_water=24, unstored_window=32)


class Bytes(SynchronousTestCase):
    """The log of a blob of 150 bytes, whose batches are recorded at once."""

    def begin(self, size: int | None = len(DATA), *, stored: bool = True) -> ByteLog:
        self.file = FakeFile() if stored else None
        self.recorder = Recorder(Digest.of(DATA), self.file, None)
        self.log = ByteLog(size, self.file, LIMITS)
        return self.log

    def add(self, count: int) -> None:
        """Let the next bytes arrive and be hashed."""
        start = self.log.received
        data = self.log.receive(DATA[start : start + count])
        if data:
            self.log.add(self.recorder.record([data]))

    def take(self, position: int, limit: int) -> bytes | None:
        data = self.log.take(position, limit)
        return self.successResultOf(data) if isinstance(data, Deferred) else data

    def test_beyond_the_length(self) -> None:
        """Bytes beyond the announced length are counted, and cut off."""
        log = self.begin(10)
        self.assertEqual(b"12345678", log.receive(b"12345678"))
        self.assertEqual(b"90", log.receive(b"90more"))
        self.assertEqual(b"", log.receive(b"more"))
        self.assertEqual(18, log.received)

    def test_visible(self) -> None:
        """The tail is visible when the bytes are verified, and nothing when they are wrong."""
        log = self.begin()
        self.add(148)
        self.assertEqual((145, 145), (log.visible_to(None), log.visible_to(20)))
        self.add(2)
        log.wrong = ValueError("another digest")
        self.assertEqual(0, log.visible_to(None))
        log.verify()
        self.assertEqual((150, 150), (log.visible_to(None), log.size))

    def test_visible_without_a_length(self) -> None:
        """Without an announced length, the tail is that of what is there, or of what a client expects."""
        log = self.begin(None)
        self.add(100)
        self.assertEqual((95, 35, 0), (log.visible_to(None), log.visible_to(40), log.visible_to(3)))

    def test_marks(self) -> None:
        """What waits are bytes to be hashed, and bytes for followers where nothing is stored."""
        log = self.begin()
        self.add(20)
        log.receive(DATA[20:30])
        self.assertEqual((10, 24), (log.waiting, log.most_waiting))
        log.store_error = OSError("disk full")
        self.assertEqual((30, 32), (log.waiting, log.most_waiting))

    def test_lost_file(self) -> None:
        """Without the file, only what is in memory can be read."""
        log = self.begin()
        for _ in range(10):
            self.add(8)
            log.shrink(read=True)
        self.assertEqual((64, DATA[:8]), (log.start, self.take(0, 8)))
        log.lose_file()
        self.assertEqual((None, DATA[64:72]), (self.take(0, 8), self.take(64, 8)))

    def test_unread(self) -> None:
        """What nobody reads is not kept in memory, and can be sent from the file, as far as that goes."""
        log = self.begin()
        assert self.file is not None
        self.file.sockets = {3: bytearray()}
        self.add(20)
        log.shrink(read=False)
        self.assertEqual((20, True, True), (log.start, log.can_follow(0), log.can_send(19)))
        log.store_error, self.recorder.storing = OSError("disk full"), False
        self.add(20)
        self.assertEqual((20, True, False), (log.start, log.can_send(0), log.can_send(20)))
        self.assertEqual((15, 0), (log.send_now(3, 5, 30), log.send_now(3, 20, 30)))
        self.assertEqual(DATA[5:20], self.file.sockets[3])
        log.lose_file()
        self.assertEqual((False, 0), (log.can_send(0), log.send_now(3, 0, 30)))

    def test_closed(self) -> None:
        """When it is closed nothing is kept, and the file is closed."""
        log = self.begin()
        self.add(50)
        log.close()
        log.close()
        assert self.file is not None
        self.assertEqual((True, 50), (self.file.closed, log.start))

    @given(
        st.lists(st.integers(1, 20), max_size=20),
        st.booleans(),
        st.one_of(st.none(), st.integers(0, 150)),
        st.integers(0, 150),
        st.integers(1, 30),
    )
    def test_no_hole(
        self, counts: list[int], stored: bool, fails_at: int | None, position: int, limit: int
    ) -> None:
        """Where a reader may begin, it finds the right bytes up to the end."""
        log = self.begin(stored=stored)
        for count in counts:
            if fails_at is not None and log.received >= fails_at and log.storing:
                log.store_error, self.recorder.storing = OSError("disk full"), False
            self.add(count)
            if log.storing:
                log.shrink(read=True)
            else:
                log.drop_before(log.digested - 16)
        if not log.can_follow(position):
            return
        if log.received == len(DATA):
            log.verify()
        got = b""
        while position + len(got) < log.visible_to(None):
            data = self.take(position + len(got), limit)
            assert data
            got += data
        self.assertEqual(DATA[position : max(position, log.visible_to(None))], got)
