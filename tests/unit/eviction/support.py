"""What the tests of the sweep have in common."""

from __future__ import annotations

import json
from collections.abc import Sequence

from oci_registry.eviction.pinned import PinnedImages
from oci_registry.eviction.sweep import Lifetimes, Sweep, Swept
from oci_registry.metrics import Metrics
from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import OCI_INDEX, OCI_MANIFEST
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.keys import blob_key, manifest_key
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.open_blob import StoredBlob
from oci_registry.storage.pins import Pins
from oci_registry.storage.referrers import KeptReferrers, ReferrersStore
from oci_registry.storage.tags import TagRecord, TagStore
from oci_registry.storage.totals import StoredTotals
from oci_registry.storage.usage import Usage
from oci_registry.streams.parsing import ManifestReader
from tests.support.streams import run_at_once
from tests.unit.storage.support import StoreTestCase

DAY = 86400.0
HOST = "docker.io"
BRIEF = "brief.example"
OTHERS = "unknown.example"
LIFETIMES = {HOST: 14 * DAY, BRIEF: DAY}


def descriptor(data: bytes, media_type: str) -> dict[str, object]:
    """Return what a manifest says of some content."""
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}


class SweepTestCase(StoreTestCase):
    """A store with three registries: two have lifetimes of their own."""

    batch = 500

    def setUp(self) -> None:
        super().setUp()
        self.downloading: set[Digest] = set()
        self.announced: list[str] = []
        self.metrics = Metrics()
        self.pins = Pins(self.driver)
        self.pinned = PinnedImages(self.pins)
        self.restart()

    def restart(self, by_host: dict[str, float] | None = None, otherwise: float = 14 * DAY) -> None:
        """Make everything again that is not on the medium."""
        self.usage = Usage(self.driver, self.clock)
        self.totals = StoredTotals()
        self.blobs = BlobStore(
            self.driver, self.usage, run_at_once, self.totals, check_always=False
        )
        self.manifests = ManifestStore(
            self.driver, self.usage, ManifestReader(run_at_once), self.totals
        )
        self.tags = TagStore(self.driver)
        self.referrers = ReferrersStore(self.driver, self.usage)
        self.sweep = Sweep(
            self.blobs,
            self.manifests,
            self.tags,
            self.referrers,
            Lifetimes(LIFETIMES if by_host is None else by_host, otherwise),
            self.driver.begin_sweep,
            self.downloading.__contains__,
            self.clock.seconds,
            self.metrics,
            self.totals,
            batch=self.batch,
            pinned=self.pinned,
            announce=self.announce,
        )

    async def announce(self, keys: Sequence[str]) -> None:
        """Note what others are told."""
        self.announced += keys

    def blob(self, data: bytes) -> bytes:
        """Store a blob."""
        self.driver.place(blob_key(Digest.of(data)), data, sealed=True)
        self.blobs.committed(Digest.of(data), len(data))
        return data

    def manifest(
        self, *layers: bytes, host: str = HOST, children: tuple[Manifest, ...] = ()
    ) -> Manifest:
        """Store a manifest of these layers, or an index of these manifests."""
        document: dict[str, object] = {"schemaVersion": 2}
        if children:
            document["manifests"] = [descriptor(child.raw, child.media_type) for child in children]
        else:
            document["config"] = descriptor(layers[0], "application/json")
            document["layers"] = [descriptor(layer, "application/tar") for layer in layers[1:]]
        raw = json.dumps(document).encode()
        manifest = Manifest(raw, OCI_INDEX if children else OCI_MANIFEST, Digest.of(raw))
        self.result(self.manifests.put(host, manifest))
        return manifest

    def tag(self, manifest: Manifest, tag: str = "latest", host: str = HOST) -> None:
        """Store a tag of a manifest."""
        record = TagRecord(manifest.digest, manifest.media_type, self.clock.seconds())
        self.result(self.tags.put(host, "library/app", tag, record))

    def referred(self, subject: bytes, host: str = HOST) -> None:
        """Store a list of what refers to a manifest."""
        kept = KeptReferrers(b'{"manifests":[]}', self.clock.seconds())
        self.result(self.referrers.put(host, "library/app", Digest.of(subject), kept))

    def swept(self, days: float = 0.0) -> Swept:
        """Sweep when so many days have passed."""
        self.clock.advance(days * DAY)
        return self.result(self.sweep.run())

    def has(self, thing: bytes | Manifest, host: str = HOST) -> bool:
        """Whether a blob or a manifest is still on the medium."""
        if isinstance(thing, Manifest):
            return self.used(manifest_key(host, thing.digest)) is not None
        return self.used(blob_key(Digest.of(thing))) is not None

    def open(self, data: bytes) -> StoredBlob:
        """Open a blob."""
        blob = self.result(self.blobs.open(Digest.of(data)))
        assert blob is not None
        return blob

    def read(self, manifest: Manifest, host: str = HOST) -> None:
        """Use a manifest."""
        self.assertIsNotNone(self.result(self.manifests.get(host, manifest.digest)))
