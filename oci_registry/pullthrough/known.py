"""Manifests and tags that are known without asking upstream, in memory and in the store."""

from __future__ import annotations

from cachetools import LRUCache
from twisted.internet.interfaces import IReactorTime

from oci_registry.pullthrough.records import RecordWriter
from oci_registry.pullthrough.store_health import READ, StoreHealth
from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.reference import Tag
from oci_registry.storage.keys import manifest_key, tag_key
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.original import OriginalManifests
from oci_registry.storage.tags import TagRecord, TagStore
from oci_registry.upstream.table import Target

NEGATIVE_TAGS = 10_000
"""Entries of the negative cache of known tags."""


class KnownManifests:
    """Manifests and tags in memory and in the store; writes go on in the background, no method raises.

    Content of *originals* is taken over when it is first requested.
    """

    def __init__(
        self,
        manifests: ManifestStore,
        tags: TagStore,
        writer: RecordWriter,
        clock: IReactorTime,
        health: StoreHealth,
        originals: OriginalManifests,
    ) -> None:
        self._manifests = manifests
        self._tags = tags
        self._writer = writer
        self._clock = clock
        self._health = health
        self._originals = originals
        self._negative: LRUCache[str, bool] = LRUCache(NEGATIVE_TAGS)

    def recall(self, target: Target, digest: Digest) -> Manifest | None:
        """Return a manifest if it is in memory."""
        return self._manifests.recall(target.upstream.namespace, digest)

    def manifest_at(self, key: str) -> Manifest | None:
        """Return the manifest at a key of the store if it is in memory."""
        return self._manifests.recall_at(key)

    async def manifest(self, target: Target, digest: Digest) -> Manifest | None:
        """Return a manifest; None if it is not stored or cannot be read."""
        recent = self.recall(target, digest)
        if recent is not None:
            return recent
        return await self._health.or_default(READ, self._find(target, digest), None)

    async def _find(self, target: Target, digest: Digest) -> Manifest | None:
        host = target.upstream.namespace
        manifest = await self._manifests.get(host, digest)
        if manifest is None:
            original = await self._originals.get(host, target.repository, digest)
            if original is not None:
                manifest = original.manifest
                self.keep(target, manifest)
        return manifest

    def keep(self, target: Target, manifest: Manifest) -> None:
        """Keep a manifest from upstream: in memory at once, in the store soon."""
        host = target.upstream.namespace
        self._manifests.remember(host, manifest)
        self._writer.write(
            manifest_key(host, manifest.digest),
            lambda: self._manifests.put(host, manifest, target.repository),
            size=len(manifest.raw),
        )

    def recall_tag(self, target: Target, tag: Tag) -> TagRecord | None:
        """Return the record of a tag if it is in memory."""
        return self._tags.recall(*_names(target, tag))

    def tag_at(self, key: str) -> TagRecord | None:
        """Return the record at a key of the store if it is in memory; None if it must be revalidated."""
        return None if key in self._negative else self._tags.recall_at(key)

    async def tag(self, target: Target, tag: Tag) -> TagRecord | None:
        """Return the record of a tag; None if it is not stored or cannot be read."""
        return await self._health.or_default(READ, self._find_tag(target, tag), None)

    async def _find_tag(self, target: Target, tag: Tag) -> TagRecord | None:
        names = _names(target, tag)
        record = await self._tags.get(*names)
        if record is not None or self.is_negative(target, tag):
            return record
        original = await self._originals.get(target.upstream.namespace, target.repository, tag)
        record = self._tags.recall(*names)
        if original is None or record is not None:
            # Upstream may have been asked meanwhile: that is newer.
            return record
        manifest = original.manifest
        self.keep(target, manifest)
        record = TagRecord(manifest.digest, manifest.media_type, original.written)
        self._tags.remember(*names, record)
        # It may have been confirmed, moved and evicted here since then.
        self._negative[tag_key(*names)] = True
        return record

    def is_negative(self, target: Target, tag: Tag) -> bool:
        """Whether a tag must be revalidated, however new: refused by upstream, or taken over."""
        return tag_key(*_names(target, tag)) in self._negative

    def confirm(self, target: Target, tag: Tag, manifest: Manifest) -> None:
        """Record that upstream has just confirmed that a tag names this manifest.

        The record is written after the manifest. It is not written again if only its time has changed a
        little.
        """
        names = _names(target, tag)
        record = TagRecord(manifest.digest, manifest.media_type, self._clock.seconds())
        self._negative.pop(tag_key(*names), None)
        self._tags.remember(*names, record)
        if not self._tags.is_stored(*names, record):
            self._writer.write(
                tag_key(*names),
                lambda: self._tags.put(*names, record),
                after=manifest_key(target.upstream.namespace, manifest.digest),
            )

    def set_negative(self, target: Target, tag: Tag, *, gone: bool) -> None:
        """Record that upstream has just refused a known tag; *gone*: because it no longer exists."""
        names = _names(target, tag)
        self._negative[tag_key(*names)] = True
        if gone:
            self._tags.forget(*names)
            self._writer.write(tag_key(*names), lambda: self._tags.delete(*names), important=True)


def _names(target: Target, tag: Tag) -> tuple[str, str, str]:
    return target.upstream.namespace, target.repository, tag.name
