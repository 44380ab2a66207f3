"""The head of the response for a blob."""

from __future__ import annotations

import re

from attrs import frozen
from twisted.web.iweb import IResponse

from oci_registry.spec.ranges import parse_content_range, parse_unsatisfied
from oci_registry.streams.inflate import UNDONE
from oci_registry.upstream.encoding import coding_of
from oci_registry.upstream.errors import WrongAnswer
from oci_registry.upstream.failures import header

_ETAG = re.compile(r'"[\x21\x23-\x7e]{1,200}"')


@frozen
class BlobHead:
    """The head of the response for a blob, or a part of it.

    *size*: the size of the whole blob in bytes, None if unknown. *start*: the position in the blob
    of the first byte of this body, *stop*: that after its last, if known. *length*: that of the
    body as it is sent. *partial*: whether it is a part, as requested. *validator*: the strong
    ``ETag`` for ``If-Range`` (RFC 9110 section 13.1.5). *coding*: a content coding that can be
    decoded; *inflate*: whether it is, None while that is not decided.
    """

    size: int | None
    start: int
    stop: int | None
    length: int | None
    partial: bool
    validator: str | None
    coding: str | None
    inflate: bool | None

    @property
    def encodable(self) -> bool:
        """Return whether the blob may be the inflated body, and not the body as sent."""
        return self.coding is not None

    @property
    def empty(self) -> bool:
        """Return whether this is the empty part at the end of the blob."""
        return self.partial and self.length == 0


def read_head(response: IResponse, known: int | None, inflate: bool | None) -> BlobHead:
    """Read the head of a response; *known*: the size of the blob from another source.

    *inflate*: whether a body with a supported coding is inflated. With None, *known* decides, and
    then a guess from the first bytes. The size is unknown until it is certain that nothing is
    inflated. A part is accepted only if *inflate* is False. A 416 with the size of the blob counts
    as an empty part at its end. Raises `WrongAnswer`.
    """
    length = response.length if isinstance(response.length, int) else None
    coding = coding_of(response)
    coding = coding if coding in UNDONE else None
    validator = _strong(header(response, "ETag"))
    if response.code == 416:
        end = parse_unsatisfied(header(response, "Content-Range"))
        if not end:
            raise WrongAnswer("the range is not satisfiable")
        return BlobHead(end, end, end, 0, True, validator, coding, inflate)
    if response.code == 206:
        if coding is not None and inflate is not False:
            raise WrongAnswer("the range of an encoded body is ambiguous")
        part = parse_content_range(header(response, "Content-Range"))
        if part is None or length not in (None, part[1] - part[0]):
            raise WrongAnswer("the Content-Range does not match the body")
        start, stop, size = part
        return BlobHead(size, start, stop, stop - start, True, validator, coding, inflate)
    if coding is not None and inflate is None and None not in (known, length):
        inflate = known != length
    size = length if coding is None or inflate is False else None
    return BlobHead(size, 0, size, length, False, validator, coding, inflate)


def _strong(etag: str | None) -> str | None:
    """Return an ``ETag`` if it is a strong validator that can be sent back."""
    return etag if etag is not None and _ETAG.fullmatch(etag) else None
