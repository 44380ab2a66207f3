"""Limits of single upstreams."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from oci_registry.account.images import registry_size
from oci_registry.eviction.limit import LimitTimes, StoreLimit
from oci_registry.eviction.store_use import Limits
from oci_registry.spec.digest import Digest
from oci_registry.spec.sizes import parse_size
from oci_registry.storage.room import NoRoom, Release
from tests.unit.account.support import HUB, OWN
from tests.unit.eviction import test_evictor

MIB = 2**20
CAP = 16 * MIB


class UpstreamLimits(test_evictor.EvictionTestCase):
    """A store where example.com may have 16 MiB, with images of 2 MiB."""

    def setUp(self) -> None:
        super().setUp()
        self.limit = StoreLimit(
            self.account,
            self.evictor,
            self.observed,
            self.clock,
            self.metrics,
            Limits(),
            LimitTimes(),
        )
        self.limit.upstreams.follow({OWN: parse_size("16MiB")})

    def add(self, name: bytes, host: str = OWN, *shared: Digest) -> Digest:
        """Store an image."""
        image = self.image(self.blob(self.content(name)), *shared, host=host)
        self.tag(name.decode(), image, host)
        self.clock.advance(1)
        self.successResultOf(self.account.flush())
        return image

    def content(self, name: bytes) -> bytes:
        return name + bytes(2 * MIB - len(name))

    def reserve(self, size: int, host: str = OWN) -> Release:
        release = self.successResultOf(self.limit.reserve(Digest.of(b"new"), size, host))
        assert release is not None
        return release

    def refused(self, size: int) -> str:
        reserving = self.limit.reserve(Digest.of(b"new"), size, OWN)
        return str(self.failureResultOf(reserving, NoRoom).value)

    def look(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.limit._look()))

    def size(self, host: str) -> int:
        return self.ask(registry_size(host))

    def exported(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, {"namespace": OWN})

    def test_own_images(self) -> None:
        """Room is made by evicting images of the same upstream; those of others do not matter."""
        others = [self.add(b"o%d" % number, HUB) for number in range(12)]
        own = [self.add(b"x%d" % number) for number in range(7)]
        with capturedLogs() as events:
            self.reserve(3 * MIB)
        self.assertIn("evicted 1 image of example.com (2.1 MB)", formatEvent(events[0]) or "")
        self.assertTrue(all(map(self.has, others)))
        self.assertEqual([self.has(one, OWN) for one in own], [False] + [True] * 6)
        self.assertLessEqual(self.size(OWN) + 3 * MIB, CAP)

    def test_not_limited(self) -> None:
        """An upstream without a limit reserves nothing, and nor does anything if there is none at all."""
        self.reserve(100 * MIB, HUB)()
        self.limit.upstreams.follow({})
        self.assertIsNone(self.successResultOf(self.limit.reserve(Digest.of(b"new"), MIB, OWN)))
        self.look()

    def test_too_large(self) -> None:
        """A blob larger than a quarter of the limit is not stored."""
        self.reserve(4 * MIB)
        self.assertIn("quarter of the limit of example.com (17 MB)", self.refused(4 * MIB + 1))

    def test_all_in_use(self) -> None:
        """If nothing can be evicted, the blob is not stored; that is logged once."""
        for number in range(7):
            self.busy.add(Digest.of(self.content(b"x%d" % number)))
            self.add(b"x%d" % number)
        with capturedLogs() as events:
            self.assertEqual(self.refused(3 * MIB), "the limit of example.com is reached")
            self.assertEqual(self.refused(3 * MIB), "the limit of example.com is reached")
        self.assertEqual(len(events), 1)
        self.busy.clear()
        self.clock.advance(11)
        self.reserve(3 * MIB)

    def test_reserved(self) -> None:
        """What is reserved counts, and what is released counts as stored until that is measured."""
        releases = [self.reserve(4 * MIB) for _ in range(4)]
        self.refused(MIB)
        for release in releases:
            release()
            release()
        self.assertEqual(self.limit.use.reserved, 0)
        self.clock.advance(11)
        self.look()
        self.reserve(4 * MIB)

    def test_shared(self) -> None:
        """A shared blob counts for each upstream, and is kept as long as one needs it."""
        base = self.blob(self.content(b"base"))
        other = self.add(b"o", HUB, base)
        self.add(b"x", OWN, base)
        self.look()
        taken = 4 * MIB + 4096
        self.assertEqual([self.size(host) for host in (OWN, HUB)], [taken, taken])
        self.assertEqual(self.exported("oci_registry_upstream_store_bytes"), taken)
        for number in range(7):
            self.add(b"y%d" % number)
        self.look()
        self.assertLessEqual(self.size(OWN), CAP)
        self.assertTrue(self.has(other) and self.has(base))

    def test_ahead(self) -> None:
        """Images are evicted before there is need, and a limit can become another or none."""
        for number in range(9):
            self.add(b"x%d" % number)
        self.look()
        self.assertLessEqual(self.size(OWN), 0.95 * CAP)
        self.limit.upstreams.follow({OWN: parse_size("20MB")})
        self.assertEqual(self.exported("oci_registry_upstream_limit_bytes"), 20_000_000)
        self.limit.upstreams.follow({})
        for name in ("store", "limit"):
            self.assertIsNone(self.exported(f"oci_registry_upstream_{name}_bytes"))

    def test_with_the_store(self) -> None:
        """The limit of the store holds as well, and what it refuses is given back."""
        self.limit.use._limits = Limits(parse_size("20MiB"))
        for number in range(9):
            self.busy.add(Digest.of(self.content(b"o%d" % number)))
            self.add(b"o%d" % number, HUB)
        self.assertEqual(self.refused(3 * MIB), "the limit of the store is reached")
        self.assertEqual(self.limit.upstreams._upstreams[OWN].reserved, 0)
