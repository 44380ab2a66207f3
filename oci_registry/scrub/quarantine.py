"""The quarantine: corrupt objects that are kept for a while for inspection, out of reach of clients."""

from __future__ import annotations

from attrs import frozen

from oci_registry.storage.interfaces import IDriver, ObjectInfo

QUARANTINE = "quarantine"
"""The first part of keys in the quarantine; the rest is the original key of the object."""


@frozen
class QuarantineLimits:
    """*objects*, *size*: how many objects and bytes are kept at most; none if either is 0."""

    objects: int = 100
    size: int = 1024**3


class Quarantine:
    """Makes room for corrupt objects by removing the oldest ones."""

    def __init__(self, driver: IDriver, limits: QuarantineLimits = QuarantineLimits()) -> None:
        self._driver = driver
        self._limits = limits

    async def admit(self, key: str, size: int) -> str | None:
        """Return the key in the quarantine for an object; None if there is no room. May raise StoreError."""
        if not self._limits.objects or size > self._limits.size:
            return None
        target = f"{QUARANTINE}/{key}"
        kept = [info async for info in self._driver.list(QUARANTINE) if info.key != target]
        kept.sort(key=_age)
        total = sum(info.size for info in kept) + size
        while kept and (len(kept) >= self._limits.objects or total > self._limits.size):
            oldest = kept.pop(0)
            await self._driver.delete(oldest.key)
            total -= oldest.size
        return target


def _age(info: ObjectInfo) -> tuple[float, str]:
    return info.used, info.key
