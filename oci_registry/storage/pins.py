"""The pins of the operator: images that are never evicted, whatever their age and the size of the store.

Each pin is an empty object whose key has all its fields, so that processes that write at the same time,
such as two replicas of a bucket, do not lose each other's. Patterns in the upstream file are not stored
here.
"""

from __future__ import annotations

from attrs import evolve

from oci_registry.spec.digest import Digest
from oci_registry.spec.image import LATEST, ImageName
from oci_registry.storage.interfaces import IDriver
from oci_registry.storage.keys import PINS, parse_pin_key, pin_key

MOST = 10_000
"""The maximum number of pins."""


class TooManyPins(Exception):
    """The maximum number of pins is reached; the message says how many."""


class Pins:
    """The pins in a store, on a driver. All coroutines may raise `StoreError`.

    A pin is for the digest of an `ImageName`, or else for its tag, or else for ``latest``. The image
    need not be stored. *most*: the maximum number of pins; several processes that add pins at the same
    time may exceed it a little. `known` is available without a look-up in the store.
    """

    def __init__(self, driver: IDriver, most: int = MOST) -> None:
        self._driver = driver
        self._most = most
        self.known: set[ImageName] = set()
        """The pins of the latest listing, with those added and without those removed here since."""
        self.changes = 0
        """How often `known` has changed."""

    async def all(self) -> list[ImageName]:
        """Return all pins, sorted by name; each has a tag or a digest."""
        found: list[ImageName] = []
        before = self.changes
        async for info in self._driver.list(PINS):
            parsed = parse_pin_key(info.key)
            if parsed is not None:
                host, repository, reference = parsed
                found.append(
                    ImageName(host, repository, digest=reference)
                    if isinstance(reference, Digest)
                    else ImageName(host, repository, tag=reference)
                )
            if len(found) >= 2 * self._most:
                # Not even several processes can have added so many.
                break
        # Pins that were added or removed here meanwhile may be missing; the next listing corrects that.
        known = set(found) if before == self.changes else self.known.union(found)
        if known != self.known:
            self.known = known
            self.changes += 1
        return sorted(found, key=str)

    async def add(self, image: ImageName) -> bool:
        """Pin an image; return whether it was not pinned. Durable. Raises `TooManyPins`."""
        key, count, known = _key(image), 0, False
        async for info in self._driver.list(PINS):
            count += 1
            known = known or info.key == key
            if count >= 2 * self._most:
                break
        if not known:
            if count >= self._most:
                raise TooManyPins(f"there are {self._most} pins already")
            await self._driver.put(key, b"")
        self.known.add(_plain(image))
        self.changes += 1
        # Also if it was known: the process that has added it may not have made it durable yet.
        await self._driver.persist(key)
        return not known

    async def remove(self, image: ImageName) -> bool:
        """Remove a pin; return whether there was one. Durable."""
        removed = await self._driver.delete(_key(image))
        self.known.discard(_plain(image))
        self.changes += 1
        await self._driver.persist(_key(image))
        return removed


def _plain(image: ImageName) -> ImageName:
    """Return the image with only the fields that its pin is for."""
    if image.digest is not None:
        return evolve(image, tag=None)
    return image if image.tag is not None else image.tagged(LATEST)


def _key(image: ImageName) -> str:
    return pin_key(image.registry, image.repository, image.reference)
