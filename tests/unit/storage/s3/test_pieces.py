"""Pieces of objects in memory: what is fetched, when, by whom it is shared, and what is dropped."""

from __future__ import annotations

from array import array
from contextlib import ExitStack

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.storage.drivers.s3.limits import MIB, PieceLimits
from oci_registry.storage.drivers.s3.pieces import Fetched, OpenObject, Pieces
from oci_registry.storage.interfaces import ObjectInfo, StoreError

LARGEST = 8 * MIB
SMALLEST = 256 * 1024
TINY = PieceLimits(first=64, largest=64, smallest=8, budget=256)


def content(start: int, stop: int) -> bytes:
    """Return the bytes of every object between two offsets: each tells its place."""
    first, last = start // 4, -(-stop // 4)
    words = array("I", range(first, last))
    return words.tobytes()[start - 4 * first : stop - 4 * first]


class PiecesTestCase(SynchronousTestCase):
    """Objects whose bytes come when the test says so."""

    limits = PieceLimits(first=LARGEST)
    content = staticmethod(content)

    def setUp(self) -> None:
        self.use(self.limits)

    def use(self, limits: PieceLimits) -> None:
        """Begin with nothing."""
        self.pieces = Pieces(limits)
        self.fetches: list[tuple[int, int, Deferred[Fetched]]] = []

    def opened(self, size: int, key: str = "key", start: int = 0, data: bytes = b"") -> OpenObject:
        """Return an object that is open for one reader."""

        def fetch(first: int, last: int) -> Deferred[Fetched]:
            arriving: Deferred[Fetched] = Deferred()
            self.fetches.append((first, last, arriving))
            return arriving

        info = ObjectInfo(key, size, 0.0, True)
        opened = OpenObject(self.pieces, info, fetch, start, Fetched(data))
        self.pieces.enter(opened)
        return opened

    def asked(self) -> list[tuple[int, int]]:
        """Return what is being fetched."""
        return [(start, stop) for start, stop, _ in self.fetches]

    def arrive(self, seconds: float = 0.0) -> None:
        """Let everything that is being fetched arrive, after so long."""
        arriving, self.fetches = self.fetches, []
        for start, stop, waiter in arriving:
            waiter.callback(Fetched(self.content(start, stop), seconds))

    def get(self, opened: OpenObject, offset: int, length: int, stop: int) -> bytes:
        """Read, letting everything arrive."""
        reading = opened.read(offset, length, stop)
        if not reading.called:
            self.arrive()
        return self.successResultOf(reading)


