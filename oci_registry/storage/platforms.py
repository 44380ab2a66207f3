"""The platforms that clients use of each repository, in one small record of the store.

It is a hint for prefetch: without it, or if two daemons write it at the same moment, less is fetched ahead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from oci_registry.spec.platforms import Platform
from oci_registry.storage.interfaces import IDriver

KEY = "prefetch/platforms"
LARGEST = 256 * 1024
"""The maximum size of the record in bytes."""
MOST = 8
"""The maximum number of platforms of a repository that are read."""

Repository = tuple[str, str]
"""A namespace and a repository."""
Used = Mapping[Repository, tuple[Platform, ...]]
"""The platforms of each repository; the most recently used comes first."""


class PlatformStore:
    """The record, on a driver. Coroutines may raise `StoreError`."""

    def __init__(self, driver: IDriver) -> None:
        self._driver = driver

    async def load(self) -> Used:
        """Return what is recorded; nothing if there is no record, or it cannot be read."""
        stored = await self._driver.get(KEY, LARGEST)
        return {} if stored is None else read(stored)

    async def save(self, used: Used) -> None:
        """Replace the record; if it is too large, the least recently used platforms are left out."""
        await self._driver.put(KEY, written(used))


def read(stored: bytes) -> Used:
    """Return the platforms in a record, as far as it can be read."""
    try:
        document = json.loads(stored)
        entries = document["platforms"].items()
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return {}
    found: dict[Repository, tuple[Platform, ...]] = {}
    for name, texts in entries:
        namespace, _, repository = name.partition("/")
        if namespace and repository and isinstance(texts, list):
            platforms = dict.fromkeys(_platform(text) for text in texts[:MOST])
            platforms.pop(None, None)
            if platforms:
                found[namespace, repository] = tuple(each for each in platforms if each is not None)
    return found


def _platform(text: object) -> Platform | None:
    try:
        return Platform.parse(text) if isinstance(text, str) else None
    except ValueError:
        return None


def written(used: Used, largest: int = LARGEST) -> bytes:
    """Return the record as bytes."""
    entries: dict[str, list[str]] = {}
    size = 100
    for (namespace, repository), platforms in used.items():
        name, texts = f"{namespace}/{repository}", [str(each) for each in platforms[:MOST]]
        size += len(json.dumps([name, texts])) + 4
        if size > largest:
            break
        entries[name] = texts
    return json.dumps({"platforms": entries}).encode()
