"""Answers questions about a store, and changes it: in a running daemon, and in a command."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

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
from oci_registry.management.details import details
from oci_registry.management.index import Index
from oci_registry.management.listing import list_images
from oci_registry.management.looking import look_at
from oci_registry.management.pinned import Pinned
from oci_registry.management.problems import ManagementProblem, NotStored
from oci_registry.management.reasons import explain, standing
from oci_registry.management.removal import Content, Removals
from oci_registry.management.rules import Rules
from oci_registry.management.source import Wanted
from oci_registry.management.subjects import Subject
from oci_registry.management.usage import disk_use
from oci_registry.spec.digest import Digest
from oci_registry.storage.holds import HoldStore
from oci_registry.storage.interfaces import Space
from oci_registry.storage.pins import Pins, TooManyPins


async def _nothing() -> None:
    """Do nothing."""


class Management:
    """A `Source`: answers from *index*, and changes *content* and *pins*.

    *rules*: those of the daemon. *now*: the time in seconds since the epoch. *pins_changed*: is awaited
    after each change of the pins. *holds*: the holds of tags; None: they are read from the driver of
    *content*.
    """

    def __init__(
        self,
        index: Index,
        content: Content,
        pins: Pins,
        rules: Rules,
        now: Callable[[], float],
        pins_changed: Callable[[], Awaitable[None]] = _nothing,
        holds: HoldStore | None = None,
    ) -> None:
        self._index = index
        self._content = content
        self._pins = pins
        self._rules = rules
        self._now = now
        self._pins_changed = pins_changed
        self._holds = HoldStore(content.driver) if holds is None else holds
        self._removals = Removals(content, index, rules.busy, now)

    async def list(self, wanted: Wanted) -> ImagePage:
        """Return a page of images."""
        return await list_images(self._index, wanted, await self._pinned())

    async def show(self, image: Subject) -> ImageDetails:
        """Return everything that is stored of an image; raise `NotStored`."""
        await self._index.flush()
        digest = image.digest
        if digest is None:
            record = await self._removals.record(image)
            digest = None if record is None else record.digest
        if digest is None:
            raise NotStored(f"{image} is not stored")
        await look_at(self._index, image, digest)
        question = details(image, digest, await self._pinned(), counted=self._counted)
        found = await self._index.ask(question)
        if found is None:
            what = "is not stored" if image.tag is None else f"names {digest}, which is not stored"
            raise NotStored(f"{image} {what}")
        return found

    async def du(self) -> DiskUse:
        """Return how much is stored, by registry and repository."""
        space: Space | None = await self._content.driver.space()
        return await disk_use(self._index, None if space is None else space.free)

    async def why(self, image: Subject) -> Why:
        """Return why an image is kept; one that is not stored has no image in the answer."""
        await self._index.flush()
        record = await self._removals.record(image)
        digest = image.digest if record is None else record.digest
        found, kept = None, await self._kept()
        if digest is not None:
            await look_at(self._index, image, digest)
            question = standing(
                image,
                digest,
                kept,
                self._rules.newest_tags(image.registry),
                counted=self._counted,
            )
            found = await self._index.ask(question)
        held = None
        if image.tag is not None and image.repository is not None:
            held = kept.held_at(image.registry, image.repository, image.tag)
        return explain(image, record, found, self._rules, self._now(), held)

    async def remove(self, image: Subject, *, blobs: bool = False) -> Removal:
        """Remove a tag; or a manifest by its digest, with the tags that name it."""
        return await self._removals.remove(image, await self._kept(), blobs=blobs)

    async def remove_blob(self, digest: Digest) -> Removal:
        """Remove a blob, whoever needs it."""
        return await self._removals.remove_blob(digest)

    async def refresh(self, image: Subject) -> Refreshed:
        """Make the next pull of a tag ask the registry first; raise `NotStored`."""
        return await self._removals.refresh(image)

    async def pins(self) -> PinList:
        """Return the images that are pinned."""
        return PinList(tuple(map(str, await self._pins.all())))

    async def pin(self, image: Subject) -> PinChange:
        """Never evict an image, whether it is stored or not."""
        try:
            changed = await self._pins.add(image.image())
        except TooManyPins as error:
            raise ManagementProblem(str(error)) from None
        await self._pins_changed()
        return PinChange(str(image), True, changed)

    async def unpin(self, image: Subject) -> PinChange:
        """Remove the pin of an image."""
        changed = await self._pins.remove(image.image())
        await self._pins_changed()
        return PinChange(str(image), False, changed)

    def _counted(self) -> bool:
        return self._index.counts_pulls

    async def _pinned(self) -> Pinned:
        return Pinned(await self._pins.all(), self._rules.pinned)

    async def _kept(self) -> Pinned:
        """Return the pins with the current holds, which another process may have changed."""
        await self._holds.load()
        return Pinned(await self._pins.all(), self._rules.pinned, dict(self._holds.digests()))
