"""The sweep's work on tags: it keeps the manifests that they are held at, and removes old histories."""

from __future__ import annotations

from twisted.logger import Logger

from oci_registry.storage.histories import HistoryStore
from oci_registry.storage.holds import HoldStore
from oci_registry.storage.manifests import ManifestStore

DAY = 86400.0
"""Seconds between two searches for old histories."""
_USED = 3600.0


class TagUpkeep:
    """Counts the manifests of held tags as used, and removes histories of tags that were removed long ago."""

    _log = Logger()

    def __init__(self, holds: HoldStore, histories: HistoryStore, manifests: ManifestStore) -> None:
        self._holds = holds
        self._histories = histories
        self._manifests = manifests
        self._searched = 0.0

    async def before(self, now: float, shortest: float) -> None:
        """Prepare a sweep; *shortest*: the shortest lifetime in seconds. Raises `StoreError`."""
        await self._holds.load()
        for host, digest in list(self._holds.manifests()):
            if not self._manifests.used_since(host, digest, now - min(_USED, shortest / 2)):
                self._manifests.needed(host, digest, now)

    async def after(self, now: float) -> None:
        """Finish a sweep. Raises `StoreError`."""
        if not 0 <= now - self._searched < DAY:
            self._searched = now
            removed = await self._histories.expire(
                now, lambda names: self._holds.find(*names) is not None
            )
            if removed:
                self._log.info("removed {count} old histories of tags", count=removed)
