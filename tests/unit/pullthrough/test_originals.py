"""Manifests and tags that are taken over from another program."""

from __future__ import annotations

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway, ManifestUnknown
from oci_registry.spec.reference import Tag
from oci_registry.storage.keys import manifest_key, tag_key
from tests.support.original import original_file, original_key
from tests.unit.pullthrough.manifest_case import HOUR, LATEST, ManifestTestCase, raw

WEEK = 7 * 86400.0


class TakenOver(ManifestTestCase):
    """The other program has left the manifest of the tag."""

    def setUp(self) -> None:
        super().setUp()
        self.leave(LATEST)
        self.leave(self.one.digest)
        self.manifest = manifest_key(self.upstream.namespace, self.one.digest)
        self.tag = tag_key(self.upstream.namespace, "library/app", "latest")

    def leave(self, reference: Tag | Digest) -> None:
        key = original_key(self.upstream.namespace, "library/app", reference)
        self.driver.place(key, original_file(self.one), sealed=False)

    def test_digest(self) -> None:
        """A digest is served without upstream, and is ours from then on."""
        for _ in range(2):
            served = self.get(self.one.digest)
            self.assertEqual((self.one, True), (served.manifest, served.cached))
            self.assertIn(self.manifest, self.stored())
            self.restart()
        self.assertEqual([], self.asked())

    def test_tag(self) -> None:
        """A tag is revalidated with HEAD when it is first asked for, and is fresh then."""
        for _ in range(2):
            served = self.get()
            self.assertEqual((self.one, True), (served.manifest, served.cached))
            self.assertIsNone(served.age)
        self.assertEqual(["HEAD"], self.asked())
        self.assertLessEqual({self.manifest, self.tag}, self.stored())
        self.restart()
        self.get()
        self.assertEqual([], self.asked())

    def test_moved_tag(self) -> None:
        """A tag that has moved since is fetched."""
        two = self.upstream.add(raw("two"), "latest")
        self.assertEqual(two, self.get().manifest)
        self.assertEqual(["HEAD", "GET once"], self.asked())
        self.assertEqual(two, self.get().manifest)
        self.assertEqual([], self.asked())

    def test_unreachable(self) -> None:
        """While upstream cannot be asked, the tag is stale, counted from when it was written."""
        self.clock.advance(60)
        self.upstream.error = BadGateway("x")
        served = self.get()
        self.assertEqual((self.one, 60.0), (served.manifest, served.age))
        self.clock.advance(HOUR + WEEK)
        self.refused(BadGateway)

    def test_gone(self) -> None:
        """What upstream does not know any more does not come back, while it is down neither."""
        del self.upstream.manifests["latest"]
        self.refused(ManifestUnknown)
        self.upstream.error = BadGateway("x")
        self.refused(BadGateway)

    def test_broken_store(self) -> None:
        """A store that cannot be read is no reason that a pull fails."""
        self.driver.broken = "disk on fire"
        self.assertEqual(self.one, self.get().manifest)
        self.assertEqual(["GET"], self.asked())
