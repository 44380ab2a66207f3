"""Upstreams that are never asked."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BlobUnknown, ManifestUnknown, NameUnknown, RegistryError
from oci_registry.spec.reference import Tag
from oci_registry.upstream.interfaces import Upstream
from oci_registry.upstream.offline import NotStored, OfflineUpstream
from tests.support.settings import upstream_settings

DIGEST = Digest.of(b"x")


class Offline(SynchronousTestCase):
    """Nothing that is requested of it exists."""

    def setUp(self) -> None:
        self.upstream: Upstream = OfflineUpstream(upstream_settings("a.example", "a.example"))

    def refused(self, work: Coroutine[Any, Any, object], kind: type[RegistryError]) -> str:
        error = self.failureResultOf(Deferred.fromCoroutine(work), kind).value
        self.assertIsInstance(error, NotStored)
        self.assertEqual(404, error.status)
        self.assertIn("a.example is offline in this mirror", error.message)
        return str(error.message)

    def test_errors(self) -> None:
        """Each request has the code of what is missing, and the status 404."""
        up = self.upstream
        self.assertIn("r/x:1 ", self.refused(up.manifest("r/x", Tag("1")), ManifestUnknown))
        self.assertIn(f"@{DIGEST}", self.refused(up.manifest("r/x", DIGEST), ManifestUnknown))
        self.refused(up.manifest_digest("r/x", Tag("1")), ManifestUnknown)
        self.refused(up.blob("r/x", DIGEST), BlobUnknown)
        self.refused(up.part("r/x", DIGEST, 0, 1), BlobUnknown)
        self.refused(up.blob_size("r/x", DIGEST), BlobUnknown)
        self.refused(up.tags("r/x", None, None), NameUnknown)
        self.refused(up.referrers("r/x", DIGEST), ManifestUnknown)

    def test_nothing_to_close(self) -> None:
        """It has no connections and no hosts."""
        self.upstream.quarantine(DIGEST, frozenset())
        self.assertIsNone(self.successResultOf(self.upstream.close()))
