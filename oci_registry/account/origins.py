"""Where content comes from, according to the tags in the account."""

from __future__ import annotations

from attrs import frozen

from oci_registry.account.books import Books
from oci_registry.account.nouns import pack
from oci_registry.account.queries import Query
from oci_registry.spec.digest import Digest

_LEVELS = 3
"""An index, a manifest, a blob."""
_PARENTS = 1000
_MOST = 50


@frozen
class Origin:
    """A tag whose image has some content, now or earlier."""

    host: str
    repository: str
    tag: str


def origins(digest: Digest) -> Query[list[Origin]]:
    """Return tags whose images have *digest*: those that still do first, and then the latest."""

    def query(books: Books) -> list[Origin]:
        rows = books.sql.execute(
            "WITH RECURSIVE up (content, level) AS ("
            "  SELECT id, 0 FROM content WHERE digest=?"
            "  UNION SELECT e.parent, level + 1 FROM up CROSS JOIN edges e ON e.child=up.content"
            "  WHERE level<? LIMIT ?)"
            " SELECT h.name, r.name, t.tag, max(t.current) AS current, max(t.last) AS last"
            " FROM up CROSS JOIN tags t ON t.content=up.content"
            " JOIN repositories r ON r.id=t.repository JOIN hosts h ON h.id=r.host"
            " GROUP BY h.name, r.name, t.tag ORDER BY current DESC, last DESC LIMIT ?",
            (pack(digest), _LEVELS, _PARENTS, _MOST),
        )
        return [Origin(host, repository, tag) for host, repository, tag, _, _ in rows]

    return query
