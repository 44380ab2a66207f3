"""The sweep, which evicts objects that have not been used within their lifetime.

Each registry has its own lifetime. A manifest is kept while it is used, or while another manifest of
its registry that is kept refers to it. A blob is kept while it is used or being read, or while a
manifest that is kept refers to it in any way. A list of referrers is kept while it is used. A blob that
no manifest refers to has the longest of all lifetimes. Pinned objects count as used at each sweep.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from attrs import define, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from oci_registry.eviction.announcements import Announce, Announcements
from oci_registry.eviction.pinned import Pinned, PinnedImages
from oci_registry.eviction.tag_upkeep import TagUpkeep
from oci_registry.metrics import Metrics
from oci_registry.spec.digest import Digest
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.keys import manifest_key, tag_key
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.referrers import ReferrersStore
from oci_registry.storage.tags import TagStore
from oci_registry.storage.totals import StoredTotals, Walk

_Key = tuple[str, Digest]


class Lifetimes:
    """The lifetimes of unused objects of each registry, in seconds."""

    def __init__(self, by_host: dict[str, float], otherwise: float) -> None:
        self.by_host = by_host
        self.otherwise = otherwise
        self.shortest = min([*by_host.values(), otherwise])
        self.longest = max([*by_host.values(), otherwise])

    def of(self, host: str) -> float:
        """Return the lifetime of a registry's objects."""
        return self.by_host.get(host, self.otherwise)


@frozen
class Swept:
    """The result of a sweep; *size* is that of the evicted blobs, in bytes."""

    blobs: int = 0
    size: int = 0
    manifests: int = 0
    tags: int = 0
    referrers: int = 0


@define
class _Idle:
    """A blob that may expire: its size in bytes, its last use, and its lifetime if a manifest gives it one."""

    size: int
    used: float
    lifetime: float | None = None