class Reading(PiecesTestCase):
    """One object."""

    def test_one_ahead(self) -> None:
        """A read fetches a piece, and the next one while the first is sent; no more than that."""
        size = 3 * LARGEST
        opened = self.opened(size)
        reading = opened.read(0, 100, size)
        self.assertEqual(self.asked(), [(0, LARGEST), (LARGEST, 2 * LARGEST)])
        self.arrive()
        self.assertEqual(self.successResultOf(reading), content(0, 100))
        self.assertEqual(opened.at_hand(LARGEST - 4, 100, size), content(LARGEST - 4, LARGEST))
        self.assertEqual(self.asked(), [])
        self.assertEqual(opened.at_hand(LARGEST, 4, size), content(LARGEST, LARGEST + 4))
        self.assertEqual(self.asked(), [(2 * LARGEST, size)])

    def test_passed(self) -> None:
        """Where one reader has been, nothing is kept."""
        size = 3 * LARGEST
        opened = self.opened(size)
        self.get(opened, 0, 4, size)
        self.get(opened, LARGEST, 4, size)
        self.arrive()
        self.assertIsNone(opened.at_hand(0, 4, size))
        self.assertEqual(self.pieces.held, 2 * LARGEST)

    def test_no_further_than_wanted(self) -> None:
        """A small part is all that is fetched for a client that wants no more."""
        opened = self.opened(3 * LARGEST)
        self.assertEqual(self.get(opened, 5000, 100, 5100), content(5000, 5100))
        self.assertEqual(self.pieces.held, 100)
        self.assertEqual(self.asked(), [])

    def test_beyond_the_end(self) -> None:
        """Beyond the end there is nothing, and it is not asked for."""
        opened = self.opened(10)
        self.assertEqual(self.successResultOf(opened.read(10, 4, 10)), b"")
        self.assertEqual(opened.at_hand(99, 4, 10), b"")
        self.assertEqual(self.get(opened, 8, 4, 10), content(8, 10))
        self.assertEqual(self.asked(), [])

    def test_what_opening_gave(self) -> None:
        """What came with the opening is not fetched again."""
        opened = self.opened(1000, start=100, data=content(100, 300))
        self.assertEqual(opened.at_hand(150, 10, 300), content(150, 160))
        self.assertEqual(self.asked(), [])
        self.assertIsNone(opened.at_hand(0, 10, 100))

    def test_shared(self) -> None:
        """Two readers of one place cost one fetch, and a gap is fetched up to what is there."""
        opened = self.opened(1000, start=500, data=content(500, 600))
        first, second = opened.read(400, 10, 600), opened.read(400, 50, 600)
        third = opened.read(450, 10, 600)
        self.assertEqual(self.asked(), [(400, 500)])
        self.arrive()
        self.assertEqual(self.successResultOf(first), content(400, 410))
        self.assertEqual(self.successResultOf(second), content(400, 450))
        self.assertEqual(self.successResultOf(third), content(450, 460))

    def test_failure(self) -> None:
        """A fetch that fails fails those who wait for it; anyone who comes later has it fetched again."""
        opened = self.opened(1000)
        readings = [opened.read(0, 10, 1000) for _ in range(2)]
        self.fetches.pop()[2].errback(StoreError("gone"))
        for reading in readings:
            self.failureResultOf(reading, StoreError)
        self.assertEqual(self.pieces.held, 0)
        self.assertEqual(self.get(opened, 0, 10, 1000), content(0, 10))

    def test_fails_at_once(self) -> None:
        """A fetch may fail before it has begun."""
        opened = self.opened(1000)
        self.patch(opened, "_fetch", lambda *_: fail(StoreError("down")))
        self.failureResultOf(opened.read(0, 10, 1000), StoreError)

    def test_leaving(self) -> None:
        """A reader that stops waiting leaves alone; the others still get the bytes."""
        opened = self.opened(1000)
        leaving, staying = opened.read(0, 10, 1000), opened.read(0, 10, 1000)
        leaving.cancel()
        self.failureResultOf(leaving)
        self.arrive()
        self.assertEqual(self.successResultOf(staying), content(0, 10))

    def test_closed_while_it_comes(self) -> None:
        """What arrives after the last reader has left is not kept."""
        opened = self.opened(1000)
        opened.read(0, 10, 1000).addErrback(lambda _: None)
        self.pieces.leave(opened)
        self.arrive()
        self.assertEqual((self.pieces.held, self.pieces.current("key")), (0, None))

    @given(st.data())
    def test_any_order(self, data: st.DataObject) -> None:
        """Reads in any order get the bytes of their position."""
        first, budget = (
            data.draw(st.sampled_from([8, 64])),
            data.draw(st.sampled_from([16, 128, 1024])),
        )
        self.use(evolve(TINY, first=first, budget=budget))
        size = data.draw(st.integers(1, 500))
        objects = [self.opened(size, str(n)) for n in range(data.draw(st.integers(1, 4)))]
        for _ in range(data.draw(st.integers(1, 30))):
            opened = data.draw(st.sampled_from(objects))
            offset = data.draw(st.integers(0, size - 1))
            stop = data.draw(st.integers(offset + 1, size))
            length = data.draw(st.integers(1, 100))
            got = self.get(opened, offset, length, stop)
            self.assertTrue(got)
            self.assertEqual(got, content(offset, offset + len(got)))
            self.assertLessEqual(len(got), length)
        self.arrive()
        for opened in objects:
            self.pieces.leave(opened)
        self.assertEqual(self.pieces.held, 0)


