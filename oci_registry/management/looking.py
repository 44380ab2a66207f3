"""Updates the index for one image in a store that other daemons write to as well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from oci_registry.account.books import Books
from oci_registry.account.queries import Query
from oci_registry.management.index import Index
from oci_registry.management.subjects import Subject
from oci_registry.management.trees import Tree, read_tree
from oci_registry.spec.digest import Digest
from oci_registry.storage.keys import blob_key, manifest_key, tag_key

MOST = 500
"""The maximum number of objects that are read for one question; for others, the index is used as it is."""
_AT_ONCE = 20
_LEVELS = 4
"""An index, a manifest, its blobs; and an index in an index."""


async def look_at(index: Index, subject: Subject, digest: Digest) -> None:
    """Update the index with the tag, the manifests and the blobs of an image. Raises as its `ask` does."""
    if not index.is_shared:
        return
    looked: set[str] = set()
    keys = [manifest_key(subject.registry, digest)]
    if subject.repository is not None and subject.tag is not None:
        keys.append(tag_key(subject.registry, subject.repository, subject.tag))
    for _ in range(_LEVELS):
        keys = [key for key in dict.fromkeys(keys) if key not in looked][: MOST - len(looked)]
        if not keys:
            return
        looked.update(keys)
        for start in range(0, len(keys), _AT_ONCE):
            await index.ask(_refresh(keys[start : start + _AT_ONCE]))
        keys = list(_keys(await index.ask(_tree(subject.registry, digest)), subject.registry))


def _refresh(keys: Sequence[str]) -> Query[None]:
    def query(books: Books) -> None:
        for key in keys:
            books.refresh(key)

    return query


def _tree(registry: str, digest: Digest) -> Query[Tree]:
    return lambda books: read_tree(books, registry, digest)


def _keys(tree: Tree, registry: str) -> Iterator[str]:
    """Yield the keys of the parts of an image."""
    for one in tree.stored():
        for child in one.children:
            yield manifest_key(registry, child.digest)
        for blob, _ in one.blobs:
            yield blob_key(blob.digest)
