"""The API's handlers for the content of the store: a `Source` behind routes."""

from __future__ import annotations

from collections.abc import Callable

from oci_registry.admin.fields import Values
from oci_registry.events import EventLog
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
from oci_registry.management.source import Order, Source, Wanted
from oci_registry.management.subjects import Subject, check_pattern, parse_digest, parse_subject
from oci_registry.spec.digest import Digest
from oci_registry.spec.image import ImageName


class ImageHandlers:
    """Answers questions about the images in the store, and changes them; each removal is an event.

    *parse*: reads the name of an image as clients write it.
    """

    def __init__(self, source: Source, parse: Callable[[str], ImageName], events: EventLog) -> None:
        self._source = source
        self._parse = parse
        self._events = events

    def _subject(self, values: Values) -> Subject:
        return parse_subject(values["image"], self._parse)

    async def list(self, values: Values) -> ImagePage:
        """Return a page of images."""
        wanted = Wanted(
            patterns=tuple(check_pattern(pattern) for pattern in values["pattern"]),
            registry=values["registry"],
            order=Order(values["order"]),
            reverse=values["reverse"],
            limit=values["limit"],
            after=values["after"],
        )
        return await self._source.list(wanted)

    async def show(self, values: Values) -> ImageDetails:
        """Return everything that is stored of an image."""
        return await self._source.show(self._subject(values))

    async def du(self, values: Values) -> DiskUse:
        """Return how much is stored."""
        return await self._source.du()

    async def why(self, values: Values) -> Why:
        """Return why an image is kept, and the state of its registry."""
        return await self._source.why(self._subject(values))

    async def remove(self, values: Values) -> Removal:
        """Remove an image."""
        return await self.forget(self._subject(values), blobs=values["blobs"])

    async def remove_blob(self, values: Values) -> Removal:
        """Remove a blob."""
        return await self.forget_blob(parse_digest(values["digest"]))

    async def forget(self, image: Subject, *, blobs: bool) -> Removal:
        """Remove an image, with *blobs* also everything that no other needs; report it as an event."""
        return self._removed(str(image), await self._source.remove(image, blobs=blobs))

    async def forget_blob(self, digest: Digest) -> Removal:
        """Remove a blob, and report it as an event."""
        return self._removed(str(digest), await self._source.remove_blob(digest))

    def _removed(self, name: str, removal: Removal) -> Removal:
        self._events.record(
            "removal",
            name=name,
            tags=len(removal.tags),
            manifests=len(removal.manifests),
            blobs=len(removal.blobs),
            size=removal.size,
        )
        return removal

    async def refresh(self, values: Values) -> Refreshed:
        """Make the next pull of a tag ask the registry first."""
        return await self._source.refresh(self._subject(values))

    async def pins(self, values: Values) -> PinList:
        """Return the images that are pinned."""
        return await self._source.pins()

    async def pin(self, values: Values) -> PinChange:
        """Never evict an image."""
        return await self._source.pin(self._subject(values))

    async def unpin(self, values: Values) -> PinChange:
        """Remove the pin of an image."""
        return await self._source.unpin(self._subject(values))
