"""Replies: responses as values. Handlers return them, without knowing requests or Twisted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from attrs import define, evolve, frozen

from oci_registry.pullthrough.hits import BlobHit, ManifestHit
from oci_registry.pullthrough.outcome import Outcome
from oci_registry.spec.digest import Digest
from oci_registry.spec.durations import format_duration
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.ranges import ByteRange
from oci_registry.streams.interfaces import Source
from oci_registry.streams.send import CHUNK, BytesSource
from oci_registry.upstream.table import Target
from oci_registry.web.cache_status import for_status, of_outcome
from oci_registry.web.shown import reason_of

_OF_CONTENT = frozenset(
    ("Content-Type", "Content-Length", "Docker-Content-Digest", "Accept-Ranges", "Content-Range")
)


@frozen
class Stream:
    """A streamed body: *length* bytes of *source*, or all of them if *length* is None.

    *waited*: how many seconds of the time limit for headers have already passed.
    """

    source: Source
    length: int | None
    waited: float = 0.0


# Not frozen: one is made for each request, and a frozen one takes three times as long.
@define
class Reply:
    """Status, headers and body of a response, and the outcome of the cache. Not to be changed.

    The headers include Content-Length; without it the body is sent in chunks. The code that writes the
    reply closes the source of the body, whether it is sent or not. *reason*: the error in the access
    log, which may say more than the client may know. *again*: returns an object that repeats this hit,
    if it can be repeated; call it before the body is sent. *route*: the route that it is counted under,
    if not that of the request.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes | Stream = b""
    outcome: Outcome | None = None
    reason: str | None = None
    again: Callable[[], ManifestHit | BlobHit | None] | None = None
    route: str | None = None


@define
class RequestInfo:
    """The parts of a request that handlers need besides its route: whether it is a HEAD, and its headers."""

    head: bool
    header: Callable[[str], str | None]


Handler = Callable[[Target, Any, RequestInfo], Awaitable[Reply]]
"""Handles requests for one type of route; raises `RegistryError`."""


def content(media_type: str, length: int | None, digest: Digest | None = None) -> dict[str, str]:
    """Return the headers that describe a body. Without *length* it is sent in chunks."""
    headers = {"Content-Type": media_type}
    if length is not None:
        headers["Content-Length"] = str(length)
    if digest is not None:
        text = str(digest)
        headers["Docker-Content-Digest"] = text
        headers["ETag"] = f'"{text}"'
    return headers


def paced(body: bytes) -> bytes | Stream:
    """Return a small body as it is, and a large one as a stream.

    A large body that is written at once would be copied into a buffer for each client.
    """
    return body if len(body) <= CHUNK else Stream(BytesSource(body), len(body))


def matches(if_none_match: str | None, etag: str, *, exists: bool = True) -> bool:
    """Whether the client has the content with this tag already (RFC 9110 section 13.1.2).

    *exists*: whether the content exists, which is what ``*`` matches.
    """
    if if_none_match is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in tags or (exists and "*" in tags)


def conditional(reply: Reply, if_none_match: str | None) -> Reply:
    """Return *reply*, or a 304 if the client has the content already."""
    if not matches(if_none_match, reply.headers["ETag"]):
        return reply
    headers = {name: value for name, value in reply.headers.items() if name not in _OF_CONTENT}
    return evolve(reply, status=304, headers=_with_status(headers, reply.status))


def partial(reply: Reply, part: ByteRange, size: int) -> Reply:
    """Return the 206 with a part of the *size* bytes that *reply* is about (RFC 9110 section 15.3.7)."""
    place = {"Content-Range": part.content_range(size), "Content-Length": str(part.length)}
    headers = {**reply.headers, **place}
    return evolve(reply, status=206, headers=_with_status(headers, reply.status))


def _with_status(headers: dict[str, str], upstream: int) -> dict[str, str]:
    """Return *headers* with the status that upstream has sent in Cache-Status, if that is there."""
    value = headers.get("Cache-Status")
    return headers if value is None else {**headers, "Cache-Status": for_status(value, upstream)}


def error_reply(
    error: RegistryError,
    outcome: Outcome | None = None,
    cache_status: Mapping[str, str] = MappingProxyType({}),
) -> Reply:
    """Return the reply for an error: its status, headers and JSON."""
    body = error.as_json()
    headers = {**error.headers, **cache_status, **content("application/json", len(body))}
    return Reply(error.status, headers, body, outcome, reason_of(error))


def redirect(url: str, digest: Digest) -> Reply:
    """Return a temporary redirect to *url* (RFC 9110 section 15.4.8)."""
    headers = {
        "Location": url,
        "Docker-Content-Digest": str(digest),
        # The URL is signed, and expires within minutes.
        "Cache-Control": "no-store",
        "Content-Length": "0",
        **of_outcome(Outcome.HIT),
    }
    return Reply(307, headers, outcome=Outcome.HIT)


def warning(text: str) -> dict[str, str]:
    """Return a Warning header (RFC 7234 section 5.5)."""
    return {"Warning": f'299 - "{text}"'.encode("ascii", "replace").decode("ascii")}


def age_shown(age: float) -> str:
    """Return an age in seconds as readable text, in whole minutes from one minute on."""
    seconds = int(age)
    return format_duration(seconds - seconds % 60 if seconds >= 60 else seconds)
