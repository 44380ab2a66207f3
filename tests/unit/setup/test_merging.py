"""Lists in files of others."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.setup.merging import texts, url_first
from oci_registry.setup.nouns import Unusable


class Lists(SynchronousTestCase):
    """What is put into a list."""

    def test_texts(self) -> None:
        """A list of texts is copied, and nothing is an empty list."""
        given = ["a", "b"]
        copy = texts(given, "/f", "k")
        self.assertEqual(copy, given)
        self.assertIsNot(copy, given)
        self.assertEqual(texts(None, "/f", "k"), [])

    def test_no_texts(self) -> None:
        """Anything else cannot be merged with."""
        for value in ("http://a", ["a", 1], {"a": "b"}, False, 0):
            error = self.assertRaises(Unusable, texts, value, "/f", "k")
            self.assertEqual((error.path, error.reason), ("/f", "k must be a list of texts"))

    def test_first(self) -> None:
        """A URL that is not in the list yet comes first."""
        self.assertEqual(url_first("http://m", []), ["http://m"])
        self.assertEqual(url_first("http://m", ["http://a"]), ["http://m", "http://a"])

    def test_there(self) -> None:
        """A URL that is there stays where it is, however it is spelt."""
        for known in (["http://a", "http://m"], ["http://m/"], ["HTTP://M"]):
            self.assertEqual(url_first("http://m", known), known)
