"""Media types."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec import mediatypes
from oci_registry.spec.mediatypes import essence, is_media_type, is_specific

KNOWN = [
    value
    for key, value in vars(mediatypes).items()
    if key.startswith(("OCI_", "DOCKER_", "OCTET_")) and isinstance(value, str)
]


class Constants(SynchronousTestCase):
    """The types known by name."""

    def test_in_the_grammar(self) -> None:
        """Every type known by name is in the grammar, and there are eight."""
        self.assertEqual(len(set(KNOWN)), 8)
        for text in KNOWN:
            self.assertTrue(is_media_type(text), text)

    def test_indexes_are_manifests(self) -> None:
        """What lists manifests is a manifest itself."""
        self.assertTrue(set(mediatypes.MANIFEST_TYPES) > mediatypes.INDEX_TYPES)

    def test_accept(self) -> None:
        """An upstream is asked for every kind of manifest by name, and for any other at last."""
        self.assertEqual(
            mediatypes.ACCEPT_MANIFESTS.split(", "), [*mediatypes.MANIFEST_TYPES, "*/*"]
        )
        self.assertEqual(
            mediatypes.MANIFEST_TYPES[-2:],
            (mediatypes.DOCKER_SCHEMA1_SIGNED, mediatypes.DOCKER_SCHEMA1),
        )

    def test_specific(self) -> None:
        """A manifest's type tells what it is, known or not; generic ones do not."""
        for media_type in (
            *mediatypes.MANIFEST_TYPES,
            "application/vnd.cncf.foo+json",
            "application/vnd.acme.manifest",
            "application/cbor",
        ):
            self.assertTrue(is_specific(media_type), media_type)
        for media_type in (
            "text/plain",
            "text/html",
            "image/png",
            "binary/octet-stream",
            "application/octet-stream",
            "application/json",
            "application/problem+json",
        ):
            self.assertFalse(is_specific(media_type), media_type)


class Grammar(SynchronousTestCase):
    """RFC 6838, section 4.2."""

    def test_accepted(self) -> None:
        """Types in the grammar are accepted."""
        for text in (
            "a/b",
            "text/plain",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "A/B",
            "3/4",
            "a/b!#$&-^_.+",
            "a" * 127 + "/" + "b" * 127,
        ):
            self.assertTrue(is_media_type(text), text)

    def test_refused(self) -> None:
        """Anything else is refused, what would break a header line above all."""
        for text in (
            "",
            "/",
            "a",
            "a/",
            "/b",
            "a/b/c",
            "*/*",
            "a/*",
            ".a/b",
            "a/+b",
            "a/b;c=d",
            "a/b ",
            " a/b",
            "a/b\n",
            "a/b\r\nX: y",
            "a/b\x00",
            "\u00e9/b",
            "a" * 128 + "/b",
            "a/" + "b" * 128,
            "a/" + "b" * 5000,
        ):
            self.assertFalse(is_media_type(text), text)

    @settings(deadline=None)
    @given(st.text(st.characters(max_codepoint=0x100), max_size=20), st.text(max_size=20))
    def test_any_text(self, left: str, right: str) -> None:
        """Whatever is accepted is printable ASCII with one slash."""
        text = f"{left}/{right}"
        if is_media_type(text):
            self.assertTrue(text.isascii() and text.isprintable() and " " not in text)
            self.assertEqual(text.count("/"), 1)


class Essence(SynchronousTestCase):
    """The type in a Content-Type header."""

    def test_parameters_and_case(self) -> None:
        """Parameters go, and case does not matter."""
        for header in ("text/plain", "Text/PLAIN", "text/plain; charset=utf-8", " text/plain ;"):
            self.assertEqual(essence(header), "text/plain")

    def test_none(self) -> None:
        """A header that is missing or malformed holds no type."""
        for header in (None, "", ";", "text", "text/", "; text/plain", "text/plain, a/b"):
            self.assertIsNone(essence(header))
