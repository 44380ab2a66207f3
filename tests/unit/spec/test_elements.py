"""Arrays of large JSON objects, read in steps."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.elements import ArrayLimits, ArrayReader

LIMITS = ArrayLimits()
SMALL = LIMITS.small

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["tags", "]", "[", '"', "\\", '",', '\\",', "}{", "mediaType", "a" * 40]
)
VALUES = st.recursive(
    TEXTS | st.none() | st.booleans() | st.integers(-9, 9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def read(body: bytes, key: str = "tags", limits: ArrayLimits = LIMITS) -> tuple[ArrayReader, int]:
    """Return a reader that has read all, and the number of its steps."""
    reader = ArrayReader(body, key, limits)
    return reader, sum(1 for _ in reader.steps())


def in_steps(body: bytes, key: str = "tags", window: int = 16) -> ArrayReader:
    """Return a reader that has read all as if it were large."""
    return read(body, key, ArrayLimits(small=-1, window=window))[0]


class Same(SynchronousTestCase):
    """Read in steps, a document is what it is when it is read at once."""

    def same(self, document: Any, window: int, **options: Any) -> None:
        for ascii_only in (True, False):
            body = json.dumps(document, ensure_ascii=ascii_only, **options).encode()
            at_once, stepwise = read(body)[0], in_steps(body, window=window)
            self.assertEqual(at_once.elements, stepwise.elements)
            self.assertEqual(at_once.present, stepwise.present)
            self.assertEqual(at_once.media_type, stepwise.media_type)

    @settings(deadline=None)
    @given(
        st.dictionaries(TEXTS | st.sampled_from(["tags", "mediaType"]), VALUES, max_size=5),
        st.integers(1, 60),
    )
    def test_any_object(self, document: dict[str, Any], window: int) -> None:
        """Whatever else is in an object, the elements of the array are found."""
        self.same(document, window)
        self.same(document, window, indent=1)
        self.same(document, window, separators=(",", ":"))

    @settings(deadline=None)
    @given(st.lists(TEXTS | VALUES, max_size=40), st.integers(1, 60))
    def test_any_array(self, array: list[Any], window: int) -> None:
        """Whatever else is in the array, its strings and objects are found."""
        self.same({"name": "a", "tags": array, "mediaType": "x"}, window)

    def test_twice(self) -> None:
        """Of two arrays with one name the last one counts."""
        for body in (b'{"tags": ["a"], "tags": ["b"]}', b'{"tags": ["b"], "tags": null}'):
            self.assertEqual(read(body)[0].elements, in_steps(body).elements)


class Large(SynchronousTestCase):
    """Documents of a size that matters."""

    def test_tags(self) -> None:
        """A long list takes many steps and is read whole."""
        tags = [f"{number:040}" for number in range(50_000)]
        reader, steps = read(json.dumps({"name": "a", "tags": tags}).encode())
        self.assertEqual(tags, reader.elements)
        self.assertGreater(steps, 30)

    def test_beside_much_else(self) -> None:
        """Some registries list manifests beside the tags, which are skipped (Google's)."""
        manifests = {f"sha256:{n:064}": {"tag": [f"t{n}"], "size": "1"} for n in range(5000)}
        document = {"child": [], "manifest": manifests, "name": "a", "tags": ["x", "y"]}
        reader, steps = read(json.dumps(document).encode())
        self.assertEqual(["x", "y"], reader.elements)
        self.assertGreater(steps, 10)

    def test_not_json(self) -> None:
        """What is no object, or has no end, is an error, small or large."""
        filler = b"x" * SMALL
        for body in (
            *(b"", b"[]", b"null", b"<html>", b"\xff", b"[" * 100_000, b'{"a": ' * 100_000),
            *(b"<html>" + filler, b'{"tags": ["' + filler, b'{"tags": ["' + filler + b'"]'),
            *(b'{"tags": ["' + filler + b'"]} {}', b'["' + filler + b'"]'),
            b'{"tags": ["\xff' + filler + b'"]}',
        ):
            self.assertRaises(ValueError, read, body)

    def test_deep(self) -> None:
        """An element that is nested too deeply is an error."""
        body = b'{"tags": [{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}]}"
        self.assertRaises(ValueError, read, body)

    def test_floods(self) -> None:
        """Elements, brackets and strings are bounded, however small each of them is."""
        limits = ArrayLimits(elements=20_000, tokens=40_000)
        for body in (
            b'{"tags": [' + b'"",' * 30_000 + b'""]}',
            b'{"tags": [' + b'"", ' * 21_000 + b'""]}',
            b'{"tags": [' + b"{}," * 30_000 + b"{}]}",
            b'{"x": [' + b"[]," * 50_000 + b'[]], "tags": []}',
            b'{"tags": ["' + b"x" * (LIMITS.string + SMALL) + b'"]}',
        ):
            self.assertRaises(ValueError, read, body, "tags", limits)