class Growing(PiecesTestCase):
    """The first piece is small, the next ones are as large as the server is fast."""

    limits = PieceLimits(first=MIB // 2, seconds=2.0)

    @staticmethod
    def content(start: int, stop: int) -> bytes:
        """Return bytes of which only the number matters."""
        return bytes(stop - start)

    def lengths(self, seconds: float, size: int = 100 * MIB) -> list[int]:
        """Read an object whose pieces take so long each; return their lengths after the first."""
        opened = self.opened(size, data=content(0, MIB // 2))
        made: list[int] = []
        position = MIB // 2
        while position < size and len(made) < 40:
            reading = opened.read(position, 4, size)
            made += [stop - start for start, stop in self.asked()]
            position += sum(stop - start for start, stop in self.asked())
            self.arrive(seconds)
            self.successResultOf(reading)
        return made

    def test_fast(self) -> None:
        """From a fast server 100 MiB come in 16 pieces, no more than three of them small."""
        lengths = self.lengths(0.1)
        self.assertEqual(lengths[:2], [2 * MIB, 2 * MIB])
        self.assertEqual(lengths[2], 8 * MIB)
        self.assertLessEqual(1 + len(lengths), 16)

    def test_slow(self) -> None:
        """From a slow one they become smaller until each takes no longer than it should."""
        opened = self.opened(20 * MIB, data=content(0, MIB // 2))
        reading = opened.read(4 * MIB, 4, 20 * MIB)
        before = self.asked()[0]
        self.arrive(8.0)
        self.successResultOf(reading)
        opened.read(15 * MIB, 4, 20 * MIB)
        after = self.asked()[0]
        self.assertEqual((before[1] - before[0]) // 4, after[1] - after[0])

    def test_never_smaller_than_the_smallest(self) -> None:
        """Pieces do not become smaller than what is asked for at once, however slow the server is."""
        opened = self.opened(20 * MIB)
        reading = opened.read(4 * MIB, 4, 20 * MIB)
        self.arrive(1000.0)
        self.successResultOf(reading)
        opened.read(15 * MIB, 4, 20 * MIB)
        start, stop = self.asked()[0]
        self.assertEqual(stop - start, SMALLEST)


class Budget(PiecesTestCase):
    """Many objects."""

    def test_share(self) -> None:
        """The more objects are open, the smaller are their pieces, down to what is sent at once."""
        self.assertEqual(self.pieces.share, LARGEST)
        opened = [self.opened(1, str(n)) for n in range(16)]
        self.assertEqual(self.pieces.share, 2 * MIB)
        for count, share in ((16, MIB), (10_000, SMALLEST)):
            with ExitStack() as stack:
                for _ in range(count):
                    stack.enter_context(self.pieces.opening_one())
                self.assertEqual(self.pieces.share, share)
        for one in opened:
            self.pieces.leave(one)
        self.assertEqual(self.pieces.share, LARGEST)

    def test_bounded(self) -> None:
        """However many read, however slowly, no more than the budget is held."""
        self.use(TINY)
        objects = [self.opened(10_000, str(n)) for n in range(50)]
        for offset in range(0, 200, 8):
            for opened in objects:
                self.assertEqual(self.get(opened, offset, 8, 10_000), content(offset, offset + 8))
                self.arrive()
                self.assertLessEqual(self.pieces.held, 256 + 8)

    def test_the_longest_unseen_goes(self) -> None:
        """What goes is what nobody has looked at for longest; its reader fetches it again."""
        self.use(PieceLimits(budget=300))
        objects = [self.opened(100, str(n), data=content(0, 100)) for n in range(3)]
        self.assertEqual(objects[0].at_hand(0, 4, 100), content(0, 4))
        self.opened(100, "new", data=content(0, 100))
        self.assertIsNone(objects[1].at_hand(0, 4, 100))
        for opened in (objects[0], objects[2]):
            self.assertEqual(opened.at_hand(0, 4, 100), content(0, 4))
        self.assertEqual(self.get(objects[1], 50, 4, 100), content(50, 54))

    def test_what_opening_gave_goes_too(self) -> None:
        """The bytes that came when an object was opened leave memory when they are dropped."""
        gone: list[str] = []

        class Watched(bytes):
            """Bytes that record when they are freed."""

            def __del__(self) -> None:
                gone.append("gone")

        opened = self.opened(300, data=Watched(content(0, 100)))
        self.get(opened, 0, 4, 100)
        self.assertEqual(gone, [])
        self.get(opened, 100, 4, 300)
        self.assertEqual(gone, ["gone"])

    def test_current(self) -> None:
        """A later caller shares what is open, until it is replaced."""
        first = self.opened(10)
        self.assertIs(self.pieces.current("key"), first)
        self.pieces.forget("key")
        self.assertIsNone(self.pieces.current("key"))
        second = self.opened(20)
        self.pieces.leave(first)
        self.assertIs(self.pieces.current("key"), second)
