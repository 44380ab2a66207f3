"""Manifests by registry and digest, on a driver, with the recently used ones in memory.

A stored manifest is one line of JSON with its media type and the repository that it was pulled from, then
its bytes as they are. Its digest is checked each time it is read from the medium, so the medium need not be
trusted.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from twisted.logger import Logger

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.manifest import MAX_MANIFEST_SIZE, Manifest, PackedManifest
from oci_registry.spec.reference import parse_repository
from oci_registry.storage.interfaces import IDriver, IInspectedObject, ObjectInfo
from oci_registry.storage.keys import REPOSITORIES, manifest_key, parse_manifest_key
from oci_registry.storage.recent import RecentManifests
from oci_registry.storage.totals import StoredTotals
from oci_registry.storage.usage import Usage
from oci_registry.streams.flight import SingleFlight
from oci_registry.streams.parsing import ManifestReader

_LARGEST = MAX_MANIFEST_SIZE + 1024


class ManifestStore:
    """Manifests by registry and digest, on a driver. All coroutines may raise `StoreError`.

    *totals*: counts new and removed manifests.
    """

    _log = Logger()

    def __init__(
        self,
        driver: IDriver,
        usage: Usage,
        reader: ManifestReader,
        totals: StoredTotals | None = None,
    ) -> None:
        self._driver = driver
        self._usage = usage
        self._reader = reader
        self._totals = totals or StoredTotals()
        self._reading: SingleFlight[str, Manifest | None] = SingleFlight()
        self._recent = RecentManifests()
        self._deleted = 0

    def recall(self, host: str, digest: Digest) -> Manifest | None:
        """Return a manifest if it is in memory."""
        packed = self.packed_at(manifest_key(host, digest))
        return None if packed is None else Manifest.unpack(packed)

    def packed_at(self, key: str) -> PackedManifest | None:
        """Return the manifest at a key if it is in memory: another object after each change."""
        packed = self._recent.use(key)
        if packed is not None:
            self._usage.used(key)
        return packed

    async def get(self, host: str, digest: Digest) -> Manifest | None:
        """Return a stored manifest, or None; one with wrong bytes is removed."""
        manifest = self.recall(host, digest)
        if manifest is None:
            key = manifest_key(host, digest)
            # Read once for all concurrent requests, since a manifest may be large.
            manifest = await self._reading.run(key, lambda: self._get(key, host, digest))
        return manifest

    async def _get(self, key: str, host: str, digest: Digest) -> Manifest | None:
        deleted = self._deleted
        manifest = await self._read(host, digest)
        if manifest is not None and deleted == self._deleted:
            # Otherwise it may have been removed while it was read.
            self._recent.add(key, manifest)
            self._usage.used(key)
        return manifest

    async def peek(self, host: str, digest: Digest) -> Manifest | None:
        """Return a stored manifest, or None, without counting that as a use."""
        recent = self._recent.get(manifest_key(host, digest))
        return recent if recent is not None else await self._read(host, digest)

    async def names(self, host: str, digest: Digest) -> frozenset[Digest]:
        """Return the digests that a stored manifest refers to, without counting that as a use."""
        manifest = await self.peek(host, digest)
        return frozenset() if manifest is None else await self._reader.names(manifest)

    def remember(self, host: str, manifest: Manifest) -> None:
        """Keep a manifest in memory, from where it is served even if the medium fails."""
        key = manifest_key(host, manifest.digest)
        self._recent.add(key, manifest)
        self._usage.used(key)

    async def put(self, host: str, manifest: Manifest, repository: str | None = None) -> None:
        """Write a manifest to the medium. *repository*: where it was found, for people."""
        said = {"mediaType": manifest.media_type}
        if repository is not None:
            said["repository"] = repository
        head = json.dumps(said).encode()
        key = manifest_key(host, manifest.digest)
        await self._driver.put(key, head + b"\n" + manifest.raw)
        self._totals.add(len(head) + 1 + len(manifest.raw))

    async def delete(self, host: str, digest: Digest) -> bool:
        """Remove a manifest."""
        key = manifest_key(host, digest)
        self._deleted += 1
        self._recent.forget(key)
        self._usage.forget(key)
        return await self._driver.delete(key)

    def drop(self, host: str, digest: Digest) -> None:
        """Forget a manifest in memory, since another process has removed it."""
        self._deleted += 1
        self._recent.forget(manifest_key(host, digest))

    async def withdraw(self, found: IInspectedObject, target: str | None) -> bool:
        """Move a corrupt manifest to the key *target*, or remove it; the one in memory is valid, and stays.

        Returns whether it was moved: not if it has been removed or replaced meanwhile.
        """
        moved = await found.withdraw(target)
        if moved:
            self._totals.remove(found.info.size)
        return moved

    async def list(self) -> AsyncIterator[tuple[str, Digest, ObjectInfo]]:
        """Yield registry, digest and time of last use of every stored manifest."""
        async for info in self._driver.list(REPOSITORIES):
            parsed = parse_manifest_key(info.key)
            if parsed is not None:
                used = self._usage.last(info.key, info.used)
                yield *parsed, ObjectInfo(info.key, info.size, used, info.sealed)

    def needed(self, host: str, digest: Digest, when: float) -> None:
        """Count the manifest as used at *when*, when something that refers to it was."""
        self._usage.inherit(manifest_key(host, digest), when)

    def used_since(self, host: str, digest: Digest, when: float) -> bool:
        """Whether the manifest was used at *when* or later."""
        return self._usage.last(manifest_key(host, digest), 0.0) >= when

    async def _read(self, host: str, digest: Digest) -> Manifest | None:
        stored = await self._driver.get(manifest_key(host, digest), _LARGEST)
        if stored is None:
            return None
        size, only = len(stored), [stored]
        del stored
        try:
            return await self._reader.restore(size, unpack, digest, only)
        except (RegistryError, ValueError, KeyError, TypeError, RecursionError) as error:
            self._log.warn(
                "removed manifest {digest} of {host} from the store: {error}",
                digest=str(digest),
                host=host,
                error=str(error),
            )
            if await self.delete(host, digest):
                self._totals.remove(size)
            return None


def unpack(digest: Digest, only: list[bytes]) -> Manifest:
    """Parse the stored form, whose manifest must have *digest*.

    *only* is emptied, so that the bytes are not kept twice.
    """
    head, _, raw = only.pop().partition(b"\n")
    return Manifest.restore(raw, read_head(head)[0], digest)


def read_head(head: bytes) -> tuple[str, str | None]:
    """Return the media type in the first line of the stored form, and the repository if there is one.

    Raises `RegistryError`, ValueError, KeyError, TypeError and RecursionError for any other line.
    """
    said = json.loads(head)
    repository = said.get("repository") if isinstance(said, dict) else None
    found = None if repository is None else parse_repository(str(repository), upper_case=True)
    return str(said["mediaType"]), found
