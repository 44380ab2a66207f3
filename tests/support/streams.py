"""Threads, files, producers and consumers that a test moves by hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IConsumer, IProducer, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from oci_registry.streams.interfaces import FileSource, Source
from oci_registry.streams.limits import GrowingLimits

T = TypeVar("T")

LIMITS = GrowingLimits()
"""Those that a growing blob has unless a test says otherwise."""


def run_at_once(call: Callable[..., T], *args: object) -> Deferred[T]:
    """Be a `RunInThread` that has no thread: the call is made before this returns."""
    return execute(call, *args)


class ManualThread:
    """A `RunInThread` whose calls are made one by one, when the test says so."""

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], None]] = deque()

    def __call__(self, call: Callable[..., T], *args: object) -> Deferred[T]:
        done: Deferred[T] = Deferred()
        self.waiting.append(lambda: execute(call, *args).chainDeferred(done) and None)
        return done

    def step(self) -> bool:
        """Make the call that has waited longest; return whether there was one."""
        if not self.waiting:
            return False
        self.waiting.popleft()()
        return True

    def run(self) -> None:
        """Make all calls, those included that are added on the way."""
        while self.step():
            pass


class FakeFile:
    """A `GrowingFile` in memory: it may fail from some length on, and answer reads late, or not at all."""

    def __init__(self, run: Callable[..., Deferred[bytes]] | None = None) -> None:
        self.data = bytearray()
        self.full_at: int | None = None
        self.broken_at: int | None = None
        self.closed = False
        self.hanging: Deferred[None] | None = None
        self.reads = 0
        self.sockets: dict[int, bytearray] | None = None
        """What each socket has got; None if nothing can be sent."""
        self._run = run

    def append(self, data: bytes) -> None:
        """Write, as much as there is room for."""
        assert not self.closed
        if self.full_at is not None and len(self.data) + len(data) > self.full_at:
            self.data += data[: max(0, self.full_at - len(self.data))]
            raise OSError(28, "No space left on device")
        self.data += data

    def append_hangs(self, seconds: float, returned: Deferred[None]) -> Exception:
        """Note it, and what happens when it returns."""
        self.hanging = returned
        return OSError(110, f"Connection timed out after {seconds:g} s")

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        """Read at once, or when the thread given gets to it."""
        assert not self.closed
        self.reads += 1
        return (self._run or run_at_once)(self._get, offset, length)

    def read_now(self, offset: int, length: int) -> bytes | None:
        """Leave it to `read`."""
        return None

    def can_send(self, offset: int) -> bool:
        """Whether there is anything."""
        return self.sockets is not None and offset < len(self.data)

    def send_now(self, socket: int, offset: int, length: int) -> int:
        """Send, but not what cannot be read."""
        assert not self.closed
        try:
            data = self._get(offset, length)
        except OSError:
            return 0
        if self.sockets is None:
            return 0
        self.sockets[socket] += data
        return len(data)

    def _get(self, offset: int, length: int) -> bytes:
        if self.broken_at is not None and offset <= self.broken_at < offset + length:
            raise OSError(5, "Input/output error")
        return bytes(self.data[offset : offset + length])

    def close(self) -> None:
        """Note it."""
        self.closed = True


@implementer(IPushProducer)
class FakeProducer:
    """An upstream body that does what it is told and remembers it.

    When stopped, it takes its leave of the consumer it was given, as a `BodyPump` does.
    """

    def __init__(self, consumer: IConsumer | None = None) -> None:
        self.paused = False
        self.stopped = False
        self.calls: list[str] = []
        self._consumer = consumer

    def pauseProducing(self) -> None:
        """Pause."""
        self.paused = True
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        """Go on."""
        self.paused = False
        self.calls.append("resume")

    def stopProducing(self) -> None:
        """Stop for good."""
        self.stopped = True
        self.calls.append("stop")
        if self._consumer is not None:
            self._consumer.unregisterProducer()


@implementer(IConsumer)
class FakeConsumer:
    """Something that takes bytes, and may push back or stop after some of them."""

    def __init__(self, pause_every: int | None = None) -> None:
        self.chunks: list[bytes] = []
        self.producer: IPushProducer | None = None
        self.finished = False
        self.on_write: Callable[[], None] | None = None
        self._pause_every = pause_every

    @property
    def data(self) -> bytes:
        """All bytes so far."""
        return b"".join(self.chunks)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Take the producer, once."""
        assert streaming
        assert self.producer is None
        assert IPushProducer.providedBy(producer)
        self.producer = producer

    def unregisterProducer(self) -> None:
        """The end."""
        self.producer = None
        self.finished = True

    def write(self, data: bytes) -> None:
        """Keep the bytes; push back if so made."""
        assert data
        self.chunks.append(data)
        if self.on_write is not None:
            self.on_write()
        if self._pause_every is not None and len(self.chunks) % self._pause_every == 0:
            assert self.producer is not None
            self.producer.pauseProducing()


class Reader:
    """Read a source as far as it goes without waiting, each time it is told to.

    *got* is what came, *ended* that it was all, *error* why there will be no more.
    """

    def __init__(self, source: Source, limit: int = 256 * 1024) -> None:
        self.source = source
        self.got = bytearray()
        self.ended = False
        self.error: Exception | None = None
        self._limit = limit
        self._new = bytearray()
        self._reading: Deferred[bytes] | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.ended or self.error is not None

    def read(self, times: int = 1_000_000) -> bytes:
        """Read up to *times*; return what came since the last call, later arrivals included."""
        while times > 0 and not self.over and self._reading is None:
            times -= 1
            try:
                result = self.source.read(self._limit)
            except Exception as error:
                self.error = error
            else:
                if isinstance(result, Deferred):
                    self._reading = result
                    result.addCallbacks(self._came, self._failed)
                else:
                    self._came(result)
        new, self._new = bytes(self._new), bytearray()
        return new

    def _came(self, data: bytes) -> None:
        self._reading = None
        assert len(data) <= self._limit, "more than was asked for"
        self.got += data
        self._new += data
        self.ended = not data

    def _failed(self, failure: Failure) -> None:
        self._reading = None
        assert isinstance(failure.value, Exception)
        self.error = failure.value


class SendingReader(Reader):
    """Sends a source to a socket as far as it goes, as a `FileSender` does, and reads only the rest.

    *sockets*: those of the files; *number*: its own.
    """

    def __init__(
        self, source: FileSource, limit: int, sockets: dict[int, bytearray], number: int
    ) -> None:
        super().__init__(source, limit)
        self.sent = 0
        self._file = source
        self._number = number
        self._socket = sockets[number] = bytearray()
        self._waits = False

    def read(self, times: int = 1_000_000) -> bytes:
        """Send or read up to *times*; return what came since the last call."""
        while times > 0 and not (self.over or self._waits or self._reading is not None):
            times -= 1
            more = self._file.more()
            if more is not None:
                self._waits = True
                more.addCallback(self._wake)
            elif not (self._file.can_send() and self._send()):
                new = super().read(1)
                self._new = new + self._new
        new, self._new = self._new, b""
        return new

    def _wake(self, _: None) -> None:
        self._waits = False

    def _send(self) -> int:
        before = len(self._socket)
        count = self._file.send_now(self._number, self._limit)
        data = bytes(self._socket[before:])
        assert len(data) == count
        self.sent += count
        self.got += data
        self._new += data
        return count
