"""Hits that can be repeated without the look-ups of the first time."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Self

from attrs import define

from oci_registry.pullthrough.known import KnownManifests
from oci_registry.pullthrough.sizes import KnownSizes
from oci_registry.pullthrough.store_health import READ, StoreHealth
from oci_registry.pullthrough.transfers import Transfers
from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest, PackedManifest
from oci_registry.spec.reference import Tag
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.interfaces import KeptObject
from oci_registry.storage.keys import manifest_key, tag_key
from oci_registry.storage.tags import TagRecord
from oci_registry.upstream.table import Target


def _always() -> bool:
    return True


@define(eq=False)
class ManifestHit:
    """A hit of a manifest in memory: by digest, or by a tag while that is fresh.

    *count*: counts a hit. There are thousands of these, at which the garbage collector looks: so each is one
    object.
    """

    _known: KnownManifests
    _sizes: KnownSizes
    _host: str
    _repository: str
    _manifest: PackedManifest
    _key: str
    count: Callable[[], None]
    _tag_key: str = ""
    _form: bytes | None = None
    confirmed: float = 0.0
    """When upstream has confirmed the tag, in seconds since the epoch; 0 for a digest."""
    max_age: float = inf
    """How many seconds from then on the tag is fresh, for the caller to check."""
    route: str | None = None
    """The label under which the metrics count it, for the caller to set."""
    is_valid: Callable[[], bool] = _always
    """Whether the target still means the same upstream with the same settings, for the caller to set."""
    _losses: int = -1

    @classmethod
    def of(
        cls,
        known: KnownManifests,
        sizes: KnownSizes,
        target: Target,
        manifest: Manifest,
        tagged: tuple[Tag, TagRecord, float] | None,
        count: Callable[[], None],
    ) -> Self | None:
        """Return the hit; None if memory has another manifest by now, or none.

        *tagged*: the tag, its record, and for how many seconds that is fresh.
        """
        host, repository = target.upstream.namespace, target.repository
        key = manifest_key(host, manifest.digest)
        packed = known.manifest_at(key)
        if packed is None or packed != manifest.pack():
            return None
        hit = cls(known, sizes, host, repository, packed, key, count)
        if tagged is not None:
            tag, record, hit.max_age = tagged
            hit._tag_key = tag_key(host, repository, tag.name)
            hit._form = known.tag_form(hit._tag_key)
            hit.confirmed = record.checked
        return hit

    def holds(self) -> bool:
        """Whether it is valid, and the cache has the same objects in memory as before."""
        if not self.is_valid():
            return False
        if self._form is not None and self._known.tag_at(self._tag_key) is not self._form:
            return False
        return self._known.manifest_at(self._key) is self._manifest

    def serve(self) -> bool:
        """Count one more hit and return True, if it holds."""
        # The same as `holds`, inlined to save a call for each hit.
        if not self.is_valid():
            return False
        if self._form is not None and self._known.tag_at(self._tag_key) is not self._form:
            return False
        if self._known.manifest_at(self._key) is not self._manifest:
            return False
        if self._losses != self._sizes.losses:
            self._sizes.learn(self._host, self._repository, Manifest.unpack(self._manifest))
            self._losses = self._sizes.losses
        self.count()
        return True


class BlobHit:
    """A hit of a stored blob of *size* bytes, which can be served again, whole or in part: it stays open.

    The upstream has to be the same as before. *count*: counts a hit.
    """

    def __init__(
        self,
        store: BlobStore,
        transfers: Transfers,
        sizes: KnownSizes,
        health: StoreHealth,
        target: Target,
        digest: Digest,
        size: int,
        kept: KeptObject,
        count: Callable[[], None],
    ) -> None:
        self.size = size
        self._store = store
        self._transfers = transfers
        self._sizes = sizes
        self._health = health
        self._host = target.upstream.namespace
        self._repository = target.repository
        self._digest = digest
        self._kept = kept
        self._count = count

    def part(self, start: int, stop: int) -> bytes | None:
        """Return these bytes and count one more hit; None if the cache might do anything else.

        For HEAD these are no bytes, from 0 to 0. It might if there is a download of the blob, a manifest
        states another size, the store fails or has removed the blob, it is corrupt, or the bytes are not in
        the page cache.
        """
        if self._digest in self._transfers or not self._health.works(READ):
            return None
        if self._store.is_withdrawn(self._digest):
            return None
        if self._sizes.get(self._host, self._repository, self._digest) not in (None, self.size):
            return None
        data = self._kept.part(start, stop - start)
        if data is not None:
            self._store.used(self._digest)
            self._count()
        return data
