"""Hashes and parses manifests, the large ones off the reactor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from oci_registry.spec.contents import Child, children_of, layers_of
from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest
from oci_registry.streams.threads import RunInThread

LARGE = 64 * 1024
"""Bytes of a manifest up to which it is parsed in the reactor's thread, in a few milliseconds at most."""

T = TypeVar("T")


class ManifestReader:
    """Reads manifests, the large ones in a thread.

    The threads of *run* do no I/O, which could make a client wait.
    """

    def __init__(self, run: RunInThread) -> None:
        self._run = run

    async def read(
        self,
        raw: bytes,
        content_type: str | None,
        asked: Digest | None = None,
        claimed: Digest | None = None,
    ) -> Manifest:
        """Return the manifest in a registry's answer; see `Manifest.read`."""
        return await self._sized(len(raw), Manifest.read, raw, content_type, asked, claimed)

    async def restore(self, size: int, unpack: Callable[..., Manifest], *args: object) -> Manifest:
        """Return the result of *unpack* for a stored manifest of *size* bytes."""
        return await self._sized(size, unpack, *args)

    async def names(self, manifest: Manifest) -> frozenset[Digest]:
        """Return the digests that a manifest names."""
        return await self._sized(len(manifest.raw), manifest.names)

    async def children(self, manifest: Manifest) -> list[Child] | None:
        """Return the manifests in an index; None if this is not an index. Raises `Unreadable`."""
        return await self._sized(len(manifest.raw), children_of, manifest)

    async def layers(self, manifest: Manifest) -> tuple[Descriptor, ...]:
        """Return all blobs of a manifest that is not an index. Raises `Unreadable`."""
        return await self._sized(len(manifest.raw), layers_of, manifest)

    async def _sized(self, size: int, call: Callable[..., T], *args: object) -> T:
        return call(*args) if size <= LARGE else await self._run(call, *args)
