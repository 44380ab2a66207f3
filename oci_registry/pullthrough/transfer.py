"""One download from upstream into the store, from the question to the commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from oci_registry.metrics import Metrics
from oci_registry.pullthrough.sizes import KnownSizes
from oci_registry.pullthrough.trouble import WRITTEN, StoreTrouble
from oci_registry.spec.digest import Digest, Prefix
from oci_registry.spec.errors import BlobUnknown, Denied, RegistryError
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.interfaces import IObjectWriter, StoreError
from oci_registry.streams.follower import TransferCrashed, TransferFailed
from oci_registry.streams.growing import GrowingBlob, Unwanted
from oci_registry.streams.threads import RunInThread
from oci_registry.upstream.interfaces import UpstreamBlob
from oci_registry.upstream.table import Target

ATTEMPTS = 4
"""Downloads of one blob until its bytes are right."""
SECOND_OPINION = 5.0
"""Seconds to wait for another host where the first announces another length than a manifest."""


class Around(Protocol):
    """What a transfer finds around itself: `transfers.Transfers`."""

    store: BlobStore
    batches: RunInThread
    clock: IReactorTime
    trouble: StoreTrouble
    sizes: KnownSizes
    metrics: Metrics
    stopped: bool

    def committed(self, digest: Digest) -> None:
        """A blob is in the store."""

    def ended(self, transfer: Transfer) -> None:
        """A transfer has nothing more to give to newcomers."""


class Transfer:
    """One blob on its way: joined by many, or for one reader alone.

    It goes on when its clients leave. It ends with the blob committed, or with nothing of it left. If
    the bytes turn out to be wrong it starts over, with other hosts; its readers notice only if what
    they have had was wrong. *hint*: the length in bytes that a manifest states, if
    any; upstream may contradict it. *stored*: whether the blob is to be kept. *had*: what the reader
    has had of it from elsewhere.
    """

    _log = Logger()

    def __init__(
        self,
        around: Around,
        target: Target,
        digest: Digest,
        hint: int | None,
        *,
        stored: bool = True,
        had: Prefix | None = None,
    ) -> None:
        self.target = target
        self.digest = digest
        self.blob: GrowingBlob | None = None
        self.received = False
        self.ending = False
        self.done: Deferred[None] | None = None
        self._around = around
        self._hint = hint
        self._stored = stored
        self._had = had
        self._error: Exception | None = None
        self._waiting: list[Deferred[GrowingBlob]] = []
        self._writer: IObjectWriter | None = None
        self._cancelling: list[Deferred[None]] = []
        self._earlier: GrowingBlob | None = None
        self._attempts = 0
        self._several_blamed = False
        self._excluded: frozenset[str] = frozenset()

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

    def _answer(self, answer: Callable[[Deferred[GrowingBlob]], None]) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            answer(waiter)

    def can_be_joined(self, position: int) -> bool:
        """Whether a client that comes now would get everything from *position* on."""
        if self.blob is None:
            return self._error is None
        return self.blob.can_follow(position)

    async def run(self) -> None:
        """Do it; every failure is reported to the clients and logged here, none is raised."""
        try:
            body = await self._ask()
            while (wrong := await self._receive(body)) is not None:
                body = await self._another(body, wrong)
            await self._keep()
        except Exception as error:
            self._failed(error)
        finally:
            await self._end()

    async def _ask(self) -> UpstreamBlob:
        """Begin a download, from a host that is not excluded.

        One that announces another length than a manifest states may as well send an error page: other
        hosts are asked before it is used.
        """
        body = await self._blob(self._excluded)
        odd = body.hosts
        if None in (self._hint, body.size) or body.size == self._hint:
            return body
        self._tell(LogLevel.info, f"it has {body.size} bytes, a manifest says {self._hint}")
        try:
            while (other := await self._other(odd)) is not None:
                if other.size == self._hint:
                    body.abandon()
                    self.target.upstream.distrust(self.digest, odd)
                    return other
                other.abandon()
                odd |= other.hosts
        except BaseException:
            body.abandon()
            raise
        return body

    async def _other(self, odd: frozenset[str]) -> UpstreamBlob | None:
        if len(odd) >= ATTEMPTS:
            return None
        asked = Deferred.fromCoroutine(self._blob(self._excluded | odd))
        try:
            return await asked.addTimeout(SECOND_OPINION, self._around.clock)
        except (RegistryError, DeferredTimeout):
            return None

    async def _blob(self, avoiding: frozenset[str]) -> UpstreamBlob:
        target = self.target
        return await target.upstream.blob(
            target.repository, self.digest, self._hint, avoiding=avoiding
        )

    async def _receive(self, body: UpstreamBlob) -> RegistryError | None:
        """Take a body to its end; return what is wrong with the bytes, None if they are right."""
        try:
            # Not what a manifest states: a store may write it down beside the bytes.
            self._writer = await self._create(body.size)
        except BaseException:
            body.abandon()
            raise
        around = self._around
        blob = self.blob = GrowingBlob(
            self.digest,
            body.size,
            self._writer,
            around.batches,
            around.clock,
            lambda error: around.trouble.failed(WRITTEN, error),
            self._had,
        )
        self._answer(lambda waiter: waiter.callback(blob))
        if self._earlier is not None:
            blob.take_over(self._earlier)
        if not await self._fill(blob, body):
            self.blob, self._earlier = None, blob
            self._discard()
        return blob.wrong

    async def _fill(self, blob: GrowingBlob, body: UpstreamBlob) -> bool:
        """Pump a body into a blob; return whether the bytes are right."""
        if blob.failure is not None:
            body.abandon()
            raise blob.failure
        try:
            await body.pump(blob)
        except RegistryError:
            # What is wrong with the bytes comes first; the broken-off body is its consequence.
            if blob.wrong is None:
                raise
        finally:
            namespace = self._around.metrics.namespace(self.target.upstream.namespace)
            self._around.metrics.upstream_bytes.labels(namespace).inc(blob.received)
        self.received = True
        if await blob.finish():
            if body.size is None:
                self._around.sizes.verified(self.digest, blob.received)
            return True
        self.received = False
        if blob.wrong is None:
            raise blob.failure or TransferFailed("the download was given up")
        return False

    async def _another(self, body: UpstreamBlob, wrong: RegistryError) -> UpstreamBlob:
        """Begin another download, after one that was wrong; raises *wrong* if there cannot be one."""
        self._attempts += 1
        self._around.metrics.error("wrong")
        if self._around.stopped or self._attempts >= ATTEMPTS:
            raise wrong
        upstream, hosts = self.target.upstream, body.hosts
        if body.try_other_way():
            # They get the same chance as if it was the first.
            hosts = frozenset()
        upstream.distrust(self.digest, hosts)
        if len(hosts) == 1 or self._several_blamed:
            self._excluded |= hosts
        # Of several hosts nobody knows which one it was: they get a second chance, but no third.
        self._several_blamed = self._several_blamed or len(hosts) > 1
        try:
            another = await self._ask()
        except RegistryError as error:
            raise wrong from error
        self._tell(LogLevel.warn, f"{wrong}; the download starts over")
        return another

    async def _create(self, size: int | None) -> IObjectWriter | None:
        """Return where to store the blob; None if the store fails, which is no reason to fail."""
        if not self._stored:
            return None
        try:
            return await self._around.store.create(self.digest, size)
        except StoreError as error:
            self._around.trouble.failed(WRITTEN, error)
            return None

    async def _keep(self) -> None:
        """Commit what is right."""
        if self._writer is None or self.blob is None or self.blob.store_error is not None:
            return
        try:
            await self._writer.commit()
        except StoreError as error:
            self._around.trouble.failed(WRITTEN, error)
        else:
            self._around.trouble.worked(WRITTEN)
            self._around.committed(self.digest)

    def _discard(self) -> None:
        """Leave no trace of what is not committed; what was written can still be read."""
        writer, self._writer = self._writer, None
        if writer is not None:
            self._cancelling.append(Deferred.fromCoroutine(self._cancel(writer)))

    async def _cancel(self, writer: IObjectWriter) -> None:
        try:
            await writer.cancel()
        except StoreError as error:
            self._around.trouble.failed(WRITTEN, error)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, CancelledError):
            error = TransferFailed("the mirror is being stopped")
        elif not isinstance(error, RegistryError):
            self._log.failure("{digest}: the transfer crashed", digest=str(self.digest))
            error = TransferCrashed()
        if self.blob is not None and isinstance(self.blob.failure, RegistryError):
            # What the blob itself found wrong comes first; the broken-off body is its consequence.
            error = self.blob.failure
        self._error = error
        # A blob that upstream says it does not have, or not for us, is an answer and not a fault; nor
        # is it one that the last client has left.
        answered = self.blob is None and isinstance(error, BlobUnknown | Denied)
        if answered or isinstance(error, Unwanted):
            self._tell(LogLevel.info, str(error))
        else:
            self._around.metrics.error("transfer")
            self._tell(LogLevel.warn, str(error))
        for blob in (self.blob, self._earlier):
            if blob is not None:
                blob.fail(error)
        self._answer(lambda waiter: waiter.errback(Failure(error)))

    def _tell(self, level: Any, text: str) -> None:
        self._log.emit(
            level,
            "{digest} from {upstream}/{repository}: {text}",
            digest=str(self.digest),
            upstream=self.target.upstream.namespace,
            repository=self.target.repository,
            text=text,
        )

    async def _end(self) -> None:
        self.ending = True
        self._discard()
        try:
            for cancelled in self._cancelling:
                await cancelled
        finally:
            # Not before: whoever stops the daemon waits until nothing is left of it.
            self._around.ended(self)
        for blob in (self.blob, self._earlier):
            if blob is not None:
                blob.release()
