"""The history of tags: the digests that upstream has named, by registry, repository and tag.

A history is stored beside the record of its tag, once the tag has moved, or a minimum age applies to it.
It outlives the record. Entries are only merged, so replicas that share a bucket keep each other's: an
entry that is lost when two write at the same moment is written again with the next change.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any

from attrs import evolve, frozen
from cachetools import LRUCache

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError
from oci_registry.storage.interfaces import IDriver
from oci_registry.storage.keys import HISTORIES, history_key, parse_history_key, tag_key

MOST = 32
"""The maximum number of digests that are remembered for a tag."""
LIFETIME = 180 * 86400.0
"""Seconds that a history is kept after its last change, once its tag has no record."""
_LARGEST = 32 * 1024
_REMEMBERED = 1000
_REMOVED_AT_ONCE = 1000


@frozen
class Sighting:
    """A digest that upstream has named, in seconds since the epoch.

    *first*, *last*: when it was first and last seen. *since*: the start of the time in which no other
    digest was seen in between. *adopted*: it was served for the tag.
    """

    digest: Digest
    first: float
    since: float
    last: float
    adopted: bool

    @classmethod
    def at(cls, digest: Digest, when: float, *, adopted: bool) -> Sighting:
        """Return the first sighting of a digest."""
        return cls(digest, when, when, when, adopted)


@frozen
class TagHistory:
    """The sightings of a tag, at most `MOST`, those last seen first."""

    sightings: tuple[Sighting, ...] = ()

    def find(self, digest: Digest) -> Sighting | None:
        """Return what is known of a digest."""
        return next((one for one in self.sightings if one.digest == digest), None)

    @property
    def last_adopted(self) -> Sighting | None:
        """Return the last digest that was served."""
        return next((one for one in self.sightings if one.adopted), None)

    def merged(self, others: Iterable[Sighting]) -> TagHistory:
        """Return the history with more sightings; the order in which they come does not matter."""
        found: dict[Digest, list[Sighting]] = {}
        for one in (*self.sightings, *others):
            found.setdefault(one.digest, []).append(one)
        last = {digest: max(one.last for one in same) for digest, same in found.items()}
        whole = [
            _one_of(
                same, max((when for other, when in last.items() if other != digest), default=0.0)
            )
            for digest, same in found.items()
        ]
        whole.sort(key=lambda one: (one.last, one.first, str(one.digest)), reverse=True)
        kept = whole[:MOST]
        served = next((one for one in whole if one.adopted), None)
        if served is not None and served not in kept:
            # It is kept however many digests were seen since without being served.
            kept[-1] = served
        return TagHistory(tuple(kept))

    def to_json(self) -> bytes:
        """Return the stored form."""
        value = [
            {
                "digest": str(one.digest),
                "first": one.first,
                "since": one.since,
                "last": one.last,
                "adopted": one.adopted,
            }
            for one in self.sightings
        ]
        return json.dumps({"sightings": value}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> TagHistory:
        """Read the stored form; ValueError when it is not one."""
        try:
            found = [_sighting(one) for one in json.loads(data)["sightings"][: 2 * MOST]]
        except (RegistryError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a history: {error}") from None
        return cls().merged(found)


def _one_of(same: list[Sighting], other: float) -> Sighting:
    """Return one sighting for several of a digest; *other*: when another digest was last seen."""
    last = max(one.last for one in same)
    begun = sorted(one.since for one in same)
    # Another process may have seen it earlier; that counts unless another digest was seen since then.
    since = next((when for when in begun if not when < other <= last), begun[-1])
    return evolve(
        same[0],
        first=min(one.first for one in same),
        since=since,
        last=last,
        adopted=any(one.adopted for one in same),
    )


def _sighting(value: Any) -> Sighting:
    times = [float(value[name]) for name in ("first", "since", "last")]
    if not all(map(isfinite, times)):
        raise ValueError("not a history: a time is not finite")
    first, since, last = times
    return Sighting(
        Digest.parse(str(value["digest"])), first, since, last, value["adopted"] is True
    )


class HistoryStore:
    """Histories on a driver; those that have changed lately are in memory.

    All coroutines may raise `StoreError`.
    """

    def __init__(self, driver: IDriver) -> None:
        self._driver = driver
        self._recent: LRUCache[str, TagHistory] = LRUCache(_REMEMBERED)

    async def get(self, host: str, repository: str, tag: str) -> TagHistory | None:
        """Return the history of a tag; None if there is none."""
        key = history_key(host, repository, tag)
        stored = await self._read(key)
        recent = self._recent.get(key)
        if stored is None or recent is None:
            return recent or stored
        return stored.merged(recent.sightings)

    def recall(self, host: str, repository: str, tag: str) -> TagHistory | None:
        """Return what is in memory of the history of a tag."""
        return self._recent.get(history_key(host, repository, tag))

    def remember(self, host: str, repository: str, tag: str, seen: Iterable[Sighting]) -> None:
        """Keep sightings in memory, until and after they are written."""
        key = history_key(host, repository, tag)
        self._recent[key] = self._recent.get(key, TagHistory()).merged(seen)

    async def write(self, host: str, repository: str, tag: str) -> None:
        """Write what is in memory, merged with what another process has written."""
        whole = await self.get(host, repository, tag)
        if whole is not None:
            await self._driver.put(history_key(host, repository, tag), whole.to_json())

    async def begin(self, host: str, repository: str, tag: str, seen: Iterable[Sighting]) -> None:
        """Write a history with what is in memory and *seen*, unless there is one already."""
        key = history_key(host, repository, tag)
        if await self._read(key) is None:
            begun = self._recent.get(key, TagHistory()).merged(seen)
            await self._driver.put(key, begun.to_json())

    async def expire(self, now: float, keep: Callable[[tuple[str, str, str]], bool]) -> int:
        """Remove histories that have not changed for `LIFETIME` and whose tags have no record; return how many.

        *keep*: whether a tag is needed for another reason. At most a thousand are removed at once.
        """
        count = 0
        async for info in self._driver.list(HISTORIES):
            named = parse_history_key(info.key)
            if named is None or now - info.used <= LIFETIME or keep(named):
                continue
            if await self._driver.stat(tag_key(*named)) is None:
                self._recent.pop(info.key, None)
                count += await self._driver.delete(info.key)
            if count >= _REMOVED_AT_ONCE:
                break
        return count

    async def _read(self, key: str) -> TagHistory | None:
        stored = await self._driver.get(key, _LARGEST)
        if stored is None:
            return None
        try:
            return TagHistory.from_json(stored)
        except ValueError:
            return None
