"""How much the store takes and may take, in bytes."""

from __future__ import annotations

from contextlib import suppress

from attrs import frozen

from oci_registry.account.account import Account
from oci_registry.eviction.other_use import OtherUse
from oci_registry.metrics import Metrics
from oci_registry.spec.sizes import Size
from oci_registry.storage.interfaces import IDriver, Space, StoreError

MARGIN = 1024 * 1024
"""Bytes below the limit that are left for small records, and the account's log, between two checks."""


@frozen
class Limits:
    """*most*: bytes that the store may take; *free*: bytes of the volume that stay free; None: no limit."""

    most: Size | None = None
    free: Size | None = None


QUARANTINE_SHARE = 100
"""The quarantine has at most this fraction of the limit."""


class StoreUse:
    """Computes how many bytes the store of *account* takes, and how many it may take within *limits*.

    *other*: what it takes beside what is in the account. While the account is not complete, all that is on the
    volume counts as stored. *shared*: it is a bucket.
    """

    def __init__(
        self,
        account: Account,
        driver: IDriver,
        metrics: Metrics,
        limits: Limits,
        other: OtherUse,
        *,
        shared: bool = False,
    ) -> None:
        self.other = other
        self.reserved = 0
        """Bytes that are reserved for blobs that are being downloaded."""
        self._account = account
        self._driver = driver
        self._metrics = metrics
        self._limits = limits
        self._shared = shared
        self._space: Space | None = None

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit of the whole store."""
        return self._limits != Limits()

    def see(self, space: Space | None) -> tuple[int | None, int | None, int | None]:
        """Return how many bytes are stored, how many may be, and how many must stay free on the volume.

        None: not known, or not limited. *space*: that of the volume, None if it is not known.
        """
        self._space = space or self._space
        free, stays = self._limits.free, None
        if free is not None and (free.share is None or self._space is not None):
            stays = free.of(0 if self._space is None else self._space.size)
        return self.stored() if self._account.is_complete else None, self.cap(), stays

    def cap(self) -> int | None:
        """Return how many bytes may be stored; None if that is not limited, or not known."""
        most = self._limits.most
        if most is None:
            return None
        if most.share is None:
            return most.bytes
        return None if self._space is None else most.of(self._space.size)

    def stored(self) -> int:
        """Return how many bytes the store takes, with the account itself."""
        state = self._account.state
        if state is None:
            return 0
        other = self.other.size(unknown=self.most_in_quarantine() or 0)
        return state.sums.disk + other + (0 if self._shared else state.file_size)

    def most_in_quarantine(self) -> int | None:
        """Return how many bytes the quarantine may take; None if that is not limited, or not known."""
        cap = self.cap()
        return None if cap is None else cap // QUARANTINE_SHARE

    def _most_stored(self) -> float:
        """Return an upper bound of the stored bytes: all used bytes of the volume, if it is not known."""
        if self._account.is_complete:
            return self.stored()
        if self._account.is_off or self._space is None:
            # If another process has the account, it does not include what is stored here.
            return float("inf")
        return self._space.size - self._space.free

    def room(self, part: float = 1.0) -> float:
        """Return how many bytes there is room for, if *part* of the limits may be used."""
        rooms = [float("inf")]
        cap, free = self.cap(), self._limits.free
        if cap is not None:
            rooms.append(cap * part - MARGIN - self._most_stored() - self.reserved)
        if free is not None and self._space is not None:
            # Reserved bytes that are already written are counted twice.
            stays = free.of(self._space.size) / part
            rooms.append(self._space.free - stays - self.reserved)
        return min(rooms)

    async def measure(self) -> None:
        """Measure the space of the volume."""
        if (
            self._limits.free is not None
            or (self._limits.most and self._limits.most.share)
            or not self._account.is_complete
        ):
            # A failure of the store is noticed where it is used.
            with suppress(StoreError):
                self._space = await self._driver.space()
        cap = self.cap()
        if cap is not None:
            self._metrics.store_limit_bytes.set(cap)
