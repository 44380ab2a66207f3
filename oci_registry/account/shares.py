"""Which repositories need the stored objects: sums over the whole account, in bounded queries.

Each row that SQLite returns costs a switch of threads, so rows come together as JSON, or added up.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Callable, Iterable
from typing import Any

from attrs import define, frozen

from oci_registry.account.books import Books
from oci_registry.account.queries import Query

DEEPEST = 20
"""The maximum depth of manifests that name each other."""
_REPOSITORIES = 500

_MANIFEST = """
SELECT json_group_array(json_array(id, host, size, repository, tags, parents)) FROM (
  SELECT m.id AS id, m.host AS host, m.size AS size,
    ifnull(m.repository, (SELECT r.id FROM tags t CROSS JOIN repositories r ON r.id=t.repository
      WHERE t.content=m.content AND r.host=m.host LIMIT 1)) AS repository,
    (SELECT group_concat(r.id) FROM tags t CROSS JOIN repositories r ON r.id=t.repository
      WHERE t.content=m.content AND t.current AND r.host=m.host) AS tags,
    (SELECT group_concat(p.id) FROM edges e CROSS JOIN manifests p ON p.content=e.parent
      WHERE e.child=m.content AND +p.host=m.host) AS parents
  FROM manifests m WHERE """
_BLOBS = """
SELECT owners, count(*), sum(size) FROM (
  SELECT b.size AS size, group_concat(DISTINCT hex(substr(?1, 4*m.id+1, 4))) AS owners
  FROM blobs b LEFT JOIN edges e ON e.child=b.content LEFT JOIN manifests m ON m.content=e.parent
  WHERE b.content>?2 AND b.content<=?3 GROUP BY b.content)
GROUP BY owners"""


@frozen
class Slices:
    """How much one query reads: some 30 ms of work, more for a blob that very many manifests name.

    *numbers*: numbers of content, and *edges* that lead to them, for blobs. *rows*: how many
    *manifests* are parsed from JSON at once, while no other thread runs.
    """

    manifests: int = 2000
    rows: int = 250
    numbers: int = 10_000
    edges: int = 20_000


_FURTHER = "SELECT child FROM edges WHERE child>? ORDER BY child, parent LIMIT 1 OFFSET ?"

Owner = tuple[int, int]
"""The numbers of a registry, and of a repository of it; 0 if that is not known."""
Owners = frozenset[Owner]


@frozen
class Share:
    """What exactly these *owners* need: so many *blobs* or *manifests*, of *size* bytes in total.

    *singles*: how many of the manifests are images without a tag.
    """

    owners: Owners
    size: int
    blobs: int = 0
    manifests: int = 0
    singles: int = 0


@frozen
class Named:
    """A repository, or a registry (*repository* is None), and how many tags it has."""

    owner: Owner
    registry: str
    repository: str | None
    tags: int


@define
class _Row:
    """A stored manifest as a query returns it: lists are text with commas, None if they are empty."""

    number: int
    host: int
    size: int
    repository: int | None
    tags: str | None
    parents: str | None

    def named_by(self) -> list[int]:
        return [] if self.parents is None else list(map(int, self.parents.split(",")))

    def tagged_in(self) -> Owners:
        tags = () if self.tags is None else self.tags.split(",")
        return frozenset((self.host, int(tag)) for tag in tags)


class Shares:
    """Adds up how much each set of owners needs.

    It uses four bytes of memory for each manifest. Changes of the account meanwhile may be counted
    or not.
    """

    def __init__(self, slices: Slices = Slices()) -> None:
        self._slices = slices
        self._sets: list[Owners] = [frozenset()]
        self._numbers: dict[Owners, int] = {self._sets[0]: 0}
        # The numbers of the owners, by those of manifests.
        self._of_manifest = array("I")
        self._waiting: list[int] = []

    async def add_up(self, ask: Callable[[Query[Any]], Any], add: Callable[[Share], None]) -> None:
        """Call *add* with the shares of all manifests, and of all blobs. *ask*: that of the account.

        *add* is called in the thread of the account, since there may be as many shares as images.
        """

        def added(query: Query[list[Share]]) -> Query[None]:
            def run(books: Books) -> None:
                for share in query(books):
                    add(share)

            return run

        def blobs(books: Books) -> int:
            shares, end = self._blobs(last)(books)
            for share in shares:
                add(share)
            return end

        contents, manifests = await ask(_last_numbers)
        self._of_manifest.frombytes(bytes(4 * (manifests + 1)))
        step = self._slices.manifests
        for first in range(0, manifests, step):
            await ask(added(self._manifests(first, min(first + step, manifests))))
        for left in reversed(range(DEEPEST)):
            waiting, self._waiting = self._waiting, []
            for start in range(0, len(waiting), step):
                some = waiting[start : start + step]
                await ask(added(self._children(some, anyway=not left)))
        last = 0
        while last < contents:
            last = await ask(blobs)

    # -- manifests

    def _manifests(self, first: int, last: int) -> Query[list[Share]]:
        """Add up the manifests that no other one names; the others are added after those that name them."""

        def query(books: Books) -> list[Share]:
            found = _Sums()
            for start in range(first, last, self._slices.rows):
                end = min(start + self._slices.rows, last)
                for row in _rows(books, "m.id>? AND m.id<=?", start, end):
                    if row.parents is None:
                        self._add(row, row.tagged_in(), found)
                    else:
                        self._waiting.append(row.number)
            return found.shares(self._sets)

        return query

    def _children(self, numbers: list[int], *, anyway: bool) -> Query[list[Share]]:
        """Add up the manifests whose parents have been added; all of them with *anyway*."""
        known = self._of_manifest

        def query(books: Books) -> list[Share]:
            found = _Sums()
            for start in range(0, len(numbers), self._slices.rows):
                some = json.dumps(numbers[start : start + self._slices.rows])
                for row in _rows(books, "m.id IN (SELECT value FROM json_each(?))", some):
                    parents = [one for one in row.named_by() if one < len(known)]
                    if anyway or all(known[one] for one in parents):
                        owners = row.tagged_in().union(*(self._sets[known[one]] for one in parents))
                        self._add(row, owners, found)
                    else:
                        self._waiting.append(row.number)
            return found.shares(self._sets)

        return query

    def _add(self, row: _Row, owners: Owners, found: _Sums) -> None:
        owners = owners or frozenset({(row.host, row.repository or 0)})
        number = self._number(owners)
        single = row.tags is None and row.parents is None
        found.add(number, row.size, single=single)
        if row.number < len(self._of_manifest):
            self._of_manifest[row.number] = number

    def _number(self, owners: Owners) -> int:
        number = self._numbers.get(owners)
        if number is None:
            number = self._numbers[owners] = len(self._sets)
            self._sets.append(owners)
        return number

    # -- blobs

    def _blobs(self, first: int) -> Query[tuple[list[Share], int]]:
        """Add up blobs whose digests have larger numbers than *first*; return also the last one."""

        def query(books: Books) -> tuple[list[Share], int]:
            last = first + self._slices.numbers
            further = books.sql.execute(_FURTHER, (first, self._slices.edges)).fetchone()
            if further is not None:
                last = min(last, max(further[0] - 1, first + 1))
            rows = books.sql.execute(_BLOBS, (self._of_manifest, first, last)).fetchall()
            shares = [Share(self._union(owners), size, blobs=count) for owners, count, size in rows]
            return shares, last

        return query

    def _union(self, owners: str | None) -> Owners:
        numbers = () if owners is None else owners.split(",")
        order = sys.byteorder
        sets = [self._sets[int.from_bytes(bytes.fromhex(one), order)] for one in numbers]
        return sets[0].union(*sets[1:]) if sets else self._sets[0]


class _Sums:
    """Sums of manifests, by the number of their owners."""

    def __init__(self) -> None:
        self._sums: dict[int, list[int]] = {}

    def add(self, owners: int, size: int, *, single: bool) -> None:
        one = self._sums.setdefault(owners, [0, 0, 0])
        one[0] += size
        one[1] += 1
        one[2] += single

    def shares(self, sets: list[Owners]) -> list[Share]:
        return [
            Share(sets[number], size, manifests=manifests, singles=singles)
            for number, (size, manifests, singles) in self._sums.items()
        ]


def _rows(books: Books, condition: str, *values: object) -> Iterable[_Row]:
    (found,) = books.sql.execute(f"{_MANIFEST}{condition})", values).fetchone()
    return (_Row(*row) for row in json.loads(found))


def _last_numbers(books: Books) -> tuple[int, int]:
    """Return the largest numbers of content and of manifests."""
    found: tuple[int, int] = books.sql.execute(
        "SELECT ifnull((SELECT max(id) FROM content), 0), ifnull((SELECT max(id) FROM manifests), 0)"
    ).fetchone()
    return found


def names_after(repository: int) -> Query[tuple[list[Named], int | None]]:
    """Return the repositories after a number, and where the next page begins; None: there are no more."""

    def query(books: Books) -> tuple[list[Named], int | None]:
        rows = books.sql.execute(
            "SELECT r.host, r.id, h.name, r.name,"
            " (SELECT count(*) FROM tags t WHERE t.repository=r.id AND t.current)"
            " FROM repositories r CROSS JOIN hosts h ON h.id=r.host"
            " WHERE r.id>? ORDER BY r.id LIMIT ?",
            (repository, _REPOSITORIES),
        ).fetchall()
        found = [Named((host, number), *rest) for host, number, *rest in rows]
        return found, rows[-1][1] if len(rows) == _REPOSITORIES else None

    return query


def registries(books: Books) -> list[Named]:
    """Return all registries, without their tags."""
    rows = books.sql.execute("SELECT id, name FROM hosts").fetchall()
    return [Named((number, 0), name, None, 0) for number, name in rows]
