"""What an image consists of: its manifests, by platform, and their blobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from attrs import Factory, define, frozen

from oci_registry.commands.output import some
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
    """The place of an image's content: a store, or a bundle."""

    def find(self, digest: Digest) -> Manifest | None:
        """Return a manifest, or None."""

    def has(self, blob: Descriptor) -> bool:
        """Whether a blob is there."""


@define
class Contents:
    """The content that was found of an image, and *missing* parts as text.

    *left_out*: manifests of an index that were not wanted, or that are missing where that is allowed.
    *elsewhere*: missing layers that registries do not distribute.
    """

    manifests: dict[Digest, Manifest] = Factory(dict)
    blobs: dict[Digest, int | None] = Factory(dict)
    platforms: list[str] = Factory(list)
    missing: list[str] = Factory(list)
    left_out: list[Child] = Factory(list)
    elsewhere: list[Digest] = Factory(list)

    def add(self, other: Contents) -> None:
        """Add the content of *other*."""
        self.manifests |= other.manifests
        self.blobs |= other.blobs
        self.platforms += other.platforms
        self.missing += other.missing
        self.left_out += other.left_out
        self.elsewhere += other.elsewhere

    @property
    def absent(self) -> list[str]:
        """What was left out: platforms, and manifests that have none."""
        return [
            str(child.descriptor.digest if child.platform is None else child.platform)
            for child in self.left_out
        ]


Wanted = Callable[[Child], bool]


def every(_: Child) -> bool:
    """Select every manifest of an index."""
    return True


def chosen(platforms: tuple[Platform, ...]) -> Wanted:
    """Return a function that selects the manifests of some platforms, and nested indexes."""

    def wants(child: Child) -> bool:
        if child.platform is None:
            return child.descriptor.media_type in INDEX_TYPES
        return any(platform.includes(child.platform) for platform in platforms)

    return wants


@frozen
class NamedImage:
    """An image that is exported or imported: its name, its top manifest and its contents.

    *referrers*: the artifacts that refer to it, such as signatures; each begins with its own manifest.
    """

    name: ImageName
    top: Manifest
    contents: Contents
    referrers: tuple[Contents, ...] = ()

    def all_contents(self) -> Iterator[Contents]:
        """Yield its contents, and those of its referrers."""
        yield self.contents
        yield from self.referrers

    def say_elsewhere(self, say: Callable[[str], None]) -> None:
        """Say which layers are not there because registries do not distribute them."""
        found = dict.fromkeys(
            str(digest) for one in self.all_contents() for digest in one.elsewhere
        )
        if found:
            say(
                f"{self.name}: without {some(list(found))}, which registries do not distribute: "
                "clients get that from where the manifest says"
            )


def walk(shelf: Shelf, manifest: Manifest, wanted: Wanted, *, partly: bool = False) -> Contents:
    """Return the contents of an image. Raises `Unreadable`.

    *wanted*: selects manifests of an index. With *partly*, incomplete ones are left out, but at least
    one must be complete.
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
            elif is_elsewhere(blob):
                contents.elsewhere.append(blob.digest)
            else:
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
