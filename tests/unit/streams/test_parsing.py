"""Where manifests are read."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import ManifestInvalid
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.streams.parsing import LARGE, ManifestReader
from tests.support.streams import ManualThread

T = TypeVar("T")
SMALL = b"{" + b" " * (LARGE - 2) + b"}"
BIG = b"{" + b" " * LARGE + b"}"


def begin(work: Coroutine[Any, Any, T]) -> Deferred[T]:
    """Begin some work."""
    return Deferred.fromCoroutine(work)


class Reading(SynchronousTestCase):
    """A reader with a thread that the test moves."""

    def setUp(self) -> None:
        self.thread = ManualThread()
        self.reader = ManifestReader(self.thread)

    def test_small(self) -> None:
        """A small manifest is read where it is."""
        found = self.successResultOf(begin(self.reader.read(SMALL, OCI_MANIFEST)))
        self.assertEqual(found, Manifest.read(SMALL, OCI_MANIFEST))
        self.assertEqual(self.successResultOf(begin(self.reader.names(found))), frozenset())

    def test_large(self) -> None:
        """A large one is hashed, parsed and searched in a thread."""
        reading = begin(self.reader.read(BIG, OCI_MANIFEST, Digest.of(BIG)))
        self.assertNoResult(reading)
        self.thread.step()
        found = self.successResultOf(reading)
        self.assertEqual(found, Manifest.read(BIG, OCI_MANIFEST))
        names = begin(self.reader.names(found))
        self.assertNoResult(names)
        self.thread.step()
        self.assertEqual(self.successResultOf(names), frozenset())

    def test_refused(self) -> None:
        """What is no manifest fails, wherever it was read."""
        for raw in (SMALL, BIG):
            reading = begin(self.reader.read(raw, "text/html"))
            self.thread.step()
            self.failureResultOf(reading, ManifestInvalid)

    def test_restored(self) -> None:
        """What is stored is unpacked in the same places."""
        for raw in (SMALL, BIG):
            made = Manifest.read(raw, OCI_MANIFEST)
            reading = begin(
                self.reader.restore(len(raw), Manifest.restore, raw, OCI_MANIFEST, made.digest)
            )
            self.assertEqual(len(self.thread.waiting), int(raw is BIG))
            self.thread.step()
            self.assertEqual(self.successResultOf(reading), made)
