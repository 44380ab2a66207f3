"""When the sweep removes what, and what happens to a sweep that is broken off."""

from __future__ import annotations

from unittest.mock import patch

from twisted.internet.defer import Deferred, succeed

from oci_registry.eviction.sweep import Lifetimes, Swept
from oci_registry.spec.digest import Digest
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import blob_key
from tests.unit.eviction.support import (
    BRIEF,
    DAY,
    HOST,
    LIFETIMES,
    OTHERS,
    SweepTestCase,
)
from tests.unit.storage.support import NOW


class Times(SweepTestCase):
    """Registries with lifetimes of their own."""

    def test_by_registry(self) -> None:
        """A registry's objects go after the registry's time, those of unknown ones after the default."""
        images = {
            host: self.manifest(self.blob(host.encode()), host=host)
            for host in (BRIEF, HOST, OTHERS)
        }
        self.restart({**LIFETIMES, OTHERS: 20 * DAY})
        self.blob(b"of nobody")
        self.assertEqual(self.swept(1.1).manifests, 1)
        self.assertEqual(self.has(images[BRIEF], BRIEF), False)
        self.assertEqual(self.has(BRIEF.encode()), False)
        self.assertEqual(self.swept(13).manifests, 1)
        self.assertEqual(self.has(HOST.encode()), False)
        self.assertTrue(self.has(b"of nobody"))
        self.assertEqual(self.swept(6), Swept(blobs=2, size=24, manifests=1))

    def test_the_longest_wins(self) -> None:
        """A blob that two registries need stays for the longer of their times."""
        layer = self.blob(b"layer")
        self.manifest(self.blob(b"1"), layer, host=BRIEF)
        self.manifest(self.blob(b"2"), layer, host=HOST)
        self.assertEqual(self.swept(2), Swept(blobs=1, size=1, manifests=1))
        self.assertTrue(self.has(layer))
        self.assertEqual(self.swept(13), Swept(blobs=2, size=6, manifests=1))

    def test_uses_are_not_set_back(self) -> None:
        """A blob that was used after the manifest that needs it keeps its own time."""
        layer = self.blob(b"layer")
        self.manifest(self.blob(b"config"), layer)
        self.clock.advance(3 * DAY)
        self.open(layer).close()
        self.restart()
        self.assertEqual(self.swept(2), Swept())
        self.assertEqual(self.used(blob_key(Digest.of(layer))), NOW + 3 * DAY)
        self.restart()
        self.assertEqual(self.swept(10), Swept(blobs=1, size=6, manifests=1))
        self.assertEqual(self.swept(3), Swept(blobs=1, size=5))

    def test_no_time_at_all(self) -> None:
        """With a lifetime of 0 s, an object goes at the next sweep, unless it is being used."""
        self.restart({HOST: 0.0}, 0.0)
        image = self.manifest(self.blob(b"config"), self.blob(b"layer"))
        self.assertEqual(self.swept(), Swept())
        reader = self.open(b"layer")
        self.clock.advance(1)
        self.assertEqual(self.swept(), Swept(blobs=1, size=6, manifests=1))
        self.assertFalse(self.has(image))
        reader.close()
        self.assertEqual(self.swept(), Swept(blobs=1, size=5))

    def test_used_in_the_same_instant(self) -> None:
        """A use in the very instant in which the sweep began counts as one during the sweep."""
        self.blob(b"data")
        image = self.manifest(b"elsewhere")
        self.clock.advance(30 * DAY)
        real = self.blobs.list

        def list_and_use() -> object:
            items = self.listed(real())
            self.open(b"data").close()
            self.read(image)

            async def again() -> object:
                for item in items:
                    yield item

            return again()

        with patch.object(self.blobs, "list", list_and_use):
            self.assertEqual(self.swept(), Swept())

    def test_other_lifetimes(self) -> None:
        """Lifetimes that change hold from the next sweep on, and not for the one under way."""
        self.manifest(self.blob(b"brief"), host=BRIEF)
        self.manifest(self.blob(b"other"), host=HOST)
        begun: Deferred[bool] = Deferred()
        with patch.object(self.sweep, "_begin", lambda oldest: begun):
            self.clock.advance(2 * DAY)
            sweeping = Deferred.fromCoroutine(self.sweep.run())
            self.sweep.follow(Lifetimes({BRIEF: 3 * DAY, HOST: DAY}, otherwise=14 * DAY))
            begun.callback(True)
        self.assertEqual(self.successResultOf(sweeping).manifests, 1)
        self.assertFalse(self.has(b"brief"))
        self.assertEqual(self.swept().manifests, 1)
        self.assertFalse(self.has(b"other"))

    def test_lifetimes(self) -> None:
        """The default is the time of all that are not named."""
        lifetimes = Lifetimes(LIFETIMES, 5.0)
        self.assertEqual([lifetimes.of(h) for h in (HOST, BRIEF, OTHERS)], [14 * DAY, DAY, 5.0])
        self.assertEqual((lifetimes.shortest, lifetimes.longest), (5.0, 14 * DAY))


class Troubles(SweepTestCase):
    """A medium that fails."""

    def test_medium_fails(self) -> None:
        """If the medium fails, the sweep does, and what it had not done it does the next time."""
        self.tag(self.manifest(self.blob(b"config"), self.blob(b"layer")))
        self.clock.advance(30 * DAY)
        self.driver.broken = "I/O error"
        self.assertEqual(self.fails(self.sweep.run(), StoreError), "I/O error")
        self.driver.broken = None
        self.assertEqual(self.swept(), Swept(blobs=2, size=11, manifests=1, tags=1))

    def test_not_ours(self) -> None:
        """If the store says that another process sweeps, nothing is even listed."""
        self.blob(b"data")
        self.clock.advance(30 * DAY)
        asked: list[float] = []

        def begin(oldest: float) -> Deferred[bool]:
            asked.append(oldest)
            return succeed(False)

        self.patch(self.sweep, "_begin", begin)
        self.assertEqual(self.swept(), Swept())
        self.assertEqual(asked, [self.clock.seconds() - 14 * DAY])

    def test_broken_off(self) -> None:
        """Wherever a sweep is broken off, the next ones leave nothing behind."""
        for successes in range(4):
            self.tag(self.manifest(self.blob(b"config"), self.blob(b"layer")))
            self.clock.advance(30 * DAY)
            self.fail_after(successes)
            self.swept()
            self.assertEqual(self.driver._objects, {}, successes)

    def fail_after(self, successes: int) -> None:
        """Sweep with a medium that removes so many objects and then fails."""
        real = self.driver.delete
        done: list[str] = []

        def delete(key: str) -> Deferred[bool]:
            if len(done) == successes:
                raise StoreError("I/O error")
            done.append(key)
            return real(key)

        with patch.object(self.driver, "delete", delete):
            self.fails(self.sweep.run(), StoreError)
        self.assertEqual(len(done), successes)

    def test_gone_already(self) -> None:
        """What somebody else removes meanwhile is not counted."""
        self.blob(b"data")
        self.clock.advance(30 * DAY)
        with patch.object(self.driver, "delete", lambda key: succeed(False)):
            self.assertEqual(self.swept(), Swept())

    def test_metrics(self) -> None:
        """What is removed is counted."""
        self.tag(self.manifest(self.blob(b"config"), self.blob(b"layer")))
        self.swept(30)
        page = self.metrics.page().decode()
        for kind, count in (("blob", 2), ("manifest", 1), ("tag", 1)):
            self.assertIn(f'oci_registry_swept_total{{kind="{kind}"}} {count}.0', page)
