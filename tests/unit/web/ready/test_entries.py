"""The sources of ready answers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.web.ready.entries import CONSTANT, Sources


class Numbers(SynchronousTestCase):
    """`Sources`."""

    def test_numbers(self) -> None:
        """A source is found by its number, and by its name."""
        sources: Sources[str] = Sources(3)
        numbers = [sources.put(name, name * 2) for name in "abc"]
        self.assertEqual([1, 2, 3], numbers)
        self.assertEqual(["aa", "bb", "cc"], [sources.get(number) for number in numbers])
        self.assertEqual((2, "bb"), sources.named("b"))
        self.assertEqual((None, None), (sources.get(4), sources.named("d")))

    def test_constant(self) -> None:
        """The constant source stays, however many others come."""
        sources = Sources(2, "constant")
        for name in "abcd":
            sources.put(name, name)
        self.assertEqual(("constant", None), (sources.get(CONSTANT), sources.named("")))
        self.assertIsNone(Sources[str](2).get(CONSTANT))

    def test_replaced(self) -> None:
        """One with the name of another has another number: answers of the former do not mean the new one."""
        sources: Sources[str] = Sources(3)
        first, second = sources.put("a", "x"), sources.put("a", "y")
        self.assertEqual((None, "y"), (sources.get(first), sources.get(second)))
        self.assertEqual((second, "y"), sources.named("a"))
        self.assertEqual(1, len(sources))

    def test_bounded(self) -> None:
        """Of too many the one whose name was not used for the longest time goes."""
        sources: Sources[str] = Sources(3)
        numbers = {name: sources.put(name, name) for name in "abc"}
        sources.named("a")
        numbers["d"] = sources.put("d", "d")
        self.assertEqual(3, len(sources))
        self.assertEqual(
            {"a": "a", "b": None, "c": "c", "d": "d"},
            {name: sources.get(number) for name, number in numbers.items()},
        )
        self.assertIsNone(sources.named("b"))
        # Replacing one removes no other.
        sources.put("c", "c")
        self.assertEqual(3, len(sources))
        self.assertEqual("a", sources.get(numbers["a"]))
