"""Requests to upstreams that no client waits for: they begin only while clients leave capacity."""

from __future__ import annotations

from math import inf

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from oci_registry.pullthrough.blobs import BlobCache
from oci_registry.pullthrough.manifests import ManifestCache
from oci_registry.pullthrough.served import ServedManifest
from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import TooManyRequests
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.reference import Tag
from oci_registry.streams.tally import Tally
from oci_registry.upstream.interfaces import Capacity
from oci_registry.upstream.table import Target

LOOK = 0.25
"""Seconds between two checks of a busy upstream."""


PATIENCE = 60.0
"""Seconds for which a request of a client waits for its turn."""
MOST_WAITING = 1000
"""Requests of clients that may wait for their turn, for all upstreams together."""
AGAIN = 600
"""Seconds after which another attempt may succeed."""


class Reserved(TooManyRequests):
    """The upstream is rate limited, or the rest of its limit is reserved for clients; the message says so."""


@frozen
class Fetched:
    """The outcome for a blob: it was *stored* before, or downloaded, or is not stored for a reason."""

    stored: bool = False
    not_stored: str | None = None


class Background:
    """Fetches manifests and blobs into the store, through the same caches that clients use.

    A request waits while clients need the upstream: while one of theirs waits for a connection, or half
    of the connections are in use. Once it is sent it is like any other, so a client that joins it
    waits for nothing else. All methods raise `RegistryError`, which includes `Reserved`.
    """

    def __init__(self, manifests: ManifestCache, blobs: BlobCache, clock: IReactorTime) -> None:
        self._manifests = manifests
        self._blobs = blobs
        self._clock = clock
        # Manifests that upstreams may not have counted yet, by namespace.
        self._under_way: Tally[str] = Tally()
        # Requests that wait for their turn, by namespace.
        self._waiting: Tally[str] = Tally()

    async def manifest(
        self, target: Target, reference: Tag | Digest, patience: float = inf
    ) -> tuple[Manifest, ServedManifest | None]:
        """Return a manifest: the stored one if it is fresh, else what a client would be served.

        *patience*: seconds to wait for the turn; then `TooManyRequests`.
        """
        namespace = target.upstream.namespace
        stored = await self._manifests.stored(target, reference)
        if stored is not None:
            return stored, None
        await self._turn(target, patience, blob=False)
        self._under_way[namespace] += 1
        try:
            served = await self._manifests.get(target, reference)
            return served.manifest, served
        finally:
            self._under_way.end(namespace)

    async def is_stored(self, namespace: str, digest: Digest) -> bool:
        """Whether a manifest is stored, without counting as a use; true if the store cannot be read."""
        return await self._manifests.is_stored(namespace, digest)

    async def blob(self, target: Target, blob: Descriptor) -> Fetched:
        """Fetch a blob into the store, unless it is there."""
        if await self.turn(target, blob.digest, blob.size):
            return Fetched(stored=True)
        return Fetched(not_stored=await self._blobs.download(target, blob.digest, blob.size))

    async def turn(
        self, target: Target, digest: Digest, size: int | None = None, patience: float = inf
    ) -> bool:
        """Wait until a blob may be requested, if it is not stored and no download of it is running.

        Returns whether it is stored. *patience*: as for `manifest`.
        """
        while not self._blobs.is_running(target, digest):
            if await self._blobs.has(digest, size):
                return True
            if await self._turn(target, patience, blob=True):
                break
        return False

    async def _turn(self, target: Target, patience: float, *, blob: bool) -> bool:
        """Wait until a request may be sent; return whether that was at once."""
        at_once, until = True, self._clock.seconds() + patience
        namespace = target.upstream.namespace
        while True:
            under_way = self._under_way[namespace]
            spare = target.upstream.spare(target.repository, blob=blob, under_way=under_way)
            if spare.capacity is Capacity.RESERVED:
                raise Reserved.retry_after(spare.why, AGAIN)
            if spare.capacity is Capacity.FREE and (not blob or self._blobs.has_room(target)):
                return at_once
            # Those that wait already are not refused because others come.
            refused = at_once and patience < inf and self._too_many_wait(namespace)
            if refused or self._clock.seconds() >= until:
                raise TooManyRequests.retry_after("clients need the upstream", 5)
            at_once = False
            self._waiting[namespace] += 1
            try:
                await deferLater(self._clock, LOOK)
            finally:
                self._waiting.end(namespace)

    def _too_many_wait(self, namespace: str) -> bool:
        """Whether more wait for an upstream than three times those that may wait besides.

        So one that hangs leaves a quarter to the others.
        """
        return self._waiting[namespace] >= 3 * (MOST_WAITING - self._waiting.total())
