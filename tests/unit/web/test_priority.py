"""Requests of the lowest urgency are those that nobody waits for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.web.priority import is_background


class Priority(SynchronousTestCase):
    """is_background."""

    def test_values(self) -> None:
        """Only ``u=7`` is one, wherever it stands."""
        for value, expected in (
            ("u=7", True),
            ("u=7, i", True),
            ("i, u=7", True),
            ("i,u=7;x", True),
            ("u=3", False),
            ("u=77", False),
            ("xu=7", False),
            ("", False),
            (None, False),
        ):
            self.assertEqual(expected, is_background(value), value)

    @given(st.text())
    def test_anything(self, value: str) -> None:
        """Any text is read."""
        self.assertIn(is_background(value), (True, False))
