"""Requests to upstreams that no client waits for: they begin only where clients leave room."""

from __future__ import annotations

from collections import Counter

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from oci_registry.pullthrough.blobs import BlobCache
from oci_registry.pullthrough.manifests import ManifestCache, ServedManifest
from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.reference import Tag
from oci_registry.upstream.interfaces import Capacity
from oci_registry.upstream.table import Target

LOOK = 0.25
"""Seconds between two looks at an upstream that is busy."""


class Reserved(Exception):
    """The upstream is rate limited, or the rest of its limit is reserved for clients; the message says so."""


@frozen
class Fetched:
    """What has become of a blob: it was *stored* before, or downloaded, or is not stored for a reason."""

    stored: bool = False
    not_stored: str | None = None


class Background:
    """Fetches manifests and blobs into the store, through the same caches that clients use.

    A request waits while clients need the upstream: while one of theirs waits for a connection, or half
    of the connections are in use. Once it is sent it is like any other, so a client that joins it
    waits for nothing else. All methods raise `RegistryError` and `Reserved`.
    """

    def __init__(self, manifests: ManifestCache, blobs: BlobCache, clock: IReactorTime) -> None:
        self._manifests = manifests
        self._blobs = blobs
        self._clock = clock
        # Manifests that upstreams may not have counted yet, by namespace.
        self._under_way: Counter[str] = Counter()

    async def manifest(
        self, target: Target, reference: Tag | Digest
    ) -> tuple[Manifest, ServedManifest | None]:
        """Return a manifest, and what a client would be served if it is not stored and fresh."""
        namespace = target.upstream.namespace
        stored = await self._manifests.stored(target, reference)
        if stored is not None:
            return stored, None
        await self._turn(target, blob=False)
        self._under_way[namespace] += 1
        try:
            served = await self._manifests.get(target, reference)
            return served.manifest, served
        finally:
            self._under_way[namespace] -= 1
            if not self._under_way[namespace]:
                del self._under_way[namespace]

    async def blob(self, target: Target, blob: Descriptor) -> Fetched:
        """Have a blob in the store."""
        digest, size = blob.digest, blob.size
        while not self._blobs.is_running(target, digest):
            if await self._blobs.has(digest, size):
                return Fetched(stored=True)
            if await self._turn(target, blob=True):
                break
        return Fetched(not_stored=await self._blobs.download(target, digest, size))

    async def _turn(self, target: Target, *, blob: bool) -> bool:
        """Wait until a request may be sent; return whether that was at once."""
        at_once = True
        while True:
            under_way = self._under_way[target.upstream.namespace]
            spare = target.upstream.spare(target.repository, blob=blob, under_way=under_way)
            if spare.capacity is Capacity.RESERVED:
                raise Reserved(spare.why)
            if spare.capacity is Capacity.FREE and (not blob or self._blobs.has_room(target)):
                return at_once
            at_once = False
            await deferLater(self._clock, LOOK)
