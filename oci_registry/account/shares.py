"""Which repositories need what is stored, as questions that each look at a bounded part of it."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from oci_registry.account.books import Books
from oci_registry.account.catalogue import had_tag_in
from oci_registry.account.queries import Query

DEEPEST = 20
"""Manifests that name each other in a row which are followed."""

REMEMBERED = 50_000
"""Manifests whose repositories are remembered; those of others are found again."""

Owner = tuple[str, str | None]
"""A registry, and a repository of it if that is known."""
Owners = frozenset[Owner]


class Memo:
    """The owners that were found for manifests, by their numbers; it forgets all when it is full."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._owners: dict[int, Owners] = {}
        self._same: dict[Owners, Owners] = {}

    def get(self, number: int) -> Owners | None:
        """Return what was found for a manifest."""
        return self._owners.get(number)

    def put(self, number: int, owners: Owners) -> Owners:
        """Remember what was found for a manifest, and return it."""
        if len(self._owners) >= self._most:
            self._owners.clear()
            self._same.clear()
        owners = self._same.setdefault(owners, owners)
        self._owners[number] = owners
        return owners


@frozen
class Share:
    """A stored blob or manifest of *size* bytes, and who needs it. *single*: it is an image without a tag."""

    size: int
    owners: Owners
    single: bool = False


@frozen
class Naming:
    """A blob, one of the manifests that name it (its content; 0: there is none), and who needs that one."""

    blob: int
    size: int
    parent: int
    owners: Owners


def namings_after(
    blob: int, parent: int, count: int, memo: Memo
) -> Query[tuple[list[Naming], bool]]:
    """Return which manifests name which blobs, in order of both, and whether more follow.

    *blob*, *parent*: those of the last one before.
    """

    def query(books: Books) -> tuple[list[Naming], bool]:
        rows = books.sql.execute(
            "SELECT b.content, b.size, ifnull(e.parent, 0) FROM blobs b"
            " LEFT JOIN edges e ON e.child=b.content"
            " WHERE b.content>=? AND (b.content>? OR e.parent>?)"
            " ORDER BY b.content, e.parent LIMIT ?",
            (blob, blob, parent, count),
        ).fetchall()
        found = [
            Naming(number, size, naming, _owners_at(books, naming, memo))
            for number, size, naming in rows
        ]
        return found, len(rows) == count

    return query


def _owners_at(books: Books, content: int, memo: Memo) -> Owners:
    """Return who needs a manifest, in all registries that have it."""
    owners: Owners = frozenset()
    if content:
        numbers = books.sql.execute("SELECT id FROM manifests WHERE content=?", (content,))
        for (number,) in numbers.fetchall():
            one = _owners(books, number, memo, 0)
            owners = owners | one if owners else one
    return owners


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


def _owners(books: Books, number: int, memo: Memo, depth: int) -> Owners:
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
        "SELECT r.name FROM tags t CROSS JOIN repositories r ON r.id=t.repository"
        " WHERE t.content=? AND t.current AND r.host=?",
        (content, host),
    )
    found: Owners = frozenset((name, one) for (one,) in tagged.fetchall())
    parents = books.sql.execute(
        "SELECT m.id FROM edges e CROSS JOIN manifests m ON m.content=e.parent"
        " WHERE e.child=? AND +m.host=?",
        (content, host),
    ).fetchall()
    for (parent,) in parents if depth < DEEPEST else ():
        found |= _owners(books, parent, memo, depth + 1)
    if not found:
        found = frozenset({(name, repository or had_tag_in(books, host, content))})
    return memo.put(number, found)


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
