"""The platforms that clients use, remembered beyond a restart of the daemon."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from oci_registry.pullthrough.records import RecordWriter
from oci_registry.pullthrough.store_health import READ, StoreHealth
from oci_registry.pullthrough.used_platforms import UsedPlatforms
from oci_registry.spec.contents import Child
from oci_registry.spec.digest import Digest
from oci_registry.storage.platforms import KEY, PlatformStore, Repository, Used

DELAY = 30.0
"""Seconds from a change to its record, which has all that have changed meanwhile."""
AGAIN = 60.0
"""Seconds until another attempt to read the record."""
MOST_WAITING = 100
"""Indexes that wait for the record to be read."""


class RememberedPlatforms:
    """`UsedPlatforms` that are read from the store when they are first needed, and written when they change.

    Nothing is read or written before a client pulls from an upstream with ``prefetch``. What another daemon
    has written meanwhile is kept.
    """

    _log = Logger()

    def __init__(
        self,
        store: PlatformStore,
        records: RecordWriter,
        health: StoreHealth,
        clock: IReactorTime,
    ) -> None:
        self._store = store
        self._records = records
        self._health = health
        self._clock = clock
        self._used = UsedPlatforms()
        self._is_read = False
        self._next_attempt = 0.0
        self._is_reading = False
        self._waiting: list[Callable[[], None]] = []
        self._writing: IDelayedCall | None = None

    def learn(self, repository: Repository, children: Sequence[Child]) -> None:
        """Remember the platforms of the manifests in an index that a client has pulled."""
        self._used.learn(repository, children)

    def use(self, repository: Repository, digest: Digest) -> None:
        """A client has pulled a manifest, whose platform may be known."""
        if self._used.use(repository, digest) and self._writing is None:
            self._writing = self._clock.callLater(DELAY, self._write)

    def choose(
        self,
        repository: Repository,
        children: Sequence[Child],
        chosen: Callable[[Sequence[Child]], None],
    ) -> None:
        """Call *chosen* with the manifests in an index whose platforms clients have used of its repository.

        That is at once if the record has been read, or cannot be read at present.
        """

        def choose() -> None:
            chosen(self._used.chosen(repository, children))

        if self._is_read:
            choose()
            return
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(choose)
        self._read()

    def stop(self) -> None:
        """Write what has changed, and choose nothing more."""
        self._waiting.clear()
        if self._writing is not None:
            self._writing.cancel()
            self._write()

    def _read(self) -> None:
        if self._is_reading:
            return
        if self._clock.seconds() < self._next_attempt:
            self._choose_all()
            return
        self._is_reading = True
        Deferred.fromCoroutine(self._load())

    async def _load(self) -> None:
        try:
            stored = await self._health.or_default(READ, self._store.load(), None)
        except Exception:
            stored = None
            self._log.failure("the record of used platforms could not be read")
        self._is_reading = False
        if stored is None:
            self._next_attempt = self._clock.seconds() + AGAIN
        else:
            self._used.merge(stored)
            self._is_read = True
        self._choose_all()

    def _choose_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for choose in waiting:
            choose()

    def _write(self) -> None:
        self._writing = None
        self._records.write(KEY, self._save)

    async def _save(self) -> None:
        # Another daemon on the store may have written.
        stored: Used = await self._store.load()
        self._used.merge(stored)
        await self._store.save(self._used.used_last)
