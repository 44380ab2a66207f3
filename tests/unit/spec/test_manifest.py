"""Manifests: their digest, their type and what is known of their blobs."""

from __future__ import annotations

import gc
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import ManifestInvalid
from oci_registry.spec.manifest import MAX_BLOBS, MAX_MANIFEST_SIZE, Manifest, memory_of
from oci_registry.spec.mediatypes import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    DOCKER_SCHEMA1,
    DOCKER_SCHEMA1_SIGNED,
    MANIFEST_TYPES,
    OCI_ARTIFACT,
    OCI_INDEX,
    OCI_MANIFEST,
    OCTET_STREAM,
)
from tests.unit.spec.signing import schema_1, signed

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
CUSTOM = "application/vnd.cncf.foo+json"
GENERIC = ("text/plain", "text/html", "application/json", "application/octet-stream")


def entry(letter: str, media_type: str = LAYER, **more: object) -> dict[str, object]:
    """A descriptor in JSON whose digest is one letter repeated."""
    return {"mediaType": media_type, "digest": "sha256:" + letter * 64, "size": 1, **more}


def described(letter: str, media_type: str = LAYER) -> Descriptor:
    """What `entry` means."""
    return Descriptor(media_type, Digest("sha256", letter * 64), 1)


def read(
    document: object,
    content_type: str | None = OCI_MANIFEST,
    asked: Digest | None = None,
    claimed: Digest | None = None,
) -> Manifest:
    """The manifest of a JSON value, or of bytes as they are."""
    return Manifest.read(bytes_of(document), content_type, asked, claimed)


def verified(document: object, content_type: str | None) -> Manifest:
    """The manifest of a JSON value or of bytes, whose digest is known to be right."""
    digest = Digest.of(bytes_of(document))
    asked = read(document, content_type, asked=digest)
    assert asked == read(document, content_type, claimed=digest)
    return asked


def bytes_of(document: object) -> bytes:
    """A JSON value as bytes, and bytes as they are."""
    return document if isinstance(document, bytes) else json.dumps(document).encode()


IMAGE = {"schemaVersion": 2, "config": entry("c", CONFIG), "layers": [entry("a"), entry("b")]}
INDEX = {"schemaVersion": 2, "manifests": [entry("d", OCI_MANIFEST), entry("e", OCI_INDEX)]}


HTML = b"<!doctype html><html><body>Please log in</body></html>"
LATIN_1 = json.dumps(IMAGE)[:-1].encode() + b',"annotations":{"by":"J\xfcrgen"}}'
NESTED = b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"
ALL_ENTRIES = b'{"layers":[' + b"[]," * 1_000_000 + b"[]]}"
SCHEMA_1 = schema_1("sha256:" + "a" * 64)
SIGNED = signed(SCHEMA_1)


