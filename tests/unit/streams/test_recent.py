"""A bounded table."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.recent import RecentTable


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
