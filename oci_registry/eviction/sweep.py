"""The sweep: objects that nobody has used for too long are removed.

A manifest stays while it is used, or while an index that is kept lists it. A blob stays while it is used
or read, or while a manifest that is kept needs it. A list of referrers stays while it is used. How long
is too long is a matter of the registry: a blob that no manifest speaks of has the longest time of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import define, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from oci_registry.metrics import Metrics
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import ManifestInvalid
from oci_registry.spec.manifest import Manifest
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.referrers import ReferrersStore
from oci_registry.storage.tags import TagStore

BATCH = 500
"""Blobs removed at once."""

_Key = tuple[str, Digest]


class Lifetimes:
    """How many seconds an object of a registry may lie unused."""

    def __init__(self, by_host: dict[str, float], otherwise: float) -> None:
        self._by_host = by_host
        self._otherwise = otherwise
        self.shortest = min([*by_host.values(), otherwise])
        self.longest = max([*by_host.values(), otherwise])

    def of(self, host: str) -> float:
        """Return the lifetime of a registry's objects."""
        return self._by_host.get(host, self._otherwise)


@frozen
class Swept:
    """What a sweep removed; *size* is in bytes of blobs."""

    blobs: int = 0
    size: int = 0
    manifests: int = 0
    tags: int = 0
    referrers: int = 0


@define
class _Idle:
    """A blob that may have to go: its size, its last use, and the longest time that anyone gives it."""

    size: int
    used: float
    lifetime: float | None = None


