"""What the account knows of what is stored."""

from __future__ import annotations

from oci_registry.account.books import HISTORY
from oci_registry.account.queries import TagVisit, history, naming
from oci_registry.spec.digest import Digest
from oci_registry.storage.keys import blob_key, manifest_key, referrers_key, tag_key
from tests.unit.account.support import HUB, OWN, AccountTestCase
from tests.unit.storage.support import NOW


class Objects(AccountTestCase):
    """Blobs and manifests."""

    def test_sums(self) -> None:
        """The sums follow what is stored, replaced and removed."""
        layer = self.blob(b"layer")
        image = self.image(layer)
        self.image(layer, host=OWN)
        self.tag("1", image)
        self.assertEqual(self.summed(), self.stored())
        self.assertEqual(self.summed()[0], 3)
        self.blob(b"layer")
        self.assertEqual(self.summed(), self.stored())
        self.successResultOf(self.observed.delete_many([blob_key(layer), blob_key(layer)]))
        self.successResultOf(self.observed.delete(manifest_key(HUB, image)))
        self.assertEqual(self.summed(), self.stored())
        self.assertEqual((self.totals.objects, self.totals.size), self.stored())

    def test_on_disk(self) -> None:
        """What everything takes on a disk is counted in whole blocks, tags and lists included."""
        self.blob(b"x" * 5000)
        self.tag("1", Digest.of(b"elsewhere"))
        self.tag("1", Digest.of(b"another"))
        key = referrers_key(HUB, "a/b", Digest.of(b"subject"))
        self.successResultOf(self.observed.put(key, b"list"))
        self.successResultOf(self.account.flush())
        assert self.account.state is not None
        self.assertEqual(self.account.state.sums.disk, 4 * 4096)
        for gone in (key, tag_key(HUB, "a/b", "1")):
            self.successResultOf(self.observed.delete(gone))
        self.successResultOf(self.account.flush())
        self.assertEqual(self.account.state.sums.disk, 2 * 4096)

    def test_edges(self) -> None:
        """Which manifests need a blob is known, whether it is stored or not, and while one is stored."""
        layer = Digest.of(b"layer")
        ours, theirs = self.image(layer), self.image(layer, host=OWN)
        self.assertEqual(set(self.ask(naming(layer))), {(HUB, ours), (OWN, theirs)})
        self.successResultOf(self.observed.delete(manifest_key(HUB, ours)))
        self.assertEqual(self.ask(naming(layer)), [(OWN, theirs)])
        self.successResultOf(self.observed.delete(manifest_key(OWN, theirs)))
        self.assertEqual(self.ask(naming(layer)), [])
        self.assertEqual(self.rows("edges"), [])

    def test_use_of_an_image(self) -> None:
        """A use of a manifest is one of all that it names, at any depth, in its own registry."""
        layer, other = self.blob(b"layer"), self.blob(b"other")
        image, foreign = self.image(layer), self.image(other, host=OWN)
        index = self.image(image, foreign, index=True)
        outer = self.image(index, index=True)
        self.clock.advance(100)
        self.account.used(manifest_key(HUB, outer), NOW + 100)
        rows = self.rows("blobs JOIN content ON id=content", "digest, used")
        used = {row[0]: row[1] for row in rows}
        self.assertEqual(used[bytes.fromhex(layer.encoded)], NOW + 100)
        self.assertEqual(used[bytes.fromhex(other.encoded)], NOW)
        self.assertEqual(sorted(self.rows("manifests", "used")), [(NOW,), *[(NOW + 100,)] * 3])
        self.account.used(manifest_key(HUB, outer), NOW + 50)
        self.assertEqual(max(self.rows("manifests", "used")), (NOW + 100,))

    def test_stored_after_a_use(self) -> None:
        """A blob or a child that is stored after its manifest was used counts as used then, at least."""
        child = self.image(Digest.of(b"layer"))
        self.successResultOf(self.observed.delete(manifest_key(HUB, child)))
        index = self.image(child, index=True)
        self.account.used(manifest_key(HUB, index), NOW + 500)
        self.successResultOf(self.account.flush())
        self.image(Digest.of(b"layer"))
        self.blob(b"layer")
        self.assertEqual(set(self.rows("manifests", "used")), {(NOW + 500,)})
        self.assertEqual(self.rows("blobs", "used"), [(NOW + 500,)])

    def test_pulls(self) -> None:
        """Pulls are counted up to three; the requests of one pull count once, and the first not at all."""
        key = manifest_key(HUB, self.image(Digest.of(b"layer")))
        for seconds, pulls in ((30, 0), (60, 1), (90, 1), (120, 2), (300, 3), (900, 3)):
            self.account.used(key, NOW + seconds)
            self.assertEqual(self.rows("manifests", "pulls"), [(pulls,)], seconds)

    def test_other_files(self) -> None:
        """Files that are no objects are not in it."""
        for key in (
            "blobs/README",
            "repositories/docker.io/x",
            "repositories/docker.io/_manifests/x",
        ):
            self.driver.place(key, b"hello", sealed=False)
            self.account.changed(key)
            self.account.used(key, NOW)
        self.assertEqual(self.summed(), (0, 0))
        self.assertEqual(self.rows("content"), [])

    def test_wrong_manifest(self) -> None:
        """A manifest whose bytes are wrong is counted, and names nothing."""
        key = manifest_key(HUB, Digest.of(b"other"))
        self.successResultOf(
            self.observed.put(
                key, b'{"mediaType": "a/b"}\n{"x": "%s"}' % str(Digest.of(b"y")).encode()
            )
        )
        self.assertEqual(self.summed(), self.stored())
        self.assertEqual(self.rows("edges"), [])


class Tags(AccountTestCase):
    """What tags name, and have named."""

    def test_history(self) -> None:
        """Each manifest that a tag has named is remembered, with its first and its last time."""
        one, two = Digest.of(b"one"), Digest.of(b"two")
        for when, digest in ((0, one), (1000, one), (2000, two), (3000, one), (4000, two)):
            self.clock.advance(NOW + when - self.clock.seconds())
            self.tag("1", digest)
            self.successResultOf(self.account.flush())
        expected = [
            TagVisit(two, NOW + 2000, NOW + 4000, True),
            TagVisit(one, NOW, NOW + 3000, False),
        ]
        self.assertEqual(self.ask(history(HUB, "a/b", "1")), expected)
        self.successResultOf(self.observed.delete(tag_key(HUB, "a/b", "1")))
        self.assertEqual(
            [visit.current for visit in self.ask(history(HUB, "a/b", "1"))], [False, False]
        )

    def test_bounded(self) -> None:
        """The latest ones are remembered."""
        digests = [Digest.of(b"%d" % number) for number in range(HISTORY + 5)]
        for digest in digests:
            self.clock.advance(1)
            self.tag("1", digest)
            self.successResultOf(self.account.flush())
        visits = self.ask(history(HUB, "a/b", "1"))
        self.assertEqual([visit.digest for visit in visits], digests[: -HISTORY - 1 : -1])
