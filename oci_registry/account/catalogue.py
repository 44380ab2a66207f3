"""Queries of operators: which images are stored, what they consist of, and what else needs their parts."""

from __future__ import annotations

from attrs import evolve, frozen

from oci_registry.account.books import Books
from oci_registry.account.newest import repository_with_newest
from oci_registry.account.nouns import pack, unpack
from oci_registry.account.queries import Query
from oci_registry.spec.digest import Digest

SCANNED = 500
"""Manifests that one query for images without a tag reads: some milliseconds of work."""
ANCESTORS = 100
"""The maximum number of manifests that are read which name an image, at any depth."""


@frozen
class Place:
    """A position in the order of names: registries by name; in each, tags by repository and name, then
    digests.

    *number*: that of the last manifest without a tag; None within the tags.
    """

    host: str = ""
    repository: str = ""
    tag: str = ""
    number: int | None = None


@frozen
class ListedImage:
    """A tag, or a digest that no tag and no manifest of its registry names.

    *number*: that of its manifest; None if that is not stored.
    """

    host: str
    repository: str | None
    tag: str | None
    digest: Digest
    number: int | None
    place: Place


@frozen
class ManifestEntry:
    """A stored manifest. *pulls*: since it was stored. *queue*, *place*: its position in the eviction."""

    number: int
    content: int
    host: str
    digest: Digest
    media_type: str
    size: int
    added: float
    used: float
    pulls: int
    queue: int
    place: int


@frozen
class BlobEntry:
    """A stored blob."""

    content: int
    digest: Digest
    size: int
    used: float


def images_after(place: Place, count: int) -> Query[tuple[list[ListedImage], Place | None]]:
    """Return at most *count* images, and the place where the next ones begin; None: there are no more.

    There may be more images even if none is returned.
    """

    def query(books: Books) -> tuple[list[ListedImage], Place | None]:
        if place.number is None:
            found = _tags_after(books, place, count)
            after = found[-1].place if len(found) == count else evolve(place, number=0)
            if found or place.host:
                return found, after
        elif (scanned := _untagged_after(books, place, count)) is not None:
            return scanned
        following = books.sql.execute(
            "SELECT min(name) FROM hosts WHERE name>?", (place.host,)
        ).fetchone()[0]
        return [], None if following is None else Place(following)

    return query


def _tags_after(books: Books, place: Place, count: int) -> list[ListedImage]:
    rows = books.sql.execute(
        "SELECT r.name, t.tag, c.digest, m.id FROM hosts h CROSS JOIN repositories r ON r.host=h.id"
        " CROSS JOIN tags t ON t.repository=r.id CROSS JOIN content c ON c.id=t.content"
        " LEFT JOIN manifests m ON m.content=t.content AND m.host=h.id"
        " WHERE h.name=? AND r.name>=? AND (r.name>? OR t.tag>?) AND t.current"
        " ORDER BY r.name, t.tag LIMIT ?",
        (place.host, place.repository, place.repository, place.tag, count),
    )
    host = place.host
    return [
        ListedImage(host, repository, tag, unpack(packed), number, Place(host, repository, tag))
        for repository, tag, packed, number in rows
    ]


def _untagged_after(
    books: Books, place: Place, count: int
) -> tuple[list[ListedImage], Place | None] | None:
    """Return images without a tag from a bounded number of manifests; None at the end of the registry."""
    last: int | None = books.sql.execute(
        "SELECT max(id) FROM (SELECT id FROM manifests WHERE id>? ORDER BY id LIMIT ?)",
        (place.number, SCANNED),
    ).fetchone()[0]
    if last is None:
        return None
    rows = books.sql.execute(
        "SELECT m.id, c.digest, r.name, m.content, m.host FROM manifests m"
        " CROSS JOIN hosts h ON h.id=m.host"
        " CROSS JOIN content c ON c.id=m.content LEFT JOIN repositories r ON r.id=m.repository"
        " WHERE m.id>? AND m.id<=? AND h.name=? ORDER BY m.id",
        (place.number, last, place.host),
    )
    found = []
    for number, packed, repository, content, host in rows.fetchall():
        if is_tagged(books, host, content) or parents_of(books, host, content, 1):
            continue
        here = evolve(place, number=number)
        where = repository or had_tag_in(books, host, content)
        found.append(ListedImage(place.host, where, None, unpack(packed), number, here))
        if len(found) == count:
            return found, here
    return found, evolve(place, number=last)


def had_tag_in(books: Books, host: int, content: int) -> str | None:
    """Return a repository that has had a tag for a manifest."""
    row = books.sql.execute(
        "SELECT r.name FROM tags t CROSS JOIN repositories r ON r.id=t.repository"
        " WHERE t.content=? AND r.host=? LIMIT 1",
        (content, host),
    ).fetchone()
    return None if row is None else row[0]


# -- one image


