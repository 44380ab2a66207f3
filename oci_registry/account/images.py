"""Queries of the eviction: which images come next, and what they consist of."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from itertools import chain

from attrs import frozen

from oci_registry.account.books import Books
from oci_registry.account.newest import repository_with_newest
from oci_registry.account.nouns import (
    BLOCK,
    MAIN,
    NEWEST,
    PROBATION,
    IsPinned,
    nothing_pinned,
    on_disk,
    pack,
    unpack,
)
from oci_registry.account.queries import Query
from oci_registry.spec.digest import Digest

HEADS = 100
"""The number of images of each queue that are read together."""
ANCESTORS = 100
"""The maximum number of manifests that name an image, at any depth; with more, it is not evicted."""
MISSING = 1000
"""The maximum number of missing blobs of an image; further ones are ignored."""
LOOSE = 20_000
"""The number of least recently used blobs that are searched for those without a manifest."""


@frozen
class StoredManifest:
    """A manifest with its tags, pairs of repository and tag; *size*: bytes on the disk.

    *missing*: digests that it names and that are not stored, of manifests too. *newest*: a repository
    where one of these tags is among the newest that are kept.
    """

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
    missing: tuple[Digest, ...]
    newest: int | None = None


@frozen
class StoredBlob:
    """A blob; *needed*: how many manifests name it, or more than can be evicted at once.

    For a query about one registry, only its manifests count; *shared*: those of others name it too.
    """

    number: int
    digest: Digest
    size: int
    needed: int
    shared: bool = False


@frozen
class Heads:
    """The heads of the queues, in order, with all manifests that name them, and all their blobs.

    *tag_changes*: the value in `Books` at that time.
    """

    manifests: dict[int, StoredManifest]
    blobs: dict[int, StoredBlob]
    probation: tuple[int, ...]
    main: tuple[int, ...]
    loose: tuple[int, ...]
    newest: tuple[int, ...] = ()
    tag_changes: int = 0


def queue_sizes(host: str | None = None) -> Query[tuple[int, int, int]]:
    """Return the bytes that the images of each queue need; takes a second for 200,000 images.

    *host*: only those of this registry.
    """

    def query(books: Books) -> tuple[int, int, int]:
        sizes = [0, 0, 0]
        needed = (
            "SELECT m.queue, sum((b.size + ?1 - 1) / ?1 * ?1) FROM manifests m"
            " CROSS JOIN edges e ON e.parent=m.content CROSS JOIN blobs b ON b.content=e.child"
            " WHERE (?2 IS NULL OR m.host=(SELECT id FROM hosts WHERE name=?2)) GROUP BY m.queue"
        )
        own = (
            "SELECT m.queue, sum((m.size + ?1 - 1) / ?1 * ?1) FROM manifests m"
            " WHERE (?2 IS NULL OR m.host=(SELECT id FROM hosts WHERE name=?2)) GROUP BY m.queue"
        )
        for part in (needed, own):
            for queue, size in books.sql.execute(part, (BLOCK, host)):
                sizes[queue] += size
        return sizes[PROBATION], sizes[MAIN], sizes[NEWEST]

    return query


def count_queued(host: str | None = None, *, newest: bool) -> Query[int]:
    """Return how many images are in the queues. *host*, *newest*: as for `heads`."""

    def query(books: Books) -> int:
        (count,) = books.sql.execute(
            "SELECT count(*) FROM manifests WHERE queue<=?1"
            " AND (?2 IS NULL OR host=(SELECT id FROM hosts WHERE name=?2))",
            (NEWEST if newest else MAIN, host),
        ).fetchone()
        return int(count)

    return query


def registry_size(host: str) -> Query[int]:
    """Return the bytes on the disk of a registry's manifests, and of all blobs that they name.

    Each blob counts once, whether other registries name it or not. Takes a second for 50,000 images.
    """

    def query(books: Books) -> int:
        blobs, manifests = books.sql.execute(
            "SELECT (SELECT sum((b.size + ?1 - 1) / ?1 * ?1) FROM (SELECT DISTINCT e.child AS content"
            "  FROM hosts h CROSS JOIN manifests m ON m.host=h.id CROSS JOIN edges e ON e.parent=m.content"
            "  WHERE h.name=?2) named CROSS JOIN blobs b ON b.content=named.content),"
            " (SELECT sum((m.size + ?1 - 1) / ?1 * ?1) FROM hosts h CROSS JOIN manifests m ON m.host=h.id"
            "  WHERE h.name=?2)",
            (BLOCK, host),
        ).fetchone()
        return (blobs or 0) + (manifests or 0)

    return query


def heads(
    idle_since: float,
    is_forever: Callable[[str], bool],
    is_pinned: IsPinned = nothing_pinned,
    host: str | None = None,
    *,
    newest: bool = False,
    candidates: int = HEADS,
) -> Query[Heads]:
    """Return candidates for the eviction; loose blobs only if they were not used since *idle_since*.

    *is_forever*: whether the images of a registry are never evicted. This and *is_pinned* are called in
    the account's thread. *host*: only images of this registry, and no loose blobs. *newest*: also the images
    that are kept for the newest tags. *candidates*: how many of each queue, and how many
    loose blobs.
    """

    def query(books: Books) -> Heads:
        hosts = books.sql.execute("SELECT id, name FROM hosts").fetchall()
        only = next((number for number, name in hosts if name == host), -1)
        forever = json.dumps(
            [
                number
                for number, name in hosts
                if is_forever(name) or (host is not None and number != only)
            ]
        )
        queues = [
            [
                number
                for (number,) in books.sql.execute(
                    "SELECT id FROM manifests WHERE queue=?"
                    " AND host NOT IN (SELECT value FROM json_each(?)) ORDER BY place LIMIT ?",
                    (queue, forever, candidates),
                )
            ]
            for queue in (PROBATION, MAIN, *((NEWEST,) if newest else ()))
        ]
        manifests: dict[int, StoredManifest] = {}
        for number in chain(*queues):
            _add_family(books, number, manifests, is_pinned)
        blobs: dict[int, StoredBlob] = {}
        most = len(manifests) + 1
        for manifest in manifests.values():
            for number in manifest.blobs:
                if number not in blobs:
                    blobs[number] = _blob(books, number, most, None if host is None else only)
        loose = [] if host is not None else _loose(books, idle_since, candidates)
        for number in loose:
            blobs[number] = _blob(books, number, 1, None)
        return Heads(
            manifests,
            blobs,
            tuple(queues[PROBATION]),
            tuple(queues[MAIN]),
            tuple(loose),
            tuple(queues[NEWEST]) if newest else (),
            books.tag_changes,
        )

    return query


def loose_blobs(idle_since: float) -> Query[Heads]:
    """Return blobs without a manifest that were not used since a time, the least recently used first."""

    def query(books: Books) -> Heads:
        numbers = _loose(books, idle_since, HEADS)
        blobs = {number: _blob(books, number, 1, None) for number in numbers}
        return Heads({}, blobs, (), (), tuple(numbers), (), books.tag_changes)

    return query


def unnamed_blobs(numbers: Collection[int]) -> Query[Heads]:
    """Return those of these blobs that no manifest names, and that are stored."""

    def query(books: Books) -> Heads:
        found = books.sql.execute(
            "SELECT b.content FROM json_each(?) j CROSS JOIN blobs b ON b.content=j.value"
            " WHERE NOT EXISTS (SELECT 1 FROM edges WHERE child=b.content)",
            (json.dumps(list(numbers)),),
        ).fetchall()
        blobs = {number: _blob(books, number, 1, None) for (number,) in found}
        return Heads({}, blobs, (), (), tuple(blobs), (), books.tag_changes)

    return query


def _loose(books: Books, idle_since: float, most: int) -> list[int]:
    found = books.sql.execute(
        "SELECT content FROM (SELECT content, used FROM blobs ORDER BY used LIMIT ?)"
        " WHERE used<? AND NOT EXISTS (SELECT 1 FROM edges WHERE child=content) LIMIT ?",
        (LOOSE, idle_since, most),
    )
    return [number for (number,) in found]


def incomplete(
    digests: Sequence[Digest], is_pinned: IsPinned = nothing_pinned
) -> Query[list[StoredManifest]]:
    """Return the manifests that need a blob of *digests* that is not stored, and all that name them.

    *is_pinned*: as for `heads`.
    """

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
                _add_family(books, number, found, is_pinned)
        return list(found.values())

    return query


def _add_family(
    books: Books, number: int, found: dict[int, StoredManifest], is_pinned: IsPinned
) -> None:
    """Add a manifest, and all manifests that name it."""
    waiting, family = [number], 0
    while waiting:
        number = waiting.pop()
        if number not in found:
            family += 1
            found[number] = _manifest(books, number, is_pinned, kept=family > ANCESTORS)
            if family <= ANCESTORS:
                waiting += found[number].parents


def _manifest(books: Books, number: int, is_pinned: IsPinned, *, kept: bool) -> StoredManifest:
    sql = books.sql
    host, name, most, content, packed, size, queue, pulls = sql.execute(
        "SELECT m.host, h.name, h.newest, m.content, c.digest, m.size, m.queue, m.pulls FROM manifests m"
        " CROSS JOIN hosts h ON h.id=m.host CROSS JOIN content c ON c.id=m.content WHERE m.id=?",
        (number,),
    ).fetchone()
    blobs = sql.execute(
        "SELECT b.content FROM edges e CROSS JOIN blobs b ON b.content=e.child WHERE e.parent=?",
        (content,),
    ).fetchall()
    missing = sql.execute(
        "SELECT c.digest FROM edges e CROSS JOIN content c ON c.id=e.child WHERE e.parent=?"
        " AND NOT EXISTS (SELECT 1 FROM blobs WHERE content=e.child) LIMIT ?",
        (content, MISSING),
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
    found = sql.execute(
        "SELECT r.name, t.tag, r.id, t.first FROM tags t CROSS JOIN repositories r ON r.id=t.repository"
        " WHERE t.content=? AND t.current AND r.host=?",
        (content, host),
    ).fetchall()
    tags = [(repository, tag) for repository, tag, _, _ in found]
    dated = ((repository, tag, first) for _, tag, repository, first in found)
    digest = unpack(packed)
    return StoredManifest(
        number,
        name,
        digest,
        on_disk(size),
        queue,
        pulls,
        kept or len(parents) > ANCESTORS or is_pinned(name, digest, tags),
        frozenset(blob for (blob,) in blobs),
        frozenset(parent for (parent,) in parents),
        child is not None,
        tuple(tags),
        tuple(unpack(digest) for (digest,) in missing),
        repository_with_newest(sql, dated, most),
    )


def _blob(books: Books, number: int, most: int, host: int | None) -> StoredBlob:
    """Return a blob; manifests that name it are counted up to *most*. *host*: see `StoredBlob`."""
    packed, size = books.sql.execute(
        "SELECT c.digest, b.size FROM blobs b CROSS JOIN content c ON c.id=b.content WHERE b.content=?",
        (number,),
    ).fetchone()
    named = (
        "SELECT 1 FROM edges e CROSS JOIN manifests m ON m.content=e.parent"
        " WHERE e.child=?1 AND (?2 IS NULL OR m.host{}?2) LIMIT ?3"
    )
    (needed,) = books.sql.execute(
        f"SELECT count(*) FROM ({named.format('=')})",  # noqa: S608
        (number, host, most),
    ).fetchone()
    shared = host is not None and bool(
        books.sql.execute(named.format("<>"), (number, host, 1)).fetchone()
    )
    return StoredBlob(number, unpack(packed), on_disk(size), needed, shared)


def move(
    moves: Sequence[tuple[int, int, int]],
    newest: Sequence[tuple[int, int]],
    ghosts: Sequence[tuple[str, Digest]],
    tag_changes: int = 0,
) -> Query[None]:
    """Move images to the end of a queue (number, queue, pulls), and remember *ghosts*, which were evicted.

    *newest*: images that are kept for the newest tags of a repository from now on, with the repository.
    It is skipped if its tags have changed since *tag_changes*. As many ghosts are remembered as there
    are images in the main queue, or a thousand.
    """

    def query(books: Books) -> None:
        # An image that has left the queue of the newest tags meanwhile is not returned to it.
        books.sql.executemany(
            "UPDATE manifests SET queue=?1, pulls=?2, place=?3"
            " WHERE id=?4 AND (?1<>?5 OR kept_for IS NOT NULL)",
            [(queue, pulls, books.next_place(), number, NEWEST) for number, queue, pulls in moves],
        )
        books.sql.executemany(
            "UPDATE manifests SET queue=?, pulls=0, place=?, kept_for=? WHERE id=?",
            [
                (NEWEST, books.next_place(), repository, number)
                for number, repository in newest
                if not books.is_retagged(repository, tag_changes)
            ],
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
