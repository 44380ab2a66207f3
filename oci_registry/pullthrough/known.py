"""What is known without asking upstream: stored manifests, and what tags meant when they were asked."""

from __future__ import annotations

from collections import OrderedDict

from twisted.internet.interfaces import IReactorTime

from oci_registry.pullthrough.trouble import READ, WRITTEN, StoreTrouble
from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.reference import Tag
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.tags import TagRecord, TagStore
from oci_registry.upstream.table import Target

_REMEMBERED = 10_000


class KnownManifests:
    """The stores of manifests and tags, for whoever goes on when they fail: no method raises."""

    def __init__(
        self,
        manifests: ManifestStore,
        tags: TagStore,
        clock: IReactorTime,
        trouble: StoreTrouble,
    ) -> None:
        self._manifests = manifests
        self._tags = tags
        self._clock = clock
        self._trouble = trouble
        self._refused: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    def recall(self, target: Target, digest: Digest) -> Manifest | None:
        """Return a manifest if it is in memory."""
        return self._manifests.recall(target.upstream.namespace, digest)

    async def manifest(self, target: Target, digest: Digest) -> Manifest | None:
        """Return a manifest, None if it is not stored or cannot be read."""
        recent = self.recall(target, digest)
        if recent is not None:
            return recent
        stored = self._manifests.get(target.upstream.namespace, digest)
        return await self._trouble.despite(READ, stored, None)

    async def keep(self, target: Target, manifest: Manifest) -> None:
        """Keep a manifest that has come from upstream."""
        host = target.upstream.namespace
        await self._trouble.despite(WRITTEN, self._manifests.put(host, manifest), None)

    def recall_tag(self, target: Target, tag: Tag) -> TagRecord | None:
        """Return what a tag meant if that is in memory."""
        return self._tags.recall(*_key(target, tag))

    async def tag(self, target: Target, tag: Tag) -> TagRecord | None:
        """Return what a tag meant, None if that is not stored or cannot be read."""
        recent = self.recall_tag(target, tag)
        if recent is not None:
            return recent
        return await self._trouble.despite(READ, self._tags.get(*_key(target, tag)), None)

    def refused(self, target: Target, tag: Tag) -> bool:
        """Whether upstream's last word on a tag that is known was no."""
        return _key(target, tag) in self._refused

    async def confirm(self, target: Target, tag: Tag, manifest: Manifest) -> None:
        """Upstream has just said that a tag means this manifest."""
        key = _key(target, tag)
        self._refused.pop(key, None)
        record = TagRecord(manifest.digest, manifest.media_type, self._clock.seconds())
        await self._trouble.despite(WRITTEN, self._tags.put(*key, record), None)

    async def refuse(self, target: Target, tag: Tag, *, gone: bool) -> None:
        """Upstream has just said no to a tag that is known; *gone*: because there is none any more."""
        key = _key(target, tag)
        self._refused[key] = None
        if len(self._refused) > _REMEMBERED:
            self._refused.popitem(last=False)
        if gone:
            await self._trouble.despite(WRITTEN, self._tags.delete(*key), False)


def _key(target: Target, tag: Tag) -> tuple[str, str, str]:
    return target.upstream.namespace, target.repository, tag.name
