"""A store in memory and its account."""

from __future__ import annotations

import json
import os
import sqlite3
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from oci_registry.account.account import Account
from oci_registry.account.observed import ObservedDriver
from oci_registry.account.queries import Query
from oci_registry.metrics import Metrics
from oci_registry.spec.digest import Digest
from oci_registry.spec.mediatypes import OCI_INDEX, OCI_MANIFEST
from oci_registry.storage.keys import blob_key, manifest_key, tag_key
from oci_registry.storage.tags import TagRecord
from oci_registry.storage.totals import StoredTotals
from tests.support.account import make_account, settle
from tests.unit.storage.support import StoreTestCase

T = TypeVar("T")
HUB, OWN = "docker.io", "example.com"
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
"""Where files of accounts are: to make, to synchronize and to remove them takes longer on a disk."""


class AccountTestCase(StoreTestCase):
    """A driver that an account observes."""

    def setUp(self) -> None:
        super().setUp()
        folder = TemporaryDirectory(dir=MEMORY)
        self.addCleanup(folder.cleanup)
        self.path = f"{folder.name}/account"
        self.metrics = Metrics()
        self.begin()

    def begin(self, path: str | None = None) -> Account:
        """Make an account, as a start of the daemon does."""
        self.totals = StoredTotals()
        self.account = make_account(
            path or self.path, self.driver, self.clock, self.totals, self.metrics
        )
        self.observed = ObservedDriver(self.driver, self.account)
        self.account.start()
        settle(self.account, self.clock)
        self.addCleanup(lambda account: self.successResultOf(stopped(account)), self.account)
        return self.account

    def crash(self) -> None:
        """Lose what is in memory, and start again."""
        self.account._stopped = True
        self.account._database._close()
        self.begin()

    def ask(self, query: Query[T]) -> T:
        """Return what the account knows, and what has changed until now."""
        self.successResultOf(self.account.flush())
        return self.successResultOf(self.account.ask(query))

    def rows(self, table: str, columns: str = "*") -> list[tuple[object, ...]]:
        """Return a table."""
        return self.ask(
            lambda books: books.sql.execute(f"SELECT {columns} FROM {table}").fetchall()
        )

    def wait(self, seconds: float) -> None:
        """Let time pass, in steps in which the account works."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(min(1.0, end - self.clock.seconds()))
            settle(self.account, self.clock)

    def blob(self, data: bytes) -> Digest:
        """Store a blob."""
        writer = self.successResultOf(self.observed.create(blob_key(Digest.of(data))))
        writer.append(data)
        self.successResultOf(writer.commit())
        return Digest.of(data)

    def image(self, *layers: Digest, host: str = HUB, index: bool = False) -> Digest:
        """Store a manifest."""
        field, kind = ("manifests", OCI_INDEX) if index else ("layers", OCI_MANIFEST)
        named = [{"mediaType": "a/b", "digest": str(layer), "size": 1} for layer in layers]
        raw = json.dumps({"schemaVersion": 2, field: named}).encode()
        key = manifest_key(host, Digest.of(raw))
        self.successResultOf(
            self.observed.put(key, json.dumps({"mediaType": kind}).encode() + b"\n" + raw)
        )
        return Digest.of(raw)

    def tag(
        self, name: str, digest: Digest, host: str = HUB, repository: str = "a/b", **more: Any
    ) -> None:
        """Store a tag."""
        record = TagRecord(digest, OCI_MANIFEST, self.clock.seconds(), **more)
        self.successResultOf(self.observed.put(tag_key(host, repository, name), record.to_json()))

    def plans(self, question: Any) -> str:
        """Return how SQLite finds what a question asks for."""
        found: list[str] = []

        class Watched:
            """A connection that explains each query first."""

            def __init__(self, sql: sqlite3.Connection) -> None:
                self.sql = sql

            def execute(self, query: str, values: Any = ()) -> Any:
                found.extend(
                    row[3] for row in self.sql.execute(f"EXPLAIN QUERY PLAN {query}", values)
                )
                return self.sql.execute(query, values)

        def ask(books: Any) -> None:
            before, books.sql = books.sql, Watched(books.sql)
            try:
                question(books)
            finally:
                books.sql = before

        self.ask(ask)
        return "\n".join(found)

    def stored(self) -> tuple[int, int]:
        """Return how many blobs and manifests the medium has, and their bytes."""
        sizes = [
            info.size
            for key, (_, info) in self.driver._objects.items()
            if key.startswith("blobs/") or "/_manifests/" in key
        ]
        return len(sizes), sum(sizes)

    def summed(self) -> tuple[int, int]:
        """Return what the account says of that."""
        self.successResultOf(self.account.flush())
        assert self.account.state is not None
        sums = self.account.state.sums
        return sums.objects, sums.size


def stopped(account: Account) -> Deferred[None]:
    """Stop an account."""
    return Deferred.fromCoroutine(account.stop())
