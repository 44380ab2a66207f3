"""The running downloads: one per digest, shared by all clients that may use its upstream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar
from weakref import WeakSet

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from oci_registry.pullthrough.download import Downloader, Removals
from oci_registry.pullthrough.transfer import Phase, Transfer, Wanted
from oci_registry.spec.digest import Digest, Prefix
from oci_registry.spec.errors import BlobUnknown, Denied, RegistryError, TooManyRequests
from oci_registry.storage.open_blob import CorruptBlob
from oci_registry.streams.follower import TransferCrashed, TransferFailed
from oci_registry.streams.garbage import release_frames
from oci_registry.streams.growing import GrowingBlob, Unwanted
from oci_registry.streams.recent import RecentValues
from oci_registry.streams.tally import Tally
from oci_registry.upstream.table import Target

T = TypeVar("T")

ANYBODY = ""
_COMMITS = 10_000
"""Commits that are remembered: far more than can happen during one look-up in the store."""


def _audience(target: Target) -> str:
    """Return who may join a transfer from *target*: anybody, or only clients of that upstream."""
    return ANYBODY if target.upstream.settings.configured else target.upstream.namespace


class Transfers:
    """The table of all transfers by digest; it starts them, and handles their results.

    *downloader* downloads their blobs. A transfer from a configured upstream serves all clients. One
    from an upstream that a client has named serves only clients that name the same one: others must not
    depend on a host that any client can choose.
    """

    _defects = Logger()

    def __init__(self, downloader: Downloader) -> None:
        self.clock = downloader.clock
        self._downloader = downloader
        self._store = downloader.store
        self._metrics = downloader.metrics
        self._log = downloader.log
        self._limits = downloader.limits
        self._shared: dict[Digest, dict[str, Transfer]] = {}
        self._all: set[Transfer] = set()
        # How many of them, by namespace.
        self._running: Tally[str] = Tally()
        # A number for each, by digest.
        self._commits: RecentValues[int] = RecentValues(_COMMITS)
        self._committed_before = 0
        # Those that were stored, for as long as clients read them.
        self._stored: WeakSet[GrowingBlob] = WeakSet()
        self._store.interrupted = self._interrupt

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._shared

    @property
    def is_idle(self) -> bool:
        """Whether no blob at all is in it."""
        return not self._shared

    def __iter__(self) -> Iterator[Transfer]:
        """Return all that run, private ones too."""
        return iter(list(self._all))

    def last_commit(self, digest: Digest) -> int | None:
        """Return the number of the latest commit of a blob, None if none is known."""
        return self._commits.get(str(digest))

    def running(self, target: Target, digest: Digest, position: int = 0) -> GrowingBlob | None:
        """Return the growing blob of a transfer that a reader at *position* can join now, or None."""
        transfer = self._joinable(target, digest, position)
        return None if transfer is None else transfer.joinable

    def can_be_joined(self, target: Target, digest: Digest, position: int = 0) -> bool:
        """Whether `join` would find a transfer and start none."""
        return self._joinable(target, digest, position) is not None

    def _joinable(self, target: Target, digest: Digest, position: int) -> Transfer | None:
        transfers = self._shared.get(digest, {})
        for audience in (ANYBODY, _audience(target)):
            transfer = transfers.get(audience)
            if transfer is not None and transfer.can_be_joined(position):
                return transfer
        return None

    async def join(
        self, target: Target, digest: Digest, hint: int | None, position: int = 0
    ) -> GrowingBlob:
        """Return the growing blob of a transfer of *digest*; start one if there is none to join.

        *hint*: the size in bytes that a manifest states, if any. A second transfer is started if the
        first no longer has the bytes from *position* on. Raises `RegistryError` from *target* only: if a
        joined transfer of another upstream fails, this one is tried next.
        """
        while True:
            transfer = self._joinable(target, digest, position)
            if transfer is None:
                transfer = self._share(Wanted(target, digest, hint))
            try:
                return await transfer.opened()
            except RegistryError:
                if transfer.wanted.target == target:
                    raise

    async def complete(self, target: Target, digest: Digest, hint: int | None) -> str | None:
        """Download a blob into the store that no client waits for, or wait for a running download.

        Returns why it is not stored then; None if it is. Raises as `join` does. If this is cancelled, the
        download goes on.
        """
        while True:
            transfer = self._joinable(target, digest, 0)
            if transfer is None:
                transfer = self._share(Wanted(target, digest, hint, ahead=True))
            if transfer in self._all:
                await transfer.ended()
            if transfer.error is None or isinstance(transfer.error, Unwanted):
                return None if transfer.stored else transfer.why_not_stored
            if transfer.wanted.target == target:
                raise transfer.error

    def has_room(self, target: Target) -> bool:
        """Whether a download that no client waits for may be started.

        More must be left for clients than the same upstream has under way: half of all if it is the only
        one. So one that hangs stops only its own.
        """
        if self._running[target.upstream.namespace] >= self._limits.most - len(self._all):
            return False
        return target.upstream.settings.configured or self._named() * 2 < self._limits.named

    def _share(self, wanted: Wanted) -> Transfer:
        """Start a transfer that others can join."""
        self._check(wanted.target)
        transfer = Transfer(wanted)
        self._shared.setdefault(wanted.digest, {})[_audience(wanted.target)] = transfer
        self._start(transfer)
        return transfer

    def add_client(self, blob: GrowingBlob) -> None:
        """A client is served from a growing blob, which the log will count."""
        for transfer in self._shared.get(blob.digest, {}).values():
            if transfer.blob is blob:
                transfer.clients += 1

    async def ended(self, digest: Digest) -> None:
        """Wait until the transfers of a blob that are running now have ended."""
        for transfer in list(self._shared.get(digest, {}).values()):
            if transfer.done is not None:
                await _end_of(transfer.done)

    async def private(
        self, target: Target, digest: Digest, hint: int | None, had: Prefix | None
    ) -> GrowingBlob:
        """Return the growing blob of a private transfer, for a reader whose next bytes another no longer has.

        It is not stored and not shared, and goes at the speed of this reader. *had*: what the reader has
        received; the transfer fails if it begins with other bytes.
        """
        self._check(target)
        transfer = Transfer(Wanted(target, digest, hint, stored=False, had=had))
        self._start(transfer)
        return await transfer.opened()

    def _check(self, target: Target) -> None:
        """Raise unless another transfer may be started."""
        if self._downloader.stopping:
            raise TransferFailed("the mirror is being stopped")
        full = len(self._all) >= self._limits.most or self._uses_too_much(target)
        if not (full or target.upstream.settings.configured):
            full = self._named() >= self._limits.named
        if full:
            raise TooManyRequests.retry_after("the mirror has too many downloads under way", 5)

    def _uses_too_much(self, target: Target) -> bool:
        """Whether an upstream has more than three times the downloads that are left for all.

        One that hangs has as many as there are clients, for as long. So it leaves a quarter to the others,
        and another one that hangs leaves a quarter of that.
        """
        most = 3 * (self._limits.most - len(self._all))
        return self._running[target.upstream.namespace] > most

    def _named(self) -> int:
        """Return how many downloads from upstreams that clients have named are running."""
        return sum(not one.wanted.target.upstream.settings.configured for one in self._all)

    def _start(self, transfer: Transfer) -> None:
        transfer.began = self.clock.seconds()
        self._all.add(transfer)
        self._running[transfer.wanted.target.upstream.namespace] += 1
        self._metrics.transfers.set(len(self._all))
        self._log.begin(transfer)
        transfer.done = Deferred.fromCoroutine(self._run(transfer))

    async def _run(self, transfer: Transfer) -> None:
        """Download a blob, and handle the result."""
        removals: Removals = []
        try:
            if await self._downloader.download(transfer, removals):
                size = 0 if transfer.blob is None else transfer.blob.received
                self._committed(transfer.wanted.digest, size)
                if transfer.blob is not None:
                    self._stored.add(transfer.blob)
                transfer.stored = True
                self._log.stored(transfer)
            else:
                self._log.served(transfer)
        except Exception as error:
            self._failed(transfer, error)
            # The transfer keeps the error, whose traceback refers to the transfer.
            release_frames(error)
        transfer.phase = Phase.ENDED
        try:
            for removed in removals:
                await removed
        finally:
            # Last, since `stop` waits until the transfer has cleaned up.
            self._remove(transfer)
            if transfer.blob is not None:
                transfer.blob.release()
            transfer.end()

    def _committed(self, digest: Digest, size: int) -> None:
        self._committed_before += 1
        self._commits.put(str(digest), self._committed_before)
        self._store.committed(digest, size)

    def _interrupt(self, digest: Digest) -> None:
        """Cut off clients that still read a blob from its download, since its file has become corrupt."""
        for blob in [one for one in self._stored if one.digest == digest]:
            blob.withdraw(CorruptBlob(f"the stored blob {digest} is corrupt"))

    def _failed(self, transfer: Transfer, error: Exception) -> None:
        """Report the end of a transfer to its clients, to the metrics and to the log."""
        blob, asking = transfer.blob, transfer.phase is Phase.ASKING
        if isinstance(error, CancelledError):
            error = TransferFailed("the mirror is being stopped")
        elif not isinstance(error, RegistryError):
            digest = str(transfer.wanted.digest)
            self._defects.failure("{digest}: the transfer crashed", digest=digest)
            crashed = TransferCrashed()
            crashed.__cause__ = error
            error = crashed
        if not asking and blob is not None and isinstance(blob.failure, RegistryError):
            # The error of the blob is the cause; the aborted body is its consequence.
            error = blob.failure
        # Two ends are not errors: upstream does not have the blob or denies it, and the last client
        # has left.
        answered = asking and isinstance(error, BlobUnknown | Denied)
        if answered or isinstance(error, Unwanted):
            self._log.answered(transfer, error)
        else:
            self._metrics.error("transfer")
            self._log.failed(transfer, error)
        transfer.fail(error)

    def _remove(self, transfer: Transfer) -> None:
        digest, audience = transfer.wanted.digest, _audience(transfer.wanted.target)
        transfers = self._shared.get(digest, {})
        if transfers.get(audience) is transfer:
            del transfers[audience]
            if not transfers:
                del self._shared[digest]
        self._all.discard(transfer)
        self._running.end(transfer.wanted.target.upstream.namespace)
        self._log.end(transfer)
        self._metrics.transfers.set(len(self._all))

    async def stop(self) -> None:
        """Start no more transfers; finish those that have all bytes, and cancel the others."""
        self._downloader.stopping = True
        ending = [(t, t.done) for t in self._all if t.done is not None]
        for transfer, done in ending:
            if transfer.phase in (Phase.ASKING, Phase.RECEIVING):
                done.cancel()
        for _, done in ending:
            await done


def _end_of(done: Deferred[None]) -> Deferred[None]:
    """Return a Deferred that fires when *done* does; cancelling it has no effect on *done*."""
    waiting: Deferred[None] = Deferred(lambda _: None)

    def ended(result: T) -> T:
        if not waiting.called:
            waiting.callback(None)
        return result

    done.addBoth(ended)
    return waiting
