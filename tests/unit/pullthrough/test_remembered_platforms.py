"""The platforms that clients use are read when they are needed, and written when they change."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, fail

from oci_registry.pullthrough.remembered_platforms import (
    AGAIN,
    DELAY,
    MOST_WAITING,
    RememberedPlatforms,
)
from oci_registry.spec.contents import Child
from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.platforms import Platform
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.platforms import KEY, PlatformStore, Used, written
from tests.unit.pullthrough.support import CacheTestCase

APP = ("example.com", "library/app")
ARM, AMD = Platform("linux", "arm64"), Platform("linux", "amd64")


def entry(platform: Platform) -> Child:
    """Return an entry of an index."""
    return Child(Descriptor(None, Digest.of(str(platform).encode()), None), platform, False)


class Remembering(CacheTestCase):
    """RememberedPlatforms on a store in memory."""

    def restart(self) -> None:
        super().restart()
        self.platforms = RememberedPlatforms(
            PlatformStore(self.driver), self.writer, self.health, self.clock
        )
        self.found: list[list[Platform | None]] = []

    def choose(self) -> None:
        def chosen(children: Sequence[Child]) -> None:
            self.found.append([child.platform for child in children])

        self.platforms.choose(APP, [entry(ARM), entry(AMD)], chosen)

    def use(self, *platforms: Platform) -> None:
        for platform in platforms:
            self.platforms.learn(APP, [entry(platform)])
            self.platforms.use(APP, entry(platform).descriptor.digest)

    def put(self, used: Used) -> None:
        self.successResultOf(self.driver.put(KEY, written(used)))

    def recorded(self) -> Used:
        return self.now(PlatformStore(self.driver).load())

    def test_written(self) -> None:
        """What has changed is written after a while, once, and not again without a change."""
        self.use(ARM)
        self.use(AMD)
        self.clock.advance(DELAY - 1)
        self.assertEqual({}, self.recorded())
        self.clock.advance(1)
        self.assertEqual({APP: (AMD, ARM)}, self.recorded())
        self.successResultOf(self.driver.delete(KEY))
        self.use(ARM)
        self.clock.advance(2 * DELAY)
        self.assertEqual({}, self.recorded())

    def test_stop(self) -> None:
        """At the stop, what waits to be written is written."""
        self.platforms.stop()
        self.assertEqual({}, self.recorded())
        self.use(ARM)
        self.platforms.stop()
        self.assertEqual({APP: (ARM,)}, self.recorded())

    def test_read(self) -> None:
        """The record is read when it is first needed, and kept."""
        self.put({APP: (ARM,)})
        self.choose()
        self.successResultOf(self.driver.delete(KEY))
        self.choose()
        self.assertEqual([[ARM], [ARM]], self.found)

    def test_others(self) -> None:
        """What another daemon has written meanwhile is kept, and known from then on."""
        self.choose()
        other = ("example.com", "other")
        self.put({APP: (AMD,), other: (ARM,)})
        self.use(ARM)
        self.clock.advance(DELAY)
        self.assertEqual({APP: (ARM, AMD), other: (ARM,)}, self.recorded())
        self.choose()
        self.assertEqual([[], [ARM, AMD]], self.found)

    def test_slow_store(self) -> None:
        """Until the record is read, a bounded number waits; a client's use is known meanwhile."""
        self.put({APP: (ARM,)})
        reading: Deferred[bytes | None] = Deferred()
        with_record = self.successResultOf(self.driver.get(KEY, 1000))
        self.patch(self.driver, "get", lambda *_: reading)
        for _ in range(MOST_WAITING + 5):
            self.choose()
        self.use(AMD)
        self.assertEqual([], self.found)
        reading.callback(with_record)
        self.assertEqual([[ARM, AMD]] * MOST_WAITING, self.found)

    def test_stopped_meanwhile(self) -> None:
        """Nothing is chosen after the stop."""
        reading: Deferred[bytes | None] = Deferred()
        self.patch(self.driver, "get", lambda *_: reading)
        self.choose()
        self.platforms.stop()
        reading.callback(None)
        self.assertEqual([], self.found)

    def test_broken_store(self) -> None:
        """A record that cannot be read is tried again after a while; until then what is in memory is known."""
        self.put({APP: (ARM,)})
        get = self.driver.get
        for error in (StoreError("it is broken"), ValueError("a fault")):
            self.restart()
            self.patch(self.driver, "get", lambda *_, error=error: fail(error))
            self.use(AMD)
            self.choose()
            self.patch(self.driver, "get", get)
            self.choose()
            self.assertEqual([[AMD], [AMD]], self.found)
            self.clock.advance(AGAIN)
            self.choose()
            self.assertEqual([ARM, AMD], self.found[-1])
        self.flushLoggedErrors(ValueError)