class Sweep:
    """One pass over the store at a time; `run` it regularly.

    *begin*: the store's preparation, given the oldest use that still counts; it tells whether this
    process is to sweep. *busy*: whether a blob is being downloaded. *now*: the time in seconds since the epoch.
    """

    _log = Logger()

    def __init__(
        self,
        blobs: BlobStore,
        manifests: ManifestStore,
        tags: TagStore,
        referrers: ReferrersStore,
        lifetimes: Lifetimes,
        begin: Callable[[float], Deferred[bool]],
        busy: Callable[[Digest], bool],
        now: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._blobs = blobs
        self._manifests = manifests
        self._tags = tags
        self._referrers = referrers
        self._lifetimes = self._next_lifetimes = lifetimes
        self._begin = begin
        self._busy = busy
        self._now = now
        self._metrics = metrics

    def follow(self, lifetimes: Lifetimes) -> None:
        """Go by other lifetimes, from the next sweep on."""
        self._next_lifetimes = lifetimes

    async def run(self) -> Swept:
        """Remove what is too old. Raises `StoreError`; what was removed by then stays removed."""
        self._lifetimes = self._next_lifetimes
        began = self._now()
        if not await self._begin(began - self._lifetimes.longest):
            return Swept()
        kept, expired = await self._sort_manifests(began)
        idle = await self._idle_blobs(began)
        if expired or idle:
            # Reading every manifest is worth it only when something might have to go.
            await self._keep_what_is_needed(kept, expired, idle)
            for host, digest in expired:
                await self._claim(host, digest, idle)
        blobs, size = await self._remove_blobs(idle, began)
        going = {key for key in expired if not self._manifests.used_since(*key, began)}
        # The tags first: were the sweep broken off after the manifests, nobody would look for them.
        tags = await self._remove_tags(going) if going else 0
        manifests = await self._remove_manifests(going, began)
        referrers = await self._remove_referrers(began)
        swept = Swept(blobs, size, manifests, tags, referrers)
        if swept != Swept():
            self._log.info(
                "swept {blobs} blobs ({size} bytes), {manifests} manifests, {tags} tags "
                "and {referrers} lists of referrers",
                blobs=blobs,
                size=size,
                manifests=manifests,
                tags=tags,
                referrers=referrers,
            )
        return swept

    async def _sort_manifests(self, began: float) -> tuple[dict[_Key, float], dict[_Key, float]]:
        """Return the manifests in use and the others, each with its last use."""
        kept: dict[_Key, float] = {}
        expired: dict[_Key, float] = {}
        async for host, digest, info in self._manifests.list():
            old = began - info.used > self._lifetimes.of(host)
            (expired if old else kept)[host, digest] = info.used
        return kept, expired

    async def _idle_blobs(self, began: float) -> dict[Digest, _Idle]:
        idle: dict[Digest, _Idle] = {}
        async for digest, info in self._blobs.list():
            if began - info.used > self._lifetimes.shortest:
                idle[digest] = _Idle(info.size, info.used)
        return idle

    async def _keep_what_is_needed(
        self, kept: dict[_Key, float], expired: dict[_Key, float], idle: dict[Digest, _Idle]
    ) -> None:
        """What a kept manifest needs counts as used when the manifest was."""
        waiting = list(kept.items())
        while waiting:
            (host, digest), used = waiting.pop()
            manifest = await self._manifests.peek(host, digest)
            if manifest is None:
                continue
            for child in _digests(manifest, children=True):
                if (host, child) in expired:
                    del expired[host, child]
                    self._manifests.needed(host, child, used)
                    waiting.append(((host, child), used))
            for blob in _digests(manifest, children=False):
                if blob in idle and idle.pop(blob).used < used:
                    self._blobs.needed(blob, used)

    async def _claim(self, host: str, digest: Digest, idle: dict[Digest, _Idle]) -> None:
        """The blobs of a manifest that goes have the lifetime of its registry."""
        manifest = await self._manifests.peek(host, digest)
        if manifest is None:
            return
        lifetime = self._lifetimes.of(host)
        for blob in _digests(manifest, children=False):
            if blob in idle:
                idle[blob].lifetime = max(lifetime, idle[blob].lifetime or 0.0)

    async def _remove_blobs(self, idle: dict[Digest, _Idle], began: float) -> tuple[int, int]:
        count = size = 0
        doomed = [digest for digest, blob in idle.items() if self._is_too_old(blob, began)]
        while doomed:
            batch, doomed = doomed[:BATCH], doomed[BATCH:]
            # Asked as late as can be: somebody may have come for one while others were removed.
            unused = [digest for digest in batch if not self._is_wanted(digest, began)]
            removed = await self._blobs.discard_many(unused)
            count += len(removed)
            size += sum(idle[digest].size for digest in removed)
        self._metrics.swept.labels("blob").inc(count)
        return count, size

    def _is_too_old(self, blob: _Idle, began: float) -> bool:
        lifetime = self._lifetimes.longest if blob.lifetime is None else blob.lifetime
        return began - blob.used > lifetime

    def _is_wanted(self, digest: Digest, began: float) -> bool:
        return (
            self._busy(digest)
            or self._blobs.in_use(digest)
            or self._blobs.used_since(digest, began)
        )

    async def _remove_manifests(self, going: Iterable[_Key], began: float) -> int:
        count = 0
        for host, digest in going:
            if not self._manifests.used_since(host, digest, began):
                count += await self._manifests.delete(host, digest)
        self._metrics.swept.labels("manifest").inc(count)
        return count

    async def _remove_tags(self, going: set[_Key]) -> int:
        """Remove the tags that name a manifest which is about to go."""
        count = 0
        async for host, repository, tag, _ in self._tags.list():
            record = await self._tags.peek(host, repository, tag)
            if record is not None and (host, record.digest) in going:
                count += await self._tags.delete(host, repository, tag)
        self._metrics.swept.labels("tag").inc(count)
        return count

    async def _remove_referrers(self, began: float) -> int:
        """Remove the lists of referrers that nobody has asked for."""
        count = 0
        async for host, repository, digest, info in self._referrers.list():
            if began - info.used > self._lifetimes.of(host):
                count += await self._referrers.delete(host, repository, digest)
        self._metrics.swept.labels("referrers").inc(count)
        return count


def _digests(manifest: Manifest, *, children: bool) -> list[Digest]:
    try:
        return [d.digest for d in (manifest.children if children else manifest.blobs)]
    except ManifestInvalid:
        # It was read as one when it came. Should it be none now, it must not stop every sweep.
        return []
