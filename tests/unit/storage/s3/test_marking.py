"""Folders in the order of their names, found in a bucket and in a directory that list them in another one."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.storage.drivers.s3.marking import marked_in_bucket
from oci_registry.storage.drivers.walking import marked_folders, split_marked

COMPONENT = st.text("a-.0b", min_size=1, max_size=3).filter(lambda text: text not in (".", ".."))
NAMES = st.sets(st.lists(COMPONENT, min_size=1, max_size=3).map("/".join), max_size=12)


class FakeBucket:
    """Keys, in pages of a few."""

    def __init__(self, keys: list[str], page: int) -> None:
        self.all = sorted(keys)
        self.page = page

    def keys(self, prefix: str, after: str) -> tuple[list[str], bool]:
        """Return a page."""
        found = [key for key in self.all if key.startswith(prefix) and key > after]
        return found[: self.page], len(found) > self.page


class Marking(SynchronousTestCase):
    """`marked_in_bucket` and `marked_folders`."""

    @settings(deadline=None)
    @given(NAMES, st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), COMPONENT)
    def test_bucket(self, names: set[str], page: int, limit: int, tags: int, last: str) -> None:
        """Whatever the names and the size of pages, all names after another one are found in order."""
        keys = [
            f"top/{name}/{mark}/{n}"
            for name in names
            for n in range(tags)
            for mark in ("_m", "_tags")
        ]
        bucket: Any = FakeBucket(keys, page)
        found: list[str] = []
        more = True
        while more:
            after = found[-1] if found else last
            some, more = marked_in_bucket(bucket, "top", "_tags", after, limit)
            self.assertTrue(1 <= len(some) <= limit or not more)
            found += some
        self.assertEqual(sorted(name for name in names if name > last), found)

    @settings(deadline=None, max_examples=40)
    @given(NAMES, st.integers(1, 4), COMPONENT)
    def test_directory(self, names: set[str], limit: int, last: str) -> None:
        """The same in a directory, of whose names only a few are in memory."""
        root = Path(mkdtemp(dir=Path(self.mktemp()).parent))
        for name in names:
            (root / name / "_tags").mkdir(parents=True)
            (root / name / "_tags" / "1").touch()
        (root / "file").touch()
        found: list[str] = []
        more = True
        while more:
            after = found[-1] if found else last
            some, more = marked_folders(root, "_tags", after, limit, at_once=2)
            found += some
        self.assertEqual(sorted(name for name in names if name > last), found)

    def test_split(self) -> None:
        """A key is in the first folder that is a mark, and in none if it is that itself."""
        for key, expected in (
            ("a/b/_tags/x", ("a/b", "_tags")),
            ("_m/x", ("", "_m")),
            ("a/_tags/x/_tags/y", ("a", "_tags")),
            ("a/_tags", None),
            ("a/b", None),
        ):
            self.assertEqual(expected, split_marked(key))
