"""Patterns of images."""

from __future__ import annotations

from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.patterns import LONGEST, parse_pattern


class Patterns(SynchronousTestCase):
    """What is meant, and what is refused."""

    def test_matches(self) -> None:
        """A pattern without a tag means all tags; a star is any text."""
        for pattern, image, expected in (
            ("library/alpine", "library/alpine:3", True),
            ("library/alpine", "library/alpine2:3", False),
            ("library/alpine:3.*", "library/alpine:3.20", True),
            ("library/alpine:3.*", "library/alpine:3", False),
            ("library/alpine:3.*", "library/alpine:30", False),
            ("team/*", "team/a/b:x", True),
            ("team/*", "teams/a:x", False),
            ("*", "a:b", True),
            ("*/app:*-stable", "x/y/app:1-stable", True),
            ("*/app:*-stable", "x/y/app:-stables", False),
            ("ab*ba", "aba:1", False),
            ("A/b:V1", "a/b:V1", False),
        ):
            repository, _, tag = image.partition(":")
            self.assertEqual(parse_pattern(pattern).matches(repository, tag), expected, pattern)

    def test_refused(self) -> None:
        """Whatever could match nothing is refused with a reason."""
        for text in (
            "",
            "a b",
            "a:",
            ":1",
            "a:b:c",
            "a@sha256:0",
            "/a",
            "a\n",
            "x" * (LONGEST + 1),
        ):
            with self.assertRaises(ValueError):
                parse_pattern(text)
        with self.assertRaisesRegex(ValueError, "without a scheme"):
            parse_pattern("https://docker.io/a")

    @given(st.text("ab/*", min_size=1, max_size=12), st.text("ab/", min_size=1, max_size=12))
    def test_like_globs(self, pattern: str, name: str) -> None:
        """Stars work as those of shell patterns do."""
        if not pattern.startswith("/"):
            self.assertEqual(parse_pattern(pattern).matches(name, "x"), fnmatchcase(name, pattern))

    def test_time(self) -> None:
        """A pattern of many stars is no burden."""
        pattern = parse_pattern("a*" * 150 + "b")
        for _ in range(20):
            self.assertFalse(pattern.matches("a" * 255, "x"))
