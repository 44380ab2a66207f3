"""An upstream with one tag, for tests of what is made of it."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred

from oci_registry.pullthrough.served import ServedManifest
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.spec.reference import Tag
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
    """An upstream with one tag that is fresh for an hour."""

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
        """Return what upstream was asked since the last call: methods, and whether only once."""
        asked = [
            question.split(" ")[0] + (" once" if question.endswith("(once)") else "")
            for question in self.upstream.asked
        ]
        self.upstream.asked.clear()
        return asked
