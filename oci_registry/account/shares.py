"""Which repositories need what is stored, as questions that each look at a bounded part of it."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping

from attrs import frozen

from oci_registry.account.books import Books
from oci_registry.account.catalogue import had_tag_in
from oci_registry.account.queries import Query

DEEPEST = 20
"""Manifests that name each other in a row which are followed."""

Owner = tuple[str, str | None]
"""A registry, and a repository of it if that is known."""
Memo = MutableMapping[int, frozenset[Owner]]
"""What was found for manifests before, by their numbers; it may forget."""


@frozen
class Share:
    """A stored blob or manifest of *size* bytes, and who needs it. *single*: it is an image without a tag."""

    size: int
    owners: frozenset[Owner]
    single: bool = False


def blobs_after(content: int, count: int, memo: Memo) -> Query[tuple[list[Share], int | None]]:
    """Return the blobs after a number, and where those that follow begin; None: there are none."""

    def query(books: Books) -> tuple[list[Share], int | None]:
        rows = books.sql.execute(
            "SELECT content, size FROM blobs WHERE content>? ORDER BY content LIMIT ?",
            (content, count),
        ).fetchall()
        found = []
        for blob, size in rows:
            naming = books.sql.execute(
                "SELECT m.id FROM edges e CROSS JOIN manifests m ON m.content=e.parent"
                " WHERE e.child=?",
                (blob,),
            ).fetchall()
            owners: frozenset[Owner] = frozenset()
            for (number,) in naming:
                owners |= _owners(books, number, memo, 0)
            found.append(Share(size, owners))
        return found, rows[-1][0] if len(rows) == count else None

    return query


def manifests_after(number: int, count: int, memo: Memo) -> Query[tuple[list[Share], int | None]]:
    """Return the manifests after a number, and where those that follow begin; None: there are none."""

    def query(books: Books) -> tuple[list[Share], int | None]:
        rows = books.sql.execute(
            "SELECT id, size FROM manifests WHERE id>? ORDER BY id LIMIT ?", (number, count)
        ).fetchall()
        found = [
            Share(size, _owners(books, one, memo, 0), _is_single(books, one)) for one, size in rows
        ]
        return found, rows[-1][0] if len(rows) == count else None

    return query


def _is_single(books: Books, number: int) -> bool:
    """Whether no tag and no manifest of its registry names a manifest."""
    row = books.sql.execute(
        "SELECT NOT EXISTS (SELECT 1 FROM tags t CROSS JOIN repositories r ON r.id=t.repository"
        "  WHERE t.content=m.content AND t.current AND r.host=m.host)"
        " AND NOT EXISTS (SELECT 1 FROM edges e CROSS JOIN manifests p ON p.content=e.parent"
        "  WHERE e.child=m.content AND +p.host=m.host) FROM manifests m WHERE m.id=?",
        (number,),
    ).fetchone()
    return bool(row[0])


def _owners(books: Books, number: int, memo: Memo, depth: int) -> frozenset[Owner]:
    """Return the repositories that need a manifest: by a tag, or through a manifest that names it."""
    before = memo.get(number)
    if before is not None:
        return before
    host, content, name, repository = books.sql.execute(
        "SELECT m.host, m.content, h.name, r.name FROM manifests m CROSS JOIN hosts h ON h.id=m.host"
        " LEFT JOIN repositories r ON r.id=m.repository WHERE m.id=?",
        (number,),
    ).fetchone()
    tagged = books.sql.execute(
        "SELECT DISTINCT r.name FROM tags t CROSS JOIN repositories r ON r.id=t.repository"
        " WHERE t.content=? AND t.current AND r.host=?",
        (content, host),
    )
    found: frozenset[Owner] = frozenset((name, one) for (one,) in tagged.fetchall())
    parents = books.sql.execute(
        "SELECT m.id FROM edges e CROSS JOIN manifests m ON m.content=e.parent"
        " WHERE e.child=? AND +m.host=?",
        (content, host),
    ).fetchall()
    for (parent,) in parents if depth < DEEPEST else ():
        found |= _owners(books, parent, memo, depth + 1)
    if not found:
        found = frozenset({(name, repository or had_tag_in(books, host, content))})
    memo[number] = found
    return found


def tags_in(owners: Iterable[Owner]) -> Query[dict[Owner, int]]:
    """Return how many tags each of some repositories has."""

    def query(books: Books) -> dict[Owner, int]:
        found: dict[Owner, int] = {}
        for host, repository in owners:
            (found[host, repository],) = books.sql.execute(
                "SELECT count(*) FROM hosts h CROSS JOIN repositories r ON r.host=h.id"
                " CROSS JOIN tags t ON t.repository=r.id"
                " WHERE h.name=? AND r.name=? AND t.current",
                (host, repository),
            ).fetchone()
        return found

    return query
