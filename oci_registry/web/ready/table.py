"""The table of ready answers, by request target."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, Any, Protocol, Self

from attrs import field, frozen
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
    parse_fields,
    parts_in_pieces,
)
from oci_registry.web.shown import shown, without_secrets

if TYPE_CHECKING:
    from oci_registry.web.site import RegistryRequest

_OF_ENTRY = 2048
"""Approximate bytes that an entry takes besides its body."""
_CLOSE = (b"Connection", b"close")
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

    *blobs*: for how many blobs there are answers.
    """

    entries: int = 2000
    size: int = 8 * 1024 * 1024
    body: int = 64 * 1024
    blobs: int = 128


def _always() -> bool:
    return True


def _nothing() -> None:
    """Count nothing."""


class Repeats(Protocol):
    """The conditions for sending a response again.

    *route*: the label under which the metrics count it; None: they do not. *confirmed*, *max_age*: as for
    `ReadyAnswer`.
    """

    @property
    def route(self) -> str | None: ...

    @property
    def confirmed(self) -> float: ...

    @property
    def max_age(self) -> float: ...

    def serve(self) -> bool:
        """Whether the same content would be served now; if so, this counts as a use."""

    def holds(self) -> bool:
        """Whether the same content would be served now."""

    def count(self) -> None:
        """Count one more use."""


@frozen
class Repeatable:
    """A `Repeats` of single functions."""

    route: str | None = None
    serve: Callable[[], bool] = _always
    confirmed: float = 0.0
    max_age: float = inf
    holds: Callable[[], bool] = _always
    count: Callable[[], None] = _nothing


@frozen
class RepeatableBlob:
    """The conditions for sending a blob of *size* bytes, or a part of it, again.

    *route*: as for `Repeatable`. *holds*: whether the target still means the blob. *part*: returns the
    bytes from a start to an end (exclusive), and counts a use; None if they cannot be sent now. For
    HEAD, the part is empty.
    """

    route: str
    holds: Callable[[], bool]
    part: Callable[[int, int], bytes | None]
    size: int


Shown = tuple[str, str | None, str | None]
"""The part of an access log line that is the same for all clients: URI, namespace and outcome.

A plain tuple, which the garbage collector does not traverse.
"""


def shown_of(request: RegistryRequest) -> Shown:
    """Return it for the response to a request."""
    outcome = None if request.outcome is None else request.outcome.value
    return shown(without_secrets(request.target)), request.namespace, outcome


@frozen(eq=False)
class Entry(ReadyAnswer):
    """An answer and the conditions for sending it."""

    repeatable: Repeats = field(kw_only=True)
    shown: Shown = field(kw_only=True)

    @classmethod
    def of(cls, answer: ReadyAnswer, repeatable: Repeats, shown: Shown) -> Self:
        """Return the entry for an answer."""
        return cls(
            start=answer.start,
            middle=answer.middle,
            end=answer.end,
            body=answer.body,
            confirmed=answer.confirmed,
            max_age=answer.max_age,
            repeatable=repeatable,
            shown=shown,
        )


@frozen(eq=False)
class _BlobEntry:
    """Answers about a blob: *whole*, without its body, and *parts*; None: there is none yet."""

    blob: RepeatableBlob
    shown: Shown
    whole: ReadyAnswer | None
    parts: ReadyParts | None


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
            lambda target, entry: len(target) + len(entry.body) + _OF_ENTRY,
        )
        self._blobs: RecentTable[bytes, _BlobEntry] = RecentTable(limits.blobs, 0, lambda *_: 0)
        self._pieces = lru_cache(maxsize=1024)(self._make_pieces)
        self._part_bytes = metrics.client_bytes.labels("blob").inc
        self._second = -1.0
        self._date = b""

    def __len__(self) -> int:
        return len(self._entries) + len(self._blobs)

    def lend(self, target: bytes) -> Entry | None:
        """Return the entry for a target if it could be sent now, for another process to send it."""
        entry = self._entries.peek(target)
        if entry is None or not entry.is_fresh(self._clock.seconds()):
            return None
        return entry if entry.repeatable.holds() else None

    def borrow(self, target: bytes, entry: Entry) -> None:
        """Keep an entry that another process has lent."""
        self._entries.put(target, entry)

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
            and (blob is None or (blob.parts if status == 206 else blob.whole) is None)
        )

    def has_room_for(self, length: int) -> bool:
        """Whether a body is short enough to be kept."""
        return length <= self._limits.body

    def offer(self, request: RegistryRequest, body: bytes, repeatable: Repeats) -> None:
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
            self._entries.put(request.target, Entry.of(answer, repeatable, shown_of(request)))

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
        if before is not None and before.blob.size == blob.size and before.blob.holds():
            whole, parts = whole or before.whole, parts or before.parts
        self._blobs.put(request.target, _BlobEntry(blob, shown_of(request), whole, parts))

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
        now = self._clock.seconds()
        repeatable = entry.repeatable
        if not (entry.is_fresh(now) and repeatable.serve()):
            self._entries.remove(target)
            return None
        if now // 1 != self._second:
            self._set_date(now)
        if repeatable.route is not None:
            self._metrics.response(repeatable.route, name, "200", 0.0)
        if self._log.wanted:
            sent = 0 if name == "HEAD" else len(entry.body)
            self._log.write_pieces(self._pieces(entry.shown, name, 200, sent, client, agent), now)
        return entry.response(now, self._date, head=name == "HEAD", last=closes), closes

    def _respond_with_blob(
        self, target: bytes, entry: _BlobEntry, method: str, fields: bytes, client: str
    ) -> tuple[bytes, bool] | None:
        blob = entry.blob
        answer: ReadyAnswer | ReadyParts | None = entry.whole
        part: tuple[int, int] | None = (0, blob.size if method == "GET" else 0)
        cut = cut_range(fields) if method == "GET" else None
        if cut is not None:
            fields, first, last = cut
            answer = entry.parts
            part = None if entry.parts is None else entry.parts.part(first, last)
        if answer is None or part is None or not self.has_room_for(part[1] - part[0]):
            return None
        try:
            agent, closes = parse_fields(fields)
        except NotSimple:
            return None
        data = blob.part(*part) if blob.holds() else None
        if data is None:
            self._blobs.remove(target)
            return None
        now = self._clock.seconds()
        if now // 1 != self._second:
            self._set_date(now)
        status = 200 if cut is None else 206
        self._metrics.response(blob.route, method, str(status), 0.0)
        self._part_bytes(len(data))
        if self._log.wanted:
            line = self._pieces(entry.shown, method, status, len(data), client, agent)
            self._log.write_pieces(line, now)
        if isinstance(answer, ReadyParts):
            return answer.head(self._date, *part, last=closes) + data, closes
        return answer.response(now, self._date, head=True, last=closes) + data, closes

    def _set_date(self, now: float) -> None:
        self._second = now // 1
        self._date = datetimeToString(now)

    def _make_pieces(
        self, said: Shown, method: str, status: int, sent: int, client: str, agent: str
    ) -> Pieces:
        uri, namespace, outcome = said
        return self._log.pieces(
            AccessEntry(
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
        )


def _headers(request: RegistryRequest) -> list[tuple[bytes, bytes]]:
    return [
        (name, value)
        for name, values in request.responseHeaders.getAllRawHeaders()
        for value in values
        # It is not about the content; `ReadyAnswer` adds it where it is needed.
        if (name, value) != _CLOSE
    ]
