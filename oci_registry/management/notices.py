"""Announces removals and evictions to other daemons on the same store, which then drop the objects from memory.

A blob is announced only if it is corrupt, so that nobody reads on.

Each notice is an object of its own, so that daemons that write at the same time do not overwrite each other's.
Each daemon lists them about once a second, reads the new ones of others, and removes those that it has known
for a minute. So there are those of a minute at any time; a round of evictions makes a few.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from uuid import uuid4

from cachetools import LRUCache
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.interfaces import IDriver, StoreError
from oci_registry.storage.keys import parse_blob_key, parse_manifest_key, parse_tag_key
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.tags import TagStore

NOTICES = "notices/removed"
"""The prefix of the keys of notices."""
KEPT = 60.0
"""Seconds after which a daemon removes a notice that it has read, by its own clock."""
KEYS = 500
"""The maximum number of keys in a notice."""
MOST = 10_000
"""The maximum number of notices that are read; further ones are read as these are removed."""
INTERVAL = 0.8
"""Seconds between two listings."""
_LARGEST = 512 * 1024
_KEY = re.compile(re.escape(NOTICES) + "/[0-9a-f]{32}")


class Notices:
    """The notices of a store, on a driver. All methods raise `StoreError`."""

    def __init__(self, driver: IDriver) -> None:
        self._driver = driver
        self._own: LRUCache[str, None] = LRUCache(MOST)

    async def announce(self, keys: Sequence[str]) -> None:
        """Announce to all daemons that the objects at these keys have changed."""
        for start in range(0, len(keys), KEYS):
            content = json.dumps({"keys": list(keys[start : start + KEYS])}).encode()
            notice = f"{NOTICES}/{uuid4().hex}"
            self._own[notice] = None
            await self._driver.put(notice, content)

    def is_own(self, notice: str) -> bool:
        """Whether it was announced here."""
        return notice in self._own

    async def all(self) -> list[str]:
        """Return the keys of the notices, `MOST` at most."""
        found: list[str] = []
        async for info in self._driver.list(NOTICES):
            if _KEY.fullmatch(info.key):
                found.append(info.key)
            if len(found) >= MOST:
                break
        return found

    async def read(self, notice: str) -> tuple[str, ...]:
        """Return the keys of a notice; none if it was removed, or is malformed."""
        stored = await self._driver.get(notice, _LARGEST)
        try:
            keys = [] if stored is None else json.loads(stored)["keys"]
            return tuple(key for key in keys[:KEYS] if isinstance(key, str))
        except (ValueError, KeyError, TypeError, RecursionError):
            return ()

    async def remove(self, notices: Sequence[str]) -> None:
        """Remove notices."""
        await self._driver.delete_many(notices)


class NoticeFollower:
    """Drops what others have removed or found corrupt; looks every *interval* seconds from `start` to `stop`.

    The announcements of this process itself are ignored: the objects may have been pulled again since.
    """

    _log = Logger()

    def __init__(
        self,
        notices: Notices,
        tags: TagStore,
        manifests: ManifestStore,
        blobs: BlobStore,
        clock: IReactorTime,
        interval: float = INTERVAL,
    ) -> None:
        self._notices = notices
        self._tags = tags
        self._manifests = manifests
        self._blobs = blobs
        self._clock = clock
        self._interval = interval
        self._seen: dict[str, float] = {}
        self._next: IDelayedCall | None = None
        self._looking: Deferred[None] | None = None
        self._stopped = True

    def start(self) -> None:
        """Start reading notices."""
        self._stopped = False
        self._look()

    def stop(self) -> None:
        """Stop reading notices."""
        self._stopped = True
        if self._next is not None and self._next.active():
            self._next.cancel()
        if self._looking is not None:
            self._looking.cancel()

    def _look(self) -> None:
        self._looking = Deferred.fromCoroutine(self.look())
        self._looking.addErrback(self._failed).addCallback(self._looked)

    def _looked(self, _: object) -> None:
        self._looking = None
        if not self._stopped:
            self._next = self._clock.callLater(self._interval, self._look)

    def _failed(self, failure: Failure) -> None:
        # A store that fails is noticed elsewhere, where its results matter.
        if not failure.check(StoreError, CancelledError):
            self._log.failure("the notices of other daemons could not be followed", failure)

    async def look(self) -> None:
        """Drop the objects of new notices of others. Raises `StoreError`."""
        found, now = await self._notices.all(), self._clock.seconds()
        self._seen = {notice: self._seen[notice] for notice in found if notice in self._seen}
        for notice in found:
            if notice not in self._seen:
                if not self._notices.is_own(notice):
                    for key in await self._notices.read(notice):
                        self._drop(key)
                self._seen[notice] = now
        old = [notice for notice, since in self._seen.items() if now - since >= KEPT]
        if old:
            await self._notices.remove(old)

    def _drop(self, key: str) -> None:
        tag, manifest = parse_tag_key(key), parse_manifest_key(key)
        if tag is not None:
            self._tags.drop(*tag)
        elif manifest is not None:
            self._manifests.drop(*manifest)
        elif (blob := parse_blob_key(key)) is not None:
            self._blobs.interrupt(blob)
