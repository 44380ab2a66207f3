"""The small numbers of names and digests in the tables of the account."""

from __future__ import annotations

import sqlite3

from oci_registry.account.nouns import pack
from oci_registry.spec.digest import Digest


class Numbers:
    """Finds the numbers of names in the tables, and assigns new ones; in the thread of the account."""

    sql: sqlite3.Connection

    def _value(self, query: str, *values: object) -> int | None:
        row = self.sql.execute(query, values).fetchone()
        return None if row is None else row[0]

    def known_content(self, digest: Digest) -> int | None:
        """Return the number of a digest; None if no stored object has or names it."""
        return self._value("SELECT id FROM content WHERE digest=?", pack(digest))

    def _content(self, digest: Digest) -> int:
        return self.known_content(digest) or self._insert("content (digest)", pack(digest))

    def known_host(self, host: str) -> int | None:
        """Return the number of a registry; None if it is unknown."""
        return self._value("SELECT id FROM hosts WHERE name=?", host)

    def _host(self, host: str) -> int:
        return self.known_host(host) or self._insert("hosts (name)", host)

    def _known_repository(self, host: str, repository: str) -> int | None:
        return self._value(
            "SELECT id FROM repositories WHERE host=? AND name=?",
            self.known_host(host),
            repository,
        )

    def _repository(self, host: str, repository: str) -> int:
        known = self._known_repository(host, repository)
        return known or self._insert("repositories (host, name)", self._host(host), repository)

    def _manifest(self, host: str, digest: Digest) -> int | None:
        return self._value(
            "SELECT id FROM manifests WHERE content=? AND host=?",
            self.known_content(digest),
            self.known_host(host),
        )

    def _insert(self, columns: str, *values: object) -> int:
        marks = ", ".join("?" * len(values))
        number = self.sql.execute(f"INSERT INTO {columns} VALUES ({marks})", values).lastrowid  # noqa: S608
        assert number is not None
        return number
