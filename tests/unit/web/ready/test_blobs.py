"""Everything that makes ready answers for a blob, or for parts of it, wrong."""

from __future__ import annotations

from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.pullthrough.store_health import READ
from oci_registry.spec.digest import Digest
from oci_registry.spec.reference import content_key
from oci_registry.storage.interfaces import StoreError
from oci_registry.web.ready.table import ReadyLimits
from tests.support.settings import upstream_settings
from tests.unit.web.ready.support import BLOB, SMALL, Mirror


class BlobCases:
    """A stored blob, about which answers are ready.

    *request*: what is asked for; *wanted*: the body that it gets. *makes*: what makes the answer ready.
    """

    request: ClassVar[dict[str, str]]
    makes: ClassVar[dict[str, str]]
    content: ClassVar[bytes]
    wanted: ClassVar[bytes]

    def setUp(self) -> None:
        self.mirror = Mirror(ready=True)
        self.addCleanup(self.mirror.leave)
        self.digest = Digest.of(self.content)
        self.path = f"/v2/library/app/blobs/{self.digest}"
        self.mirror.warm_parts()
        self.mirror.warm_small()
        self.assertTrue(self.ready())

    def ready(self) -> bool:
        return self.mirror.at_once(self.path, **self.request)

    def made(self) -> bool:
        """Whether it is ready after something that makes it so."""
        self.mirror.ask(self.path, **self.makes)
        return self.ready()

    def test_removed(self) -> None:
        """A blob that was removed is fetched again."""
        self.mirror.now(self.mirror.blob_store.discard(self.digest))
        asked = len(self.mirror.upstream.asked)
        self.assertFalse(self.ready())
        self.assertGreater(len(self.mirror.upstream.asked), asked)
        for _ in range(2):
            got = self.mirror.ask(self.path, **self.request)
            self.assertEqual(self.wanted, got.partition(b"\r\n\r\n")[2])
        self.made()
        self.assertTrue(self.made())

    def test_corrupt(self) -> None:
        """A blob that has turned out to be corrupt is fetched again."""
        self.mirror.blob_store.suspend(self.digest)
        asked = len(self.mirror.upstream.asked)
        self.assertFalse(self.ready())
        self.assertGreater(len(self.mirror.upstream.asked), asked)

    def test_being_downloaded(self) -> None:
        """While a blob is downloaded, its parts are those of the download."""
        transfers = self.mirror.transfers
        self.patch(transfers, "_shared", {self.digest: {}})
        self.assertFalse(self.ready())

    def test_store_fails(self) -> None:
        """While the store fails, each request finds out whether it works again."""
        self.mirror.health.record_failure(READ, StoreError("broken"))
        self.assertFalse(self.ready())
        self.mirror.clock.advance(60)
        self.made()
        self.assertTrue(self.made())

    def test_other_size(self) -> None:
        """A blob of which a manifest states another size is looked at again."""
        key = content_key("docker.io", "library/app", self.digest)
        self.mirror.sizes._keep(key, len(self.content) + 1)
        self.assertFalse(self.ready())
        self.assertTrue(self.made())

    def test_reloaded(self) -> None:
        """After a reload the name may mean another registry."""
        self.mirror.table.configure(
            (upstream_settings("docker.io", "registry-1.docker.io"), upstream_settings("a", "b"))
        )
        self.assertFalse(self.ready())
        self.assertTrue(self.made())

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
        self.assertFalse(self.mirror.blob_store.used_since(self.digest, when))
        self.assertTrue(self.ready())
        self.assertTrue(self.mirror.blob_store.used_since(self.digest, when))
        self.assertEqual(
            sent + len(self.wanted),
            self.mirror.counted("oci_registry_client_bytes_total", route="blob"),
        )


class Parts(BlobCases, SynchronousTestCase):
    """Parts of it."""

    request: ClassVar[dict[str, str]] = {"Range": "bytes=1000-1999"}
    makes = request
    content = BLOB
    wanted = BLOB[1000:2000]

    def test_many(self) -> None:
        """There are answers only for so many blobs."""
        answers = self.mirror.answers
        assert answers is not None
        for number in range(ReadyLimits().blobs + 5):
            self.mirror.ask(f"{self.path}?n={number}", **self.request)
            self.mirror.clock.advance(0)
        self.assertEqual(ReadyLimits().blobs, len(answers._blobs))


class Whole(BlobCases, SynchronousTestCase):
    """All of a small one."""

    request: ClassVar[dict[str, str]] = {}
    makes = request
    content = wanted = SMALL

    def test_large(self) -> None:
        """There is none for a blob that is large, but for its parts."""
        path = f"/v2/library/app/blobs/{self.mirror.blob}"
        for _ in range(3):
            self.assertFalse(self.mirror.at_once(path))
            self.assertFalse(self.mirror.at_once(path, method="HEAD"))
        self.assertTrue(self.mirror.at_once(path, Range="bytes=0-9"))

    def test_whole_and_parts(self) -> None:
        """There are answers for the whole and for parts at the same time, each of which the other leaves."""
        self.mirror.ask(self.path, Range="bytes=1-2")
        for _ in range(2):
            self.assertTrue(self.ready())
            self.assertTrue(self.mirror.at_once(self.path, Range="bytes=3-9"))

    def test_reloaded_in_between(self) -> None:
        """An answer from before a reload is not kept beside one from after it."""
        self.mirror.ask(self.path, Range="bytes=1-2")
        more = (upstream_settings("docker.io", "registry-1.docker.io"), upstream_settings("a", "b"))
        self.mirror.table.configure(more)
        answers = self.mirror.answers
        assert answers is not None
        entry = answers._blobs.peek(self.path.encode())
        assert entry is not None
        _, parts, route, uri, namespace, outcome, number, *rest = entry
        source = answers.blob_sources.get(number)
        assert source is not None
        self.assertFalse(source.holds())
        without = (None, parts, route, uri, namespace, outcome, number, *rest)
        answers._blobs.put(self.path.encode(), without)
        self.mirror.ask(self.path)
        entry = answers._blobs.peek(self.path.encode())
        assert entry is not None
        whole, parts, *_ = entry
        self.assertEqual((True, None), (whole is not None, parts))
        self.assertTrue(self.ready())


class Head(Whole):
    """HEAD of it, which is ready when a GET is."""

    request: ClassVar[dict[str, str]] = {"method": "HEAD"}
    wanted = b""
