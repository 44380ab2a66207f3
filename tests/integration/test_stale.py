"""Tags while upstream is down, slow, or has lost them: the daemon serves what it knows, as it is set."""

from __future__ import annotations

import json
import time
from typing import Any

from oci_registry.config.settings import UpstreamSettings
from oci_registry.spec.mediatypes import OCI_INDEX
from oci_registry.storage.keys import tag_key
from tests.support.client import Response
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.fake_registry import Asked, Reply

HOUR = 3600.0
DAY = 24 * HOUR
TAG = "/v2/library/app/manifests/1"


class StaleTestCase(MirrorTestCase):
    """A tag that was pulled some hours ago, and is fresh for one."""

    def setUp(self) -> None:
        super().setUp()
        self.image, self.blobs = self.registry.add_image("library/app", "amd64", b"layer")
        self.index = self.registry.add_manifest("library/app", "1", self.index_of("one"), OCI_INDEX)

    def index_of(self, name: str) -> bytes:
        """Return an index with the image as its only child."""
        child = {"mediaType": OCI_INDEX, "digest": str(self.image), "size": 1}
        value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child], "name": name}
        return json.dumps(value).encode()

    async def pulled(self, hours_ago: float = 2, **settings: Any) -> UpstreamSettings:
        """Have pulled the tag and what it leads to; return what the daemon was started with."""
        upstream = self.upstream("docker.io", manifest_invalidation_time=HOUR, **settings)
        await self.start(upstream)
        for path in (TAG, self.child, *self.layers):
            self.assertEqual(200, (await self.client.get(path)).status)
        await self.stop()
        stored = self.root / tag_key("docker.io", "library/app", "1")
        record = json.loads(stored.read_bytes())
        record["checked"] -= hours_ago * HOUR
        stored.write_text(json.dumps(record))
        self.registry.asked.clear()
        await self.start(upstream)
        return upstream

    @property
    def child(self) -> str:
        return f"/v2/library/app/manifests/{self.image}"

    @property
    def layers(self) -> list[str]:
        return [f"/v2/library/app/blobs/{blob}" for blob in self.blobs]

    def is_old_index(self, got: Response) -> None:
        """The answer is the index that was pulled, with all that a manifest is served with."""
        expected = {
            "content-type": OCI_INDEX,
            "docker-content-digest": str(self.index),
            "docker-distribution-api-version": "registry/2.0",
            "oci-namespace": "docker.io",
            "content-length": str(len(self.index_of("one"))),
        }
        self.assertEqual(200, got.status)
        self.assertEqual(expected, {name: got.headers.get(name) for name in expected})
        self.assertTrue(2 * HOUR <= int(got.headers["age"]) < 2.9 * HOUR, got.headers["age"])

    def is_refused(self, got: Response) -> None:
        """The answer is that upstream cannot be asked: it has failed, or its circuit breaker is open."""
        self.assertIn(got.status, (502, 503))
        self.assertFalse({"age", "warning"} & set(got.headers))


class Down(StaleTestCase):
    """Upstream refuses connections."""

    @running
    async def test_stale(self) -> None:
        """An old tag is served with its age and a warning, and what it leads to without."""
        await self.pulled()
        await self.registry.stop()
        began = self.time.seconds()
        for method in ("HEAD", "GET"):
            got = await self.time.hurry(self.client.get(TAG, method))
            self.is_old_index(got)
            self.assertEqual(
                '299 - "docker.io is unavailable; this tag was confirmed 2h ago"',
                got.headers["warning"],
            )
        self.assertEqual(self.index_of("one"), bytes(got.body))
        for path in (self.child, *self.layers):
            got = await self.time.hurry(self.client.get(path))
            self.assertEqual(200, got.status)
            self.assertFalse({"age", "warning"} & set(got.headers))
        self.assertLess(self.time.seconds() - began, 15)
        page = await self.client.get("/metrics")
        self.assertIn(
            b'oci_registry_stale_served_total{namespace="docker.io"} 2.0', bytes(page.body)
        )

    @running
    async def test_child_that_is_not_stored(self) -> None:
        """What a stale index leads to and was never pulled is an error."""
        other, _ = self.registry.add_image("library/app", "arm64")
        await self.pulled()
        await self.registry.stop()
        self.assertEqual(200, (await self.time.hurry(self.client.get(TAG))).status)
        self.is_refused(
            await self.time.hurry(self.client.get(f"/v2/library/app/manifests/{other}"))
        )

    @running
    async def test_too_old(self) -> None:
        """A tag that is older than it may be stale is not served; a digest is for ever."""
        await self.pulled(stale_if_error=HOUR - 1)
        await self.registry.stop()
        for method in ("HEAD", "GET"):
            self.is_refused(await self.time.hurry(self.client.get(TAG, method)))
        self.assertEqual(200, (await self.client.get(self.child)).status)

    @running
    async def test_off(self) -> None:
        """Where nothing may be stale, neither an old tag is served nor a list of the stored ones."""
        await self.pulled(stale_if_error=0.0)
        await self.registry.stop()
        for path in (TAG, "/v2/library/app/tags/list"):
            self.is_refused(await self.time.hurry(self.client.get(path)))
        self.assertEqual(200, (await self.client.get(self.child)).status)

    @running
    async def test_recovered(self) -> None:
        """Once upstream can be asked again, its answer is used."""
        await self.pulled()
        for method in ("HEAD", "GET"):
            self.registry.script("/manifests/", Reply(500), method=method)
        self.assertIn("warning", (await self.time.hurry(self.client.get(TAG))).headers)
        self.registry.unscript()
        got = await self.client.get(TAG)
        self.assertFalse({"age", "warning"} & set(got.headers))
        self.assertEqual(1, self.registry.count("/manifests/"))


