"""The newest tags of each repository, whose images are evicted last.

An image whose turn to be evicted came, but that is kept because a tag of a repository is among the
newest, moves to a separate queue. When the newest tags of that repository change, it returns to
probation, and is judged again at its next turn. So there is no need to search for images that are no
longer kept.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping

from attrs import frozen

from oci_registry.account.books import Books
from oci_registry.account.nouns import NEWEST, PROBATION
from oci_registry.account.queries import Query


@frozen
class NewestTags:
    """How many of the newest tags of each repository are kept, by registry; *otherwise*: for all others."""

    by_host: Mapping[str, int] = {}
    otherwise: int = 0

    def of(self, host: str) -> int:
        """Return how many tags of each repository of a registry are kept."""
        return self.by_host.get(host, self.otherwise)


def keep_newest(newest: NewestTags) -> Query[None]:
    """Use these numbers of newest tags from now on."""

    def query(books: Books) -> None:
        hosts = books.sql.execute("SELECT id, name, newest FROM hosts").fetchall()
        for number, name, before in hosts:
            if newest.of(name) != before:
                books.sql.execute("UPDATE hosts SET newest=? WHERE id=?", (newest.of(name), number))
                books.sql.execute(
                    "UPDATE manifests SET queue=?, kept_for=NULL WHERE queue=? AND host=?",
                    (PROBATION, NEWEST, number),
                )

    return query


def repository_with_newest(
    sql: sqlite3.Connection, tags: Iterable[tuple[int, str, float]], count: int
) -> int | None:
    """Return a repository that has one of *tags* among its *count* newest ones.

    *tags*: repository, name, and when it was first seen with its current manifest. If several tags were
    first seen at the same time, the last one by name is the newest.
    """
    for repository, tag, first in tags if count else ():
        (newer,) = sql.execute(
            "SELECT count(*) FROM (SELECT 1 FROM tags"
            " WHERE repository=? AND current AND (first, tag)>(?, ?) LIMIT ?)",
            (repository, first, tag, count),
        ).fetchone()
        if newer < count:
            return repository
    return None
