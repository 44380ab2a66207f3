"""Transfers: one download per digest, whoever asks, with all of the blob or nothing in the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from oci_registry.pullthrough.transfer import TransferLimits
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import (
    BadGateway,
    BlobUnknown,
    InternalError,
    TooManyRequests,
)
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import blob_key
from oci_registry.streams.follower import TransferFailed
from oci_registry.streams.growing import GrowingBlob
from oci_registry.upstream.errors import LocalFailure
from oci_registry.upstream.table import Target
from tests.support.fake_upstream import FakeUpstream, fake_settings
from tests.support.streams import LIMITS
from tests.unit.pullthrough.support import CacheTestCase

DATA = bytes(range(256)) * 1200


class TransferTestCase(CacheTestCase):
    """An upstream with one blob, sent as the test says."""

    def setUp(self) -> None:
        super().setUp()
        self.digest = self.upstream.add_blob(DATA)
        self.key = blob_key(self.digest)
        self.upstream.manual = True

    def join(
        self, target: Target | None = None, digest: Digest | None = None, size: int | None = None
    ) -> Deferred[GrowingBlob]:
        joined = self.transfers.join(target or self.target, digest or self.digest, size)
        return self.start(joined)

    def joined(self, *args: Any) -> GrowingBlob:
        return self.successResultOf(self.join(*args))

    def finish(self, data: bytes = DATA) -> None:
        """Let the first body be sent whole."""
        self.upstream.bodies[0].send(data)
        self.upstream.bodies[0].end()

    def nothing_left(self) -> None:
        """Nothing is under way and nothing stored."""
        self.assertNotIn(self.digest, self.transfers)
        self.assertEqual(set(), self.stored())
        self.assertEqual(0, self.counted("oci_registry_transfers_in_flight"))
        self.assertEqual([], self.clock.getDelayedCalls())


class Good(TransferTestCase):
    """Transfers in which nothing fails."""

    def test_committed(self) -> None:
        """What has arrived and is right is given out, stored, and counted."""
        reading = self.read(self.joined())
        self.assertEqual(1, self.counted("oci_registry_transfers_in_flight"))
        self.assertIn(self.digest, self.transfers)
        self.finish()
        self.assertEqual(DATA, self.successResultOf(reading))
        self.assertEqual({self.key}, self.stored())
        self.assertNotIn(self.digest, self.transfers)
        self.assertEqual(0, self.counted("oci_registry_transfers_in_flight"))
        counted = self.counted("oci_registry_upstream_bytes_total", namespace="example.com")
        self.assertEqual(len(DATA), counted)

    def test_one_per_digest(self) -> None:
        """A client that comes while upstream is being asked, or sends, joins the one download."""
        self.upstream.holding = True
        early = [self.join() for _ in range(5)]
        self.upstream.release()
        blobs = [self.successResultOf(one) for one in early]
        self.upstream.bodies[0].send(DATA[:100_000])
        blobs.append(self.joined())
        reading = [self.read(blob) for blob in blobs]
        self.upstream.bodies[0].send(DATA[100_000:])
        self.upstream.bodies[0].end()
        self.assertEqual({DATA}, {self.successResultOf(one) for one in reading})
        self.assertEqual(1, len(self.upstream.asked))

    def test_several_digests(self) -> None:
        """Different blobs do not wait for each other."""
        other = self.upstream.add_blob(b"other")
        self.joined()
        reading = self.read(self.joined(self.target, other))
        self.upstream.bodies[1].send(b"other")
        self.upstream.bodies[1].end()
        self.assertEqual(b"other", self.successResultOf(reading))
        self.assertEqual({blob_key(other)}, self.stored())

    def test_everybody_leaves(self) -> None:
        """Clients that leave stop nothing: the blob is stored nevertheless."""
        reading = self.read(self.joined())
        self.upstream.bodies[0].send(DATA[:100_000])
        reading.cancel()
        self.failureResultOf(reading)
        self.finish(DATA[100_000:])
        self.assertEqual({self.key}, self.stored())

    def test_who_leaves_before_the_headers(self) -> None:
        """A client that leaves while upstream is being asked does not take the others along."""
        self.upstream.holding = True
        first, second = self.join(), self.join()
        first.cancel()
        self.failureResultOf(first)
        self.upstream.release()
        self.assertIs(self.digest, self.successResultOf(second).digest)
        self.finish()
        self.assertEqual({self.key}, self.stored())

    def test_joined_until_it_is_stored(self) -> None:
        """A transfer can be joined while the verified blob is on its way to the disk."""
        committing: Deferred[None] = Deferred()
        self.on_commit(lambda: committing)
        self.joined()
        self.finish()
        self.assertIsNotNone(self.transfers.running(self.target, self.digest))
        late = self.read(self.joined())
        self.assertEqual(DATA, self.successResultOf(late))
        committing.callback(None)
        self.assertIsNone(self.transfers.running(self.target, self.digest))
        self.assertEqual(1, len(self.upstream.asked))

    def on_commit(self, commit: Callable[[], Deferred[None]]) -> None:
        """Have the store commit like this."""
        create = self.blob_store.create

        async def created(digest: Digest, size: int | None) -> Any:
            writer: Any = await create(digest)
            self.patch(type(writer), "commit", lambda _: commit())
            return writer

        self.patch(self.blob_store, "create", created)

    def test_size_unknown(self) -> None:
        """If nobody says, the length is known in the end."""
        self.upstream.says_size = False
        blob = self.joined()
        self.assertIsNone(blob.size)
        self.finish()
        self.assertEqual(len(DATA), blob.size)


class Bad(TransferTestCase):
    """Transfers that fail leave nothing, and the next one may succeed."""

    def failed(self, reading: Deferred[Any], *kinds: type[Exception]) -> Exception:
        """Return what a reading failed with."""
        failure = self.failureResultOf(reading, *kinds)
        assert isinstance(failure.value, Exception)
        return failure.value

    def again(self) -> None:
        """The next download succeeds."""
        self.nothing_left()
        reading = self.read(self.joined())
        self.upstream.bodies[-1].send(DATA)
        self.upstream.bodies[-1].end()
        self.assertEqual(DATA, self.successResultOf(reading))
        self.assertEqual({self.key}, self.stored())

    def test_refused(self) -> None:
        """Upstream's error is everybody's who waits, and is not kept."""
        self.upstream.holding = True
        waiting = [self.join() for _ in range(3)]
        self.upstream.error = BadGateway("example.com answered 500")
        self.upstream.release()
        for one in waiting:
            self.assertIn("answered 500", str(self.failed(one, BadGateway)))
        self.upstream.error = None
        self.again()

    def test_wrong_bytes(self) -> None:
        """A wrong byte anywhere fails every reader before it has the last of the blob."""
        for offset in (0, len(DATA) // 2, len(DATA) - 1):
            self.setUp()
            blob = self.joined()
            readings = [self.read(blob) for _ in range(3)]
            self.finish(DATA[:offset] + bytes([DATA[offset] ^ 1]) + DATA[offset + 1 :])
            for reading in readings:
                self.assertIn("digest", str(self.failed(reading, TransferFailed)))
            self.assertLessEqual(blob.visible, len(DATA) - LIMITS.tail)
            self.again()

    def test_broken_off(self) -> None:
        """A download that breaks off fails every reader with what upstream's room says of it."""
        reading = self.read(self.joined())
        self.upstream.bodies[0].send(DATA[:100_000])
        self.upstream.bodies[0].end(BadGateway("example.com: the connection broke"))
        self.assertIn("the connection broke", str(self.failed(reading, TransferFailed)))
        self.again()

    def test_too_short_and_too_long(self) -> None:
        """A body of another length than announced is not a blob."""
        for sent in (DATA[:-1], DATA + b"x", b""):
            self.setUp()
            reading = self.read(self.joined())
            self.finish(sent)
            self.failed(reading, TransferFailed)
            self.again()

    def test_crash(self) -> None:
        """A defect is an error of ours to the clients, which tells them nothing."""
        self.upstream.error = ZeroDivisionError("secret")
        error = self.failed(self.join(), InternalError)
        self.upstream.error = None
        self.assertNotIn("secret", str(error))
        self.assertEqual(500, error.status)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.again()

    def test_crash_below(self) -> None:
        """A defect in the middle of the body is one, too, and not upstream's failure."""
        reading = self.read(self.joined())
        self.upstream.bodies[-1].end(LocalFailure("the mirror failed"))
        error = self.failed(reading, TransferFailed)
        self.assertEqual((500, "UNKNOWN"), (error.status, error.code))

    def test_logged_once(self) -> None:
        """A failed transfer is counted once, however many clients it had."""
        self.upstream.error = BadGateway("down")
        self.upstream.holding = True
        waiting = [self.join() for _ in range(4)]
        self.upstream.release()
        for one in waiting:
            self.failed(one)
        self.assertEqual(1, self.counted("oci_registry_errors_total", kind="transfer"))


