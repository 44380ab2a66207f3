"""Objects of a bucket that are inspected: read once, independently of clients."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from zope.interface import implementer

from oci_registry.storage.drivers.s3.bucket import Bucket, Found
from oci_registry.storage.drivers.s3.failures import Absent, code_of, status_of
from oci_registry.storage.interfaces import (
    IInspectedObject,
    ObjectInfo,
    StoreError,
    StoreUnavailable,
)
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
        try:
            return self._bucket.read(self.info.key, offset, stop, self._found.etag or None).data
        except StoreError as error:
            if isinstance(error, Absent) or _is_of_object(error.__cause__):
                raise
            # An overloaded server, or credentials that have expired, say nothing about the object.
            raise StoreUnavailable(str(error)) from error.__cause__

    def withdraw(self, target: str | None) -> Deferred[bool]:
        return self._run(self._withdraw, target).addCallback(self._withdrawn)

    def _withdraw(self, target: str | None) -> bool:
        key = self.info.key
        try:
            # Most servers do not support requests that remove only a certain version.
            if self._bucket.head(key).etag != self._found.etag:
                return False
            if target is not None:
                self._bucket.copy(key, target, self._found.etag)
                # Copying may take minutes, in which another process stores the object again.
                if self._bucket.head(key).etag != self._found.etag:
                    return False
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


def _is_of_object(error: BaseException | None) -> bool:
    """Whether an object has been replaced (412), is archived, or its key for decryption is gone."""
    code = code_of(error)
    return status_of(error) == 412 or code == "InvalidObjectState" or code.startswith("KMS.")
