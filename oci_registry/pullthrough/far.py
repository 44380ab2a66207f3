"""Far ranges: ranges far ahead of a transfer, fetched separately, streamed and not stored.

Lazy-pulling clients read a table of contents near the end of a layer, and then single files.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from oci_registry.metrics import Metrics
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RangeInvalid, RegistryError
from oci_registry.spec.ranges import ByteRange, RequestedRange
from oci_registry.streams.follower import TransferFailed
from oci_registry.streams.metered import Metered
from oci_registry.streams.pipe import Pipe
from oci_registry.upstream.interfaces import UpstreamBlob
from oci_registry.upstream.table import Target

_FIRST = ByteRange(0, 1)
"""The range to request when only the blob's size is needed."""


@frozen
class FarLimits:
    """Which far ranges are fetched, and how many.

    *distance*: a range is far if it starts more than so many bytes ahead of the transfer. *longest*: the
    size of the largest far range in bytes; the transfer soon overtakes larger ones. *at_once*: how many
    are fetched at the same time from one upstream, *most* from all. *permit_timeout*: seconds to wait for a
    permit. *answer_timeout*: seconds to wait for upstream's response.
    """

    distance: int = 16 * 1024 * 1024
    longest: int = 64 * 1024 * 1024
    at_once: int = 16
    most: int = 128
    permit_timeout: float = 2.0
    answer_timeout: float = 5.0


def far_part(
    asked: RequestedRange, size: int | None, received: int, limits: FarLimits
) -> ByteRange | None:
    """Return the requested bytes if they are a far range, else None.

    *size*: the blob's size in bytes, if it is known. If it is needed and not known, the first byte is
    returned: upstream's response to that has the size. *received*: how many bytes the transfer has.
    """
    if asked.suffix is None and asked.start - received <= limits.distance:
        return None
    if size is not None:
        part = _clamped(asked, size)
    elif asked.stop is not None:
        part = ByteRange(asked.start, asked.stop)
    else:
        return _FIRST
    if part is None or part.start - received <= limits.distance or part.length > limits.longest:
        return None
    return part


def _clamped(asked: RequestedRange, size: int) -> ByteRange | None:
    try:
        return asked.of(size)
    except RangeInvalid:
        return None


class Progress(Protocol):
    """The progress of a transfer, such as a `GrowingBlob`."""

    @property
    def size(self) -> int | None:
        """The blob's length in bytes, if it is known."""

    @property
    def received(self) -> int:
        """How many bytes have arrived."""


def _assumed(asked: RequestedRange, growing: Progress, hint: int | None) -> int | None:
    """Return the blob's probable size; None also if the range shows that *hint* is wrong."""
    if growing.size is not None:
        return growing.size
    return None if hint is None or _clamped(asked, hint) is None else hint


class FarRange:
    """The bytes of one range as a `Source`, which must be closed.

    They are not verified, since the digest is that of the whole blob. *size*: the blob's size in bytes.
    *over* is called on closing, *count* with the number of bytes whenever some arrive.
    """

    def __init__(
        self,
        part: ByteRange,
        size: int,
        body: UpstreamBlob,
        over: Callable[[], None],
        count: Callable[[int], object],
    ) -> None:
        self.part = part
        self.size = size
        self._body = body
        self._over: Callable[[], None] | None = over
        self._count = count
        self._pipe = Pipe()
        self._done: Deferred[None] | None = None

    def read(self, limit: int) -> bytes | Deferred[bytes]:
        """Return the next bytes; raises, or fails with, `TransferFailed` if upstream breaks for good."""
        if self._done is None:
            metered = Metered(self._pipe, self._count)
            self._done = self._body.pump(metered).addCallbacks(self._came, self._failed)
        return self._pipe.read(limit)

    def _came(self, length: int) -> None:
        short = length < self.part.length
        self._pipe.end(TransferFailed("upstream sent only a part of the range") if short else None)

    def _failed(self, failure: Failure) -> None:
        self._pipe.end(TransferFailed(failure.getErrorMessage()))

    def close(self) -> None:
        """Stop the download. Idempotent."""
        over, self._over = self._over, None
        if over is None:
            return
        self._pipe.close()
        if self._done is None:
            self._body.abandon()
        else:
            self._done.cancel()
        over()


class FarRanges:
    """Fetches far ranges, a limited number at once for each upstream."""

    def __init__(self, clock: IReactorTime, metrics: Metrics, limits: FarLimits) -> None:
        self._clock = clock
        self._metrics = metrics
        self._limits = limits
        self._fetching = 0
        # By namespace, while some are in use.
        self._permits: dict[str, DeferredSemaphore] = {}

    def wants(self, asked: RequestedRange, growing: Progress, hint: int | None) -> bool:
        """Whether a range is a far range.

        *growing*: the transfer. *hint*: the blob's size, in case the transfer does not know it.
        """
        size = _assumed(asked, growing, hint)
        return far_part(asked, size, growing.received, self._limits) is not None

    async def fetch(
        self,
        target: Target,
        digest: Digest,
        asked: RequestedRange,
        growing: Progress,
        hint: int | None,
    ) -> FarRange | None:
        """Return the requested range; None if it must be read from the transfer.

        If the transfer knows the blob's size, the response must state the same.
        """
        if self._fetching >= self._limits.most:
            return None
        namespace = target.upstream.namespace
        permits = self._permits.setdefault(namespace, DeferredSemaphore(self._limits.at_once))
        try:
            await permits.acquire().addTimeout(self._limits.permit_timeout, self._clock)
        except DeferredTimeout:
            return None
        self._count(1)
        far: FarRange | None = None
        try:
            size = _assumed(asked, growing, hint)
            far = await self._ask(target, digest, asked, growing, size)
        finally:
            if far is None:
                self._over(namespace)
        return far

    async def _ask(
        self,
        target: Target,
        digest: Digest,
        asked: RequestedRange,
        growing: Progress,
        size: int | None,
    ) -> FarRange | None:
        """Request the range, and once more if the size turns out to be another one."""
        for _ in range(2):
            part = far_part(asked, size, growing.received, self._limits)
            body = None if part is None else await self._begin(target, digest, part)
            if part is None or body is None:
                return None
            size = body.size
            if size is None or growing.size not in (None, size):
                body.abandon()
                return None
            if part != _FIRST and part == _clamped(asked, size):
                return self._streamed(target, part, size, body)
            body.abandon()
        return None

    async def _begin(self, target: Target, digest: Digest, part: ByteRange) -> UpstreamBlob | None:
        question = target.upstream.part(target.repository, digest, part.start, part.stop)
        try:
            return await Deferred.fromCoroutine(question).addTimeout(
                self._limits.answer_timeout, self._clock
            )
        except (RegistryError, DeferredTimeout):
            # The client gets it from the transfer.
            return None

    def _streamed(self, target: Target, part: ByteRange, size: int, body: UpstreamBlob) -> FarRange:
        self._metrics.far_ranges.inc()
        namespace = target.upstream.namespace
        count = self._metrics.upstream_bytes.labels(self._metrics.namespace(namespace)).inc
        return FarRange(part, size, body, partial(self._over, namespace), count)

    def _over(self, namespace: str) -> None:
        self._count(-1)
        permits = self._permits[namespace]
        if permits.tokens + 1 == permits.limit and not permits.waiting:
            del self._permits[namespace]
        permits.release()

    def _count(self, change: int) -> None:
        self._fetching += change
        self._metrics.far_ranges_in_flight.set(self._fetching)
