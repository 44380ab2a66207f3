"""A blob's answer from one host: what it says of itself, and its body."""

from __future__ import annotations

import re
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IReactorTime
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse

from oci_registry.spec.errors import RegistryError
from oci_registry.spec.ranges import parse_content_range, parse_unsatisfied
from oci_registry.streams.body import BodyPump, abandon
from oci_registry.upstream.circuits import Area
from oci_registry.upstream.failures import WrongAnswer, header
from oci_registry.upstream.questions import Kind

_ETAG = re.compile(r'"[\x21\x23-\x7e]{1,200}"')


class HttpBlob:
    """A blob's answer, or a part's, whose body waits.

    *size*: the whole blob's length in bytes, None if it was not told. *start*: the position in the
    blob of the first byte of this body, *stop*: that after its last, if it was told. *partial*: it is
    a part, as was asked for. *validator*: what ``If-Range`` can be asked with, a strong ``ETag`` (RFC
    9110 section 13.1.5). *area*: what fails if the body does.

    A 416 that tells where the blob ends is the part without a byte that begins there.
    """

    def __init__(
        self,
        response: IResponse,
        clock: IReactorTime,
        idle: float,
        explained: Callable[[BaseException | None], RegistryError],
        area: Area = Kind.BLOB,
    ) -> None:
        self.area = area
        self._length: int | None = response.length if isinstance(response.length, int) else None
        self.size = self._length
        self.start = 0
        self.partial = response.code in (206, 416)
        self._nothing = response.code == 416
        if self._nothing:
            end = parse_unsatisfied(header(response, "Content-Range"))
            if not end:
                raise WrongAnswer("there is no such part")
            self.start = self.size = end
            self._length = 0
        elif self.partial:
            part = parse_content_range(header(response, "Content-Range"))
            # A length that is not the range's, or unknown since the body was decoded, fits no part.
            if part is None or part[1] - part[0] != self._length:
                raise WrongAnswer("the range that was sent is not the one that was announced")
            self.start, _, self.size = part
        self.stop = None if self._length is None else self.start + self._length
        self.validator = _strong(header(response, "ETag"))
        self._response = response
        self._clock = clock
        self._idle = idle
        self._explained = explained

    def pump(self, consumer: IConsumer) -> Deferred[int]:
        """Write the body to *consumer*; return its length in bytes.

        Fails with a `RegistryError`; when cancelled, the connection is closed.
        """
        if self._nothing:
            # Its body is about the error.
            self.abandon()
            return succeed(0)
        pump = BodyPump(consumer, self._clock, self._idle, self._length)
        return pump.run(self._response).addErrback(self._failed)

    def _failed(self, failure: Failure) -> Failure:
        return Failure(self._explained(failure.value))

    def abandon(self) -> None:
        """Close the connection."""
        abandon(self._response, self._clock, limit=0)


def _strong(etag: str | None) -> str | None:
    """Return an ``ETag`` if it is a strong validator that can be sent back."""
    return etag if etag is not None and _ETAG.fullmatch(etag) else None
