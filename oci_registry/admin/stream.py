"""Events of a daemon as server-sent events, in a response that does not end."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from oci_registry.admin.fields import Values
from oci_registry.admin.problems import Busy
from oci_registry.admin.requests import AdminRequest
from oci_registry.events import KINDS, Event, EventLog
from oci_registry.spec.errors import RegistryError
from oci_registry.web.client_watch import ClientWatch
from oci_registry.web.reply import Reply, Stream
from oci_registry.web.respond import respond

MEDIA_TYPE = "text/event-stream"
_HEADERS = {
    "Content-Type": MEDIA_TYPE,
    # nginx would hold events back until its buffer is full.
    "X-Accel-Buffering": "no",
}
_RETRY = b"retry: 2000\n\n"


@frozen
class StreamLimits:
    """*most*: concurrent streams. *waiting*: bytes that may wait for a reader; with more, it is cut off.

    *quiet*: seconds without an event after which a comment is sent, so that no proxy times out.
    """

    most: int = 32
    waiting: int = 256 * 1024
    quiet: float = 15.0


class ReadsTooSlowly(Exception):
    """Too many events wait for a reader."""

    def __init__(self) -> None:
        super().__init__("the reader of events is too slow")


def as_text(event: Event, stream: str) -> bytes:
    """Return an event in the format of server-sent events; *stream* is the first part of its id."""
    data = {
        "id": event.number,
        "time": event.time,
        "kind": event.kind,
        "fields": dict(event.fields),
    }
    text = json.dumps(data, separators=(",", ":"))
    return f"id: {stream}-{event.number}\nevent: {event.kind}\ndata: {text}\n\n".encode()


class EventSource:
    """The events for one reader, as a `Source`; `end` ends it."""

    def __init__(self, clock: IReactorTime, limits: StreamLimits) -> None:
        self._clock = clock
        self._limits = limits
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._slow = False
        self._waiting: Deferred[bytes] | None = None
        self._limit = 0
        self._comment: IDelayedCall | None = None
        self.closed: Callable[[], None] = lambda: None
        """Called when the source is closed."""

    def push(self, data: bytes) -> None:
        """Send *data* as soon as the reader takes it."""
        if self._ended or self._slow:
            return
        if self._size + len(data) > self._limits.waiting:
            self._slow = True
            self._pieces.clear()
            self._size = 0
        else:
            self._pieces.append(data)
            self._size += len(data)
        self._wake()

    def end(self) -> None:
        """End the stream after the waiting events."""
        self._ended = True
        self._wake()

    def cut(self) -> None:
        """End the stream at once."""
        self._pieces.clear()
        self._size = 0
        self.end()

    def read(self, limit: int) -> bytes | Deferred[bytes]:
        """Return waiting events, or a Deferred of the next one; ``b""`` at the end."""
        if self._slow:
            raise ReadsTooSlowly
        if self._pieces or self._ended:
            return self._take(limit)
        self._limit = limit
        self._waiting = Deferred(lambda _: self._forget())
        self._comment = self._clock.callLater(self._limits.quiet, self._fill_silence)
        return self._waiting

    def close(self) -> None:
        """Stop following. Idempotent."""
        self._ended = True
        self._pieces.clear()
        self._forget()
        closed, self.closed = self.closed, lambda: None
        closed()

    def _take(self, limit: int) -> bytes:
        found = []
        while self._pieces and len(self._pieces[0]) <= limit:
            found.append(self._pieces.popleft())
            limit -= len(found[-1])
        if not found and self._pieces:
            whole = self._pieces.popleft()
            self._pieces.appendleft(whole[limit:])
            found.append(whole[:limit])
        data = b"".join(found)
        self._size -= len(data)
        return data

    def _fill_silence(self) -> None:
        self._comment = None
        self.push(b":\n\n")

    def _forget(self) -> None:
        self._waiting = None
        if self._comment is not None:
            self._comment.cancel()
            self._comment = None

    def _wake(self) -> None:
        waiting = self._waiting
        if waiting is None:
            return
        self._forget()
        if self._slow:
            waiting.errback(ReadsTooSlowly())
        else:
            waiting.callback(self._take(self._limit))


class EventStreams:
    """All streams of events."""

    def __init__(
        self,
        events: EventLog,
        watch: ClientWatch,
        clock: IReactorTime,
        limits: StreamLimits = StreamLimits(),
    ) -> None:
        self._events = events
        self._watch = watch
        self._clock = clock
        self._limits = limits
        self._open: dict[EventSource, AdminRequest] = {}
        self._stopping = False
        # Numbers restart with each start of the daemon.
        self._name = f"{int(events.began * 1000):x}"

    def __len__(self) -> int:
        return len(self._open)

    async def serve(self, request: AdminRequest, values: Values) -> None:
        """Send events until the client leaves: those after ``Last-Event-ID`` that are kept, and new ones."""
        kinds = frozenset(values["kind"] or KINDS)
        if self._stopping or len(self._open) >= self._limits.most:
            raise Busy.retry_after("too many streams of events are open", 5)
        source = EventSource(self._clock, self._limits)
        self._open[source] = request
        source.push(_RETRY)
        after = self._after(request.getHeader("last-event-id"), values["recent"])
        for event in self._events.since(after):
            if event.kind in kinds:
                source.push(as_text(event, self._name))
        stop = self._events.follow(lambda event: source.push(as_text(event, self._name)), kinds)

        def closed() -> None:
            self._open.pop(source, None)
            stop()

        source.closed = closed
        await respond(request, Reply(200, _HEADERS, Stream(source, None)), self._watch)

    def _after(self, last: str | None, recent: int) -> int:
        """Return the number of the last event that the client has received."""
        stream, dash, number = (last or "").partition("-")
        if not dash:
            return max(self._events.last - recent, 0)
        if stream != self._name or not (number.isascii() and number.isdigit() and len(number) < 16):
            # The client has events of an earlier daemon: all events of this one are new.
            return 0
        return int(number)

    def check(self) -> None:
        """End the streams that would not be admitted any more, since the token has changed."""
        for source, request in list(self._open.items()):
            try:
                request.check_again(request)
            except RegistryError:
                source.cut()

    def stop(self) -> None:
        """End all streams, and accept no new ones."""
        self._stopping = True
        for source in list(self._open):
            source.end()
