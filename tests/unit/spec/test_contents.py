"""What indexes and manifests consist of."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.contents import Unreadable, children_of, is_elsewhere, layers_of
from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import DOCKER_SCHEMA1, OCI_INDEX, OCI_MANIFEST
from oci_registry.spec.platforms import Platform

ANYTHING = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
ONE, TWO = Digest.of(b"one"), Digest.of(b"two")


def manifest(document: object, media_type: str) -> Manifest:
    """Return a manifest with this content."""
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Manifest.read(raw, media_type, Digest.of(raw))


class Children(SynchronousTestCase):
    """children_of."""

    def test_platforms(self) -> None:
        """An entry has a platform, states something else, or says nothing of it."""
        entries = [
            {"digest": str(ONE), "platform": {"os": "linux", "architecture": "amd64"}},
            {"digest": str(ONE), "platform": {"os": "unknown", "architecture": "unknown"}},
            {"digest": str(TWO)},
        ]
        children = children_of(manifest({"manifests": entries}, OCI_INDEX)) or []
        self.assertEqual(
            [(Platform("linux", "amd64"), False), (None, True), (None, False)],
            [(child.platform, child.other) for child in children],
        )
        self.assertEqual(f"manifest {ONE} (linux/amd64)", str(children[0]))

    def test_no_index(self) -> None:
        """A manifest is no index; an index whose entries cannot be read is an error."""
        self.assertIsNone(children_of(manifest({"layers": []}, OCI_MANIFEST)))
        for document in ({}, {"manifests": [7]}, {"manifests": [{"digest": "x"}]}):
            self.assertRaises(Unreadable, children_of, manifest(document, OCI_INDEX))


class Layers(SynchronousTestCase):
    """layers_of."""

    def test_image(self) -> None:
        """The config and the layers, in order."""
        document = {"config": {"digest": str(TWO)}, "layers": [{"digest": str(ONE), "size": 3}]}
        found = layers_of(manifest(document, OCI_MANIFEST))
        self.assertEqual([TWO, ONE], [blob.digest for blob in found])

    def test_schema_1(self) -> None:
        """The layers of a schema 1 manifest, each once."""
        layers = [{"blobSum": str(digest)} for digest in (ONE, TWO, ONE)]
        found = layers_of(manifest({"fsLayers": layers}, DOCKER_SCHEMA1))
        self.assertEqual([ONE, TWO], [blob.digest for blob in found])

    def test_unreadable(self) -> None:
        """What cannot be read is an error."""
        for document, media_type in (
            ({}, OCI_MANIFEST),
            ({}, DOCKER_SCHEMA1),
            ({"fsLayers": [7]}, DOCKER_SCHEMA1),
            ({"fsLayers": [{"blobSum": str(ONE)}] * 3000}, DOCKER_SCHEMA1),
        ):
            self.assertRaises(Unreadable, layers_of, manifest(document, media_type))

    @given(ANYTHING, st.booleans())
    def test_anything(self, value: object, index: bool) -> None:
        """Any value is read, or is an error."""
        for key, kind in (("manifests", OCI_INDEX), ("fsLayers", DOCKER_SCHEMA1)):
            document = manifest({key: value}, kind)
            with contextlib.suppress(Unreadable):
                (children_of if index else layers_of)(document)

    def test_elsewhere(self) -> None:
        """Foreign layers need not be in the registry."""
        kinds = {
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": True,
            "application/vnd.oci.image.layer.nondistributable.v1.tar": True,
            "application/vnd.oci.image.layer.v1.tar": False,
            None: False,
        }
        for kind, expected in kinds.items():
            self.assertEqual(expected, is_elsewhere(Descriptor(kind, ONE, 1)), kind)