class Types(SynchronousTestCase):
    """How the media type is decided."""

    def test_content_type_first(self) -> None:
        """A specific type in the header wins, whatever the document says or looks like."""
        for media_type in (*MANIFEST_TYPES, CUSTOM):
            for document in ({"mediaType": "x/y", **IMAGE, **INDEX}, INDEX, {}, LATIN_1):
                self.assertEqual(read(document, media_type).media_type, media_type)
                self.assertEqual(verified(document, media_type).media_type, media_type)

    def test_content_type_with_parameters(self) -> None:
        """Parameters of the header are no part of the type, nor is its case."""
        header = DOCKER_MANIFEST.upper() + " ; charset=utf-8"
        self.assertEqual(read(IMAGE, header).media_type, DOCKER_MANIFEST)

    def test_own_word(self) -> None:
        """Under a generic header, or none, the document's own word counts."""
        for header in (None, "", "application/json; charset=utf-8", "nonsense", *GENERIC):
            manifest = read({**INDEX, "mediaType": DOCKER_LIST}, header)
            self.assertEqual(manifest.media_type, DOCKER_LIST)

    def test_shape(self) -> None:
        """A document that does not say is known by its shape."""
        for header in (None, *GENERIC):
            self.assertEqual(read(INDEX, header).media_type, OCI_INDEX)
            self.assertEqual(read(IMAGE, header).media_type, OCI_MANIFEST)
            self.assertEqual(read(SIGNED, header).media_type, DOCKER_SCHEMA1_SIGNED)
            self.assertEqual(read(SCHEMA_1, header).media_type, DOCKER_SCHEMA1)
        own: list[object] = [7, "", "text", "a/b\r\nX: y", None]
        for word in own:
            self.assertEqual(read({**IMAGE, "mediaType": word}, None).media_type, OCI_MANIFEST)

    def test_other_manifests(self) -> None:
        """A document with a schema version keeps any other type it came with."""
        self.assertEqual(read({"schemaVersion": 3}, "text/plain").media_type, "text/plain")

    def test_verified(self) -> None:
        """What has the right digest keeps its type, whatever it is; without one it is just bytes."""
        documents: list[object] = [HTML, NESTED, b"", {}, {"errors": []}, b"\x80\x04."]
        for document in documents:
            for header in GENERIC:
                found = verified(document, header)
                self.assertEqual((header, bytes_of(document)), (found.media_type, found.raw))
                self.assertEqual(found.blobs, ())
            for nothing in (None, "", "nonsense"):
                self.assertEqual(verified(document, nothing).media_type, OCTET_STREAM)

    def test_undecidable(self) -> None:
        """By tag, what neither says nor looks like a manifest is none."""
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
            ({"schemaVersion": 2, "fsLayers": []}, None),
            (NESTED, "application/json"),
            (ALL_ENTRIES, "application/json"),
        ):
            self.assertRaises(ManifestInvalid, read, document, header)


class Refused(SynchronousTestCase):
    """Bytes that are no manifest."""

    def test_no_json_object(self) -> None:
        """By tag, anything but a JSON object is refused under any type."""
        for raw in (HTML, b"", b"null", b"[]", b"{", b"{}x", b"{'a':1}", b"denied", b"[" * 9999):
            for header in (OCI_MANIFEST, CUSTOM, DOCKER_SCHEMA1_SIGNED, "text/html", None):
                self.assertRaises(ManifestInvalid, read, raw, header)

    def test_size(self) -> None:
        """Four MiB are accepted, a byte more is not, even if its digest is right."""
        raw = b'{"schemaVersion":2}'
        longest = raw + b" " * (MAX_MANIFEST_SIZE - len(raw))
        self.assertEqual(read(longest).raw, longest)
        for asked in (None, Digest.of(longest + b" ")):
            error = self.assertRaises(ManifestInvalid, read, longest + b" ", None, asked)
            self.assertIn(str(MAX_MANIFEST_SIZE + 1), error.message)

    def test_digests(self) -> None:
        """A digest that was asked for or claimed must be right, in the algorithm that it names."""
        raw = bytes_of(IMAGE)
        right, right_512, wrong = Digest.of(raw), Digest.of(raw, "sha512"), Digest.of(b"other")
        for asked, claimed in (
            (wrong, None),
            (None, wrong),
            (wrong, wrong),
            (wrong, right),
            (right, wrong),
            (None, Digest.of(b"other", "sha512")),
        ):
            error = self.assertRaises(ManifestInvalid, read, raw, OCI_MANIFEST, asked, claimed)
            self.assertIn("digest", error.message)
        for asked, claimed, digest in (
            (None, None, right),
            (right, right, right),
            (None, right_512, right_512),
            (right_512, None, right_512),
            (right, right_512, right),
            (right_512, wrong, right_512),
        ):
            self.assertEqual(read(raw, OCI_MANIFEST, asked, claimed).digest, digest)