def manifest_entry(books: Books, host: str, digest: Digest) -> ManifestEntry | None:
    """Return a stored manifest of a registry."""
    row = books.sql.execute(
        "SELECT m.id, m.content, m.type, m.size, m.added, m.used, m.total, m.queue, m.place"
        " FROM content c CROSS JOIN manifests m ON m.content=c.id"
        " CROSS JOIN hosts h ON h.id=m.host WHERE c.digest=? AND h.name=?",
        (pack(digest), host),
    ).fetchone()
    if row is None:
        return None
    return ManifestEntry(row[0], row[1], host, digest, *row[2:])


def blob_entry(books: Books, digest: Digest) -> BlobEntry | None:
    """Return a stored blob."""
    row = books.sql.execute(
        "SELECT b.content, b.size, b.used FROM content c CROSS JOIN blobs b ON b.content=c.id"
        " WHERE c.digest=?",
        (pack(digest),),
    ).fetchone()
    return None if row is None else BlobEntry(row[0], digest, row[1], row[2])


def blobs_named(books: Books, content: int) -> list[BlobEntry]:
    """Return the stored blobs that a manifest names, anywhere in it."""
    rows = books.sql.execute(
        "SELECT b.content, c.digest, b.size, b.used FROM edges e"
        " CROSS JOIN blobs b ON b.content=e.child CROSS JOIN content c ON c.id=b.content"
        " WHERE e.parent=?",
        (content,),
    )
    return [BlobEntry(number, unpack(packed), size, used) for number, packed, size, used in rows]


def needing(books: Books, content: int, most: int) -> list[tuple[str, int]]:
    """Return registry and content of all stored manifests that name something."""
    return books.sql.execute(
        "SELECT h.name, m.content FROM edges e CROSS JOIN manifests m ON m.content=e.parent"
        " CROSS JOIN hosts h ON h.id=m.host WHERE e.child=? LIMIT ?",
        (content, most),
    ).fetchall()


def count_naming(books: Books, content: int, most: int) -> int:
    """Return how many stored manifests name something, up to *most*."""
    (count,) = books.sql.execute(
        "SELECT count(*) FROM (SELECT 1 FROM edges e CROSS JOIN manifests m ON m.content=e.parent"
        " WHERE e.child=? LIMIT ?)",
        (content, most),
    ).fetchone()
    return int(count)


def is_tagged(books: Books, host: int, content: int) -> bool:
    """Whether a tag of a registry names a manifest now."""
    return (
        books.sql.execute(
            "SELECT 1 FROM tags t CROSS JOIN repositories r ON r.id=t.repository"
            " WHERE t.content=? AND t.current AND r.host=? LIMIT 1",
            (content, host),
        ).fetchone()
        is not None
    )


def parents_of(books: Books, host: int, content: int, most: int) -> list[int]:
    """Return the content of stored manifests of a registry that name a manifest of it."""
    rows = books.sql.execute(
        "SELECT m.content FROM edges e CROSS JOIN manifests m ON m.content=e.parent"
        " WHERE e.child=? AND +m.host=? LIMIT ?",
        (content, host, most),
    )
    return [number for (number,) in rows]


def tags_of(books: Books, host: int, content: int, most: int) -> list[tuple[str, str]]:
    """Return repository and name of the tags that name a manifest of a registry now."""
    return books.sql.execute(
        "SELECT r.name, t.tag FROM tags t CROSS JOIN repositories r ON r.id=t.repository"
        " WHERE t.content=? AND t.current AND r.host=? ORDER BY r.name, t.tag LIMIT ?",
        (content, host, most),
    ).fetchall()


def is_among_newest(books: Books, host: int, content: int, count: int) -> bool:
    """Whether a manifest of a registry has one of the *count* newest tags, or something that names it has."""
    waiting, seen = [content], {content}
    while waiting and count:
        number = waiting.pop()
        tags = books.sql.execute(
            "SELECT r.id, t.tag, t.first FROM tags t CROSS JOIN repositories r ON r.id=t.repository"
            " WHERE t.content=? AND t.current AND r.host=?",
            (number, host),
        ).fetchall()
        if repository_with_newest(books.sql, tags, count) is not None:
            return True
        parents = [one for one in parents_of(books, host, number, ANCESTORS) if one not in seen]
        if len(seen) < ANCESTORS:
            waiting += parents
            seen.update(parents)
    return False


def places_before(books: Books, entry: ManifestEntry) -> int:
    """Return how many images are ahead of one in its eviction queue."""
    (count,) = books.sql.execute(
        "SELECT count(*) FROM manifests WHERE queue=? AND place<?", (entry.queue, entry.place)
    ).fetchone()
    return int(count)


def digest_at(books: Books, content: int) -> Digest:
    """Return the digest with a number."""
    (packed,) = books.sql.execute("SELECT digest FROM content WHERE id=?", (content,)).fetchone()
    return unpack(packed)
