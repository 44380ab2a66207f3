"""The store of lists of referrers, which are served when upstream fails.

A stored list is one line of JSON with the time at which upstream gave it, then an image index.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterable
from math import isfinite

from attrs import frozen
from cachetools import LRUCache

from oci_registry.spec.digest import Digest
from oci_registry.spec.mediatypes import OCI_INDEX
from oci_registry.storage.interfaces import IDriver, ObjectInfo
from oci_registry.storage.keys import REPOSITORIES, parse_referrers_key, referrers_key
from oci_registry.storage.usage import Usage

LARGEST = 5 * 1024 * 1024
"""Bytes of a stored list."""
REWRITTEN = 600.0
"""Seconds after which a list that has not changed is written again, with its new time."""


@frozen
class KeptReferrers:
    """An image index, as JSON, and when upstream gave it (*checked*: seconds since the epoch)."""

    index: bytes
    checked: float

    def to_stored(self) -> bytes | None:
        """Return the stored form; None if it is too large to be stored."""
        stored = json.dumps({"checked": self.checked}).encode() + b"\n" + self.index
        return None if len(stored) > LARGEST else stored


class ReferrersStore:
    """Lists by registry, repository and subject digest. All coroutines may raise `StoreError`.

    *remembered*: for how many lists it is remembered that they need not be written again.
    """

    def __init__(self, driver: IDriver, usage: Usage, remembered: int = 10_000) -> None:
        self._driver = driver
        self._usage = usage
        self._written: LRUCache[str, tuple[bytes, float]] = LRUCache(remembered)

    async def get(self, host: str, repository: str, digest: Digest) -> KeptReferrers | None:
        """Return a list; None if there is none or it is unreadable."""
        kept = await self.peek(host, repository, digest)
        if kept is not None:
            self._usage.used(referrers_key(host, repository, digest))
        return kept

    async def peek(self, host: str, repository: str, digest: Digest) -> KeptReferrers | None:
        """Do the same as `get`, without counting as a use."""
        stored = await self._driver.get(referrers_key(host, repository, digest), LARGEST)
        if stored is None:
            return None
        head, _, index = stored.partition(b"\n")
        try:
            checked = float(json.loads(head)["checked"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        if not isfinite(checked) or not index:
            return None
        return KeptReferrers(index, checked)

    def is_kept(self, host: str, repository: str, digest: Digest, kept: KeptReferrers) -> bool:
        """Whether the same list was written recently; counts as a use of it."""
        key = referrers_key(host, repository, digest)
        written = self._written.get(key)
        if written is None or written[0] != _fingerprint(kept.index):
            return False
        self._usage.used(key)
        return 0 <= kept.checked - written[1] < REWRITTEN

    async def put(self, host: str, repository: str, digest: Digest, kept: KeptReferrers) -> None:
        """Store a list and replace an older one; one that is too large is not stored."""
        key = referrers_key(host, repository, digest)
        stored = kept.to_stored()
        if stored is None:
            return
        await self._driver.put(key, stored)
        self._usage.used(key)
        self._written[key] = _fingerprint(kept.index), kept.checked

    async def delete(self, host: str, repository: str, digest: Digest) -> bool:
        """Remove a list."""
        self.drop(host, repository, digest)
        return await self._driver.delete(referrers_key(host, repository, digest))

    def drop(self, host: str, repository: str, digest: Digest) -> None:
        """Forget a list in memory, since it is no longer on the medium."""
        key = referrers_key(host, repository, digest)
        self._written.pop(key, None)
        self._usage.forget(key)

    async def list(self) -> AsyncIterator[tuple[str, str, Digest, ObjectInfo]]:
        """Yield registry, repository, manifest and time of last use of every stored list."""
        async for info in self._driver.list(REPOSITORIES):
            parsed = parse_referrers_key(info.key)
            if parsed is not None:
                used = self._usage.last(info.key, info.used)
                yield *parsed, ObjectInfo(info.key, info.size, used, info.sealed)


def index_of(manifests: Iterable[dict[str, object]]) -> bytes:
    """Return an image index of these descriptors."""
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(manifests)}
    # No longer than upstream sent it: clients limit the bytes that they read.
    text = json.dumps(index, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def entries_of(index: bytes) -> list[dict[str, object]]:
    """Return the descriptors in an index that `index_of` has made."""
    try:
        manifests = json.loads(index)["manifests"]
        return [manifest for manifest in manifests if isinstance(manifest, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def _fingerprint(index: bytes) -> bytes:
    return hashlib.sha256(index).digest()
