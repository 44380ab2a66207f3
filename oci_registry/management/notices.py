"""Tells other daemons on the same store what was removed, so that they do not serve it from memory.

One small object has what was removed within the last minute. Each daemon reads it about once a second. A
notice that is lost, because two daemons write at the same time, is written again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from uuid import uuid4

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.storage.interfaces import IDriver, StoreError
from oci_registry.storage.keys import parse_manifest_key, parse_tag_key
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.tags import TagStore

KEY = "notices/removed"
"""Where the notices are."""
KEPT = 60.0
"""Seconds for which a notice is kept; daemons with clocks that differ by less than this see it."""
MOST = 500
"""Keys of all notices; older notices are dropped first."""
INTERVAL = 0.8
"""Seconds between two looks."""
_LARGEST = 512 * 1024
_ATTEMPTS = 3


@frozen
class _Notice:
    """Some keys that were removed at a time."""

    number: str
    when: float
    keys: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        return {"id": self.number, "when": self.when, "keys": list(self.keys)}

    @classmethod
    def from_json(cls, value: object) -> _Notice | None:
        if not isinstance(value, Mapping):
            return None
        number, when, keys = value.get("id"), value.get("when"), value.get("keys")
        if not isinstance(number, str) or not isinstance(when, int | float):
            return None
        if not isfinite(when) or not isinstance(keys, list):
            return None
        return cls(number, float(when), tuple(key for key in keys if isinstance(key, str)))


class Notices:
    """The notices of a store, on a driver. *clock*: the time in seconds since the epoch."""

    def __init__(self, driver: IDriver, clock: IReactorTime) -> None:
        self._driver = driver
        self._clock = clock

    async def announce(self, keys: Sequence[str]) -> None:
        """Tell all daemons that what is at these keys has changed. Raises `StoreError`."""
        for start in range(0, len(keys), MOST // 2):
            part = tuple(keys[start : start + MOST // 2])
            notice = _Notice(uuid4().hex, self._clock.seconds(), part)
            for _ in range(_ATTEMPTS):
                known = await self.read()
                if notice.number in known:
                    break
                await self._driver.put(KEY, self._write([*known.values(), notice]))

    def _write(self, notices: Sequence[_Notice]) -> bytes:
        oldest, kept, count = self._clock.seconds() - KEPT, list[_Notice](), 0
        for notice in reversed(notices):
            count += len(notice.keys)
            if notice.when >= oldest and count <= MOST:
                kept.insert(0, notice)
        return json.dumps({"notices": [notice.to_json() for notice in kept]}).encode()

    async def read(self) -> dict[str, _Notice]:
        """Return the notices by number; none if they cannot be understood. Raises `StoreError`."""
        stored = await self._driver.get(KEY, _LARGEST)
        if stored is None:
            return {}
        try:
            values = json.loads(stored)["notices"]
            found = [_Notice.from_json(value) for value in values]
        except (ValueError, KeyError, TypeError, RecursionError):
            return {}
        return {notice.number: notice for notice in found if notice is not None}


class NoticeFollower:
    """Drops from memory what others have removed; looks every *interval* seconds between `start` and `stop`."""

    _log = Logger()

    def __init__(
        self,
        notices: Notices,
        tags: TagStore,
        manifests: ManifestStore,
        clock: IReactorTime,
        interval: float = INTERVAL,
    ) -> None:
        self._notices = notices
        self._tags = tags
        self._manifests = manifests
        self._clock = clock
        self._interval = interval
        self._seen: frozenset[str] = frozenset()
        self._next: IDelayedCall | None = None
        self._looking: Deferred[None] | None = None
        self._stopped = True

    def start(self) -> None:
        """Look from now on."""
        self._stopped = False
        self._look()

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        if self._next is not None and self._next.active():
            self._next.cancel()
        if self._looking is not None:
            self._looking.cancel()

    def _look(self) -> None:
        self._looking = Deferred.fromCoroutine(self.look())
        self._looking.addErrback(self._failed).addCallback(self._looked)

    def _looked(self, _: object) -> None:
        self._looking = None
        if not self._stopped:
            self._next = self._clock.callLater(self._interval, self._look)

    def _failed(self, failure: Failure) -> None:
        # A store that fails is noticed elsewhere, where its results matter.
        if not failure.check(StoreError, CancelledError):
            self._log.failure("the notices of other daemons could not be followed", failure)

    async def look(self) -> None:
        """Drop what new notices are about; those of this process, too. Raises `StoreError`."""
        notices = await self._notices.read()
        for number, notice in notices.items():
            if number not in self._seen:
                for key in notice.keys:
                    self._drop(key)
        self._seen = frozenset(notices)

    def _drop(self, key: str) -> None:
        tag, manifest = parse_tag_key(key), parse_manifest_key(key)
        if tag is not None:
            self._tags.drop(*tag)
        elif manifest is not None:
            self._manifests.drop(*manifest)
