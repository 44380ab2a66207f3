"""An upstream with one blob, and manifests that say how long it is."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred

from oci_registry.pullthrough.blobs import OpenBlob
from oci_registry.spec.digest import Digest
from oci_registry.spec.ranges import RequestedRange
from oci_registry.spec.reference import Tag
from tests.unit.pullthrough.support import CacheTestCase

DATA = bytes(range(256)) * 1200


class HintTestCase(CacheTestCase):
    """A blob whose download continues as the test says."""

    data = DATA

    def setUp(self) -> None:
        super().setUp()
        self.have(self.data)
        self.upstream.manual = True

    def have(self, data: bytes) -> Digest:
        """Have another blob upstream."""
        self.digest = self.upstream.add_blob(data)
        return self.digest

    def stated(self, size: object, tag: str | None = None) -> None:
        """A manifest is served that states a size of the blob."""
        tag = tag or f"tag{len(self.upstream.manifests)}"
        layer = {"mediaType": "a/b", "digest": str(self.digest), "size": size}
        manifest = {"schemaVersion": 2, "config": {}, "layers": [layer], "of": tag}
        self.upstream.add(json.dumps(manifest).encode(), tag)
        self.now(self.manifests.get(self.target, Tag(tag)))
        self.upstream.asked.clear()

    def begin(self, asked: RequestedRange | None = None) -> Deferred[OpenBlob]:
        return self.start(self.blobs.open(self.target, self.digest, 0, asked))

    def open(self, asked: RequestedRange | None = None) -> OpenBlob:
        return self.successResultOf(self.begin(asked))

    def send(self, data: bytes) -> None:
        """Let some bytes of the download that was begun last arrive."""
        self.upstream.bodies[-1].send(data)
        self.clock.advance(1)

    def finish(self, data: bytes | None = None) -> None:
        """Let the download that was begun last come to its end."""
        body = self.upstream.bodies[-1]
        body.send(body.data if data is None else data)
        body.end()

    def hint(self) -> int | None:
        return self.sizes.get("example.com", "library/app", self.digest)
