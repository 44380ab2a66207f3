"""What an image consists of: its manifests, by platform, and their blobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from attrs import Factory, define, frozen

from oci_registry.spec.contents import (
    DEEPEST,
    MOST,
    Child,
    Unreadable,
    blobs_of,
    children_of,
    is_elsewhere,
)
from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.image import ImageName
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import INDEX_TYPES
from oci_registry.spec.platforms import Platform


class Shelf(Protocol):
    """Where an image is looked for: a store, or a bundle."""

    def find(self, digest: Digest) -> Manifest | None:
        """Return a manifest, or None."""

    def has(self, blob: Descriptor) -> bool:
        """Whether there is such a blob."""


@define
class Contents:
    """What was found of an image, and what is *missing* in words.

    *left_out*: manifests of an index that were not wanted, or not there where that is allowed.
    """

    manifests: dict[Digest, Manifest] = Factory(dict)
    blobs: dict[Digest, int | None] = Factory(dict)
    platforms: list[str] = Factory(list)
    missing: list[str] = Factory(list)
    left_out: list[Child] = Factory(list)

    def add(self, other: Contents) -> None:
        """Take what *other* has."""
        self.manifests |= other.manifests
        self.blobs |= other.blobs
        self.platforms += other.platforms
        self.missing += other.missing
        self.left_out += other.left_out


Wanted = Callable[[Child], bool]


def every(_: Child) -> bool:
    """Want every manifest of an index."""
    return True


def chosen(platforms: tuple[Platform, ...]) -> Wanted:
    """Want the manifests of some platforms, and indexes in an index."""

    def wants(child: Child) -> bool:
        if child.platform is None:
            return child.descriptor.media_type in INDEX_TYPES
        return any(platform.includes(child.platform) for platform in platforms)

    return wants


@frozen
class NamedImage:
    """An image that is exported or imported: its name, its top manifest and what it consists of.

    *referrers*: the artifacts that refer to it, such as signatures; each begins with its own manifest.
    """

    name: ImageName
    top: Manifest
    contents: Contents
    referrers: tuple[Contents, ...] = ()

    def all_contents(self) -> Iterator[Contents]:
        """Yield what it consists of, and what its referrers do."""
        yield self.contents
        yield from self.referrers


def walk(shelf: Shelf, manifest: Manifest, wanted: Wanted, *, partly: bool = False) -> Contents:
    """Return what an image consists of. Raises `Unreadable`.

    *wanted*: which manifests of an index. With *partly*, those that are not complete are left out, but
    at least one must be complete.
    """
    return _walk(shelf, manifest, wanted, partly, DEEPEST, iter(range(MOST)))


def _walk(
    shelf: Shelf,
    manifest: Manifest,
    wanted: Wanted,
    partly: bool,
    depth: int,
    count: Iterator[int],
) -> Contents:
    contents = Contents({manifest.digest: manifest})
    children = children_of(manifest)
    if next(count, None) is None or not depth:
        raise Unreadable(f"the index {manifest.digest} has too many manifests")
    if children is None:
        for blob in blobs_of(manifest):
            if shelf.has(blob):
                contents.blobs[blob.digest] = blob.size
            elif not is_elsewhere(blob):
                contents.missing.append(f"blob {blob.digest}")
        return contents
    complete = 0
    for child in children:
        if not wanted(child):
            contents.left_out.append(child)
            continue
        found = _child(shelf, child, wanted, partly, depth - 1, count)
        if partly and found.missing:
            contents.left_out.append(child)
            continue
        complete += 1
        if child.platform is not None:
            found.platforms.append(str(child.platform))
        contents.add(found)
    if children and not complete:
        there = sorted({str(c.platform) for c in children if c.platform is not None})
        what = "any complete platform" if partly else "any such platform"
        contents.missing.append(f"{what} (the index has {', '.join(there) or 'none'})")
    return contents


def _child(
    shelf: Shelf, child: Child, wanted: Wanted, partly: bool, depth: int, count: Iterator[int]
) -> Contents:
    manifest = shelf.find(child.descriptor.digest)
    if manifest is None:
        return Contents(missing=[str(child)])
    return _walk(shelf, manifest, wanted, partly, depth, count)
