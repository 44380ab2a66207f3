"""Ranges that lie far ahead of a transfer: fetched beside it, streamed, and not stored.

Lazy pullers read a table of contents near the end of a layer, and then a file here and there.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from oci_registry.metrics import Metrics
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.ranges import ByteRange
from oci_registry.streams.follower import TransferFailed
from oci_registry.streams.growing import GrowingBlob
from oci_registry.streams.pipe import Pipe
from oci_registry.upstream.interfaces import UpstreamBlob
from oci_registry.upstream.table import Target

FAR = 16 * 1024 * 1024
"""Bytes that a transfer may lack for a range without its being far; seconds of a fast line."""
LONGEST = 64 * 1024 * 1024
"""Bytes of a range that is fetched beside the transfer; who wants more is soon caught up with."""
AT_ONCE = 16
"""Far ranges that are fetched at once."""
PATIENCE = 5.0
"""Seconds to wait for upstream to begin with one; the client has waited for the transfer already."""


def far_part(growing: GrowingBlob, start: int, stop: int) -> ByteRange | None:
    """Return the bytes from *start* to *stop* if it is not worth waiting for them."""
    stop = stop if growing.size is None else min(stop, growing.size)
    if start - growing.received <= FAR or not 0 < stop - start <= LONGEST:
        return None
    return ByteRange(start, stop)


class FarRange:
    """The bytes of one range, on their way: a `Source`, to be closed in any case.

    They are not verified: whether the whole has the right digest is known later, if at all. *size*: the
    blob's length in bytes. *over* is told how many bytes have come.
    """

    def __init__(
        self, part: ByteRange, size: int, body: UpstreamBlob, over: Callable[[int], None]
    ) -> None:
        self.part = part
        self.size = size
        self._body = body
        self._over: Callable[[int], None] | None = over
        self._pipe = Pipe()
        self._done: Deferred[None] | None = None

    def read(self, limit: int) -> bytes | Deferred[bytes]:
        """Return the next bytes; raises, or fails with, `TransferFailed` if upstream breaks for good."""
        if self._done is None:
            self._done = self._body.pump(self._pipe).addCallbacks(self._came, self._failed)
        return self._pipe.read(limit)

    def _came(self, length: int) -> None:
        short = length < self.part.length
        self._pipe.end(TransferFailed("upstream sent a part of a range only") if short else None)

    def _failed(self, failure: Failure) -> None:
        self._pipe.end(TransferFailed(failure.getErrorMessage()))

    def close(self) -> None:
        """Want no more. Idempotent."""
        over, self._over = self._over, None
        if over is None:
            return
        self._pipe.close()
        if self._done is None:
            self._body.abandon()
        else:
            self._done.cancel()
        over(self._pipe.received)


class FarRanges:
    """All far ranges that are fetched now."""

    def __init__(self, clock: IReactorTime, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._fetching = 0

    async def fetch(
        self, target: Target, digest: Digest, size: int | None, part: ByteRange
    ) -> FarRange | None:
        """Return a part of a blob; None where it must be waited for.

        *size*: the blob's length if it is known; upstream must give the same.
        """
        if self._fetching >= AT_ONCE:
            return None
        self._count(1)
        far: FarRange | None = None
        try:
            far = await self._ask(target, digest, size, part)
        finally:
            if far is None:
                self._count(-1)
        return far

    async def _ask(
        self, target: Target, digest: Digest, size: int | None, part: ByteRange
    ) -> FarRange | None:
        question = target.upstream.part(target.repository, digest, part.start, part.stop)
        try:
            body = await Deferred.fromCoroutine(question).addTimeout(PATIENCE, self._clock)
        except (RegistryError, DeferredTimeout):
            # It will come with the transfer.
            return None
        if body.size is None or size not in (None, body.size) or part.stop > body.size:
            body.abandon()
            return None
        self._metrics.far_ranges.inc()

        def over(received: int) -> None:
            namespace = self._metrics.namespace(target.upstream.namespace)
            self._metrics.upstream_bytes.labels(namespace).inc(received)
            self._count(-1)

        return FarRange(part, body.size, body, over)

    def _count(self, change: int) -> None:
        self._fetching += change
        self._metrics.far_ranges_in_flight.set(self._fetching)
