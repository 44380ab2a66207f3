"""What the sweep removes, and what it keeps."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.eviction.sweep import Lifetimes, Sweep, Swept
from oci_registry.metrics import Metrics
from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import OCI_INDEX, OCI_MANIFEST
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.drivers.memory import MemoryDriver
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import blob_key
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.referrers import ReferrersStore
from oci_registry.storage.tags import TagRecord, TagStore
from oci_registry.storage.usage import Usage
from oci_registry.streams.parsing import ManifestReader

DAY = 86400.0
HUB, OWN = "docker.io", "example.com"


class Sweeping(SynchronousTestCase):
    """A store in memory, with a lifetime of ten days for one registry and one day for the other."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000 * DAY)
        self.driver = MemoryDriver(self.clock)
        self.busy: set[Digest] = set()
        self.open()

    def open(self) -> None:
        """Make the stores again, as a start of the daemon does."""
        self.usage = Usage(self.driver, self.clock)
        self.blobs = BlobStore(self.driver, self.usage, execute, check_always=False)
        self.manifests = ManifestStore(self.driver, self.usage, ManifestReader(execute))
        self.tags = TagStore(self.driver)
        self.sweep = Sweep(
            self.blobs,
            self.manifests,
            self.tags,
            ReferrersStore(self.driver, self.usage),
            Lifetimes({HUB: 10 * DAY, OWN: DAY}, otherwise=10 * DAY),
            self.driver.begin_sweep,
            self.busy.__contains__,
            self.clock.seconds,
            Metrics(),
        )

    def run_sweep(self) -> Swept:
        return self.successResultOf(Deferred.fromCoroutine(self.sweep.run()))

    def blob(self, data: bytes) -> Digest:
        digest = Digest.of(data)
        self.driver.place(blob_key(digest), data, sealed=True)
        return digest

    def put(self, host: str, raw: bytes, media_type: str) -> Digest:
        manifest = Manifest(raw, media_type, Digest.of(raw))
        self.successResultOf(Deferred.fromCoroutine(self.manifests.put(host, manifest)))
        return manifest.digest

    def image(self, host: str, *blobs: Digest) -> Digest:
        layers = [{"mediaType": "a/b", "digest": str(d), "size": 1} for d in blobs]
        return self.put(host, json.dumps({"layers": layers}).encode(), OCI_MANIFEST)

    def index(self, host: str, *manifests: Digest) -> Digest:
        children = [{"mediaType": OCI_MANIFEST, "digest": str(d), "size": 1} for d in manifests]
        return self.put(host, json.dumps({"manifests": children}).encode(), OCI_INDEX)

    def tag(self, host: str, name: str, digest: Digest) -> None:
        record = TagRecord(digest, OCI_MANIFEST, self.clock.seconds())
        self.successResultOf(Deferred.fromCoroutine(self.tags.put(host, "a/b", name, record)))

    def pull(self, host: str, digest: Digest) -> None:
        """Use a manifest."""
        self.assertIsNotNone(
            self.successResultOf(Deferred.fromCoroutine(self.manifests.get(host, digest)))
        )

    def has(self, digest: Digest) -> bool:
        return self.successResultOf(self.driver.stat(blob_key(digest))) is not None

    def test_unused(self) -> None:
        """An object goes when it has lain unused for longer than its registry's time, not before."""
        blob = self.blob(b"layer")
        manifest = self.image(OWN, blob)
        self.tag(OWN, "1", manifest)
        self.clock.advance(DAY)
        self.assertEqual(Swept(), self.run_sweep())
        self.clock.advance(1)
        self.assertEqual(Swept(blobs=1, size=5, manifests=1, tags=1), self.run_sweep())
        self.assertFalse(self.has(blob))
        self.assertEqual(Swept(), self.run_sweep())

    def test_use_keeps(self) -> None:
        """Using a manifest keeps it and its blobs, a day at a time."""
        blob = self.blob(b"layer")
        manifest = self.image(OWN, blob)
        for _ in range(20):
            self.clock.advance(0.9 * DAY)
            self.pull(OWN, manifest)
            self.assertEqual(Swept(), self.run_sweep())
        self.assertTrue(self.has(blob))

    def test_blob_used_without_its_manifest(self) -> None:
        """A blob that is used stays when its manifest goes."""
        blob = self.blob(b"layer")
        self.image(OWN, blob)
        self.clock.advance(0.9 * DAY)
        opened = self.successResultOf(Deferred.fromCoroutine(self.blobs.open(blob)))
        opened.close()
        self.clock.advance(0.2 * DAY)
        self.assertEqual(Swept(manifests=1), self.run_sweep())
        self.assertTrue(self.has(blob))

    def test_being_read(self) -> None:
        """A blob that is being read stays until it is closed, however long that takes."""
        blob = self.blob(b"layer")
        opened = self.successResultOf(Deferred.fromCoroutine(self.blobs.open(blob)))
        self.clock.advance(100 * DAY)
        self.assertEqual(Swept(), self.run_sweep())
        opened.close()
        self.assertEqual(1, self.run_sweep().blobs)

    def test_being_downloaded(self) -> None:
        """A blob that is being downloaded again is not evicted."""
        blob = self.blob(b"layer")
        self.clock.advance(100 * DAY)
        self.busy.add(blob)
        self.assertEqual(Swept(), self.run_sweep())

    def test_index_keeps_its_children(self) -> None:
        """The manifests of an index that is used stay, and so do their blobs."""
        blobs = [self.blob(b"amd"), self.blob(b"arm")]
        children = [self.image(OWN, blob) for blob in blobs]
        index = self.index(OWN, *children)
        self.clock.advance(0.9 * DAY)
        self.pull(OWN, index)
        self.clock.advance(0.9 * DAY)
        self.assertEqual(Swept(), self.run_sweep())
        self.clock.advance(0.2 * DAY)
        self.assertEqual(Swept(blobs=2, size=6, manifests=3), self.run_sweep())

    def test_shared_blob(self) -> None:
        """A blob stays for as long as any kept manifest of any registry needs it."""
        shared, single = self.blob(b"shared"), self.blob(b"single")
        self.image(OWN, shared, single)
        self.image(HUB, shared)
        self.clock.advance(2 * DAY)
        self.assertEqual(Swept(blobs=1, size=6, manifests=1), self.run_sweep())
        self.assertTrue(self.has(shared))
        self.clock.advance(9 * DAY)
        self.assertEqual(Swept(blobs=1, size=6, manifests=1), self.run_sweep())

    def test_orphan(self) -> None:
        """A blob that no manifest speaks of has the longest time of all."""
        blob = self.blob(b"orphan")
        self.clock.advance(10 * DAY)
        self.assertEqual(Swept(), self.run_sweep())
        self.clock.advance(1)
        self.assertEqual(1, self.run_sweep().blobs)
        self.assertFalse(self.has(blob))

    def test_used_since_the_sweep_began(self) -> None:
        """What is used while the sweep runs stays."""
        blob = self.blob(b"layer")
        manifest = self.image(OWN, blob)
        self.clock.advance(2 * DAY)
        really = self.manifests.names
        once: list[None] = []

        async def meanwhile(host: str, digest: Digest) -> frozenset[Digest]:
            if not once:
                once.append(None)
                self.clock.advance(1)
                self.pull(OWN, manifest)
                opened = await self.blobs.open(blob)
                assert opened is not None
                opened.close()
            return await really(host, digest)

        self.patch(self.manifests, "names", meanwhile)
        self.assertEqual(Swept(), self.run_sweep())
        self.assertTrue(self.has(blob))

    def test_restart(self) -> None:
        """A restart remembers uses, to the minute."""
        blob = self.blob(b"layer")
        manifest = self.image(OWN, blob)
        self.clock.advance(0.9 * DAY)
        self.pull(OWN, manifest)
        self.open()
        self.clock.advance(0.9 * DAY)
        self.assertEqual(Swept(), self.run_sweep())
        self.assertTrue(self.has(blob))

    def test_tags_of_other_manifests(self) -> None:
        """Only the tags that named what has gone go with it."""
        old = self.image(OWN)
        self.tag(OWN, "old", old)
        self.clock.advance(2 * DAY)
        new = self.image(OWN, self.blob(b"new"))
        self.tag(OWN, "new", new)
        self.assertEqual(Swept(manifests=1, tags=1), self.run_sweep())
        names = Deferred.fromCoroutine(self.tags.names(OWN, "a/b", 10))
        self.assertEqual(["new"], self.successResultOf(names))

    def test_foreign_files(self) -> None:
        """What is not an object of ours is not touched."""
        for key in ("blobs/readme", "blobs/sha256/zz/x", "repositories/x", "manifests/a/b/c"):
            self.driver.place(key, b"foreign", sealed=False)
        self.clock.advance(100 * DAY)
        self.assertEqual(Swept(), self.run_sweep())

    def test_zero(self) -> None:
        """With a lifetime of nothing, what is not in use goes at the next sweep."""
        self.sweep.follow(Lifetimes({OWN: 0.0}, otherwise=0.0))
        self.image(OWN, self.blob(b"layer"))
        self.clock.advance(0.001)
        self.assertEqual(Swept(blobs=1, size=5, manifests=1), self.run_sweep())

    def test_broken_store(self) -> None:
        """A store that fails ends the sweep with its error."""
        self.driver.broken = "gone"
        self.failureResultOf(Deferred.fromCoroutine(self.sweep.run()), StoreError)
