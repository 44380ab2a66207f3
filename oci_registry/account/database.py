"""The file of the account: opened, filled, compared with the store and replaced, all in one thread."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import TypeVar

from attrs import evolve, frozen

from oci_registry.account import schema
from oci_registry.account.books import Books
from oci_registry.account.nouns import Medium, Sums
from oci_registry.account.walk import compare
from oci_registry.storage.interfaces import StoreError

T = TypeVar("T")


_ATTEMPTS = 3
"""How often opening is repeated if the file is removed meanwhile."""


class AccountOff(Exception):
    """The account cannot be used at present; the message says why."""


class AccountDamaged(AccountOff):
    """The file was damaged more than once, and has been removed."""


class AccountFull(AccountOff):
    """The disk of the file is full."""


@frozen
class State:
    """The state of the account.

    *sums*: how much is stored, as far as is known. *complete*: it contains everything that is stored.
    *comparing*: a comparison with the store is running. *built*: how often a new file was begun.
    *file_size*: bytes that the file of the account takes. *problem*: why the store could not be read by
    the latest comparison.
    """

    sums: Sums
    complete: bool
    comparing: bool
    built: int
    file_size: int = 0
    problem: str | None = None


class Database:
    """The account of the store *medium* in the file at *path*; call it in one thread at a time.

    *began*: when this process started. All methods raise `AccountOff` if the file cannot be used. A
    file that is damaged for the first time, or was removed or replaced, is replaced with a new one.
    *reserve*: bytes of disk space that are held and released when the disk is full, so that changes can
    be written until something has been evicted.
    """

    def __init__(self, path: str, medium: Medium, began: float, reserve: int = 0) -> None:
        self._path = path
        self._folder = os.path.dirname(path) or "."
        self._medium = medium
        self._began = began
        self._connection: sqlite3.Connection | None = None
        self._books: Books | None = None
        self._files: list[tuple[int, int] | None] = []
        self._complete = False
        self._missed = False
        self._comparison: Iterator[None] | None = None
        self._built = 0
        self._damages = 0
        self._problem: str | None = None
        self._reserve = reserve
        self._reserved = False

    def open(self) -> State:
        """Open the file; begin a comparison unless it is complete."""
        return self._try_to_open(_ATTEMPTS)

    def _try_to_open(self, attempts: int) -> State:
        self._close()
        try:
            self._open()
        except (sqlite3.Error, OSError) as error:
            self._close()
            if self._spend_reserve(error):
                return self._try_to_open(attempts)
            if attempts > 1 and os.path.isdir(self._folder) and _is_gone(self._path):
                # It was removed meanwhile.
                with suppress(OSError):
                    schema.discard(self._path)
                return self._try_to_open(attempts - 1)
            raise _off(error, self._path) from error
        return self._state()

    def _spend_reserve(self, error: sqlite3.Error | OSError) -> bool:
        """Release the reserve if the disk is full; return whether the failed work may be repeated."""
        spent = schema.is_full(error) and schema.spend_reserve(self._path)
        if spent:
            self._reserved = False
        return spent

    def _open(self) -> None:
        connection, known = schema.connect(self._path)
        if known and not schema.was_closed(connection) and not schema.is_sound(connection):
            connection.close()
            schema.discard(self._path)
            connection, known = schema.connect(self._path)
        self._connection = connection
        # Others have written to a bucket meanwhile.
        clean = known and schema.was_closed(connection) and not self._medium.remote
        # On the disk before anything else: after a power failure the file must not seem to be complete.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('closed', 0)")
        connection.execute("PRAGMA synchronous=NORMAL")
        self._books = Books(connection, self._medium, self._began)
        self._files = self._identify()
        self._complete, self._missed, self._problem = clean, False, None
        # Whoever has removed the file may have removed what is reserved.
        self._reserved = False
        if not known:
            self._built += 1
        if not clean:
            self._comparison = compare(self._books, empty=not known)

    def close(self) -> None:
        """Close the file, and mark it as complete if it is."""
        connection = self._connection
        if connection is not None and self._complete:
            with suppress(sqlite3.Error):
                connection.execute("INSERT OR REPLACE INTO meta VALUES ('closed', 1)")
        self._close()

    def _close(self) -> None:
        self._comparison = self._books = None
        self._complete = False
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def apply(self, changed: Sequence[str], used: Sequence[tuple[str, float]]) -> State:
        """Update changed keys, and record uses."""
        return self._run(lambda books: self._apply(books, changed, used))

    def _apply(
        self, books: Books, changed: Sequence[str], used: Sequence[tuple[str, float]]
    ) -> None:
        for key in changed:
            try:
                books.refresh(key)
            except (OSError, StoreError):
                # The next comparison finds it.
                self._miss()
        for key, when in used:
            books.use(key, when)

    def begin_comparison(self) -> State:
        """Begin to compare the account with the store, unless that is running."""
        return self._run(self._begin_comparison)

    def _begin_comparison(self, books: Books) -> None:
        if self._comparison is None:
            self._missed, self._problem = False, None
            self._comparison = compare(books, empty=False)

    def compare(self, objects: int) -> State:
        """Continue the comparison for so many objects."""
        comparing, complete = self._comparison is not None, self._complete

        def begin_again() -> None:
            # It is beyond what was rolled back, or has ended.
            if comparing and self._books is not None:
                self._comparison, self._complete = compare(self._books, empty=False), complete

        return self._run(lambda _: self._compare(objects), begin_again)

    def _compare(self, objects: int) -> None:
        if self._comparison is None:
            return
        try:
            ended = sum(1 for _ in islice(self._comparison, objects)) < objects
        except (OSError, StoreError) as error:
            # The store cannot be read; the next comparison may succeed.
            self._comparison, self._problem = None, str(error)
            self._miss()
            return
        if ended:
            self._comparison = None
            self._complete = not self._missed

    def miss(self) -> State:
        """Take note of lost changes: the account is incomplete until a later comparison ends."""
        return self._run(lambda _: self._miss())

    def _miss(self) -> None:
        self._complete = False
        self._missed = True

    def ask(self, query: Callable[[Books], T], found: Callable[[T], object]) -> State:
        """Call *found* with the result of *query*; an error rolls its changes back."""
        return self._run(lambda books: found(query(books)))

    def _run(
        self, work: Callable[[Books], object], undone: Callable[[], object] = lambda: None
    ) -> State:
        """Do *work* in a transaction; *undone* is called when it was rolled back."""
        if self._connection is None or self._books is None:
            raise AccountOff("the account is closed")
        # It may have been removed between its opening and the first read.
        if self._was_replaced() or self._files[0] is None:
            return self._begin_anew()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            work(self._books)
            self._books.save()
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._spend_reserve(error):
                self._roll_back()
                undone()
                return self._run(work, undone)
            return self._failed(error)
        except BaseException:
            self._roll_back()
            undone()
            raise
        return self._state()

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        if self._books is not None:
            self._books.load()

    def _failed(self, error: sqlite3.Error) -> State:
        if self._was_replaced():
            return self._begin_anew()
        if schema.is_damaged(error):
            self._damages += 1
            if self._damages == 1:
                return self._begin_anew()
            # A defect of ours looks the same, and would cause endless walks over the store.
            self._close()
            with suppress(OSError):
                schema.discard(self._path)
            raise AccountDamaged(_reason(error, self._path)) from error
        self._close()
        raise _off(error, self._path) from error

    def _begin_anew(self) -> State:
        """Replace a file that is damaged or was removed."""
        self._close()
        with suppress(OSError):
            schema.discard(self._path)
        return self.open()

    def _was_replaced(self) -> bool:
        """Whether the files were removed or replaced; raise `AccountOff` if that cannot be seen at present."""
        try:
            return self._identify() != self._files
        except OSError as error:
            self._close()
            raise _off(error, self._path) from error

    def _identify(self) -> list[tuple[int, int] | None]:
        """Return the identities of the files, to detect that they are removed or replaced."""
        return [_identity(self._path + end) for end in ("", "-wal")]

    def _state(self) -> State:
        if self._reserve and not self._reserved:
            self._reserved = schema.reserve(self._path, self._reserve)
        sums = Sums() if self._books is None else evolve(self._books.sums)
        size = schema.size_on_disk(self._path)
        comparing = self._comparison is not None
        return State(sums, self._complete, comparing, self._built, size, self._problem)


def _identity(path: str) -> tuple[int, int] | None:
    """Return the identity of a file; None if there is none. Other errors say nothing of that."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def _is_gone(path: str) -> bool:
    with suppress(OSError):
        return _identity(path) is None
    return False


def _off(error: sqlite3.Error | OSError, path: str) -> AccountOff:
    return (AccountFull if schema.is_full(error) else AccountOff)(_reason(error, path))


def _reason(error: sqlite3.Error | OSError, path: str) -> str:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
        return f"another process uses {path}"
    return f"{path}: {error}"
