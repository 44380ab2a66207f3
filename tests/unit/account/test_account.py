"""The account while its file is removed, damaged or locked, and while the store changes beside it."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from oci_registry.account import schema
from oci_registry.account.database import AccountOff, Database, State
from oci_registry.spec.digest import Digest
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import blob_key
from tests.support.account import MemoryMedium, make_account, settle
from tests.unit.account.support import HUB, OWN, AccountTestCase


class Starting(AccountTestCase):
    """What a start finds."""

    def test_new(self) -> None:
        """A store without an account gets one, which is complete when everything was found."""
        self.image(self.blob(b"layer"))
        os.unlink(self.path)
        account = make_account(self.mktemp(), self.driver, self.clock, self.totals, step=1)
        account.start()
        self.assertFalse(account.is_complete)
        settle(account, self.clock)
        self.assertTrue(account.is_complete)
        self.assertEqual((self.totals.objects, self.totals.size), self.stored())
        self.successResultOf(Deferred.fromCoroutine(account.stop()))

    def test_closed(self) -> None:
        """An account that was closed is complete at once: the store is not walked."""
        self.image(self.blob(b"layer"))
        self.successResultOf(Deferred.fromCoroutine(self.account.stop()))
        with patch.object(self.driver, "walk", side_effect=AssertionError):
            self.begin()
        self.assertTrue(self.account.is_complete)
        self.assertEqual((self.totals.objects, self.totals.size), self.stored())

    def test_crash(self) -> None:
        """After a crash the store is compared with the account, which lacks the latest changes."""
        gone = self.blob(b"gone")
        self.image(self.blob(b"layer"))
        self.successResultOf(self.account.flush())
        self.image(self.blob(b"new layer"), host=OWN)
        self.successResultOf(self.observed.delete(blob_key(gone)))
        self.crash()
        self.assertTrue(self.account.is_complete)
        self.assertEqual(self.summed(), self.stored())
        self.assertEqual(len(self.rows("blobs")), 2)

    def test_other_version(self) -> None:
        """A file of another version, of another program, or that is no database, is replaced."""
        self.blob(b"data")
        for statement in ("PRAGMA user_version=7", "PRAGMA application_id=7", None):
            self.successResultOf(Deferred.fromCoroutine(self.account.stop()))
            if statement is None:
                Path(self.path).write_bytes(b"not a database" * 1000)
            else:
                other = sqlite3.connect(self.path)
                other.execute(statement)
                other.close()
            self.begin()
            self.assertEqual(self.summed(), (1, 4), statement)

    def test_damaged(self) -> None:
        """A file that was damaged in a crash is replaced."""
        for number in range(300):
            self.blob(b"%d" % number)
        self.successResultOf(self.account.flush())
        self.account._stopped = True
        self.account._database._close()
        data = bytearray(Path(self.path).read_bytes())
        data[8192:] = b"\x55" * (len(data) - 8192)
        Path(self.path).write_bytes(data)
        self.begin()
        self.assertEqual(self.summed(), self.stored())


class Running(AccountTestCase):
    """What happens to the file while the daemon runs."""

    def test_removed(self) -> None:
        """A file that is removed, or replaced, is rebuilt, with a line in the log."""
        self.image(self.blob(b"layer"))
        for end in ("", "-wal"):
            os.unlink(self.path + end)
            with capturedLogs() as events:
                self.wait(2)
            self.assertIn("building it anew", formatEvent(events[0]))
            self.assertTrue(self.account.is_complete)
            self.assertEqual(self.summed(), self.stored())
            self.assertTrue(os.path.exists(self.path))

    def test_unavailable(self) -> None:
        """If the file cannot be looked at, it stays as it is, and the account is off until it can be."""
        self.image(self.blob(b"layer"))
        self.successResultOf(self.account.flush())
        inode, stat = os.stat(self.path).st_ino, os.stat
        for code in (errno.ESTALE, errno.EIO, errno.EACCES):

            def failing(path: Any, *args: Any, code: int = code, **more: Any) -> os.stat_result:
                if path == self.path:
                    raise OSError(code, os.strerror(code), path)
                return stat(path, *args, **more)

            self.blob(os.strerror(code).encode())
            with patch("os.stat", failing), capturedLogs() as events:
                self.wait(5)
            self.assertTrue(self.account.is_off)
            self.assertIn(os.strerror(code), formatEvent(events[0]))
            with capturedLogs() as events:
                self.wait(200)
            self.assertNotIn("anew", " ".join(str(formatEvent(event)) for event in events))
            self.assertEqual(inode, os.stat(self.path).st_ino)
            self.assertTrue(self.account.is_complete)
            self.assertEqual(self.summed(), self.stored())

    def test_locked(self) -> None:
        """While another process has the file, the account is off; that is logged once, and tried again."""
        self.blob(b"data")
        self.successResultOf(self.account.flush())
        with capturedLogs() as events:
            second = make_account(self.path, self.driver, self.clock, again=60.0)
            second.start()
            for _ in range(200):
                self.clock.advance(1)
        self.assertEqual(len(events), 1)
        self.assertIn(f"another process uses {self.path}", formatEvent(events[0]))
        self.assertTrue(second.is_off)
        self.assertFalse(second.is_complete)
        self.failureResultOf(second.ask(lambda books: None), AccountOff)
        self.successResultOf(Deferred.fromCoroutine(self.account.stop()))
        for _ in range(61):
            self.clock.advance(1)
        settle(second, self.clock)
        self.assertTrue(second.is_complete)
        self.successResultOf(Deferred.fromCoroutine(second.stop()))

    def test_full_disk(self) -> None:
        """While the disk of the file is full, the account is off; soon after that it is compared."""
        self.blob(b"data")
        self.successResultOf(self.account.flush())
        full = sqlite3.OperationalError("database or disk is full")
        full.sqlite_errorcode = sqlite3.SQLITE_FULL
        self.blob(b"more")
        with patch("oci_registry.account.books.Books.save", side_effect=full):
            self.wait(4)
        self.assertTrue(self.account.is_off)
        self.blob(b"even more")
        self.wait(5)
        self.assertFalse(self.account.is_off)
        self.assertTrue(self.account.is_complete)
        self.assertEqual(self.summed(), self.stored())

    def test_reserve(self) -> None:
        """On a full disk the account gives back what it holds, and continues; it is taken again later."""
        database = Database(self.mktemp(), MemoryMedium(self.driver), 0.0, reserve=65536)
        database.open()
        reserve = Path(database._path + "-reserve")
        self.assertEqual(reserve.stat().st_size, 65536)
        key = blob_key(self.blob(b"data"))
        books = database._books
        assert books is not None
        full = sqlite3.OperationalError("database or disk is full")
        full.sqlite_errorcode = sqlite3.SQLITE_FULL
        save = books.save
        with patch.object(os, "posix_fallocate", side_effect=OSError(errno.ENOSPC, "full")):
            with patch.object(books, "save", side_effect=[full, save()]):
                state = database.apply([key], [])
            self.assertEqual(state.sums.objects, 1)
            self.assertFalse(reserve.exists())
            with patch.object(books, "save", side_effect=full):
                self.assertRaises(AccountOff, database.apply, [key], [])
        database.open()
        self.assertTrue(reserve.exists())
        for path in (database._path, reserve):
            os.unlink(path)
        self.assertEqual(database.apply([], []).built, 2)
        self.assertTrue(reserve.exists())
        database.close()

    def test_reserve_while_comparing(self) -> None:
        """If the disk is full during a comparison, it finds everything all the same."""
        for number in range(5):
            self.driver.place(blob_key(Digest.of(b"%d" % number)), b"%d" % number, sealed=True)
        full = sqlite3.OperationalError("database or disk is full")
        full.sqlite_errorcode = sqlite3.SQLITE_FULL
        for method, failing in (("save", 1), ("save", 3), ("record", 1), ("record", 3)):
            database = Database(self.mktemp(), MemoryMedium(self.driver), 0.0, reserve=65536)
            state = database.open()
            books = database._books
            assert books is not None
            works, calls = getattr(books, method), count(1)

            def work(
                *args: object, works: Any = works, calls: Any = calls, failing: int = failing
            ) -> object:
                if next(calls) == failing:
                    raise full
                return works(*args)

            with patch.object(books, method, side_effect=work):
                while state.comparing:
                    state = database.compare(2)
            self.assertEqual((True, 5), (state.complete, state.sums.objects), (method, failing))
            database.close()

    def test_defect(self) -> None:
        """If an error comes back in each new file, a new one is begun ever more rarely."""
        wrong = sqlite3.OperationalError("no such column: x")
        wrong.sqlite_errorcode = sqlite3.SQLITE_ERROR
        with (
            patch("oci_registry.account.books.Books.save", side_effect=wrong),
            patch.object(self.driver, "walk", side_effect=lambda _: iter(())),
            capturedLogs() as events,
        ):
            before = self.account._database._built
            for _ in range(3600):
                self.clock.advance(1)
            built = self.account._database._built - before
        self.assertLess(built, 9)
        self.assertGreater(built, 4)
        self.assertIn("no such column", "".join(map(str, map(formatEvent, events))))

    def test_no_folder(self) -> None:
        """Where no file can be made, the account is off."""
        database = Database("/proc/nowhere/account.sqlite", MemoryMedium(self.driver), 0.0)
        self.assertIn("/proc/nowhere", str(self.assertRaises(AccountOff, database.open)))

    def test_too_many_changes(self) -> None:
        """Changes beyond the limit are dropped, and found by a comparison."""
        self.account._limits = type(self.account._limits)(waiting=10, pause=0.0)
        for number in range(30):
            self.blob(b"%d" % number)
        self.assertFalse(self.account.is_complete)
        self.wait(62)
        self.assertTrue(self.account.is_complete)
        self.assertEqual(self.summed(), (30, self.stored()[1]))

    def test_many_changes(self) -> None:
        """Many changes are written in small batches, one soon after the other."""
        for number in range(220):
            self.blob(b"%d" % number)
        sizes = []
        apply = self.account._database.apply

        def note(changed: Sequence[str], used: Sequence[tuple[str, float]]) -> State:
            sizes.append(len(changed))
            return apply(changed, used)

        with patch.object(self.account._database, "apply", side_effect=note):
            self.clock.advance(1)
            for _ in range(3):
                self.clock.advance(0.01)
            self.assertEqual(sizes, [50] * 4)
            self.clock.advance(1)
        self.assertEqual(sizes[4:], [20])

    def test_lost_during_a_comparison(self) -> None:
        """A comparison that was under way when changes were lost does not make up for them."""
        database = self.account._database
        database.begin_comparison()
        database.miss()
        state = database.compare(100)
        self.assertEqual((state.comparing, state.complete), (False, False))
        database.begin_comparison()
        self.assertTrue(database.compare(100).complete)

    def test_unreadable(self) -> None:
        """If the store cannot be read, the account is not complete until it can; one warning says why."""
        digest = self.blob(b"data")
        with capturedLogs() as logged:
            with patch.object(self.driver, "look", side_effect=StoreError("I/O error")):
                self.wait(2)
            self.assertFalse(self.account.is_complete)
            with patch.object(self.driver, "walk", side_effect=OSError("I/O error")):
                self.wait(61)
                self.wait(61)
            self.assertFalse(self.account.is_complete)
            self.wait(61)
        self.assertTrue(self.account.is_complete)
        self.assertEqual(len(self.rows("blobs")), 1, str(digest))
        self.assertEqual(
            [
                "the account of the store cannot be completed, it is tried again every 60 s: I/O error"
            ],
            [formatEvent(event) for event in logged],
        )


class Comparing(AccountTestCase):
    """Changes that nobody has told of."""

    def test_daily(self) -> None:
        """Once a day, what others have stored and removed is found."""
        mine, theirs = self.blob(b"mine"), Digest.of(b"theirs")
        self.tag("1", self.image(mine))
        self.successResultOf(self.account.flush())
        key = blob_key(mine)
        del self.driver._objects[key]
        self.driver.place(blob_key(theirs), b"theirs", sealed=False)
        self.wait(10)
        self.assertNotEqual(self.summed(), self.stored())
        self.clock.advance(86400)
        settle(self.account, self.clock)
        self.wait(2)
        self.assertEqual(self.summed(), self.stored())

    def test_everything_gone(self) -> None:
        """Nothing is left of a store that was emptied by others, nor names of it."""
        layer = self.blob(b"layer")
        for host in (HUB, OWN):
            self.image(layer, host=host)
        self.successResultOf(self.account.flush())
        self.driver._objects.clear()
        self.clock.advance(86400)
        settle(self.account, self.clock)
        self.wait(2)
        self.assertEqual(self.summed(), (0, 0))
        for table in ("content", "blobs", "manifests", "edges"):
            self.assertEqual(self.rows(table), [], table)

    def test_nothing_to_write(self) -> None:
        """A comparison that finds nothing changes nothing."""
        self.tag("1", self.image(self.blob(b"layer")))
        self.successResultOf(self.account.flush())
        before = self.account._database._connection
        assert before is not None
        changes = before.total_changes
        self.account._database.begin_comparison()
        self.assertTrue(self.account._database.compare(1000).complete)
        self.assertEqual(before.total_changes, changes)


class Vanishing(AccountTestCase):
    """A file that is removed while it is being opened."""

    def opened(self, error: sqlite3.Error | None) -> Database:
        """Open an account whose file goes away once it was made."""
        path, left = self.mktemp(), [1]
        connect = schema.connect

        def vanish(path: str) -> tuple[sqlite3.Connection, bool]:
            connection, known = connect(path)
            if left:
                left.clear()
                schema.discard(path)
                if error is not None:
                    connection.close()
                    schema.discard(path)
                    raise error
            return connection, known

        self.patch(schema, "connect", vanish)
        database = Database(path, MemoryMedium(self.driver), 0.0)
        database.open()
        self.addCleanup(database.close)
        return database

    def test_noticed(self) -> None:
        """It is noticed by the next use."""
        database = self.opened(None)
        self.assertFalse(os.path.exists(database._path))
        database.apply((), ())
        self.assertTrue(os.path.exists(database._path))

    def test_error(self) -> None:
        """If that is an error, the file is made once more at once."""
        database = self.opened(sqlite3.OperationalError("disk I/O error"))
        self.assertTrue(os.path.exists(database._path))
