"""Prefetch brings what clients will ask for next, and nothing that would be in anyone's way."""

from __future__ import annotations

from oci_registry.pullthrough.prefetch import PrefetchLimits
from oci_registry.pullthrough.store_health import WRITTEN
from oci_registry.pullthrough.used_platforms import PlatformLimits, UsedPlatforms
from oci_registry.spec.contents import Child, children_of
from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import OCI_INDEX
from oci_registry.spec.platforms import Platform
from oci_registry.storage.room import Unlimited
from oci_registry.upstream.interfaces import BUSY, FREE, Capacity, Spare
from oci_registry.upstream.table import Target
from tests.support.fake_upstream import FakeUpstream, fake_settings, manifest_of
from tests.unit.pullthrough.warm_case import WarmTestCase


class NoSpareRoom(Unlimited):
    """A store in which something would have to be evicted."""

    def has_room(self, size: int) -> bool:
        return False


class PrefetchTestCase(WarmTestCase):
    """An upstream with prefetch."""

    def setUp(self) -> None:
        super().setUp()
        self.upstream.change(prefetch=True)

    def pull(self, manifest: Manifest) -> None:
        """A client pulls a manifest."""
        self.now(self.manifests.get(self.target, manifest.digest))
        self.prefetcher.pulled(self.target, manifest)
        self.go()

    def outcomes(self) -> dict[str, float]:
        found = {
            outcome: self.counted(
                "oci_registry_prefetches_total", namespace="example.com", outcome=outcome
            )
            for outcome in ("stored", "dropped", "skipped", "failed")
        }
        return {outcome: count for outcome, count in found.items() if count}


