"""Manifests: their type and the facts in them."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import ManifestInvalid
from oci_registry.spec.manifest import MAX_MANIFEST_SIZE, Manifest
from oci_registry.spec.mediatypes import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    MANIFEST_TYPES,
    OCI_ARTIFACT,
    OCI_INDEX,
    OCI_MANIFEST,
)

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


def entry(letter: str, media_type: str = LAYER, **more: object) -> dict[str, object]:
    """A descriptor in JSON whose digest is one letter repeated."""
    return {"mediaType": media_type, "digest": "sha256:" + letter * 64, "size": 1, **more}


def described(letter: str, media_type: str = LAYER) -> Descriptor:
    """What `entry` means."""
    return Descriptor(media_type, Digest("sha256", letter * 64), 1)


def read(document: object, content_type: str | None = OCI_MANIFEST) -> Manifest:
    """The manifest of a JSON value, or of bytes as they are."""
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Manifest.read(raw, content_type, Digest.of(raw))


IMAGE = {"schemaVersion": 2, "config": entry("c", CONFIG), "layers": [entry("a"), entry("b")]}
INDEX = {"schemaVersion": 2, "manifests": [entry("d", OCI_MANIFEST), entry("e", OCI_INDEX)]}


class Types(SynchronousTestCase):
    """How the media type is decided."""

    def test_content_type_first(self) -> None:
        """A manifest type in the header is believed, whatever the document says."""
        for media_type in MANIFEST_TYPES:
            manifest = read({"mediaType": "x/y", **IMAGE, **INDEX}, media_type)
            self.assertEqual(manifest.media_type, media_type)

    def test_content_type_with_parameters(self) -> None:
        """Parameters of the header are no part of the type, nor is its case."""
        header = DOCKER_MANIFEST.upper() + " ; charset=utf-8"
        self.assertEqual(read(IMAGE, header).media_type, DOCKER_MANIFEST)

    def test_own_word(self) -> None:
        """Under another header, or none, the document's own word counts."""
        for header in (None, "", "text/plain", "application/json; charset=utf-8", "nonsense"):
            manifest = read({**INDEX, "mediaType": DOCKER_LIST}, header)
            self.assertEqual(manifest.media_type, DOCKER_LIST)

    def test_shape(self) -> None:
        """A document that does not say is known by its shape."""
        for header in (None, "application/json", "text/plain"):
            self.assertEqual(read(INDEX, header).media_type, OCI_INDEX)
            self.assertEqual(read(IMAGE, header).media_type, OCI_MANIFEST)
        own: list[object] = [7, "", "text", "a/b\r\nX: y", None]
        for word in own:
            self.assertEqual(read({**IMAGE, "mediaType": word}, None).media_type, OCI_MANIFEST)

    def test_other_manifests(self) -> None:
        """A document with a schema version keeps any other type it came with."""
        document = {"schemaVersion": 1, "fsLayers": []}
        self.assertEqual(read(document, SCHEMA_1).media_type, SCHEMA_1)

    def test_undecidable(self) -> None:
        """What neither says nor looks like a manifest is none."""
        for document, header in (
            ({}, None),
            ({}, "application/json"),
            ({"errors": []}, "application/json"),
            ({"schemaVersion": 1}, None),
            ({"schemaVersion": 1}, "nonsense"),
            ({"manifests": {}}, None),
            ({"config": {}}, None),
            ({"config": {}, "layers": {}}, None),
            ({"config": [], "layers": []}, None),
        ):
            self.assertRaises(ManifestInvalid, read, document, header)


class Refused(SynchronousTestCase):
    """Bytes that are no manifest under any header."""

    def test_no_json_object(self) -> None:
        """Anything but a JSON object in UTF-8 is refused."""
        for raw in (
            b"",
            b" ",
            b"null",
            b"[]",
            b'"x"',
            b"1",
            b"{",
            b"{}x",
            b"{'a':1}",
            b'{"a":NaN}',
            b'{"a":-Infinity}',
            b'{"a":"\xff"}',
            b"\xff\xfe{\x00}\x00",
            "{}".encode("utf-16"),
            "{}".encode("utf-32"),
            b"\xef\xbb\xbf{}",
            b"<html></html>",
            b"\x1f\x8b\x08\x00",
            b'{"a":' + b"1" * 5000 + b"}",
        ):
            self.assertRaises(ManifestInvalid, read, raw)

    def test_nested_absurdly(self) -> None:
        """A document nested a million levels deep is refused and breaks nothing."""
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
            depth = 600_000
            raw = b'{"a":' + opening * depth + b"1" + closing * depth + b"}"
            self.assertRaises(ManifestInvalid, read, raw)
        self.assertRaises(ManifestInvalid, read, b"[" * MAX_MANIFEST_SIZE)

    def test_size(self) -> None:
        """Four MiB are accepted, a byte more is not."""
        raw = b'{"schemaVersion":2}'
        longest = raw + b" " * (MAX_MANIFEST_SIZE - len(raw))
        self.assertEqual(read(longest).descriptor.size, MAX_MANIFEST_SIZE)
        error = self.assertRaises(ManifestInvalid, read, longest + b" ")
        self.assertIn(str(MAX_MANIFEST_SIZE + 1), error.message)

    def test_digest_is_not_checked(self) -> None:
        """Whether the digest is right is left to those who know what was asked for."""
        digest = Digest.of(b"other")
        self.assertEqual(Manifest.read(b"{}", OCI_MANIFEST, digest).digest, digest)


