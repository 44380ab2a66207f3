"""Types and constants that the modules of the account share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from attrs import define

from oci_registry.spec.digest import Digest
from oci_registry.storage.interfaces import ObjectInfo

PROBATION, MAIN, NEWEST = 0, 1, 2
"""The eviction queues: new images, those that were pulled again, and those of the newest tags."""
BLOCK = 4096
"""The block size of most file systems in bytes."""


IsPinned = Callable[[str, Digest, Sequence[tuple[str, str]]], bool]
"""Whether the manifest of a registry with these tags, pairs of repository and tag, is pinned."""


def nothing_pinned(*_: object) -> bool:
    """Return False."""
    return False


class Medium(Protocol):
    """The store, read in the thread of the account; all methods may raise OSError or `StoreError`.

    *remote*: each look-up costs a request, and several processes write.
    """

    @property
    def remote(self) -> bool:
        """Whether it is a bucket."""

    def look(self, key: str) -> ObjectInfo | None:
        """Return the information about the object at *key*."""

    def fetch(self, key: str, limit: int) -> bytes | None:
        """Return a small object; None also if it is larger than *limit* bytes."""

    def walk(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield every object below *prefix*."""


@define
class Sums:
    """How much is stored: blobs and manifests, their bytes, and the bytes that everything takes on a disk."""

    objects: int = 0
    size: int = 0
    disk: int = 0

    def change(self, before: int | None, after: int | None, *, counted: bool = True) -> None:
        """Replace an object of *before* bytes with one of *after* bytes; None: no object."""
        for size, sign in ((before, -1), (after, 1)):
            if size is not None:
                self.disk += sign * on_disk(size)
                if counted:
                    self.objects += sign
                    self.size += sign * size


def on_disk(size: int) -> int:
    """Return the bytes that an object of *size* bytes takes on a disk, in whole blocks."""
    return -(-size // BLOCK) * BLOCK


def pack(digest: Digest) -> bytes:
    """Return a digest in the form of the tables; the algorithm follows from the length."""
    return bytes.fromhex(digest.encoded)


def unpack(packed: bytes) -> Digest:
    """Return the digest that `pack` has packed."""
    return Digest("sha256" if len(packed) == 32 else "sha512", packed.hex())
