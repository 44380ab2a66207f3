"""One blob, its downloads, their threads and files, and everyone who reads it: moved by hand."""

from __future__ import annotations

from hypothesis import strategies as st
from twisted.internet.task import Clock

from oci_registry.spec.digest import Digest
from oci_registry.streams.batches import FLUSH_DELAY
from oci_registry.streams.follower import Follower
from oci_registry.streams.growing import GrowingBlob
from oci_registry.streams.limits import GrowingLimits
from tests.support.generated import evenly, events
from tests.support.streams import FakeFile, FakeProducer, ManualThread, Reader, SendingReader

TAIL = 5
BATCH = 8
SMALL = GrowingLimits(tail=TAIL, batch=BATCH, window=16, high_water=24, unstored_window=32)
"""A few bytes are a lot."""

EVENTS = st.lists(
    evenly(
        events("write", range(1, 21)),
        events("hash", range(1, 4)),
        events("file", range(1, 4)),
        events("tick"),
        events("join", range(151)),
        events("read", range(10)),
        events("leave", range(10)),
    ),
    max_size=60,
)
SENT = st.sampled_from(["right", "wrong", "short", "long"])
PLACES = st.one_of(st.none(), st.integers(0, 150))


def as_sent(data: bytes, how: str, where: int) -> bytes:
    """Return what an upstream sends for *data*."""
    return {
        "right": data,
        "wrong": bytes(b ^ (n == where) for n, b in enumerate(data)),
        "short": data[:where],
        "long": data + b"more",
    }[how]


class World:
    """A blob of *size* bytes."""

    def __init__(self, size: int) -> None:
        self.data = bytes(n % 251 for n in range(size))
        self.clock = Clock()
        self.hashing, self.reading = ManualThread(), ManualThread()
        self.files: list[FakeFile] = []
        self.readers: list[tuple[int, Reader]] = []
        self.sockets: dict[int, bytearray] = {}

    def download(
        self,
        sent: bytes,
        *,
        announced: bool = True,
        full_at: int | None = None,
        broken_at: int | None = None,
    ) -> GrowingBlob:
        """Begin a download of *sent*; its length may be announced, its file may fail at some places."""
        self.sent = sent
        self.file = FakeFile(self.reading)
        self.file.full_at = full_at
        self.file.broken_at = broken_at
        self.file.sockets = self.sockets
        self.files.append(self.file)
        size = len(self.data) if announced else None
        self.blob = GrowingBlob(
            Digest.of(self.data), size, self.file, self.hashing, self.clock, limits=SMALL
        )
        self.producer = FakeProducer(self.blob)
        self.blob.registerProducer(self.producer, True)
        return self.blob

    def happen(self, event: str, number: int) -> None:
        """Let something happen."""
        blob = self.blob
        if event == "write" and not (self.producer.paused or self.producer.stopped):
            position = blob.received
            blob.write(self.sent[position : position + number])
        elif event in ("hash", "file"):
            for _ in range(number):
                (self.hashing if event == "hash" else self.reading).step()
        elif event == "tick":
            self.clock.advance(FLUSH_DELAY)
        elif event == "join":
            if number <= len(self.data) and blob.can_follow(number):
                self.readers.append((number, self.reader(blob.follow(number), number)))
        elif event == "read" and number < len(self.readers):
            self.readers[number][1].read(1 + number % 3)
        elif event == "leave" and number < len(self.readers):
            self.readers.pop(number)[1].source.close()

    def reader(self, follower: Follower, number: int) -> Reader:
        """Return one that sends what it can, or one that reads everything."""
        limit = 1 + number % 7
        if number % 2:
            return SendingReader(follower, limit, self.sockets, len(self.sockets))
        return Reader(follower, limit)

    def finish(self) -> bool:
        """Let upstream send the rest; return whether it was right. Nothing reads while it is judged."""
        for _ in range(4 * len(self.sent) + 10):
            self.happen("write", 7)
            self.clock.advance(FLUSH_DELAY)
            self.step()
            if self.producer.stopped or self.blob.received >= len(self.sent):
                break
        if not self.producer.stopped:
            self.blob.unregisterProducer()
        verdict: list[bool] = []
        self.blob.finish().addCallback(verdict.append)
        # A comparison needs both, in turns.
        for _ in range(len(self.sent) + 10):
            self.hashing.run()
            self.reading.run()
            if verdict and not self.hashing.waiting:
                break
        return verdict[0]

    def close(self) -> None:
        """Let everybody read to the end, and the transfer be over."""
        if self.blob.wrong is not None:
            self.blob.fail(self.blob.wrong)
        self.blob.release()
        for _ in range(len(self.data) + 10):
            self.step()
            if not self.hashing.waiting and all(reader.over for _, reader in self.readers):
                break

    def step(self) -> None:
        """Let threads and readers continue for a while."""
        self.hashing.run()
        self.reading.run()
        for _, reader in self.readers:
            reader.read()
        self.reading.run()