class Facts(SynchronousTestCase):
    """What is read from a document."""

    def test_raw_is_kept(self) -> None:
        """The bytes stay as they came, spaces, order and all."""
        raw = b'{ "z":1,\n"a":\t2, "z":3 }\n'
        self.assertEqual(read(raw).raw, raw)

    def test_descriptor(self) -> None:
        """A manifest describes itself."""
        manifest = read(INDEX, OCI_INDEX)
        self.assertEqual(
            manifest.descriptor,
            Descriptor(OCI_INDEX, Digest.of(manifest.raw), len(manifest.raw)),
        )

    def test_index(self) -> None:
        """The entries of an index are its children, and it has no blobs."""
        manifest = read(INDEX, OCI_INDEX)
        self.assertEqual(
            manifest.children, (described("d", OCI_MANIFEST), described("e", OCI_INDEX))
        )
        self.assertEqual(manifest.blobs, ())

    def test_image(self) -> None:
        """The blobs of an image are its config and its layers."""
        manifest = read(IMAGE)
        self.assertEqual(manifest.blobs, (described("c", CONFIG), described("a"), described("b")))
        self.assertEqual(manifest.children, ())
        self.assertIsNone(manifest.subject)

    def test_foreign_layers(self) -> None:
        """Layers that may be had elsewhere are listed with the others."""
        foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
        manifest = read({**IMAGE, "layers": [entry("f", foreign, urls=["https://x.example/"])]})
        self.assertEqual(manifest.blobs[1:], (described("f", foreign),))

    def test_artifact(self) -> None:
        """An artifact manifest has blobs, a type and a subject."""
        manifest = read(
            {
                "artifactType": "x/y",
                "blobs": [entry("a")],
                "subject": entry("b", OCI_MANIFEST),
            },
            OCI_ARTIFACT,
        )
        self.assertEqual(manifest.blobs, (described("a"),))
        self.assertEqual(manifest.artifact_type, "x/y")
        self.assertEqual(manifest.subject, described("b", OCI_MANIFEST))

    def test_artifact_type(self) -> None:
        """Without an artifact type of its own an image has that of its config, an index none."""
        self.assertEqual(read({**IMAGE, "artifactType": "x/y"}).artifact_type, "x/y")
        self.assertEqual(read(IMAGE).artifact_type, CONFIG)
        self.assertEqual(read({**IMAGE, "artifactType": ""}).artifact_type, CONFIG)
        self.assertEqual(read({**IMAGE, "artifactType": 7}).artifact_type, CONFIG)
        self.assertIsNone(read(INDEX, OCI_INDEX).artifact_type)

    def test_annotations(self) -> None:
        """Annotations are read as far as they are text, and cannot be changed."""
        annotations = read({**IMAGE, "annotations": {"a": "b", "c": 1, "d": None}}).annotations
        self.assertEqual(dict(annotations), {"a": "b"})
        with self.assertRaises(TypeError):
            annotations["x"] = "y"  # type: ignore[index]

    def test_malformed_entries_are_passed_over(self) -> None:
        """One malformed entry takes no other one along."""
        bad: list[object] = [None, 7, [], {}, {**entry("a"), "size": -1}, {"digest": "x"}]
        manifest = read(
            {
                "config": "x",
                "layers": [*bad, entry("a")],
                "blobs": {"a": 1},
                "manifests": [*bad, entry("d", OCI_MANIFEST)],
                "subject": {"digest": "x"},
                "artifactType": ["x"],
                "annotations": [["a", "b"]],
            }
        )
        self.assertEqual(manifest.blobs, (described("a"),))
        self.assertEqual(manifest.children, (described("d", OCI_MANIFEST),))
        self.assertIsNone(manifest.subject)
        self.assertIsNone(manifest.artifact_type)
        self.assertEqual(dict(manifest.annotations), {})

    def test_made_from_the_store(self) -> None:
        """One made without reading is equal and finds the same facts when asked."""
        was_read = read(IMAGE)
        made = Manifest(was_read.raw, was_read.media_type, was_read.digest)
        self.assertEqual(made, was_read)
        self.assertEqual(hash(made), hash(was_read))
        self.assertEqual(made.blobs, was_read.blobs)
        self.assertIs(made.blobs, made.blobs)

    def test_made_from_rubbish(self) -> None:
        """One made from bytes that are no manifest raises when a fact is asked for."""
        made = Manifest(b"rubbish", OCI_MANIFEST, Digest.of(b"rubbish"))
        with self.assertRaises(ManifestInvalid):
            _ = made.blobs

    def test_repr_is_short(self) -> None:
        """The bytes of a manifest do not appear in logs."""
        self.assertLess(len(repr(read({**IMAGE, "x": "y" * 10_000}))), 300)

    @settings(deadline=None)
    @given(
        st.dictionaries(
            st.sampled_from(
                ["mediaType", "manifests", "config", "layers", "blobs", "subject", "annotations"]
            )
            | st.text(max_size=3),
            st.recursive(
                st.none()
                | st.booleans()
                | st.integers()
                | st.floats(allow_nan=False, allow_infinity=False)
                | st.text(max_size=5)
                | st.builds(lambda: entry("a")),
                lambda values: st.lists(values) | st.dictionaries(st.text(max_size=3), values),
                max_leaves=10,
            ),
        )
    )
    def test_any_object(self, document: dict[str, object]) -> None:
        """Any JSON object under a manifest's type is read without a complaint."""
        manifest = read(document)
        self.assertIsInstance(manifest.blobs, tuple)
        self.assertIsInstance(manifest.children, tuple)

    @settings(deadline=None)
    @given(st.binary(max_size=100))
    def test_any_bytes(self, raw: bytes) -> None:
        """Any bytes are a manifest or are refused as none."""
        try:
            manifest = read(raw)
        except ManifestInvalid:
            return
        self.assertEqual(manifest.raw, raw)
