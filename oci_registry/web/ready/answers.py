"""Simple requests, and the bytes of their responses: pure functions of bytes and numbers.

A request is simple if the response depends only on its method and its target.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from math import floor, inf

from oci_registry.web.head import FIELD, HOST
from oci_registry.web.shown import shown

LONGEST = 2048
"""The maximum length of a simple request in bytes."""
METHODS = {method.encode(): method for method in ("GET", "HEAD")}
"""The methods of simple requests, as text."""
_RANGE = re.compile(rb"\r\nRange: bytes=([0-9]{1,15})-([0-9]{1,15})(?=\r\n)")
_VERSION = b"HTTP/1.1\r\n"
_END = b"\r\n\r\n"
_CLOSE = b"\r\nConnection: close\r\n"
_HARMLESS = frozenset(
    (
        b"accept",
        b"accept-charset",
        b"accept-encoding",
        b"accept-language",
        b"cache-control",
        b"docker-distribution-api-version",
        b"forwarded",
        b"pragma",
        b"traceparent",
        b"tracestate",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-meta-source-client",
        b"x-real-ip",
        b"x-request-id",
    )
)
"""Headers that no response depends on. They may be repeated."""
_ONCE = frozenset((b"host", b"user-agent", b"connection"))


class NotSimple(Exception):
    """A request is not simple and must be parsed normally."""


@lru_cache(maxsize=256)
def parse_fields(fields: bytes) -> tuple[str, bool]:
    """Return the user agent of a simple request, as the access log shows it, and whether it is the last
    one of its connection.

    *fields*: the request from its version on. Clients repeat the same fields, so the latest results are
    remembered. Raises `NotSimple`: such fields, which may hold credentials, are not remembered.
    """
    if not (fields.startswith(_VERSION) and fields.endswith(_END)):
        raise NotSimple
    found: dict[bytes, bytes] = {}
    for line in fields[len(_VERSION) : -len(_END)].split(b"\r\n"):
        match = FIELD.fullmatch(line)
        if match is None:
            raise NotSimple
        name = match[1].lower()
        if name in _ONCE and name not in found:
            found[name] = match[2].strip(b" \t")
        elif name not in _HARMLESS:
            raise NotSimple
    if b"host" not in found or HOST.fullmatch(found[b"host"]) is None:
        raise NotSimple
    connection = found.get(b"connection", b"keep-alive").lower()
    if connection not in (b"keep-alive", b"close"):
        raise NotSimple
    return shown(found.get(b"user-agent") or b"-"), connection == b"close"


def with_close(head: bytes) -> bytes:
    """Return the head of a response, or its beginning, with the header of the last one of a connection."""
    return head.replace(b"\r\n", _CLOSE, 1)


ReadyAnswer = tuple[bytes, bytes, bytes, bytes, float, float]
"""A response of status 200 in pieces, and when it may be sent: for GET, or without the body for HEAD.

Start, middle and end of the head; the body; *confirmed*; *max_age*. The start ends where the value of Date
begins. The middle continues after it, up to the seconds of ``ttl=``, and the end continues after those; without
an end, there are no such seconds, and the middle ends the head. *confirmed*: when a tag was confirmed, in
seconds since the epoch; *max_age*: for how many seconds it is fresh from then on. A plain tuple, as
`web.ready.entries` explains.
"""


def is_fresh(answer: ReadyAnswer, now: float) -> bool:
    """Whether an answer is still fresh at *now*."""
    _, _, _, _, confirmed, max_age = answer
    return 0 <= now - confirmed < max_age


def response(
    answer: ReadyAnswer, now: float, date: bytes, *, head: bool, last: bool = False
) -> bytes:
    """Return the bytes of a response; *date*: the value of Date; *head*: the method is HEAD.

    *last*: it is the last one of its connection.
    """
    start, middle, end, body, confirmed, max_age = answer
    if last:
        start = with_close(start)
    if head:
        body = b""
    if not end:
        return b"".join((start, date, middle, body))
    ttl = b"%d" % floor(max_age - (now - confirmed))
    return b"".join((start, date, middle, ttl, end, body))


def in_pieces(
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    confirmed: float = 0.0,
    max_age: float = inf,
) -> ReadyAnswer | None:
    """Return the answer with these headers, None if there is none: without a single Date, for example.

    If *max_age* is given, Cache-Status ends with the seconds of ``ttl=``.
    """
    if max_age == inf:
        pieces = _cut(b"200 OK", headers, ((b"Date", b""),))
        return None if pieces is None else (pieces[0], pieces[1], b"", body, 0.0, inf)
    pieces = _cut(b"200 OK", headers, ((b"Date", b""), (b"Cache-Status", b"; ttl=")))
    if pieces is None:
        return None
    start, middle, end = pieces
    return start, middle, end, body, confirmed, max_age


ReadyParts = tuple[bytes, bytes, bytes, bytes, int]
"""Responses of status 206 for a blob: the pieces of the head, and the size of the blob.

Between the pieces are the values of Date, Content-Length and Content-Range. All other headers are the same
for all ranges of the blob.
"""


def part_of(parts: ReadyParts, first: int, last: int) -> tuple[int, int] | None:
    """Return the beginning and the end (exclusive) of a requested range; None if there is no such part."""
    size = parts[-1]
    return None if last < first or first >= size else (first, min(last + 1, size))


def part_head(
    parts: ReadyParts, date: bytes, start: int, stop: int, *, last: bool = False
) -> bytes:
    """Return the head of the response with a part of the blob; *last*: as for `response`."""
    to_date, to_length, to_range, end, size = parts
    return b"%b%b%b%d%b%d-%d/%d%b" % (
        with_close(to_date) if last else to_date,
        date,
        to_length,
        stop - start,
        to_range,
        start,
        stop - 1,
        size,
        end,
    )


def parts_in_pieces(headers: list[tuple[bytes, bytes]], size: int) -> ReadyParts | None:
    """Return the answers for a blob, from the headers of one of its parts; None if there are none."""
    cuts = ((b"Date", b""), (b"Content-Length", b""), (b"Content-Range", b"bytes "))
    pieces = _cut(b"206 Partial Content", headers, cuts)
    if pieces is None:
        return None
    to_date, to_length, to_range, end = pieces
    return to_date, to_length, to_range, end, size


def _cut(
    status: bytes, headers: list[tuple[bytes, bytes]], cuts: Sequence[tuple[bytes, bytes]]
) -> list[bytes] | None:
    """Return a head without some values: the pieces between them, in order.

    *cuts*: the headers, in order; the part of each value after the last occurrence of a text is left
    out. None if they are not exactly these.
    """
    marks = dict(cuts)
    pieces, found = [b"HTTP/1.1 %b\r\n" % status], []
    for name, value in headers:
        kept = value
        wanted = marks.get(name)
        if wanted is not None and wanted in value:
            found.append(name)
            kept = value[: value.rindex(wanted) + len(wanted)] if wanted else b""
        pieces[-1] += b"%b: %b" % (name, kept)
        if name in found:
            pieces.append(b"")
        pieces[-1] += b"\r\n"
    pieces[-1] += b"\r\n"
    return pieces if found == list(marks) else None


def cut_range(fields: bytes) -> tuple[bytes, int, int] | None:
    """Return the fields of a request without its Range, and the first and the last byte of that.

    None if it has no Range in the form that nearly all clients send.
    """
    match = _RANGE.search(fields)
    if match is None:
        return None
    return fields[: match.start()] + fields[match.end() :], int(match[1]), int(match[2])
