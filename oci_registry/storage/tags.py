"""What tags mean: small records by registry, repository and tag, with the recent ones in memory."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import AsyncIterator
from math import isfinite

from attrs import frozen

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError
from oci_registry.storage.interfaces import IDriver, ObjectInfo
from oci_registry.storage.keys import REPOSITORIES, parse_tag_key, tag_key, tags_prefix

_REMEMBERED = 10_000
_LARGEST = 4096


@frozen
class TagRecord:
    """The manifest that a tag named when upstream was last asked (*checked*: seconds since the epoch)."""

    digest: Digest
    media_type: str
    checked: float

    def to_json(self) -> bytes:
        """Return the stored form."""
        return json.dumps(
            {
                "digest": str(self.digest),
                "mediaType": self.media_type,
                "checked": self.checked,
            }
        ).encode()

    @classmethod
    def from_json(cls, data: bytes) -> TagRecord:
        """Read the stored form; ValueError when it is not one."""
        try:
            value = json.loads(data)
            digest = Digest.parse(str(value["digest"]))
            media_type, checked = str(value["mediaType"]), float(value["checked"])
        except (RegistryError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"not a tag record: {error}") from None
        if not isfinite(checked):
            raise ValueError("not a tag record: it was checked at no time")
        return cls(digest, media_type, checked)


class TagStore:
    """What the registry room keeps tags in. All methods but `recall` may raise `StoreError`."""

    def __init__(self, driver: IDriver) -> None:
        self._driver = driver
        self._recent: OrderedDict[str, TagRecord] = OrderedDict()

    def recall(self, host: str, repository: str, tag: str) -> TagRecord | None:
        """Return a record if it is in memory."""
        return self._recent.get(tag_key(host, repository, tag))

    async def get(self, host: str, repository: str, tag: str) -> TagRecord | None:
        """Return the record of a tag, or None; an unreadable one counts as none."""
        key = tag_key(host, repository, tag)
        record = self._recent.get(key)
        if record is None:
            record = await self._read(key)
            if record is not None:
                self._remember(key, record)
        return record

    async def put(self, host: str, repository: str, tag: str, record: TagRecord) -> None:
        """Keep a record; it holds in memory even if the medium fails."""
        key = tag_key(host, repository, tag)
        self._remember(key, record)
        await self._driver.put(key, record.to_json())

    async def delete(self, host: str, repository: str, tag: str) -> bool:
        """Remove a record."""
        key = tag_key(host, repository, tag)
        self._recent.pop(key, None)
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
        """As `get`, without taking the record into memory."""
        key = tag_key(host, repository, tag)
        return self._recent.get(key) or await self._read(key)

    async def _read(self, key: str) -> TagRecord | None:
        stored = await self._driver.get(key, _LARGEST)
        if stored is None:
            return None
        try:
            return TagRecord.from_json(stored)
        except ValueError:
            return None

    def _remember(self, key: str, record: TagRecord) -> None:
        self._recent[key] = record
        self._recent.move_to_end(key)
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)
