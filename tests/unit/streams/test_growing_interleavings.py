"""A growing blob under every order of events that hypothesis can think of."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.follower import LostPlace, TransferFailed
from tests import examples
from tests.support.streams import Reader
from tests.unit.streams.world import EVENTS, PLACES, SENT, TAIL, World, as_sent


class Interleavings(SynchronousTestCase):
    """Any order of writes, batches, reads, arrivals and departures."""

    @settings(max_examples=examples(5))
    @given(
        size=st.integers(0, 150),
        sent=SENT,
        wrong_at=st.integers(0, 149),
        full_at=PLACES,
        broken_at=PLACES,
        announced=st.booleans(),
        events=EVENTS,
    )
    @example(
        size=26,
        sent="right",
        wrong_at=0,
        full_at=0,
        broken_at=None,
        announced=False,
        events=[("write", 5), ("write", 20), ("join", 0)],
    )
    def test_readers_get_the_blob_or_fail(
        self,
        size: int,
        sent: str,
        wrong_at: int,
        full_at: int | None,
        broken_at: int | None,
        announced: bool,
        events: list[tuple[str, int]],
    ) -> None:
        """Each reader has an exact piece of what was sent, and all of it only if it is verified.

        It loses its place only where the file could not be read.
        """
        world = World(size)
        blob = world.download(
            as_sent(world.data, sent, wrong_at),
            announced=announced,
            full_at=full_at,
            broken_at=broken_at,
        )
        right = world.sent == world.data
        for event, number in events:
            world.happen(event, number)
            self.check_pieces(world)
        verdict = world.finish()
        world.close()
        self.check_pieces(world)
        if not right:
            self.assertFalse(verdict)
        elif not verdict:
            # The only excuse: it could not be stored, and nobody was there to read it.
            self.assertIsNotNone(blob.store_error)
            self.assertIn("no client", str(blob.failure))
        for position, reader in world.readers:
            if isinstance(reader.error, LostPlace):
                self.assertIsNotNone(broken_at)
                self.assertIsInstance(reader.error.cause, OSError)
            elif verdict:
                self.assertIsNone(reader.error)
                self.assertTrue(reader.ended)
                self.assertEqual(reader.got, world.data[position:])
            else:
                self.assertIsInstance(reader.error, TransferFailed)
                self.assertFalse(reader.ended)
            reader.source.close()
        self.assertTrue(world.file.closed)
        self.assertEqual(world.clock.getDelayedCalls(), [])
        if verdict and blob.store_error is None:
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

    @settings(max_examples=examples(3))
    @given(
        size=st.integers(0, 150),
        at=st.integers(0, 150),
        full_at=PLACES,
        events=EVENTS,
        later=EVENTS,
    )
    def test_every_follower_finds_every_byte(
        self,
        size: int,
        at: int,
        full_at: int | None,
        events: list[tuple[str, int]],
        later: list[tuple[str, int]],
    ) -> None:
        """A reader that was let in gets all bytes from its place on, however much of them is stored."""
        world = World(size)
        blob = world.download(world.data, full_at=full_at)
        for event, number in events:
            world.happen(event, number)
        if at > size or not blob.can_follow(at):
            return
        reader = Reader(blob.follow(at), 3)
        # First, so that nobody makes it leave.
        world.readers.insert(0, (at, reader))
        for event, number in later:
            if (event, number) != ("leave", 0):
                world.happen(event, number)
        world.finish()
        world.close()
        self.assertIsNone(reader.error)
        self.assertEqual(reader.got, world.data[at:])
