"""Tells other daemons on the same store which tags and manifests were evicted, many at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from twisted.internet.defer import DeferredLock

from oci_registry.storage.interfaces import StoreError

Announce = Callable[[Sequence[str]], Awaitable[None]]
"""Tells others that what was at these keys is gone. Raises `StoreError`."""
KEYS = 500
"""Keys that are announced at once."""
DELAY = 0.2
"""Seconds for which keys are gathered."""
PATIENCE = 60.0
"""Seconds for which a failure to announce keeps blobs from being removed.

A bucket that is full may accept no announcement, but deletions. Others then fetch such blobs again.
"""
MOST = 20_000
"""Keys that wait while nothing can be announced; older ones are dropped."""


class Announcements:
    """Gathers the keys of what is evicted, and announces them. *now*: the time in seconds.

    While keys are added one after the other, that makes five announcements a second at most, unless each
    has `KEYS` keys.
    """

    def __init__(self, now: Callable[[], float], announce: Announce | None = None) -> None:
        self.announce = announce
        """None: nobody else uses the store."""
        self._now = now
        self._waiting: deque[str] = deque(maxlen=MOST)
        self._since = 0.0
        self._turn = DeferredLock()
        self._failing: float | None = None
        """Since when nothing could be announced."""

    def add(self, key: str) -> None:
        """Note that what was at a key is gone."""
        if self.announce is not None:
            if not self._waiting:
                self._since = self._now()
            self._waiting.append(key)

    async def send_due(self) -> None:
        """Announce what waits if it is much, or has waited long enough. Raises `StoreError`."""
        if len(self._waiting) >= KEYS or (self._waiting and self._now() - self._since >= DELAY):
            await self.send()

    async def send(self) -> None:
        """Announce what waits. If that fails, it waits for the next time; raises `StoreError` for `PATIENCE`.

        Another announcement that is under way is waited for: it may have keys of the caller.
        """
        if self.announce is None:
            return
        await self._turn.acquire()
        try:
            await self._send(self.announce)
        finally:
            self._turn.release()

    async def _send(self, announce: Announce) -> None:
        if not self._waiting:
            return
        keys = list(self._waiting)
        self._waiting.clear()
        try:
            await announce(keys)
            self._failing = None
        except StoreError:
            self._keep(keys)
            now = self._now()
            self._failing = now if self._failing is None else min(now, self._failing)
            if now - self._failing < PATIENCE:
                raise
        except BaseException:
            self._keep(keys)
            raise

    def _keep(self, keys: Sequence[str]) -> None:
        # Some may be announced twice, which does no harm.
        room = MOST - len(self._waiting)
        self._waiting.extendleft(reversed(keys[-room:] if room else []))
