"""Manifests and tags: believed, asked again, served stale, forgotten."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred

from oci_registry.pullthrough.freshness import STALE_IF_ERROR
from oci_registry.pullthrough.manifests import REVALIDATION_TIMEOUT, ServedManifest
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import (
    BadGateway,
    Denied,
    GatewayTimeout,
    ManifestUnknown,
    RegistryError,
    TooManyRequests,
)
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.spec.reference import Tag
from oci_registry.storage.drivers.memory import MemoryDriver
from oci_registry.storage.keys import manifest_key, tag_key
from oci_registry.upstream.table import Target
from tests.support.fake_upstream import FakeUpstream
from tests.unit.pullthrough.support import CacheTestCase

LATEST = Tag("latest")
HOUR = 3600.0


def raw(name: str, **blobs: int) -> bytes:
    """Return the bytes of a manifest that is unlike others."""
    layers = [
        {"mediaType": "application/octet-stream", "digest": str(Digest.of(b.encode())), "size": n}
        for b, n in blobs.items()
    ]
    value = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": layers, "name": name}
    return json.dumps(value).encode()


class ManifestTestCase(CacheTestCase):
    """An upstream with one tag that is believed for an hour."""

    def setUp(self) -> None:
        super().setUp()
        self.one = self.upstream.add(raw("one"), "latest")

    def get(self, reference: Tag | Digest = LATEST) -> ServedManifest:
        return self.now(self.manifests.get(self.target, reference))

    def begin(self, reference: Tag | Digest = LATEST) -> Deferred[ServedManifest]:
        return self.start(self.manifests.get(self.target, reference))

    def refused(self, kind: type[RegistryError], reference: Tag | Digest = LATEST) -> None:
        self.fails(self.manifests.get(self.target, reference), kind)

    def asked(self) -> list[str]:
        """Return what upstream was asked since the last call: methods only."""
        asked = [question.split(" ")[0] for question in self.upstream.asked]
        self.upstream.asked.clear()
        return asked


class Tags(ManifestTestCase):
    """What a tag means."""

    def test_cold(self) -> None:
        """A tag that is not known is fetched, and stored with its manifest."""
        served = self.get()
        self.assertEqual((self.one, False, None), (served.manifest, served.cached, served.stale))
        self.assertEqual(["GET library/app latest"], self.upstream.asked)
        self.assertEqual(
            {
                manifest_key("example.com", self.one.digest),
                tag_key("example.com", "library/app", "latest"),
            },
            self.stored(),
        )

    def test_fresh(self) -> None:
        """Within its time a tag is not asked again, nor after a restart."""
        self.get()
        self.clock.advance(HOUR - 1)
        self.assertTrue(self.get().cached)
        self.restart()
        served = self.get()
        self.assertEqual((self.one.raw, True), (served.manifest.raw, served.cached))
        self.assertEqual(["GET"], self.asked())

    def test_confirmed(self) -> None:
        """After that it is asked with HEAD; if nothing has changed it is fresh again."""
        self.get()
        self.clock.advance(HOUR)
        self.assertTrue(self.get().cached)
        self.clock.advance(HOUR - 1)
        self.assertTrue(self.get().cached)
        self.assertEqual(["GET", "HEAD"], self.asked())

    def test_changed(self) -> None:
        """A change costs one GET."""
        self.get()
        two = self.upstream.add(raw("two"), "latest")
        self.clock.advance(HOUR)
        served = self.get()
        self.assertEqual((two, False), (served.manifest, served.cached))
        self.assertEqual(["GET", "HEAD", "GET"], self.asked())
        self.assertTrue(self.get().cached)

    def test_changed_to_something_known(self) -> None:
        """A tag that moves to a manifest which is stored costs no GET."""
        two = self.upstream.add(raw("two"), "2")
        self.get()
        self.get(Tag("2"))
        self.upstream.manifests["latest"] = two
        self.clock.advance(HOUR)
        self.assertEqual(two, self.get().manifest)
        self.assertEqual(["GET", "GET", "HEAD"], self.asked())

    def test_always_asked(self) -> None:
        """With a time of nothing, a tag is asked each time."""
        self.upstream.manifest_invalidation_time = 0.0
        for _ in range(3):
            self.get()
        self.assertEqual(["GET", "HEAD", "HEAD"], self.asked())

    def test_head_says_nothing(self) -> None:
        """An upstream that does not tell a digest is asked with GET."""
        self.get()
        self.upstream.says_digest = False
        self.clock.advance(HOUR)
        self.assertEqual(self.one, self.get().manifest)
        self.assertEqual(["GET", "HEAD", "GET"], self.asked())

    def test_lost_manifest(self) -> None:
        """A tag whose manifest is not stored any more is fetched without asking first."""
        self.get()
        self.driver.delete(manifest_key("example.com", self.one.digest))
        self.restart()
        self.assertFalse(self.get().cached)
        self.assertEqual(["GET", "GET"], self.asked())

    def test_damaged_store(self) -> None:
        """Records that cannot be read are as good as none."""
        self.get()
        for key in self.stored():
            self.driver.place(key, b"rubbish", sealed=True)
        self.restart()
        self.assertEqual(self.one.raw, self.get().manifest.raw)
        self.assertEqual(["GET", "GET"], self.asked())

    def test_clock_set_back(self) -> None:
        """A tag confirmed in the future is asked again."""
        self.get()
        self.clock.rightNow -= 100 * HOUR
        self.get()
        self.assertEqual(["GET", "HEAD"], self.asked())

    def test_registries_apart(self) -> None:
        """The same tag of two registries is two tags."""
        other = FakeUpstream("other.example.com")
        two = other.add(raw("two"), "latest")
        self.get()
        served = self.now(self.manifests.get(Target(other, "library/app"), LATEST))
        self.assertEqual(two, served.manifest)

    def test_counted(self) -> None:
        """Hits and misses are counted by registry."""
        self.get()
        self.get()
        self.clock.advance(HOUR)
        self.get()
        for name, expected in (("manifest_cache_hits", 2), ("manifest_cache_misses", 1)):
            self.assertEqual(expected, self.counted(name, namespace="example.com"))


class Digests(ManifestTestCase):
    """Manifests by digest."""

    def test_stored(self) -> None:
        """A digest that is stored is never asked upstream, however old it is."""
        self.get(self.one.digest)
        self.clock.advance(1e9)
        self.restart()
        self.assertEqual(self.one.raw, self.get(self.one.digest).manifest.raw)
        self.assertEqual(["GET"], self.asked())

    def test_known_by_tag(self) -> None:
        """What came by tag is there by digest; no tag is made of what came by digest."""
        self.get()
        self.assertTrue(self.get(self.one.digest).cached)
        two = self.upstream.add(raw("two"))
        self.get(two.digest)
        self.assertEqual(1, sum("_tags" in key for key in self.stored()))

    def test_unknown(self) -> None:
        """A digest that upstream does not have is a 404, which is not kept."""
        missing = Digest.of(raw("missing"))
        self.refused(ManifestUnknown, missing)
        self.upstream.add(raw("missing"))
        self.assertFalse(self.get(missing).cached)

    def test_sizes(self) -> None:
        """The sizes of blobs are learned from what is served, also from the store."""
        manifest = self.upstream.add(raw("sized", layer=5))
        layer = Digest.of(b"layer")
        self.get(manifest.digest)
        self.assertEqual(5, self.sizes.get("example.com", "library/app", layer))
        self.restart()
        self.get(manifest.digest)
        self.assertEqual(5, self.sizes.get("example.com", "library/app", layer))


class Trouble(ManifestTestCase):
    """Upstream cannot be asked, or says no."""

    def test_stale(self) -> None:
        """While upstream fails, what is known is served, and its age told."""
        self.get()
        self.clock.advance(HOUR + 60)
        for error in (BadGateway("x"), GatewayTimeout("x"), TooManyRequests("x")):
            self.upstream.error = error
            served = self.get()
            self.assertEqual((self.one, HOUR + 60), (served.manifest, served.stale))
        self.upstream.error = None
        self.assertIsNone(self.get().stale)
        self.assertEqual(3, self.counted("oci_registry_errors_total", kind="stale"))

    def test_stale_when_the_change_cannot_be_fetched(self) -> None:
        """If HEAD tells of a change and GET fails, the old manifest is served as stale."""
        self.get()
        two = self.upstream.add(raw("two"), "latest")
        self.clock.advance(HOUR)
        self.upstream.get_error = BadGateway("x")
        served = self.get()
        self.assertEqual((self.one, HOUR), (served.manifest, served.stale))
        self.upstream.get_error = None
        self.assertEqual(two, self.get().manifest)

    def test_stale_after_a_restart(self) -> None:
        """A restart while upstream is down changes nothing."""
        self.get()
        self.restart()
        self.upstream.error = BadGateway("down")
        self.assertIsNone(self.get().stale)
        self.clock.advance(HOUR)
        self.assertEqual(HOUR, self.get().stale)

    def test_too_old(self) -> None:
        """After a week beyond its time a tag is not served stale any more."""
        self.get()
        self.upstream.error = BadGateway("down")
        self.clock.advance(HOUR + STALE_IF_ERROR - 1)
        self.assertIsNotNone(self.get().stale)
        self.clock.advance(1)
        self.refused(BadGateway)
        self.upstream.error = None
        self.assertEqual(self.one, self.get().manifest)

    def test_cold_and_down(self) -> None:
        """What is not known cannot be served."""
        self.upstream.error = GatewayTimeout("down")
        self.refused(GatewayTimeout)

    def test_gone(self) -> None:
        """A tag that upstream does not have any more is forgotten; its manifest stays."""
        self.get()
        del self.upstream.manifests["latest"]
        self.clock.advance(HOUR)
        self.refused(ManifestUnknown)
        self.assertEqual({manifest_key("example.com", self.one.digest)}, self.stored())
        self.upstream.error = BadGateway("down")
        self.refused(BadGateway)

    def test_denied(self) -> None:
        """Who is denied a tag does not get the old one; it is not forgotten."""
        self.get()
        self.clock.advance(HOUR)
        self.upstream.error = Denied("no")
        self.refused(Denied)
        self.upstream.error = BadGateway("down")
        self.assertIsNotNone(self.get().stale)

    def test_slow_head_and_slow_get(self) -> None:
        """HEAD and GET together take no longer than a client waits."""
        self.get()
        self.upstream.add(raw("two"), "latest")
        self.clock.advance(HOUR)
        self.upstream.holding = True
        waiting = self.begin()
        self.clock.advance(REVALIDATION_TIMEOUT - 5)
        self.upstream.release_one()
        self.assertEqual(["GET", "HEAD", "GET"], self.asked())
        self.clock.advance(4)
        self.assertNoResult(waiting)
        self.clock.advance(2)
        self.assertEqual(self.one, self.successResultOf(waiting).manifest)


class OneAtATime(ManifestTestCase):
    """Questions about the same thing are one."""

    def test_cold(self) -> None:
        """Clients that want the same cold tag wait for one GET."""
        self.upstream.holding = True
        waiting = [self.begin() for _ in range(20)]
        self.upstream.release()
        self.assertEqual([self.one] * 20, [self.successResultOf(w).manifest for w in waiting])
        self.assertEqual(["GET"], self.asked())

    def test_revalidation(self) -> None:
        """Clients that want the same old tag wait for one HEAD."""
        self.get()
        self.clock.advance(HOUR)
        self.upstream.holding = True
        waiting = [self.begin() for _ in range(20)]
        self.upstream.release()
        for one in waiting:
            self.successResultOf(one)
        self.assertEqual(["GET", "HEAD"], self.asked())

    def test_error(self) -> None:
        """They share its error too; the next one asks anew."""
        self.upstream.holding = True
        waiting = [self.begin() for _ in range(3)]
        self.upstream.error = BadGateway("x")
        self.upstream.release()
        for one in waiting:
            self.failureResultOf(one, BadGateway)
        self.upstream.error = None
        self.get()

    def test_who_leaves(self) -> None:
        """A client that leaves stops nothing."""
        self.upstream.holding = True
        first, second = self.begin(), self.begin()
        first.cancel()
        self.failureResultOf(first)
        self.upstream.release()
        self.successResultOf(second)
        self.assertTrue(self.get().cached)

    def test_stored_while_we_looked(self) -> None:
        """Who looked in the store a moment too early does not ask upstream a second time."""
        for reference in (self.one.digest, LATEST):
            self.setUp()
            looked: Deferred[bytes | None] = Deferred()
            self.patch(self.driver, "get", lambda key, limit: looked)  # noqa: B023
            late = self.begin(reference)
            self.assertEqual([], self.asked())
            self.driver.get = MemoryDriver.get.__get__(self.driver)  # type: ignore[method-assign]
            self.get(reference)
            looked.callback(None)
            self.assertEqual(self.one, self.successResultOf(late).manifest)
            self.assertEqual(["GET"], self.asked())

    def test_other_tags_do_not_wait(self) -> None:
        """One tag's slow answer holds up no other."""
        self.get()
        self.upstream.holding = True
        waiting = self.begin(Tag("slow"))
        self.assertTrue(self.get().cached)
        self.upstream.release()
        self.failureResultOf(waiting, ManifestUnknown)


class BrokenStore(ManifestTestCase):
    """The cache must never be the reason that a pull fails."""

    def test_cold(self) -> None:
        """With a store that fails, manifests are fetched and remembered in memory."""
        self.driver.broken = "disk on fire"
        self.assertFalse(self.get().cached)
        self.assertTrue(self.get().cached)
        self.assertTrue(self.get(self.one.digest).cached)
        self.assertEqual(["GET"], self.asked())
        self.assertGreater(self.counted("oci_registry_errors_total", kind="store"), 0)

    def test_known(self) -> None:
        """A store that fails later takes nothing away that is in memory."""
        self.get()
        self.driver.broken = "disk on fire"
        self.clock.advance(HOUR)
        self.assertTrue(self.get().cached)
        self.restart()
        self.assertFalse(self.get().cached)

    def test_gone(self) -> None:
        """A 404 is passed on though the tag cannot be removed."""
        self.get()
        self.driver.broken = "disk on fire"
        del self.upstream.manifests["latest"]
        self.clock.advance(HOUR)
        self.refused(ManifestUnknown)
