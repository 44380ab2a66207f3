"""Manifests and tags: served while fresh, revalidated, forgotten, one request at a time."""

from __future__ import annotations

from unittest.mock import patch

from twisted.internet.defer import Deferred

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway, ManifestUnknown
from oci_registry.spec.reference import Tag
from oci_registry.storage.keys import manifest_key, tag_key
from oci_registry.upstream.table import Target
from tests.support.fake_upstream import FakeUpstream, fake_settings
from tests.unit.pullthrough.manifest_case import HOUR, LATEST, ManifestTestCase, raw


class Tags(ManifestTestCase):
    """What a tag means."""

    def test_cold(self) -> None:
        """A tag that is not known is fetched, and stored with its manifest."""
        served = self.get()
        self.assertEqual((self.one, False, None), (served.manifest, served.cached, served.age))
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
        self.assertEqual(["GET", "HEAD", "GET once"], self.asked())
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
        self.upstream.change(manifest_invalidation_time=0.0)
        for _ in range(3):
            self.get()
        self.assertEqual(["GET", "HEAD", "HEAD"], self.asked())

    def test_head_says_nothing(self) -> None:
        """An upstream that does not tell a digest is asked with GET."""
        self.get()
        self.upstream.says_digest = False
        self.clock.advance(HOUR)
        self.assertEqual(self.one, self.get().manifest)
        self.assertEqual(["GET", "HEAD", "GET once"], self.asked())

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
        other = FakeUpstream(fake_settings("other.example.com"))
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
        """They share its error too; the next one asks again."""
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

    def test_fetched_while_we_looked(self) -> None:
        """A client that looked in the store a moment too early does not ask upstream a second time."""
        looked: Deferred[bytes | None] = Deferred()
        with patch.object(self.driver, "get", return_value=looked):
            late = self.begin(self.one.digest)
        self.assertEqual([], self.asked())
        self.get()
        looked.callback(None)
        self.assertEqual(self.one, self.successResultOf(late).manifest)
        self.assertEqual(["GET"], self.asked())

    def test_one_look(self) -> None:
        """Clients that want the same look in the store once: for a digest, and for a tag."""
        for reference in (self.one.digest, LATEST):
            self.restart()
            looked: Deferred[bytes | None] = Deferred()
            with patch.object(self.driver, "get", return_value=looked) as look:
                waiting = [self.begin(reference) for _ in range(20)]
                looked.callback(None)
            self.assertEqual(1, look.call_count)
            self.assertEqual([self.one] * 20, [self.successResultOf(w).manifest for w in waiting])
            self.assertEqual(["GET"], self.asked())
            self.driver._objects.clear()

    def test_looks(self) -> None:
        """Each pull reads a record once at most, cold, after a restart and where the manifest is lost."""
        manifest = manifest_key("example.com", self.one.digest)
        tag = tag_key("example.com", "library/app", "latest")
        for keys in ([tag], [], [tag, manifest], [tag, manifest]):
            with patch.object(self.driver, "get", wraps=self.driver.get) as look:
                self.get()
            self.assertEqual(keys, [call.args[0] for call in look.call_args_list])
            if keys != [tag]:
                self.restart()
            if look.call_count == 2:
                del self.driver._objects[manifest]

    def test_other_tags_do_not_wait(self) -> None:
        """One tag's slow answer delays no other."""
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
