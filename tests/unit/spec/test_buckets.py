"""Names of buckets and prefixes of keys."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.buckets import MAX_PREFIX, is_host_name, parse_bucket, parse_prefix


class Buckets(SynchronousTestCase):
    """parse_bucket and is_host_name."""

    def test_names(self) -> None:
        """Today's names are taken as they are, and can be a part of a host."""
        for name in ("abc", "a-b.c-1", "0" * 63):
            self.assertEqual(parse_bucket(name), name)
            self.assertTrue(is_host_name(name))

    def test_old_names(self) -> None:
        """Names with upper case or underscores are taken, but cannot be a part of a host."""
        for name in ("Cache", "oci_registry"):
            self.assertEqual(parse_bucket(name), name)
            self.assertFalse(is_host_name(name))

    def test_refused(self) -> None:
        """What no server takes, and what would be more than a name in a URL, is refused."""
        for name in (
            "",
            "ab",
            "a" * 64,
            "a/b",
            "a b",
            ".ab",
            "ab-",
            "a..b",
            "a%2f",
            "äöü",
            "abc\n",
        ):
            error = self.assertRaises(ValueError, parse_bucket, name)
            self.assertIn("is not the name of a bucket", str(error))

    @given(st.text(max_size=70) | st.text("ab1.-_/", min_size=3, max_size=8))
    def test_anything(self, text: str) -> None:
        """Whatever is accepted is a single, plain part of a path."""
        try:
            name = parse_bucket(text)
        except ValueError:
            return
        self.assertNotIn("/", name)
        self.assertNotIn("..", name)
        self.assertTrue(name.isascii() and name.isprintable())


class Prefixes(SynchronousTestCase):
    """parse_prefix."""

    def test_usable(self) -> None:
        """One slash at the end is dropped, everything else stays."""
        for text, prefix in {
            "a": "a",
            "a/": "a",
            "team/cache.v1/x_y-(z)": "team/cache.v1/x_y-(z)",
            "...": "...",
            "x" * MAX_PREFIX: "x" * MAX_PREFIX,
        }.items():
            self.assertEqual(parse_prefix(text), prefix)

    def test_refused(self) -> None:
        """Empty parts, parts that walk and characters that need quoting are refused."""
        for text, reason in {
            "": "slash",
            "/": "slash",
            "/a": "slash",
            "a//b": "slash",
            "a//": "slash",
            ".": "'.'",
            "a/./b": "'.'",
            "a/../b": "'..'",
            "..": "'..'",
            "a b": "not a valid prefix",
            "a\\b": "not a valid prefix",
            "a?": "not a valid prefix",
            "a\n": "not a valid prefix",
            "ä": "not a valid prefix",
            "x" * (MAX_PREFIX + 1): "longer than",
        }.items():
            self.assertIn(reason, str(self.assertRaises(ValueError, parse_prefix, text)))

    @given(
        st.text(alphabet="a./\\ %", max_size=12)
        | st.lists(st.sampled_from(["a", "a.b", ".", "..", "", "%"]), max_size=4).map("/".join)
    )
    def test_anything(self, text: str) -> None:
        """Whatever is accepted has plain parts only."""
        try:
            prefix = parse_prefix(text)
        except ValueError:
            return
        self.assertFalse({"", ".", ".."} & set(prefix.split("/")))
