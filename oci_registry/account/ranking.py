"""Images in the order of their size or pulls, in bounded steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum

from attrs import frozen

from oci_registry.account.books import Books
from oci_registry.account.catalogue import (
    ListedImage,
    Place,
    digest_at,
    had_tag_in,
    is_tagged,
    parents_of,
    tags_of,
)
from oci_registry.account.queries import Query
from oci_registry.spec.mediatypes import DOCKER_LIST, OCI_INDEX

_IS_INDEX = f"IN ('{OCI_INDEX}', '{DOCKER_LIST}')"
MOST_BELOW = 10_000
"""Manifests of an index of indexes that are counted."""
# Each blob counts once, however many manifests of an index name it.
_SIZE = f"""
m.size + ifnull(CASE WHEN m.type {_IS_INDEX} THEN
  (SELECT sum(size) FROM (SELECT n.content, n.size FROM edges e
    CROSS JOIN manifests n ON n.content=e.child WHERE e.parent=m.content AND +n.host=m.host
    UNION SELECT b.content, b.size FROM edges e
    CROSS JOIN manifests n ON n.content=e.child CROSS JOIN edges f ON f.parent=n.content
    CROSS JOIN blobs b ON b.content=f.child WHERE e.parent=m.content AND +n.host=m.host))
  ELSE (SELECT sum(b.size) FROM edges e CROSS JOIN blobs b ON b.content=e.child
    WHERE e.parent=m.content) END, 0)"""  # noqa: S608 - constants, as below
_HAS_INDEX = f"""
m.type {_IS_INDEX} AND EXISTS (SELECT 1 FROM edges e CROSS JOIN manifests n ON n.content=e.child
  WHERE e.parent=m.content AND +n.host=m.host AND n.type {_IS_INDEX})"""  # noqa: S608
_WHOLE_SIZE = """
WITH RECURSIVE below (content, host) AS (
  SELECT content, host FROM manifests WHERE id=?
  UNION SELECT n.content, n.host FROM below CROSS JOIN edges e ON e.parent=below.content
    CROSS JOIN manifests n ON n.content=e.child AND n.host=below.host LIMIT ?)
SELECT ifnull((SELECT sum(m.size) FROM below CROSS JOIN manifests m
    ON m.content=below.content AND m.host=below.host), 0)
  + ifnull((SELECT sum(size) FROM (SELECT DISTINCT b.content, b.size FROM below
    CROSS JOIN edges e ON e.parent=below.content CROSS JOIN blobs b ON b.content=e.child)), 0)"""


class Measure(Enum):
    """A number of an image: bytes that are stored of it, when it was used last, and when it was stored."""

    SIZE = "size"
    USED = "used"
    ADDED = "added"


@frozen
class Ranked:
    """A stored manifest. *size*: what is stored of it, and below it; *pulls*: since it was stored."""

    number: int
    host: int
    content: int
    size: int
    pulls: int


def ranked_after(
    number: int, count: int, size: int, pulls: int
) -> Query[tuple[list[Ranked], int | None]]:
    """Read the *count* manifests after a number; return the images among them, and the last number.

    Only images of more than *size* bytes, or more than so many *pulls*. The number is None if there are
    no further manifests. Takes 10 us for each manifest.
    """

    def query(books: Books) -> tuple[list[Ranked], int | None]:
        rows = books.sql.execute(
            f"SELECT m.id, m.host, m.content, {_SIZE}, m.total"  # noqa: S608
            " FROM manifests m WHERE m.id>? ORDER BY m.id LIMIT ?",
            (number, count),
        )
        found = [Ranked(*row) for row in rows.fetchall()]
        chosen = [
            one
            for one in found
            if (one.size > size or one.pulls > pulls) and _is_listed(books, one)
        ]
        return chosen, found[-1].number if found else None

    return query


def measured(numbers: Sequence[int], measure: Measure) -> Query[dict[int, float]]:
    """Return a number for each of these manifests that is stored. Takes 10 us for each."""

    def query(books: Books) -> dict[int, float]:
        is_size = measure is Measure.SIZE
        value, again = (_SIZE, _HAS_INDEX) if is_size else (f"m.{measure.value}", "0")
        # As JSON: each row that SQLite returns costs a switch of threads.
        (rows,) = books.sql.execute(
            f"SELECT json_group_array(json_array(m.id, {value}, {again}))"  # noqa: S608
            " FROM json_each(?) j CROSS JOIN manifests m ON m.id=j.value",
            (json.dumps(numbers),),
        ).fetchone()
        return {
            number: _whole_size(books, number) if deep else found
            for number, found, deep in json.loads(rows)
        }

    return query


def _whole_size(books: Books, number: int) -> int:
    """Return how much is stored of an index that has indexes."""
    (size,) = books.sql.execute(_WHOLE_SIZE, (number, MOST_BELOW)).fetchone()
    return int(size)


def _is_listed(books: Books, one: Ranked) -> bool:
    """Whether it is an image of its own, and not only a part of another one."""
    return is_tagged(books, one.host, one.content) or not parents_of(
        books, one.host, one.content, 1
    )


def as_image(ranked: Ranked) -> Query[ListedImage | None]:
    """Return a manifest as an image, under one of its tags; None if it is not stored any more."""

    def query(books: Books) -> ListedImage | None:
        row = books.sql.execute(
            "SELECT h.name, r.name FROM manifests m CROSS JOIN hosts h ON h.id=m.host"
            " LEFT JOIN repositories r ON r.id=m.repository WHERE m.id=? AND m.content=?",
            (ranked.number, ranked.content),
        ).fetchone()
        if row is None:
            return None
        host, repository = row
        digest = digest_at(books, ranked.content)
        tags = tags_of(books, ranked.host, ranked.content, 1)
        if tags:
            ((repository, tag),) = tags
            return ListedImage(host, repository, tag, digest, ranked.number, Place(host))
        where = repository or had_tag_in(books, ranked.host, ranked.content)
        return ListedImage(host, where, None, digest, ranked.number, Place(host))

    return query
