"""The store of tags: small records by registry, repository and tag, the recent ones in memory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from math import isfinite

from attrs import evolve, frozen

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError
from oci_registry.storage.interfaces import IDriver, ObjectInfo
from oci_registry.storage.keys import REPOSITORIES, parse_tag_key, tag_key, tags_prefix
from oci_registry.streams.flight import SingleFlight
from oci_registry.streams.recent import RecentValues

REWRITTEN = 600.0
"""Seconds after which a record is written again if only its time has changed."""
LONG_AGO = 0.0
"""Since when a digest has been waiting that is to be adopted with the next pull."""
_LARGEST = 4096
_REMOVED = b""
"""In memory: the tag was removed, even if the medium still has its record."""


@frozen
class Waiting:
    """A new digest that upstream names, and that is not served yet.

    *since*: when the daemon first saw it, without another digest in between, in seconds since the epoch.
    """

    digest: Digest
    since: float

    @property
    def is_due(self) -> bool:
        """Whether it is to be adopted whatever its age; when it was first seen is in the history only."""
        return self.since == LONG_AGO


@frozen
class TagRecord:
    """The manifest that is served for a tag, and when upstream was last asked.

    Times are seconds since the epoch. *checked*: when upstream last named this manifest, or the one that is
    *waiting*. *imported*: it came from a bundle at that time, and upstream has not confirmed it yet. *first*:
    when the daemon first saw it under this tag; None if an older version did not record that.
    """

    digest: Digest
    media_type: str
    checked: float
    imported: bool = False
    first: float | None = None
    waiting: Waiting | None = None

    @property
    def named(self) -> Digest:
        """Return the digest that upstream named."""
        return self.digest if self.waiting is None else self.waiting.digest

    @property
    def since(self) -> float:
        """Return when the manifest was first seen, as far as that is known."""
        return self.checked if self.first is None else self.first

    def to_json(self) -> bytes:
        """Return the stored form."""
        value: dict[str, object] = {
            "digest": str(self.digest),
            "mediaType": self.media_type,
            "checked": self.checked,
        }
        if self.imported:
            value["imported"] = True
        if self.first is not None:
            value["first"] = self.first
        if self.waiting is not None:
            value["waiting"] = {
                "digest": str(self.waiting.digest),
                "since": self.waiting.since,
            }
        return json.dumps(value).encode()

    @classmethod
    def from_json(cls, data: bytes) -> TagRecord:
        """Read the stored form; ValueError when it is not one."""
        try:
            value = json.loads(data)
            digest = Digest.parse(str(value["digest"]))
            media_type, checked = str(value["mediaType"]), float(value["checked"])
            imported = value.get("imported") is True
            first = None if value.get("first") is None else float(value["first"])
            later = value.get("waiting")
            waiting = later and Waiting(Digest.parse(str(later["digest"])), float(later["since"]))
        except (RegistryError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"not a tag record: {error}") from None
        times = (checked, first or 0.0, waiting.since if waiting else 0.0)
        if not all(map(isfinite, times)):
            raise ValueError("not a tag record: the time is not finite")
        return cls(digest, media_type, checked, imported, first, waiting or None)


class TagStore:
    """Records by registry, repository and tag, on a driver. All coroutines may raise `StoreError`.

    *remembered*: how many records are kept in memory. They are kept in their stored form, since the garbage
    collector does not traverse bytes; parsing one takes microseconds.
    """

    def __init__(self, driver: IDriver, remembered: int = 10_000) -> None:
        self._driver = driver
        self._recent: RecentValues[bytes] = RecentValues(remembered)
        self._stored: RecentValues[bytes] = RecentValues(remembered)
        self._reading: SingleFlight[str, TagRecord | None] = SingleFlight()
        self._deleted = 0

    def recall(self, host: str, repository: str, tag: str) -> TagRecord | None:
        """Return a record if it is in memory."""
        return self.recall_at(tag_key(host, repository, tag))

    def recall_at(self, key: str) -> TagRecord | None:
        """Return the record at a key if it is in memory."""
        form = self._recent.get(key)
        return TagRecord.from_json(form) if form else None

    def form_at(self, key: str) -> bytes | None:
        """Return the stored form of the record at a key in memory: another object after each change."""
        return self._recent.get(key) or None

    async def get(self, host: str, repository: str, tag: str) -> TagRecord | None:
        """Return the record of a tag; None if there is none or it is unreadable."""
        key = tag_key(host, repository, tag)
        if key in self._recent:
            return self.recall_at(key)
        return await self._reading.run(key, lambda: self._get(key))

    async def _get(self, key: str) -> TagRecord | None:
        deleted = self._deleted
        record = await self._read(key)
        if key in self._recent:
            # Upstream has been asked meanwhile: that record is newer.
            return self.recall_at(key)
        if record is not None and deleted == self._deleted:
            # Otherwise it may have been removed while it was read.
            form = record.to_json()
            self._recent.put(key, form)
            self._stored.put(key, form)
        return record

    def remember(self, host: str, repository: str, tag: str, record: TagRecord) -> None:
        """Keep a record in memory, which counts even if the medium fails."""
        self._recent.put(tag_key(host, repository, tag), record.to_json())

    def renew(self, host: str, repository: str, tag: str) -> None:
        """Replace a record in memory with an equal copy: ready answers made from it are not used any more."""
        key = tag_key(host, repository, tag)
        record = self.recall_at(key)
        if record is not None:
            self._recent.put(key, record.to_json())

    def forget(self, host: str, repository: str, tag: str) -> None:
        """Forget a tag at once; its record is removed from the medium later."""
        key = tag_key(host, repository, tag)
        self._recent.put(key, _REMOVED)
        self._stored.remove(key)

    def drop(self, host: str, repository: str, tag: str) -> None:
        """Forget a tag in memory, since another process has changed its record."""
        key = tag_key(host, repository, tag)
        self._deleted += 1
        self._recent.remove(key)
        self._stored.remove(key)

    def is_stored(self, host: str, repository: str, tag: str, record: TagRecord) -> bool:
        """Whether the medium has this record, with a time that is at most `REWRITTEN` earlier."""
        form = self._stored.get(tag_key(host, repository, tag))
        stored = TagRecord.from_json(form) if form else None
        return (
            stored is not None
            and stored == evolve(record, checked=stored.checked)
            and 0 <= record.checked - stored.checked < REWRITTEN
        )

    async def put(self, host: str, repository: str, tag: str, record: TagRecord) -> None:
        """Write a record to the medium."""
        key = tag_key(host, repository, tag)
        self._stored.remove(key)
        form = record.to_json()
        await self._driver.put(key, form)
        if self._recent.peek(key) != _REMOVED:
            self._stored.put(key, form)

    async def delete(self, host: str, repository: str, tag: str) -> bool:
        """Remove a record."""
        key = tag_key(host, repository, tag)
        self._deleted += 1
        self._stored.remove(key)
        if self._recent.peek(key) != _REMOVED:
            self._recent.remove(key)
        return await self._driver.delete(key)

    async def names(self, host: str, repository: str, limit: int) -> list[str]:
        """Return the known tags of a repository, sorted, at most *limit* of them."""
        names: list[str] = []
        async for info in self._driver.list(tags_prefix(host, repository)):
            parsed = parse_tag_key(info.key)
            if parsed is not None and parsed[1] == repository:
                names.append(parsed[2])
            if len(names) >= limit:
                break
        return sorted(names)

    async def list(self) -> AsyncIterator[tuple[str, str, str, ObjectInfo]]:
        """Yield registry, repository and tag of every stored record."""
        async for info in self._driver.list(REPOSITORIES):
            parsed = parse_tag_key(info.key)
            if parsed is not None:
                yield *parsed, info

    async def peek(self, host: str, repository: str, tag: str) -> TagRecord | None:
        """Do the same as `get`, without keeping the record in memory."""
        key = tag_key(host, repository, tag)
        return self.recall_at(key) if key in self._recent else await self._read(key)

    async def _read(self, key: str) -> TagRecord | None:
        stored = await self._driver.get(key, _LARGEST)
        if stored is None:
            return None
        try:
            return TagRecord.from_json(stored)
        except ValueError:
            return None
