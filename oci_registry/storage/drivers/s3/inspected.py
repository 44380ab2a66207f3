"""Objects of a bucket that are inspected: read once, beside the readers of clients."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from zope.interface import implementer

from oci_registry.storage.drivers.s3.bucket import Bucket, Found
from oci_registry.storage.drivers.s3.failures import Absent
from oci_registry.storage.interfaces import IInspectedObject, ObjectInfo
from oci_registry.streams.threads import RunInThread


@implementer(IInspectedObject)
class InspectedObject:
    """The version *found* of an object. *run*: the threads of requests. *removed*: called with the key."""

    def __init__(
        self,
        bucket: Bucket,
        info: ObjectInfo,
        found: Found,
        run: RunInThread,
        removed: Callable[[str], object],
    ) -> None:
        self.info = info
        self._bucket = bucket
        self._found = found
        self._run = run
        self._removed = removed

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        return self._run(self._read, offset, length)

    def _read(self, offset: int, length: int) -> bytes:
        if offset >= self._found.size:
            return b""
        stop = min(offset + length, self._found.size)
        return self._bucket.read(self.info.key, offset, stop, self._found.etag or None).data

    def withdraw(self, target: str | None) -> Deferred[bool]:
        return self._run(self._withdraw, target).addCallback(self._withdrawn)

    def _withdraw(self, target: str | None) -> bool:
        key = self.info.key
        try:
            # Requests that remove a certain version alone are not known to most servers.
            if self._bucket.head(key).etag != self._found.etag:
                return False
            if target is not None:
                self._bucket.copy(key, target, self._found.etag)
        except Absent:
            return False
        self._bucket.delete(key)
        return True

    def _withdrawn(self, done: bool) -> bool:
        if done:
            self._removed(self.info.key)
        return done

    def close(self) -> None:
        """Nothing is held."""
