"""JSON objects from outside."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.documents import MAX_VALUES, read_object
from oci_registry.spec.manifest import MAX_MANIFEST_SIZE


class Read(SynchronousTestCase):
    """What is read, and what is not."""

    def test_objects(self) -> None:
        """An object is read, with white space around it too."""
        self.assertEqual(read_object(b' \t\r\n{"a": [1, "x", null]}\n '), {"a": [1, "x", None]})
        self.assertEqual(read_object(b"{}"), {})

    def test_no_objects(self) -> None:
        """Anything else is none."""
        for raw in (
            b"",
            b" ",
            b"null",
            b"[]",
            b'"x"',
            b"1",
            b"{",
            b"{}x",
            b"{}{}",
            b"{'a':1}",
            b'{"a":NaN}',
            b'{"a":-Infinity}',
            b"\xff\xfe{\x00}\x00",
            "{}".encode("utf-16"),
            "{}".encode("utf-32"),
            b"\xef\xbb\xbf{}",
            b"<html></html>",
            b"\x1f\x8b\x08\x00",
        ):
            self.assertIsNone(read_object(raw), raw)

    def test_other_encodings(self) -> None:
        """Latin-1 is read as far as it is ASCII."""
        self.assertEqual(
            read_object('{"by":"J\u00fcrgen","n":1}'.encode("latin-1")),
            {"by": "J\ufffdrgen", "n": 1},
        )

    def test_numbers(self) -> None:
        """Integers are read up to any size there is; other numbers are passed over."""
        raw = b'{"a":9223372036854775807,"b":-1,"c":1.5,"d":1e999,"e":%s}' % (b"1" * 100_000)
        self.assertEqual(
            read_object(raw), {"a": 2**63 - 1, "b": -1, "c": None, "d": None, "e": None}
        )

    def test_too_many_values(self) -> None:
        """A document that is all entries is taken for an empty one, unread."""
        for entry in (b"[]", b"{}", b"1", b'""', b"[[]]", b'{"a":{}}'):
            count = MAX_VALUES + 10
            raw = b'{"layers":[' + b",".join([entry] * count) + b"]}"
            self.patch(json, "loads", None)
            self.assertEqual(read_object(raw), {})
            self.assertIsNone(read_object(raw[:-1]))
            self.assertIsNone(read_object(raw[1:]))
        count = (MAX_MANIFEST_SIZE - 100) // 3
        self.assertEqual(read_object(b'{"layers":[' + b",".join([b"[]"] * count) + b"]}"), {})

    def test_many_values(self) -> None:
        """A document with fewer values is read."""
        raw = json.dumps({"a": list(range(MAX_VALUES - 10))}).encode()
        self.assertEqual(len(read_object(raw)["a"]), MAX_VALUES - 10)  # type: ignore[index, arg-type]

    def test_nested(self) -> None:
        """A document that is nested a hundred thousand levels deep is taken for an empty one."""
        for depth in (100_000, 600_000):
            for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
                raw = b'{"a":' + opening * depth + b"1" + closing * depth + b"}"
                self.assertEqual(read_object(raw), {})
        self.assertIsNone(read_object(b"[" * MAX_MANIFEST_SIZE))
        self.assertIsNone(read_object(b"{" * MAX_MANIFEST_SIZE))

    @settings(deadline=None)
    @given(st.binary(max_size=100))
    def test_any_bytes(self, raw: bytes) -> None:
        """Any bytes are an object, or none."""
        for data in (raw, b"{" + raw + b"}", b'{"a":"' + raw + b'"}'):
            self.assertIsInstance(read_object(data), dict | None)

    @settings(deadline=None)
    @given(
        st.dictionaries(
            st.text(),
            st.recursive(
                st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
                lambda values: (
                    st.lists(values, max_size=5) | st.dictionaries(st.text(), values, max_size=5)
                ),
                max_leaves=12,
            ),
            max_size=5,
        )
    )
    def test_any_object(self, document: dict[str, object]) -> None:
        """What was written is read, up to the bound."""
        self.assertEqual(read_object(json.dumps(document).encode()), document)
