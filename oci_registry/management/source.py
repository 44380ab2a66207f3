"""The interface of whatever answers questions about a store: in a daemon, on a directory, over HTTP."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from attrs import frozen

from oci_registry.management.answers import (
    DiskUse,
    ImageDetails,
    ImagePage,
    PinChange,
    PinList,
    Refreshed,
    Removal,
    Why,
)
from oci_registry.management.subjects import Subject
from oci_registry.spec.digest import Digest

PAGE = 100
"""The number of images on a page by default."""
MOST = 1000
"""The maximum number of images on a page."""


class Order(StrEnum):
    """The order of images."""

    NAME = "name"
    SIZE = "size"
    """The largest first."""
    USE = "use"
    """The most recently used first."""
    AGE = "age"
    """The oldest first."""


@frozen
class Wanted:
    """Which images to list.

    *patterns*: images whose name matches one of them; all images without any. ``*`` stands for any text, ``?``
    for any character. A pattern is compared with the whole name, and with the name without its tag or digest.
    *registry*: only images of this one. *limit*: the maximum number. *after*: `next` of the page
    before, only in the order of names; *reverse*: the opposite order, not with the order of names.
    """

    patterns: tuple[str, ...] = ()
    registry: str | None = None
    order: Order = Order.NAME
    reverse: bool = False
    limit: int = PAGE
    after: str | None = None


class Source(Protocol):
    """Answers questions about a store, and changes it.

    All methods raise a `ManagementProblem` or `StoreError`. Questions do not count as a use of an image.
    """

    async def list(self, wanted: Wanted) -> ImagePage:
        """Return a page of images."""

    async def show(self, image: Subject) -> ImageDetails:
        """Return everything that is stored of an image; raise `NotStored`."""

    async def du(self) -> DiskUse:
        """Return how much is stored, by registry and repository."""

    async def why(self, image: Subject) -> Why:
        """Return why an image is kept; one that is not stored has no image in the answer."""

    async def remove(self, image: Subject, *, blobs: bool = False) -> Removal:
        """Remove a tag; or a manifest by its digest, with the tags that name it.

        *blobs*: also the manifests and blobs that no other image needs, unless they are in use; only
        this needs an index. Without one, tags of other repositories that name the digest stay. Raises
        `NotStored`, `IsPinned`, also for a held tag and for a digest that a tag is held at.
        """

    async def remove_blob(self, digest: Digest) -> Removal:
        """Remove a blob, even if images need it: it is downloaded again. Raises `NotStored`, `InUse`."""

    async def refresh(self, image: Subject) -> Refreshed:
        """Make the next pull of a tag ask the registry first; raise `NotStored`."""

    async def pins(self) -> PinList:
        """Return the images that are pinned."""

    async def pin(self, image: Subject) -> PinChange:
        """Never evict an image, whether it is stored or not."""

    async def unpin(self, image: Subject) -> PinChange:
        """Remove the pin of an image."""
