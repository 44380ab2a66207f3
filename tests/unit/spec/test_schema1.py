"""What was signed of a schema 1 manifest."""

from __future__ import annotations

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec import schema1
from oci_registry.spec.documents import read_object
from oci_registry.spec.manifest import MAX_MANIFEST_SIZE
from tests.unit.spec.signing import encode, protected, schema_1, signed

PAYLOAD = schema_1("sha256:" + "a" * 64, "sha256:" + "b" * 64)


def payload(raw: bytes) -> bytes | None:
    """What was signed of these bytes."""
    document = read_object(raw)
    return None if document is None else schema1.payload(raw, document)


def with_signatures(signatures: object) -> bytes:
    """The manifest with anything for signatures, in a form of its own."""
    return PAYLOAD[:-2] + b',"signatures":' + json.dumps(signatures).encode() + b"}"


class Payload(SynchronousTestCase):
    """Signed manifests."""

    def test_there_and_back(self) -> None:
        """The signed bytes are restored, for any signer and any number of signatures."""
        for signatures in (1, 2, schema1.MAX_SIGNATURES):
            self.assertEqual(payload(signed(PAYLOAD, signatures)), PAYLOAD)

    def test_other_forms(self) -> None:
        """White space in the end, or none anywhere, is no matter."""
        compact = json.dumps(json.loads(PAYLOAD), separators=(",", ":")).encode()
        for form in (compact, PAYLOAD + b"\n", PAYLOAD.replace(b"amd64", b"\xc3\xa9")):
            self.assertEqual(payload(signed(form)), form)

    def test_unsigned(self) -> None:
        """A manifest without signatures has no payload."""
        for raw in (PAYLOAD, b"{}", with_signatures([]), with_signatures(None)):
            self.assertIsNone(payload(raw))

    def test_other_manifests(self) -> None:
        """Signatures on a manifest of another schema count for nothing."""
        for version in (b"2", b'"1"', b"null", b"1.5"):
            other = PAYLOAD.replace(b'"schemaVersion": 1', b'"schemaVersion": ' + version)
            self.assertNotEqual(other, PAYLOAD)
            self.assertIsNone(payload(signed(other)))

    def test_more_than_was_signed(self) -> None:
        """What says more than was signed, or something else, is not that manifest."""
        for more in ('"x": 1,', '"fsLayers": [],', '"fslayers": [],', '"schemaVersion": 2,'):
            raw = signed(PAYLOAD, more=more)
            self.assertIsNotNone(read_object(raw))
            self.assertIsNone(payload(raw))
        image = b'{"schemaVersion": 1, "config": {}, "layers": []}'
        self.assertIsNone(payload(signed(image, more='"layers": [1],')))

    def test_malformed(self) -> None:
        """Signatures that are not what libtrust writes are passed over."""
        length = len(PAYLOAD) - 2
        tail = encode(b"\n}")
        good = {"protected": protected(length, tail)}
        self.assertEqual(payload(with_signatures([good])), PAYLOAD)
        headers: list[object] = [
            None,
            7,
            "",
            "!",
            "e30",
            "W10",
            encode(b"\xff"),
            protected(length, tail) + "\n",
            protected(length, tail) + "A" * 5000,
            protected(-length, tail),
            protected(0, tail),
            protected(float(length), tail),
            protected(str(length), tail),
            protected(True, tail),
            protected(None, tail),
            protected(2**70, tail),
            protected(length + 100_000, tail),
            protected(length - 1, tail),
            protected(length, encode(b"}}")),
            protected(length, ""),
            protected(length, "Cn0+/"),
            protected(length, None),
            protected(length, 7),
            protected(length, "\u00e9"),
        ]
        for header in headers:
            self.assertIsNone(payload(with_signatures([{"protected": header}])), header)
            self.assertIsNone(payload(with_signatures([good, {"protected": header}])), header)
        others: list[object] = [{}, "x", [None], [[]], {"0": good}, [{}]]
        for signatures in others:
            self.assertIsNone(payload(with_signatures(signatures)))

    def test_contradictory(self) -> None:
        """Signatures of different bytes make no manifest."""
        raw = with_signatures(
            [
                {"protected": protected(len(PAYLOAD) - 2, encode(b"\n}" + space))}
                for space in (b"", b" ")
            ]
        )
        self.assertIsNone(payload(raw))

    def test_too_many(self) -> None:
        """A manifest with hundreds of signatures is taken as it is."""
        self.assertIsNone(payload(signed(PAYLOAD, schema1.MAX_SIGNATURES + 1)))
        self.assertLess(len(signed(PAYLOAD, 5000)), MAX_MANIFEST_SIZE)
        self.assertIsNone(payload(signed(PAYLOAD, 5000)))

    @settings(deadline=None)
    @given(
        st.dictionaries(
            st.text(max_size=5).filter(lambda key: key not in ("signatures", "schemaVersion")),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                lambda values: (
                    st.lists(values, max_size=4)
                    | st.dictionaries(st.text(max_size=3), values, max_size=4)
                ),
                max_leaves=8,
            ),
        ),
        st.sampled_from([None, 0, 3]),
        st.booleans(),
    )
    @example({"tag": "", "last": {}}, None, True)
    def test_any_payload(
        self, document: dict[str, object], indent: int | None, ascii_only: bool
    ) -> None:
        """Whatever was signed comes out byte for byte."""
        document = {"schemaVersion": 1, **document, "tag": "x"}
        raw = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
        data = raw.encode("utf-8", "replace")
        self.assertEqual(payload(signed(data)), data)

    @settings(deadline=None)
    @given(st.integers(0, 400), st.binary(max_size=4))
    def test_any_damage(self, place: int, data: bytes) -> None:
        """A damaged manifest has the same payload, another that it says in full, or none."""
        raw = signed(PAYLOAD)
        damaged = raw[:place] + data + raw[place + 1 :]
        found = payload(damaged)
        if found is not None:
            document = dict(read_object(damaged) or {})
            del document["signatures"]
            self.assertEqual(read_object(found), document)
