"""A bucket as its account reads it: blocking, in the thread of the account."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from oci_registry.storage.drivers.s3.bucket import Bucket
from oci_registry.storage.drivers.s3.failures import Absent
from oci_registry.storage.drivers.s3.journal import Journal
from oci_registry.storage.interfaces import ObjectInfo


class BucketMedium:
    """An `account.nouns.Medium`: each look costs a request, and a walk one for a thousand objects.

    Uses by other replicas are those that the journal has gathered. *began*: when the bucket was first used.
    """

    remote = True

    def __init__(self, bucket: Bucket, journal: Journal, began: Callable[[], float]) -> None:
        self._bucket = bucket
        self._journal = journal
        self._began = began

    def look(self, key: str) -> ObjectInfo | None:
        """Return what is at *key*."""
        try:
            found = self._bucket.head(key)
        except Absent:
            return None
        return ObjectInfo(key, found.size, self._used(key, found.modified), found.sealed)

    def fetch(self, key: str, limit: int) -> bytes | None:
        """Return a small object; None also if it is larger than *limit* bytes."""
        try:
            return self._bucket.get(key, limit)
        except Absent:
            return None

    def walk(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield every object below *prefix*."""
        token: str | None = None
        while True:
            page, token = self._bucket.page(prefix, token)
            for one in page:
                yield ObjectInfo(one.key, one.size, self._used(one.key, one.modified), True)
            if token is None:
                return

    def _used(self, key: str, modified: float) -> float:
        return max(modified, self._began(), self._journal.gathered(key))
