"""Referrers in bundles."""

from __future__ import annotations

import json
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.commands import referring
from oci_registry.commands.bundle import Bundle, BundleLimits
from oci_registry.commands.contents import Contents, NamedImage, every, walk
from oci_registry.commands.referring import with_referrers
from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.image import ImageName
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.spec.reference import Tag
from tests.support.bundles import described


class _Shelf:
    """Has no manifests but those that it is given, and all blobs."""

    def find(self, digest: Digest) -> Manifest | None:
        return None

    def has(self, blob: Descriptor) -> bool:
        return True


def manifest(number: int, subject: Manifest | None = None) -> Manifest:
    """Return a manifest without layers."""
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described(b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [],
        "of": number,
    }
    if subject is not None:
        document["subject"] = described(subject.raw, subject.media_type)
    return Manifest.read(json.dumps(document).encode(), OCI_MANIFEST)


class Bundles(SynchronousTestCase):
    """A bundle with one image."""

    def setUp(self) -> None:
        self.top = manifest(0)
        self.bundle = Bundle("x.tar", {}, [], {}, {}, BundleLimits())

    def add(self, subject: Manifest, number: int) -> Manifest:
        made = manifest(number, subject)
        self.bundle.referrers.setdefault(subject.digest, []).append(made)
        return made

    def found(self) -> list[Digest]:
        """Return what refers to the image."""
        contents: Contents = walk(_Shelf(), self.top, every)
        image = NamedImage(ImageName("docker.io", "library/x", Tag("1")), self.top, contents)
        referrers = with_referrers(self.bundle, _Shelf(), image).referrers
        return [next(iter(each.manifests)) for each in referrers]

    def test_all(self) -> None:
        """What refers to the image or to another referrer of it belongs to it, each once."""
        one, other = self.add(self.top, 1), self.add(self.top, 2)
        self.add(self.top, 2)
        third = self.add(other, 3)
        self.add(manifest(4), 5)
        self.assertEqual({one.digest, other.digest, third.digest}, set(self.found()))
        self.assertEqual(3, len(self.found()))

    def test_long_chain(self) -> None:
        """No manifest is read again, however long a chain of referrers is."""
        last, chain = self.top, []
        for number in range(1, 500):
            last = self.add(last, number)
            chain.append(last.digest)
        with mock.patch.object(referring, "subject_of") as read:
            self.assertEqual(chain, self.found())
        read.assert_not_called()
