"""Blobs: from the store, from a transfer under way, or from a transfer that is started."""

from __future__ import annotations

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from oci_registry.metrics import Metrics
from oci_registry.pullthrough.sizes import KnownSizes
from oci_registry.pullthrough.transfers import Transfers
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway
from oci_registry.storage.blobs import BlobStore, StoredBlob
from oci_registry.storage.interfaces import StoreError
from oci_registry.streams.growing import GrowingBlob
from oci_registry.streams.interfaces import Source
from oci_registry.upstream.table import Target


@frozen
class OpenBlob:
    """A blob that can be read: take one source from it, or close it.

    Take it before waiting for anything else: a transfer that is over keeps its bytes for those alone
    who follow it by then.

    *size* in bytes; None while nobody knows it (upstream did not say). *cached*: it came from the
    store.
    """

    digest: Digest
    size: int | None
    cached: bool
    _blob: StoredBlob | GrowingBlob

    def source(self, start: int, stop: int | None) -> Source:
        """Return the bytes from *start*; the source must be closed, and the blob then is."""
        if isinstance(self._blob, StoredBlob):
            return self._blob.source(start, self._blob.size if stop is None else stop)
        return self._blob.follow(start)

    def close(self) -> None:
        """No source will be taken."""
        if isinstance(self._blob, StoredBlob):
            self._blob.close()


class BlobCache:
    """Every blob of every registry, downloaded when it is first wanted."""

    _log = Logger()

    def __init__(
        self, store: BlobStore, transfers: Transfers, sizes: KnownSizes, metrics: Metrics
    ) -> None:
        self._store = store
        self._transfers = transfers
        self._sizes = sizes
        self._metrics = metrics

    async def open(self, target: Target, digest: Digest, head: int) -> OpenBlob:
        """Return the blob, its first bytes on the way. Raises upstream's `RegistryError`.

        *head*: how many of its first bytes will be wanted at once.
        """
        growing = self._transfers.running(digest)
        if growing is None:
            known = self._known_size(target, digest)
            stored = await self._stored(digest, head, known)
            if stored is not None:
                self._metrics.hit("blob", target.upstream.namespace)
                return OpenBlob(digest, stored.size, True, stored)
            growing = await self._transfers.join(target, digest, known)
        self._metrics.miss("blob", target.upstream.namespace)
        if growing.size == 0:
            # Nothing can be held back of an empty blob: wait for the digest before the headers.
            follower = growing.follow()
            try:
                await _result(follower.read(1))
            finally:
                follower.close()
        return OpenBlob(digest, growing.size, False, growing)

    async def size(self, target: Target, digest: Digest) -> int:
        """Return a blob's size without downloading it. Raises upstream's `RegistryError`."""
        growing = self._transfers.running(digest)
        if growing is not None and growing.size is not None:
            return growing.size
        try:
            stored = await self._store.size(digest, self._known_size(target, digest))
        except StoreError as error:
            self._store_failed(error)
            stored = None
        if stored is not None:
            self._metrics.hit("blob", target.upstream.namespace)
            return stored
        self._metrics.miss("blob", target.upstream.namespace)
        size = await target.upstream.blob_size(target.repository, digest)
        if size is None:
            size = self._known_size(target, digest)
        if size is None:
            raise BadGateway(f"upstream does not say how long {digest} is")
        return size

    def _known_size(self, target: Target, digest: Digest) -> int | None:
        return self._sizes.get(target.upstream.namespace, target.repository, digest)

    async def _stored(self, digest: Digest, head: int, known: int | None) -> StoredBlob | None:
        """Look in the store, again if something was committed while we looked."""
        try:
            while True:
                commits = self._transfers.commits
                stored = await self._store.open(digest, head, known)
                if stored is not None or commits == self._transfers.commits:
                    return stored
        except StoreError as error:
            self._store_failed(error)
            return None

    def _store_failed(self, error: StoreError) -> None:
        self._metrics.error("store")
        self._log.error("the store cannot be read: {error}", error=str(error))


async def _result(data: bytes | Deferred[bytes]) -> bytes:
    return data if isinstance(data, bytes) else await data
