"""The lowest versions of dependencies."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tools.lowest import lowest


class Lowest(SynchronousTestCase):
    """lowest."""

    def test_pinned(self) -> None:
        """Each requirement is pinned to its bound, without its extras and our own."""
        given = ["attrs>=23.1", "twisted[tls]>=25.5", "zope.interface>=7.1", "oci-registry[s3]"]
        expected = ["attrs==23.1", "twisted==25.5", "zope.interface==7.1"]
        self.assertEqual(expected, list(lowest(given)))

    def test_without_a_bound(self) -> None:
        """A requirement without a lower bound, or with more than one, is an error."""
        for requirement in ("attrs", "attrs>=23.1,<24", "attrs==23.1"):
            with self.assertRaises(ValueError):
                list(lowest([requirement]))
