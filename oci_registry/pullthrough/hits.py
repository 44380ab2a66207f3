"""Hits of manifests that can be repeated without looking them up as the first time."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from oci_registry.pullthrough.known import KnownManifests
from oci_registry.pullthrough.sizes import KnownSizes
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.reference import Tag
from oci_registry.storage.keys import manifest_key, tag_key
from oci_registry.storage.tags import TagRecord
from oci_registry.upstream.table import Target


class ManifestHit:
    """A hit of a manifest in memory: by digest, or by a tag (*record*) while that is fresh.

    The upstream and its settings have to be the same as before. *count*: counts a hit.
    """

    def __init__(
        self,
        known: KnownManifests,
        sizes: KnownSizes,
        target: Target,
        manifest: Manifest,
        tagged: tuple[Tag, TagRecord] | None,
        count: Callable[[], None],
    ) -> None:
        self._known = known
        self._sizes = sizes
        self._target = target
        self._manifest = manifest
        host = target.upstream.namespace
        self._key = manifest_key(host, manifest.digest)
        self._count = count
        self._losses = -1
        self._record: TagRecord | None = None
        self._tag_key = ""
        self.confirmed = 0.0
        """When upstream has confirmed the tag, in seconds since the epoch; 0 for a digest."""
        self.max_age = inf
        """How many seconds from then on the tag is fresh, for the caller to check."""
        if tagged is not None:
            tag, self._record = tagged
            self._tag_key = tag_key(host, target.repository, tag.name)
            self.confirmed = self._record.checked
            self.max_age = target.upstream.manifest_invalidation_time

    def repeat(self) -> bool:
        """Count one more hit and return True, if the cache has the same objects in memory as before."""
        if self._record is not None and self._known.tag_at(self._tag_key) is not self._record:
            return False
        if self._known.manifest_at(self._key) is not self._manifest:
            return False
        if self._losses != self._sizes.losses:
            target = self._target
            self._sizes.learn(target.upstream.namespace, target.repository, self._manifest)
            self._losses = self._sizes.losses
        self._count()
        return True
