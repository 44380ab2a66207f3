"""A bounded table."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.recent import RecentTable, RecentValues


class Table(SynchronousTestCase):
    """RecentTable."""

    def table(self, entries: int = 3, weight: int = 10) -> RecentTable[str, str]:
        return RecentTable(entries, weight, lambda key, value: len(key) + len(value))

    def test_number(self) -> None:
        """Of too many entries the one that was not used for the longest time goes."""
        table = self.table()
        for key in "abc":
            table.put(key, "")
        self.assertEqual("", table.get("a"))
        table.put("d", "")
        self.assertEqual(["c", "a", "d"], [key for key, _ in table.find(lambda _: True)])
        self.assertIsNone(table.get("b"))

    def test_weight(self) -> None:
        """Of too heavy ones too; the newest is kept, whatever it weighs."""
        table = self.table()
        table.put("a", "1234")
        table.put("b", "1234")
        self.assertEqual((2, 10), (len(table), table.weight))
        table.put("c", "")
        self.assertIsNone(table.get("a"))
        table.put("d", "x" * 100)
        self.assertEqual((1, 101), (len(table), table.weight))

    def test_replaced(self) -> None:
        """A key has one value; what is not there can be removed."""
        table = self.table()
        table.put("a", "1")
        table.put("a", "12")
        self.assertEqual(("12", 3), (table.get("a"), table.weight))
        table.remove("a")
        table.remove("a")
        self.assertEqual((0, 0), (len(table), table.weight))

    @given(st.lists(st.tuples(st.sampled_from("abcdef"), st.text(max_size=12))))
    def test_anything(self, pairs: list[tuple[str, str]]) -> None:
        """Whatever is put in, the bounds hold, the weight is right, the last one is there."""
        table = self.table()
        for key, value in pairs:
            table.put(key, value)
            self.assertEqual(value, table.get(key))
            entries = table.find(lambda _: True)
            self.assertEqual(table.weight, sum(len(k) + len(v) for k, v in entries))
            self.assertTrue(len(table) == 1 or (len(table) <= 3 and table.weight <= 10))


class Values(SynchronousTestCase):
    """RecentValues."""

    def test_number(self) -> None:
        """Of too many values those that were not used for the longest time go."""
        values: RecentValues[int] = RecentValues(3)
        for number, name in enumerate("abc"):
            values.put(name, number)
        self.assertTrue(values.is_full)
        self.assertEqual((0, 1), (values.get("a"), values.peek("b")))
        values.put("d", 3)
        self.assertEqual(["c", "a", "d"], list(values))
        self.assertEqual((None, False), (values.get("b"), "b" in values))

    def test_many(self) -> None:
        """Of a large table some go at once, and no more than it has."""
        values: RecentValues[int] = RecentValues(160)
        for number in range(1000):
            values.put(str(number), number)
            self.assertLessEqual(len(values), 160)
            self.assertGreaterEqual(len(values), min(number + 1, 150))
            self.assertIn(str(max(0, number - 149)), values)

    def test_replaced(self) -> None:
        """A name has one value, which may be 0; what is not there can be removed."""
        values: RecentValues[int] = RecentValues(3)
        values.put("a", 1)
        values.put("a", 0)
        self.assertEqual((0, 0, 1), (values.get("a"), values.peek("a"), len(values)))
        values.remove("a")
        values.remove("a")
        self.assertIsNone(values.get("a"))
        values.put("b", 2)
        self.assertEqual({"b": 2}, values.entries())
        values.clear()
        self.assertEqual(0, len(values))
