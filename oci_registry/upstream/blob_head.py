"""What an answer says of a blob before its body is read."""

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
    """The head of a blob's answer, or a part's.

    *size*: the whole blob's length in bytes, None if unknown. *start*: the position in the blob of the
    first byte of this body, *stop*: that after its last, if known. *length*: that of the body as it is
    sent. *partial*: it is a part, as was asked for. *validator*: what ``If-Range`` can be asked with, a
    strong ``ETag`` (RFC 9110 section 13.1.5). *coding*: one that can be undone, and *inflate* whether
    it is; None while that is open.
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
        """Whether the blob may be the body inflated, rather than as it came."""
        return self.coding is not None

    @property
    def empty(self) -> bool:
        """Whether this is the part without a byte at the end of the blob."""
        return self.partial and self.length == 0


def read_head(response: IResponse, known: int | None, inflate: bool | None) -> BlobHead:
    """Read the head of an answer; *known*: the blob's size, if another source has it.

    *inflate* says whether a body is inflated whose coding can be undone; None leaves that to *known*,
    and then to a guess at the first bytes. The size is not known until it is certain that nothing is
    inflated. A part is taken only with an *inflate* of False. A 416 with the size of the blob is the
    part without a byte that begins there. Raises `WrongAnswer`.
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
