"""The quarantine: corrupt objects that are kept for a while for inspection, out of reach of clients."""

from __future__ import annotations

from attrs import frozen

from oci_registry.account.nouns import on_disk
from oci_registry.eviction.store_use import StoreUse
from oci_registry.storage.interfaces import IDriver, ObjectInfo
from oci_registry.storage.keys import QUARANTINE


@frozen
class QuarantineLimits:
    """*objects*, *size*: how many objects and bytes are kept at most; none if either is 0."""

    objects: int = 100
    size: int = 1024**3


class Quarantine:
    """Makes room for corrupt objects by removing the oldest ones.

    *use*: counts it, and may have less room for it than *limits*; None: the store has no limit.
    """

    def __init__(
        self,
        driver: IDriver,
        limits: QuarantineLimits = QuarantineLimits(),
        use: StoreUse | None = None,
    ) -> None:
        self._driver = driver
        self._limits = limits
        self._use = use

    async def admit(self, key: str, size: int) -> str | None:
        """Return the key in the quarantine for an object; None if there is no room. May raise StoreError."""
        most = self._most()
        if not self._limits.objects or size > most:
            return None
        target = f"{QUARANTINE}/{key}"
        kept = [info async for info in self._driver.list(QUARANTINE) if info.key != target]
        kept.sort(key=_age)
        total = sum(info.size for info in kept) + size
        while kept and (len(kept) >= self._limits.objects or total > most):
            oldest = kept.pop(0)
            await self._driver.delete(oldest.key)
            total -= oldest.size
        if self._use is not None:
            # Before the object is moved: for a moment it counts twice.
            self._use.other.admitted(sum(on_disk(each) for each in (size, *_sizes(kept))))
        return target

    def _most(self) -> int:
        """Return how many bytes may be kept."""
        share = None if self._use is None else self._use.most_in_quarantine()
        return self._limits.size if share is None else min(share, self._limits.size)


def _sizes(objects: list[ObjectInfo]) -> list[int]:
    return [info.size for info in objects]


def _age(info: ObjectInfo) -> tuple[float, str]:
    return info.used, info.key
