"""What the store takes beside what is in the account: the quarantine, and the histories of tags."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from oci_registry.account.nouns import on_disk
from oci_registry.storage.interfaces import IDriver, StoreError
from oci_registry.storage.keys import HISTORIES, QUARANTINE

INTERVAL = 600.0
"""Seconds between two looks."""


class OtherUse:
    """Knows how many bytes the quarantine and the histories take. *now*: the time in seconds.

    It lists them every ten minutes, since operators may delete files. In between, `admitted` reports additions.
    """

    def __init__(self, driver: IDriver, now: Callable[[], float]) -> None:
        self.quarantine: int | None = None
        """Bytes that the quarantine takes; None: not known."""
        self._histories = 0
        self._driver = driver
        self._now = now
        self._due = 0.0
        self._admitted = 0

    def size(self, unknown: int) -> int:
        """Return the bytes of both; *unknown*: those of a quarantine that was not listed yet."""
        return self._histories + (unknown if self.quarantine is None else self.quarantine)

    def admitted(self, size: int) -> None:
        """Record that the quarantine takes *size* bytes from now on."""
        self.quarantine = size
        self._admitted += 1

    async def look(self) -> None:
        """Look, if it is time. A store that fails changes nothing."""
        if self._now() < self._due:
            return
        self._due = self._now() + INTERVAL
        admitted = self._admitted
        # A failure of the store is noticed where it is used.
        with suppress(StoreError):
            quarantine = await self._below(QUARANTINE)
            if admitted == self._admitted:
                self.quarantine = quarantine
            self._histories = await self._below(HISTORIES)

    async def _below(self, prefix: str) -> int:
        size = 0
        async for info in self._driver.list(prefix):
            size += on_disk(info.size)
        return size
