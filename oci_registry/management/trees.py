"""What an image consists of: its manifests and blobs, stored or not. Read in the thread of the account."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import Factory, define, frozen

from oci_registry.account.books import Books
from oci_registry.account.catalogue import (
    BlobEntry,
    ManifestEntry,
    blob_entry,
    blobs_named,
    is_tagged,
    manifest_entry,
    needing,
    parents_of,
)
from oci_registry.spec.contents import (
    DEEPEST,
    MOST,
    Unreadable,
    children_of,
    is_elsewhere,
    layers_of,
)
from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.manifest import MAX_MANIFEST_SIZE, Manifest
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import manifest_key
from oci_registry.storage.manifests import unpack

_LARGEST = MAX_MANIFEST_SIZE + 1024
_PARENTS = 1000
MOST_BLOBS = 50_000
"""The maximum number of blobs of an image, counted for each of its manifests."""


@define
class Tree:
    """A manifest: *entry* is None if it is not stored, *problem* says why it cannot be read.

    *blobs*: those that it names, with their stored entries. *children*: the manifests in it, if it is
    an index.
    """

    digest: Digest
    media_type: str | None
    platform: str | None = None
    entry: ManifestEntry | None = None
    problem: str | None = None
    blobs: list[tuple[Descriptor, BlobEntry | None]] = Factory(list)
    children: list[Tree] = Factory(list)

    def stored(self) -> Iterator[Tree]:
        """Yield the stored manifests: this one and all in it."""
        if self.entry is not None:
            yield self
            for child in self.children:
                yield from child.stored()


def read_tree(books: Books, host: str, digest: Digest, most_blobs: int = MOST_BLOBS) -> Tree:
    """Return what is stored of an image, a part of it if it exceeds limits. Never raises for its content."""
    return _read(books, host, Tree(digest, None), DEEPEST, _Budget(blobs=most_blobs))


@define
class _Budget:
    """How much more of an image may be read."""

    manifests: int = MOST
    blobs: int = MOST_BLOBS


def _read(books: Books, host: str, tree: Tree, depth: int, left: _Budget) -> Tree:
    entry = manifest_entry(books, host, tree.digest)
    if entry is None:
        return tree
    tree.entry = entry
    tree.media_type = entry.media_type or tree.media_type
    try:
        manifest = _manifest(books, host, tree.digest)
        if manifest is None:
            tree.entry, tree.problem = None, "it is not stored any more"
            return tree
        tree.media_type = manifest.media_type
        children = children_of(manifest)
        if children is None:
            found = {blob.digest: blob for blob in layers_of(manifest) if not is_elsewhere(blob)}
            left.blobs -= len(found)
            if left.blobs < 0:
                raise Unreadable("the image has too many blobs")
            tree.blobs = [(blob, blob_entry(books, digest)) for digest, blob in found.items()]
    except Unreadable as error:
        tree.problem = str(error)
        return tree
    for child in children or ():
        left.manifests -= 1
        if left.manifests < 0 or not depth:
            tree.problem = "it has too many manifests"
            break
        platform = None if child.platform is None else str(child.platform)
        below = Tree(child.descriptor.digest, child.descriptor.media_type, platform)
        tree.children.append(_read(books, host, below, depth - 1, left))
    return tree


def _manifest(books: Books, host: str, digest: Digest) -> Manifest | None:
    try:
        stored = books.medium.fetch(manifest_key(host, digest), _LARGEST)
        return None if stored is None else unpack(digest, [stored])
    except (OSError, StoreError) as error:
        raise Unreadable(f"it cannot be read: {error}") from None
    except (RegistryError, ValueError, KeyError, TypeError, RecursionError):
        raise Unreadable("it is corrupt") from None


@frozen
class Summary:
    """What is stored of an image, as numbers; see `StoredImage`."""

    platforms: tuple[str, ...]
    size: int
    blobs: int
    stored_blobs: int
    complete: bool


def summarize(tree: Tree) -> Summary:
    """Count what is stored of an image, each blob once."""
    manifests = {one.digest: one for one in tree.stored()}
    wanted = {blob.digest for one in manifests.values() for blob, _ in one.blobs}
    stored = {
        blob.digest: entry.size
        for one in manifests.values()
        for blob, entry in one.blobs
        if entry is not None
    }
    own = sum(one.entry.size for one in manifests.values() if one.entry is not None)
    platforms = dict.fromkeys(
        one.platform for one in manifests.values() if one.platform is not None
    )
    leaves = [one for one in manifests.values() if not one.children]
    sound = bool(leaves) and not any(one.problem for one in manifests.values())
    return Summary(
        tuple(platforms),
        own + sum(stored.values()),
        len(wanted),
        len(stored),
        sound and len(stored) == len(wanted),
    )


@frozen
class Needed:
    """The objects that only one image needs."""

    manifests: tuple[ManifestEntry, ...]
    blobs: tuple[BlobEntry, ...]

    @property
    def size(self) -> int:
        """The total size in bytes."""
        return sum(one.size for one in self.manifests) + sum(one.size for one in self.blobs)


def needed_only_by(
    books: Books, tree: Tree, is_kept: Callable[[str, Digest], bool] = lambda *_: False
) -> Needed:
    """Return the objects that are not needed without an image and all its tags.

    That is its manifest, those in it that no tag and no other manifest names, and blobs that no other
    manifest of any registry names. If another manifest names the image, the result is empty. *is_kept*:
    a manifest of a registry that must stay.
    """
    top = tree.entry
    host = None if top is None else books.known_host(top.host)
    if top is None or host is None or parents_of(books, host, top.content, 1):
        return Needed((), ())
    going = {top.content: top}
    waiting = {
        one.entry.content: one.entry for one in tree.stored() if one.entry not in (None, top)
    }
    waiting = {
        number: entry
        for number, entry in waiting.items()
        if not is_tagged(books, host, number) and not is_kept(entry.host, entry.digest)
    }
    changed = True
    while changed:
        # An index in an index may come after the manifests that it names.
        changed = False
        for number in list(waiting):
            parents = parents_of(books, host, number, _PARENTS)
            if len(parents) < _PARENTS and set(parents) <= going.keys():
                going[number] = waiting.pop(number)
                changed = True
    blobs: dict[int, BlobEntry] = {}
    for number in going:
        for blob in blobs_named(books, number):
            if blob.content not in blobs:
                needed = needing(books, blob.content, len(going) + 1)
                if all(name == top.host and one in going for name, one in needed):
                    blobs[blob.content] = blob
    return Needed(tuple(going.values()), tuple(blobs.values()))
