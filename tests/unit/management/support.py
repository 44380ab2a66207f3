"""A store in memory, its account, and whoever looks after it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from oci_registry.management.index import DaemonIndex
from oci_registry.management.manager import Management
from oci_registry.management.removal import Content, NoPendingWrites
from oci_registry.management.rules import Rules
from oci_registry.management.subjects import Subject, parse_subject
from oci_registry.spec.digest import Digest
from oci_registry.spec.image import parse_image
from oci_registry.spec.mediatypes import OCI_INDEX, OCI_MANIFEST
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.keys import blob_key, manifest_key, tag_key
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.pins import Pins
from oci_registry.storage.tags import TagRecord, TagStore
from oci_registry.storage.usage import Usage
from oci_registry.streams.parsing import ManifestReader
from tests.support.streams import run_at_once
from tests.unit.account.support import HUB, AccountTestCase

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def subject(text: str) -> Subject:
    """Return what a name means."""
    return parse_subject(text, parse_image)


class ManagementTestCase(AccountTestCase):
    """A store with an account, and `management` of both; *busy* are the blobs that are being downloaded."""

    def setUp(self) -> None:
        super().setUp()
        self.busy: set[Digest] = set()
        self.rules = Rules(busy=self.busy.__contains__)
        self.manage()

    def manage(self, rules: Rules | None = None) -> None:
        """Begin to look after the store, by these rules."""
        usage = Usage(self.observed, self.clock)
        self.content = Content(
            self.observed,
            BlobStore(self.observed, usage, run_at_once, check_always=False),
            ManifestStore(self.observed, usage, ManifestReader(run_at_once)),
            TagStore(self.observed),
            NoPendingWrites(),
        )
        self.management = Management(
            DaemonIndex(self.account),
            self.content,
            Pins(self.observed),
            rules or self.rules,
            self.clock.seconds,
        )

    def manifest(
        self,
        *layers: Digest,
        host: str = HUB,
        repository: str | None = "library/x",
        sizes: Sequence[int] = (),
        kind: str = OCI_MANIFEST,
    ) -> Digest:
        """Store a manifest of these layers; the first is the config."""
        each = [
            {"mediaType": LAYER if at else CONFIG, "digest": str(layer), "size": size}
            for at, (layer, size) in enumerate(zip(layers, sizes or [1] * len(layers), strict=True))
        ]
        document = {"schemaVersion": 2, "config": each[0], "layers": each[1:]}
        return self.put(document, kind, host, repository)

    def index_of(
        self, *children: Digest, host: str = HUB, repository: str | None = "library/x"
    ) -> Digest:
        """Store an index of manifests, each for an architecture of its own."""
        entries = [
            {
                "mediaType": OCI_MANIFEST,
                "digest": str(child),
                "size": 1,
                "platform": {"os": "linux", "architecture": f"a{number}"},
            }
            for number, child in enumerate(children)
        ]
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        return self.put(document, OCI_INDEX, host, repository)

    def put(
        self, document: dict[str, object], kind: str, host: str, repository: str | None
    ) -> Digest:
        """Store a manifest with any content."""
        raw = json.dumps(document).encode()
        head = {"mediaType": kind} | ({} if repository is None else {"repository": repository})
        key = manifest_key(host, Digest.of(raw))
        self.successResultOf(self.observed.put(key, json.dumps(head).encode() + b"\n" + raw))
        return Digest.of(raw)

    def name(self, text: str, digest: Digest) -> None:
        """Let a tag name a manifest."""
        image = parse_image(text)
        record = TagRecord(digest, OCI_MANIFEST, self.clock.seconds())
        key = tag_key(image.registry, image.repository, str(image.reference))
        self.successResultOf(self.observed.put(key, record.to_json()))

    def has(self, digest: Digest, host: str = HUB) -> bool:
        """Whether a blob or a manifest is stored."""
        objects = self.driver._objects
        return blob_key(digest) in objects or manifest_key(host, digest) in objects