class SchemaOne(SynchronousTestCase):
    """Signed schema 1 manifests."""

    def test_digest_of_the_payload(self) -> None:
        """The digest is that of what was signed, whatever the header calls the document."""
        for header in (DOCKER_SCHEMA1_SIGNED, DOCKER_SCHEMA1, None, *GENERIC):
            for algorithm in ("sha256", "sha512"):
                digest = Digest.of(SCHEMA_1, algorithm)
                for manifest in (read(SIGNED, header, digest), read(SIGNED, header, None, digest)):
                    self.assertEqual((digest, SIGNED), (manifest.digest, manifest.raw))
            self.assertEqual(read(SIGNED, header).digest, Digest.of(SCHEMA_1))

    def test_digest_of_the_bytes(self) -> None:
        """A caller that wants the bytes unchanged gets them."""
        digest = Digest.of(SIGNED)
        self.assertEqual(verified(SIGNED, DOCKER_SCHEMA1_SIGNED).digest, digest)
        manifest = read(SIGNED, DOCKER_SCHEMA1_SIGNED, Digest.of(SCHEMA_1), digest)
        self.assertEqual(manifest.digest, Digest.of(SCHEMA_1))

    def test_wrong(self) -> None:
        """Any other digest is wrong."""
        for asked, claimed in ((Digest.of(b""), None), (None, Digest.of(b""))):
            self.assertRaises(ManifestInvalid, read, SIGNED, None, asked, claimed)

    def test_unsigned(self) -> None:
        """An unsigned one has the digest of its bytes."""
        self.assertEqual(read(SCHEMA_1, DOCKER_SCHEMA1).digest, Digest.of(SCHEMA_1))

    def test_other_manifests_in_disguise(self) -> None:
        """No other manifest is taken for its own digest with more put into it."""
        image = json.dumps({**IMAGE, "schemaVersion": 1}, indent=3).encode()
        raw = signed(image, more='"layers": [],')
        self.assertRaises(ManifestInvalid, read, raw, OCI_MANIFEST, Digest.of(image))


