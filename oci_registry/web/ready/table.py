"""The table of ready answers, by request target."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, cast

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.web.http import datetimeToString

from oci_registry.logs import AccessEntry, AccessLog, Pieces
from oci_registry.streams.recent import RecentTable
from oci_registry.web.ready.answers import (
    LONGEST,
    METHODS,
    NotSimple,
    ReadyAnswer,
    ReadyParts,
    cut_range,
    in_pieces,
    is_fresh,
    parse_fields,
    part_head,
    part_of,
    parts_in_pieces,
    response,
)
from oci_registry.web.ready.entries import (
    BlobEntry,
    BlobSource,
    Constant,
    Entry,
    Repeatable,
    RepeatableBlob,
    Shown,
    Source,
    Sources,
    body_of,
    shown_of,
)

if TYPE_CHECKING:
    from oci_registry.web.site import RegistryRequest

_OF_ENTRY = 2048
"""Approximate bytes that an entry takes besides its body."""
_CLOSE = (b"Connection", b"close")
_Line = tuple[str, str, str, int, int, str, str | None, str | None]
"""Client, method, URI, status, bytes sent, user agent, namespace and outcome of a response."""
_NEVER = frozenset((b"Connection", b"Transfer-Encoding", b"Warning", b"Age"))


class Counting(Protocol):
    """The part of `Metrics` that the table uses."""

    @property
    def client_bytes(self) -> Any:
        """The counter of the bytes of bodies."""

    def response(self, route: str, method: str, status: str, seconds: float) -> None:
        """A request was answered."""


@frozen
class ReadyLimits:
    """How many answers are kept, how many bytes they may take, and the most bytes of a body.

    *blobs*: for how many blobs there are answers. *sources*: of how many registries.
    """

    entries: int = 2000
    size: int = 8 * 1024 * 1024
    body: int = 64 * 1024
    blobs: int = 128
    sources: int = 1000


class ReadyAnswers:
    """Answers repeated simple requests with the same responses as before.

    An answer is used as long as nothing that it was made from has changed, which is checked each time,
    so nothing has to remove it. The most recently used ones are kept.
    """

    def __init__(
        self,
        clock: IReactorTime,
        access_log: AccessLog,
        metrics: Counting,
        limits: ReadyLimits = ReadyLimits(),
    ) -> None:
        self._clock = clock
        self._log = access_log
        self._metrics = metrics
        self._limits = limits
        self._entries: RecentTable[bytes, Entry] = RecentTable(
            limits.entries,
            limits.size,
            lambda target, entry: len(target) + len(body_of(entry)) + _OF_ENTRY,
        )
        self._blobs: RecentTable[bytes, BlobEntry] = RecentTable(limits.blobs, 0, lambda *_: 0)
        self.sources: Sources[Source] = Sources(limits.sources, Constant())
        """The sources of answers, by registry."""
        self.blob_sources: Sources[BlobSource] = Sources(limits.sources)
        """The sources of answers about blobs, by registry."""
        self._pieces = lru_cache(maxsize=1024)(self._make_pieces)
        self._part_bytes = metrics.client_bytes.labels("blob").inc
        self._second = -1.0
        self._date = b""

    def __len__(self) -> int:
        return len(self._entries) + len(self._blobs)

    def lend(self, target: bytes) -> tuple[Entry, Callable[[], None]] | None:
        """Return the entry for a target if it could be sent now, for another process to send it.

        Also return the function to call for each time that it is sent.
        """
        entry = self._entries.peek(target)
        if entry is None:
            return None
        answer, _, _, _, _, number, subject = entry
        source = self.sources.get(number)
        if source is None or not (
            is_fresh(answer, self._clock.seconds()) and source.holds(subject)
        ):
            return None
        return entry, source.count

    def borrow(
        self, target: bytes, answer: ReadyAnswer, repeatable: Repeatable, shown: Shown
    ) -> None:
        """Keep an answer that another process has lent."""
        self._entries.put(target, repeatable.entry(answer, shown))

    def clear(self) -> None:
        """Remove all answers."""
        self._entries.clear()
        self._blobs.clear()

    def wants(self, request: RegistryRequest, status: int) -> bool:
        """Whether an answer of this *status* for the target of a request is missing and could be kept."""
        target = request.target
        blob = self._blobs.peek(target)
        return (
            request.error is None
            and request.clientproto == b"HTTP/1.1"
            and request.method in METHODS
            and target.startswith(b"/")
            and len(target) < LONGEST
            and self._entries.peek(target) is None
            and (blob is None or blob[status == 206] is None)
        )

    def has_room_for(self, length: int) -> bool:
        """Whether a body is short enough to be kept."""
        return length <= self._limits.body

    def offer(self, request: RegistryRequest, body: bytes, repeatable: Repeatable) -> None:
        """Keep the answer to a request that has just been answered, if `wants` says so."""
        headers = _headers(request)
        if (
            request.code != 200
            or not self.has_room_for(len(body))
            or not self.wants(request, 200)
            or not _NEVER.isdisjoint(name for name, _ in headers)
        ):
            return
        answer = in_pieces(headers, body, repeatable.confirmed, repeatable.max_age)
        if answer is not None:
            self._entries.put(request.target, repeatable.entry(answer, shown_of(request)))

    def offer_blob(self, request: RegistryRequest, blob: RepeatableBlob) -> None:
        """Keep the answers for a blob that was just sent, or for parts of it, if `wants` says so."""
        headers, status = _headers(request), request.code
        if (
            status not in (200, 206)
            or request.method != b"GET"
            or not self.wants(request, status)
            or not _NEVER.isdisjoint(name for name, _ in headers)
        ):
            return
        whole = in_pieces(headers, b"") if status == 200 else None
        parts = parts_in_pieces(headers, blob.size) if status == 206 else None
        if whole is None and parts is None:
            return
        before = self._blobs.peek(request.target)
        if before is not None:
            old_whole, old_parts, _, _, _, _, number, _, size = before
            source = self.blob_sources.get(number)
            if size == blob.size and source is not None and source.holds():
                whole, parts = whole or old_whole, parts or old_parts
        self._blobs.put(request.target, blob.entry(whole, parts, shown_of(request)))

    def respond(self, data: bytes, client: str) -> tuple[bytes, bool] | None:
        """Return the response to one whole request of a *client*, counted and logged; None if there is none.

        Also return whether the connection is to be closed after it.
        """
        if len(data) > LONGEST:
            return None
        parts = data.split(b" ", 2)
        if len(parts) < 3:
            return None
        method, target, fields = parts
        entry = self._entries.get(target)
        name = METHODS.get(method)
        if entry is None or name is None:
            blob = None if name is None else self._blobs.get(target)
            if blob is None or name is None:
                return None
            return self._respond_with_blob(target, blob, name, fields, client)
        try:
            agent, closes = parse_fields(fields)
        except NotSimple:
            return None
        answer, route, uri, namespace, outcome, number, subject = entry
        _, _, _, body, confirmed, max_age = answer
        source, now = self.sources.get(number), self._clock.seconds()
        served = None
        # The same as `is_fresh`, inlined to save a call for each answer.
        if source is not None and 0 <= now - confirmed < max_age:
            served = source.serve(subject)
        if served is None:
            self._entries.remove(target)
            return None
        if served is not subject:
            entry = (answer, route, uri, namespace, outcome, number, served)
            self._entries.put(target, entry)
        if now // 1 != self._second:
            self._set_date(now)
        if route is not None:
            self._metrics.response(route, name, "200", 0.0)
        log = self._log
        if log.wanted:
            sent = 0 if name == "HEAD" else len(body)
            line = (client, name, uri, 200, sent, agent, namespace, outcome)
            log.write_pieces(self._pieces(*line), now)
            if log.heard is not None:
                log.heard(_access_entry(*line))
        return response(answer, now, self._date, head=name == "HEAD", last=closes), closes

    def _respond_with_blob(
        self, target: bytes, entry: BlobEntry, method: str, fields: bytes, client: str
    ) -> tuple[bytes, bool] | None:
        whole, parts, route, uri, namespace, outcome, number, subject, size = entry
        part: tuple[int, int] | None = (0, size if method == "GET" else 0)
        cut = cut_range(fields) if method == "GET" else None
        if cut is not None:
            fields, first, last = cut
            part = None if parts is None else part_of(parts, first, last)
        elif whole is None:
            part = None
        if part is None or not self.has_room_for(part[1] - part[0]):
            return None
        try:
            agent, closes = parse_fields(fields)
        except NotSimple:
            return None
        source = self.blob_sources.get(number)
        data = source.part(subject, *part) if source is not None and source.holds() else None
        if data is None:
            self._blobs.remove(target)
            return None
        now = self._clock.seconds()
        if now // 1 != self._second:
            self._set_date(now)
        status = 200 if cut is None else 206
        self._metrics.response(route, method, str(status), 0.0)
        self._part_bytes(len(data))
        if self._log.wanted:
            line = (client, method, uri, status, len(data), agent, namespace, outcome)
            self._log.write_pieces(self._pieces(*line), now)
            if self._log.heard is not None:
                self._log.heard(_access_entry(*line))
        if cut is not None:
            head = part_head(cast(ReadyParts, parts), self._date, *part, last=closes)
        else:
            head = response(cast(ReadyAnswer, whole), now, self._date, head=True, last=closes)
        return head + data, closes

    def _set_date(self, now: float) -> None:
        self._second = now // 1
        self._date = datetimeToString(now)

    def _make_pieces(self, *line: *_Line) -> Pieces:
        return self._log.pieces(_access_entry(*line))


def _access_entry(*line: *_Line) -> AccessEntry:
    client, method, uri, status, sent, agent, namespace, outcome = line
    return AccessEntry(
        client=client,
        method=method,
        uri=uri,
        protocol="HTTP/1.1",
        status=status,
        sent=sent,
        seconds=0.0,
        agent=agent,
        namespace=namespace,
        outcome=outcome,
        error=None,
    )


def _headers(request: RegistryRequest) -> list[tuple[bytes, bytes]]:
    return [
        (name, value)
        for name, values in request.responseHeaders.getAllRawHeaders()
        for value in values
        # It is not about the content; `response` adds it where it is needed.
        if (name, value) != _CLOSE
    ]
