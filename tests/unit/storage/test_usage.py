"""When objects were last used."""

from __future__ import annotations

from oci_registry.storage.usage import GRANULARITY, Usage
from tests.unit.storage.support import NOW, StoreTestCase


class UsageTests(StoreTestCase):
    """Uses of one object, or of many."""

    def setUp(self) -> None:
        super().setUp()
        self.touches: list[tuple[str, float]] = []
        self.driver.place("a", b"", sealed=True)
        touch = self.driver.touch

        def count(key: str, used: float) -> object:
            self.touches.append((key, used))
            return touch(key, used)

        self.patch(self.driver, "touch", count)

    def test_exact_in_memory(self) -> None:
        """In memory, the last use is known exactly; the medium may know of a later one."""
        self.assertEqual(self.usage.last("a", 5.0), 5.0)
        for _ in range(3):
            self.clock.advance(1)
            self.usage.used("a")
            self.assertEqual(self.usage.last("a", 5.0), self.clock.seconds())
        self.assertEqual(self.usage.last("a", NOW + 9), NOW + 9)

    def test_to_the_minute_on_the_medium(self) -> None:
        """On the medium, an object is touched at most once a minute, however often it is used."""
        for _ in range(int(3 * GRANULARITY)):
            self.usage.used("a")
            self.clock.advance(1)
        self.assertEqual(self.touches, [("a", NOW + n * GRANULARITY) for n in range(3)])
        self.assertEqual(self.used("a"), NOW + 2 * GRANULARITY)

    def test_inherited(self) -> None:
        """An object counts as used when something that needs it was, unless it was used later."""
        self.usage.inherit("a", NOW - 100)
        self.assertEqual((self.usage.last("a", 0.0), self.used("a")), (NOW - 100, NOW - 100))
        self.usage.inherit("a", NOW - 200)
        self.assertEqual(self.usage.last("a", 0.0), NOW - 100)
        self.usage.used("a")
        self.usage.inherit("a", NOW - 1)
        self.assertEqual((self.usage.last("a", 0.0), self.used("a")), (NOW, NOW))

    def test_forgotten(self) -> None:
        """What is gone has not been used, and its next use is written down at once."""
        self.usage.used("a")
        self.usage.forget("a")
        self.usage.forget("a")
        self.assertEqual(self.usage.last("a", 0.0), 0.0)
        self.usage.used("a")
        self.assertEqual(len(self.touches), 2)

    def test_medium_fails(self) -> None:
        """A medium that cannot write the time down does not disturb the use."""
        self.driver.broken = "I/O error"
        self.usage.used("a")
        self.usage.inherit("b", NOW)
        self.assertEqual(self.usage.last("a", 0.0), NOW)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_bounded(self) -> None:
        """No more than so many uses are remembered, noted or inherited; the oldest go first."""
        self.usage = Usage(self.driver, self.clock, remembered=3)
        for number in range(5):
            self.usage.used(str(number))
        known = [n for n in range(5) if self.usage.last(str(n), 0.0)]
        self.assertEqual(known, [2, 3, 4])
        for number in range(5, 9):
            self.usage.inherit(str(number), NOW)
        known = [n for n in range(9) if self.usage.last(str(n), 0.0)]
        self.assertEqual(known, [6, 7, 8])

    def test_began(self) -> None:
        """It knows since when it has watched."""
        self.clock.advance(10)
        self.assertEqual(self.usage.began, NOW)