class Images(PrefetchTestCase):
    """The manifest of a platform."""

    def test_pulled(self) -> None:
        """Config and layers are fetched, in order, each once."""
        image = self.image("1", b"one", b"two")
        self.pull(image)
        self.assertEqual(
            [f"GET library/app {blob.digest}" for blob in image.blobs], self.upstream.asked[1:]
        )
        self.assertTrue(all(self.blob_stored(data) for data in (b"one", b"two")))
        self.assertEqual({"stored": 3}, self.outcomes())

    def test_off(self) -> None:
        """Without prefetch, nothing is fetched."""
        self.upstream.change(prefetch=False)
        self.pull(self.image("1", b"one"))
        self.assertEqual(1, len(self.upstream.asked))

    def test_stored(self) -> None:
        """What is stored is not fetched, and not counted."""
        image = self.image("1", b"one")
        self.pull(image)
        self.restart()
        self.upstream.asked.clear()
        self.pull(image)
        self.assertEqual([], self.upstream.asked)
        self.assertEqual({"stored": 2}, self.outcomes())

    def test_many_nodes(self) -> None:
        """A manifest that many clients pull at the same time is looked at once a minute."""
        image = self.image("1", b"one")
        self.upstream.error = BadGateway("it is down")
        self.prefetcher.pulled(self.target, image)
        self.prefetcher.pulled(self.target, image)
        self.go()
        self.assertEqual({"failed": 2}, self.outcomes())
        self.upstream.error = None
        self.clock.advance(61)
        self.pull(image)
        self.assertEqual({"failed": 2, "stored": 2}, self.outcomes())

    def test_joined(self) -> None:
        """A client joins the download; one of its own is left alone, and the next blob is fetched."""
        image = self.image("1", b"one", b"two", b"three", b"four")
        self.upstream.manual = True
        client = self.start(self.blobs.open(self.target, image.blobs[0].digest, 0))
        self.pull(image)
        blobs = [asked.split()[-1] for asked in self.upstream.asked if "sha256" in asked][2:]
        self.assertEqual([str(blob.digest) for blob in image.blobs[1:4]], blobs)
        joining = self.now(self.blobs.open(self.target, image.blobs[1].digest, 0))
        self.assertEqual("joined", joining.outcome.value)
        joining.close()
        self.successResultOf(client).close()
        self.assertEqual(4, len(self.upstream.bodies))

    def test_busy(self) -> None:
        """While clients need the upstream, prefetch waits, and leaves what they fetch meanwhile."""
        image = self.image("1", b"one")
        self.upstream.capacity = BUSY
        self.pull(image)
        self.assertEqual(1, len(self.upstream.asked))
        self.now(self.blobs.open(self.target, image.blobs[1].digest, 0)).close()
        self.upstream.capacity = FREE
        self.go(seconds=1)
        self.assertEqual(3, len(self.upstream.asked))
        self.assertEqual({"stored": 1}, self.outcomes())

    def test_skipped(self) -> None:
        """Nothing is fetched while the store fails, where something would be evicted, or from the reserve."""
        image = self.image("1", b"one")
        self.health.record_failure(WRITTEN, OSError("it is full"))
        self.pull(image)
        self.restart()
        self.prefetcher.room = NoSpareRoom()
        self.pull(image)
        self.restart()
        self.upstream.capacity = Spare(Capacity.RESERVED, "little is left")
        self.pull(image)
        self.assertEqual(({"skipped": 6}, 1), (self.outcomes(), len(self.upstream.asked)))

    def test_queue(self) -> None:
        """The queue is bounded: the oldest is dropped, and counted."""
        self.prefetch_limits = PrefetchLimits(queue=2, at_once=1)
        self.restart()
        image = self.image("1", b"one", b"two", b"three")
        self.pull(image)
        self.assertEqual({"dropped": 2, "stored": 2}, self.outcomes())
        self.assertTrue(self.blob_stored(b"two") and self.blob_stored(b"three"))

    def test_large_manifest(self) -> None:
        """Only so many blobs of one manifest are fetched."""
        self.prefetch_limits = PrefetchLimits(blobs=2)
        self.restart()
        self.pull(self.image("1", b"one", b"two", b"three"))
        self.assertEqual({"stored": 2}, self.outcomes())

    def test_named_upstreams(self) -> None:
        """Few downloads at once are from upstreams that clients have named."""
        self.prefetch_limits = PrefetchLimits(named=1)
        self.restart()
        self.upstream.manual = True
        self.upstream.change(configured=False)
        self.pull(self.image("1", b"one", b"two"))
        self.assertEqual(1, len(self.upstream.bodies))

    def test_upstreams_apart(self) -> None:
        """An upstream that sends nothing delays no other."""
        self.upstream.holding = True
        image = self.image("1", b"one", b"two", b"three")
        self.prefetcher.pulled(self.target, image)
        other = FakeUpstream(fake_settings("other.example", prefetch=True))
        other.blobs = {str(Digest.of(b"x")): b"x"}
        layer = f'{{"mediaType":"a/b","digest":"{Digest.of(b"x")}","size":1}}'
        raw = f'{{"schemaVersion":2,"layers":[{layer}]}}'
        self.prefetcher.pulled(Target(other, "app"), manifest_of(raw.encode()))
        self.go()
        self.assertTrue(self.blob_stored(b"x"))

    def test_stop(self) -> None:
        """Nothing more is fetched once the daemon stops."""
        image = self.image("1", b"one")
        self.prefetcher.pulled(self.target, image)
        self.prefetcher.stop()
        self.prefetcher.pulled(self.target, image)
        self.go()
        self.assertEqual(({}, []), (self.outcomes(), self.upstream.asked))


