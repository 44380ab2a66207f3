"""A daemon that asks no registry."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from twisted.logger import globalLogPublisher

from oci_registry.storage.keys import tag_key
from tests.support.bundles import add_image, command, store_in
from tests.support.client import Response
from tests.support.daemon import MirrorTestCase, running

YEAR = 365 * 86400.0
TAG = "/v2/library/app/manifests/1"


class OfflineTestCase(MirrorTestCase):
    """An image that was pulled a year ago, and a daemon that is offline since."""

    offline: dict[str, Any] = {"offline": True}  # noqa: RUF012

    async def begin(self, **settings: Any) -> None:
        self.image, self.blobs = self.registry.add_image("library/app", "1", b"layer")
        await self.start()
        await self.client.get(TAG)
        for blob in self.blobs:
            await self.client.get(f"/v2/library/app/blobs/{blob}")
        await self.idle()
        await self.stop()
        stored = self.root / tag_key("docker.io", "library/app", "1")
        record = json.loads(stored.read_bytes())
        record["checked"] -= YEAR
        stored.write_text(json.dumps(record))
        self.registry.asked.clear()
        self.warnings: list[str] = []
        globalLogPublisher.addObserver(self._observe)
        self.addCleanup(globalLogPublisher.removeObserver, self._observe)
        await self.start(self.upstream("docker.io", **settings), **self.offline)

    def _observe(self, event: Any) -> None:
        if event["log_level"].name not in ("debug", "info"):
            self.warnings.append(str(event.get("log_format")))

    async def get(self, path: str, method: str = "GET") -> Response:
        return await self.client.get(path, method)


class Offline(OfflineTestCase):
    """--offline."""

    @running
    async def test_stored(self) -> None:
        """What is stored is served whatever its age; tags say so, and no registry is asked."""
        await self.begin()
        got = await self.get(TAG)
        self.assertEqual(200, got.status)
        self.assertEqual(self.registry.manifests["library/app", "1"][0], got.body)
        self.assertIn(
            "docker.io is offline in this mirror; this tag was", got.headers.get("warning")
        )
        self.assertIn("hit; ttl=-", got.headers.get("cache-status"))
        self.assertIn("detail=offline", got.headers.get("cache-status"))
        self.assertGreaterEqual(int(got.headers.get("age")), YEAR)
        for path in (
            f"/v2/library/app/manifests/{self.image}",
            f"/v2/library/app/blobs/{self.blobs[0]}",
        ):
            got = await self.get(path)
            self.assertEqual((200, None), (got.status, got.headers.get("warning")))
        got = await self.get("/v2/library/app/tags/list")
        self.assertEqual(["1"], json.loads(got.body)["tags"])
        self.assertIn("is offline in this mirror; these are", got.headers.get("warning"))
        self.assertEqual([], self.registry.asked)

    @running
    async def test_not_stored(self) -> None:
        """What is not stored does not exist, at once and without a line in the log for each."""
        await self.begin()
        other = f"sha256:{64 * '0'}"
        began = time.monotonic()
        for path, code in (
            ("/v2/library/app/manifests/2", "MANIFEST_UNKNOWN"),
            (f"/v2/library/app/manifests/{other}", "MANIFEST_UNKNOWN"),
            (f"/v2/library/app/blobs/{other}", "BLOB_UNKNOWN"),
            ("/v2/library/other/tags/list", "NAME_UNKNOWN"),
            (f"/v2/library/app/referrers/{other}", "MANIFEST_UNKNOWN"),
            ("/v2/example.org/a/b/manifests/1", "MANIFEST_UNKNOWN"),
        ):
            got = await self.get(path)
            (error,) = json.loads(got.body)["errors"]
            self.assertEqual((404, code), (got.status, error["code"]), path)
            self.assertIn("is offline in this mirror", error["message"])
            self.assertEqual("oci-registry; detail=offline", got.headers.get("cache-status"))
            self.assertEqual(404, (await self.get(path, "HEAD")).status)
        self.assertLess(time.monotonic() - began, 10)
        self.assertEqual(([], []), (self.registry.asked, self.warnings))

    @running
    async def test_ready(self) -> None:
        """The daemon is ready, and keeps what nobody uses."""
        await self.begin(blob_invalidation_time=1.0)
        self.assertEqual(200, (await self.get("/readyz")).status)
        before = self.files()
        await self.later(10 * YEAR)
        await self.account_complete()
        await self.daemons[-1].parts.sweep._sweep.run()
        self.assertEqual(before, self.files())

    @running
    async def test_imported(self) -> None:
        """An image from a bundle is pulled without a warning."""
        await self.begin()
        await self.stop()
        outside, bundle = Path(self.mktemp()), Path(self.mktemp())
        top = add_image(store_in(outside), "quay.io/a/b:1", "linux/amd64")
        command("export", "quay.io/a/b:1", "-o", bundle, "--root", outside)
        self.assertEqual(0, command("import", bundle, "--root", self.root).status)
        await self.start(self.upstream("docker.io"), **self.offline)
        got = await self.get("/v2/quay.io/a/b/manifests/1")
        self.assertEqual((200, None), (got.status, got.headers.get("warning")))
        self.assertEqual(top.raw, got.body)


class OneOffline(OfflineTestCase):
    """``offline: true`` for one registry."""

    offline: dict[str, Any] = {}  # noqa: RUF012

    @running
    async def test_others(self) -> None:
        """Only this registry is never asked."""
        await self.begin(offline=True)
        self.assertIn("detail=offline", (await self.get(TAG)).headers.get("cache-status"))
        self.assertEqual([], self.registry.asked)
        self.registry.add_image("a/b", "1", b"layer")
        await self.stop()
        others = self.upstream("*", offline=True)
        await self.start(self.upstream("example.com"), others)
        self.assertEqual(404, (await self.get("/v2/quay.io/a/b/manifests/1")).status)
        self.assertEqual([], self.registry.asked)
        await self.stop()
        await self.start(self.upstream("docker.io", offline=True), self.upstream("example.com"))
        self.assertEqual(200, (await self.get("/v2/example.com/a/b/manifests/1")).status)
        self.assertTrue(self.registry.asked)
