"""The downloads under way: at most one per digest, each followed by whoever wants the blob."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from oci_registry.metrics import Metrics
from oci_registry.pullthrough.trouble import WRITTEN, StoreTrouble
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import (
    BadGateway,
    BlobUnknown,
    Denied,
    RegistryError,
    TooManyRequests,
)
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.interfaces import IObjectWriter, StoreError
from oci_registry.streams.follower import TransferFailed
from oci_registry.streams.growing import GrowingBlob
from oci_registry.streams.threads import RunInThread
from oci_registry.upstream.interfaces import UpstreamBlob
from oci_registry.upstream.table import Target

MAX_TRANSFERS = 512
"""Downloads at once; each may hold some MiB of memory and a few open files."""


class Transfer:
    """One download from upstream into the store.

    It goes on when its clients leave. It ends with the blob committed, or with nothing of it left.
    """

    _log = Logger()

    def __init__(
        self, transfers: Transfers, target: Target, digest: Digest, size: int | None
    ) -> None:
        self.target = target
        self.digest = digest
        self.blob: GrowingBlob | None = None
        self.received = False
        self.ending = False
        self.done: Deferred[None] | None = None
        self._transfers = transfers
        self._size = size
        self._error: Exception | None = None
        self._waiting: list[Deferred[GrowingBlob]] = []

    def opened(self) -> Deferred[GrowingBlob]:
        """Return a Deferred of the growing blob, once upstream has begun to send it.

        It fails with upstream's `RegistryError`. Cancelling it does not touch the transfer.
        """
        waiter: Deferred[GrowingBlob] = Deferred(self._forget)
        if self.blob is not None:
            waiter.callback(self.blob)
        elif self._error is not None:
            waiter.errback(Failure(self._error))
        else:
            self._waiting.append(waiter)
        return waiter

    def _forget(self, waiter: Deferred[GrowingBlob]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    def can_be_joined(self) -> bool:
        """Whether a client that comes now would get the whole blob."""
        if self.blob is None:
            return self._error is None
        return self.blob.can_follow(0)

    async def run(self) -> None:
        """Do it; every failure is reported to the clients and logged here, none is raised."""
        writer: IObjectWriter | None = None
        try:
            body = await self.target.upstream.blob(self.target.repository, self.digest)
            try:
                size = self._agreed_size(body)
                writer = await self._create(size)
            except BaseException:
                body.abandon()
                raise
            self.blob = GrowingBlob(
                self.digest, size, writer, self._transfers.batches, self._transfers.clock
            )
            await self._fill(self.blob, body, writer)
        except Exception as error:
            self._failed(error)
        finally:
            await self._end(writer)

    def _agreed_size(self, body: UpstreamBlob) -> int | None:
        """Return the blob's length; it is refused when upstream and the manifest disagree."""
        if None not in (self._size, body.size) and self._size != body.size:
            raise BadGateway(
                f"upstream says that {self.digest} has {body.size} bytes, its manifest {self._size}"
            )
        return self._size if body.size is None else body.size

    async def _create(self, size: int | None) -> IObjectWriter | None:
        """Return where to store the blob; None if the store fails, which is no reason to fail."""
        try:
            return await self._transfers.store.create(self.digest, size)
        except StoreError as error:
            self._transfers.trouble.failed(WRITTEN, error)
            return None

    async def _fill(
        self, blob: GrowingBlob, body: UpstreamBlob, writer: IObjectWriter | None
    ) -> None:
        metrics = self._transfers.metrics
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(blob)
        try:
            await body.pump(blob)
        finally:
            namespace = metrics.namespace(self.target.upstream.namespace)
            metrics.upstream_bytes.labels(namespace).inc(blob.received)
        self.received = True
        if not await blob.finish():
            raise blob.failure or TransferFailed("the download was given up")
        if blob.store_error is not None:
            self._transfers.trouble.failed(WRITTEN, blob.store_error)
        elif writer is not None:
            try:
                await writer.commit()
            except StoreError as error:
                self._transfers.trouble.failed(WRITTEN, error)
            else:
                self._transfers.trouble.worked(WRITTEN)
                self._transfers.committed(self.digest)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, CancelledError):
            error = TransferFailed("the mirror is being stopped")
        elif not isinstance(error, RegistryError):
            self._log.failure("{digest}: the transfer crashed", digest=str(self.digest))
            error = TransferFailed(f"{self.digest}: the mirror failed")
        if self.blob is not None and self.blob.failure is not None:
            # What the blob itself found wrong comes first; the broken-off body is its consequence.
            failure = self.blob.failure
            error = failure if isinstance(failure, RegistryError) else error
        self._error = error
        # A blob that upstream says it does not have, or not for us, is an answer and not a fault.
        answered = self.blob is None and isinstance(error, BlobUnknown | Denied)
        if not answered:
            self._transfers.metrics.error("transfer")
        self._log.emit(
            LogLevel.info if answered else LogLevel.warn,
            "{digest} from {upstream}/{repository}: {error}",
            digest=str(self.digest),
            upstream=self.target.upstream.namespace,
            repository=self.target.repository,
            error=str(error),
        )
        if self.blob is not None:
            self.blob.fail(error)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.errback(Failure(error))

    async def _end(self, writer: IObjectWriter | None) -> None:
        self.ending = True
        try:
            if writer is not None:
                await writer.cancel()
        except StoreError as error:
            self._transfers.trouble.failed(WRITTEN, error)
        finally:
            # Not before: whoever stops the daemon waits until nothing is left of it.
            self._transfers.ended(self)
        if self.blob is not None:
            self.blob.release()
        elif writer is not None:
            writer.close()


