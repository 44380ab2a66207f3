"""Eviction of whole images until there is room: plans, carried out against the store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from attrs import define, frozen
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from oci_registry.account.account import Account
from oci_registry.account.database import AccountOff
from oci_registry.account.images import (
    HEADS,
    Heads,
    StoredManifest,
    count_queued,
    heads,
    incomplete,
    loose_blobs,
    move,
    queue_sizes,
    unnamed_blobs,
)
from oci_registry.account.newest import NewestTags, keep_newest
from oci_registry.account.nouns import NEWEST
from oci_registry.account.queries import current_tags
from oci_registry.eviction.announcements import Announcements
from oci_registry.eviction.pinned import PinnedImages
from oci_registry.eviction.plan import Blob, Image, Plan, Snapshot, plan
from oci_registry.metrics import Metrics
from oci_registry.spec.digest import Digest
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import manifest_key, tag_key
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.tags import TagStore

LOOSE_FOR = 60.0
"""Seconds after which a blob that no manifest names is evicted first: its manifest may still arrive."""
LOOSE_AT_LEAST = 10.0
"""Seconds after which such a blob is evicted if evicting images is not enough.

When there is little room, images are removed repeatedly because a layer was not stored. Their other
layers, which each pull uses, would soon take all the room, and no layer could be stored any more.
"""
LOOSE_IN_SHARED = 3600.0
"""Like `LOOSE_FOR`, if others write to the store too: an import stores its blobs before manifests."""
_TURNS = 5
"""The maximum number of turns of an image in one round: one for each counted pull, and the last one."""
Sizes = tuple[int, int, int]
"""The bytes that the images of each queue need."""


@frozen
class Evicted:
    """The result of a round; *size*: bytes that are free on the disk, or that the registry no longer uses."""

    images: int = 0
    blobs: int = 0
    size: int = 0


@define
class _Round:
    """The evictions of a round so far."""

    images: int = 0
    blobs: int = 0
    size: int = 0
    idle_turns: int = 0


class Evictor:
    """Evicts images of *account*, and blobs that no image needs.

    *busy*: whether a blob is being downloaded. *now*: the time in seconds since the epoch. *pinned*:
    the pinned images.
    """

    _log = Logger()

    def __init__(
        self,
        account: Account,
        blobs: BlobStore,
        manifests: ManifestStore,
        tags: TagStore,
        pinned: PinnedImages,
        busy: Callable[[Digest], bool],
        now: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._account = account
        self._blobs = blobs
        self._manifests = manifests
        self._tags = tags
        self._pinned = pinned
        self._busy = busy
        self._now = now
        self._metrics = metrics
        self._turn = DeferredLock()
        self.compare_first = False
        """Whether the account is compared with the store first, since other processes write to it too."""
        self.is_forever: Callable[[str], bool] = lambda _: False
        """Whether the images of a registry are never evicted."""
        self.scarce: Callable[[], Collection[str]] = frozenset
        """The registries with little left of their rate limits, whose images are not evicted on probation."""
        self.candidates = HEADS
        """How many images of each queue, and blobs that no image needs, are looked at together."""
        self.newest = NewestTags()
        """The newest tags of each repository, whose images are evicted last."""
        self.evicted: Callable[[Evicted], None] = lambda _: None
        """Called with the result of a round that has evicted something."""
        self.announcements = Announcements(now)
        """Tells other daemons on the same store what was evicted."""

    async def free(self, need: int, host: str | None = None) -> Evicted:
        """Free *need* bytes, or as many as can be freed. Never fails.

        *host*: evict only images of this registry; their blobs count as free even if images of other
        registries keep them. Nothing is evicted while the account is not complete: it may lack a
        manifest that needs a blob.
        """
        await self._turn.acquire()
        try:
            return await self._free_in_turn(need, host)
        finally:
            self._turn.release()

    async def _free_in_turn(self, need: int, host: str | None) -> Evicted:
        done = _Round()
        try:
            # Left of a round that could not announce it.
            await self.announcements.send()
            await self._account.flush()
            if self._account.is_complete and self.compare_first:
                await self._account.compare()
                await self._account.flush()
            if self._account.is_complete:
                await self._free(need, done, host)
        except AccountOff:
            # The account was switched off meanwhile, which is logged.
            pass
        except StoreError as error:
            self._failed(error)
        await self._account.flush()
        evicted = Evicted(done.images, done.blobs, done.size)
        if evicted.images or evicted.blobs:
            self.evicted(evicted)
        return evicted

    async def drop_incomplete(self, digests: Sequence[Digest], *, with_blobs: bool = False) -> int:
        """Evict the images that lack one of these blobs; return how many. Never fails.

        *with_blobs*: with their stored blobs, if nothing else needs or uses these. In a store that others
        use too, they go with the next round that has compared the account with it.

        For blobs that were served but not stored: a tag should not lead to an incomplete image. Pinned
        and held images stay nevertheless, with everything that they name: later pulls complete them. So
        do images of a registry that is offline.
        """
        removed = []
        try:
            await self._account.flush()
            pinned = await self._pinned.now()
            found = await self._account.ask(incomplete(digests, pinned))
            family = {one.number: one for one in found}
            for manifest in found:
                stays = manifest.kept or self.is_forever(manifest.host)
                if not stays and await self._remove(manifest, family):
                    removed.append(manifest)
            await self._remove_late_tags(removed)
            await self.announcements.send()
            # In a shared store others may have stored a manifest that names them, or be about to.
            if with_blobs and removed and not self.compare_first:
                await self._account.flush()
                blobs = unnamed_blobs(set().union(*(one.blobs for one in removed)))
                await self._free_all(await self._account.ask(blobs))
        except AccountOff:
            pass
        except StoreError as error:
            self._failed(error)
        return len(removed)

    def _failed(self, error: StoreError) -> None:
        self._metrics.error("eviction")
        self._log.error("the eviction failed: {error}", error=str(error))

    async def _free(self, need: int, done: _Round, host: str | None) -> None:
        await self._account.ask(keep_newest(self.newest))
        sizes = await self._account.ask(queue_sizes(host))
        sizes = await self._free_from(sizes, need, done, host, newest=False)
        if host is None:
            await self._free_loose(need, done)
        if sizes[NEWEST]:
            await self._free_from(sizes, need, done, host, newest=True)

    async def _free_from(
        self, sizes: Sizes, need: int, done: _Round, host: str | None, *, newest: bool
    ) -> Sizes:
        """Evict from the queues, of these sizes, until all images have had their turns; return the new sizes.

        *newest*: also images that are kept for the newest tags.
        """
        most = _TURNS * (1 + await self._account.ask(count_queued(host, newest=newest)))
        done.idle_turns = 0
        # After this many turns, the rest is in use or pinned.
        while done.size < need and done.idle_turns <= most:
            # Read each time: a round can take minutes, in which others may pin images.
            pinned = await self._pinned.now()
            asked = heads(
                self._loose_since(),
                self.is_forever,
                pinned,
                host,
                newest=newest,
                candidates=self.candidates,
            )
            found = await self._account.ask(asked)
            # Nothing is awaited between these two, so objects in use are not in the plan.
            planned = plan(self._snapshot(found, sizes), need - done.size)
            if not planned:
                break
            before, sizes = done.size, planned.sizes
            await self._carry_out(planned, found, done)
            turns = max(1, planned.turns)
            done.idle_turns = 0 if done.size > before else done.idle_turns + turns
        return sizes

    async def _free_loose(self, need: int, done: _Round) -> None:
        before = -1
        while before < done.size < need:
            before = done.size
            found = await self._account.ask(loose_blobs(self._loose_since(last=True)))
            planned = plan(self._snapshot(found, (0, 0, 0)), need - done.size)
            await self._carry_out(planned, found, done)

    async def _free_all(self, loose: Heads) -> None:
        snapshot = self._snapshot(loose, (0, 0, 0))
        need = sum(blob.size for blob in snapshot.blobs.values())
        await self._carry_out(plan(snapshot, need), loose, _Round())

    def _loose_since(self, *, last: bool = False) -> float:
        """Return since when a blob without a manifest must be unused. *last*: images were not enough."""
        now, seconds = self._now(), LOOSE_AT_LEAST if last else LOOSE_FOR
        if not self.compare_first:
            return now - seconds
        compared = self._account.compared
        # Manifests that others have stored since then may be unknown.
        known = now if compared is None else min(now, compared.began)
        return known - seconds if last else min(known - seconds, now - LOOSE_IN_SHARED)

    def _snapshot(self, found: Heads, sizes: Sizes) -> Snapshot:
        scarce = self.scarce()
        images = {
            one.number: Image(
                one.number,
                one.size,
                one.queue,
                one.pulls,
                # It is being pulled: if it were evicted now, its further blobs would belong to no image.
                one.kept or any(map(self._busy, one.missing)),
                one.blobs,
                one.parents,
                one.is_parent,
                one.newest,
                one.host in scarce,
            )
            for one in found.manifests.values()
        }
        blobs = {
            one.number: Blob(one.number, one.size, one.needed, self._in_use(one.digest))
            for one in found.blobs.values()
        }
        return Snapshot(
            images, blobs, found.probation, found.main, found.loose, sizes, found.newest
        )

    def _in_use(self, digest: Digest) -> bool:
        return self._busy(digest) or self._blobs.in_use(digest)

    async def _carry_out(self, planned: Plan, found: Heads, done: _Round) -> None:
        """Evict the images with their tags, then the blobs that nothing needs any more.

        An image that has been pinned meanwhile stays, with its blobs.
        """
        began = self._now()
        ghosts, gone = [], []
        kept: set[int] = set()
        for number in planned.images:
            manifest = found.manifests[number]
            if not await self._remove(manifest, found.manifests):
                kept |= manifest.blobs
                continue
            gone.append(manifest)
            done.images += 1
            done.size += manifest.size
            if number in planned.ghosts:
                ghosts.append((manifest.host, manifest.digest))
            await self.announcements.send_due()
        moved = move(planned.moves, planned.newest, ghosts, found.tag_changes)
        await self._account.ask(moved)
        # Before the blobs: another daemon must not serve a manifest without them.
        await self.announcements.send()
        blobs = [found.blobs[number] for number in planned.blobs if number not in kept]
        done.size += sum(blob.size for blob in blobs if blob.shared)
        # A client may be reading one by now: then it is loose, and is evicted later.
        unused = [
            blob
            for blob in blobs
            if not blob.shared
            and not self._in_use(blob.digest)
            and not self._blobs.used_since(blob.digest, began)
        ]
        removed = set(await self._blobs.discard_many([blob.digest for blob in unused]))
        size = sum(blob.size for blob in unused if blob.digest in removed)
        done.blobs += len(removed)
        done.size += size
        self._metrics.evicted.labels("blob").inc(len(removed))
        self._metrics.evicted_bytes.inc(size)
        await self._remove_late_tags(gone)
        await self.announcements.send()
        await self._account.flush()

    async def _remove_late_tags(self, removed: Sequence[StoredManifest]) -> None:
        """Remove tags that were recorded while their manifest was evicted: they name nothing stored."""
        if not removed:
            return
        await self._account.flush()
        asked = current_tags([(one.host, one.digest) for one in removed])
        for host, digest, repository, tag in await self._account.ask(asked):
            record = await self._tags.peek(host, repository, tag)
            if record is None or record.digest != digest:
                continue
            if await self._manifests.peek(host, digest) is None:
                await self._remove_tag(host, repository, tag)

    async def _remove(self, manifest: StoredManifest, family: Mapping[int, StoredManifest]) -> bool:
        """Remove a manifest and its tags; return False if it, or one in *family* that names it, is pinned."""
        for repository, tag in manifest.tags:
            record = await self._tags.peek(manifest.host, repository, tag)
            if self._is_pinned(manifest, family):
                return False
            if record is not None and record.digest == manifest.digest:
                await self._remove_tag(manifest.host, repository, tag)
        if self._is_pinned(manifest, family):
            return False
        await self._manifests.delete(manifest.host, manifest.digest)
        self.announcements.add(manifest_key(manifest.host, manifest.digest))
        self._metrics.evicted.labels("image").inc()
        return True

    async def _remove_tag(self, host: str, repository: str, tag: str) -> None:
        await self._tags.delete(host, repository, tag)
        self.announcements.add(tag_key(host, repository, tag))

    def _is_pinned(self, manifest: StoredManifest, family: Mapping[int, StoredManifest]) -> bool:
        pinned = self._pinned.latest()
        waiting, seen = [manifest], {manifest.number}
        while waiting:
            one = waiting.pop()
            if pinned(one.host, one.digest, one.tags):
                return True
            parents = [number for number in one.parents - seen if number in family]
            seen.update(parents)
            waiting += [family[number] for number in parents]
        return False

    async def upcoming(self) -> Snapshot | None:
        """Return the candidates, without the sizes of the queues; None if the account is not complete.

        Raises `AccountOff`, `StoreError`.
        """
        await self._account.flush()
        if not self._account.is_complete:
            return None
        pinned = await self._pinned.now()
        asked = heads(self._loose_since(), self.is_forever, pinned, candidates=self.candidates)
        return self._snapshot(await self._account.ask(asked), Snapshot({}, {}).sizes)
