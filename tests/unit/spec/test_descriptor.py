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
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
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

    def test_digest_required(self) -> None:
        """Without a digest there is no descriptor."""
        self.assertRaises(ManifestInvalid, Descriptor.from_json, {"mediaType": "a/b", "size": 3})
        digests: list[object] = [
            "",
            None,
            1,
            "sha256:abc",
            DIGEST.upper(),
            DIGEST + "\n",
            "md5:" + "a" * 32,
            [DIGEST],
        ]
        for digest in digests:
            value = {**GOOD, "digest": digest}
            self.assertRaises(ManifestInvalid, Descriptor.from_json, value)

    def test_type_and_size(self) -> None:
        """A type or a size that is missing or odd is not known, and the digest counts."""
        digest = Digest.parse(DIGEST)
        self.assertEqual(Descriptor.from_json({"digest": DIGEST}), Descriptor(None, digest, None))
        sizes: list[object] = [-1, 2**63, True, False, 1.0, "1", None, [1], {}]
        for size in sizes:
            found = Descriptor.from_json({**GOOD, "size": size})
            self.assertEqual(found, Descriptor("a/b", digest, None))
        types: list[object] = ["", None, 1, "a", "a/b\r\nX: y", ["a/b"], {}]
        for media_type in types:
            found = Descriptor.from_json({**GOOD, "mediaType": media_type})
            self.assertEqual(found, Descriptor(None, digest, 3))

    def test_no_object(self) -> None:
        """Only a JSON object is a descriptor."""
        values: list[object] = [None, [], [GOOD], "x", 1, True, DIGEST]
        for value in values:
            self.assertRaises(ManifestInvalid, Descriptor.from_json, value)

    @settings(deadline=None)
    @given(JSON, JSON, JSON)
    def test_any_json(self, media_type: object, digest: object, size: object) -> None:
        """Any JSON is a descriptor or is refused; with a digest it is one."""
        value = {"mediaType": media_type, "digest": DIGEST, "size": size}
        self.assertEqual(Descriptor.from_json(value).digest, Digest.parse(DIGEST))
        for other in ({"mediaType": media_type, "digest": digest, "size": size}, size):
            try:
                Descriptor.from_json(other)
            except ManifestInvalid:
                continue
