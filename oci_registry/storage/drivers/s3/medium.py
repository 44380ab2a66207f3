"""A bucket as its account reads it: blocking, in the thread of the account."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from oci_registry.storage.drivers.s3.bucket import Bucket
from oci_registry.storage.drivers.s3.failures import Absent
from oci_registry.storage.drivers.s3.journal import Journal
from oci_registry.storage.interfaces import ObjectInfo, StoreError


class BucketMedium:
    """An `account.nouns.Medium`: each look costs a request, and a walk one for a thousand objects.

    Uses by other replicas are those that the journal has gathered. *began*: when the bucket was first used.
    """

    remote = True
    at_once = 4
    """Objects that are read at the same time."""

    def __init__(self, bucket: Bucket, journal: Journal, began: Callable[[], float]) -> None:
        self._bucket = bucket
        self._journal = journal
        self._began = began
        self._prepared: dict[str, bytes | StoreError | None] = {}

    def look(self, key: str) -> ObjectInfo | None:
        """Return what is at *key*."""
        try:
            found = self._bucket.head(key)
        except Absent:
            return None
        return ObjectInfo(key, found.size, self._used(key, found.modified), found.sealed)

    def fetch(self, key: str, limit: int) -> bytes | None:
        """Return a small object; None also if it is larger than *limit* bytes."""
        found = self._prepared.pop(key) if key in self._prepared else self._get(key, limit)
        if isinstance(found, StoreError):
            raise found
        return found

    def prepare(self, keys: Sequence[str], limit: int) -> None:
        """Read these objects at the same time; `fetch` then returns them once."""
        # Only needed while an account is built, and so are its threads.
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

        with ThreadPoolExecutor(self.at_once) as pool:
            found = pool.map(lambda key: self._get(key, limit), keys)
            self._prepared = dict(zip(keys, found, strict=True))

    def _get(self, key: str, limit: int) -> bytes | StoreError | None:
        try:
            return self._bucket.get(key, limit)
        except Absent:
            return None
        except StoreError as error:
            return error

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
