"""The last uses of objects, shared by all replicas without a write for each use.

A bucket knows when an object was written, but not when it was last used. So each replica collects uses in
memory. It writes them every few minutes, if there are any, as one small object below ``usage/log``. The
replica that sweeps reads these objects and merges them into one. A replica that dies loses the uses of its
last minutes.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.storage.drivers.s3.bucket import Bucket
from oci_registry.storage.drivers.s3.failures import Absent
from oci_registry.storage.drivers.s3.limits import DEFAULTS, JournalLimits
from oci_registry.streams.recent import RecentValues
from oci_registry.streams.threads import RunInThread

LOG = "usage/log"
INTERVAL = 300.0
"""Seconds after which a use is written."""


def encode(uses: dict[str, float]) -> bytes:
    """Return the stored form of uses by key."""
    return gzip.compress(json.dumps(uses, separators=(",", ":")).encode(), 5)


def decode(data: bytes, limit: int = DEFAULTS.journal.size) -> dict[str, float]:
    """Read the stored form; ValueError if it is invalid, or has more than *limit* bytes."""
    unpacker = zlib.decompressobj(31)
    try:
        text = unpacker.decompress(data, limit)
        uses = json.loads(text)
        return {str(key): float(used) for key, used in uses.items()}
    except (zlib.error, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"not a journal of uses: {error}") from None


class Journal:
    """The last uses of objects. *run* runs requests to the bucket in threads."""

    _log = Logger()

    def __init__(
        self,
        bucket: Bucket,
        run: RunInThread,
        clock: IReactorTime,
        limits: JournalLimits = DEFAULTS.journal,
    ) -> None:
        self._limits = limits
        self._bucket = bucket
        self._run = run
        self._clock = clock
        self._name = uuid4().hex[:12]
        self._written = 0
        # Our own uses: the recent ones, and those of them that are not written yet.
        self._recent: RecentValues[float] = RecentValues(limits.uses)
        self._pending: dict[str, float] = {}
        self._gathered: dict[str, float] = {}
        self._failing = False
        self._stopped = False
        self._timer: IDelayedCall | None = None

    def note(self, key: str, used: float) -> None:
        """Record that an object was used at *used*, in seconds since the epoch."""
        self._recent.put(key, used)
        self._pending[key] = used
        if self._timer is None and not self._stopped:
            self._timer = self._clock.callLater(INTERVAL, self._write_down)
        if len(self._pending) > self._limits.uses:
            if self._failing or self._timer is None:
                # They cannot be written: drop the oldest.
                del self._pending[next(iter(self._pending))]
            else:
                self._timer.reset(0)

    def forget(self, key: str) -> None:
        """Forget an object that was removed."""
        self._recent.remove(key)
        for uses in (self._pending, self._gathered):
            uses.pop(key, None)

    def last(self, key: str, written: float) -> float:
        """Return when an object that was written at *written* was last used."""
        own = self._recent.get(key)
        return max(written if own is None else own, self._gathered.get(key, 0.0))

    def gathered(self, key: str) -> float:
        """Return when an object was last used, as the last `gather` has found, or 0. From any thread."""
        return self._gathered.get(key, 0.0)

    def _write_down(self) -> None:
        self.flush().addErrback(self._not_written)

    def _not_written(self, failure: Failure) -> None:
        self._log.warn(
            "cannot write when objects were last used: {error}",
            error=failure.getErrorMessage(),
        )

    def flush(self) -> Deferred[None]:
        """Write the uses that are not written yet; if that fails, they are written later."""
        return Deferred.fromCoroutine(self._flush())

    def stop(self) -> Deferred[None]:
        """Write the uses that are not written yet, for the last time."""
        self._stopped = True
        return self.flush()

    async def _flush(self) -> None:
        if self._timer is not None:
            if self._timer.active():
                self._timer.cancel()
            self._timer = None
        uses, self._pending = self._pending, {}
        if not uses:
            return
        try:
            await self._run(self._write, uses)
        except BaseException:
            self._failing = True
            for key, used in {**uses, **self._pending}.items():
                self.note(key, used)
            raise
        self._failing = False

    def _write(self, uses: dict[str, float]) -> str:
        """In a thread: write uses; return the key."""
        self._written += 1
        key = f"{LOG}/{int(self._clock.seconds())}-{self._name}-{self._written}"
        data = encode(uses)
        self._bucket.put(key, data, len(data), replace=True)
        return key

    async def gather(self, oldest: float) -> None:
        """Read the uses of all replicas and merge them; drop those before *oldest*."""
        await self.flush()
        self._gathered = await self._run(self._gather, oldest)

    def _gather(self, oldest: float) -> dict[str, float]:
        gathered: dict[str, float] = {}
        logs: list[str] = []
        token: str | None = None
        while True:
            page, token = self._bucket.page(LOG, token)
            for listed in page:
                logs.append(listed.key)
                for key, used in self._read(listed.key).items():
                    if used >= oldest and used > gathered.get(key, 0.0):
                        gathered[key] = used
            if token is None:
                break
        self._replace(logs, gathered)
        return gathered

    def _read(self, key: str) -> dict[str, float]:
        try:
            return decode(self._bucket.get(key, self._limits.size), self._limits.size)
        except Absent:
            # Another replica has merged it; the result is listed now, or the next time.
            return {}
        except ValueError as error:
            self._log.warn("removed {key}: {error}", key=key, error=str(error))
            return {}

    def _replace(self, logs: Sequence[str], gathered: dict[str, float]) -> None:
        """Replace many objects by one, which is written first, so that no use is missing meanwhile."""
        if len(logs) > 1:
            if gathered:
                self._write(gathered)
            self._bucket.delete_many(logs)
