"""The progress of a scrub in the store, so that another process can continue it."""

from __future__ import annotations

from oci_registry.scrub.nouns import Progress
from oci_registry.storage.interfaces import IDriver
from oci_registry.streams.in_order import InOrder

KEY = "scrub/progress"
_LARGEST = 64 * 1024


class Record:
    """The progress of the last pass over the store. Coroutines may raise `StoreError`."""

    def __init__(self, driver: IDriver) -> None:
        self._driver = driver
        self._in_order = InOrder()

    async def load(self) -> Progress | None:
        """Return the progress; None if there is none, or it is unreadable."""
        stored = await self._driver.get(KEY, _LARGEST)
        if stored is None:
            return None
        try:
            return Progress.from_json(stored)
        except ValueError:
            return None

    async def save(self, progress: Progress) -> None:
        """Replace the progress, after a running save."""
        # A thread cannot be cancelled: it might write this after the next save.
        await self._in_order.run(lambda: self._driver.put(KEY, progress.to_json()))
