"""A growing blob under every order of events that hypothesis can think of."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest
from oci_registry.streams import growing
from oci_registry.streams.follower import TransferFailed
from oci_registry.streams.growing import FLUSH_DELAY, GrowingBlob
from tests.support.streams import FakeFile, FakeProducer, ManualThread, Reader

TAIL = 5
SMALL = {"TAIL": TAIL, "BATCH": 8, "WINDOW": 16, "HIGH_WATER": 24, "UNSTORED_WINDOW": 32}

EVENTS = st.one_of(
    st.tuples(st.just("write"), st.integers(1, 20)),
    st.tuples(st.just("hash"), st.integers(1, 3)),
    st.tuples(st.just("file"), st.integers(1, 3)),
    st.tuples(st.just("tick"), st.just(0)),
    st.tuples(st.just("join"), st.integers(0, 150)),
    st.tuples(st.just("read"), st.integers(0, 9)),
    st.tuples(st.just("leave"), st.integers(0, 9)),
)
SENT = st.sampled_from(["right", "wrong", "short", "long"])


class World:
    """One blob, its threads, its file and everyone who reads it."""

    def __init__(self, size: int, sent: str, wrong_at: int, full_at: int | None) -> None:
        self.data = bytes(n % 251 for n in range(size))
        self.sent = {
            "right": self.data,
            "wrong": bytes(b ^ (n == wrong_at) for n, b in enumerate(self.data)),
            "short": self.data[:wrong_at],
            "long": self.data + b"more",
        }[sent]
        self.clock = Clock()
        self.hashing, self.reading = ManualThread(), ManualThread()
        self.file = FakeFile(self.reading)
        self.file.full_at = full_at
        self.readers: list[tuple[int, Reader]] = []

    def start(self, *, announced: bool) -> None:
        """Make the blob; its length may be announced."""
        size = len(self.data) if announced else None
        digest = Digest.of(self.data)
        self.blob = GrowingBlob(digest, size, self.file, self.hashing, self.clock)
        self.producer = FakeProducer(self.blob)
        self.blob.registerProducer(self.producer, True)

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
                self.readers.append((number, Reader(blob.follow(number), 1 + number % 7)))
        elif event == "read" and number < len(self.readers):
            self.readers[number][1].read(1 + number % 3)
        elif event == "leave" and number < len(self.readers):
            self.readers.pop(number)[1].source.close()

    def end(self) -> bool | None:
        """Let everything come to its end; return what `finish` says."""
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
        self.step()
        self.blob.release()
        for _ in range(len(self.sent) + 10):
            self.step()
        return verdict[0] if verdict else None

    def step(self) -> None:
        """Let threads and readers go on for a while."""
        self.hashing.run()
        self.reading.run()
        for _, reader in self.readers:
            reader.read()
        self.reading.run()


class Interleavings(SynchronousTestCase):
    """Any order of writes, batches, reads, arrivals and departures."""

    def setUp(self) -> None:
        for name, value in SMALL.items():
            self.patch(growing, name, value)

    @settings(max_examples=500)
    @given(
        size=st.integers(0, 150),
        sent=SENT,
        wrong_at=st.integers(0, 149),
        full_at=st.one_of(st.none(), st.integers(0, 150)),
        announced=st.booleans(),
        events=st.lists(EVENTS, max_size=60),
    )
    def test_readers_get_the_blob_or_fail(
        self,
        size: int,
        sent: str,
        wrong_at: int,
        full_at: int | None,
        announced: bool,
        events: list[tuple[str, int]],
    ) -> None:
        """Each reader has an exact piece of what was sent, and all of it only if it is verified."""
        world = World(size, sent, wrong_at, full_at)
        world.start(announced=announced)
        right = world.sent == world.data
        for event, number in events:
            world.happen(event, number)
            self.check_pieces(world)
        verdict = world.end()
        self.check_pieces(world)
        self.assertIsNotNone(verdict)
        if not right:
            self.assertFalse(verdict)
        elif not verdict:
            # The only excuse: it could not be stored, and nobody was there to read it.
            self.assertIsNotNone(world.blob.store_error)
            self.assertIn("nobody", str(world.blob.failure))
        for position, reader in world.readers:
            if verdict:
                self.assertIsNone(reader.error)
                self.assertTrue(reader.ended)
                self.assertEqual(reader.got, world.data[position:])
            else:
                self.assertIsInstance(reader.error, TransferFailed)
                self.assertFalse(reader.ended)
            reader.source.close()
        self.assertTrue(world.file.closed)
        self.assertEqual(world.clock.getDelayedCalls(), [])
        if verdict and world.blob.store_error is None:
            self.assertEqual(world.file.data, world.data)

    def check_pieces(self, world: World) -> None:
        """Nobody has a wrong byte more than was sent, or the tail of what is not verified."""
        blob = world.blob
        end = blob.size if blob.size is not None else blob.received
        allowed = len(world.sent) if blob.verified else max(0, end - TAIL)
        for position, reader in world.readers:
            self.assertEqual(reader.got, world.sent[position : position + len(reader.got)])
            if reader.got:
                self.assertLessEqual(position + len(reader.got), allowed)
