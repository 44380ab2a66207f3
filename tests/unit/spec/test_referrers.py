"""What manifests say as referrers."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.spec.referrers import descriptor_of, subject_of

SUBJECT = Digest.of(b"subject")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
    ),
    max_leaves=4,
)


def manifest(**document: object) -> Manifest:
    """Return a manifest with these fields."""
    raw = json.dumps({"schemaVersion": 2, **document}).encode()
    return Manifest(raw, OCI_MANIFEST, Digest.of(raw))


class Referrers(SynchronousTestCase):
    """Subjects, and entries in lists of referrers."""

    def test_subject(self) -> None:
        """The subject is what the digest says, if there is a right one."""
        self.assertEqual(SUBJECT, subject_of(manifest(subject={"digest": str(SUBJECT)})))
        wrongs: tuple[object, ...] = (None, "x", {}, {"digest": 1}, {"digest": "sha256:x"}, [])
        for wrong in wrongs:
            self.assertIsNone(subject_of(manifest(subject=wrong)))
        self.assertIsNone(subject_of(manifest()))

    def test_descriptor(self) -> None:
        """An entry has the type of artifact, or else that of the config, and the annotations."""
        one = manifest(artifactType="a/b", config={"mediaType": "c/d"}, annotations={"x": "y"})
        self.assertEqual(
            {
                "mediaType": OCI_MANIFEST,
                "digest": str(one.digest),
                "size": len(one.raw),
                "artifactType": "a/b",
                "annotations": {"x": "y"},
            },
            descriptor_of(one),
        )
        self.assertEqual(
            "c/d", descriptor_of(manifest(config={"mediaType": "c/d"}))["artifactType"]
        )
        self.assertEqual({"mediaType", "digest", "size"}, set(descriptor_of(manifest())))

    @given(JSON, JSON, JSON, JSON)
    def test_anything(self, subject: object, kind: object, config: object, notes: object) -> None:
        """Whatever a document says, it is read without an error."""
        one = manifest(subject=subject, artifactType=kind, config=config, annotations=notes)
        subject_of(one)
        json.dumps(descriptor_of(one))
