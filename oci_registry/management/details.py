"""One stored image in full: its manifests and blobs, and other images that need them."""

from __future__ import annotations

from collections.abc import Callable

from oci_registry.account.books import Books
from oci_registry.account.catalogue import (
    ListedImage,
    Place,
    count_naming,
    digest_at,
    had_tag_in,
    manifest_entry,
    needing,
    parents_of,
    tags_of,
)
from oci_registry.account.queries import Query
from oci_registry.management.answers import ImageDetails, ShownBlob, ShownManifest
from oci_registry.management.listing import describe_tree
from oci_registry.management.pinned import Pinned
from oci_registry.management.subjects import Subject, name_of
from oci_registry.management.trees import Tree, read_tree
from oci_registry.spec.digest import Digest
from oci_registry.spec.reference import Tag

_MOST_TAGS = 1000
_MOST_SHARING = 50
"""The maximum number of images with the same blobs that are named."""
_MOST_NAMING = 1000
"""The maximum number of manifests with the same blob that are counted."""


def details(
    subject: Subject, digest: Digest, pinned: Pinned, *, counted: Callable[[], bool]
) -> Query[ImageDetails | None]:
    """Return what is stored of an image, whose manifest has *digest*; None if the manifest is not stored."""

    def query(books: Books) -> ImageDetails | None:
        listed = listed_as(books, subject, digest)
        tree = read_tree(books, subject.registry, digest)
        host = books.known_host(subject.registry)
        if tree.entry is None or host is None:
            return None
        image = describe_tree(books, listed, tree, pinned, counted=counted)
        tags = tags_of(books, host, tree.entry.content, _MOST_TAGS)
        names = [name_of(subject.registry, repository, Tag(tag)) for repository, tag in tags]
        return ImageDetails(image, shown_manifest(books, tree), tuple(names), _sharing(books, tree))

    return query


def listed_as(books: Books, subject: Subject, digest: Digest) -> ListedImage:
    """Return an image as in a list of images."""
    repository, entry = subject.repository, manifest_entry(books, subject.registry, digest)
    host = books.known_host(subject.registry)
    if repository is None and entry is not None and host is not None:
        (repository,) = books.sql.execute(
            "SELECT r.name FROM manifests m LEFT JOIN repositories r ON r.id=m.repository"
            " WHERE m.id=?",
            (entry.number,),
        ).fetchone()
        repository = repository or had_tag_in(books, host, entry.content)
    number = None if entry is None else entry.number
    return ListedImage(subject.registry, repository, subject.tag, digest, number, Place())


def shown_manifest(books: Books, tree: Tree) -> ShownManifest:
    """Return a manifest and everything in it."""
    blobs = [
        ShownBlob(
            str(blob.digest),
            blob.media_type,
            blob.size,
            entry is not None,
            None if entry is None else entry.size,
            0 if entry is None else count_naming(books, entry.content, _MOST_NAMING),
        )
        for blob, entry in tree.blobs
    ]
    return ShownManifest(
        str(tree.digest),
        tree.media_type or None,
        tree.platform,
        tree.entry is not None,
        None if tree.entry is None else tree.entry.size,
        tree.problem,
        tuple(blobs),
        tuple(shown_manifest(books, child) for child in tree.children),
    )


def _sharing(books: Books, tree: Tree) -> tuple[str, ...]:
    """Return names of other images with blobs or manifests of this one."""
    own = {one.entry.content for one in tree.stored() if one.entry is not None}
    here = None if tree.entry is None else (tree.entry.host, tree.entry.content)
    found: dict[str, None] = {}
    shared = [
        number
        for one in tree.stored()
        for number in (
            *((one.entry.content,) if one.entry is not None else ()),
            *(entry.content for _, entry in one.blobs if entry is not None),
        )
    ]
    for number in dict.fromkeys(shared):
        for registry, content in needing(books, number, _MOST_SHARING + len(own)):
            if tree.entry is not None and registry == tree.entry.host and content in own:
                continue
            for name in _images_with(books, registry, content, here):
                found[name] = None
            if len(found) >= _MOST_SHARING:
                return tuple(sorted(found)[:_MOST_SHARING])
    return tuple(sorted(found))


def _images_with(
    books: Books, registry: str, content: int, but: tuple[str, int] | None
) -> list[str]:
    """Return the images that a manifest is a part of, or is itself, except one."""
    host = books.known_host(registry)
    waiting, seen, found = [content], {content}, list[str]()
    while waiting and host is not None and len(seen) < _MOST_SHARING:
        number = waiting.pop()
        if (registry, number) == but:
            continue
        parents = parents_of(books, host, number, _MOST_SHARING)
        tags = tags_of(books, host, number, _MOST_SHARING)
        found += [name_of(registry, repository, Tag(tag)) for repository, tag in tags]
        if not tags and not parents:
            digest = digest_at(books, number)
            listed = listed_as(books, Subject(registry, None, digest), digest)
            found.append(name_of(registry, listed.repository, digest))
        waiting += [one for one in parents if one not in seen]
        seen.update(parents)
    return found