class OtherUpstreams(TransferTestCase):
    """One digest that is asked for at several upstreams."""

    def setUp(self) -> None:
        super().setUp()
        self.without = FakeUpstream(fake_settings("empty.example.com"))
        self.elsewhere = Target(self.without, "library/app")

    def test_joined(self) -> None:
        """A blob is the same wherever it comes from: the second upstream is not asked."""
        self.joined()
        self.joined(self.elsewhere)
        self.assertEqual([], self.without.asked)

    def test_not_failed_by_anothers_404(self) -> None:
        """A client whose own upstream has the blob gets it, though it joined one that has not."""
        self.without.holding = True
        first = self.join(self.elsewhere)
        others = [self.join(), self.join()]
        another = self.join(self.elsewhere)
        self.without.release()
        self.failureResultOf(first, BlobUnknown)
        self.failureResultOf(another, BlobUnknown)
        readings = [self.read(self.successResultOf(one)) for one in others]
        self.finish()
        self.assertEqual({DATA}, {self.successResultOf(one) for one in readings})
        self.assertEqual((1, 1), (len(self.without.asked), len(self.upstream.asked)))

    def test_own_404(self) -> None:
        """A client whose own upstream does not have it either gets its own answer."""
        self.upstream.holding = True
        self.upstream.error = BadGateway("down")
        first, second = self.join(), self.join(self.elsewhere)
        self.upstream.release()
        self.failureResultOf(first, BadGateway)
        self.failureResultOf(second, BlobUnknown)
        self.assertEqual(1, len(self.without.asked))

    def test_other_repository(self) -> None:
        """Repositories of one upstream count as different, too."""
        self.upstream.holding = True
        first = self.join()
        second = self.join(Target(self.upstream, "library/other"))
        self.upstream.error = BlobUnknown("not in this one")
        self.upstream.release_one()
        self.failureResultOf(first, BlobUnknown)
        self.upstream.error = None
        self.upstream.release()
        self.successResultOf(second)


