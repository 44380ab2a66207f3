"""The tables of the account, and the file that holds them.

* ``hosts``: registries, how long their objects may lie unused, and how many of the newest tags of each
  repository are evicted last.
* ``repositories``: names in a registry.
* ``content``: every digest that is stored or named, under a small number.
* ``blobs``: stored blobs; ``used`` is also a use of any manifest that names the blob.
* ``manifests``: stored manifests of each registry, and their place in a queue of the eviction. ``pulls`` is
  the counter of the eviction, ``total`` counts all pulls. The repository is where it was pulled first, if
  that is known; ``kept_for`` is the repository for whose newest tags it is in the queue of these.
* ``edges``: which content a manifest names; a manifest never changes, so these rows do not either.
* ``tags``: which manifest a tag names, and which ones it has named.
* ``lists``: stored lists of referrers.
* ``ghosts``: manifests that were evicted on probation.
* ``meta``: numbers by name: the sums, the next place in a queue, whether the account was closed.

Times are seconds since the epoch, sizes are bytes.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing, suppress

APPLICATION = 0x6F636961
"""The application id of an account's SQLite file: ``ocia``."""
VERSION = 3
"""The version of the tables; a file with another one is replaced."""
FILE = "account.sqlite"
"""The name of the file in the directory of the store; no key of the store begins with it."""
RESERVE = "-reserve"
"""The suffix of the file that reserves space for when the disk is full."""
_ENDS = ("", "-wal", "-shm", "-journal", RESERVE)
_CACHE_KIB = 1024
_LOG_PAGES = 256
"""Pages of 4 KiB in the write-ahead log after which it is copied to the file."""

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE hosts (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, lifetime REAL,
  newest INTEGER NOT NULL DEFAULT 0);
CREATE TABLE repositories (
  id INTEGER PRIMARY KEY, host INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (host, name));
CREATE TABLE content (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE);
CREATE TABLE blobs (
  content INTEGER PRIMARY KEY, size INTEGER NOT NULL, added REAL NOT NULL, used REAL NOT NULL,
  verified INTEGER NOT NULL);
CREATE INDEX blobs_used ON blobs (used);
CREATE TABLE manifests (
  id INTEGER PRIMARY KEY, host INTEGER NOT NULL, content INTEGER NOT NULL, type TEXT NOT NULL,
  size INTEGER NOT NULL, added REAL NOT NULL, used REAL NOT NULL, pulled REAL NOT NULL,
  pulls INTEGER NOT NULL, queue INTEGER NOT NULL, place INTEGER NOT NULL,
  total INTEGER NOT NULL, repository INTEGER, kept_for INTEGER, UNIQUE (content, host));
CREATE INDEX manifests_used ON manifests (host, used);
CREATE INDEX manifests_queue ON manifests (queue, place);
CREATE INDEX manifests_kept_for ON manifests (kept_for) WHERE kept_for IS NOT NULL;
CREATE TABLE edges (
  parent INTEGER NOT NULL, child INTEGER NOT NULL, PRIMARY KEY (parent, child)) WITHOUT ROWID;
CREATE INDEX edges_child ON edges (child, parent);
CREATE TABLE tags (
  repository INTEGER NOT NULL, tag TEXT NOT NULL, content INTEGER NOT NULL, first REAL NOT NULL,
  last REAL NOT NULL, current INTEGER NOT NULL, PRIMARY KEY (repository, tag, content))
  WITHOUT ROWID;
CREATE INDEX tags_content ON tags (content);
CREATE INDEX tags_newest ON tags (repository, first, tag) WHERE current;
CREATE TABLE lists (
  repository INTEGER NOT NULL, content INTEGER NOT NULL, size INTEGER NOT NULL, used REAL NOT NULL,
  PRIMARY KEY (repository, content)) WITHOUT ROWID;
CREATE INDEX lists_content ON lists (content);
CREATE TABLE ghosts (
  id INTEGER PRIMARY KEY, host INTEGER NOT NULL, content INTEGER NOT NULL, UNIQUE (content, host));
"""


def connect(path: str) -> tuple[sqlite3.Connection, bool]:
    """Open the account at *path*; return it, and whether it existed already.

    A file that is not an account of this version is replaced. It is locked while it is open. Raises
    `sqlite3.Error`.
    """
    try:
        connection = _open(path)
        if is_ours(connection):
            return connection, True
        connection.close()
    except sqlite3.DatabaseError as error:
        if not is_damaged(error):
            raise
    discard(path)
    connection = _open(path)
    try:
        create(connection)
    except BaseException:
        connection.close()
        raise
    return connection, False


def _open(path: str) -> sqlite3.Connection:
    # A pool may use another thread for each call, one at a time.
    connection = sqlite3.connect(path, timeout=0.0, isolation_level=None, check_same_thread=False)
    try:
        # Exclusive, since another process would not know what is in memory here; this also needs no
        # shared memory, which some volumes lack.
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES}")
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        # The lock is taken by the first transaction.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def create(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty file."""
    connection.executescript(
        f"BEGIN; {_TABLES} PRAGMA application_id={APPLICATION}; PRAGMA user_version={VERSION}; COMMIT;"
    )


def was_closed(connection: sqlite3.Connection) -> bool:
    """Whether its last writer has closed it, and it was complete then."""
    row = connection.execute("SELECT value FROM meta WHERE name='closed'").fetchone()
    return row is not None and row[0] == 1


def is_ours(connection: sqlite3.Connection) -> bool:
    """Whether a file is an account of this version."""
    found = [
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("application_id", "user_version")
    ]
    return found == [APPLICATION, VERSION]


def is_damaged(error: sqlite3.Error) -> bool:
    """Whether the error is due to the file's content, and not to disk, permissions or processes."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_SCHEMA,
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
    )


def is_sound(connection: sqlite3.Connection) -> bool:
    """Check the structure of the whole file; takes about a second for each 100 MB."""
    with closing(connection.execute("PRAGMA quick_check(1)")) as found:
        return bool(found.fetchone() == ("ok",))


def discard(path: str) -> None:
    """Remove the file, and those that SQLite puts beside it."""
    for end in _ENDS:
        with suppress(FileNotFoundError):
            os.unlink(path + end)


def reserve(path: str, size: int) -> bool:
    """Hold *size* bytes of the disk unless they are held; return whether they are. Never raises.

    Nothing is reserved on a disk with little more free space than that.
    """
    try:
        if os.path.exists(path + RESERVE):
            return True
        space = os.statvfs(os.path.dirname(path) or ".")
        if space.f_bavail * space.f_frsize < 4 * size:
            return False
        descriptor = os.open(path + RESERVE, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError:
            os.unlink(path + RESERVE)
            return False
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True


def spend_reserve(path: str) -> bool:
    """Release the space that `reserve` holds; return whether there was any."""
    try:
        os.unlink(path + RESERVE)
    except OSError:
        return False
    return True


def is_full(error: sqlite3.Error | OSError) -> bool:
    """Whether the disk has no room for the file."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    # Some systems report an I/O error if the log cannot grow.
    return code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def size_on_disk(path: str) -> int:
    """Return how many bytes the file takes, with those beside it."""
    total = 0
    for end in _ENDS:
        with suppress(OSError):
            total += os.stat(path + end).st_blocks * 512
    return total
