"""Simple requests, and the bytes of their responses: pure functions of bytes and numbers.

A request is simple if nothing in it but its method and its target decides the response.
"""

from __future__ import annotations

from functools import lru_cache
from math import floor, inf

from attrs import frozen

from oci_registry.web.head import FIELD, HOST
from oci_registry.web.shown import shown

LONGEST = 2048
"""The most bytes of a simple request."""
METHODS = {method.encode(): method for method in ("GET", "HEAD")}
"""The methods of simple requests, as text."""
_VERSION = b"HTTP/1.1\r\n"
_END = b"\r\n\r\n"
_HARMLESS = frozenset(
    (
        b"accept",
        b"accept-charset",
        b"accept-encoding",
        b"accept-language",
        b"cache-control",
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
    """A request must be parsed as any other."""


@lru_cache(maxsize=256)
def parse_fields(fields: bytes) -> str:
    """Return the user agent, as the access log shows it, of a simple request.

    *fields*: the request from its version on. Clients send the same again and again, so the last ones are
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
    if found.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        raise NotSimple
    return shown(found.get(b"user-agent") or b"-")


@frozen(eq=False)
class ReadyAnswer:
    """A response of status 200 in pieces, and when it may be sent: for GET, or without the body for HEAD.

    *start* ends where the value of Date begins. *middle* goes on behind it, up to the seconds of
    ``ttl=``, and *end* behind those; without an *end* there are no such seconds, and *middle* ends the head.
    *confirmed*: when a tag was confirmed, in seconds since the epoch; *max_age*: for how many seconds it is
    fresh from then on.
    """

    start: bytes
    middle: bytes
    end: bytes
    body: bytes
    confirmed: float = 0.0
    max_age: float = inf

    def is_fresh(self, now: float) -> bool:
        """Whether it may be sent at *now*, as far as time decides that."""
        return 0 <= now - self.confirmed < self.max_age

    def response(self, now: float, date: bytes, *, head: bool) -> bytes:
        """Return the bytes of the response; *date*: the value of Date; *head*: the method is HEAD."""
        body = b"" if head else self.body
        if not self.end:
            return b"".join((self.start, date, self.middle, body))
        ttl = b"%d" % floor(self.max_age - (now - self.confirmed))
        return b"".join((self.start, date, self.middle, ttl, self.end, body))


def in_pieces(
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    confirmed: float = 0.0,
    max_age: float = inf,
) -> ReadyAnswer | None:
    """Return the answer with these headers, None if there is none: without a single Date, for example.

    If *max_age* is given, Cache-Status ends with the seconds of ``ttl=``.
    """
    dated, aged = [], []
    head = bytearray(b"HTTP/1.1 200 OK\r\n")
    for name, value in headers:
        start = len(head) + len(name) + 2
        head += b"%b: %b\r\n" % (name, value)
        if name == b"Date":
            dated.append((start, start + len(value)))
        elif name == b"Cache-Status" and max_age != inf:
            before, mark, _ = value.rpartition(b"; ttl=")
            if mark:
                aged.append((start + len(before) + len(mark), start + len(value)))
    head += b"\r\n"
    if len(dated) != 1 or len(aged) != (max_age != inf):
        return None
    ((from_date, to_date),) = dated
    start, rest = bytes(head[:from_date]), bytes(head[to_date:])
    if not aged:
        return ReadyAnswer(start, rest, b"", body)
    ((from_ttl, to_ttl),) = aged
    if from_ttl < to_date:
        return None
    middle, end = bytes(head[to_date:from_ttl]), bytes(head[to_ttl:])
    return ReadyAnswer(start, middle, end, body, confirmed, max_age)
