"""``Content-Encoding`` of bodies that were requested without any (RFC 9110 section 8.4)."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.iweb import IResponse

from oci_registry.streams.body import BodyError, BodyTooLong, abandon, collect
from oci_registry.streams.inflate import DEFLATE, GZIP, PIECE, UNDONE, Inflater
from oci_registry.upstream.errors import Unusable

_KNOWN = {
    "gzip": GZIP,
    "x-gzip": GZIP,
    "deflate": DEFLATE,
    "br": "br",
    "zstd": "zstd",
    "compress": "compress",
    "x-compress": "compress",
    "dcb": "dcb",
    "dcz": "dcz",
}
"""The codings that change bytes, by their names in lower case."""


def coding_of(response: IResponse) -> str | None:
    """Return the content coding of a body, None if there is none.

    Names that are not codings are ignored: ``identity``, and what object stores keep of an upload
    (``aws-chunked``, ``none``, ``utf-8``). With a coding other than ``gzip`` and ``deflate``, the
    bytes may be right without decoding. Raises `Unusable` for more than one coding: no server
    encodes twice, and inflating such a body has no bound.
    """
    values = response.headers.getRawHeaders(b"Content-Encoding") or []
    tokens = (
        token.strip(b" \t").decode("ascii", "replace").lower()
        for value in values
        for token in value.split(b",")
    )
    codings = [_KNOWN[token] for token in tokens if token in _KNOWN]
    if len(codings) > 1:
        raise Unusable("sent an answer that is encoded more than once")
    return codings[0] if codings else None


@frozen
class Body:
    """A body as it was sent (*raw*), and with its *coding* decoded (*inflated*).

    *inflated* is None if it cannot be decoded, and a `BodyTooLong` if the result is too large.
    """

    raw: bytes
    coding: str | None
    inflated: bytes | BodyTooLong | None = None

    def candidates(self) -> Iterator[bytes]:
        """Yield the bytes as sent, and then inflated; the caller uses the first valid one.

        Raises `BodyTooLong` in place of the second if that is too large.
        """
        yield self.raw
        if isinstance(self.inflated, BodyTooLong):
            raise self.inflated
        if self.inflated is not None:
            yield self.inflated

    def document(self) -> bytes:
        """Return the reading that looks like JSON, else the bytes as they came; raises `BodyTooLong`."""
        return next(
            (reading for reading in self.candidates() if looks_like_json(reading)), self.raw
        )


def looks_like_json(text: bytes) -> bool:
    """Return whether *text* may be a JSON object or array."""
    return text.lstrip(b" \t\r\n")[:1] in (b"{", b"[")


async def read_body(response: IResponse, limit: int, clock: IReactorTime, idle: float) -> Body:
    """Read a body of at most *limit* bytes, and inflate it to at most as many.

    Raises `Unusable`, and `BodyError` as `collect` does. Large bodies are inflated in steps.
    """
    try:
        coding = coding_of(response)
    except Unusable:
        abandon(response, clock, limit=0)
        raise
    raw = await collect(response, limit, clock, idle)
    if coding not in UNDONE:
        return Body(raw, coding)
    try:
        return Body(raw, coding, await _inflate(raw, coding, limit, clock))
    except BodyTooLong as error:
        return Body(raw, coding, error)
    except BodyError:
        return Body(raw, coding)


async def read_document(response: IResponse, limit: int, clock: IReactorTime, idle: float) -> bytes:
    """Read a JSON document: the `Body.document` of `read_body`."""
    return (await read_body(response, limit, clock, idle)).document()


async def _inflate(raw: bytes, coding: str, limit: int, clock: IReactorTime) -> bytes:
    inflater = Inflater(coding)
    inflater.feed(raw)
    pieces: list[bytes] = []
    left = limit
    while inflater.pending:
        pieces.append(inflater.take(min(PIECE, left + 1)))
        left -= len(pieces[-1])
        if left < 0:
            raise BodyTooLong(f"the body has more than {limit} bytes when it is inflated")
        if inflater.pending:
            await deferLater(clock, 0)
    inflater.finish()
    return b"".join(pieces)
