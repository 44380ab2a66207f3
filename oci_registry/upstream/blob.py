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
from oci_registry.streams.inflate import UNDONE, InflatingPump
from oci_registry.upstream.breaker_keys import Area
from oci_registry.upstream.encoding import coding_of
from oci_registry.upstream.failures import WrongAnswer, header
from oci_registry.upstream.questions import Kind

_ETAG = re.compile(r'"[\x21\x23-\x7e]{1,200}"')


class HttpBlob:
    """A blob's answer, or a part's, whose body waits.

    *size*: the whole blob's length in bytes, None if unknown. *start*: the position in the
    blob of the first byte of this body, *stop*: that after its last, if known. *partial*: it is
    a part, as was asked for. *validator*: what ``If-Range`` can be asked with, a strong ``ETag`` (RFC
    9110 section 13.1.5). *area*: what fails if the body does.

    Where the answer names a coding that can be undone (`encodable`), the blob may be its body as it
    came, or what that is when it is inflated. *inflate* says which; None leaves it to *known*, the
    blob's size if another source has it, and then to a guess at the first bytes. The size is not
    known until it is certain that nothing is inflated. A part is taken only with an *inflate* of
    False.

    A 416 with the size of the blob is the part without a byte that begins there.
    """

    def __init__(
        self,
        response: IResponse,
        clock: IReactorTime,
        idle: float,
        explained: Callable[[BaseException | None], RegistryError],
        area: Area = Kind.BLOB,
        *,
        known: int | None = None,
        inflate: bool | None = None,
    ) -> None:
        self.area = area
        self._length: int | None = response.length if isinstance(response.length, int) else None
        self.size = self._length
        self.start = 0
        self.partial = response.code in (206, 416)
        self._nothing = response.code == 416
        coding = coding_of(response)
        self._coding = coding if coding in UNDONE else None
        self.encodable = self._coding is not None
        if self._nothing:
            end = parse_unsatisfied(header(response, "Content-Range"))
            if not end:
                raise WrongAnswer("the range is not satisfiable")
            self.start = self.size = end
            self._length = 0
        elif self.partial:
            if self.encodable and inflate is not False:
                raise WrongAnswer("the range of an encoded body is ambiguous")
            part = parse_content_range(header(response, "Content-Range"))
            if part is None or self._length not in (None, part[1] - part[0]):
                raise WrongAnswer("the Content-Range does not match the body")
            self.start, end, self.size = part
            self._length = end - self.start
        elif self.encodable and inflate is None and None not in (known, self._length):
            inflate = known != self._length
        undecided = self.encodable and not self.partial and inflate is not False
        if undecided:
            self.size = None
        self.stop = None if undecided or self._length is None else self.start + self._length
        self.validator = _strong(header(response, "ETag"))
        self._known = known
        self._inflate = inflate
        self._inflating: InflatingPump | None = None
        self._response = response
        self._clock = clock
        self._idle = idle
        self._explained = explained

    @property
    def inflated(self) -> bool | None:
        """Whether the body is inflated; None while that is not settled."""
        if self._coding is None or self._inflate is False:
            return False
        return None if self._inflating is None else self._inflating.inflating

    def pump(self, consumer: IConsumer) -> Deferred[int]:
        """Write the body to *consumer*; return its length in bytes.

        Fails with a `RegistryError`; when cancelled, the connection is closed.
        """
        if self._nothing:
            # Its body is about the error.
            self.abandon()
            return succeed(0)
        done = self._pump(consumer).run(self._response)
        return done.addErrback(self._failed)

    def _pump(self, consumer: IConsumer) -> BodyPump | InflatingPump:
        if self._coding is None or self._inflate is False:
            return BodyPump(consumer, self._clock, self._idle, self._length)
        self._inflating = InflatingPump(
            consumer,
            self._clock,
            self._idle,
            self._length,
            self._coding,
            inflate=self._inflate,
            limit=self._known,
        )
        return self._inflating

    def _failed(self, failure: Failure) -> Failure:
        return Failure(self._explained(failure.value))

    def abandon(self) -> None:
        """Close the connection."""
        abandon(self._response, self._clock, limit=0)


def _strong(etag: str | None) -> str | None:
    """Return an ``ETag`` if it is a strong validator that can be sent back."""
    return etag if etag is not None and _ETAG.fullmatch(etag) else None
