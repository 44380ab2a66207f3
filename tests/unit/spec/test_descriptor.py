"""Descriptors from JSON."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import ManifestInvalid

DIGEST = "sha256:" + "a" * 64
GOOD: dict[str, object] = {"mediaType": "a/b", "digest": DIGEST, "size": 3}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=10,
)


class FromJson(SynchronousTestCase):
    """What is a descriptor and what is none."""

    def test_good(self) -> None:
        """Type, digest and size are read."""
        self.assertEqual(
            Descriptor.from_json(GOOD), Descriptor("a/b", Digest("sha256", "a" * 64), 3)
        )

    def test_more(self) -> None:
        """Whatever else it says is passed over, malformed or not."""
        value = {**GOOD, "urls": 7, "annotations": None, "platform": [], "data": "!"}
        self.assertEqual(Descriptor.from_json(value), Descriptor.from_json(GOOD))

    def test_sizes(self) -> None:
        """Any size of 63 bits is accepted, nothing included."""
        for size in (0, 1, 2**63 - 1):
            self.assertEqual(Descriptor.from_json({**GOOD, "size": size}).size, size)

    def test_missing(self) -> None:
        """Each of the three is required."""
        for key in GOOD:
            value = {name: entry for name, entry in GOOD.items() if name != key}
            self.assertRaises(ManifestInvalid, Descriptor.from_json, value)

    def test_malformed(self) -> None:
        """A malformed one of the three is refused."""
        table: list[tuple[str, object]] = [
            ("size", -1),
            ("size", 2**63),
            ("size", True),
            ("size", False),
            ("size", 1.0),
            ("size", "1"),
            ("size", None),
            ("size", [1]),
            ("digest", ""),
            ("digest", None),
            ("digest", 1),
            ("digest", "sha256:abc"),
            ("digest", DIGEST.upper()),
            ("digest", DIGEST + "\n"),
            ("digest", "md5:" + "a" * 32),
            ("digest", [DIGEST]),
            ("mediaType", ""),
            ("mediaType", None),
            ("mediaType", 1),
            ("mediaType", "a"),
            ("mediaType", "a/b\r\nX: y"),
            ("mediaType", ["a/b"]),
        ]
        for key, value in table:
            self.assertRaises(ManifestInvalid, Descriptor.from_json, {**GOOD, key: value})

    def test_no_object(self) -> None:
        """Only a JSON object is a descriptor."""
        values: list[object] = [None, [], [GOOD], "x", 1, True, DIGEST]
        for value in values:
            self.assertRaises(ManifestInvalid, Descriptor.from_json, value)

    @settings(deadline=None)
    @given(JSON, JSON, JSON)
    def test_any_json(self, media_type: object, digest: object, size: object) -> None:
        """Any JSON is a descriptor or is refused as no part of a manifest."""
        for value in (
            {"mediaType": media_type, "digest": digest, "size": size},
            {"mediaType": media_type, "digest": DIGEST, "size": size},
            {"mediaType": "a/b", "digest": DIGEST, "size": size},
            size,
        ):
            try:
                Descriptor.from_json(value)
            except ManifestInvalid:
                continue
