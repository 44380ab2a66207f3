"""Records the changes of a command in the account of a stopped daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import TypeVar

from oci_registry.account.borrowed import open_closed
from oci_registry.account.database import AccountOff, Database
from oci_registry.account.nouns import Medium

T = TypeVar("T")
_BATCH = 500


class Changes:
    """Collects changes; an `Observer`. *also*: is called with each key too, if given."""

    def __init__(self) -> None:
        self.also: Callable[[str], None] | None = None
        self._changed: dict[str, None] = {}
        self._used: dict[str, float] = {}

    def changed(self, key: str) -> None:
        """Something was stored or removed at *key*, or may have been."""
        self._changed[key] = None
        if self.also is not None:
            self.also(key)

    def used(self, key: str, when: float) -> None:
        """The object at *key* was used at *when*."""
        self._used[key] = when

    def note(self, path: str, medium: Medium, now: float) -> None:
        """Write the changes to the account at *path*, if there is a complete one. Never raises.

        The next daemon compares an incomplete one with the store anyway.
        """
        closed = open_closed(path) if self._changed or self._used else None
        if closed is None:
            return
        closed.close()
        database = Database(path, medium, now)
        # If this fails, the account counts as not closed, and is also compared with the store.
        with suppress(AccountOff):
            if database.open().complete:
                for changed in _batches(list(self._changed)):
                    database.apply(changed, [])
                for used in _batches(list(self._used.items())):
                    database.apply([], used)
            database.close()


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    rest = iter(items)
    while batch := list(islice(rest, _BATCH)):
        yield batch
