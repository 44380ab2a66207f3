"""The sweep of a store with an account, which it queries instead of walking the store.

It removes the same objects as `eviction.sweep`, by the same rules.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from oci_registry.account.account import Account
from oci_registry.account.database import AccountOff
from oci_registry.account.queries import (
    START,
    Cursor,
    IdleBlob,
    IdleManifest,
    idle_blobs,
    idle_lists,
    idle_manifests,
    set_lifetimes,
)
from oci_registry.eviction.sweep import Lifetimes, Sweep, Swept
from oci_registry.storage.keys import manifest_key, tag_key


class AccountSweep(Sweep):
    """Evicts expired objects, as `Sweep` does, and like `Sweep` while the account is off.

    While the account is being built, nothing is evicted: it may lack a manifest that needs a blob. Its
    arguments are *account*, and those of `Sweep`.
    """

    _log = Logger()

    def __init__(self, account: Account, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._account = account

    async def run(self) -> Swept:
        """Evict what has expired. Raises `StoreError`; what was evicted before that stays evicted."""
        if self._account.is_off:
            return await super().run()
        self._lifetimes = lifetimes = self._next_lifetimes
        began = self._now()
        if not await self._begin(began - lifetimes.longest):
            return Swept()
        await self._begin_upkeep(began)
        await self._account.flush()
        if not self._account.is_complete:
            return Swept()
        try:
            swept = await self._evict(lifetimes, began)
        except AccountOff:
            # The account was switched off meanwhile, which is logged; the next sweep does the rest.
            return Swept()
        finally:
            await self._account.flush()
        self._report(swept)
        await self._end_upkeep()
        return swept

    async def _evict(self, lifetimes: Lifetimes, began: float) -> Swept:
        # Left of a sweep that could not announce it.
        await self._announcements.send()
        await self._account.ask(set_lifetimes(lifetimes.by_host, lifetimes.otherwise))
        # The query also checks the store: the account learns which manifests another process has used.
        await self._mark_pinned(began)
        # Blobs first: without its manifest, a blob would have another lifetime.
        blobs, size = await self._evict_blobs(lifetimes, began)
        manifests, tags = await self._evict_manifests(began)
        await self._announcements.send()
        return Swept(blobs, size, manifests, tags, await self._remove_expired_lists(began))

    async def _mark_pinned(self, began: float) -> None:
        """Mark the pinned manifests, with everything that they need, as used in the account."""
        self._seen = await self._pinned_now()
        after: Cursor | None = START
        while after is not None:
            _, after = await self._account.ask(idle_manifests(began, after, self._seen))

    async def _mark_new_pins(self, began: float) -> None:
        # Including pins of other processes.
        await self._pinned_now()
        while self._is_outdated():
            await self._mark_pinned(began)

    async def _evict_blobs(self, lifetimes: Lifetimes, began: float) -> tuple[int, int]:
        blobs = size = 0
        after: Cursor | None = START
        while after is not None:
            start = after
            await self._mark_new_pins(began)
            page = idle_blobs(began, lifetimes.shortest, lifetimes.longest, start)
            idle, after = await self._account.ask(page)
            while idle:
                if self._is_outdated():
                    # The account is queried again, since one of these may be in use now.
                    after = start
                    break
                removed = await self._remove_unused(idle[: self._batch], began)
                idle = idle[self._batch :]
                blobs += len(removed)
                size += sum(removed)
        return blobs, size

    async def _evict_manifests(self, began: float) -> tuple[int, int]:
        manifests = tags = 0
        after: Cursor | None = START
        while after is not None:
            start = after
            await self._mark_new_pins(began)
            expired, after = await self._account.ask(idle_manifests(began, start, self._seen))
            for manifest in expired:
                # Tags first: if the sweep ended in between, the next one would not find them.
                if not self._is_in_use(manifest, began):
                    tags += await self._remove_tags_of(manifest)
                    manifests += await self._remove_manifest(manifest, began)
                    await self._announcements.send_due()
                if self._is_outdated():
                    after = start
                    break
        return manifests, tags

    async def _remove_unused(self, idle: list[IdleBlob], began: float) -> list[int]:
        """Remove blobs that are not in use; return the sizes of those that were removed."""
        sizes = {
            blob.digest: blob.size
            for blob in idle
            if not (
                self._busy(blob.digest)
                or self._blobs.in_use(blob.digest)
                or self._blobs.used_since(blob.digest, began - blob.lifetime)
            )
        }
        removed = await self._blobs.discard_many(list(sizes)) if sizes else ()
        self._metrics.swept.labels("blob").inc(len(removed))
        return [sizes[digest] for digest in removed]

    def _is_in_use(self, manifest: IdleManifest, began: float) -> bool:
        """Whether an object has been used, or may have been pinned, meanwhile."""
        oldest = began - manifest.lifetime
        return self._is_outdated() or self._manifests.used_since(
            manifest.host, manifest.digest, oldest
        )

    async def _remove_tags_of(self, manifest: IdleManifest) -> int:
        count = 0
        for repository, tag in manifest.tags:
            record = await self._tags.peek(manifest.host, repository, tag)
            if self._is_outdated():
                break
            if record is not None and record.digest == manifest.digest:
                count += await self._tags.delete(manifest.host, repository, tag)
                self._announcements.add(tag_key(manifest.host, repository, tag))
        self._metrics.swept.labels("tag").inc(count)
        return count

    async def _remove_manifest(self, manifest: IdleManifest, began: float) -> int:
        if self._is_in_use(manifest, began):
            return 0
        removed = await self._manifests.delete(manifest.host, manifest.digest)
        self._announcements.add(manifest_key(manifest.host, manifest.digest))
        self._metrics.swept.labels("manifest").inc(removed)
        return int(removed)

    async def _remove_expired_lists(self, began: float) -> int:
        count = 0
        while idle := await self._account.ask(idle_lists(began)):
            before = count
            for one in idle:
                count += await self._referrers.delete(one.host, one.repository, one.digest)
            await self._account.flush()
            if count == before:
                break
        self._metrics.swept.labels("referrers").inc(count)
        return count
