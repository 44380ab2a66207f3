"""What clients of one registry or repository get of another's: the security model says what, and no more."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from tests.support.daemon import MirrorTestCase, running, until
from tests.support.fake_registry import Reply
from tests.support.patterns import noise

ELSEWHERE = ("/v2/library/other", "/v2/private.example/a/b", "/v2/never-heard.example/a/b")
"""Another repository, another registry, and one that nobody has configured."""


class Sharing(MirrorTestCase):
    """docker.io has an image; private.example, at a server of its own, has nothing."""

    async def pulled(self) -> None:
        """Start the daemon and pull the image."""
        self.manifest, (_, self.layer) = self.registry.add_image("library/app", "1", bytes(100_000))
        self.empty = self.another()
        await self.start(
            self.upstream("docker.io"), self.upstream("private.example", host=self.empty.host)
        )
        for path in ("manifests/1", f"blobs/{self.layer}"):
            self.assertEqual(200, (await self.client.get(f"/v2/library/app/{path}")).status)
        await self.idle()
        for registry in self.registries:
            registry.asked.clear()

    @running
    async def test_stored_blob(self) -> None:
        """A stored blob is served, and its length told, under every name; no registry is asked."""
        await self.pulled()
        for name in ELSEWHERE:
            for method in ("HEAD", "GET"):
                got = await self.client.get(f"{name}/blobs/{self.layer}", method)
                self.assertEqual((200, 100_000), (got.status, got.length), name)
        self.assertEqual([], self.registry.asked + self.empty.asked)

    @running
    async def test_download_under_way(self) -> None:
        """A download under way is joined under every name."""
        data = noise(5, 200_000)
        digest = self.registry.add_blob(data)
        gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=data, hold=gate, hold_at=100_000))
        await self.start()
        first = await self.client.begin(f"/v2/library/app/blobs/{digest}")
        await first.got_headers
        others = [await self.client.begin(f"{name}/blobs/{digest}") for name in ELSEWHERE]
        await until(lambda: all(response.body for response in others))
        gate.callback(None)
        for response in (first, *others):
            await response.done
            self.assertEqual(data, bytes(response.body))
        self.assertEqual(1, self.registry.count("/blobs/"))

    @running
    async def test_stored_manifest(self) -> None:
        """A stored manifest is served for every repository of its registry, and for no other registry."""
        await self.pulled()
        got = await self.client.get(f"/v2/library/other/manifests/{self.manifest}")
        self.assertEqual(200, got.status)
        self.assertEqual([], self.registry.asked)
        got = await self.client.get(f"/v2/private.example/library/app/manifests/{self.manifest}")
        self.assertEqual(404, got.status)
        self.assertEqual(1, len(self.empty.asked))

    @running
    async def test_tag(self) -> None:
        """A tag is that of its repository and its registry."""
        await self.pulled()
        for name in ("/v2/library/other", "/v2/private.example/library/app"):
            self.assertEqual(404, (await self.client.get(f"{name}/manifests/1")).status, name)
