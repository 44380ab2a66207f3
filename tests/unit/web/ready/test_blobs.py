"""Everything that makes ready answers for parts of a blob wrong."""

from __future__ import annotations

from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.pullthrough.store_health import READ
from oci_registry.storage.interfaces import StoreError
from oci_registry.web.ready.table import ReadyLimits
from tests.support.settings import upstream_settings
from tests.unit.web.ready.support import BLOB, Mirror


class Blobs(SynchronousTestCase):
    """Parts of a stored blob."""

    part: ClassVar[dict[str, str]] = {"Range": "bytes=1000-1999"}

    def setUp(self) -> None:
        self.mirror = Mirror(ready=True)
        self.addCleanup(self.mirror.leave)
        self.path = f"/v2/library/app/blobs/{self.mirror.blob}"
        self.mirror.warm_parts()
        self.assertTrue(self.ready())

    def ready(self) -> bool:
        return self.mirror.at_once(self.path, **self.part)

    def test_removed(self) -> None:
        """A blob that was removed is fetched again."""
        self.mirror.now(self.mirror.blob_store.discard(self.mirror.blob))
        asked = len(self.mirror.upstream.asked)
        self.assertFalse(self.ready())
        self.assertGreater(len(self.mirror.upstream.asked), asked)
        self.assertTrue(self.mirror.ask(self.path, **self.part).endswith(BLOB[1000:2000]))
        self.assertTrue(self.ready())

    def test_being_downloaded(self) -> None:
        """While a blob is downloaded, its parts are those of the download."""
        transfers = self.mirror.transfers
        self.patch(transfers, "_shared", {self.mirror.blob: {}})
        self.assertFalse(self.ready())

    def test_store_fails(self) -> None:
        """While the store fails, each request finds out whether it works again."""
        self.mirror.health.record_failure(READ, StoreError("broken"))
        self.assertFalse(self.ready())
        self.mirror.clock.advance(60)
        self.mirror.ask(self.path, **self.part)
        self.assertTrue(self.ready())

    def test_other_size(self) -> None:
        """A blob of which a manifest states another size is looked at again."""
        key = ("docker.io", "library/app", self.mirror.blob)
        self.mirror.sizes._keep(key, len(BLOB) + 1)
        self.assertFalse(self.ready())
        self.assertTrue(self.ready())

    def test_reloaded(self) -> None:
        """After a reload the name may mean another registry."""
        self.mirror.table.configure(
            (upstream_settings("docker.io", "registry-1.docker.io"), upstream_settings("a", "b"))
        )
        self.assertFalse(self.ready())
        self.assertTrue(self.ready())

    def test_always_checked(self) -> None:
        """With digests that are verified each time, nothing is sent without that."""
        self.mirror.blob_store._check_always = True
        answers = self.mirror.answers
        assert answers is not None
        answers._blobs.remove(self.path.encode())
        for _ in range(3):
            self.assertFalse(self.ready())

    def test_used(self) -> None:
        """A blob is used when a part of it is served, and its bytes are counted."""
        self.mirror.clock.advance(2)
        when = self.mirror.clock.seconds()
        sent = self.mirror.counted("oci_registry_client_bytes_total", route="blob")
        self.assertFalse(self.mirror.blob_store.used_since(self.mirror.blob, when))
        self.assertTrue(self.ready())
        self.assertTrue(self.mirror.blob_store.used_since(self.mirror.blob, when))
        self.assertEqual(
            sent + 1000, self.mirror.counted("oci_registry_client_bytes_total", route="blob")
        )

    def test_many(self) -> None:
        """There are answers only for so many blobs."""
        answers = self.mirror.answers
        assert answers is not None
        for number in range(ReadyLimits().blobs + 5):
            self.mirror.ask(f"{self.path}?n={number}", **self.part)
            self.mirror.clock.advance(0)
        self.assertEqual(ReadyLimits().blobs, len(answers._blobs))