class Transfers:
    """All transfers, by digest. *batches* runs their hashing and writing."""

    def __init__(
        self,
        store: BlobStore,
        batches: RunInThread,
        clock: IReactorTime,
        trouble: StoreTrouble,
        metrics: Metrics,
    ) -> None:
        self.store = store
        self.batches = batches
        self.clock = clock
        self.trouble = trouble
        self.metrics = metrics
        self.commits = 0
        """How many blobs have been committed: who has looked in the store before a commit looks again."""
        self._running: dict[Digest, Transfer] = {}
        self._all: set[Transfer] = set()
        self._stopped = False

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._running

    def running(self, digest: Digest) -> GrowingBlob | None:
        """Return the growing blob of a transfer that can be joined now."""
        transfer = self._running.get(digest)
        return transfer.blob if transfer is not None and transfer.can_be_joined() else None

    def can_be_joined(self, digest: Digest) -> bool:
        """Whether `join` would start nothing."""
        transfer = self._running.get(digest)
        return transfer is not None and transfer.can_be_joined()

    async def join(self, target: Target, digest: Digest, size: int | None) -> GrowingBlob:
        """Return the growing blob of the one transfer of *digest*, which is started if need be.

        *size*: its length in bytes if a manifest told it. Raises upstream's `RegistryError`; what
        another client's upstream answered is not held against this one's.
        """
        while True:
            transfer = self._running.get(digest)
            if transfer is None or not transfer.can_be_joined():
                transfer = self._start(target, digest, size)
            try:
                return await transfer.opened()
            except RegistryError:
                if transfer.target == target:
                    raise

    def _start(self, target: Target, digest: Digest, size: int | None) -> Transfer:
        if self._stopped:
            raise TransferFailed("the mirror is being stopped")
        if len(self._all) >= MAX_TRANSFERS:
            raise TooManyRequests.retry_after("the mirror has too many downloads under way", 5)
        transfer = self._running[digest] = Transfer(self, target, digest, size)
        self._all.add(transfer)
        self.metrics.transfers.set(len(self._all))
        transfer.done = Deferred.fromCoroutine(transfer.run())
        return transfer

    def committed(self, digest: Digest) -> None:
        """A blob is in the store."""
        self.commits += 1
        self.store.committed(digest)

    def ended(self, transfer: Transfer) -> None:
        """A transfer has nothing more to give to newcomers."""
        if self._running.get(transfer.digest) is transfer:
            del self._running[transfer.digest]
        self._all.discard(transfer)
        self.metrics.transfers.set(len(self._all))

    async def stop(self) -> None:
        """Start nothing more; finish what has been received, break off the rest without a trace."""
        self._stopped = True
        ending = [(t, t.done) for t in self._all if t.done is not None]
        for transfer, done in ending:
            if not (transfer.received or transfer.ending):
                done.cancel()
        for _, done in ending:
            await done
