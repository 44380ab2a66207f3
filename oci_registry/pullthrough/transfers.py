"""The downloads under way: one per digest, followed by whoever wants the blob and trusts its source."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from oci_registry.metrics import Metrics
from oci_registry.pullthrough.sizes import KnownSizes
from oci_registry.pullthrough.transfer import Transfer
from oci_registry.pullthrough.trouble import StoreTrouble
from oci_registry.spec.digest import Digest, Prefix
from oci_registry.spec.errors import RegistryError, TooManyRequests
from oci_registry.storage.blobs import BlobStore
from oci_registry.streams.follower import TransferFailed
from oci_registry.streams.growing import GrowingBlob
from oci_registry.streams.threads import RunInThread
from oci_registry.upstream.table import Target

MAX_TRANSFERS = 512
"""Downloads at once; each may hold some MiB of memory and a few open files."""
MAX_NAMED = 256
"""Those among them that come from upstreams which clients have named."""
ANYBODY = ""


def _audience(target: Target) -> str:
    """Return who may follow a transfer from there: anybody, or clients of that upstream alone."""
    return ANYBODY if target.upstream.configured else target.upstream.namespace


class Transfers:
    """All transfers, by digest. *batches* runs their hashing and writing.

    A transfer from a configured upstream serves everybody. One from an upstream that a client has named
    serves those who have named it too: nobody else is at the mercy of a host that any client may choose.
    """

    def __init__(
        self,
        store: BlobStore,
        batches: RunInThread,
        clock: IReactorTime,
        trouble: StoreTrouble,
        sizes: KnownSizes,
        metrics: Metrics,
    ) -> None:
        self.store = store
        self.batches = batches
        self.clock = clock
        self.trouble = trouble
        self.sizes = sizes
        self.metrics = metrics
        self.stopped = False
        self.commits = 0
        """How many blobs have been committed: who has looked in the store before a commit looks again."""
        self._running: dict[Digest, dict[str, Transfer]] = {}
        self._all: set[Transfer] = set()

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._running

    def running(self, target: Target, digest: Digest, position: int = 0) -> GrowingBlob | None:
        """Return the growing blob of a transfer that can be joined now, by a reader at *position*."""
        transfer = self._joinable(target, digest, position)
        return None if transfer is None else transfer.blob

    def can_be_joined(self, target: Target, digest: Digest, position: int = 0) -> bool:
        """Whether `join` would start nothing."""
        return self._joinable(target, digest, position) is not None

    def _joinable(self, target: Target, digest: Digest, position: int) -> Transfer | None:
        transfers = self._running.get(digest, {})
        for audience in (ANYBODY, _audience(target)):
            transfer = transfers.get(audience)
            if transfer is not None and transfer.can_be_joined(position):
                return transfer
        return None

    async def join(
        self, target: Target, digest: Digest, hint: int | None, position: int = 0
    ) -> GrowingBlob:
        """Return the growing blob of a transfer of *digest*, which is started if need be.

        *hint*: its length in bytes according to a manifest, if any. Another one is started beside it
        if the bytes from *position* on are no longer to be had from it. Raises upstream's `RegistryError`; what
        another client's upstream answered is not held against this one's.
        """
        while True:
            transfer = self._joinable(target, digest, position)
            if transfer is None:
                self._check(target)
                transfer = Transfer(self, target, digest, hint)
                self._running.setdefault(digest, {})[_audience(target)] = transfer
                self._start(transfer)
            try:
                return await transfer.opened()
            except RegistryError:
                if transfer.target == target:
                    raise

    async def alone(
        self, target: Target, digest: Digest, hint: int | None, had: Prefix | None
    ) -> GrowingBlob:
        """Return the growing blob of a transfer for one reader, who has lost its place in another one.

        It is in memory only and keeps the pace of this reader, who cannot lose its place again; nobody
        joins it. *had*: what the reader has had; the transfer fails if it begins with other bytes.
        """
        self._check(target)
        transfer = Transfer(self, target, digest, hint, stored=False, had=had)
        self._start(transfer)
        return await transfer.opened()

    def _check(self, target: Target) -> None:
        """Raise unless one more may be started."""
        if self.stopped:
            raise TransferFailed("the mirror is being stopped")
        full = len(self._all) >= MAX_TRANSFERS
        if not (full or target.upstream.configured):
            named = sum(not transfer.target.upstream.configured for transfer in self._all)
            full = named >= MAX_NAMED
        if full:
            raise TooManyRequests.retry_after("the mirror has too many downloads under way", 5)

    def _start(self, transfer: Transfer) -> None:
        self._all.add(transfer)
        self.metrics.transfers.set(len(self._all))
        transfer.done = Deferred.fromCoroutine(transfer.run())

    def committed(self, digest: Digest) -> None:
        """A blob is in the store."""
        self.commits += 1
        self.store.committed(digest)

    def ended(self, transfer: Transfer) -> None:
        """A transfer has nothing more to give to newcomers."""
        transfers = self._running.get(transfer.digest, {})
        if transfers.get(_audience(transfer.target)) is transfer:
            del transfers[_audience(transfer.target)]
            if not transfers:
                del self._running[transfer.digest]
        self._all.discard(transfer)
        self.metrics.transfers.set(len(self._all))

    async def stop(self) -> None:
        """Start nothing more; finish what has been received, break off the rest without a trace."""
        self.stopped = True
        ending = [(t, t.done) for t in self._all if t.done is not None]
        for transfer, done in ending:
            if not (transfer.received or transfer.ending):
                done.cancel()
        for _, done in ending:
            await done
