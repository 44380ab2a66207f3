"""Hits that can be repeated without the look-ups of the first time.

There are thousands of them in memory. A packed one is a tuple of strings, bytes and numbers, which the
garbage collector does not track; what all of them have in common is one object.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from attrs import frozen

from oci_registry.pullthrough.known import KnownManifests
from oci_registry.pullthrough.sizes import KnownSizes
from oci_registry.pullthrough.store_health import READ, StoreHealth
from oci_registry.pullthrough.transfers import Transfers
from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest, PackedManifest
from oci_registry.spec.reference import Tag
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.interfaces import KeptObjects
from oci_registry.storage.keys import blob_key, manifest_key, tag_key
from oci_registry.storage.tags import TagRecord
from oci_registry.upstream.table import Target

PackedManifestHit = tuple[str, str, bytes, str, str, bytes | None, int]
"""Registry, repository, the bytes of the manifest and its key in the store, the key and the form of the record
of the tag (None: by digest), and `KnownSizes.losses` when the sizes in the manifest were last learned."""
PackedBlobHit = tuple[str, str, str, str, int]
"""Registry, repository, the digest of the blob, its key in the store, and its size in bytes."""


@frozen(eq=False)
class ManifestHits:
    """Repeats hits of manifests in memory: by digest, or by a tag, whose age the caller checks."""

    _known: KnownManifests
    _sizes: KnownSizes

    def pack(
        self, target: Target, manifest: Manifest, tagged: tuple[Tag, TagRecord] | None
    ) -> PackedManifestHit | None:
        """Return a hit; None if memory has another manifest by now, or none. *tagged*: the tag, its record."""
        host, repository = target.upstream.namespace, target.repository
        key = manifest_key(host, manifest.digest)
        packed = self._known.manifest_at(key)
        if packed is None or packed != manifest.pack():
            return None
        raw, *_ = packed
        if tagged is None:
            return host, repository, raw, key, "", None, -1
        at = tag_key(host, repository, tagged[0].name)
        return host, repository, raw, key, at, self._known.tag_form(at), -1

    def holds(self, hit: PackedManifestHit) -> bool:
        """Whether the cache has the same objects in memory as before."""
        return self._find(hit) is not None

    def _find(self, hit: PackedManifestHit) -> PackedManifest | None:
        """Return the manifest, if the cache has the same objects in memory as before."""
        _, _, raw, key, at, form, _ = hit
        if form is not None and self._known.tag_at(at) is not form:
            return None
        manifest = self._known.manifest_at(key)
        return manifest if manifest is not None and manifest[0] is raw else None

    def repeat(self, hit: PackedManifestHit) -> PackedManifestHit | None:
        """Serve a hit once more, if it holds; return the hit to repeat the next time, usually the same."""
        host, repository, raw, key, at, form, losses = hit
        # The same as `_find`, inlined to save a call for each hit.
        if form is not None and self._known.tag_at(at) is not form:
            return None
        manifest = self._known.manifest_at(key)
        if manifest is None or manifest[0] is not raw:
            return None
        sizes = self._sizes
        if losses == sizes.losses:
            return hit
        sizes.learn(host, repository, Manifest.unpack(manifest))
        return host, repository, raw, key, at, form, sizes.losses


@frozen(eq=False)
class ManifestHit:
    """A hit of a manifest, for `ManifestHits.repeat`. *count*: counts a hit.

    *confirmed*: when upstream has confirmed the tag, in seconds since the epoch; 0 for a digest. *max_age*:
    for how many seconds from then on the tag is fresh.
    """

    hits: ManifestHits
    packed: PackedManifestHit
    count: Callable[[], None]
    confirmed: float = 0.0
    max_age: float = inf


@frozen(eq=False)
class BlobHits:
    """Repeats hits of stored blobs, whole or in part. *kept*: reads them as long as they stay open."""

    _store: BlobStore
    _transfers: Transfers
    _sizes: KnownSizes
    _health: StoreHealth
    kept: KeptObjects

    def pack(self, target: Target, digest: Digest, size: int) -> PackedBlobHit:
        """Return a hit of a blob of *size* bytes."""
        namespace = target.upstream.namespace
        return namespace, target.repository, str(digest), blob_key(digest), size

    def part(self, hit: PackedBlobHit, start: int, stop: int) -> bytes | None:
        """Return these bytes, which is a use of the blob; None if the cache might do anything else.

        For HEAD these are no bytes, from 0 to 0. It might if there is a download of the blob, a manifest
        states another size, the store fails or has removed the blob, it is corrupt, or the bytes are not in
        the page cache.
        """
        host, repository, text, key, size = hit
        transfers, store = self._transfers, self._store
        if not transfers.is_idle or store.has_withdrawn:
            # Otherwise no digest need be built, which takes microseconds.
            digest = Digest.parse(text)
            if digest in transfers or store.is_withdrawn(digest):
                return None
        if not self._health.works(READ):
            return None
        if self._sizes.get(host, repository, text) not in (None, size):
            return None
        data = self.kept.part(key, size, start, stop - start)
        if data is not None:
            store.used_at(key)
        return data


@frozen(eq=False)
class BlobHit:
    """A hit of a blob of *size* bytes, for `BlobHits.part`. *count*: counts a hit."""

    hits: BlobHits
    packed: PackedBlobHit
    size: int
    count: Callable[[], None]
