"""Announces removals to other daemons on the same store, so that they do not serve the objects from memory.

Each notice is an object of its own, so that daemons that write at the same time do not overwrite each other's.
Each daemon lists them about once a second, reads the new ones, and removes those that it has known for
a minute.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from uuid import uuid4

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.storage.interfaces import IDriver, StoreError
from oci_registry.storage.keys import parse_manifest_key, parse_tag_key
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

    async def announce(self, keys: Sequence[str]) -> None:
        """Announce to all daemons that the objects at these keys have changed."""
        for start in range(0, len(keys), KEYS):
            content = json.dumps({"keys": list(keys[start : start + KEYS])}).encode()
            await self._driver.put(f"{NOTICES}/{uuid4().hex}", content)

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
    """Drops removed objects from memory; reads notices every *interval* seconds from `start` to `stop`."""

    _log = Logger()

    def __init__(
        self,
        notices: Notices,
        tags: TagStore,
        manifests: ManifestStore,
        clock: IReactorTime,
        interval: float = INTERVAL,
    ) -> None:
        self._notices = notices
        self._tags = tags
        self._manifests = manifests
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
        """Drop the objects of new notices, including those of this process. Raises `StoreError`."""
        found, now = await self._notices.all(), self._clock.seconds()
        self._seen = {notice: self._seen[notice] for notice in found if notice in self._seen}
        for notice in found:
            if notice not in self._seen:
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
