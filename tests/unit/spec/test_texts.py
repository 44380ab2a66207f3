"""Text that is made fit for a line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.texts import cut, escaped, one_line


class Texts(SynchronousTestCase):
    """cut, one_line and escaped."""

    def test_cut(self) -> None:
        """A text that is too long ends in dots."""
        self.assertEqual("abc", cut("abc", 3))
        self.assertEqual("abc...", cut("abcd", 3))

    def test_one_line(self) -> None:
        """What cannot be printed becomes spaces, or visible escapes."""
        text = "a\r\nb\x1b[0m\u2028ä"
        self.assertEqual("a  b [0m ä", one_line(text))
        self.assertEqual("a\\r\\nb\\x1b[0m\\u2028ä", escaped(text))

    @given(st.text())
    def test_any(self, text: str) -> None:
        """The result is one line of printable characters, and such a line stays as it is."""
        for shown in (one_line(text), escaped(text)):
            self.assertTrue(shown.isprintable())
            self.assertEqual((shown, shown), (one_line(shown), escaped(shown)))
