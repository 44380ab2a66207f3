"""The record of the platforms that clients use."""

from __future__ import annotations

import json
import string
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.platforms import Platform
from oci_registry.storage.drivers.memory import MemoryDriver
from oci_registry.storage.platforms import KEY, PlatformStore, Used, read, written

T = TypeVar("T")
ARM, AMD = Platform("linux", "arm64", "v8"), Platform("linux", "amd64")
_FIRST = string.ascii_lowercase + string.digits
# The same as of a regular expression, in a fraction of the time.
words = st.text(_FIRST + "._-", min_size=1, max_size=20).map(
    lambda text: text if text[0] in _FIRST else "a" + text[1:]
)
platforms = st.builds(Platform, words, words, st.just("") | words)
repositories = st.tuples(words, st.lists(words, min_size=1, max_size=3).map("/".join))
used = st.dictionaries(
    repositories, st.lists(platforms, min_size=1, max_size=8, unique=True).map(tuple), max_size=6
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Records(SynchronousTestCase):
    """read, written."""

    @given(used)
    def test_round_trip(self, known: Used) -> None:
        """What is written is read again, in the same order."""
        self.assertEqual(list(known.items()), list(read(written(known)).items()))

    @given(used, st.integers(0, 700))
    def test_size(self, known: Used, largest: int) -> None:
        """The record is never larger than that; what comes first stays."""
        stored = written(known, largest)
        self.assertLessEqual(len(stored), max(largest, 100))
        found = read(stored)
        self.assertEqual(list(known.items())[: len(found)], list(found.items()))

    @given(st.binary() | anything.map(lambda value: json.dumps({"platforms": value}).encode()))
    def test_any_bytes(self, stored: bytes) -> None:
        """Whatever is stored, nothing fails."""
        for (namespace, repository), found in read(stored).items():
            self.assertTrue(namespace and repository and found)

    def test_parts(self) -> None:
        """What cannot be read is left out, and so is what is too much."""
        many = [f"linux/a{number}" for number in range(20)]
        document: dict[str, Any] = {
            "docker.io/library/x": ["linux/arm64/v8", 7, "no", "linux/arm64/v8", "linux/amd64"],
            "docker.io/library/y": many,
            "docker.io": ["linux/amd64"],
            "/x": ["linux/amd64"],
            "quay.io/z": "linux/amd64",
            "quay.io/e": [],
        }
        found = read(json.dumps({"platforms": document}).encode())
        self.assertEqual((ARM, AMD), found["docker.io", "library/x"])
        self.assertEqual(8, len(found["docker.io", "library/y"]))
        self.assertEqual(2, len(found))
        for wrong in (b"[" * 100_000, b"[]", b'{"platforms":[]}', b"\xff", b"{}"):
            self.assertEqual({}, read(wrong))


class Stored(SynchronousTestCase):
    """PlatformStore."""

    def test_store(self) -> None:
        """It is loaded as it was saved; none is nothing."""
        driver = MemoryDriver(Clock())
        store = PlatformStore(driver)
        self.assertEqual({}, self.successResultOf(_done(store.load())))
        self.successResultOf(_done(store.save({("quay.io", "x"): (ARM, AMD)})))
        expected = {("quay.io", "x"): (ARM, AMD)}
        self.assertEqual(expected, self.successResultOf(_done(store.load())))
        self.assertEqual(
            b'{"platforms": {"quay.io/x": ["linux/arm64/v8", "linux/amd64"]}}',
            self.successResultOf(driver.get(KEY, 1000)),
        )


def _done(work: Coroutine[Any, Any, T]) -> Deferred[T]:
    return Deferred.fromCoroutine(work)
