"""The comparison of the account with the store: it builds a new account, and corrects an old one.

It detects what other processes have stored and removed, and what a crash has lost.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

from oci_registry.account.books import Books
from oci_registry.account.nouns import unpack
from oci_registry.storage.keys import (
    BLOBS,
    REPOSITORIES,
    blob_key,
    manifest_key,
    referrers_key,
    tag_key,
)

_PAGE = 200


def compare(books: Books, *, empty: bool) -> Iterator[None]:
    """Update the account with the store's content; yield after each object, in or between transactions.

    *empty*: the account was empty at the start, so nothing in it can have been removed. Keys that
    change meanwhile must be read again (`Books.refresh`), between two steps. Raises OSError and
    `StoreError` if the store cannot be read.
    """
    seen = _Seen(books.sql) if books.medium.remote and not empty else None
    for prefix in (BLOBS, REPOSITORIES):
        for info in books.medium.walk(prefix):
            books.record(info)
            if seen is not None:
                seen.add(info.key)
            yield
    if not empty:
        for key in _keys(books.sql):
            if seen is not None and key in seen:
                continue
            if books.medium.look(key) is None:
                books.forget(key)
            yield
        yield from _tidy(books.sql)


class _Seen:
    """The keys that a walk has visited, in a temporary table: checking each later would cost too much.

    Each key is represented by a hash of eight bytes. If two of a million collided, which is unlikely, a
    later comparison would find a removal that this one has missed.
    """

    def __init__(self, sql: sqlite3.Connection) -> None:
        self._sql = sql
        sql.execute("CREATE TEMP TABLE IF NOT EXISTS seen (key INTEGER PRIMARY KEY)")
        sql.execute("DELETE FROM seen")

    def add(self, key: str) -> None:
        """Remember a key."""
        self._sql.execute("INSERT OR IGNORE INTO seen VALUES (?)", (_short(key),))

    def __contains__(self, key: str) -> bool:
        found = self._sql.execute("SELECT 1 FROM seen WHERE key=?", (_short(key),))
        return found.fetchone() is not None


def _short(key: str) -> int:
    # Of this process alone, as the table is; hashlib would bring OpenSSL along.
    return hash(key)


def _keys(sql: sqlite3.Connection) -> Iterator[str]:
    """Yield the key of everything in the account."""
    for (digest,) in _pages(
        sql,
        "SELECT b.content, c.digest FROM blobs b CROSS JOIN content c ON c.id=b.content"
        " WHERE b.content>? ORDER BY b.content LIMIT ?",
    ):
        yield blob_key(unpack(digest))
    for host, digest in _pages(
        sql,
        "SELECT m.id, h.name, c.digest FROM manifests m CROSS JOIN hosts h ON h.id=m.host"
        " JOIN content c ON c.id=m.content WHERE m.id>? ORDER BY m.id LIMIT ?",
    ):
        yield manifest_key(host, unpack(digest))
    for repository, host, name in _pages(
        sql,
        "SELECT r.id, r.id, h.name, r.name FROM repositories r CROSS JOIN hosts h ON h.id=r.host"
        " WHERE r.id>? ORDER BY r.id LIMIT ?",
    ):
        last = ""
        while rows := sql.execute(
            "SELECT tag FROM tags WHERE repository=? AND tag>? AND current ORDER BY tag LIMIT ?",
            (repository, last, _PAGE),
        ).fetchall():
            for (last,) in rows:
                yield tag_key(host, name, last)
        for (digest,) in _pages(
            sql,
            "SELECT l.content, c.digest FROM lists l CROSS JOIN content c ON c.id=l.content"
            " WHERE l.repository=? AND l.content>? ORDER BY l.content LIMIT ?",
            repository,
        ):
            yield referrers_key(host, name, unpack(digest))


def _pages(sql: sqlite3.Connection, query: str, *values: object) -> Iterator[list[Any]]:
    """Yield the rows of a query page by page, so that they may change meanwhile.

    The first column is a number by which the rows are ordered, and is left out.
    """
    last = 0
    while rows := sql.execute(query, (*values, last, _PAGE)).fetchall():
        for _, *row in rows:
            yield row
        last = rows[-1][0]


def _tidy(sql: sqlite3.Connection) -> Iterator[None]:
    """Remove digests and names that nothing refers to any more."""
    last = 0
    while rows := sql.execute(
        "SELECT id FROM content WHERE id>? ORDER BY id LIMIT ?", (last, _PAGE)
    ).fetchall():
        first, last = last, rows[-1][0]
        sql.execute(
            "DELETE FROM content WHERE id>? AND id<=?"
            " AND NOT EXISTS (SELECT 1 FROM blobs WHERE content=content.id)"
            " AND NOT EXISTS (SELECT 1 FROM manifests WHERE content=content.id)"
            " AND NOT EXISTS (SELECT 1 FROM edges WHERE child=content.id)"
            " AND NOT EXISTS (SELECT 1 FROM edges WHERE parent=content.id)"
            " AND NOT EXISTS (SELECT 1 FROM tags WHERE content=content.id)"
            " AND NOT EXISTS (SELECT 1 FROM lists WHERE content=content.id)"
            " AND NOT EXISTS (SELECT 1 FROM ghosts WHERE content=content.id)",
            (first, last),
        )
        yield
    sql.execute(
        "DELETE FROM repositories WHERE NOT EXISTS (SELECT 1 FROM tags WHERE repository=repositories.id)"
        " AND NOT EXISTS (SELECT 1 FROM lists WHERE repository=repositories.id)"
        " AND id NOT IN (SELECT repository FROM manifests WHERE repository IS NOT NULL)"
    )
    yield
