"""The download of one blob from upstream into the store, as a coroutine."""

from __future__ import annotations

from attrs import Factory, define, field
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import LogLevel

from oci_registry.metrics import Metrics
from oci_registry.pullthrough.progress import DownloadLog
from oci_registry.pullthrough.sizes import KnownSizes
from oci_registry.pullthrough.store_health import WRITTEN, StoreHealth
from oci_registry.pullthrough.transfer import Phase, Transfer, TransferLimits, Wanted
from oci_registry.spec.errors import RegistryError
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.interfaces import IObjectWriter, StoreError
from oci_registry.storage.room import NoRoom, ReservedWriter, Room, Unlimited
from oci_registry.streams.follower import TransferFailed
from oci_registry.streams.growing import GrowingBlob
from oci_registry.streams.metered import Metered
from oci_registry.streams.threads import RunInThread
from oci_registry.upstream.interfaces import UpstreamBlob

Removals = list[Deferred[None]]


@define(eq=False)
class Downloader:
    """Downloads blobs into the store, with as many attempts as *limits* allow.

    *ingest* runs the hashing and writing. *room*: is reserved before a blob is written. *stopping*: set it
    when the daemon stops; no download then starts over.
    """

    store: BlobStore
    ingest: RunInThread
    clock: IReactorTime
    health: StoreHealth
    sizes: KnownSizes
    metrics: Metrics
    log: DownloadLog
    limits: TransferLimits = Factory(TransferLimits)
    room: Room = Factory(Unlimited)
    stopping: bool = field(default=False, init=False)

    async def download(self, transfer: Transfer, removals: Removals) -> bool:
        """Download a blob; return whether it is stored now. Raises if there is no right one.

        If the bytes are wrong it starts over, with other hosts; a reader fails only if it has received
        wrong bytes. Writers that were not committed are still being removed when this returns; their
        Deferreds are added to *removals*.
        """
        upstream, digest = transfer.wanted.target.upstream, transfer.wanted.digest
        excluded: frozenset[str] = frozenset()
        several_suspected = False
        earlier: GrowingBlob | None = None
        body = await self._ask(transfer, excluded)
        attempts = 0
        while True:
            attempts += 1
            writer = await self._create(transfer, body)
            blob = self._growing(transfer.wanted, body.size, writer)
            try:
                transfer.receive(blob)
                if earlier is not None:
                    blob.take_over(earlier)
                if await self._receive(transfer, blob, body):
                    return await self._commit(transfer, blob, writer)
            finally:
                if writer is not None:
                    removals.append(Deferred.fromCoroutine(self._cancel(writer)))
            if blob.wrong is None:
                raise blob.failure or TransferFailed("the download was given up")
            self.metrics.error("wrong")
            self.log.wrong(transfer, blob.wrong, body.hosts)
            if self.stopping or attempts >= self.limits.attempts:
                raise blob.wrong
            suspected = body.hosts
            if body.switch_decoding():
                # The other decoding may give the right bytes from the same hosts: none is excluded yet.
                suspected = frozenset()
            upstream.quarantine(digest, suspected)
            if len(suspected) == 1 or several_suspected:
                excluded |= suspected
            # With several hosts, it is unknown which one was wrong: each gets one more attempt.
            several_suspected = several_suspected or len(suspected) > 1
            transfer.phase, earlier = Phase.ASKING, blob
            try:
                body = await self._ask(transfer, excluded)
            except RegistryError as error:
                raise blob.wrong from error

    async def _ask(self, transfer: Transfer, excluded: frozenset[str]) -> UpstreamBlob:
        """Begin a download from a host that is not excluded.

        If the announced size is not the manifest's, the body may be an error page: other hosts are asked
        before it is used.
        """
        wanted = transfer.wanted
        body = await _begin(wanted, excluded)
        if None in (wanted.hint, body.size) or body.size == wanted.hint:
            return body
        transfer.log(LogLevel.info, f"it has {body.size} bytes, but a manifest says {wanted.hint}")
        unexpected = body.hosts
        try:
            while len(unexpected) < self.limits.attempts:
                other = await self._ask_other(wanted, excluded | unexpected)
                if other is None:
                    break
                if other.size == wanted.hint:
                    body.abandon()
                    wanted.target.upstream.quarantine(wanted.digest, unexpected)
                    return other
                other.abandon()
                unexpected |= other.hosts
        except BaseException:
            body.abandon()
            raise
        return body

    async def _ask_other(self, wanted: Wanted, excluded: frozenset[str]) -> UpstreamBlob | None:
        asked = Deferred.fromCoroutine(_begin(wanted, excluded))
        try:
            return await asked.addTimeout(self.limits.second_opinion, self.clock)
        except (RegistryError, DeferredTimeout):
            return None

    async def _create(self, transfer: Transfer, body: UpstreamBlob) -> IObjectWriter | None:
        """Return the writer of a new object; None if the store fails, since the download can go on."""
        wanted = transfer.wanted
        if not wanted.stored:
            return None
        release = None
        try:
            size = wanted.hint if body.size is None else body.size
            namespace = wanted.target.upstream.namespace
            release = await self.room.reserve(wanted.digest, size, namespace)
            # The announced size, not the manifest's: a store may keep it as the object's size.
            writer = await self.store.create(wanted.digest, body.size)
            return writer if release is None else ReservedWriter(writer, release)
        except NoRoom as error:
            transfer.not_stored = str(error)
            return None
        except StoreError as error:
            if release is not None:
                release()
            transfer.not_stored = str(error)
            self.health.record_failure(WRITTEN, error)
            return None
        except BaseException:
            if release is not None:
                release()
            body.abandon()
            raise

    def _growing(
        self, wanted: Wanted, size: int | None, writer: IObjectWriter | None
    ) -> GrowingBlob:
        return GrowingBlob(
            wanted.digest,
            size,
            writer,
            self.ingest,
            self.clock,
            lambda error: self.health.record_failure(WRITTEN, error),
            wanted.had,
            self.limits.growing,
        )

    async def _receive(self, transfer: Transfer, blob: GrowingBlob, body: UpstreamBlob) -> bool:
        """Pump a body into a blob; return whether the bytes are right."""
        if blob.failure is not None:
            body.abandon()
            raise blob.failure
        namespace = self.metrics.namespace(transfer.wanted.target.upstream.namespace)
        count = self.metrics.upstream_bytes.labels(namespace).inc
        try:
            await body.pump(Metered(blob, count))
        except RegistryError:
            # Wrong bytes are the cause; the aborted body is their consequence.
            if blob.wrong is None:
                raise
        transfer.phase = Phase.VERIFYING
        verified = await blob.finish()
        if verified and body.size is None:
            self.sizes.verified(blob.digest, blob.received)
        return verified

    async def _commit(
        self, transfer: Transfer, blob: GrowingBlob, writer: IObjectWriter | None
    ) -> bool:
        """Commit a verified blob; return whether it is stored now."""
        if blob.store_error is not None:
            transfer.not_stored = str(blob.store_error)
            return False
        if writer is None:
            return False
        transfer.phase = Phase.COMMITTING
        try:
            await writer.commit()
        except StoreError as error:
            transfer.not_stored = str(error)
            self.health.record_failure(WRITTEN, error)
            return False
        self.health.record_success(WRITTEN)
        return True

    async def _cancel(self, writer: IObjectWriter) -> None:
        """Remove what is not committed; readers can still read what was written."""
        try:
            await writer.cancel()
        except StoreError as error:
            self.health.record_failure(WRITTEN, error)


async def _begin(wanted: Wanted, excluded: frozenset[str]) -> UpstreamBlob:
    target = wanted.target
    return await target.upstream.blob(
        target.repository, wanted.digest, wanted.hint, excluded=excluded
    )
