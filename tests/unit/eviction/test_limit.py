"""Room that is reserved, and made."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs, formatEvent

from oci_registry.eviction.evictor import Evicted
from oci_registry.eviction.limit import StoreLimit
from oci_registry.eviction.store_use import MARGIN, Limits
from oci_registry.spec.digest import Digest
from oci_registry.spec.sizes import parse_size
from oci_registry.storage.interfaces import Space, StoreError
from oci_registry.storage.keys import blob_key
from oci_registry.storage.room import NoRoom, Release, is_full
from tests.unit.account.support import AccountTestCase

MIB = 2**20
DIGEST = Digest.of(b"wanted")


class FakeEvictor:
    """Evicts when it is told to; `can` is how many bytes it finds."""

    def __init__(self, case: LimitTestCase) -> None:
        self.case = case
        self.needs: list[int] = []
        self.dropped: list[list[Digest]] = []
        self.waiting: Deferred[None] | None = None
        self.can = 0

    async def drop_incomplete(self, digests: list[Digest], *, with_blobs: bool) -> int:
        self.dropped.append(list(digests))
        return len(digests)

    async def free(self, need: int) -> Evicted:
        self.needs.append(need)
        if self.waiting is not None:
            await self.waiting
        freed = 0
        while freed < min(need, self.can) and self.case.stored_blobs:
            key = self.case.stored_blobs.pop(0)
            freed += self.case.size_of(key)
            await self.case.observed.delete(key)
        await self.case.account.flush()
        return Evicted(int(freed > 0), int(freed > 0), freed)


class LimitTestCase(AccountTestCase):
    """A store with a limit of 20 MiB."""

    def setUp(self) -> None:
        super().setUp()
        self.stored_blobs: list[str] = []
        self.evictor: Any = FakeEvictor(self)
        self.limited(Limits(parse_size("20MiB")))

    def limited(self, limits: Limits) -> None:
        self.limit = StoreLimit(
            self.account, self.evictor, self.observed, self.clock, self.metrics, limits
        )
        self.limit.use.other.admitted(0)

    def store(self, size: int) -> None:
        """Store a blob."""
        key = blob_key(Digest.of(b"%d" % len(self.stored_blobs)))
        self.driver.place(key, b"x" * size, sealed=True)
        self.account.changed(key)
        self.stored_blobs.append(key)
        self.successResultOf(self.account.flush())

    def size_of(self, key: str) -> int:
        return len(self.driver._objects[key][0])

    def reserve(self, size: int | None) -> Release:
        release = self.successResultOf(self.limit.reserve(DIGEST, size))
        assert release is not None
        return release

    def refused(self, size: int) -> str:
        return str(self.failureResultOf(self.limit.reserve(DIGEST, size), NoRoom).value)

    def counted(self, reason: str) -> float | None:
        name = "oci_registry_not_stored_total"
        return self.metrics.registry.get_sample_value(name, {"reason": reason})


class Reserving(LimitTestCase):
    """What a download asks."""

    def test_released(self) -> None:
        """Room is held until it is released, once, in whole blocks."""
        release = self.reserve(4097)
        self.assertEqual(self.limit.use.reserved, 8192)
        release()
        release()
        self.assertEqual(self.limit.use.reserved, 0)
        self.reserve(None)
        self.assertEqual(self.limit.use.reserved, 0)

    def test_no_more_than_the_limit(self) -> None:
        """All that is reserved and stored fits below the limit."""
        self.store(4 * MIB)
        for _ in range(3):
            self.reserve(4 * MIB)
        self.assertEqual(self.refused(4 * MIB), "the limit of the store is reached")
        self.assertEqual(self.counted("no_room"), 1)

    def test_too_large(self) -> None:
        """A blob larger than a quarter of the limit gets no room."""
        self.reserve(5 * MIB)
        self.assertIn("larger than a quarter", self.refused(5 * MIB + 1))
        self.assertEqual((self.counted("too_large"), self.evictor.needs), (1, []))

    def test_unknown(self) -> None:
        """Nothing is stored while it is not known how much is."""
        self.account._lost = True
        with capturedLogs() as events:
            self.assertIn("not yet known", self.refused(1))
            self.refused(1)
        self.assertEqual((self.counted("unknown"), len(events)), (2, 1))
        self.assertIn("not yet known how much is stored", formatEvent(events[0]))

    def test_makes_room(self) -> None:
        """If there is too little room, images are evicted, to 95 %, with a line in the log."""
        for _ in range(6):
            self.store(3 * MIB)
        self.evictor.can = 100 * MIB
        file = self.account.state.file_size if self.account.state else 0
        with capturedLogs() as events:
            self.reserve(3 * MIB)
        (need,) = self.evictor.needs
        self.assertEqual(need, 18 * MIB + file + 3 * MIB + MARGIN - 19 * MIB)
        self.assertEqual(len(self.stored_blobs), 4)
        self.assertIn("evicted 1 image and 1 blob (6.3 MB)", formatEvent(events[0]))

    def test_patience(self) -> None:
        """A download waits a second for an eviction, and is then not stored; the eviction continues."""
        for _ in range(6):
            self.store(3 * MIB)
        self.evictor.can, self.evictor.waiting = 100 * MIB, Deferred()
        first, second = self.limit.reserve(DIGEST, 3 * MIB), self.limit.reserve(DIGEST, 3 * MIB)
        self.clock.advance(0.9)
        self.assertNoResult(first)
        self.clock.advance(0.2)
        for refused in (first, second):
            self.failureResultOf(refused, NoRoom)
        self.evictor.waiting.callback(None)
        self.reserve(3 * MIB)
        self.assertEqual(len(self.evictor.needs), 1)

    def test_two_at_once(self) -> None:
        """A blob for which an eviction for another has not made enough room has one of its own."""
        for _ in range(6):
            self.store(3 * MIB)
        self.evictor.can, self.evictor.waiting = 100 * MIB, Deferred()
        first, second = self.limit.reserve(DIGEST, 2 * MIB), self.limit.reserve(DIGEST, 5 * MIB)
        self.evictor.waiting.callback(None)
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(len(self.evictor.needs), 2)

    def test_nothing_freed(self) -> None:
        """If nothing can be evicted, that is logged, and not tried again for a second."""
        for _ in range(6):
            self.store(3 * MIB)
        with capturedLogs() as events:
            self.refused(3 * MIB)
            self.refused(3 * MIB)
        self.assertEqual(len(self.evictor.needs), 1)
        self.assertIn("in use, pinned or of a registry that is offline", formatEvent(events[0]))
        self.clock.advance(1.1)
        self.refused(3 * MIB)
        self.assertEqual(len(self.evictor.needs), 2)

    def test_nothing_freed_again(self) -> None:
        """Long attempts that free nothing are rare, and all are logged once."""
        for _ in range(6):
            self.store(3 * MIB)
        with capturedLogs() as events:
            for _ in range(60):
                self.evictor.waiting = Deferred()
                refused = self.limit.reserve(DIGEST, 3 * MIB)
                self.clock.advance(0.5)
                self.evictor.waiting.callback(None)
                self.failureResultOf(refused, NoRoom)
                self.clock.advance(1.5)
        self.assertEqual((len(self.evictor.needs), len(events)), (10, 1))


class Volumes(LimitTestCase):
    """Limits that depend on the volume."""

    space: Space | None = Space(100 * MIB, 1000 * MIB)

    def setUp(self) -> None:
        super().setUp()
        self.observed.space = lambda: succeed(self.space)  # type: ignore[method-assign, assignment]

    def test_share(self) -> None:
        """A share is one of the whole volume."""
        self.limited(Limits(parse_size("10%")))
        self.reserve(25 * MIB)
        self.assertIn("larger than a quarter", self.refused(25 * MIB + 1))

    def test_free(self) -> None:
        """So much stays free, and what is reserved is not free."""
        self.limited(Limits(None, parse_size("80MiB")))
        self.reserve(15 * MIB)
        self.refused(6 * MIB)
        self.reserve(4 * MIB)

    def test_unknown(self) -> None:
        """While it is not known how much is stored, all that is on the volume counts as stored."""
        self.limited(Limits(parse_size("920MiB")))
        self.account._lost = True
        self.reserve(15 * MIB)
        self.refused(6 * MIB)
        self.limited(Limits(None, parse_size("80MiB")))
        self.reserve(15 * MIB)
        self.refused(6 * MIB)
        self.assertEqual(self.evictor.needs, [])

    def test_locked(self) -> None:
        """A daemon whose account another one has stores nothing: that one would not count it."""
        self.limited(Limits(parse_size("920MiB")))
        self.account._turn_off("another process uses it")
        self.refused(1)

    def test_full_without_account(self) -> None:
        """A full disk while the account is off, or before the volume was measured, is no error."""
        self.store(4 * MIB)
        self.limited(Limits(None, parse_size("80MiB")))
        self.limit.full()
        self.assertEqual(self.evictor.needs, [int(0.05 * self.limit.use.stored())])
        self.limited(Limits(parse_size("20MiB")))
        self.account._turn_off("disk is full")
        self.limit.full()
        self.assertEqual(len(self.evictor.needs), 1)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_unmeasured(self) -> None:
        """If the volume cannot be measured, the last measure counts."""

        def fail() -> Deferred[Space | None]:
            raise StoreError("I/O error")

        self.limited(Limits(parse_size("10%"), parse_size("80MiB")))
        self.reserve(1)
        self.observed.space = fail  # type: ignore[method-assign]
        self.refused(21 * MIB)


class Watching(LimitTestCase):
    """What happens without a download."""

    def test_ahead(self) -> None:
        """Above 98 % images are evicted before there is need."""
        self.limit.start()
        self.evictor.can = 100 * MIB
        for _ in range(6):
            self.store(3 * MIB)
        self.wait(3)
        self.assertEqual(len(self.evictor.needs), 0)
        self.store(MIB)
        self.wait(3)
        self.assertEqual((len(self.evictor.needs), len(self.stored_blobs)), (1, 6))
        self.successResultOf(Deferred.fromCoroutine(self.limit.stop()))

    def test_incomplete(self) -> None:
        """Images whose blobs had no room are dropped, for as long as their manifests may be recorded."""
        self.limit.start()
        for _ in range(6):
            self.store(3 * MIB)
        self.refused(3 * MIB)
        self.wait(3)
        self.assertEqual(self.evictor.dropped, [[DIGEST]])
        self.wait(60)
        seen = len(self.evictor.dropped)
        self.wait(60)
        self.assertEqual(len(self.evictor.dropped), seen)
        self.successResultOf(Deferred.fromCoroutine(self.limit.stop()))

    def test_incomplete_at_the_end(self) -> None:
        """They are also dropped when the daemon stops: the next one does not know of them."""
        self.limit.start()
        for _ in range(6):
            self.store(3 * MIB)
        self.refused(3 * MIB)
        self.successResultOf(Deferred.fromCoroutine(self.limit.stop()))
        self.assertEqual(self.evictor.dropped, [[DIGEST]])

    def test_full(self) -> None:
        """If the disk is full, a twentieth of what is stored is evicted."""
        for _ in range(4):
            self.store(3 * MIB)
        self.evictor.can = 100 * MIB
        self.limit.full()
        self.assertEqual(len(self.stored_blobs), 3)
        error = StoreError("No space left on device")
        self.assertFalse(is_full(error))
        error.__cause__ = OSError(28, "No space left on device")
        self.assertTrue(is_full(error))
