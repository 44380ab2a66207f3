"""What parameters may be, in queries and in JSON."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.admin.fields import Choice, Kind, Several, Text, Truth, Whole

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
KINDS: list[Kind] = [Text(5), Whole(1, 10), Truth(), Choice(("a", "b")), Several(Text(3), 2)]


class Reading(SynchronousTestCase):
    """Values from clients."""

    def test_good(self) -> None:
        """What is allowed is read, from both."""
        cases: list[tuple[Kind, str, object, object]] = [
            (Text(5), "abc", "abc", "abc"),
            (Whole(1, 10), "10", 10.0, 10),
            (Truth(), "true", True, True),
            (Choice(("a", "b")), "b", "b", "b"),
            (Several(Text(3), 2), "x", ["x"], ("x",)),
        ]
        for kind, text, value, expected in cases:
            self.assertEqual(expected, kind.from_text(text))
            self.assertEqual(expected, kind.from_json(value))

    def test_bad(self) -> None:
        """Everything else is refused, with a reason."""
        cases: list[tuple[Kind, list[str], list[object]]] = [
            (Text(5), ["", "abcdef", "a\0"], [1, None, ""]),
            (Whole(1, 10), ["0", "11", "-1", "1.0", "٣", "9" * 99], [0, 11, True, 1.5, "1"]),
            (Truth(), ["", "True", "1"], [1, "true", None]),
            (Choice(("a", "b")), ["", "c", "A"], [None, 1, "c"]),
            (Several(Text(3), 2), ["long"], ["x", ["a", "b", "c"], [1]]),
        ]
        for kind, texts, values in cases:
            for text in texts:
                self.assertTrue(str(self.assertRaises(ValueError, kind.from_text, text)))
            for value in values:
                self.assertTrue(str(self.assertRaises(ValueError, kind.from_json, value)))

    @given(st.sampled_from(KINDS), st.text(), JSON)
    def test_anything(self, kind: Kind, text: str, value: Any) -> None:
        """Nothing but ValueError is raised, for any input."""
        for read, given_ in ((kind.from_text, text), (kind.from_json, value)):
            try:
                read(given_)
            except ValueError as error:
                self.assertTrue(str(error))
