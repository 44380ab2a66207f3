"""An account for commands without a daemon: that of a stopped daemon, or a temporary one."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar
from urllib.parse import quote

from oci_registry.account.books import Books
from oci_registry.account.nouns import Medium
from oci_registry.account.queries import Query
from oci_registry.account.schema import create, is_ours, was_closed
from oci_registry.account.walk import compare

T = TypeVar("T")
_CACHE_KIB = 16 * 1024


class BorrowedAccount:
    """Answers questions about the store *medium* without changing anything.

    *path*: the account's file, which is used unchanged if a daemon has closed it; None if there is
    none. Otherwise the store is walked once, which takes about 20 s for a million objects, and the
    result is kept in a temporary file. *walked*: is then called after each object. The caller must
    close it.
    """

    def __init__(
        self, path: str | None, medium: Medium, walked: Callable[[], None] = lambda: None
    ) -> None:
        self._path = path
        self._medium = medium
        self._walked = walked
        self._seen: tuple[int, ...] | None = None
        self._books: Books | None = None
        self._changed: dict[str, None] = {}
        self._built = False

    @property
    def counts_pulls(self) -> bool:
        """Whether it is a daemon's account, and so has the numbers of pulls."""
        return not self._built

    def changed(self, key: str) -> None:
        """Take note that *key* has changed: it is read again before the next question."""
        self._changed[key] = None

    def ask(self, query: Query[T]) -> T:
        """Return the result of *query*. Raises OSError and `StoreError` if the store cannot be read."""
        if self._books is None:
            self._books = self._open() or self._build()
        if self._changed:
            self._follow()
        if self._seen is None:
            return query(self._books)
        try:
            found = query(self._books)
        except sqlite3.DatabaseError:
            found = None
        if self._path is not None and _identity(self._path) == self._seen and found is not None:
            return found
        # A daemon has started meanwhile, or the file is damaged.
        self.close()
        self._books = self._build()
        return query(self._books)

    def close(self) -> None:
        """Close the file; a temporary one is removed."""
        books, self._books, self._seen = self._books, None, None
        if books is not None:
            books.sql.close()

    def _follow(self) -> None:
        """Read the changed keys; in a copy, if this is the file of a daemon."""
        assert self._books is not None
        if self._seen is not None:
            copy = _temporary()
            self._books.sql.backup(copy)
            self.close()
            self._books = Books(copy, self._medium, 0.0)
        for key in self._changed:
            self._books.refresh(key)
        self._changed.clear()

    def _open(self) -> Books | None:
        """Open the file that a daemon has closed; None if there is none, or a daemon uses it."""
        seen = None if self._path is None else _identity(self._path)
        if self._path is None or seen is None:
            return None
        connection = open_closed(self._path)
        if connection is None:
            return None
        try:
            books = Books(connection, self._medium, 0.0)
        except (sqlite3.Error, ValueError, TypeError):
            connection.close()
            return None
        self._seen = seen
        return books

    def _build(self) -> Books:
        self._built = True
        connection = _temporary()
        try:
            create(connection)
            books = Books(connection, self._medium, 0.0)
            connection.execute("BEGIN")
            for _ in compare(books, empty=True):
                self._walked()
            books.save()
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return books


def _temporary() -> sqlite3.Connection:
    """Return an empty file, which SQLite removes when it is closed."""
    connection = sqlite3.connect("", isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    except BaseException:
        connection.close()
        raise
    return connection


def open_closed(path: str) -> sqlite3.Connection | None:
    """Open the account at *path* for reading if a daemon has closed it and it is complete; else None.

    This takes no lock and leaves no trace, so the caller must check for changes of the file.
    """
    if _identity(path) is None:
        return None
    where = f"file:{quote(os.path.abspath(path))}?mode=ro&immutable=1"
    try:
        connection = sqlite3.connect(where, uri=True, isolation_level=None)
        try:
            if is_ours(connection) and was_closed(connection):
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()
    except sqlite3.Error:
        pass
    return None


def _identity(path: str) -> tuple[int, ...] | None:
    """Return a value that changes with the file; None if there is no file, or a daemon uses it."""
    with suppress(OSError):
        status = os.stat(path)
        if not os.path.lexists(path + "-wal"):
            return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
    return None