class NotFound(StaleTestCase):
    """Upstream answers that it does not know the tag."""

    @running
    async def test_not_found_trusted(self) -> None:
        """By default that ends what was known, even if upstream is down afterwards."""
        await self.pulled(remember_not_found=0.0)
        del self.registry.manifests["library/app", "1"]
        self.assertEqual(404, (await self.client.get(TAG)).status)
        await self.registry.stop()
        self.is_refused(await self.time.hurry(self.client.get(TAG)))

    @running
    async def test_not_found_not_trusted(self) -> None:
        """Where 404s are not trusted, the tag is served stale, except to a client that is denied it."""
        await self.pulled(trust_not_found=False, remember_not_found=0.0, remember_denied=0.0)
        del self.registry.manifests["library/app", "1"]
        for method in ("HEAD", "GET"):
            got = await self.client.get(TAG, method)
            self.is_old_index(got)
            self.assertEqual(
                '299 - "docker.io no longer has it; this tag was confirmed 2h ago"',
                got.headers["warning"],
            )
        for method in ("HEAD", "GET"):
            self.registry.script("/manifests/", Reply(403), method=method)
        self.assertEqual(403, (await self.client.get(TAG)).status)


class Slow(StaleTestCase):
    """Upstream takes its time, but nobody needs to wait for it."""

    def setUp(self) -> None:
        super().setUp()
        self.held: list[Asked] = []

    def hold(self, asked: Asked) -> Reply:
        self.held.append(asked)
        return Reply(silent=True)

    async def held_back(self, **settings: Any) -> None:
        """Be served the old index twice, while the one question to upstream waits for its answer."""
        await self.pulled(stale_while_revalidate=DAY, **settings)
        self.registry.script("/manifests/1$", self.hold, method="HEAD")
        for method in ("HEAD", "GET"):
            got = await self.client.get(TAG, method)
            self.is_old_index(got)
            self.assertNotIn("warning", got.headers)
        await until(lambda: bool(self.held))
        self.assertEqual(1, len(self.registry.asked))

    def answer(self) -> None:
        """Answer the question that waits."""
        self.registry.unscript()
        (channel,) = self.registry.channels
        (asked,) = self.held
        channel.send(asked, self.registry.answer(asked))

    @running
    async def test_changed(self) -> None:
        """Clients are answered before upstream has, and later ones get what it said."""
        await self.held_back()
        two = self.registry.add_manifest("library/app", "1", self.index_of("two"), OCI_INDEX)
        self.answer()
        await until(lambda: self.registry.count("/manifests/1$") == 1)
        got = await self.client.get(TAG)
        while "age" in got.headers:
            got = await self.client.get(TAG)
        self.assertEqual(str(two), got.headers["docker-content-digest"])
        self.assertEqual(1, self.registry.count("/manifests/1$", "HEAD"))

    @running
    async def test_gone(self) -> None:
        """A tag that turns out to be gone is gone for later ones."""
        await self.held_back()
        del self.registry.manifests["library/app", "1"]
        self.answer()
        got = await self.client.get(TAG)
        while got.status == 200:
            got = await self.client.get(TAG)
        self.assertEqual(404, got.status)

    @running
    async def test_stopped(self) -> None:
        """A daemon that is stopped waits for no answer, and breaks the question off."""
        await self.held_back()
        began = time.monotonic()
        await self.stop()
        await until(lambda: not self.registry.channels)
        self.assertLess(time.monotonic() - began, 15)
