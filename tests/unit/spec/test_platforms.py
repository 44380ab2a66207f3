"""Platforms of images."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.platforms import Platform

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


class Platforms(SynchronousTestCase):
    """os/architecture/variant."""

    def test_parse(self) -> None:
        """Two or three words are a platform, in any case."""
        self.assertEqual(Platform("linux", "amd64"), Platform.parse("Linux/amd64"))
        self.assertEqual(Platform("linux", "arm", "v7"), Platform.parse("linux/arm/v7"))
        for text in ("", "linux", "linux/", "/amd64", "a/b/c/d", "linux/amd 64"):
            self.assertRaises(ValueError, Platform.parse, text)

    def test_includes(self) -> None:
        """Without a variant all variants are meant, and arm64 without one is v8."""
        parse = Platform.parse
        for one, other, expected in (
            ("linux/amd64", "linux/amd64", True),
            ("linux/amd64", "windows/amd64", False),
            ("linux/arm", "linux/arm/v6", True),
            ("linux/arm/v7", "linux/arm/v6", False),
            ("linux/arm64/v8", "linux/arm64", True),
            ("linux/arm64", "linux/arm64/v8", True),
            ("linux/arm/v7", "linux/arm", False),
        ):
            self.assertEqual(expected, parse(one).includes(parse(other)), (one, other))

    def test_in_an_index(self) -> None:
        """An attestation has no platform."""
        unknown = {"os": "unknown", "architecture": "unknown"}
        self.assertIsNone(Platform.from_json(unknown))
        arm = {"os": "linux", "architecture": "arm", "variant": "v7"}
        self.assertEqual("linux/arm/v7", str(Platform.from_json(arm)))

    @given(_JSON)
    def test_any_json(self, value: object) -> None:
        """Any JSON is a platform or none."""
        found = Platform.from_json(value)
        self.assertTrue(found is None or Platform.parse(str(found)) == found)
