"""Whose transfers a client follows: those of configured upstreams, and of the one it has named itself."""

from __future__ import annotations

from oci_registry.pullthrough.transfer import TransferLimits
from oci_registry.spec.errors import TooManyRequests
from oci_registry.storage.keys import blob_key
from oci_registry.streams.growing import GrowingBlob
from oci_registry.upstream.table import Target
from tests.support.fake_upstream import FakeUpstream, fake_settings
from tests.unit.pullthrough.support import CacheTestCase

DATA = bytes(range(256)) * 1200


class AudienceTestCase(CacheTestCase):
    """A configured upstream, and two that clients have named; all have the same blob."""

    def setUp(self) -> None:
        super().setUp()
        self.named = FakeUpstream(fake_settings("named.example", configured=False))
        self.upstreams = (
            self.upstream,
            self.named,
            FakeUpstream(fake_settings("also.example", configured=False)),
        )
        for upstream in self.upstreams:
            self.digest = upstream.add_blob(DATA)
            upstream.manual = True

    def join(self, upstream: FakeUpstream, repository: str = "library/app") -> GrowingBlob:
        """Return what a client of an upstream follows."""
        return self.now(self.transfers.join(Target(upstream, repository), self.digest, None))

    def send(self, upstream: FakeUpstream, data: bytes = DATA) -> None:
        """Let the body that an upstream has begun last be sent whole."""
        upstream.bodies[-1].send(data)
        upstream.bodies[-1].end()

    def pulled(self) -> bytes:
        """Return what a client of the configured upstream gets, which then is stored."""
        reading = self.read(self.join(self.upstream))
        self.send(self.upstream)
        data = self.successResultOf(reading)
        self.assertEqual({blob_key(self.digest)}, self.stored())
        return data

    def asked(self) -> list[int]:
        """Return how often each upstream was asked."""
        return [len(upstream.asked) for upstream in self.upstreams]


class Audience(AudienceTestCase):
    """Several clients want the same blob."""

    def test_configured_serves_everybody(self) -> None:
        """What comes from a configured upstream is followed by clients of any other."""
        one = self.join(self.upstream)
        for upstream in self.upstreams:
            self.assertIs(one, self.join(upstream))
        self.assertEqual([1, 0, 0], self.asked())

    def test_named_serves_its_own(self) -> None:
        """What comes from a named upstream is followed by who has named it too, in any repository."""
        one = self.join(self.named)
        self.assertIs(one, self.join(self.named, "another/app"))
        for other in (self.upstreams[2], self.upstream):
            self.assertIsNot(one, self.join(other))
        self.assertEqual([1, 1, 1], self.asked())

    def test_named_holds_up_nobody(self) -> None:
        """A named upstream that sends nothing is nothing to clients of a configured one."""
        there = self.read(self.join(self.named))
        self.assertEqual(DATA, self.pulled())
        self.assertNoResult(there)
        self.send(self.named)
        self.assertEqual(DATA, self.successResultOf(there))
        self.assertNotIn(self.digest, self.transfers)

    def test_named_changes_nothing(self) -> None:
        """A named upstream that sends wrong bytes fails its own clients alone."""
        there = self.read(self.join(self.named))
        self.send(self.named, bytes(len(DATA)))
        self.failureResultOf(there)
        self.assertEqual(DATA, self.pulled())

    def test_both_are_kept(self) -> None:
        """Two transfers of a blob end with it stored, and it is under way until the second has ended."""
        first, second = self.join(self.named), self.join(self.upstream)
        reading = [self.read(blob) for blob in (first, second)]
        for upstream in (self.upstream, self.named):
            self.assertIn(self.digest, self.transfers)
            self.send(upstream)
        self.assertEqual([DATA, DATA], [self.successResultOf(one) for one in reading])
        self.assertEqual({blob_key(self.digest)}, self.stored())
        self.assertNotIn(self.digest, self.transfers)

    def test_named_leave_room(self) -> None:
        """Downloads from named upstreams are limited so that those from configured ones find room."""
        self.limit(TransferLimits(named=1))
        self.join(self.named)
        self.join(self.named)
        also = Target(self.upstreams[2], "library/app")
        error = self.fails(self.transfers.join(also, self.digest, None), TooManyRequests)
        assert isinstance(error, TooManyRequests)
        self.assertIn("Retry-After", error.headers)
        self.join(self.upstream)
        self.join(self.upstreams[2])
        self.assertEqual([1, 1, 0], self.asked())

    def test_one_leaves_room_for_prefetching(self) -> None:
        """While one upstream never ends its downloads, others are prefetched, as long as more room is left."""
        self.limit(TransferLimits(most=8))
        one, another = (
            Target(each, "library/app") for each in (self.upstreams[0], self.upstreams[1])
        )
        for number in range(4):
            self.assertTrue(self.transfers.has_room(one))
            self.now(self.transfers.join(one, one.upstream.add_blob(bytes([number])), None))
        self.assertFalse(self.transfers.has_room(one))
        for number in range(2):
            self.assertTrue(self.transfers.has_room(another))
            self.now(
                self.transfers.join(another, another.upstream.add_blob(bytes(number + 2)), None)
            )
        self.assertFalse(self.transfers.has_room(another))

    def test_what_has_ended_is_not_counted(self) -> None:
        """Nothing is kept of an upstream whose downloads have ended."""
        digest = self.upstream.add_blob(b"blob")
        self.now(self.transfers.join(Target(self.upstream, "library/app"), digest, None))
        self.assertEqual({"example.com": 1}, dict(self.transfers._running))
        self.upstream.bodies[0].send(b"blob")
        self.upstream.bodies[0].end()
        self.assertEqual({}, dict(self.transfers._running))

    def test_one_leaves_room(self) -> None:
        """An upstream that never ends its downloads leaves room for those of others, also if that hangs too."""
        self.limit(TransferLimits(most=32))
        one, another = Target(self.upstream, "library/app"), Target(self.named, "library/app")
        for number in range(25):
            self.now(self.transfers.join(one, self.upstream.add_blob(bytes(number)), None))
        left = self.upstream.add_blob(b"left")
        error = self.fails(self.transfers.join(one, left, None), TooManyRequests)
        self.assertIn("Retry-After", error.headers)
        for number in range(6):
            digest = self.named.add_blob(bytes(number + 50))
            self.now(self.transfers.join(another, digest, None))
        refused = self.transfers.join(another, self.named.add_blob(bytes(80)), None)
        self.fails(refused, TooManyRequests)
        self.join(self.upstreams[2])
        # There are no more than these, whoever asks.
        self.fails(self.transfers.join(one, left, None), TooManyRequests)
        self.assertEqual([25, 6, 1], self.asked())
