"""Information about the next image or blob to be evicted."""

from __future__ import annotations

import json
from collections.abc import Sequence

from attrs import frozen

from oci_registry.account.books import Books
from oci_registry.account.nouns import BLOCK, unpack
from oci_registry.account.queries import Query
from oci_registry.spec.digest import Digest


@frozen
class Victim:
    """An image, or a blob that no manifest names: then *host*, *repository*, *tag* and *queue* are None.

    *used*: when it was last used. *size*: what is stored of it, *frees*: what its eviction frees; both are
    bytes on the disk.
    """

    host: str | None
    repository: str | None
    tag: str | None
    digest: Digest
    used: float
    size: int
    frees: int
    queue: int | None


def queue_lengths() -> Query[dict[int, int]]:
    """Return how many manifests each queue has; takes 15 ms for 200,000."""

    def query(books: Books) -> dict[int, int]:
        rows = books.sql.execute("SELECT queue, count(*) FROM manifests GROUP BY queue")
        return dict(rows.fetchall())

    return query


def victim(images: Sequence[int], blobs: Sequence[int], frees: int) -> Query[Victim | None]:
    """Describe manifests that are evicted together, the outermost last; or else the first of *blobs*."""

    def query(books: Books) -> Victim | None:
        if images:
            return _image(books, images, frees)
        return _blob(books, blobs[0], frees) if blobs else None

    return query


def _image(books: Books, numbers: Sequence[int], frees: int) -> Victim | None:
    sql, these = books.sql, json.dumps(list(numbers))
    # Prefer a name with a tag, and that of the outermost manifest if several have tags.
    rows = sql.execute(
        "SELECT m.id, h.name, c.digest, m.used, m.queue, p.name, (SELECT r.name || ':' || t.tag"
        "  FROM tags t CROSS JOIN repositories r ON r.id=t.repository"
        "  WHERE t.content=m.content AND t.current AND r.host=m.host LIMIT 1)"
        " FROM json_each(?) j CROSS JOIN manifests m ON m.id=j.value"
        " CROSS JOIN hosts h ON h.id=m.host CROSS JOIN content c ON c.id=m.content"
        " LEFT JOIN repositories p ON p.id=m.repository",
        (these,),
    ).fetchall()
    if not rows:
        return None
    rows.sort(key=lambda row: (row[6] is not None, numbers.index(row[0])))
    _, host, packed, _, queue, repository, named = rows[-1]
    tag = None
    if named is not None:
        repository, _, tag = named.rpartition(":")
    (size,) = sql.execute(
        "SELECT (SELECT sum((m.size + ?2 - 1) / ?2 * ?2) FROM json_each(?1) j"
        "  CROSS JOIN manifests m ON m.id=j.value)"
        " + ifnull((SELECT sum((b.size + ?2 - 1) / ?2 * ?2) FROM (SELECT DISTINCT e.child AS content"
        "  FROM json_each(?1) j CROSS JOIN manifests m ON m.id=j.value"
        "  CROSS JOIN edges e ON e.parent=m.content) named"
        "  CROSS JOIN blobs b ON b.content=named.content), 0)",
        (these, BLOCK),
    ).fetchone()
    used = max(row[3] for row in rows)
    return Victim(host, repository, tag, unpack(packed), used, size, frees, queue)


def _blob(books: Books, number: int, frees: int) -> Victim | None:
    row = books.sql.execute(
        "SELECT c.digest, b.used, (b.size + ?2 - 1) / ?2 * ?2 FROM blobs b"
        " CROSS JOIN content c ON c.id=b.content WHERE b.content=?1",
        (number, BLOCK),
    ).fetchone()
    if row is None:
        return None
    return Victim(None, None, None, unpack(row[0]), row[1], row[2], frees, None)
