"""Questions of the eviction to the account: which images come next, and what belongs to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from attrs import frozen

from oci_registry.account.books import Books
from oci_registry.account.nouns import BLOCK, MAIN, PROBATION, on_disk, pack, unpack
from oci_registry.account.queries import Query
from oci_registry.spec.digest import Digest

HEADS = 100
"""Images of each queue that are looked at together."""
ANCESTORS = 100
"""Manifests that may name an image, at any depth; an image that more of them name is not evicted."""
LOOSE = 20_000
"""Blobs, the least recently used ones, among which those are looked for that no manifest names."""


@frozen
class StoredManifest:
    """A manifest with its tags, pairs of repository and tag; *size*: bytes on the disk."""

    number: int
    host: str
    digest: Digest
    size: int
    queue: int
    pulls: int
    kept: bool
    blobs: frozenset[int]
    parents: frozenset[int]
    is_parent: bool
    tags: tuple[tuple[str, str], ...]


@frozen
class StoredBlob:
    """A blob; *needed*: how many manifests name it, or more than can be evicted at once."""

    number: int
    digest: Digest
    size: int
    needed: int


@frozen
class Heads:
    """The heads of both queues, in order, with all manifests that name them, and all their blobs."""

    manifests: dict[int, StoredManifest]
    blobs: dict[int, StoredBlob]
    probation: tuple[int, ...]
    main: tuple[int, ...]
    loose: tuple[int, ...]


def queue_sizes(books: Books) -> tuple[int, int]:
    """Return the bytes that the images of each queue need; takes a second for 200,000 images."""
    sizes = [0, 0]
    needed = (
        "SELECT m.queue, sum((b.size + ?1 - 1) / ?1 * ?1) FROM manifests m"
        " CROSS JOIN edges e ON e.parent=m.content CROSS JOIN blobs b ON b.content=e.child"
        " GROUP BY m.queue"
    )
    own = "SELECT queue, sum((size + ?1 - 1) / ?1 * ?1) FROM manifests GROUP BY queue"
    for query in (needed, own):
        for queue, size in books.sql.execute(query, (BLOCK,)):
            sizes[queue] += size
    return sizes[PROBATION], sizes[MAIN]


def heads(idle_since: float, is_forever: Callable[[str], bool]) -> Query[Heads]:
    """Return what may be evicted next; a loose blob only if it has not been used since *idle_since*.

    *is_forever*: whether the images of a registry are never evicted. It is called in the account's thread.
    """

    def query(books: Books) -> Heads:
        hosts = books.sql.execute("SELECT id, name FROM hosts").fetchall()
        forever = json.dumps([number for number, name in hosts if is_forever(name)])
        queues = [
            [
                number
                for (number,) in books.sql.execute(
                    "SELECT id FROM manifests WHERE queue=?"
                    " AND host NOT IN (SELECT value FROM json_each(?)) ORDER BY place LIMIT ?",
                    (queue, forever, HEADS),
                )
            ]
            for queue in (PROBATION, MAIN)
        ]
        manifests: dict[int, StoredManifest] = {}
        for number in (*queues[0], *queues[1]):
            _add_family(books, number, manifests)
        blobs: dict[int, StoredBlob] = {}
        most = len(manifests) + 1
        for manifest in manifests.values():
            for number in manifest.blobs:
                if number not in blobs:
                    blobs[number] = _blob(books, number, most)
        loose = books.sql.execute(
            "SELECT content FROM (SELECT content, used FROM blobs ORDER BY used LIMIT ?)"
            " WHERE used<? AND NOT EXISTS (SELECT 1 FROM edges WHERE child=content) LIMIT ?",
            (LOOSE, idle_since, HEADS),
        ).fetchall()
        for (number,) in loose:
            blobs[number] = _blob(books, number, 1)
        return Heads(
            manifests,
            blobs,
            tuple(queues[0]),
            tuple(queues[1]),
            tuple(number for (number,) in loose),
        )

    return query


def incomplete(digests: Sequence[Digest]) -> Query[list[StoredManifest]]:
    """Return the manifests that need a blob of *digests* that is not stored, and all that name them."""

    def query(books: Books) -> list[StoredManifest]:
        found: dict[int, StoredManifest] = {}
        for digest in digests:
            rows = books.sql.execute(
                "SELECT m.id FROM content c CROSS JOIN edges e ON e.child=c.id"
                " CROSS JOIN manifests m ON m.content=e.parent WHERE c.digest=?"
                " AND NOT EXISTS (SELECT 1 FROM blobs WHERE content=c.id) LIMIT ?",
                (pack(digest), HEADS),
            ).fetchall()
            for (number,) in rows:
                _add_family(books, number, found)
        return list(found.values())

    return query


def _add_family(books: Books, number: int, found: dict[int, StoredManifest]) -> None:
    """Add a manifest, and all that name it."""
    waiting, family = [number], 0
    while waiting:
        number = waiting.pop()
        if number not in found:
            family += 1
            found[number] = _manifest(books, number, kept=family > ANCESTORS)
            if family <= ANCESTORS:
                waiting += found[number].parents


def _manifest(books: Books, number: int, *, kept: bool) -> StoredManifest:
    sql = books.sql
    host, name, content, packed, size, queue, pulls = sql.execute(
        "SELECT m.host, h.name, m.content, c.digest, m.size, m.queue, m.pulls FROM manifests m"
        " CROSS JOIN hosts h ON h.id=m.host CROSS JOIN content c ON c.id=m.content WHERE m.id=?",
        (number,),
    ).fetchone()
    blobs = sql.execute(
        "SELECT b.content FROM edges e CROSS JOIN blobs b ON b.content=e.child WHERE e.parent=?",
        (content,),
    ).fetchall()
    parents = sql.execute(
        "SELECT m.id FROM edges e CROSS JOIN manifests m ON m.content=e.parent"
        " WHERE e.child=? AND +m.host=? LIMIT ?",
        (content, host, ANCESTORS + 1),
    ).fetchall()
    child = sql.execute(
        "SELECT 1 FROM edges e CROSS JOIN manifests m ON m.content=e.child"
        " WHERE e.parent=? AND +m.host=? LIMIT 1",
        (content, host),
    ).fetchone()
    pinned = sql.execute(
        "SELECT 1 FROM pins WHERE content=? AND host=?", (content, host)
    ).fetchone()
    tags = sql.execute(
        "SELECT r.name, t.tag FROM tags t CROSS JOIN repositories r ON r.id=t.repository"
        " WHERE t.content=? AND t.current AND r.host=?",
        (content, host),
    ).fetchall()
    return StoredManifest(
        number,
        name,
        unpack(packed),
        on_disk(size),
        queue,
        pulls,
        kept or pinned is not None or len(parents) > ANCESTORS,
        frozenset(blob for (blob,) in blobs),
        frozenset(parent for (parent,) in parents),
        child is not None,
        tuple(tags),
    )


def _blob(books: Books, number: int, most: int) -> StoredBlob:
    """Return a blob; more than *most* manifests that name it are not counted."""
    packed, size = books.sql.execute(
        "SELECT c.digest, b.size FROM blobs b CROSS JOIN content c ON c.id=b.content WHERE b.content=?",
        (number,),
    ).fetchone()
    (needed,) = books.sql.execute(
        "SELECT count(*) FROM (SELECT 1 FROM edges e CROSS JOIN manifests m ON m.content=e.parent"
        " WHERE e.child=? LIMIT ?)",
        (number, most),
    ).fetchone()
    return StoredBlob(number, unpack(packed), on_disk(size), needed)


def move(
    moves: Sequence[tuple[int, int, int]], ghosts: Sequence[tuple[str, Digest]]
) -> Query[None]:
    """Move images to the end of a queue: number, queue, pulls. Remember *ghosts*, which were evicted.

    As many ghosts are remembered as there are images in the main queue, or a thousand.
    """

    def query(books: Books) -> None:
        books.sql.executemany(
            "UPDATE manifests SET queue=?, pulls=?, place=? WHERE id=?",
            [(queue, pulls, books.next_place(), number) for number, queue, pulls in moves],
        )
        for host, digest in ghosts:
            books.sql.execute(
                "INSERT OR REPLACE INTO ghosts (host, content) SELECT h.id, c.id"
                " FROM hosts h, content c WHERE h.name=? AND c.digest=?",
                (host, pack(digest)),
            )
        if ghosts:
            books.sql.execute(
                "DELETE FROM ghosts WHERE id<=(SELECT max(id) FROM ghosts)"
                " - max(1000, (SELECT count(*) FROM manifests WHERE queue=?))",
                (MAIN,),
            )

    return query


def pin(host: str, digest: Digest, *, pinned: bool) -> Query[None]:
    """Pin a manifest, or unpin it: it is not evicted for its size, and what it names is not either."""

    def query(books: Books) -> None:
        row = (host, pack(digest))
        if pinned:
            books.sql.execute(
                "INSERT OR IGNORE INTO pins SELECT h.id, c.id FROM hosts h, content c"
                " WHERE h.name=? AND c.digest=?",
                row,
            )
        else:
            books.sql.execute(
                "DELETE FROM pins WHERE host=(SELECT id FROM hosts WHERE name=?)"
                " AND content=(SELECT id FROM content WHERE digest=?)",
                row,
            )

    return query