class Sweep:
    """Evicts expired objects; each `run` is one pass over the store.

    *begin*: prepares the store, given the oldest use that matters, and returns whether this process is
    to sweep. *busy*: whether a blob is being downloaded. *now*: the time in seconds since the epoch.
    *totals*: are corrected by each pass. *batch*: the number of blobs that are removed at once. *upkeep*:
    that of held tags and of histories. *pinned*: the pinned images; None: there are none. *announce*: tells
    other daemons on the same store which tags and manifests were removed; None: there are none.
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
        totals: StoredTotals | None = None,
        batch: int = 500,
        upkeep: TagUpkeep | None = None,
        pinned: PinnedImages | None = None,
        announce: Announce | None = None,
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
        self._totals = totals or StoredTotals()
        self._batch = batch
        self._upkeep = upkeep
        self._pinned = pinned
        self._announcements = Announcements(now, announce)
        self._seen = Pinned()
        """The pins that this pass uses."""

    def follow(self, lifetimes: Lifetimes) -> None:
        """Use other lifetimes, from the next sweep on."""
        self._next_lifetimes = lifetimes

    def lifetime(self, host: str) -> float:
        """Return for how many seconds unused objects of a registry are kept."""
        return self._next_lifetimes.of(host)

    def is_forever(self, host: str) -> bool:
        """Whether objects of a registry are kept for ever, since they could not be fetched again."""
        return math.isinf(self._next_lifetimes.of(host))

    async def run(self) -> Swept:
        """Evict what has expired. Raises `StoreError`; what was evicted before that stays evicted."""
        self._lifetimes = self._next_lifetimes
        began = self._now()
        if not await self._begin(began - self._lifetimes.longest):
            return Swept()
        await self._begin_upkeep(began)
        # Left of a sweep that could not announce it.
        await self._announcements.send()
        walk = Walk()
        kept, expired = await self._sort_manifests(began, walk)
        idle = await self._idle_blobs(began, walk)
        self._totals.correct(walk)
        self._seen = await self._pinned_now()
        if expired:
            await self._keep_pinned(kept, expired, began)
        if expired or idle:
            # All manifests are read only if something may expire.
            await self._keep_referenced(kept, expired, idle)
            for host, digest in expired:
                await self._set_lifetimes(host, digest, idle)
        blobs, size = await self._remove_blobs(expired, idle, began)
        unused = {
            key: size
            for key, size in expired.items()
            if not self._manifests.used_since(*key, began)
        }
        # Tags first: if the sweep ended after the manifests, the next one would not find them.
        tags = await self._remove_tags(unused, began) if unused else 0
        manifests = await self._remove_manifests(unused, began)
        await self._announcements.send()
        referrers = await self._remove_referrers(began)
        swept = Swept(blobs, size, manifests, tags, referrers)
        self._report(swept)
        await self._end_upkeep()
        return swept

    async def _begin_upkeep(self, began: float) -> None:
        if self._upkeep is not None:
            await self._upkeep.before(began, self._lifetimes.shortest)

    async def _end_upkeep(self) -> None:
        if self._upkeep is not None:
            await self._upkeep.after(self._now())

    def _report(self, swept: Swept) -> None:
        if swept != Swept():
            self._log.info(
                "swept {blobs} blobs ({size} bytes), {manifests} manifests, {tags} tags "
                "and {referrers} lists of referrers",
                blobs=swept.blobs,
                size=swept.size,
                manifests=swept.manifests,
                tags=swept.tags,
                referrers=swept.referrers,
            )

    async def _sort_manifests(
        self, began: float, walk: Walk
    ) -> tuple[dict[_Key, float], dict[_Key, int]]:
        """Return the manifests in use with their last use, and the others with their size in bytes."""
        kept: dict[_Key, float] = {}
        expired: dict[_Key, int] = {}
        async for host, digest, info in self._manifests.list():
            walk.add(info.size)
            if began - info.used > self._lifetimes.of(host):
                expired[host, digest] = info.size
            else:
                kept[host, digest] = info.used
        return kept, expired

    async def _pinned_now(self) -> Pinned:
        return Pinned() if self._pinned is None else await self._pinned.now()

    def _is_outdated(self) -> bool:
        """Whether the pins have changed since this pass read them."""
        return self._pinned is not None and self._pinned.latest() is not self._seen

    async def _keep_new_pins(
        self, expired: dict[_Key, int], idle: dict[Digest, _Idle], began: float
    ) -> None:
        """Keep images that were pinned since this pass read the pins, with everything that they need."""
        while self._is_outdated():
            self._seen = await self._pinned_now()
            kept: dict[_Key, float] = {}
            await self._keep_pinned(kept, expired, began)
            await self._keep_referenced(kept, expired, idle)

    async def _keep_pinned(
        self, kept: dict[_Key, float], expired: dict[_Key, int], began: float
    ) -> None:
        """Count expired manifests that are pinned as used now."""
        pinned = self._seen
        if pinned.is_empty:
            return
        keys = {key for key in expired if pinned.has_digest(*key)}
        async for host, repository, tag, _ in self._tags.list():
            if pinned.has_tag(host, repository, tag):
                record = await self._tags.peek(host, repository, tag)
                if record is not None and (host, record.digest) in expired:
                    keys.add((host, record.digest))
        for host, digest in keys:
            del expired[host, digest]
            kept[host, digest] = began
            self._manifests.needed(host, digest, began)

    async def _idle_blobs(self, began: float, walk: Walk) -> dict[Digest, _Idle]:
        idle: dict[Digest, _Idle] = {}
        async for digest, info in self._blobs.list():
            walk.add(info.size)
            if began - info.used > self._lifetimes.shortest:
                idle[digest] = _Idle(info.size, info.used)
        return idle

    async def _keep_referenced(
        self, kept: dict[_Key, float], expired: dict[_Key, int], idle: dict[Digest, _Idle]
    ) -> None:
        """Count everything that a kept manifest refers to as used at the same time as the manifest."""
        waiting = list(kept.items())
        while waiting:
            (host, digest), used = waiting.pop()
            # The digest may be that of a manifest or of a blob: only the store knows.
            for named in await self._manifests.names(host, digest):
                if (host, named) in expired:
                    del expired[host, named]
                    self._manifests.needed(host, named, used)
                    waiting.append(((host, named), used))
                if named in idle and idle.pop(named).used < used:
                    self._blobs.needed(named, used)

    async def _set_lifetimes(self, host: str, digest: Digest, idle: dict[Digest, _Idle]) -> None:
        """Give the blobs of an expired manifest the lifetime of its registry."""
        lifetime = self._lifetimes.of(host)
        for named in await self._manifests.names(host, digest):
            if named in idle:
                idle[named].lifetime = max(lifetime, idle[named].lifetime or 0.0)

    async def _remove_blobs(
        self, expired: dict[_Key, int], idle: dict[Digest, _Idle], began: float
    ) -> tuple[int, int]:
        count = size = 0
        old = [digest for digest, blob in idle.items() if self._is_too_old(blob, began)]
        while old:
            batch, old = old[: self._batch], old[self._batch :]
            # Checked as late as possible: a blob may have been used or pinned while others were removed.
            await self._pinned_now()
            await self._keep_new_pins(expired, idle, began)
            unused = [
                digest for digest in batch if digest in idle and not self._is_used(digest, began)
            ]
            removed = await self._blobs.discard_many(unused)
            freed = sum(idle.pop(digest).size for digest in removed)
            self._totals.remove(freed, len(removed))
            count += len(removed)
            size += freed
        self._metrics.swept.labels("blob").inc(count)
        return count, size

    def _is_too_old(self, blob: _Idle, began: float) -> bool:
        lifetime = self._lifetimes.longest if blob.lifetime is None else blob.lifetime
        return began - blob.used > lifetime

    def _is_used(self, digest: Digest, began: float) -> bool:
        return (
            self._busy(digest)
            or self._blobs.in_use(digest)
            or self._blobs.used_since(digest, began)
        )

    async def _remove_manifests(self, sizes: dict[_Key, int], began: float) -> int:
        count = 0
        for (host, digest), size in list(sizes.items()):
            await self._keep_new_pins(sizes, {}, began)
            if (host, digest) not in sizes or self._manifests.used_since(host, digest, began):
                continue
            if await self._manifests.delete(host, digest):
                self._totals.remove(size)
                count += 1
                self._announcements.add(manifest_key(host, digest))
                await self._announcements.send_due()
        self._metrics.swept.labels("manifest").inc(count)
        return count

    async def _remove_tags(self, manifests: dict[_Key, int], began: float) -> int:
        """Remove the tags of manifests that are about to be removed."""
        count = 0
        async for host, repository, tag, _ in self._tags.list():
            record = await self._tags.peek(host, repository, tag)
            await self._keep_new_pins(manifests, {}, began)
            if record is not None and (host, record.digest) in manifests:
                count += await self._tags.delete(host, repository, tag)
                self._announcements.add(tag_key(host, repository, tag))
            await self._announcements.send_due()
        self._metrics.swept.labels("tag").inc(count)
        return count

    async def _remove_referrers(self, began: float) -> int:
        """Remove the lists of referrers that have expired."""
        count = 0
        async for host, repository, digest, info in self._referrers.list():
            if began - info.used > self._lifetimes.of(host):
                count += await self._referrers.delete(host, repository, digest)
        self._metrics.swept.labels("referrers").inc(count)
        return count