class Indexes(PrefetchTestCase):
    """Images with several platforms."""

    def setUp(self) -> None:
        super().setUp()
        self.amd = self.image(None, b"amd", like="amd")
        self.arm = self.image(None, b"arm", like="arm")
        self.first = self.index("1", {"linux/amd64": self.amd, "linux/arm64": self.arm})

    def test_unknown(self) -> None:
        """Of an index nothing is fetched before a client has used a platform."""
        self.pull(self.first)
        self.assertEqual(1, len(self.upstream.asked))

    def test_used(self) -> None:
        """Of a new index of the repository, the platforms are fetched that clients have used."""
        self.pull(self.first)
        self.pull(self.arm)
        self.assertEqual((False, True), (self.blob_stored(b"amd"), self.blob_stored(b"arm")))
        newer = {
            "linux/amd64": self.image(None, b"new amd", like="new amd"),
            "linux/arm64": self.image(None, b"new arm", like="new arm"),
        }
        self.pull(self.index("2", newer))
        self.assertEqual(
            (False, True), (self.blob_stored(b"new amd"), self.blob_stored(b"new arm"))
        )

    def test_restart(self) -> None:
        """The platforms that clients have used are known after a restart, and no others."""
        self.pull(self.first)
        self.pull(self.arm)
        self.prefetcher.stop()
        self.go()
        self.restart()
        self.upstream.asked.clear()
        newer = {
            "linux/amd64": self.image(None, b"new amd", like="new amd"),
            "linux/arm64": self.image(None, b"new arm", like="new arm"),
        }
        self.pull(self.index("2", newer))
        self.assertEqual(
            (False, True), (self.blob_stored(b"new amd"), self.blob_stored(b"new arm"))
        )

    def test_other_repository(self) -> None:
        """What was used of one repository says nothing about another."""
        self.pull(self.first)
        self.pull(self.arm)
        self.target = Target(self.upstream, "library/other")
        self.upstream.asked.clear()
        self.pull(self.index("3", {"linux/arm64": self.arm}))
        self.assertEqual(1, len(self.upstream.asked))

    def test_malformed(self) -> None:
        """An index that cannot be read, or is very large, is left alone."""
        for raw in (b'{"manifests":[7]}', b'{"manifests":[' + b" " * 70_000 + b"]}"):
            self.prefetcher.pulled(self.target, manifest_of(raw, OCI_INDEX))
        self.go()
        self.assertEqual({}, self.outcomes())


def is_used(used: UsedPlatforms, platform: Platform, repository: str = "y") -> bool:
    """Return whether an index entry of a platform is chosen."""
    child = Child(Descriptor(None, Digest.of(b"x"), None), platform, False)
    return bool(used.chosen(("x", repository), [child]))


class Platforms(PrefetchTestCase):
    """UsedPlatforms."""

    def test_bounds(self) -> None:
        """All that is remembered is bounded; the latest stays."""
        used = UsedPlatforms(PlatformLimits(of_one_index=3, platforms=2))
        names = ("a", "b", "c", "d")
        manifests = {f"linux/{n}": self.image(None, like=n) for n in names}
        children = children_of(self.index("1", manifests))
        assert children is not None
        used.learn(("x", "y"), children)
        for child in children:
            used.use(("x", "y"), child.descriptor.digest)
            used.use(("x", "y"), child.descriptor.digest)
        for name, expected in (("a", False), ("b", True), ("c", True), ("d", False)):
            self.assertEqual(expected, is_used(used, Platform("linux", name)), name)
        self.assertFalse(is_used(used, Platform("linux", "c"), "z"))

    def test_used_again(self) -> None:
        """A platform that is used again stays longer than those that are used only once."""
        used = UsedPlatforms(PlatformLimits(platforms=2))
        manifests = {f"linux/{n}": self.image(None, like=n) for n in ("a", "b", "c")}
        used.learn(("x", "y"), children_of(self.index("1", manifests)) or ())
        for name in ("a", "b", "a", "c"):
            used.use(("x", "y"), manifests[f"linux/{name}"].digest)
        for name, expected in (("a", True), ("b", False), ("c", True)):
            self.assertEqual(expected, is_used(used, Platform("linux", name)), name)

    def test_variants(self) -> None:
        """An index may state the variant that another leaves out; other variants are not the same."""
        used = UsedPlatforms()
        manifests = {"linux/arm64": self.image(None, like="arm64")}
        used.learn(("x", "y"), children_of(self.index("1", manifests)) or ())
        used.use(("x", "y"), manifests["linux/arm64"].digest)
        self.assertTrue(is_used(used, Platform("linux", "arm64", "v8")))
        self.assertFalse(is_used(used, Platform("linux", "arm", "v7")))
