"""Answers questions about the store of a stopped daemon, and changes it: `Management` without a daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import evolve

from oci_registry.account.borrowed import BorrowedAccount
from oci_registry.account.changes import Changes
from oci_registry.account.nouns import Medium
from oci_registry.account.schema import FILE
from oci_registry.commands.output import Output
from oci_registry.commands.running import each, now
from oci_registry.commands.store import CommandStore, Exclusive, readable
from oci_registry.config.settings import StorageSettings
from oci_registry.management.index import CommandIndex
from oci_registry.management.manager import Management
from oci_registry.management.notices import Notices
from oci_registry.management.removal import Content, NoPendingWrites
from oci_registry.management.rules import Rules
from oci_registry.management.source import Source
from oci_registry.storage.drivers.filesystem import FilesystemDriver
from oci_registry.storage.interfaces import IDriver, ObjectInfo
from oci_registry.storage.pins import Pins

MANY = 50_000
"""The number of objects that are read within a second or two."""


class DriverMedium:
    """Reads a driver with immediate calls, for an account."""

    remote = True
    """Whether each look-up costs a request."""

    def __init__(self, driver: IDriver) -> None:
        self._driver = driver

    def look(self, key: str) -> ObjectInfo | None:
        """Return the information about the object at *key*."""
        found: ObjectInfo | None = now(self._driver.stat(key))
        return found

    def fetch(self, key: str, limit: int) -> bytes | None:
        """Return a small object; None also if it is larger than *limit* bytes."""
        found: bytes | None = now(self._driver.get(key, limit))
        return found

    def walk(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield every object below *prefix*."""
        return each(self._driver.list(prefix))


@contextmanager
def reading(
    settings: StorageSettings, rules: Rules, walked: Callable[[], None] = lambda: None
) -> Iterator[Source]:
    """Yield the object that answers questions about a store, even while a daemon is running on it."""
    store = readable(settings)
    with _managed(store, rules, walked) as management:
        yield management


@contextmanager
def changing(
    settings: StorageSettings, rules: Rules, walked: Callable[[], None] = lambda: None
) -> Iterator[Source]:
    """Yield the object that changes a store, under the lock that prevents daemons from starting."""
    # The store must exist, since the lock would create it.
    readable(settings)
    exclusive = Exclusive(settings)
    with exclusive as store, _managed(store, rules, walked, exclusive.changes) as management:
        yield management


@contextmanager
def _managed(
    store: CommandStore,
    rules: Rules,
    walked: Callable[[], None],
    changes: Changes | None = None,
) -> Iterator[Management]:
    medium: Medium = DriverMedium(store.medium)
    path = None
    if isinstance(store.medium, FilesystemDriver):
        medium, path = store.medium, str(store.medium.path(FILE))
    account = BorrowedAccount(path, medium, walked)
    if changes is not None:
        changes.also = account.changed
    content = Content(store.driver, store.blobs, store.manifests, store.tags, NoPendingWrites())
    if path is None:
        # A bucket has no lock: daemons on it continue.
        content = evolve(content, announce=Notices(store.driver).announce)
    try:
        yield Management(
            CommandIndex(account), content, Pins(store.driver), rules, store.clock.seconds
        )
    finally:
        account.close()


class Patience:
    """Prints why it takes long, if a large store must be walked."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._objects = 0

    def __call__(self) -> None:
        """Count one object."""
        self._objects += 1
        if self._objects == MANY:
            self._output.note("no stopped daemon has left an index: looking at the whole store")