class Facts(SynchronousTestCase):
    """What is read from a document."""

    def test_raw_is_kept(self) -> None:
        """The bytes stay as they came, spaces, order and all."""
        raw = b'{ "z":1,\n"a":\t2, "z":3 }\n'
        self.assertEqual(read(raw).raw, raw)

    def test_image(self) -> None:
        """The blobs of an image are its config and its layers; an index has none."""
        blobs = (described("c", CONFIG), described("a"), described("b"))
        self.assertEqual(read(IMAGE).blobs, blobs)
        self.assertEqual(read(LATIN_1).blobs, blobs)
        self.assertEqual(read(INDEX, OCI_INDEX).blobs, ())

    def test_artifact(self) -> None:
        """An artifact manifest has blobs."""
        self.assertEqual(read({"blobs": [entry("a")]}, OCI_ARTIFACT).blobs, (described("a"),))

    def test_malformed_entries_are_passed_over(self) -> None:
        """One malformed entry takes no other one along; without type and size it is none."""
        digest = "sha256:" + "f" * 64
        bad: list[object] = [None, 7, [], {}, {"digest": "x"}]
        manifest = read(
            {
                "config": "x",
                "layers": [*bad, entry("a"), {"digest": digest, "size": -1}],
                "blobs": {"a": 1},
            }
        )
        self.assertEqual(
            manifest.blobs, (described("a"), Descriptor(None, Digest.parse(digest), None))
        )

    def test_bounded(self) -> None:
        """Of a manifest with thousands of layers no size is known, and it is passed on."""
        layers = [entry("a")] * (MAX_BLOBS - 1)
        config = entry("c", CONFIG)
        self.assertEqual(len(read({"config": config, "layers": layers}).blobs), MAX_BLOBS)
        self.assertEqual(read({"config": config, "layers": [*layers, entry("b")]}).blobs, ())
        manifest = read(ALL_ENTRIES)
        self.assertEqual((ALL_ENTRIES, ()), (manifest.raw, manifest.blobs))

    def test_memory(self) -> None:
        """What it takes in memory is known, the sizes of its layers included."""
        manifest = read({**IMAGE, "layers": [entry("a")] * 1000})
        self.assertGreater(memory_of(manifest.pack()), len(manifest.raw) + 100_000)
        self.assertLess(memory_of(manifest.pack()), len(manifest.raw) + 1_000_000)

    def test_packed(self) -> None:
        """It is the same again after it was packed, which leaves nothing but plain values."""
        # What is there already need not be looked at each time; it stays frozen.
        gc.freeze()
        for was in (read({**IMAGE, "layers": [entry("a"), entry("b")]}), read(ALL_ENTRIES)):
            packed = was.pack()
            again = Manifest.unpack(packed)
            self.assertEqual((was, was.blobs, packed), (again, again.blobs, again.pack()))
            gc.collect()
            gc.collect()
            self.assertFalse(gc.is_tracked(packed))

    def test_names(self) -> None:
        """Every digest is returned, whichever field has it, also of fields that are otherwise ignored."""
        a, f = (Digest("sha256", letter * 64) for letter in "af")
        for more in ({"subject": entry("f")}, {"x": [[str(f)]]}, {"layers": [{"digest": str(f)}]}):
            self.assertIn(f, read({**IMAGE, **more}).names())
        self.assertIn(a, read(SIGNED, None).names())
        self.assertEqual(
            {a, f},
            read(ALL_ENTRIES[:-3] + b',"%s","%s"]}' % (str(a).encode(), str(f).encode())).names(),
        )

    def test_restored(self) -> None:
        """One from the store is what it was, if its bytes have its digest."""
        for was in (read(IMAGE), read(SIGNED), verified(HTML, "text/html"), read(ALL_ENTRIES)):
            made = Manifest.restore(was.raw, was.media_type, was.digest)
            self.assertEqual((was, was.blobs, hash(was)), (made, made.blobs, hash(made)))
            for wrong in (was.raw + b"x", was.raw[:-1], b""):
                self.assertRaises(
                    ManifestInvalid, Manifest.restore, wrong, was.media_type, was.digest
                )

    def test_repr_is_short(self) -> None:
        """The bytes of a manifest do not appear in logs."""
        self.assertLess(len(repr(read({**IMAGE, "x": "y" * 10_000}))), 300)

    @settings(deadline=None)
    @given(
        st.dictionaries(
            st.sampled_from(
                ["mediaType", "manifests", "config", "layers", "blobs", "fsLayers", "signatures"]
            )
            | st.text(max_size=3),
            st.recursive(
                st.none()
                | st.booleans()
                | st.integers()
                | st.floats(allow_nan=False, allow_infinity=False)
                | st.text(max_size=5)
                | st.builds(lambda: entry("a")),
                lambda values: (
                    st.lists(values, max_size=4)
                    | st.dictionaries(st.text(max_size=3), values, max_size=4)
                ),
                max_leaves=10,
            ),
        )
    )
    def test_any_object(self, document: dict[str, object]) -> None:
        """Any JSON object under a manifest's type is read, and what it needs is named."""
        manifest = read(document)
        self.assertLessEqual({blob.digest for blob in manifest.blobs}, manifest.names())

    @settings(deadline=None)
    @given(
        st.binary(max_size=100) | st.sampled_from([IMAGE, INDEX]).map(bytes_of),
        st.sampled_from([None, OCI_MANIFEST, CUSTOM, *GENERIC]),
    )
    def test_any_bytes(self, raw: bytes, header: str | None) -> None:
        """Any bytes with a right digest are a manifest; without one they may be refused as none."""
        self.assertEqual(verified(raw, header).raw, raw)
        try:
            manifest = read(raw, header)
        except ManifestInvalid:
            return
        self.assertEqual(manifest.raw, raw)
