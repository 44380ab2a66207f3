"""The account of a stopped daemon, read by others."""

from __future__ import annotations

import os
import shutil
import sqlite3

from oci_registry.account.borrowed import BorrowedAccount
from oci_registry.account.changes import Changes
from oci_registry.account.queries import Query
from oci_registry.storage.keys import blob_key
from tests.support.account import MemoryMedium
from tests.unit.account.support import AccountTestCase, stopped


def count(table: str) -> Query[int]:
    """Return how many rows a table has."""
    return lambda books: int(books.sql.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


class BorrowedTestCase(AccountTestCase):
    """A store with an image, whose daemon has stopped."""

    def setUp(self) -> None:
        super().setUp()
        self.layer = self.blob(b"layer")
        self.tag("1", self.image(self.layer))
        self.medium = MemoryMedium(self.driver)
        self.walked = 0

    def stop(self) -> None:
        self.successResultOf(stopped(self.account))

    def borrow(self, path: str | None = None) -> BorrowedAccount:
        def walked() -> None:
            self.walked += 1

        account = BorrowedAccount(self.path if path is None else path, self.medium, walked)
        self.addCleanup(account.close)
        return account


class Reading(BorrowedTestCase):
    """Questions."""

    def test_closed(self) -> None:
        """A file that a daemon has closed is read as it is, and nothing is left beside it."""
        self.stop()
        with open(self.path, "rb") as file:
            before = file.read()
        account = self.borrow()
        self.assertEqual((1, 1), (account.ask(count("blobs")), account.ask(count("manifests"))))
        self.assertEqual((0, True), (self.walked, account.counts_pulls))
        account.close()
        with open(self.path, "rb") as file:
            self.assertEqual(before, file.read())
        self.assertFalse(os.path.exists(self.path + "-wal"))

    def test_in_use(self) -> None:
        """That of a running daemon is not touched: the store is looked at."""
        account = self.borrow()
        self.assertEqual(1, account.ask(count("blobs")))
        self.assertEqual((3, False), (self.walked, account.counts_pulls))

    def test_crashed(self) -> None:
        """An account that was not closed is not read, even without a log beside it."""
        self.successResultOf(self.account.flush())
        self.account._stopped = True
        self.account._database._close()
        self.borrow().ask(count("blobs"))
        self.assertEqual(3, self.walked)

    def test_none(self) -> None:
        """An account that is missing, of another version, or anything else, is not read."""
        self.stop()
        nothing, other, old = self.mktemp(), self.mktemp(), self.mktemp()
        with open(other, "wb") as file:
            file.write(b"SQLite format 3\0" + 5000 * b"x")
        shutil.copy(self.path, old)
        with sqlite3.connect(old) as connection:
            connection.execute("PRAGMA user_version=1")
        connection.close()
        for number, path in enumerate((nothing, other, old)):
            self.assertEqual(1, self.borrow(path).ask(count("blobs")))
            self.assertEqual(3 * (number + 1), self.walked)

    def test_daemon_starts(self) -> None:
        """If a daemon starts meanwhile, the store is looked at from then on."""
        self.stop()
        account = self.borrow()
        self.assertEqual(1, account.ask(count("blobs")))
        self.begin()
        self.blob(b"another")
        self.assertEqual(2, account.ask(count("blobs")))

    def test_damaged(self) -> None:
        """If the file turns out to be damaged, the store is looked at."""
        self.stop()
        size = os.path.getsize(self.path)
        with open(self.path, "r+b") as file:
            file.seek(4096)
            file.write((size - 4096) * b"x")
        self.assertEqual(1, self.borrow().ask(count("blobs")))

    def test_followed(self) -> None:
        """What has changed since is looked at, without changing the file."""
        self.stop()
        account = self.borrow()
        self.assertEqual(1, account.ask(count("blobs")))
        self.driver.delete(blob_key(self.layer))
        account.changed(blob_key(self.layer))
        self.assertEqual(0, account.ask(count("blobs")))
        self.assertTrue(account.counts_pulls)
        self.assertEqual(1, self.borrow().ask(count("blobs")))
        self.assertEqual(0, self.walked)


class Changing(BorrowedTestCase):
    """What a command has changed."""

    def note(self, changes: Changes) -> None:
        changes.note(self.path, self.medium, self.clock.seconds())

    def remove(self) -> Changes:
        changes = Changes()
        self.driver.delete(blob_key(self.layer))
        changes.changed(blob_key(self.layer))
        changes.used(blob_key(self.layer), self.clock.seconds())
        return changes

    def test_noted(self) -> None:
        """It is in the account of a stopped daemon, which stays complete."""
        self.stop()
        self.note(self.remove())
        self.assertEqual(0, self.borrow().ask(count("blobs")))
        self.assertEqual(0, self.walked)
        self.begin()
        self.assertEqual(self.stored(), self.summed())

    def test_nothing(self) -> None:
        """Without changes, and without an account, nothing is done."""
        self.stop()
        before = os.stat(self.path).st_mtime_ns
        self.note(Changes())
        self.assertEqual(before, os.stat(self.path).st_mtime_ns)
        os.unlink(self.path)
        self.note(self.remove())
        self.assertFalse(os.path.exists(self.path))

    def test_not_complete(self) -> None:
        """An account that was not closed is left to the next daemon, which looks at everything."""
        self.account._stopped = True
        self.account._database._close()
        self.note(self.remove())
        self.begin()
        self.assertEqual(self.stored(), self.summed())