class BrokenStore(TransferTestCase):
    """The cache must never be the reason that a pull fails."""

    def test_from_the_start(self) -> None:
        """A blob that cannot be stored is served."""
        self.driver.broken = "disk on fire"
        reading = self.read(self.joined())
        self.finish()
        self.assertEqual(DATA, self.successResultOf(reading))
        self.driver.broken = None
        self.nothing_left()
        self.assertEqual(1, self.counted("oci_registry_errors_total", kind="store"))
        self.assertEqual(0, self.counted("oci_registry_errors_total", kind="transfer"))

    def test_in_the_middle(self) -> None:
        """A disk that is full in the middle of a blob costs its clients nothing."""
        reading = self.read(self.joined())
        self.upstream.bodies[0].send(DATA[:270_000])
        self.driver.broken = "disk full"
        self.finish(DATA[270_000:])
        self.assertEqual(DATA, self.successResultOf(reading))
        self.driver.broken = None
        self.nothing_left()

    def test_at_the_end(self) -> None:
        """A commit that fails leaves a served blob and an empty store."""
        reading = self.read(self.joined())
        self.upstream.bodies[0].send(DATA)
        self.clock.advance(1)
        self.driver.broken = "disk full"
        self.upstream.bodies[0].end()
        self.assertEqual(DATA, self.successResultOf(reading))
        self.driver.broken = None
        self.nothing_left()

    def test_cancel_fails(self) -> None:
        """A store that cannot even remove what it has begun does no further harm."""
        reading = self.read(self.joined())

        def fail(_: object) -> Deferred[None]:
            raise StoreError("cannot remove")

        self.upstream.bodies[0].send(DATA[:300_000])
        self.patch(
            type(self.transfers.running(self.target, self.digest).bytes.file), "cancel", fail
        )  # type: ignore[union-attr]
        self.upstream.bodies[0].end(BadGateway("broken"))
        self.failureResultOf(reading, TransferFailed)
        self.nothing_left()


class Limits(TransferTestCase):
    """The end of the daemon, and of its means."""

    def test_stop(self) -> None:
        """Stopping breaks off what upstream is still sending, and leaves nothing of it."""
        reading = self.read(self.joined())
        self.upstream.bodies[0].send(DATA[:100_000])
        self.now(self.transfers.stop())
        self.assertTrue(self.upstream.bodies[0].stopped)
        self.failureResultOf(reading, TransferFailed)
        self.nothing_left()

    def test_stop_before_the_headers(self) -> None:
        """A client that waits for upstream when the daemon stops is told."""
        self.upstream.holding = True
        waiting = self.join()
        self.now(self.transfers.stop())
        self.assertIn("stopped", str(self.failureResultOf(waiting, TransferFailed).value))
        self.nothing_left()

    def test_nothing_new(self) -> None:
        """After that no download begins."""
        self.now(self.transfers.stop())
        self.failureResultOf(self.join(), TransferFailed)
        self.assertEqual([], self.upstream.asked)

    def test_bounded(self) -> None:
        """There is a limit to downloads at once; joining one is always possible."""
        self.limit(TransferLimits(most=2))
        others = [self.upstream.add_blob(bytes([n])) for n in range(2)]
        self.joined()
        self.joined(self.target, others[0])
        error = self.failureResultOf(self.join(self.target, others[1]), TooManyRequests).value
        self.assertIn("Retry-After", error.headers)
        self.joined()
        self.finish()
        self.joined(self.target, others[1])
