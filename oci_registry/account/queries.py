"""Questions to the account, asked in its thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from attrs import frozen

from oci_registry.account.books import Books
from oci_registry.account.nouns import IsPinned, nothing_pinned, pack, unpack
from oci_registry.spec.digest import Digest
from oci_registry.storage.keys import blob_key, manifest_key, referrers_key

T = TypeVar("T")
Query = Callable[[Books], T]
"""A query: it reads the tables of `Books`, in the thread of the account."""

PAGE = 200


@frozen
class IdleBlob:
    """A blob that has expired. *lifetime*: that of its manifests, in seconds."""

    digest: Digest
    size: int
    lifetime: float


@frozen
class IdleManifest:
    """A manifest that has expired, and its tags: pairs of repository and tag."""

    host: str
    digest: Digest
    size: int
    lifetime: float
    tags: tuple[tuple[str, str], ...]


@frozen
class IdleList:
    """A list of referrers that has expired."""

    host: str
    repository: str
    digest: Digest
    lifetime: float


@frozen
class TagVisit:
    """A manifest of a tag: when it was first and last confirmed; *current*: the tag still names it."""

    digest: Digest
    first: float
    last: float
    current: bool


Cursor = tuple[float, int]
START: Cursor = (-1.0, 0)
"""The cursor before the first page: last use, and a number."""


def set_lifetimes(by_host: Mapping[str, float], otherwise: float) -> Query[None]:
    """Use these lifetimes, in seconds, from now on."""

    def query(books: Books) -> None:
        hosts = books.sql.execute("SELECT id, name, lifetime FROM hosts").fetchall()
        changed = [
            (by_host.get(name, otherwise), number)
            for number, name, lifetime in hosts
            if lifetime != by_host.get(name, otherwise)
        ]
        books.sql.executemany("UPDATE hosts SET lifetime=? WHERE id=?", changed)

    return query


def idle_blobs(
    now: float, shortest: float, longest: float, after: Cursor
) -> Query[tuple[list[IdleBlob], Cursor | None]]:
    """Return blobs that have expired by *now*, and where the next page begins; None: there is none.

    The lifetime of a blob is the longest of its manifests', *longest* if none names it; *shortest*
    is that of any manifest. The store's information about a blob is newer than that of the account.
    """

    def query(books: Books) -> tuple[list[IdleBlob], Cursor | None]:
        rows = books.sql.execute(
            "SELECT b.used, b.content, b.size, c.digest, ("
            "  SELECT max(h.lifetime) FROM edges e CROSS JOIN manifests m ON m.content=e.parent"
            "  CROSS JOIN hosts h ON h.id=m.host WHERE e.child=b.content)"
            " FROM blobs b CROSS JOIN content c ON c.id=b.content"
            " WHERE b.used<? AND (b.used, b.content)>(?, ?) ORDER BY b.used, b.content LIMIT ?",
            (now - shortest, *after, PAGE),
        ).fetchall()
        found = []
        for used, _, size, packed, lifetime in rows:
            kept = longest if lifetime is None else lifetime
            digest = unpack(packed)
            if now - used > kept and _still_idle(books, blob_key(digest), now - kept):
                found.append(IdleBlob(digest, size, kept))
        return found, (rows[-1][:2] if len(rows) == PAGE else None)

    return query


def idle_manifests(
    now: float, after: Cursor, is_pinned: IsPinned = nothing_pinned
) -> Query[tuple[list[IdleManifest], Cursor | None]]:
    """Return manifests that have expired by *now*, and where the next page begins.

    A pinned one counts as used now, with everything that it needs.
    """

    def query(books: Books) -> tuple[list[IdleManifest], Cursor | None]:
        # There are few registries, and manifests have an index by registry and last use.
        rows = books.sql.execute(
            "SELECT m.id, h.name, h.lifetime, m.content, c.digest, m.size FROM hosts h"
            " CROSS JOIN manifests m ON m.host=h.id AND m.used<?-h.lifetime JOIN content c ON c.id=m.content"
            " WHERE m.id>? ORDER BY m.id LIMIT ?",
            (now, after[1], PAGE),
        ).fetchall()
        found = []
        for _, host, lifetime, content, packed, size in rows:
            digest = unpack(packed)
            if _still_idle(books, manifest_key(host, digest), now - lifetime):
                tags = books.sql.execute(
                    "SELECT r.name, t.tag FROM tags t CROSS JOIN repositories r ON r.id=t.repository"
                    " JOIN hosts h ON h.id=r.host WHERE t.content=? AND t.current AND h.name=?",
                    (content, host),
                ).fetchall()
                if is_pinned(host, digest, tags):
                    books.keep(host, digest, now)
                else:
                    found.append(IdleManifest(host, digest, size, lifetime, tuple(tags)))
        return found, ((0.0, rows[-1][0]) if len(rows) == PAGE else None)

    return query


def idle_lists(now: float) -> Query[list[IdleList]]:
    """Return the first lists of referrers that have expired by *now*."""

    def query(books: Books) -> list[IdleList]:
        rows = books.sql.execute(
            "SELECT h.name, r.name, c.digest, h.lifetime FROM lists l"
            " JOIN repositories r ON r.id=l.repository JOIN hosts h ON h.id=r.host"
            " JOIN content c ON c.id=l.content WHERE l.used<?-h.lifetime LIMIT ?",
            (now, PAGE),
        ).fetchall()
        found = []
        for host, repository, packed, lifetime in rows:
            key = referrers_key(host, repository, unpack(packed))
            if _still_idle(books, key, now - lifetime):
                found.append(IdleList(host, repository, unpack(packed), lifetime))
        return found

    return query


def _still_idle(books: Books, key: str, oldest: float) -> bool:
    """Check that an object exists and was not used by another process; else correct the account."""
    info = books.medium.look(key)
    if info is None:
        books.forget(key)
        return False
    used = info.used if info.sealed else max(info.used, books.began)
    if used >= oldest:
        books.use(key, used)
        return False
    return True


def history(host: str, repository: str, tag: str) -> Query[list[TagVisit]]:
    """Return what a tag has named, the latest first."""

    def query(books: Books) -> list[TagVisit]:
        rows = books.sql.execute(
            "SELECT c.digest, t.first, t.last, t.current FROM tags t"
            " JOIN repositories r ON r.id=t.repository JOIN hosts h ON h.id=r.host"
            " JOIN content c ON c.id=t.content WHERE h.name=? AND r.name=? AND t.tag=?"
            " ORDER BY t.last DESC, t.first DESC",
            (host, repository, tag),
        )
        return [TagVisit(unpack(d), first, last, bool(current)) for d, first, last, current in rows]

    return query


def current_tags(
    manifests: Sequence[tuple[str, Digest]],
) -> Query[list[tuple[str, Digest, str, str]]]:
    """Return the tags that name these manifests, stored or not: registry, digest, repository and tag."""

    def query(books: Books) -> list[tuple[str, Digest, str, str]]:
        found = []
        for host, digest in manifests:
            rows = books.sql.execute(
                "SELECT r.name, t.tag FROM content c CROSS JOIN tags t ON t.content=c.id"
                " CROSS JOIN repositories r ON r.id=t.repository JOIN hosts h ON h.id=r.host"
                " WHERE c.digest=? AND t.current AND h.name=?",
                (pack(digest), host),
            )
            found += [(host, digest, repository, tag) for repository, tag in rows]
        return found

    return query


def naming(digest: Digest) -> Query[list[tuple[str, Digest]]]:
    """Return registry and digest of the stored manifests that name *digest*, a page at most."""

    def query(books: Books) -> list[tuple[str, Digest]]:
        rows = books.sql.execute(
            "SELECT h.name, p.digest FROM content c CROSS JOIN edges e ON e.child=c.id"
            " CROSS JOIN manifests m ON m.content=e.parent JOIN hosts h ON h.id=m.host"
            " JOIN content p ON p.id=m.content WHERE c.digest=? ORDER BY m.used DESC LIMIT ?",
            (pack(digest), PAGE),
        )
        return [(host, unpack(packed)) for host, packed in rows]

    return query
