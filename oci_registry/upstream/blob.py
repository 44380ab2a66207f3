"""The response for a blob from one host: its head, and its body, which is read later."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IReactorTime
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse

from oci_registry.spec.errors import RegistryError
from oci_registry.streams.body import BodyPump, abandon
from oci_registry.streams.inflate import BodyDecoder
from oci_registry.streams.inflating_pump import InflatingPump
from oci_registry.upstream.blob_head import read_head
from oci_registry.upstream.breaker_keys import Endpoint
from oci_registry.upstream.requests import Kind


class HttpBlob:
    """The response for a blob or a part of it, whose body has not been read.

    *idle*: seconds without progress after which the body fails. *explained* makes the error for a
    broken body. *endpoint*: what the failure of the body counts for. See `read_head` for *known*,
    *inflate*, and errors.
    """

    def __init__(
        self,
        response: IResponse,
        clock: IReactorTime,
        idle: float,
        explained: Callable[[BaseException | None], RegistryError],
        endpoint: Endpoint = Kind.BLOB,
        *,
        known: int | None = None,
        inflate: bool | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.head = head = read_head(response, known, inflate)
        self._decoder: BodyDecoder | None = None
        if head.coding is not None and head.inflate is not False:
            self._decoder = BodyDecoder(head.coding, inflate=head.inflate, limit=known)
        self._response = response
        self._clock = clock
        self._idle = idle
        self._explained = explained

    @property
    def inflated(self) -> bool | None:
        """Return whether the body is inflated; None while that is not decided."""
        return False if self._decoder is None else self._decoder.inflating

    def pump(self, consumer: IConsumer) -> Deferred[int]:
        """Write the body to *consumer*; return its length in bytes.

        Fails with a `RegistryError`; when cancelled, the connection is closed.
        """
        if self.head.empty:
            # The body of a 416 describes the error.
            self.abandon()
            return succeed(0)
        done = self._pump(consumer).run(self._response)
        return done.addErrback(self._failed)

    def _pump(self, consumer: IConsumer) -> BodyPump | InflatingPump:
        length = self.head.length
        if self._decoder is None:
            return BodyPump(consumer, self._clock, self._idle, length)
        return InflatingPump(consumer, self._clock, self._idle, length, self._decoder)

    def _failed(self, failure: Failure) -> Failure:
        return Failure(self._explained(failure.value))

    def abandon(self) -> None:
        """Close the connection."""
        abandon(self._response, self._clock, limit=0)
